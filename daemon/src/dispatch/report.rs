//! What the driver reports becomes state, events, and the ends of operations.

use log::{info, warn};
use vmwire_protocol::message::{EventVmDefined, EventVmMonitor, EventVmReset, EventVmState, event_kind};
use vmwire_protocol::xdr::Text;

use super::refusal::{self, reason_name, state_name};
use super::{Dispatch, Turn};
use crate::driver::{Process, Report};
use crate::model::{OperationId, StateReason, Vm, VmId, VmState};

impl Dispatch {
    /// Takes up a report. The virtual machine is looked up anew: it may have ended meanwhile.
    pub(super) fn report(&mut self, turn: &mut Turn<'_>, report: Report) {
        match report {
            Report::Finished { vm, operation, result } => {
                let name = self.vm_name(vm);
                let result = result.map_err(|error| refusal::driver(&error, &name));
                self.job_finished(turn, operation, result);
            }
            Report::State { vm, state, reason, message } => self.entered(turn, vm, state, reason, message),
            Report::Process { vm, process } => self.process(vm, process),
            Report::Reset { vm, by_guest } => self.was_reset(turn, vm, by_guest),
            Report::Monitor { vm, connected, why } => self.monitor(turn, vm, connected, &why),
            Report::Console { vm, data } => self.console_said(vm, &data),
            Report::Agent { vm, data } => self.agent_said(turn, vm, &data),
            Report::AgentPort { vm, open } => self.agent_port(turn, vm, open),
        }
    }

    pub(super) fn vm_name(&self, vm: VmId) -> String {
        self.vms.get(vm).map(|vm| vm.name().to_string()).unwrap_or_default()
    }

    fn entered(&mut self, turn: &mut Turn<'_>, id: VmId, state: VmState, reason: StateReason, message: String) {
        let Some(vm) = self.vms.get_mut(id) else { return };
        let previous = std::mem::replace(&mut vm.state, state);
        vm.reason = reason;
        vm.since_ns = turn.now.utc_ns;
        vm.message = message;
        let (name, operation) = (vm.name().to_string(), vm.current);
        info!("vm {name}: {} ({})", state_name(state), reason_name(reason));
        let detail = EventVmState {
            state: state as u32,
            previous: previous as u32,
            reason: reason as u32,
            message: Text::clipped(&vm.message),
        };
        self.emit(turn, event_kind::VM_STATE, Some((id, name)), operation, &detail);
        // Before what waited for this is begun, after which there may be no virtual machine any more.
        self.agent_entered(turn, id);
        match state {
            VmState::Stopped => {
                self.process(id, None);
                self.console_ended(turn, id);
                self.went_down(turn, id);
            }
            VmState::Crashed => self.crashed(turn, id),
            VmState::Lost => self.console_ended(turn, id),
            VmState::Starting | VmState::Running | VmState::Paused | VmState::Adopting => {}
        }
        self.answer_waits(turn, id);
        if previous == VmState::Adopting {
            self.next(turn, id);
        }
    }

    fn process(&mut self, id: VmId, process: Option<Process>) {
        if let Some(vm) = self.vms.get_mut(id) {
            vm.monitor = process.is_some();
            (vm.pid, vm.accelerator) = process.map_or((0, ""), |process| (process.pid, process.accelerator));
        }
    }

    fn was_reset(&mut self, turn: &mut Turn<'_>, id: VmId, by_guest: bool) {
        let Some((name, operation)) = self.vms.get(id).map(about) else { return };
        self.agent_reset(turn, id, &name);
        self.emit(turn, event_kind::VM_RESET, Some((id, name)), operation, &EventVmReset { by_guest });
    }

    fn monitor(&mut self, turn: &mut Turn<'_>, id: VmId, connected: bool, why: &str) {
        let Some(vm) = self.vms.get_mut(id) else { return };
        vm.monitor = connected;
        let (name, operation) = about(vm);
        if connected {
            info!("vm {name}: its monitor answers again");
        } else {
            warn!("vm {name}: its monitor does not answer: {why}");
        }
        let detail = EventVmMonitor { connected, why: Text::clipped(why) };
        self.emit(turn, event_kind::VM_MONITOR, Some((id, name)), operation, &detail);
        if !connected {
            self.agent_port_unknown(turn, id);
        }
    }

    pub(super) fn emit_defined(
        &mut self,
        turn: &Turn<'_>,
        id: VmId,
        name: &str,
        operation: OperationId,
        replaced: bool,
    ) {
        let vm = Some((id, name.to_owned()));
        self.emit(turn, event_kind::VM_DEFINED, vm, Some(operation), &EventVmDefined { replaced });
    }
}

fn about(vm: &Vm) -> (String, Option<OperationId>) {
    (vm.name().to_string(), vm.current)
}
