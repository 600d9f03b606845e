//! `vmwire pki init`: an authority, and with `--server` all that a daemon needs.

use std::path::{Path, PathBuf};

use serde::Serialize;
use vmwire_tls::date::Date;
use vmwire_tls::pki::{Authority, HostName, HostNames, NewAuthority, Purpose, RevocationList, issued_line};

use super::super::output::Table;
use super::super::problem::Problem;
use super::directory::{Directory, Locked, Signing};
use super::files::{self, Created, PUBLIC, SECRET};
use super::{Context, Exit, IssuedJson, nanoseconds, refused};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What the authority is called [default: "vmwire on " and this host's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Make this host's own certificate too, for this name or address; may be given several times
    #[arg(long = "server", value_name = "HOST")]
    servers: Vec<String>,

    #[command(flatten)]
    signing: Signing,
}

#[derive(Serialize)]
struct AuthorityJson {
    subject: String,
    directory: String,
    key_file: String,
    /// The SHA-256 of its public key, by which tokens name it.
    key: String,
    not_after_ns: u64,
    server: Option<IssuedJson>,
}

pub(super) fn run(arguments: &Arguments, now: Date, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let name = arguments.name.clone().unwrap_or_else(usual_name);
    let names = host_names(&arguments.servers)?;
    let NewAuthority { authority, key_pem } = Authority::create(&name, now).map_err(|error| refused(&error))?;
    let list = authority.sign_revocations(&RevocationList::default(), &[], now).map_err(|error| refused(&error))?;
    let server = match &names {
        Some(names) => Some(authority.issue_server(names, now).map_err(|error| refused(&error))?),
        None => None,
    };

    let directory = arguments.signing.which.directory()?;
    files::make_directory(directory.path(), 0o755)?;
    let Locked { directory, lock: _lock } = directory.lock()?;
    let key_path = arguments.signing.ca_key.clone().unwrap_or_else(|| directory.authority_key());
    let server_paths = (directory.path().join("server.crt"), directory.path().join("server.key"));
    must_be_free(&directory, &key_path)?;
    if names.is_some() {
        must_not_be_there(&server_paths.0)?;
        must_not_be_there(&server_paths.1)?;
    }
    if let (Some((_, issued)), Some(names)) = (&server, &names) {
        let line = issued_line(Purpose::Server, &names.all()[0].to_string(), issued);
        files::append(&directory.index_file(), &line)?;
    }
    let mut created = Created::default();
    created.file(&key_path, key_pem.as_bytes(), SECRET)?;
    created.file(&directory.revocation_list(), list.as_bytes(), PUBLIC)?;
    let mut json = AuthorityJson {
        subject: format!("CN={name}"),
        directory: directory.path().display().to_string(),
        key_file: key_path.display().to_string(),
        key: authority.fingerprint().to_string(),
        not_after_ns: nanoseconds(authority.not_after()),
        server: None,
    };
    if let Some((key, issued)) = &server {
        let (certificate_path, key_path) = &server_paths;
        created.file(key_path, key.as_bytes(), SECRET)?;
        created.file(certificate_path, issued.pem.as_bytes(), PUBLIC)?;
        json.server = Some(IssuedJson::of(issued)?.at(certificate_path, Some(key_path)));
    }
    // The last one: where it is, all is.
    created.file(&directory.authority_certificate(), authority.pem().as_bytes(), PUBLIC)?;
    created.keep();
    context.output.thing(&json, |json| {
        let mut table = Table::labels();
        table.label("authority", name.as_str());
        table.label("directory", json.directory.as_str());
        table.label("key file", json.key_file.as_str());
        table.label("key", json.key.as_str());
        table.label("until", authority.not_after().to_string());
        if let Some(server) = &json.server {
            table.label("server", server.names.join(" "));
            table.label("until", server_until(server));
        }
        table
    })?;
    Ok(Exit::Ok)
}

fn server_until(server: &IssuedJson) -> String {
    i64::try_from(server.not_after_ns / 1_000_000_000).map(|seconds| Date(seconds).to_string()).unwrap_or_default()
}

/// Nothing is written over, and a start that came to no end is told from an authority.
fn must_be_free(directory: &Directory, key_path: &Path) -> Result<(), Problem> {
    let exists = |text: String| Problem::new(Exit::Failed, "EXISTS", text);
    let shown = directory.path().display();
    if files::is_there(&directory.authority_certificate()) {
        return Err(exists(format!("there is an authority in {shown} already"))
            .hint("vmwire pki issue makes further certificates, vmwire pki show tells what there is"));
    }
    let left: Vec<PathBuf> =
        [key_path.to_owned(), directory.revocation_list()].into_iter().filter(|path| files::is_there(path)).collect();
    if left.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = left.iter().map(|path| path.display().to_string()).collect();
    let text = format!("there is {} without {}", all.join(" and "), directory.authority_certificate().display());
    Err(exists(text).hint("if an earlier vmwire pki init was broken off, nothing was signed yet: move the files away"))
}

fn must_not_be_there(path: &Path) -> Result<(), Problem> {
    if files::is_there(path) {
        return Err(Problem::new(Exit::Failed, "EXISTS", format!("there is a {} already", path.display()))
            .hint("nothing is written over: move it away first, or leave out --server"));
    }
    Ok(())
}

fn host_names(texts: &[String]) -> Result<Option<HostNames>, Problem> {
    if texts.is_empty() {
        return Ok(None);
    }
    let names = texts.iter().map(|text| text.parse::<HostName>()).collect::<Result<Vec<_>, _>>();
    names.and_then(HostNames::new).map(Some).map_err(|error| refused(&error))
}

/// Two authorities of one name would be hard to tell apart in errors, so the host's name is part of it.
fn usual_name() -> String {
    let system = rustix::system::uname();
    let host: String = system.nodename().to_string_lossy().chars().take(48).collect();
    if host.is_empty() { "vmwire".to_owned() } else { format!("vmwire on {host}") }
}
