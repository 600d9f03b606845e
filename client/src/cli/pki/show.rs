//! `vmwire pki show`: what files hold, for how long, and what is wrong with them. Reads, and needs no key.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use vmwire_tls::date::Date;
use vmwire_tls::identity::Fingerprint;
use vmwire_tls::pki::{
    Description, Entry, PkiError, Purpose, Reason, RevocationList, Serial, certificates, check_signature, describe,
    key_fingerprint,
};

use super::super::output::{Align, Table};
use super::super::problem::Problem;
use super::directory::{Directory, Which};
use super::{Context, Exit, files, nanoseconds, refused_file};

/// From how many days before the end on it is said.
const SOON_DAYS: i64 = 30;

/// How many entries of one directory are looked at.
const ENTRIES_MAX: usize = 65_536;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A certificate, a key, a list of revoked certificates, or a directory [default: the authority's]
    #[arg(value_name = "FILE|DIR", conflicts_with = "issued")]
    path: Option<PathBuf>,

    /// List what this authority has signed, whether or not the files are here
    #[arg(long)]
    issued: bool,

    #[command(flatten)]
    which: Which,
}

/// A file.
#[derive(Debug, Serialize)]
struct FileJson {
    file: String,
    kind: &'static str,
    purpose: Option<&'static str>,
    subject: Option<String>,
    issuer: Option<String>,
    names: Vec<String>,
    serial: Option<String>,
    /// The SHA-256 of the public key: what `client list` shows and `client add --key` takes.
    key: Option<String>,
    /// The SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` prints it.
    certificate_sha256: Option<String>,
    not_before_ns: Option<u64>,
    not_after_ns: Option<u64>,
    days_left: Option<i64>,
    revoked: Option<usize>,
    problems: Vec<String>,
    #[serde(skip)]
    not_after: Option<Date>,
}

/// A certificate that was signed here.
#[derive(Serialize)]
struct EntryJson {
    name: String,
    purpose: String,
    serial: String,
    key: String,
    certificate_sha256: Option<String>,
    not_before_ns: u64,
    not_after_ns: u64,
    days_left: i64,
    revoked_ns: Option<u64>,
    reason: Option<&'static str>,
    #[serde(skip)]
    until: String,
    #[serde(skip)]
    state: String,
}

/// The authority by which files are judged.
#[derive(Default)]
struct Judge {
    authority: Option<Vec<u8>>,
    list: Option<RevocationList>,
}

pub(super) fn run(arguments: &Arguments, now: Date, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let directory = arguments.which.directory()?;
    if arguments.issued {
        return issued(&directory, now, context);
    }
    let path = arguments.path.as_deref().unwrap_or(directory.path());
    if path.is_dir() {
        let place = Directory::at(path);
        let judge = Judge::of(&place, &directory);
        let mut rows = Vec::new();
        for path in paths_in(path)? {
            rows.push(file(&path, &judge, now).unwrap_or_else(|problem| FileJson::unreadable(&path, problem)));
        }
        context.output.listing(&rows, table)?;
        return Ok(Exit::Ok);
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let row = file(path, &Judge::of(&Directory::at(parent), &directory), now)?;
    context.output.listing(&[row], |rows| rows.first().map(details).unwrap_or_else(Table::labels))?;
    Ok(Exit::Ok)
}

/// The files that belong to an authority or to one whom it has signed for: here and one below `issued`.
fn paths_in(directory: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut paths = entries(directory)?;
    let issued = Directory::at(directory).issued();
    if issued.is_dir() {
        for place in entries(&issued)?.into_iter().filter(|path| path.is_dir()) {
            paths.extend(entries(&place)?);
        }
    }
    let known = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && matches!(extension, Some("crt" | "key" | "pem")) && path.is_file()
    };
    // The key beside a certificate is told with it.
    let with_certificate = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "key") && path.with_extension("crt").is_file()
    };
    Ok(paths.into_iter().filter(|path| known(path) && !with_certificate(path)).collect())
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Problem> {
    let read = std::fs::read_dir(directory).map_err(|error| files::failed("read", directory, &error))?;
    let mut paths: Vec<PathBuf> = read.flatten().take(ENTRIES_MAX).map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

impl Judge {
    /// The authority whose certificate lies in `place`, else that of `directory`; and its list, from either. What
    /// cannot be read is told where its own file is looked at.
    fn of(place: &Directory, directory: &Directory) -> Self {
        let places = [place, directory];
        let certificate = |place: &Directory| {
            let bytes = files::read_if_there(&place.authority_certificate()).ok().flatten()?;
            Some(certificates(&bytes).ok()?.swap_remove(0))
        };
        let Some(authority) = places.into_iter().find_map(certificate) else { return Self::default() };
        let list = |place: &Directory| {
            let bytes = files::read_if_there(&place.revocation_list()).ok().flatten()?;
            RevocationList::read(&bytes, &authority).ok()
        };
        let list = places.into_iter().find_map(list);
        Self { authority: Some(authority), list }
    }
}

fn file(path: &Path, judge: &Judge, now: Date) -> Result<FileJson, Problem> {
    let bytes = files::read(path)?;
    match certificates(&bytes) {
        Ok(found) => {
            let der = found.into_iter().next().unwrap_or_default();
            certificate(path, &der, judge, now)
        }
        Err(PkiError::NoCertificate) => other(path, &bytes, judge, now),
        Err(error) => Err(refused_file(path, &error)),
    }
}

fn certificate(path: &Path, der: &[u8], judge: &Judge, now: Date) -> Result<FileJson, Problem> {
    let described = describe(der).map_err(|error| refused_file(path, &error))?;
    let mut problems = Vec::new();
    problems.extend(described.refused.clone());
    problems.extend(lifetime(described.not_before, described.not_after, now));
    if let Some(authority) = judge.authority.as_deref().filter(|_| described.purpose != Purpose::Authority) {
        if check_signature(der, authority).is_err() {
            problems.push("not signed by the authority in ca.crt".to_owned());
        } else if let Some(revoked) = judge.list.as_ref().and_then(|list| list.find(&described.serial)) {
            problems.push(format!("revoked since {}", revoked.since));
        }
    }
    let key_path = path.with_extension("key");
    if files::is_there(&key_path) {
        problems.extend(key_problems(&key_path, Some(&described)));
    }
    Ok(FileJson {
        kind: "certificate",
        purpose: Some(described.purpose.word()),
        subject: Some(described.subject),
        issuer: Some(described.issuer),
        names: described.names,
        serial: Some(described.serial.to_string()),
        key: Some(described.key.to_string()),
        certificate_sha256: Some(described.certificate.as_openssl()),
        not_before_ns: Some(nanoseconds(described.not_before)),
        not_after_ns: Some(nanoseconds(described.not_after)),
        days_left: Some(described.not_after.days_left(now)),
        not_after: Some(described.not_after),
        ..FileJson::empty(path, problems)
    })
}

/// A file without a certificate: a list, or a key.
fn other(path: &Path, bytes: &[u8], judge: &Judge, now: Date) -> Result<FileJson, Problem> {
    match judge.authority.as_deref().map(|authority| RevocationList::read(bytes, authority)) {
        Some(Ok(list)) => {
            let until = judge.authority.as_deref().and_then(|der| describe(der).ok()).map(|own| own.not_after);
            return Ok(FileJson {
                kind: "revocation-list",
                revoked: Some(list.revoked.len()),
                not_after_ns: until.map(nanoseconds),
                days_left: until.map(|until| until.days_left(now)),
                not_after: until,
                ..FileJson::empty(path, Vec::new())
            });
        }
        Some(Err(PkiError::NoRevocationList)) | None => {}
        Some(Err(error)) => return Err(refused_file(path, &error)),
    }
    let key = key_fingerprint(bytes).map_err(|error| match error {
        PkiError::NoKey => {
            let text = "there is no certificate, key or list of revoked certificates in it";
            let hint = "PEM is read; a list is judged by the ca.crt beside it";
            Problem::new(Exit::Failed, "PKI", text).hint(hint).about("file", &path.display().to_string())
        }
        error => refused_file(path, &error),
    })?;
    let mut problems: Vec<String> = key_problems(path, None).into_iter().collect();
    let certificate = path.with_extension("crt");
    let authority = path.file_name().is_some_and(|name| name == "ca.key");
    if !certificate.is_file() && !authority {
        problems.push("no certificate beside it".to_owned());
    }
    Ok(FileJson { kind: "key", key: Some(key.to_string()), ..FileJson::empty(path, problems) })
}

fn key_problems(path: &Path, certificate: Option<&Description>) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;

    let mut problems = Vec::new();
    if let Some(problem) = path.metadata().ok().and_then(|metadata| files::open_to_others(metadata.mode())) {
        problems.push(format!("its key {problem}"));
    }
    let fingerprint = match files::read(path) {
        Ok(bytes) => key_fingerprint(&bytes).map_err(|error| error.to_string()),
        Err(problem) => Err(problem.causes.first().unwrap_or(&problem.message).clone()),
    };
    match (fingerprint, certificate) {
        (Ok(key), Some(certificate)) if key != certificate.key => {
            problems.push("its key does not belong to it".to_owned());
        }
        (Ok(_), _) => {}
        (Err(error), _) => problems.push(format!("its key cannot be read: {error}")),
    }
    problems
}

/// What there is to say of two dates and this clock.
fn lifetime(not_before: Date, not_after: Date, now: Date) -> Option<String> {
    if now < not_before {
        return Some(format!("not valid before {not_before}; this machine's clock says {now}"));
    }
    match not_after.days_left(now) {
        ..0 => Some(format!("expired; this machine's clock says {now}")),
        0 => Some("expires within a day".to_owned()),
        days @ 1..=SOON_DAYS => Some(format!("expires in {days} days")),
        _ => None,
    }
}

impl FileJson {
    fn empty(path: &Path, problems: Vec<String>) -> Self {
        Self {
            file: path.display().to_string(),
            kind: "unknown",
            purpose: None,
            subject: None,
            issuer: None,
            names: Vec::new(),
            serial: None,
            key: None,
            certificate_sha256: None,
            not_before_ns: None,
            not_after_ns: None,
            days_left: None,
            revoked: None,
            problems,
            not_after: None,
        }
    }

    fn unreadable(path: &Path, problem: Problem) -> Self {
        let text = problem.causes.into_iter().next().unwrap_or(problem.message);
        Self::empty(path, vec![text])
    }

    fn is(&self) -> String {
        match self.kind {
            "revocation-list" => format!("list of {} revoked", self.revoked.unwrap_or(0)),
            kind => self.purpose.unwrap_or(kind).to_owned(),
        }
    }

    fn until(&self) -> String {
        self.not_after.map(|date| date.to_string()).unwrap_or_default()
    }
}

fn table(rows: &[FileJson]) -> Table {
    let columns = ["file", "is", "subject", "names", "until", "problem"].map(|name| (name, Align::Left));
    let mut table = Table::new(columns);
    for row in rows {
        let subject = row.subject.clone().unwrap_or_default();
        table.row([row.file.clone(), row.is(), subject, row.names.join(" "), row.until(), row.problems.join("; ")]);
    }
    table
}

fn details(row: &FileJson) -> Table {
    let mut table = Table::labels();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    table.label("file", row.file.as_str());
    table.label("is", row.is());
    table.label("subject", text(&row.subject));
    table.label("issuer", text(&row.issuer));
    table.label("names", row.names.join(" "));
    table.label("serial", text(&row.serial));
    table.label("key", text(&row.key));
    table.label("certificate sha256", text(&row.certificate_sha256));
    table.label("until", row.until());
    for problem in &row.problems {
        table.label("problem", problem.as_str());
    }
    table
}

/// What was signed here, as it is remembered.
fn issued(directory: &Directory, now: Date, context: &mut Context<'_>) -> Result<Exit, Problem> {
    if !files::is_there(&directory.authority_certificate()) {
        files::read(&directory.authority_certificate())?;
    }
    let index = directory.index()?;
    let list = Judge::of(directory, directory).list.unwrap_or_default();
    // What is on the list counts more than what is remembered, so it comes last.
    let revoked = index.revoked.iter().chain(&list.revoked);
    let revoked: HashMap<&Serial, (Date, Reason)> =
        revoked.map(|revoked| (&revoked.serial, (revoked.since, revoked.reason))).collect();
    let of_entry = |entry: &Entry| EntryJson::of(entry, revoked.get(&entry.serial).copied(), now);
    let rows: Vec<EntryJson> = index.issued.iter().map(of_entry).collect();
    context.output.listing(&rows, |rows| {
        let mut table = Table::new(["name", "purpose", "serial", "until", "state"].map(|name| (name, Align::Left)));
        for row in rows {
            table.row([&row.name, &row.purpose, &row.serial, &row.until, &row.state].map(String::as_str));
        }
        table
    })?;
    if index.unreadable > 0 {
        let path = directory.index_file();
        context.output.note(&format!("{} lines of {} could not be read", index.unreadable, path.display()));
    }
    Ok(Exit::Ok)
}

impl EntryJson {
    fn of(entry: &Entry, revoked: Option<(Date, Reason)>, now: Date) -> Self {
        let state = match revoked {
            Some((since, reason)) => format!("revoked since {since} ({})", reason.word()),
            None => lifetime(entry.not_before, entry.not_after, now).unwrap_or_else(|| "valid".to_owned()),
        };
        Self {
            name: entry.name.clone(),
            purpose: entry.purpose.clone(),
            serial: entry.serial.to_string(),
            key: entry.key.clone(),
            certificate_sha256: entry
                .certificate
                .as_deref()
                .and_then(|sum| sum.parse().ok())
                .as_ref()
                .map(Fingerprint::as_openssl),
            not_before_ns: nanoseconds(entry.not_before),
            not_after_ns: nanoseconds(entry.not_after),
            days_left: entry.not_after.days_left(now),
            revoked_ns: revoked.map(|(since, _)| nanoseconds(since)),
            reason: revoked.map(|(_, reason)| reason.word()),
            until: entry.not_after.to_string(),
            state,
        }
    }
}
