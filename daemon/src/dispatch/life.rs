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

use log::info;
use vmwire_protocol::message::{EventOperation, Failure, Procedure, Progress, event_kind};
use vmwire_protocol::xdr::Text;

use super::calls::{CallKey, Subject};
use super::ending::done;
use super::refusal::{self, busy, overtaken, wrong_state};
use super::task::Task;
use super::{Dispatch, Outcome, Reply, Turn};
use crate::driver::{Action, Job};
use crate::model::admission::{Verdict, WAITING_MAX, Wish, judge};
use crate::model::operation::{Operation, OperationState};
use crate::model::{OperationId, Vm, VmId};

/// Who starts what starts with the daemon.
const AUTOSTART_IDENTITY: &str = "autostart";

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

    pub(super) fn progress(&mut self, key: CallKey, total: u64, what: &str) {
        if let Some(client) = self.clients.get_mut(key.connection) {
            client.session.progress(key.serial, Progress { done: 0, total, what: Text::clipped(what) });
            self.clients.mark_dirty(key.connection);
        }
    }

    pub(super) fn emit_operation(&mut self, turn: &Turn<'_>, id: OperationId) {
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

    pub(super) fn operation_vm(&self, id: OperationId) -> String {
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
