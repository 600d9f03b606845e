//! The second half of a shutdown: the button was pressed, and the guest goes down, or crashes, or its grace is over.

use log::info;
use vmwire_protocol::message::Failure;

use super::refusal::{self, overtaken};
use super::task::Task;
use super::{Dispatch, Turn};
use crate::driver::{Action, Job};
use crate::model::{OperationId, VmId, VmState};

impl Dispatch {
    /// The driver has done its part of an operation.
    pub(super) fn job_finished(&mut self, turn: &mut Turn<'_>, operation: OperationId, result: Result<(), Failure>) {
        let vm = self.operations.get(operation).and_then(|operation| self.vms.get(operation.vm.0));
        let down = vm.is_none_or(|vm| vm.state == VmState::Stopped);
        let crashed = vm.is_some_and(|vm| vm.state == VmState::Crashed);
        let overtaken_by = vm.and_then(|vm| vm.current).filter(|current| *current != operation);
        if let (Ok(()), Some(Task::Shutdown { grace, pressed, .. })) = (&result, self.tasks.get_mut(&operation))
            && !*pressed
            && !down
        {
            // A stop came between the pressing and this report: it sees to the guest, and nobody waits for it here.
            if let Some(stop) = overtaken_by {
                return self.finish(turn, operation, Err(overtaken(stop, true)));
            }
            *pressed = true;
            if crashed {
                return self.grace_useless(turn, operation);
            }
            let grace = *grace;
            self.graces.set(turn.now.monotonic + grace, operation);
            let total = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            for key in self.calls.of_operation(operation) {
                self.progress(key, total, "the power button was pressed; waiting for the guest to go down");
            }
            return;
        }
        self.finish(turn, operation, result);
    }

    /// A guest went down: a shutdown that waited for it is done.
    pub(super) fn went_down(&mut self, turn: &mut Turn<'_>, vm: VmId) {
        let current = self.vms.get(vm).and_then(|vm| vm.current);
        if let Some(operation) = current
            && let Some(Task::Shutdown { pressed: true, .. }) = self.tasks.get(&operation)
        {
            self.finish(turn, operation, Ok(()));
        }
    }

    /// A guest has crashed: it hears no power button any more, so a shutdown that waited for it waits no longer.
    pub(super) fn crashed(&mut self, turn: &mut Turn<'_>, vm: VmId) {
        let current = self.vms.get(vm).and_then(|vm| vm.current);
        if let Some(operation) = current
            && let Some(Task::Shutdown { pressed: true, .. }) = self.tasks.get(&operation)
        {
            self.grace_useless(turn, operation);
        }
    }

    fn grace_useless(&mut self, turn: &mut Turn<'_>, operation: OperationId) {
        let vm = self.operations.get(operation).and_then(|operation| self.vms.get(operation.vm.0));
        let Some(failure) = vm.map(refusal::crashed) else { return };
        self.not_down(turn, operation, failure);
    }

    /// A guest did not go down in time.
    pub(super) fn grace_passed(&mut self, turn: &mut Turn<'_>, operation: OperationId) {
        if let Some(Task::Shutdown { grace, .. }) = self.tasks.get(&operation) {
            let failure = refusal::grace(grace.as_millis());
            self.not_down(turn, operation, failure);
        }
    }

    /// The power button came to nothing: what was asked for in that case.
    fn not_down(&mut self, turn: &mut Turn<'_>, operation: OperationId, failure: Failure) {
        let Some(vm) = self.operations.get(operation).map(|operation| operation.vm.0) else { return };
        match self.tasks.get(&operation) {
            Some(Task::Shutdown { then_stop: true, .. }) => {
                self.graces.cancel(operation);
                self.tasks.insert(operation, Task::Stop);
                let name = self.operation_vm(operation);
                info!("vm {name}: operation {operation}: {}; stopping hard", failure.message);
                self.driver.begin(turn.now, turn.host, Job { vm, operation, action: Action::Stop });
            }
            Some(Task::Shutdown { .. }) => self.finish(turn, operation, Err(failure)),
            _ => {}
        }
    }
}
