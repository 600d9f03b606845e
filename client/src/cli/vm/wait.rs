//! `vmwire vm wait`: until a virtual machine is in a state.

use serde::Serialize;
use vmwire_protocol::message::{VmWaitCall, vm_state};
use vmwire_protocol::xdr::List;

use super::super::named::{CursorJson, VmRefJson, state};
use super::super::output::{Align, Table};
use super::super::problem::Problem;
use super::super::{Context, Exit};
use super::vm;
use crate::connection::Options;
use crate::request;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vmwire vm wait web --for state=running\n  \
                        vmwire vm wait web --for state=stopped,crashed --timeout 10m\n\n\
                        Exits with 6 when the time is over, with 7 when it can never come true.\n")]
pub(crate) struct Arguments {
    /// Name or uuid
    #[arg(value_name = "VM")]
    vm: String,

    /// What is waited for: any of these states
    #[arg(long = "for", value_name = "state=STATE,...", value_parser = read_condition)]
    condition: States,
}

/// Any of some states.
#[derive(Debug, Clone, PartialEq, Eq)]
struct States(Vec<u32>);

fn read_condition(text: &str) -> Result<States, String> {
    let states = text
        .strip_prefix("state=")
        .ok_or_else(|| format!("write state=STATE, as in state=running, in place of {text:?}"))?;
    let number = |name: &str| {
        vm_state::number(name).ok_or_else(|| {
            let names: Vec<&str> = vm_state::ALL.iter().map(|(_, name)| *name).collect();
            format!("there is no state {name:?}; there are {}", names.join(", "))
        })
    };
    states.split(',').map(number).collect::<Result<_, _>>().map(States)
}

#[derive(Serialize)]
struct WaitedJson {
    vm: VmRefJson,
    state: String,
    cursor: CursorJson,
}

pub(crate) fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let states = List::new(arguments.condition.0.as_slice()).map_err(|_| Problem::usage("too many states"))?;
    let call = VmWaitCall { vm: vm(&arguments.vm)?, states };
    // Whoever waits for longer than a daemon takes to come back goes on waiting when it does.
    let usual = Options::default();
    let reconnect = context.timeout.map_or(usual.reconnect, |time| time.max(usual.reconnect));
    let mut connection = context.connect_with(Options { reconnect, ..usual })?;
    let answer = connection.call(request::VmWait(call), context.timeout);
    let answer = answer.map_err(|error| match Problem::from(error) {
        problem @ Problem { object: None, exit: Exit::Deadline, .. } => problem.about("vm", &arguments.vm),
        problem => problem,
    })?;
    let waited = WaitedJson {
        vm: VmRefJson::from(&answer.vm),
        state: state(answer.state),
        cursor: CursorJson::from(&answer.cursor),
    };
    context.output.thing(&waited, |waited| {
        let mut table = Table::new([("", Align::Left); 2]);
        table.row([waited.vm.name.as_str(), waited.state.as_str()]);
        table
    })?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_names_states() {
        assert_eq!(read_condition("state=running"), Ok(States(vec![3])));
        assert_eq!(read_condition("state=stopped,crashed"), Ok(States(vec![1, 5])));
        for text in ["", "running", "state=", "state=up", "state=running,", "agent"] {
            assert!(read_condition(text).is_err(), "{text}");
        }
    }
}
