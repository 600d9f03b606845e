//! What is done over the monitor: commands one after another, each sent when the one before was answered.

use std::collections::VecDeque;
use std::time::Instant;

use serde_json::{Value, json};

use super::{Lifecycle, Phase, SCRIPT, Task, Timer, failed, superseded};
use crate::driver::DriverError;
use crate::model::{OperationId, StateReason, VmState};

/// What is sent over the monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Ends the negotiation, so that everything else is taken.
    Negotiate,
    /// The kernel command line, before the machine is built.
    SetCommandLine(String),
    /// Build the machine.
    BuildMachine,
    Continue,
    Stop,
    Reset,
    PowerButton,
    Quit,
    QueryStatus,
    QueryUuid,
    /// Whether somebody in the guest has a channel open, among other things.
    QueryChardev,
    /// Refused by a QEMU that has no machine yet.
    QueryProcessors,
    /// Whether a guest that powers off leaves the machine standing.
    StandAfterShutdown(bool),
}

impl Command {
    /// The command's name and arguments in QMP.
    pub(crate) fn qmp(&self) -> (&'static str, Option<Value>) {
        match self {
            Self::Negotiate => ("qmp_capabilities", None),
            Self::SetCommandLine(line) => {
                ("qom-set", Some(json!({"path": "/machine", "property": "append", "value": line})))
            }
            Self::BuildMachine => ("x-exit-preconfig", None),
            Self::Continue => ("cont", None),
            Self::Stop => ("stop", None),
            Self::Reset => ("system_reset", None),
            Self::PowerButton => ("system_powerdown", None),
            Self::Quit => ("quit", None),
            Self::QueryStatus => ("query-status", None),
            Self::QueryUuid => ("query-uuid", None),
            Self::QueryChardev => ("query-chardev", None),
            Self::QueryProcessors => ("query-cpus-fast", None),
            Self::StandAfterShutdown(stand) => {
                ("set-action", Some(json!({"shutdown": if *stand { "pause" } else { "poweroff" }})))
            }
        }
    }
}

/// On whose behalf a script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Start(OperationId),
    Adopt,
    /// The link was lost and is there again.
    Reconnect,
    Operation(OperationId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Send(Command),
    /// The machine was reset from outside.
    AwaitReset,
    /// The guest has powered off.
    AwaitShutdown,
}

/// Steps that are left, and the one being waited for.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) purpose: Purpose,
    steps: VecDeque<Step>,
    /// The command whose answer is awaited, if one is.
    waiting: Option<(u64, Command)>,
    seen_reset: bool,
    seen_shutdown: bool,
    /// QEMU is told to stand when the guest powers off.
    standing: bool,
    /// The state that the last status has to show, if it has to show one.
    wants: Option<VmState>,
}

impl Script {
    pub(super) fn new(purpose: Purpose, steps: impl IntoIterator<Item = Step>, wants: Option<VmState>) -> Self {
        let steps = steps.into_iter().collect();
        Self { purpose, steps, waiting: None, seen_reset: false, seen_shutdown: false, standing: false, wants }
    }

    pub(super) fn awaits(&self, id: u64) -> bool {
        self.waiting.as_ref().is_some_and(|(waiting, _)| *waiting == id)
    }

    pub(super) fn saw_reset(&mut self) {
        self.seen_reset = true;
    }

    pub(super) fn saw_shutdown(&mut self) {
        self.seen_shutdown = true;
    }

    /// Whether all it does is to press the power button.
    pub(super) fn presses_button(&self) -> bool {
        self.steps.is_empty() && self.waiting.as_ref().is_some_and(|(_, command)| *command == Command::PowerButton)
    }

    /// Whether it is waiting for the guest, not for the monitor.
    pub(super) fn waits_for_guest(&self) -> bool {
        self.waiting.is_none() && self.steps.front().is_some_and(|step| *step != Step::AwaitReset)
    }

    pub(super) fn timed_out(&self) -> String {
        match (&self.waiting, self.steps.front()) {
            (Some((_, command)), _) => format!("QEMU's monitor did not answer {} in time", command.qmp().0),
            (None, Some(Step::AwaitShutdown)) => "the guest did not go down in time".to_owned(),
            (None, Some(Step::AwaitReset)) => "the machine was not reset in time".to_owned(),
            (None, _) => "QEMU did not answer in time".to_owned(),
        }
    }
}

impl Lifecycle {
    /// Runs a script. There is no other at the time.
    pub(super) fn run(&mut self, now: Instant, script: Script) {
        debug_assert!(self.script.is_none(), "two scripts at a time");
        self.script = Some(script);
        self.timers.set(now + SCRIPT, Timer::Script);
        self.advance();
    }

    /// Takes steps until there is something to wait for.
    pub(super) fn advance(&mut self) {
        let Some(script) = &mut self.script else { return };
        if script.waiting.is_some() {
            return;
        }
        while let Some(step) = script.steps.front() {
            match step {
                Step::AwaitReset if !script.seen_reset => return,
                Step::AwaitShutdown if !script.seen_shutdown => return,
                Step::AwaitReset | Step::AwaitShutdown => {
                    script.steps.pop_front();
                }
                Step::Send(command) => {
                    let command = command.clone();
                    script.steps.pop_front();
                    let id = self.send(command.clone());
                    if let Some(script) = &mut self.script {
                        if let Command::StandAfterShutdown(stand) = command {
                            script.standing = stand;
                        }
                        script.waiting = Some((id, command));
                    }
                    return;
                }
            }
        }
        self.complete(None);
    }

    /// The answer to the command that the script waits for.
    pub(super) fn handle_script_reply(&mut self, now: Instant, result: Result<Value, String>) {
        let Some(script) = &mut self.script else { return };
        let Some((_, command)) = script.waiting.take() else { return };
        let value = match (result, &command) {
            (Ok(value), _) => value,
            (Err(why), Command::QueryProcessors) if script.purpose == Purpose::Adopt => {
                return self.end_half_started(now, &why);
            }
            (Err(why), command) => {
                let Some(script) = self.script.take() else { return };
                let error = DriverError { causes: vec![why], ..failed(format!("QEMU refused {}", command.qmp().0)) };
                return self.give_up(now, &script, error);
            }
        };
        match command {
            Command::QueryUuid if value["UUID"].as_str() != Some(self.vm.to_string().as_str()) => {
                self.lose("the process behind the monitor runs another machine");
            }
            Command::QueryStatus if script.steps.is_empty() => self.complete(Some(&value)),
            _ => self.advance(),
        }
    }

    /// All steps are done; `status` is what the last of them returned, if it asked for it.
    fn complete(&mut self, status: Option<&Value>) {
        let Some(script) = self.script.take() else { return };
        self.timers.cancel(Timer::Script);
        let reason = match script.purpose {
            Purpose::Start(_) | Purpose::Operation(_) => StateReason::Requested,
            Purpose::Adopt => StateReason::Adopted,
            Purpose::Reconnect => StateReason::Hypervisor,
        };
        match script.purpose {
            Purpose::Start(_) | Purpose::Operation(_) => {}
            Purpose::Adopt => self.adopted(),
            Purpose::Reconnect => self.link_ready(),
        }
        if let Purpose::Start(_) = script.purpose {
            self.phase = Phase::Up;
            self.starting = None;
        }
        if let Some(status) = status {
            self.handle_status(status, reason);
        }
        if !matches!(script.purpose, Purpose::Operation(_)) {
            // What was told while nobody listened is lost.
            self.ask_agent_port();
        }
        let (Purpose::Start(operation) | Purpose::Operation(operation)) = script.purpose else { return };
        let result = match script.wants {
            Some(wanted) if Some(wanted) != self.state => {
                let found = status.and_then(|s| s["status"].as_str()).unwrap_or("nothing").to_owned();
                Err(DriverError {
                    causes: vec![format!("QEMU says {found}")],
                    ..failed("everything was done, and yet the guest is in another state")
                })
            }
            _ => Ok(()),
        };
        self.finish(operation, result);
    }

    /// A script has failed and will not be taken further.
    pub(super) fn give_up(&mut self, now: Instant, script: &Script, error: DriverError) {
        self.timers.cancel(Timer::Script);
        match script.purpose {
            Purpose::Start(_) => self.fail_start(now, error),
            Purpose::Adopt => self.lose(&error.message),
            Purpose::Reconnect => self.link_failed(now),
            Purpose::Operation(operation) => {
                if script.standing && self.link_is_ready() {
                    self.send(Command::StandAfterShutdown(false));
                    self.status_stale = true;
                }
                self.finish(operation, Err(error));
            }
        }
        self.ask_status_if_stale();
    }

    /// A stop has overtaken what was under way.
    pub(super) fn supersede(&mut self) {
        self.timers.cancel(Timer::Script);
        let under_way = match self.script.take().map(|script| script.purpose) {
            Some(Purpose::Operation(operation)) => Some(operation),
            _ => None,
        };
        for operation in [self.starting.take(), under_way].into_iter().flatten() {
            self.finish(operation, Err(superseded()));
        }
    }

    /// The script of an operation on a guest that is up.
    pub(super) fn begin_on_monitor(&mut self, now: Instant, operation: OperationId, task: &Task) {
        use Step::{AwaitReset, AwaitShutdown, Send};
        if !self.link_is_ready() {
            return self.finish(operation, Err(failed("QEMU's monitor is not connected; it is being sought")));
        }
        if self.script.is_some() {
            return self.finish(operation, Err(failed("another operation is under way")));
        }
        let status = || Send(Command::QueryStatus);
        let (steps, wants) = match task {
            Task::Start { .. } | Task::Stop => return,
            Task::PowerButton => (vec![Send(Command::PowerButton)], None),
            Task::Pause => (vec![Send(Command::Stop), status()], Some(VmState::Paused)),
            Task::Resume => (vec![Send(Command::Continue), status()], Some(VmState::Running)),
            // A guest that panicked stands; one who resets it wants it to come up.
            Task::Reset if self.state == Some(VmState::Crashed) => {
                (vec![Send(Command::Reset), AwaitReset, Send(Command::Continue), status()], Some(VmState::Running))
            }
            Task::Reset => (vec![Send(Command::Reset), AwaitReset, status()], None),
            Task::Reboot => (
                vec![
                    Send(Command::StandAfterShutdown(true)),
                    Send(Command::PowerButton),
                    AwaitShutdown,
                    Send(Command::Reset),
                    Send(Command::StandAfterShutdown(false)),
                    Send(Command::Continue),
                    status(),
                ],
                Some(VmState::Running),
            ),
        };
        self.run(now, Script::new(Purpose::Operation(operation), steps, wants));
        if *task == Task::Reboot {
            self.timers.set(now + self.patience.reboot, Timer::Script);
        }
    }
}
