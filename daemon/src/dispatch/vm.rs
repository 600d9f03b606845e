//! Virtual machines: show, definition, wait for a state.

use vmwire_protocol::message::{
    Failure, ServerData, VmDefinitionAnswer, VmShowAnswer, VmWaitAnswer, VmWaitCall, code, vm_state,
};
use vmwire_protocol::xdr::Text;

use super::calls::Subject;
use super::refusal::{invalid, never, no_vm};
use super::{Dispatch, Outcome, Reply, Turn, convert};
use crate::model::{Vm, VmId, VmState};

impl Dispatch {
    /// The virtual machine that a client means.
    pub(super) fn find(&self, text: &str) -> Result<&Vm, Failure> {
        self.vms.find(text).ok_or_else(|| no_vm(text))
    }

    pub(super) fn vm_show(&self, text: &str) -> Outcome {
        let vm = self.find(text)?;
        let writer = Text::clipped(&self.console_writer_identity(vm.id));
        let readers = self.consoles.readers(vm.id);
        Ok(Reply::Now(ServerData::VmShow(VmShowAnswer {
            cursor: self.cursor(),
            vm: convert::vm_info(vm, writer, readers),
        })))
    }

    pub(super) fn vm_definition(&self, text: &str) -> Result<VmDefinitionAnswer, Failure> {
        let vm = self.find(text)?;
        let definition = Text::new(vm.definition.text.clone())
            .map_err(|_| Failure::new(code::INTERNAL, "the definition is longer than a definition may be"))?;
        Ok(VmDefinitionAnswer { definition })
    }

    pub(super) fn vm_wait(&self, call: &VmWaitCall) -> Outcome {
        let vm = self.find(&call.vm)?;
        if call.states.is_empty() {
            return Err(Failure::new(code::INVALID, "a wait needs at least one state").detail("field", "states"));
        }
        for state in &call.states {
            if vm_state::name(*state).is_none() {
                return Err(invalid("states", *state, &format!("there is no state {state} in this version")));
            }
        }
        if call.states.contains(&(vm.state as u32)) {
            return Ok(Reply::Now(ServerData::VmWait(self.wait_answer(vm))));
        }
        if vm.state == VmState::Lost {
            return Err(never(vm));
        }
        Ok(Reply::Later(Subject::VmState { vm: vm.id, states: call.states.to_vec() }))
    }

    fn wait_answer(&self, vm: &Vm) -> VmWaitAnswer {
        VmWaitAnswer { cursor: self.cursor(), vm: convert::vm_ref(vm.id, vm.name().as_str()), state: vm.state as u32 }
    }

    /// A virtual machine entered a state: answers those who waited for it.
    pub(super) fn answer_waits(&mut self, turn: &mut Turn<'_>, id: VmId) {
        for key in self.calls.of_vm(id) {
            let Some(vm) = self.vms.get(id) else { return };
            let Some(Subject::VmState { states, .. }) = self.calls.subject(key) else { continue };
            let outcome = if states.contains(&(vm.state as u32)) {
                Ok(ServerData::VmWait(self.wait_answer(vm)))
            } else if vm.state == VmState::Lost {
                Err(never(vm))
            } else {
                continue;
            };
            self.conclude(turn, key, outcome);
        }
    }
}
