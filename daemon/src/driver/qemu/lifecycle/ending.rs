//! From a process that has to go, or went by itself, to nothing.

use std::time::Instant;

use super::link::Link;
use super::resets::Resets;
use super::starting::ANOTHER_LISTENS;
use super::{KILL, Lifecycle, Order, Phase, Purpose, QUIT, Script, Timer, failed, lost_error, unproved};
use crate::driver::qemu::lifecycle::Command;
use crate::driver::{DriverError, DriverErrorKind, Report};
use crate::model::{OperationId, StateReason, VmState};

/// How a process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Exit {
    /// Its exit status, if it ended by itself and was our child.
    pub(in super::super) status: Option<i32>,
    /// The signal that ended it, if one did and it was our child.
    pub(in super::super) signal: Option<i32>,
    /// The last it wrote to standard error, line by line.
    pub(in super::super) stderr: Vec<String>,
    /// What the launcher said that never came to be QEMU.
    pub(in super::super) launcher: Option<DriverError>,
}

impl Exit {
    fn clean(&self) -> bool {
        self.status == Some(0) || (self.status.is_none() && self.signal.is_none())
    }

    fn told(&self) -> String {
        match (self.status, self.signal) {
            (Some(status), _) => format!("QEMU ended with status {status}"),
            (None, Some(signal)) => format!("QEMU was ended by signal {signal}"),
            (None, None) => "QEMU ended".to_owned(),
        }
    }
}

/// What to tell when nothing of a guest is left.
#[derive(Debug)]
pub(super) struct Farewell {
    pub(super) reason: StateReason,
    pub(super) message: String,
    /// Whether a process was reported, whose end has to be too.
    pub(super) process_known: bool,
    /// The operation that failed with the guest.
    pub(super) failed: Option<(OperationId, DriverError)>,
    /// Operations that wanted this.
    pub(super) done: Vec<OperationId>,
}

impl Farewell {
    pub(super) fn new(reason: StateReason, message: String) -> Self {
        Self { reason, message, process_known: true, failed: None, done: Vec::new() }
    }
}

impl Lifecycle {
    pub(super) fn begin_stop(&mut self, now: Instant, operation: OperationId) {
        let mut farewell = Farewell::new(StateReason::Requested, String::new());
        farewell.done.push(operation);
        match &mut self.phase {
            Phase::Stopped => self.finish(operation, Ok(())),
            Phase::Lost => self.finish(operation, Err(lost_error())),
            Phase::Adopting => self.finish(operation, Err(unproved())),
            // The answer to the preparing is still to come, and what it prepared is removed then.
            Phase::Preparing => {
                self.supersede();
                farewell.process_known = false;
                self.phase = Phase::CleaningUp(farewell);
            }
            Phase::Launching | Phase::Configuring => {
                self.supersede();
                self.phase = Phase::Ending(farewell);
                self.kill(now);
            }
            Phase::Up => {
                self.supersede();
                self.phase = Phase::Ending(farewell);
                if self.link_is_ready() {
                    self.send(Command::Quit);
                    self.timers.set(now + QUIT, Timer::Quit);
                } else {
                    self.kill(now);
                }
            }
            // What failed has failed, also when its end is wanted now.
            Phase::Ending(farewell) => {
                farewell.done.push(operation);
                self.timers.set(now + QUIT, Timer::Quit);
            }
            Phase::CleaningUp(farewell) => farewell.done.push(operation),
        }
    }

    pub(super) fn kill(&mut self, now: Instant) {
        self.order(Order::Kill);
        self.timers.set(now + KILL, Timer::Kill);
    }

    /// The kernel has not let go of it. It stays `Ending`: should it go one day, that will be seen.
    pub(super) fn handle_kill_timeout(&mut self) {
        let Phase::Ending(farewell) = &mut self.phase else { return };
        let stuck = DriverError {
            kind: DriverErrorKind::TimedOut,
            hint: "the process waits in the kernel, most likely for a disk or a network file system".to_owned(),
            ..failed("QEMU was killed and has not ended")
        };
        let failed = farewell.failed.take();
        for operation in std::mem::take(&mut farewell.done) {
            self.finish(operation, Err(stuck.clone()));
        }
        if let Some((operation, error)) = failed {
            self.finish(operation, Err(error));
        }
    }

    /// The process is gone, and all it wrote to standard error has been read.
    pub(in super::super) fn handle_exit(&mut self, exit: Exit) {
        let farewell = match std::mem::replace(&mut self.phase, Phase::Stopped) {
            Phase::Launching | Phase::Configuring => {
                let error = exit.launcher.clone().unwrap_or_else(|| start_error(&exit));
                let mut farewell = Farewell::new(StateReason::Failed, error.message.clone());
                farewell.failed = self.starting.take().map(|operation| (operation, error));
                farewell
            }
            Phase::Ending(mut farewell) => {
                if let Some((_, error)) = &mut farewell.failed {
                    error.causes.extend(exit.stderr);
                }
                farewell
            }
            Phase::Up => self.unasked(&exit),
            // What has ended is not QEMU.
            Phase::Adopting | Phase::Lost if self.listens_elsewhere() => return self.lose(ANOTHER_LISTENS),
            Phase::Adopting | Phase::Lost => {
                let mut farewell = Farewell::new(StateReason::Hypervisor, exit.told());
                farewell.process_known = false;
                farewell
            }
            // No process was there that could end.
            other @ (Phase::Stopped | Phase::Preparing | Phase::CleaningUp(_)) => {
                self.phase = other;
                return;
            }
        };
        self.order(Order::Disconnect);
        self.clean_up(farewell);
    }

    /// It went by itself, or at the word of somebody else.
    fn unasked(&mut self, exit: &Exit) -> Farewell {
        let (reason, why) = match self.shutdown.take() {
            Some(cause) if cause.by_guest => (StateReason::Guest, String::new()),
            Some(cause) => (StateReason::Hypervisor, format!("{}: {}", exit.told(), cause.reason)),
            None => (StateReason::Hypervisor, exit.told()),
        };
        let mut message = why;
        if !exit.clean() || reason == StateReason::Hypervisor {
            if message.is_empty() {
                message = exit.told();
            }
            for line in &exit.stderr {
                message.push('\n');
                message.push_str(line);
            }
        }
        let mut farewell = Farewell::new(reason, message);
        let script = self.script.take();
        let pressed = script.as_ref().is_some_and(Script::presses_button);
        if let Some(Purpose::Operation(operation)) = script.map(|script| script.purpose) {
            if pressed {
                // Whoever pressed it wanted nothing else.
                farewell.done.push(operation);
                return farewell;
            }
            let error = DriverError {
                kind: DriverErrorKind::Ended,
                causes: std::iter::once(exit.told()).chain(exit.stderr.iter().cloned()).collect(),
                ..failed("the guest ended meanwhile")
            };
            farewell.failed = Some((operation, error));
        }
        farewell
    }

    pub(super) fn clean_up(&mut self, farewell: Farewell) {
        for timer in [Timer::Script, Timer::LinkGrace, Timer::Reconnect, Timer::Quit, Timer::Kill] {
            self.timers.cancel(timer);
        }
        self.link = Link::Down;
        self.script = None;
        self.phase = Phase::CleaningUp(farewell);
        self.order(Order::CleanUp);
    }

    /// The files are removed; nothing is left.
    pub(in super::super) fn handle_cleaned(&mut self) {
        let farewell = match std::mem::replace(&mut self.phase, Phase::Stopped) {
            Phase::CleaningUp(farewell) => farewell,
            other => {
                self.phase = other;
                return;
            }
        };
        self.shutdown = None;
        self.asked_status = None;
        self.status_stale = false;
        self.panicking = false;
        self.resets = Resets::default();
        self.end_agent_port();
        self.enter(VmState::Stopped, farewell.reason, farewell.message);
        if farewell.process_known {
            self.report(Report::Process { vm: self.vm, process: None });
        }
        if let Some((operation, error)) = farewell.failed {
            self.finish(operation, Err(error));
        }
        for operation in farewell.done {
            self.finish(operation, Ok(()));
        }
    }
}

fn start_error(exit: &Exit) -> DriverError {
    DriverError {
        causes: std::iter::once(exit.told()).chain(exit.stderr.iter().cloned()).collect(),
        ..failed("QEMU ended before the guest ran")
    }
}
