//! `vmwire daemon`: the daemon itself.

use clap::Subcommand;
use serde::Serialize;
use vmwire_protocol::message::DaemonInfoAnswer;

use super::named::{CursorJson, unless_empty};
use super::output::Table;
use super::problem::Problem;
use super::quantity::show_time;
use super::{Context, Exit};
use crate::request;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Version, process, directories, and what it has done so far
    #[command(after_help = "Examples:\n  vmwire daemon info\n  vmwire daemon info -o json | jq .pid\n")]
    Info,
}

pub(crate) fn run(verb: &Verb, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let Verb::Info = verb;
    let mut connection = context.connect()?;
    let info = InfoJson::from(connection.call(request::DaemonInfo, context.timeout)?);
    context.output.thing(&info, |info| {
        let mut table = Table::labels();
        table.label("release", info.release.as_str());
        if let Some(pid) = info.pid {
            table.label("pid", pid.to_string());
        }
        table.label("started", show_time(info.started_ns));
        table.label("driver", info.driver.as_str());
        for (label, directory) in [("state", &info.state_dir), ("runtime", &info.runtime_dir)] {
            if let Some(directory) = directory {
                table.label(label, directory.as_str());
            }
        }
        for socket in &info.sockets {
            table.label("socket", socket.as_str());
        }
        table.label("connections", format!("{} of {}", info.connections, info.connections_max));
        table.label("calls", info.calls.to_string());
        table.label("events", info.events.sequence.to_string());
        table.label("log lines lost", info.log_lines_lost.to_string());
        table
    })?;
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct InfoJson {
    release: String,
    pid: Option<u32>,
    started_ns: u64,
    driver: String,
    state_dir: Option<String>,
    runtime_dir: Option<String>,
    sockets: Vec<String>,
    connections: u32,
    connections_max: u32,
    calls: u64,
    events: CursorJson,
    log_lines_lost: u64,
}

impl From<DaemonInfoAnswer> for InfoJson {
    fn from(info: DaemonInfoAnswer) -> Self {
        Self {
            release: info.release.into(),
            pid: (info.pid != 0).then_some(info.pid),
            started_ns: info.started_ns,
            driver: info.driver.into(),
            state_dir: unless_empty(&info.state_dir),
            runtime_dir: unless_empty(&info.runtime_dir),
            sockets: info.sockets.iter().map(ToString::to_string).collect(),
            connections: info.connections,
            connections_max: info.connections_max,
            calls: info.calls,
            events: CursorJson::from(&info.events),
            log_lines_lost: info.log_lines_lost,
        }
    }
}
