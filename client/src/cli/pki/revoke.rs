//! `vmwire pki revoke`: certificates go on the list, found by a file, a number, a name or a fingerprint.

use std::path::Path;

use serde::Serialize;
use vmwire_tls::date::Date;
use vmwire_tls::pki::{Index, Reason, Revoked, Serial, certificates, check_signature, describe};

use super::super::output::{Align, Table};
use super::super::problem::Problem;
use super::directory::{Office, Signing};
use super::{Context, Exit, files, nanoseconds, refused, refused_file};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The certificate's file or serial number; or a name, or the fingerprint of a key, for all that were signed for it
    #[arg(value_name = "FILE|SERIAL|NAME|FINGERPRINT")]
    what: String,

    /// Why: unspecified, key-compromise, affiliation-changed, superseded, cessation-of-operation or privilege-withdrawn
    #[arg(long, value_name = "REASON", default_value = "unspecified")]
    reason: String,

    /// Take a serial number that is not in issued.jsonl
    #[arg(long)]
    unlisted: bool,

    #[command(flatten)]
    signing: Signing,
}

#[derive(Serialize)]
struct RevokedJson {
    serial: String,
    name: Option<String>,
    reason: &'static str,
    since_ns: u64,
    revocation_list_file: String,
    #[serde(skip)]
    since: Date,
}

pub(super) fn run(arguments: &Arguments, now: Date, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let reason: Reason = arguments.reason.parse().map_err(|error| refused(&error))?;
    let office = arguments.signing.office()?;
    let index = office.directory.index()?;
    let serials = serials(arguments, &office, &index, now)?;
    let list = office.revocations()?;
    let earlier = |serial: &Serial| list.find(serial).cloned();
    let new = serials.iter().filter(|serial| earlier(serial).is_none()).count();
    let revoked: Vec<Revoked> =
        serials.into_iter().map(|serial| earlier(&serial).unwrap_or(Revoked { serial, since: now, reason })).collect();
    // Also when all are on the list already: others may be missing there that a broken off run has only remembered.
    office.revoke(&revoked, now)?;
    let file = office.directory.revocation_list().display().to_string();
    let rows: Vec<RevokedJson> = revoked.iter().map(|revoked| RevokedJson::of(revoked, &index, &file)).collect();
    context.output.listing(&rows, |rows| {
        let mut table = Table::new(["revoked", "name", "reason", "since"].map(|name| (name, Align::Left)));
        for row in rows {
            let name = row.name.clone().unwrap_or_default();
            table.row([row.serial.clone(), name, row.reason.to_owned(), row.since.to_string()]);
        }
        table
    })?;
    context.output.note(&match new {
        0 => "it was revoked before".to_owned(),
        _ => format!("copy {file} to every host where vmwired trusts this authority"),
    });
    Ok(Exit::Ok)
}

impl RevokedJson {
    fn of(revoked: &Revoked, index: &Index, file: &str) -> Self {
        Self {
            serial: revoked.serial.to_string(),
            name: index.find(&revoked.serial).map(|entry| entry.name.clone()),
            reason: revoked.reason.word(),
            since_ns: nanoseconds(revoked.since),
            revocation_list_file: file.to_owned(),
            since: revoked.since,
        }
    }
}

/// What is meant is a file if there is one, else a number that was given, else all that were signed for a name or a key and
/// have not expired.
fn serials(arguments: &Arguments, office: &Office, index: &Index, now: Date) -> Result<Vec<Serial>, Problem> {
    let what = arguments.what.as_str();
    let path = Path::new(what);
    // A directory of that name is that of somebody's files.
    if !path.is_dir()
        && let Some(bytes) = files::read_if_there(path)?
    {
        let about = |error| refused_file(path, &error);
        let certificate = certificates(&bytes).map_err(about)?.swap_remove(0);
        check_signature(&certificate, office.authority.der()).map_err(about)?;
        return describe(&certificate).map(|described| vec![described.serial]).map_err(about);
    }
    let number = what.parse::<Serial>().ok();
    if let Some(serial) = number.as_ref().filter(|serial| index.find(serial).is_some()) {
        return Ok(vec![serial.clone()]);
    }
    let mut called = index.called(what).peekable();
    if called.peek().is_some() {
        let valid: Vec<Serial> =
            called.filter(|entry| now <= entry.not_after).map(|entry| entry.serial.clone()).collect();
        if valid.is_empty() {
            let text = format!("every certificate of {what} has expired");
            return Err(Problem::new(Exit::NotFound, "NOT_FOUND", text)
                .hint("nobody takes them any more; by its number each can be revoked all the same"));
        }
        return Ok(valid);
    }
    match number {
        Some(serial) if arguments.unlisted => Ok(vec![serial]),
        Some(serial) => {
            Err(Problem::new(Exit::NotFound, "NOT_FOUND", format!("no certificate {serial} was signed here"))
                .hint("vmwire pki show --issued lists those that were; --unlisted revokes the number all the same"))
        }
        None => {
            let text =
                format!("{what} is no file, no serial number, and no name or fingerprint that was signed for here");
            Err(Problem::new(Exit::NotFound, "NOT_FOUND", text)
                .hint("vmwire pki show --issued lists what was signed here"))
        }
    }
}
