//! `vmwire connection`: who is connected, and showing them out.

use clap::Subcommand;
use serde::Serialize;
use vmwire_protocol::message::{ConnectionInfo, ConnectionKickCall, ListCall, role};

use super::named::{name_of, yes};
use super::output::{Align, Table};
use super::problem::Problem;
use super::quantity::{show_bytes, show_time};
use super::{Context, Exit};
use crate::pages::{Allowance, Order, Page};
use crate::request;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Everybody who is connected
    #[command(after_help = "Examples:\n  vmwire connection list\n  \
                            vmwire connection list -o json | jq '.[] | select(.own | not) | .id'\n")]
    List,
    /// End connections; calls received whole are still carried out
    #[command(after_help = "Examples:\n  vmwire connection kick 7\n")]
    Kick {
        /// Numbers, as the list has them
        #[arg(value_name = "ID", required = true)]
        ids: Vec<u64>,
    },
}

pub(crate) fn run(verb: &Verb, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let mut connection = context.connect()?;
    match verb {
        Verb::List => {
            let mut rows = Vec::new();
            let ask = |after, deadline| {
                let call = request::ConnectionList(ListCall { after, rows_max: 0 });
                let answer = connection.call(call, deadline)?;
                Ok(Page { told: (), rows: answer.rows.into_vec(), next: answer.next })
            };
            let mut allowance = Allowance::new(context.timeout);
            Order::Number.each_page(&mut allowance, ask, |row| rows.push(ConnectionJson::from(row)))?;
            context.output.listing(&rows, table)?;
            Ok(Exit::Ok)
        }
        Verb::Kick { ids } => {
            let mut ends = Vec::new();
            for &id in ids {
                match connection.call(request::ConnectionKick(ConnectionKickCall { id }), context.timeout) {
                    Ok(()) => ends.push(Exit::Ok),
                    Err(error) if error.ends_connection() => return Err(error.into()),
                    Err(error) => {
                        let problem = Problem::from(error);
                        context.output.problem(&problem);
                        ends.push(problem.exit);
                    }
                }
            }
            Ok(Exit::of_several(&ends))
        }
    }
}

fn table(rows: &[ConnectionJson]) -> Table {
    let mut table = Table::new([
        ("id", Align::Right),
        ("identity", Align::Left),
        ("role", Align::Left),
        ("via", Align::Left),
        ("since", Align::Left),
        ("calls", Align::Right),
        ("open", Align::Right),
        ("streams", Align::Right),
        ("subscribed", Align::Left),
        ("unsent", Align::Right),
        ("program", Align::Left),
    ]);
    for row in rows {
        let own = if row.own { " (this one)" } else { "" };
        table.row([
            row.id.to_string(),
            row.identity.clone(),
            row.role.clone(),
            row.transport.clone(),
            show_time(row.since_ns),
            row.calls.to_string(),
            row.calls_open.to_string(),
            row.streams.to_string(),
            yes(row.subscribed).to_owned(),
            show_bytes(row.unsent_bytes.into()),
            format!("{}{own}", row.name),
        ]);
    }
    table
}

#[derive(Serialize)]
struct ConnectionJson {
    id: u64,
    transport: String,
    identity: String,
    role: String,
    name: String,
    minor: u32,
    since_ns: u64,
    calls: u64,
    calls_open: u32,
    streams: u32,
    subscribed: bool,
    unsent_bytes: u32,
    own: bool,
}

impl From<ConnectionInfo> for ConnectionJson {
    fn from(info: ConnectionInfo) -> Self {
        Self {
            id: info.id,
            transport: info.transport.into(),
            identity: info.identity.into(),
            role: name_of(info.role, role::name),
            name: info.name.into(),
            minor: info.minor,
            since_ns: info.since_ns,
            calls: info.calls,
            calls_open: info.calls_open,
            streams: info.streams,
            subscribed: info.subscribed,
            unsent_bytes: info.unsent_bytes,
            own: info.own,
        }
    }
}
