//! The verbs that change what a virtual machine does: start, shutdown, stop, reboot, reset, pause, resume, undefine.
//!
//! Each takes any number of virtual machines. All calls are under way at once; the answers are printed in the order of
//! the command line, and what went wrong with one is told on standard error without holding up the others.

use std::time::Duration;

use serde::Serialize;
use vmwire_protocol::message::{VmCall, VmDoneAnswer, VmShutdownCall, VmStartCall, shutdown_then};
use vmwire_protocol::xdr::Text;

use super::super::named::{state, unless_zero};
use super::super::output::{Align, Format, Table};
use super::super::problem::{Problem, object};
use super::super::quantity::read_duration;
use super::super::{Context, Exit};
use super::several::tell;
use super::vm;
use crate::request::{self, Request};

/// What can be asked of each of several virtual machines.
macro_rules! verbs {
    ($($(#[$meta:meta])* $name:ident => $request:ident;)+) => {$(
        #[derive(Debug, clap::Args)]
        $(#[$meta])*
        pub(crate) struct $name {
            /// Names or uuids
            #[arg(value_name = "VM", required = true)]
            vms: Vec<String>,
        }

        impl $name {
            pub(crate) fn run(&self, context: &mut Context<'_>) -> Result<Exit, Problem> {
                each(context, &self.vms, |vm| request::$request(VmCall { vm }))
            }
        }
    )+};
}

verbs! {
    #[command(after_help = "Examples:\n  vmwire vm undefine web\n  vmwire vm stop web && vmwire vm undefine web\n")]
    Undefine => VmUndefine;
    #[command(after_help = "Examples:\n  vmwire vm stop web\n  vmwire vm stop web db\n")]
    Stop => VmStop;
    #[command(after_help = "Examples:\n  vmwire vm reboot web\n  vmwire vm reboot web --timeout 2m\n")]
    Reboot => VmReboot;
    #[command(after_help = "Examples:\n  vmwire vm reset web\n")]
    Reset => VmReset;
    #[command(after_help = "Examples:\n  vmwire vm pause web\n")]
    Pause => VmPause;
    #[command(after_help = "Examples:\n  vmwire vm resume web\n")]
    Resume => VmResume;
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vmwire vm start web\n  vmwire vm start web db cache\n  \
                        vmwire vm start --paused web && vmwire vm console web\n")]
pub(crate) struct Start {
    /// Names or uuids
    #[arg(value_name = "VM", required = true)]
    vms: Vec<String>,

    /// Leave the processors standing; vmwire vm resume lets them run
    #[arg(long)]
    paused: bool,
}

impl Start {
    pub(crate) fn run(&self, context: &mut Context<'_>) -> Result<Exit, Problem> {
        each(context, &self.vms, |vm| request::VmStart(VmStartCall { vm, paused: self.paused }))
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vmwire vm shutdown web\n  vmwire vm shutdown --grace 2m --then stop web db\n")]
pub(crate) struct Shutdown {
    /// Names or uuids
    #[arg(value_name = "VM", required = true)]
    vms: Vec<String>,

    /// How long the guest may take to go down [default: 1m]
    #[arg(long, value_name = "DURATION", value_parser = read_duration)]
    grace: Option<Duration>,

    /// What follows when it does not go down in time
    #[arg(long, value_enum, default_value_t)]
    then: Then,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Then {
    /// Fail; the guest runs on
    #[default]
    Fail,
    /// Stop it hard
    Stop,
}

impl Shutdown {
    pub(crate) fn run(&self, context: &mut Context<'_>) -> Result<Exit, Problem> {
        let grace_ms = self.grace.map_or(0, |grace| u32::try_from(grace.as_millis()).unwrap_or(u32::MAX));
        let then = match self.then {
            Then::Fail => shutdown_then::FAIL,
            Then::Stop => shutdown_then::STOP,
        };
        each(context, &self.vms, |vm| request::VmShutdown(VmShutdownCall { vm, grace_ms, then }))
    }
}

#[derive(Serialize)]
struct DoneJson<'a> {
    vm: &'a str,
    state: String,
    operation: Option<u64>,
}

/// Asks the same of each, all at once.
fn each<R: Request<Answer = VmDoneAnswer>>(
    context: &mut Context<'_>,
    names: &[String],
    request: impl Fn(Text<128>) -> R,
) -> Result<Exit, Problem> {
    let vms = names.iter().map(|name| vm(name)).collect::<Result<Vec<_>, _>>()?;
    let mut connection = context.connect()?;
    let mut pending = Vec::new();
    for vm in vms {
        pending.push(connection.begin(request(vm), context.timeout));
    }
    let outcomes = names.iter().zip(pending).map(|(name, call)| {
        let answer = call.and_then(|call| connection.wait(call)).map_err(|error| {
            let mut problem = Problem::from(error);
            problem.object.get_or_insert_with(|| object("vm", name));
            problem
        })?;
        Ok(DoneJson { vm: name, state: state(answer.state), operation: unless_zero(answer.operation) })
    });
    let (done, exit) = tell(context.output, outcomes);
    if done.is_empty() && context.output.format() == Format::Table {
        return Ok(exit);
    }
    context.output.listing(&done, |done| {
        let mut table = Table::new([("vm", Align::Left), ("state", Align::Left), ("operation", Align::Right)]);
        for done in done {
            let operation = done.operation.map(|id| id.to_string()).unwrap_or_default();
            table.row([done.vm, &done.state, &operation]);
        }
        table
    })?;
    Ok(exit)
}
