//! What the core says when it cannot do what was asked. One place, so that the same refusal has the same words.

use vmwire_protocol::message::{Failure, code, role, state_reason, vm_state};
use vmwire_protocol::session::ASK_AN_ADMIN;

use crate::access::{Role, Stranger};
use crate::driver::{DriverError, DriverErrorKind};
use crate::model::admission::{WAITING_MAX, Wish};
use crate::model::agent::AgentError;
use crate::model::{AGENT_CHANNEL, OperationId, Vm, VmId, VmState};

/// There is no such virtual machine.
pub(super) fn no_vm(text: &str) -> Failure {
    Failure::new(code::NOT_FOUND, "there is no virtual machine of that name or uuid")
        .about("vm", text)
        .hint("vmwire vm list shows those that are defined")
}

/// The role does not reach so far over this virtual machine.
pub(super) fn denied_over(name: &str, needed: u32, has: Role, vm: &Vm) -> Failure {
    let (needed, has) = (role::name(needed).unwrap_or("admin"), has.name());
    Failure::new(code::DENIED, &format!("{name} needs the role {needed} over the virtual machine; yours is {has}"))
        .about("vm", vm.name().as_str())
        .detail("role", has)
        .detail("needed", needed)
        .hint(ASK_AN_ADMIN)
}

/// A definition makes a virtual machine where the connection may not make one, or is to replace one that it may not
/// replace. Which of both is not said: it may not even see the other one.
pub(super) fn denied_define(name: &str) -> Failure {
    Failure::new(code::DENIED, "vm-define needs the role admin over a virtual machine of that name and those labels")
        .about("vm", name)
        .detail("role", "none")
        .detail("needed", Role::Admin.name())
        .hint(ASK_AN_ADMIN)
}

/// Somebody has no right to be connected.
pub(super) fn stranger(stranger: &Stranger) -> Failure {
    Failure::new(code::DENIED, &stranger.message).hint(&stranger.hint)
}

/// There is no such operation.
pub(super) fn no_operation(id: u64) -> Failure {
    Failure::new(code::NOT_FOUND, "there is no such operation, or it was forgotten")
        .about("operation", &id.to_string())
        .hint("the newest thousand that ended are remembered: vmwire op list")
}

/// A number in the request is none of those it may be.
pub(super) fn invalid(field: &str, number: u32, why: &str) -> Failure {
    Failure::new(code::INVALID, why).detail("field", field).detail("value", &number.to_string())
}

/// It cannot be done in this state.
pub(super) fn wrong_state(wish: Wish, vm: &Vm) -> Failure {
    let state = state_name(vm.state);
    let failure = Failure::new(code::INVALID, &format!("cannot {} a virtual machine that is {state}", verb(wish)))
        .about("vm", vm.name().as_str())
        .detail("state", state)
        .hint(hint(wish, vm.state));
    if vm.message.is_empty() { failure } else { failure.cause(&vm.message) }
}

fn verb(wish: Wish) -> &'static str {
    match wish {
        Wish::Start => "start",
        Wish::Shutdown => "shut down",
        Wish::Stop => "stop",
        Wish::Reboot => "reboot",
        Wish::Reset => "reset",
        Wish::Pause => "pause",
        Wish::Resume => "resume",
        Wish::Undefine => "undefine",
        Wish::Redefine => "replace",
    }
}

fn hint(wish: Wish, state: VmState) -> &'static str {
    match (wish, state) {
        (_, VmState::Lost) => {
            "its process could not be proved to be ours: look at it, end it, and start the daemon anew"
        }
        (Wish::Undefine | Wish::Redefine, _) => "stop it first",
        (Wish::Start, VmState::Paused) => "vmwire vm resume lets it run on",
        (Wish::Start, VmState::Crashed) => "stop it first, or reset it",
        (Wish::Shutdown | Wish::Reboot, VmState::Paused) => {
            "a guest that stands still hears no power button: resume it"
        }
        (Wish::Shutdown | Wish::Reboot, VmState::Crashed) => {
            "a guest that panicked hears no power button: stop or reset it"
        }
        (Wish::Shutdown, _) => "",
        (_, VmState::Stopped) => "start it first",
        _ => "",
    }
}

/// Too much waits already.
pub(super) fn busy(vm: &Vm, holder: OperationId, identity: &str, what: &str, since_ns: u64) -> Failure {
    Failure::new(code::BUSY, &format!("{WAITING_MAX} operations wait already behind {what} of {identity}"))
        .about("vm", vm.name().as_str())
        .detail("holder", identity)
        .detail("operation", &holder.to_string())
        .detail("since", &since_ns.to_string())
        .detail("limit", &WAITING_MAX.to_string())
        .hint("wait for one of them, or stop the virtual machine hard, which goes ahead")
}

/// Too much waits already until it is known whether a guest is ours, or this cannot wait for it.
pub(super) fn adopting(vm: &Vm) -> Failure {
    let message = "it is still being found out whether its process is the one that a former daemon left";
    let mut failure = Failure::new(code::BUSY, message)
        .about("vm", vm.name().as_str())
        .detail("state", state_name(vm.state))
        .hint("ask again in a moment");
    failure.retry_after_ms = 1000;
    failure
}

/// There is nothing over which a guest's agent could be spoken with.
pub(super) fn no_agent_channel(vm: &Vm) -> Failure {
    Failure::new(code::INVALID, "the virtual machine has no channel for a guest agent")
        .about("vm", vm.name().as_str())
        .hint(&format!("add \"{AGENT_CHANNEL}\" to the channels of its definition while it is stopped"))
}

/// No agent can answer in this state.
pub(super) fn no_agent_runs(vm: &Vm) -> Failure {
    let state = state_name(vm.state);
    Failure::new(code::INVALID, &format!("cannot ask the agent of a virtual machine that is {state}"))
        .about("vm", vm.name().as_str())
        .detail("state", state)
        .hint(match vm.state {
            VmState::Paused => "a guest that stands still answers nothing: resume it",
            VmState::Crashed => "a guest that panicked answers nothing: stop or reset it",
            VmState::Starting => "vmwire vm wait tells when it runs",
            state => hint(Wish::Pause, state),
        })
}

/// No agent has opened its channel.
pub(super) fn nobody_listens(vm: &Vm) -> Failure {
    Failure::new(code::AGENT, "nobody in the guest listens on the channel of its agent")
        .about("vm", vm.name().as_str())
        .hint("vmwire-ga or qemu-guest-agent has to run in the guest; one that has just started may take a moment")
}

/// The agent's channel cannot be written to.
pub(super) fn agent_not_reached(name: &str) -> Failure {
    let mut failure =
        Failure::new(code::AGENT, "the channel of the guest's agent takes nothing now").about("vm", name).hint(
            "the guest does not read what it was sent before, or the channel cannot be reached; ask again in a moment",
        );
    failure.retry_after_ms = 1000;
    failure
}

/// What the agent had against it.
pub(super) fn agent(error: &AgentError, name: &str) -> Failure {
    let (message, cause, hint) = match error {
        AgentError::Refused { class, desc } => ("the guest agent refused", format!("{class}: {desc}"), ""),
        AgentError::Nonsense(what) => (
            "the guest agent does not speak its protocol",
            format!("it sent {what}"),
            "see what runs there in its place, and start it anew",
        ),
    };
    Failure::new(code::AGENT, message).about("vm", name).cause(&cause).hint(hint)
}

/// The agent went while its answer was waited for.
pub(super) fn agent_gone(name: &str, what: &str) -> Failure {
    Failure::new(code::AGENT, what).about("vm", name)
}

/// The guest entered a state in which its agent answers nothing.
pub(super) fn agent_interrupted(vm: &Vm) -> Failure {
    let what = match vm.state {
        VmState::Paused => "the guest was paused meanwhile",
        VmState::Crashed => "the guest has crashed meanwhile",
        VmState::Stopped => "the guest has ended meanwhile",
        VmState::Starting | VmState::Running | VmState::Lost | VmState::Adopting => "the guest was lost meanwhile",
    };
    agent_gone(vm.name().as_str(), what).detail("state", state_name(vm.state))
}

/// The deadline passed before the agent has answered.
pub(super) fn agent_silent(name: &str) -> Failure {
    Failure::new(code::DEADLINE_EXCEEDED, "the guest agent has not answered before the deadline")
        .about("vm", name)
        .hint("the agent hangs, or the guest is too busy to let it run; its console may tell")
}

/// The deadline of a call passed.
pub(super) fn deadline(begun: Option<bool>) -> Failure {
    let failure = Failure::new(code::DEADLINE_EXCEEDED, "the deadline passed");
    match begun {
        None => failure,
        Some(begun) => with_begun(failure, begun),
    }
}

/// A call was cancelled.
pub(super) fn cancelled(begun: Option<bool>) -> Failure {
    let failure = Failure::new(code::CANCELLED, "the call was cancelled");
    match begun {
        None => failure,
        Some(begun) => with_begun(failure, begun),
    }
}

/// An operation was overtaken by a stop.
pub(super) fn overtaken(by: OperationId, begun: bool) -> Failure {
    with_begun(Failure::new(code::CANCELLED, &format!("operation {by} stopped the virtual machine")), begun)
}

fn with_begun(failure: Failure, begun: bool) -> Failure {
    failure.detail("begun", if begun { "yes" } else { "no" })
}

/// The guest did not go down in time.
pub(super) fn grace(grace_ms: u128) -> Failure {
    Failure::new(code::DEADLINE_EXCEEDED, "the guest did not go down in time after the power button was pressed")
        .detail("begun", "yes")
        .detail("limit", &grace_ms.to_string())
        .hint("it may ignore the power button; vmwire vm stop ends it hard")
}

/// The guest crashed after its power button was pressed.
pub(super) fn crashed(vm: &Vm) -> Failure {
    let failure = Failure::new(code::DRIVER, "the guest has crashed and will not go down by itself")
        .about("vm", vm.name().as_str())
        .detail("begun", "yes")
        .detail("state", state_name(vm.state))
        .hint("vmwire vm stop ends it, vm reset brings it up again");
    if vm.message.is_empty() { failure } else { failure.cause(&vm.message) }
}

/// What waits for a virtual machine that was undefined waits for ever.
pub(super) fn undefined(vm: VmId, name: &str) -> Failure {
    Failure::new(code::NOT_FOUND, "the virtual machine was undefined")
        .about("vm", name)
        .detail("uuid", &vm.to_string())
        .detail("never", "yes")
}

/// A virtual machine that is lost enters no other state while this daemon runs.
pub(super) fn never(vm: &Vm) -> Failure {
    Failure::new(code::INVALID, "the state waited for can never come: the virtual machine is lost")
        .about("vm", vm.name().as_str())
        .detail("never", "yes")
        .detail("state", state_name(vm.state))
}

/// The driver could not do it.
pub(super) fn driver(error: &DriverError, vm: &str) -> Failure {
    let number = match error.kind {
        DriverErrorKind::Failed | DriverErrorKind::TimedOut | DriverErrorKind::Ended => code::DRIVER,
        DriverErrorKind::Superseded => code::CANCELLED,
        DriverErrorKind::Unsupported => code::INVALID,
    };
    let failure = Failure::new(number, &error.message).about("vm", vm).hint(&error.hint);
    let failure = if number == code::CANCELLED { failure.detail("begun", "yes") } else { failure };
    error.causes.iter().fold(failure, |failure, cause| failure.cause(cause))
}

/// The name of a state.
pub(super) fn state_name(state: VmState) -> &'static str {
    vm_state::name(state as u32).unwrap_or("unknown")
}

/// The name of a reason.
pub(super) fn reason_name(reason: crate::model::StateReason) -> &'static str {
    state_reason::name(reason as u32).unwrap_or("unknown")
}
/// A connection has as many streams open as it may.
pub(super) fn too_many_streams() -> Failure {
    Failure::new(code::OVERLOADED, "too many streams of this connection are open")
        .detail("limit", &vmwire_protocol::limits::STREAMS_MAX.to_string())
}
