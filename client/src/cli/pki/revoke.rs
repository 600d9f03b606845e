//! `vmwire pki revoke`: a certificate goes on the list, found by its file or by its number.

use std::path::Path;

use serde::Serialize;
use vmwire_tls::date::Date;
use vmwire_tls::pki::{Reason, Revoked, Serial, certificates, check_signature, describe};

use super::super::output::Table;
use super::super::problem::Problem;
use super::directory::{Office, Signing};
use super::index::Index;
use super::{Context, Exit, files, nanoseconds, refused, refused_file};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The certificate's file, or its serial number
    #[arg(value_name = "FILE|SERIAL")]
    what: String,

    /// Why: unspecified, key-compromise, affiliation-changed, superseded, cessation-of-operation or privilege-withdrawn
    #[arg(long, value_name = "REASON", default_value = "unspecified")]
    reason: String,

    /// Take a serial number that is not in issued.jsonl, as of a client that has enrolled
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
}

pub(super) fn run(arguments: &Arguments, now: Date, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let reason: Reason = arguments.reason.parse().map_err(|error| refused(&error))?;
    let office = arguments.signing.office()?;
    let index = office.directory.index()?;
    let serial = serial(arguments, &office, &index)?;
    let earlier = office.revocations()?.find(&serial).cloned();
    let revoked = earlier.clone().unwrap_or(Revoked { serial, since: now, reason });
    // Also when it is on the list already: others may be missing there that a broken off run has only remembered.
    office.revoke(&revoked, now)?;
    let json = RevokedJson {
        serial: revoked.serial.to_string(),
        name: index.find(&revoked.serial).map(|entry| entry.name.clone()),
        reason: revoked.reason.word(),
        since_ns: nanoseconds(revoked.since),
        revocation_list_file: office.directory.revocation_list().display().to_string(),
    };
    context.output.thing(&json, |json| {
        let mut table = Table::labels();
        table.label("revoked", json.serial.as_str());
        table.label("name", json.name.clone().unwrap_or_default());
        table.label("reason", json.reason);
        table.label("since", revoked.since.to_string());
        table.label("list", json.revocation_list_file.as_str());
        table
    })?;
    context.output.note(&match earlier {
        Some(_) => "it was revoked before".to_owned(),
        None => format!("copy {} to every host where vmwired trusts this authority", json.revocation_list_file),
    });
    Ok(Exit::Ok)
}

/// What is meant is a file if there is one, else a number.
fn serial(arguments: &Arguments, office: &Office, index: &Index) -> Result<Serial, Problem> {
    let path = Path::new(&arguments.what);
    if let Some(bytes) = files::read_if_there(path)? {
        let about = |error| refused_file(path, &error);
        let certificate = certificates(&bytes).map_err(about)?.swap_remove(0);
        check_signature(&certificate, office.authority.der()).map_err(about)?;
        return describe(&certificate).map(|described| described.serial).map_err(about);
    }
    let Ok(serial) = arguments.what.parse::<Serial>() else {
        let text = format!("{} is neither a file nor a serial number", arguments.what);
        let of_name = index.issued.iter().filter(|entry| entry.name == arguments.what);
        let serials: Vec<String> = of_name.map(|entry| format!("vmwire pki revoke {}", entry.serial)).collect();
        let hint = match serials.is_empty() {
            true => "vmwire pki show --issued lists what was signed here".to_owned(),
            false => format!("certificates of that name were signed:\n{}", serials.join("\n")),
        };
        return Err(Problem::new(Exit::NotFound, "NOT_FOUND", text).hint(hint));
    };
    if index.find(&serial).is_none() && !arguments.unlisted {
        return Err(Problem::new(Exit::NotFound, "NOT_FOUND", format!("no certificate {serial} was signed here"))
            .hint("vmwire pki show --issued lists them, vmwire client list -o json those who have enrolled; --unlisted revokes the \
                   number all the same"));
    }
    Ok(serial)
}
