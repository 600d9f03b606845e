//! `vmwire pki`: certificates for those who have no authority of their own, as files in one directory. No daemon is
//! asked.
//!
//! What is in certificates is `vmwire_tls::pki`'s matter; here they become files and files become them. A room per
//! verb, and two below them: [`files`] writes each file whole or not at all, [`directory`] is the authority's directory with its
//! lock, and with the index of what was signed, so that it can be revoked when its file is gone.
//!
//! ```text
//!   DIR/ca.key ca.crt crl.pem         the authority; the key may lie elsewhere (--ca-key)
//!   DIR/server.key server.crt         this host's own, with init --server
//!   DIR/issued/NAME/                  what another machine needs in its DIR: server.* or client.*, and ca.crt
//!   DIR/issued.jsonl                  a line for each certificate, and one more when it is revoked
//! ```

mod directory;
pub(super) mod files;
mod init;
mod issue;
mod renew;
mod revoke;
mod show;
mod sign;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::SystemTime;

use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use vmwire_tls::date::Date;
use vmwire_tls::pki::{Description, Issued, PkiError, Purpose, describe};

use super::output::Table;
use super::problem::Problem;
use super::{Context, Exit};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make an authority, and with --server this host's own certificate
    #[command(after_help = "Examples:\n  vmwire pki init --server vm1.example.org --server 10.0.0.7\n  \
                            vmwire pki init --name \"Example Ltd\" --ca-key /media/stick/ca.key\n")]
    Init(init::Arguments),
    /// Make a key and a certificate, in a directory to be copied to where they belong
    #[command(after_help = "Examples:\n  vmwire pki issue client alice\n  \
                            vmwire pki issue server vm2.example.org --host 10.0.0.8\n")]
    Issue(issue::Arguments),
    /// Sign a request that was made where its key stays; prints the certificate
    #[command(after_help = "Examples:\n  vmwire pki sign alice.csr --client alice > client.crt\n  \
                            ssh vm2 cat server.csr | vmwire pki sign - --server vm2.example.org > server.crt\n")]
    Sign(sign::Arguments),
    /// Say what files hold, for how long, and what is wrong with them
    #[command(
        after_help = "Examples:\n  vmwire pki show\n  vmwire pki show client.crt\n  vmwire pki show --issued\n  \
                            vmwire pki show -o json | jq '.[] | select(.days_left < 30)'\n"
    )]
    Show(show::Arguments),
    /// Put certificates on the list of those that are no longer taken
    #[command(after_help = "Examples:\n  vmwire pki revoke issued/alice/client.crt --reason key-compromise\n  \
                            vmwire pki revoke alice\n  \
                            vmwire pki revoke 4f1c2ab35e6d7f8091a2b3c4d5e6f708\n")]
    Revoke(revoke::Arguments),
    /// Make a certificate anew, for the same key or another
    #[command(after_help = "Examples:\n  vmwire pki renew server vm1.example.org\n  \
                            vmwire pki renew client alice --new-key\n")]
    Renew(renew::Arguments),
}

/// Whose certificate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Of a host where vmwired runs
    Server,
    /// Of somebody who manages it from elsewhere
    Client,
}

pub(crate) fn run(verb: &Verb, context: &mut Context<'_>) -> Result<Exit, Problem> {
    run_at(verb, Date::from(SystemTime::now()), context)
}

fn run_at(verb: &Verb, now: Date, context: &mut Context<'_>) -> Result<Exit, Problem> {
    match verb {
        Verb::Init(arguments) => init::run(arguments, now, context),
        Verb::Issue(arguments) => issue::run(arguments, now, context),
        Verb::Sign(arguments) => sign::run(arguments, now, context),
        Verb::Show(arguments) => show::run(arguments, now, context),
        Verb::Revoke(arguments) => revoke::run(arguments, now, context),
        Verb::Renew(arguments) => renew::run(arguments, now, context),
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }

    fn purpose(self) -> Purpose {
        match self {
            Self::Server => Purpose::Server,
            Self::Client => Purpose::Client,
        }
    }
}

/// A certificate that was just signed, and where it lies.
#[derive(Debug, Serialize)]
struct IssuedJson {
    purpose: &'static str,
    subject: String,
    names: Vec<String>,
    serial: String,
    key: String,
    not_before_ns: u64,
    not_after_ns: u64,
    certificate_file: Option<String>,
    key_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_pem: Option<String>,
}

impl IssuedJson {
    fn of(issued: &Issued) -> Result<Self, Problem> {
        let Description { purpose, subject, names, .. } = describe(&issued.der).map_err(|error| refused(&error))?;
        Ok(Self {
            purpose: purpose.word(),
            subject,
            names,
            serial: issued.serial.to_string(),
            key: issued.key.to_string(),
            not_before_ns: nanoseconds(issued.not_before),
            not_after_ns: nanoseconds(issued.not_after),
            certificate_file: None,
            key_file: None,
            certificate_pem: None,
        })
    }

    fn at(self, certificate: &Path, key: Option<&Path>) -> Self {
        let text = |path: &Path| path.display().to_string();
        Self { certificate_file: Some(text(certificate)), key_file: key.map(text), ..self }
    }

    fn rows(&self, until: Date) -> Table {
        let mut table = Table::labels();
        table.label("certificate", self.certificate_file.clone().unwrap_or_default());
        table.label("key file", self.key_file.clone().unwrap_or_default());
        table.label("subject", self.subject.as_str());
        table.label("names", self.names.join(" "));
        table.label("serial", self.serial.as_str());
        table.label("key", self.key.as_str());
        table.label("until", until.to_string());
        table
    }
}

/// A moment in JSON. Moments before 1970 are shown as 1970.
pub(super) fn nanoseconds(date: Date) -> u64 {
    u64::try_from(date.seconds()).unwrap_or(0).saturating_mul(1_000_000_000)
}

/// What the authority says no to.
fn refused(error: &PkiError) -> Problem {
    let problem = match error {
        PkiError::AuthorityName(_)
        | PkiError::ClientName(_)
        | PkiError::HostName(_)
        | PkiError::HostNameNotAscii(_)
        | PkiError::NoHostName
        | PkiError::TooManyHostNames { .. }
        | PkiError::Serial
        | PkiError::UnknownReason(_) => Problem::usage(error.to_string()),
        _ => Problem::new(Exit::Failed, "PKI", error.to_string()),
    };
    problem.hint(error.hint())
}

/// The same, about a file.
fn refused_file(path: &Path, error: &PkiError) -> Problem {
    refused(error).about("file", &path.display().to_string())
}
