//! From nothing to a running guest, and the taking up of one that a former daemon left.

use std::time::Instant;

use super::ending::Farewell;
use super::link::Link;
use super::script::Step::Send;
use super::{Command, Lifecycle, Order, Patience, Phase, Purpose, Script, Task, Timer, failed};
use crate::driver::{DriverError, Process, Report};
use crate::model::{OperationId, StateReason, VmId, VmState};

pub(super) const ANOTHER_LISTENS: &str = "another process than that of its run record listens at its monitor";

impl Lifecycle {
    /// A guest whose process was proved to be the one of the run record. Its monitor has to prove the rest. Commands
    /// are numbered from `first_id`, which the former daemon should not have come to: its last may still be answered.
    pub(in super::super) fn adopt(now: Instant, vm: VmId, process: Process, patience: Patience, first_id: u64) -> Self {
        let mut this = Self::new(vm, patience);
        this.next_id = first_id;
        this.phase = Phase::Adopting;
        this.state = None;
        this.found = Some(process);
        this.link = Link::Greeting;
        this.timers.set(now + patience.greeting, Timer::Script);
        // Until then it must neither be taken for stopped nor be started.
        this.enter(VmState::Adopting, StateReason::Unknown, "it is being found out whether its process is ours");
        this.order(Order::Connect);
        this
    }

    /// A guest whose run record is there and whose process could not be proved to be ours.
    pub(in super::super) fn lost(vm: VmId, why: &str) -> Self {
        let mut this = Self::new(vm, Patience::default());
        this.lose(why);
        this
    }

    /// A guest whose run record is there and whose process is gone for sure.
    pub(in super::super) fn gone(vm: VmId, same_boot: bool) -> Self {
        let mut this = Self::new(vm, Patience::default());
        let mut farewell = Farewell::new(StateReason::Hypervisor, "QEMU ended while no daemon was there".to_owned());
        farewell.process_known = false;
        if same_boot {
            this.state = None;
        }
        this.clean_up(farewell);
        this
    }

    pub(super) fn begin_start(&mut self, operation: OperationId, task: Task) {
        self.starting = Some(operation);
        self.task = Some(task);
        self.phase = Phase::Preparing;
        self.enter(VmState::Starting, StateReason::Requested, "");
        self.order(Order::Prepare);
    }

    /// The run record was written, or not.
    pub(in super::super) fn handle_prepared(&mut self, now: Instant, result: Result<(), String>) {
        match (&self.phase, result) {
            (Phase::Preparing, Ok(())) => {
                self.phase = Phase::Launching;
                self.link = Link::Greeting;
                self.timers.set(now + self.patience.greeting, Timer::Script);
                self.order(Order::Launch);
            }
            (Phase::Preparing, Err(why)) => {
                let error = DriverError { causes: vec![why], ..failed("the run record could not be written") };
                self.fail_unlaunched(error);
            }
            // A stop came in between, and waited for this.
            (Phase::CleaningUp(_), _) => self.order(Order::CleanUp),
            _ => {}
        }
    }

    /// The launcher runs, and will be QEMU; or it does not even run.
    pub(in super::super) fn handle_launched(&mut self, result: Result<Process, DriverError>) {
        match result {
            Ok(process) => self.report(Report::Process { vm: self.vm, process: Some(process) }),
            Err(error) => self.fail_unlaunched(error),
        }
    }

    /// The monitor was connected to, where this process listens.
    pub(in super::super) fn handle_connected(&mut self, peer: u32) {
        self.peer = Some(peer);
    }

    /// The monitor's first line.
    pub(super) fn handle_greeting(&mut self, now: Instant) {
        self.timers.cancel(Timer::Script);
        self.timers.cancel(Timer::Reconnect);
        match &self.phase {
            Phase::Launching => {
                let Some(operation) = self.starting else { return };
                let Some(Task::Start { cmdline, paused }) = self.task.take() else { return };
                self.phase = Phase::Configuring;
                self.link = Link::Ready;
                let mut steps = vec![Send(Command::Negotiate)];
                steps.extend(cmdline.map(|line| Send(Command::SetCommandLine(line))));
                steps.push(Send(Command::BuildMachine));
                if !paused {
                    steps.push(Send(Command::Continue));
                }
                steps.push(Send(Command::QueryStatus));
                let wants = if paused { VmState::Paused } else { VmState::Running };
                self.run(now, Script::new(Purpose::Start(operation), steps, Some(wants)));
                self.timers.set(now + self.patience.greeting, Timer::Script);
            }
            Phase::Adopting if self.listens_elsewhere() => self.handle_other_peer(now),
            Phase::Adopting => {
                let commands = [
                    Command::Negotiate,
                    Command::QueryUuid,
                    Command::QueryProcessors,
                    Command::StandAfterShutdown(false),
                    Command::QueryStatus,
                ];
                self.run(now, Script::new(Purpose::Adopt, commands.map(Send), None));
            }
            Phase::Up => {
                let commands = [Command::Negotiate, Command::StandAfterShutdown(false), Command::QueryStatus];
                self.run(now, Script::new(Purpose::Reconnect, commands.map(Send), None));
            }
            _ => {}
        }
    }

    /// Somebody else than the process of the record called `listen`. For a connection made while the launcher was still
    /// to become QEMU that was the former daemon; one made behind the greeting tells for sure.
    fn handle_other_peer(&mut self, now: Instant) {
        if std::mem::replace(&mut self.peer_is_certain, true) {
            return self.lose(ANOTHER_LISTENS);
        }
        self.timers.set(now + self.patience.greeting, Timer::Script);
        self.order(Order::Connect);
    }

    /// Whether the process that was found, and is not proved yet, is another one than the one behind the monitor.
    pub(super) fn listens_elsewhere(&self) -> bool {
        matches!((self.peer, &self.found), (Some(peer), Some(found)) if peer != found.pid)
    }

    /// Everything was proved.
    pub(super) fn adopted(&mut self) {
        self.phase = Phase::Up;
        self.link = Link::Ready;
        let process = self.found.take();
        self.report(Report::Process { vm: self.vm, process });
    }

    /// Something was not proved. Nothing is done to the process, now or later.
    pub(super) fn lose(&mut self, why: &str) {
        self.phase = Phase::Lost;
        self.link = Link::Down;
        self.script = None;
        self.timers.cancel(Timer::Script);
        self.order(Order::Disconnect);
        self.enter(VmState::Lost, StateReason::Unknown, why);
    }

    /// Found a QEMU of ours whose start a former daemon did not complete: the machine was never built.
    pub(super) fn end_half_started(&mut self, now: Instant, why: &str) {
        self.script = None;
        self.timers.cancel(Timer::Script);
        let message = format!("the daemon ended before the start was complete: {why}");
        self.phase = Phase::Ending(Farewell::new(StateReason::Failed, message));
        self.kill(now);
    }

    /// The start has failed; what there is of it has to go.
    pub(super) fn fail_start(&mut self, now: Instant, error: DriverError) {
        let mut farewell = Farewell::new(StateReason::Failed, error.message.clone());
        farewell.failed = self.starting.take().map(|operation| (operation, error));
        self.script = None;
        self.timers.cancel(Timer::Script);
        self.phase = Phase::Ending(farewell);
        self.kill(now);
    }

    /// The start has failed before there was a process.
    fn fail_unlaunched(&mut self, error: DriverError) {
        let mut farewell = Farewell::new(StateReason::Failed, error.message.clone());
        farewell.failed = self.starting.take().map(|operation| (operation, error));
        farewell.process_known = false;
        self.timers.cancel(Timer::Script);
        self.order(Order::Disconnect);
        self.clean_up(farewell);
    }
}
