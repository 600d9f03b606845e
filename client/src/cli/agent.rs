//! `vmwire agent`: agents in guests.

use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;
use vmwire_protocol::message::VmCall;

use super::output::{Align, Format, Table};
use super::problem::{Problem, object};
use super::quantity::show_duration;
use super::vm::several::tell;
use super::vm::vm;
use super::{Context, Exit, unless_too_old};
use crate::request;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Ask whether they are there, and measure how long they take to answer
    Ping(Ping),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vmwire agent ping web\n  vmwire agent ping web db --timeout 2s\n  \
                        vmwire agent ping web -o json | jq '.[].rtt_ns'\n\n\
                        The agent is vmwire-ga or qemu-ga. The guest needs the channel org.qemu.guest_agent.0.\n")]
pub(crate) struct Ping {
    /// Names or uuids
    #[arg(value_name = "VM", required = true)]
    vms: Vec<String>,
}

#[derive(Serialize)]
struct AnsweredJson<'a> {
    vm: &'a str,
    rtt_ns: u64,
}

pub(crate) fn run(verb: &Verb, context: &mut Context<'_>) -> Result<Exit, Problem> {
    match verb {
        Verb::Ping(arguments) => ping(arguments, context),
    }
}

/// Asks all at once. The time is that from here to the agent and back, the daemon's share and the way to it included.
fn ping(arguments: &Ping, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let vms = arguments.vms.iter().map(|name| vm(name)).collect::<Result<Vec<_>, _>>()?;
    let mut connection = context.connect()?;
    let pending: Vec<_> =
        vms.into_iter().map(|vm| connection.begin(request::AgentPing(VmCall { vm }), context.timeout)).collect();
    let outcomes = arguments.vms.iter().zip(pending).map(|(name, call)| {
        let ((), time) = call.and_then(|call| connection.wait_timed(call)).map_err(|error| {
            let mut problem = unless_too_old(error);
            problem.object.get_or_insert_with(|| object("vm", name));
            problem
        })?;
        Ok(AnsweredJson { vm: name, rtt_ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) })
    });
    let (answered, exit) = tell(context.output, outcomes);
    if answered.is_empty() && context.output.format() == Format::Table {
        return Ok(exit);
    }
    context.output.listing(&answered, |answered| {
        let mut table = Table::new([("vm", Align::Left), ("answered after", Align::Right)]);
        for AnsweredJson { vm, rtt_ns } in answered {
            table.row([*vm, &show_duration(Duration::from_nanos(*rtt_ns))]);
        }
        table
    })?;
    Ok(exit)
}
