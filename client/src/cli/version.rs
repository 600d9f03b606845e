//! `vmwire version`: which versions this program and the daemon have.

use serde::Serialize;
use vmwire_protocol::message::role;
use vmwire_protocol::version;

use super::named::name_of;
use super::output::Table;
use super::problem::Problem;
use super::{Context, Exit};
use crate::connection::Connection;
use crate::uri::{Transport, Uri};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vmwire version\n  vmwire version --client\n  vmwire version -o json\n")]
pub(crate) struct Arguments {
    /// Of this program only, without asking a daemon
    #[arg(long)]
    client: bool,
}

#[derive(Serialize)]
struct Versions {
    client: Client,
    daemon: Option<Daemon>,
}

#[derive(Serialize)]
struct Client {
    release: &'static str,
    protocol: String,
}

#[derive(Serialize)]
struct Daemon {
    uri: String,
    transport: &'static str,
    tls: Option<String>,
    server: String,
    protocol_newest: String,
    protocol_agreed: String,
    identity: String,
    role: String,
}

pub(crate) fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let client = Client {
        release: env!("CARGO_PKG_VERSION"),
        protocol: format!("{}.{}", version::MAJOR, version::NEWEST_MINOR),
    };
    let (daemon, problem) = if arguments.client {
        (None, None)
    } else {
        match context.connect() {
            Ok(connection) => (Some(daemon(&connection, &context.uri()?)), None),
            Err(problem) => (None, Some(problem)),
        }
    };
    context.output.thing(&Versions { client, daemon }, |versions| {
        let mut table = Table::labels();
        table.label("client", versions.client.release);
        table.label("client protocol", versions.client.protocol.as_str());
        if let Some(daemon) = &versions.daemon {
            table.label("connected to", daemon.uri.as_str());
            if let Some(tls) = &daemon.tls {
                table.label("over", tls.as_str());
            } else if daemon.transport == Transport::Ssh.word() {
                table.label("over", daemon.transport);
            } else if daemon.transport != Transport::Unix.word() {
                table.label("over", format!("{}, not encrypted", daemon.transport));
            }
            table.label("daemon", daemon.server.as_str());
            table.label("daemon protocol", daemon.protocol_newest.as_str());
            table.label("agreed protocol", daemon.protocol_agreed.as_str());
            table.label("known there as", format!("{} ({})", daemon.identity, daemon.role));
        }
        table
    })?;
    problem.map_or(Ok(Exit::Ok), Err)
}

fn daemon(connection: &Connection, uri: &Uri) -> Daemon {
    let hello = connection.hello();
    Daemon {
        uri: uri.to_string(),
        transport: connection.transport().word(),
        tls: connection.tls_summary(),
        server: hello.server.to_string(),
        protocol_newest: format!("{}.{}", hello.major, hello.newest_minor),
        protocol_agreed: format!("{}.{}", hello.major, hello.minor),
        identity: hello.identity.to_string(),
        role: name_of(hello.role, role::name),
    }
}
