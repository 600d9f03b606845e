//! How operations end, and with them the calls that wait for them: done, failed, dropped, given up.

use log::info;
use vmwire_protocol::message::{Failure, ServerData, VmDefineAnswer, VmDoneAnswer, code, event_kind, number};

use super::calls::{CallKey, Subject};
use super::refusal::{self, wrong_state};
use super::task::Task;
use super::{Dispatch, Turn, convert};
use crate::audit::Ending;
use crate::model::admission::{Verdict, Wish, judge};
use crate::model::operation::OperationState;
use crate::model::{OperationId, VmId, VmState};

impl Dispatch {
    /// An operation has ended: tells everybody, and begins the next one of its virtual machine.
    pub(super) fn finish(&mut self, turn: &mut Turn<'_>, operation: OperationId, result: Result<(), Failure>) {
        let Some(vm) = self.operations.get(operation).map(|operation| operation.vm.0) else { return };
        match result {
            Ok(()) => self.end(turn, operation, OperationState::Done, None),
            Err(failure) => {
                let failure = failure.detail("operation", &operation.to_string());
                self.end(turn, operation, OperationState::Failed, Some(failure));
            }
        }
        self.next(turn, vm);
    }

    /// Answers the call of an operation that was over before anybody could wait for it.
    pub(super) fn finish_if_over(&mut self, turn: &mut Turn<'_>, operation: OperationId) {
        if self.outcome(operation).is_some() {
            self.answer_operation(turn, operation);
        }
    }

    /// An operation that was never begun is dropped for ever.
    pub(super) fn drop_operation(&mut self, turn: &mut Turn<'_>, operation: OperationId, failure: Failure) {
        let vm = self.operations.get(operation).map(|operation| operation.vm.0);
        if let Some(vm) = vm.and_then(|id| self.vms.get_mut(id)) {
            vm.waiting.retain(|waiting| *waiting != operation);
        }
        let failure = failure.detail("operation", &operation.to_string());
        self.end(turn, operation, OperationState::Dropped, Some(failure));
    }

    pub(super) fn end(
        &mut self,
        turn: &mut Turn<'_>,
        operation: OperationId,
        state: OperationState,
        failure: Option<Failure>,
    ) {
        self.tasks.remove(&operation);
        self.graces.cancel(operation);
        let vm = self.operations.get(operation).map(|operation| operation.vm.0);
        if let Some(vm) = vm.and_then(|id| self.vms.get_mut(id))
            && vm.current == Some(operation)
        {
            vm.current = None;
        }
        let name = self.operation_vm(operation);
        match &failure {
            None => info!("vm {name}: operation {operation}: done"),
            Some(failure) => info!("vm {name}: operation {operation}: {}", failure.message),
        }
        self.operations.end(operation, state, turn.now.utc_ns, failure);
        self.emit_operation(turn, operation);
        self.answer_operation(turn, operation);
    }

    /// Begins what waits next.
    pub(super) fn next(&mut self, turn: &mut Turn<'_>, id: VmId) {
        while let Some(vm) = self.vms.get_mut(id).filter(|vm| vm.current.is_none()) {
            let Some(operation) = vm.waiting.pop_front() else { return };
            let wish = self.tasks.get(&operation).and_then(Task::wish).unwrap_or(Wish::Start);
            let Some(vm) = self.vms.get(id) else { return };
            match judge(wish, vm.state) {
                Verdict::Do => self.begin(turn, id, operation),
                Verdict::Already => self.end(turn, operation, OperationState::Done, None),
                Verdict::Wait => {
                    if let Some(vm) = self.vms.get_mut(id) {
                        vm.waiting.push_front(operation);
                    }
                    return;
                }
                Verdict::Refuse => {
                    let failure = wrong_state(wish, vm).detail("begun", "no");
                    self.drop_operation(turn, operation, failure);
                }
            }
        }
    }

    /// A virtual machine is undefined: nothing can be done to it or waited for any more.
    pub(super) fn forget(&mut self, turn: &mut Turn<'_>, id: VmId, name: &str, operation: OperationId) {
        let gone = refusal::undefined(id, name);
        let waiting = self.vms.get_mut(id).map(|vm| std::mem::take(&mut vm.waiting)).unwrap_or_default();
        for waiting in waiting {
            self.drop_operation(turn, waiting, gone.clone().detail("begun", "no"));
        }
        self.console_forgotten(id, name);
        self.agent_forgotten(turn, id, &gone);
        self.vms.remove(id);
        self.emit(turn, event_kind::VM_UNDEFINED, Some((id, name.to_owned())), Some(operation), &());
        for key in self.calls.of_vm(id) {
            self.conclude(turn, key, Err(gone.clone()));
        }
    }

    /// A call is to be given up: the deed goes on if it was begun.
    pub(super) fn cancelled(&mut self, turn: &mut Turn<'_>, key: CallKey) {
        self.give_up(turn, key, refusal::cancelled);
    }

    /// The deadline of a call passed.
    pub(super) fn deadline_passed(&mut self, turn: &mut Turn<'_>, key: CallKey) {
        self.give_up(turn, key, refusal::deadline);
    }

    fn give_up(&mut self, turn: &mut Turn<'_>, key: CallKey, failure: impl Fn(Option<bool>) -> Failure) {
        match self.calls.subject(key).cloned() {
            None => {}
            Some(Subject::Definition) => {
                self.define_dropped(key);
                self.conclude(turn, key, Err(failure(Some(false))));
            }
            Some(Subject::Registry) => {
                let begun = self.change_dropped(key);
                self.conclude(turn, key, Err(failure(Some(begun))));
            }
            Some(Subject::Capabilities | Subject::OperationEnd(_) | Subject::VmState { .. }) => {
                self.conclude(turn, key, Err(failure(None)));
            }
            Some(Subject::Agent { vm, .. }) => {
                let failure = failure(None);
                let silent = failure.code == code::DEADLINE_EXCEEDED;
                let failure = if silent { refusal::agent_silent(&self.vm_name(vm)) } else { failure };
                self.conclude(turn, key, Err(failure));
            }
            Some(Subject::Operation(operation)) => {
                let queued = self.operations.get(operation).is_some_and(|o| o.state == OperationState::Queued);
                if queued {
                    self.drop_operation(turn, operation, failure(Some(false)));
                } else {
                    let failure = failure(Some(true))
                        .detail("operation", &operation.to_string())
                        .hint(&format!("the operation goes on; vmwire op show {operation} tells what becomes of it"));
                    self.conclude(turn, key, Err(failure));
                }
            }
        }
    }

    /// Answers everybody who waits for the end of an operation.
    fn answer_operation(&mut self, turn: &mut Turn<'_>, operation: OperationId) {
        for key in self.calls.of_operation(operation) {
            let outcome = match self.calls.subject(key) {
                Some(Subject::OperationEnd(_)) => {
                    self.operation_show(key.connection, operation.0).map(ServerData::OperationWait)
                }
                _ => match self.outcome(operation) {
                    Some(outcome) => outcome,
                    None => continue,
                },
            };
            self.conclude(turn, key, outcome);
        }
    }

    /// How an operation ended, as the answer to the call that asked for it.
    pub(super) fn outcome(&self, id: OperationId) -> Option<Result<ServerData, Failure>> {
        let operation = self.operations.get(id).filter(|operation| operation.state.is_over())?;
        Some(match &operation.failure {
            Some(failure) => Err(failure.clone()),
            None if operation.procedure == number::VM_DEFINE => {
                let vm = self.vms.get(operation.vm.0);
                let name = vm.map_or(operation.vm.1.as_str(), |vm| vm.name().as_str());
                let vm = convert::vm_ref(operation.vm.0, name);
                Ok(ServerData::VmDefine(VmDefineAnswer { operation: id.0, vm }))
            }
            None => {
                let state = self.vms.get(operation.vm.0).map_or(VmState::Stopped, |vm| vm.state);
                Ok(done(operation.procedure, id.0, state))
            }
        })
    }

    /// Answers a call that waited.
    pub(super) fn conclude(&mut self, turn: &mut Turn<'_>, key: CallKey, outcome: Result<ServerData, Failure>) {
        let Some(waiting) = self.calls.take(key) else { return };
        if let Subject::Agent { vm, .. } = waiting.subject {
            self.agent_left(vm);
        }
        let ending = outcome.as_ref().map_or_else(Ending::Failed, |_| Ending::Done);
        self.audit_waited(turn, key.connection, &waiting, ending);
        let Some(client) = self.clients.get_mut(key.connection) else { return };
        match outcome {
            Ok(answer) => client.session.answer(waiting.ticket, &answer),
            Err(failure) => client.session.fail(waiting.ticket, failure),
        }
        self.clients.mark_dirty(key.connection);
        self.settle(turn, key.connection);
    }
}

/// The answer to an operation on a virtual machine.
pub(super) fn done(procedure: u32, operation: u64, state: VmState) -> ServerData {
    let answer = VmDoneAnswer { operation, state: state as u32 };
    match procedure {
        number::VM_UNDEFINE => ServerData::VmUndefine(answer),
        number::VM_START => ServerData::VmStart(answer),
        number::VM_SHUTDOWN => ServerData::VmShutdown(answer),
        number::VM_REBOOT => ServerData::VmReboot(answer),
        number::VM_RESET => ServerData::VmReset(answer),
        number::VM_PAUSE => ServerData::VmPause(answer),
        number::VM_RESUME => ServerData::VmResume(answer),
        _ => ServerData::VmStop(answer),
    }
}
