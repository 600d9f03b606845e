//! Operations on virtual machines: asked for, queued, begun, ended.
//!
//! ```text
//!   wish ──▶ queued ──▶ running ──▶ done | failed
//!     │         │          └─ a shutdown: button pressed ─▶ guest down | grace over ─▶ failed | stopped hard
//!     │         └─▶ dropped (deadline, cancel, stop, undefine)
//!     └─▶ refused, or done already: never an operation
//! ```
//! Per virtual machine one operation runs and eight wait. A stop goes ahead and fails what waits. What was begun goes on
//! although nobody waits for it any more. While it is being found out whether a guest is ours everything waits for that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use log::info;
use uuid::Uuid;
use vmwire_protocol::message::{
    EventOperation, Failure, Procedure, Progress, ServerData, VmDefineAnswer, VmDoneAnswer, VmShutdownCall, event_kind,
    number, shutdown_then,
};
use vmwire_protocol::xdr::Text;

use super::calls::{CallKey, Subject};
use super::refusal::{self, busy, invalid, overtaken, wrong_state};
use super::{Dispatch, Outcome, Reply, Turn, convert};
use crate::audit::Ending;
use crate::driver::{Action, Job};
use crate::model::admission::{Verdict, WAITING_MAX, Wish, judge};
use crate::model::operation::{Operation, OperationState};
use crate::model::{Definition, OperationId, Vm, VmId, VmState};

/// The grace of a shutdown that names none.
const GRACE_DEFAULT: Duration = Duration::from_secs(60);
/// The longest grace.
const GRACE_MAX: Duration = Duration::from_secs(600);
/// Who starts what starts with the daemon.
const AUTOSTART_IDENTITY: &str = "autostart";

/// What an operation is about to do.
#[derive(Debug)]
pub(super) enum Task {
    Define(Box<Definition>),
    Redefine(Box<Definition>),
    Undefine,
    Start {
        paused: bool,
    },
    Shutdown {
        grace: Duration,
        then_stop: bool,
        /// The button was pressed; the guest has until its grace is over.
        pressed: bool,
    },
    Stop,
    Reboot,
    Reset,
    Pause,
    Resume,
}

impl Task {
    /// A shutdown as it was asked for.
    pub(super) fn shutdown(call: &VmShutdownCall) -> Result<Self, Failure> {
        let then_stop = match call.then {
            shutdown_then::FAIL => false,
            shutdown_then::STOP => true,
            other => {
                return Err(invalid(
                    "then",
                    other,
                    &format!("nothing is known to follow a shutdown by number {other}"),
                ));
            }
        };
        let asked = Duration::from_millis(call.grace_ms.into());
        let grace = if asked.is_zero() { GRACE_DEFAULT } else { asked.min(GRACE_MAX) };
        Ok(Self::Shutdown { grace, then_stop, pressed: false })
    }

    /// Whether it makes a virtual machine of that name or uuid.
    pub(super) fn defines(&self, name: &str, uuid: Option<Uuid>) -> bool {
        match self {
            Self::Define(definition) | Self::Redefine(definition) => {
                definition.name.as_str() == name || uuid.is_some() && definition.uuid == uuid
            }
            _ => false,
        }
    }

    fn wish(&self) -> Option<Wish> {
        Some(match self {
            Self::Define(_) => return None,
            Self::Redefine(_) => Wish::Redefine,
            Self::Undefine => Wish::Undefine,
            Self::Start { .. } => Wish::Start,
            Self::Shutdown { .. } => Wish::Shutdown,
            Self::Stop => Wish::Stop,
            Self::Reboot => Wish::Reboot,
            Self::Reset => Wish::Reset,
            Self::Pause => Wish::Pause,
            Self::Resume => Wish::Resume,
        })
    }

    /// The number of the call that asks for it.
    fn procedure(&self) -> u32 {
        match self {
            Self::Define(_) | Self::Redefine(_) => number::VM_DEFINE,
            Self::Undefine => number::VM_UNDEFINE,
            Self::Start { .. } => number::VM_START,
            Self::Shutdown { .. } => number::VM_SHUTDOWN,
            Self::Stop => number::VM_STOP,
            Self::Reboot => number::VM_REBOOT,
            Self::Reset => number::VM_RESET,
            Self::Pause => number::VM_PAUSE,
            Self::Resume => number::VM_RESUME,
        }
    }
}

fn procedure_name(number: u32) -> &'static str {
    Procedure::of(number).map_or("an operation", |procedure| procedure.name)
}

impl Dispatch {
    /// Somebody wants something done to a virtual machine.
    pub(super) fn wish(&mut self, turn: &mut Turn<'_>, key: CallKey, text: &str, task: Task) -> Outcome {
        let vm = self.find(text)?;
        let (id, name, state) = (vm.id, vm.name().to_string(), vm.state);
        let identity = self.identity(key.connection);
        let Some(vm) = self.vms.get(id) else { return Err(refusal::no_vm(text)) };
        let verdict = task.wish().map_or(Verdict::Do, |wish| judge(wish, state));
        if vm.current.is_some() || verdict == Verdict::Wait {
            if vm.waiting.len() >= WAITING_MAX {
                return Err(vm.current.map_or_else(|| refusal::adopting(vm), |holder| self.busy_behind(vm, holder)));
            }
            let before = vm.current.map(|holder| self.describe(holder));
            let operation = self.new_operation(turn, id, &name, &identity, task);
            if let Some(vm) = self.vms.get_mut(id) {
                vm.waiting.push_back(operation);
            }
            self.emit_operation(turn, operation);
            let before = before.as_deref().unwrap_or("the proof that its process is the one that was left");
            self.progress(key, 0, &format!("waiting for {before}"));
            return Ok(Reply::Later(Subject::Operation(operation)));
        }
        match verdict {
            // Nothing is to be done, so there is no operation: its number is 0.
            Verdict::Already => Ok(Reply::Now(done(task.procedure(), 0, state))),
            Verdict::Refuse | Verdict::Wait => Err(wrong_state(task.wish().unwrap_or(Wish::Start), vm)),
            Verdict::Do => {
                let operation = self.new_operation(turn, id, &name, &identity, task);
                self.begin(turn, id, operation);
                match self.outcome(operation) {
                    Some(Ok(answer)) => Ok(Reply::Now(answer)),
                    Some(Err(failure)) => Err(failure),
                    None => Ok(Reply::Later(Subject::Operation(operation))),
                }
            }
        }
    }

    /// Somebody wants a guest ended now: that goes ahead of the queue and fails what waits.
    pub(super) fn stop(&mut self, turn: &mut Turn<'_>, key: CallKey, text: &str) -> Outcome {
        let vm = self.find(text)?;
        let (id, name, current) = (vm.id, vm.name().to_string(), vm.current);
        if current.is_none() && judge(Wish::Stop, vm.state) == Verdict::Wait {
            return self.stop_when_known(turn, key, text, id);
        }
        let overtakes = match current.and_then(|operation| self.tasks.get(&operation)) {
            Some(Task::Define(_) | Task::Redefine(_) | Task::Undefine | Task::Stop) | None => false,
            Some(_) => true,
        };
        if !overtakes {
            return self.wish(turn, key, text, Task::Stop);
        }
        let identity = self.identity(key.connection);
        let stop = self.new_operation(turn, id, &name, &identity, Task::Stop);
        info!("vm {name}: operation {stop}: stopped hard by {identity}");
        let waiting = self.vms.get_mut(id).map(|vm| std::mem::take(&mut vm.waiting)).unwrap_or_default();
        for operation in waiting {
            self.drop_operation(turn, operation, overtaken(stop, false));
        }
        // A shutdown whose button was pressed has no job with the driver any more. Any other job is ended by the driver,
        // which reports it before the stop is done.
        if let Some(running) = current
            && let Some(Task::Shutdown { pressed: true, .. }) = self.tasks.get(&running)
        {
            self.end(turn, running, OperationState::Failed, Some(overtaken(stop, true)));
        }
        self.begin(turn, id, stop);
        Ok(Reply::Later(Subject::Operation(stop)))
    }

    /// The same for a guest of which it is still being found out whether it is ours: nothing is done to it before, but what
    /// else waits for that is failed, but for stops, which want the same.
    fn stop_when_known(&mut self, turn: &mut Turn<'_>, key: CallKey, text: &str, id: VmId) -> Outcome {
        let waiting = self.vms.get_mut(id).map(|vm| std::mem::take(&mut vm.waiting)).unwrap_or_default();
        let stops = |operation: &OperationId| matches!(self.tasks.get(operation), Some(Task::Stop));
        let (stops, others): (VecDeque<_>, VecDeque<_>) = waiting.into_iter().partition(stops);
        if let Some(vm) = self.vms.get_mut(id) {
            vm.waiting = stops;
        }
        // Where it is refused, eight stops wait already, and nothing else does.
        let outcome = self.wish(turn, key, text, Task::Stop);
        if let Ok(Reply::Later(Subject::Operation(stop))) = &outcome {
            for operation in others {
                self.drop_operation(turn, operation, overtaken(*stop, false));
            }
        }
        outcome
    }

    /// Starts what starts with the daemon.
    pub(super) fn autostart(&mut self, turn: &mut Turn<'_>) {
        let chosen: Vec<(VmId, String)> = self
            .vms
            .after("")
            .filter(|vm| vm.definition.autostart && vm.current.is_none())
            .filter(|vm| judge(Wish::Start, vm.state) == Verdict::Do)
            .map(|vm| (vm.id, vm.name().to_string()))
            .collect();
        for (id, name) in chosen {
            let task = Task::Start { paused: false };
            let operation = self.new_operation(turn, id, &name, AUTOSTART_IDENTITY, task);
            self.begin(turn, id, operation);
        }
    }

    /// Gives an operation its number. It is not begun.
    pub(super) fn new_operation(
        &mut self,
        turn: &mut Turn<'_>,
        vm: VmId,
        name: &str,
        identity: &str,
        task: Task,
    ) -> OperationId {
        let labels = match (self.vms.get(vm), &task) {
            (Some(vm), _) => vm.definition.labels.clone(),
            (None, Task::Define(definition)) => definition.labels.clone(),
            (None, _) => Arc::default(),
        };
        let (id, request) = self.store.operation();
        if let Some(request) = request {
            // The numbers up to the present bound were made durable before; this prepares those behind it.
            self.reservations.insert(turn.host.file(request));
        }
        self.operations.insert(Operation {
            id,
            procedure: task.procedure(),
            vm: (vm, name.to_owned()),
            labels,
            identity: identity.to_owned(),
            state: OperationState::Queued,
            queued_ns: turn.now.utc_ns,
            begun_ns: 0,
            ended_ns: 0,
            failure: None,
        });
        self.tasks.insert(id, task);
        self.asked = Some(id);
        id
    }

    /// Begins an operation.
    pub(super) fn begin(&mut self, turn: &mut Turn<'_>, id: VmId, operation: OperationId) {
        self.operations.begin(operation, turn.now.utc_ns);
        let definition = self.vms.get_mut(id).map(|vm| {
            vm.current = Some(operation);
            vm.definition.clone()
        });
        info!("vm {}: operation {operation}: {}", self.operation_vm(operation), self.describe(operation));
        self.emit_operation(turn, operation);
        let action = match (self.tasks.get(&operation), definition) {
            (Some(Task::Start { paused }), Some(definition)) => Action::Start { definition, paused: *paused },
            (Some(Task::Shutdown { .. }), _) => Action::PowerButton,
            (Some(Task::Stop), _) => Action::Stop,
            (Some(Task::Reboot), _) => Action::Reboot,
            (Some(Task::Reset), _) => Action::Reset,
            (Some(Task::Pause), _) => Action::Pause,
            (Some(Task::Resume), _) => Action::Resume,
            _ => return self.write_definition(turn, id, operation),
        };
        self.driver.begin(turn.now, turn.host, Job { vm: id, operation, action });
    }

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

    fn end(&mut self, turn: &mut Turn<'_>, operation: OperationId, state: OperationState, failure: Option<Failure>) {
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
    fn outcome(&self, id: OperationId) -> Option<Result<ServerData, Failure>> {
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

    fn progress(&mut self, key: CallKey, total: u64, what: &str) {
        if let Some(client) = self.clients.get_mut(key.connection) {
            client.session.progress(key.serial, Progress { done: 0, total, what: Text::clipped(what) });
            self.clients.mark_dirty(key.connection);
        }
    }

    fn emit_operation(&mut self, turn: &Turn<'_>, id: OperationId) {
        let Some(operation) = self.operations.get(id) else { return };
        let detail = EventOperation {
            procedure: operation.procedure,
            state: operation.state as u32,
            identity: Text::clipped(&operation.identity),
            failure: operation.failure.as_ref().map(brief),
        };
        let vm = operation.vm.clone();
        self.emit(turn, event_kind::OPERATION, Some(vm), Some(id), &detail);
    }

    fn busy_behind(&self, vm: &Vm, holder: OperationId) -> Failure {
        let (identity, since) =
            self.operations.get(holder).map(|o| (o.identity.as_str(), o.begun_ns)).unwrap_or_default();
        busy(vm, holder, identity, self.operation_name(holder), since)
    }

    fn operation_name(&self, id: OperationId) -> &'static str {
        self.operations.get(id).map_or("an operation", |operation| procedure_name(operation.procedure))
    }

    fn operation_vm(&self, id: OperationId) -> String {
        self.operations.get(id).map(|operation| operation.vm.1.clone()).unwrap_or_default()
    }

    fn describe(&self, id: OperationId) -> String {
        match self.operations.get(id) {
            Some(operation) => format!("{} of {}", procedure_name(operation.procedure), operation.identity),
            None => format!("operation {id}"),
        }
    }
}

/// A failure as an event carries it: what made it may be long, and the whole is kept with the operation.
fn brief(failure: &Failure) -> Failure {
    const CAUSES_MAX: usize = 4;
    let mut brief = failure.clone();
    brief.causes = failure.causes.iter().take(CAUSES_MAX).cloned().collect::<Vec<_>>().try_into().unwrap_or_default();
    brief.details = failure
        .details
        .iter()
        .filter(|detail| detail.value.len() <= 256)
        .take(CAUSES_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_default();
    brief
}

/// The answer to an operation on a virtual machine.
fn done(procedure: u32, operation: u64, state: VmState) -> ServerData {
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
