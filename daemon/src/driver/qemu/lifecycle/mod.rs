//! The life of one guest under QEMU. Pure: told what happened, it gives orders and reports.
//!
//! ```text
//!            start              record written          greeting            status says running (or stands, if paused)
//!  Stopped ────────▶ Preparing ───────────────▶ Launching ────────▶ Configuring ──────────────────────────▶ Up
//!     ▲                  │ stop                     │ no greeting in time     │ the monitor refuses            │
//!     │                  │                          ▼                         ▼                                │ stop
//!     │                  │                        Ending  ◀────────────────────────────────────────────────────┤
//!     │ files removed    ▼                          │ process gone                           process gone      │
//!     └───────────── CleaningUp ◀───────────────────┴──────────────────────────────────────────────────────────┘
//!
//!      listener, uuid and machine proved                anything less
//!  Adopting ────────────────────────▶ Up      Adopting ──────────────▶ Lost ── process gone ──▶ CleaningUp
//! ```
//! Operations cause `start` and `stop`; QEMU, through its monitor and its process, causes the rest. What is done over
//! the monitor is a [`Script`]: a line of commands and awaited events, one script at a time. The monitor's connection
//! has a life of its own ([`Link`]): lost while the process lives, it is sought again, and nobody takes that for an
//! end.

mod agent;
mod ending;
mod link;
mod resets;
mod script;
mod starting;
#[cfg(test)]
mod tests;
mod up;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::agent::AgentPort;
use self::ending::Farewell;
use self::link::Link;
use self::resets::Resets;
use self::script::{Purpose, Script};
use super::monitor::Message;
use crate::driver::{DriverError, DriverErrorKind, Process, Report};
use crate::event_loop::Timers;
use crate::model::{OperationId, StateReason, VmId, VmState};

pub(super) use self::ending::Exit;
pub(super) use self::script::Command;

/// What is to be done to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    Start {
        /// The kernel's, if the guest boots one.
        cmdline: Option<String>,
        /// Leave the processors standing.
        paused: bool,
    },
    PowerButton,
    Stop,
    Reboot,
    Reset,
    Pause,
    Resume,
}

/// What has to be done outside.
#[derive(Debug)]
pub(super) enum Order {
    /// Write the run record and remove sockets that lie around; then `handle_prepared`.
    Prepare,
    /// Launch QEMU and connect to its monitor; then `handle_launched`.
    Launch,
    /// Connect to the monitor of the running process.
    Connect,
    /// Drop the connection to the monitor.
    Disconnect,
    /// Send this over the monitor.
    Send {
        /// Comes back with the answer.
        id: u64,
        /// What to send.
        command: Command,
    },
    /// End the process now.
    Kill,
    /// Remove the run record and the sockets; then `handle_cleaned`.
    CleanUp,
    /// Tell this.
    Report(Report),
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From the launch to the monitor's greeting, and from there to a running guest.
    pub(super) greeting: Duration,
    /// For a guest to go down and come up.
    pub(super) reboot: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { greeting: Duration::from_secs(30), reboot: Duration::from_secs(120) }
    }
}

/// How long a monitor may take for what it does at once.
const SCRIPT: Duration = Duration::from_secs(30);
/// How long QEMU may take to end when told to `quit`.
const QUIT: Duration = Duration::from_secs(1);
/// How long the kernel may take to end a killed process.
const KILL: Duration = Duration::from_secs(10);
/// A process that ends closes its monitor a moment before its end can be seen.
const LINK_GRACE: Duration = Duration::from_secs(1);
/// The same of one that has said that it is going: it puts its disks in order and gives the guest's memory back.
const GOING_GRACE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    /// The script has taken too long.
    Script,
    /// A lost link may now be told.
    LinkGrace,
    /// Seek the monitor again.
    Reconnect,
    /// `quit` was not heard.
    Quit,
    /// The kill has not ended it.
    Kill,
}

#[derive(Debug)]
enum Phase {
    Stopped,
    Preparing,
    Launching,
    Configuring,
    Adopting,
    Up,
    /// The process has to go. Holds what to tell when it has.
    Ending(Farewell),
    /// The process is gone, its files are being removed.
    CleaningUp(Farewell),
    /// There is a process that could not be proved to be ours.
    Lost,
}

/// One guest.
#[derive(Debug)]
pub(super) struct Lifecycle {
    vm: VmId,
    patience: Patience,
    phase: Phase,
    /// As told; nothing was told of a guest that a former daemon left.
    state: Option<VmState>,
    link: Link,
    script: Option<Script>,
    /// The start or stop under way, which are more than a script; every other operation lives in its script.
    starting: Option<OperationId>,
    /// What a start will do over the monitor.
    task: Option<Task>,
    /// Why QEMU says that it is going.
    shutdown: Option<ShutdownCause>,
    /// A status was asked for beside any script.
    asked_status: Option<u64>,
    /// Something happened after which the status may be another.
    status_stale: bool,
    /// The guest has panicked, and QEMU is about to let it stand: until then its status is the one before.
    panicking: bool,
    resets: Resets,
    agent: AgentPort,
    /// What is told of the process once it is proved to be ours; adoption only.
    found: Option<Process>,
    /// Which process listens at the monitor, as far as the last connection can tell.
    peer: Option<u32>,
    /// The monitor was connected to once more, to be sure of that; adoption only.
    peer_is_certain: bool,
    next_id: u64,
    timers: Timers<Timer>,
    orders: VecDeque<Order>,
}

/// What QEMU said of its own end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ShutdownCause {
    by_guest: bool,
    reason: String,
}

impl Lifecycle {
    /// A guest that does not run.
    pub(super) fn new(vm: VmId, patience: Patience) -> Self {
        Self {
            vm,
            patience,
            phase: Phase::Stopped,
            state: Some(VmState::Stopped),
            link: Link::Down,
            script: None,
            starting: None,
            task: None,
            shutdown: None,
            asked_status: None,
            status_stale: false,
            panicking: false,
            resets: Resets::default(),
            agent: AgentPort::default(),
            found: None,
            peer: None,
            peer_is_certain: false,
            next_id: 1,
            timers: Timers::new(),
            orders: VecDeque::new(),
        }
    }

    /// Begins an operation. Every one is finished by exactly one report.
    pub(super) fn begin(&mut self, now: Instant, operation: OperationId, task: Task) {
        match (&self.phase, task) {
            (_, Task::Stop) => self.begin_stop(now, operation),
            (Phase::Lost, _) => self.finish(operation, Err(lost_error())),
            (Phase::Adopting, _) => self.finish(operation, Err(unproved())),
            (Phase::Stopped, task @ Task::Start { .. }) => self.begin_start(operation, task),
            (_, Task::Start { .. }) => self.finish(operation, Err(failed("the guest is there already"))),
            (Phase::Up, task) => self.begin_on_monitor(now, operation, &task),
            (_, _) => self.finish(operation, Err(failed("the guest does not run"))),
        }
    }

    /// The monitor told something.
    pub(super) fn handle_message(&mut self, now: Instant, message: Message) {
        match message {
            Message::Greeting { .. } => self.handle_greeting(now),
            Message::Reply { id, result } => self.handle_reply(now, id, result),
            Message::Event { name, data } => self.handle_event(now, &name, &data),
        }
        self.ask_status_if_stale();
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Script => self.handle_script_timeout(now),
                Timer::LinkGrace => self.handle_link_grace_over(now),
                Timer::Reconnect => self.reconnect(now),
                Timer::Quit => self.kill(now),
                Timer::Kill => self.handle_kill_timeout(),
            }
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next thing to do outside.
    pub(super) fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// Whether nothing of the guest is left.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    /// Whether it is still to be proved that its process is ours.
    pub(super) fn is_adopting(&self) -> bool {
        matches!(self.phase, Phase::Adopting)
    }

    /// Whether the guest is up, and proved to be ours.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }

    /// Whether only the guest's files are left, and will not be for long.
    pub(super) fn is_cleaning_up(&self) -> bool {
        matches!(self.phase, Phase::CleaningUp(_))
    }

    fn order(&mut self, order: Order) {
        self.orders.push_back(order);
    }

    fn report(&mut self, report: Report) {
        self.order(Order::Report(report));
    }

    fn finish(&mut self, operation: OperationId, result: Result<(), DriverError>) {
        self.report(Report::Finished { vm: self.vm, operation, result });
    }

    /// Enters a state; staying in one is not told.
    fn enter(&mut self, state: VmState, reason: StateReason, message: impl Into<String>) {
        if self.state != Some(state) {
            self.state = Some(state);
            self.report(Report::State { vm: self.vm, state, reason, message: message.into() });
        }
    }

    fn send(&mut self, command: Command) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.order(Order::Send { id, command });
        id
    }

    fn handle_reply(&mut self, now: Instant, id: u64, result: Result<Value, String>) {
        if self.asked_status == Some(id) {
            self.asked_status = None;
            if let Ok(status) = result {
                self.handle_status(&status, StateReason::Hypervisor);
            }
        } else if self.agent.was_asked_by(id) {
            self.handle_chardevs(&result.unwrap_or_default());
        } else if self.script.as_ref().is_some_and(|script| script.awaits(id)) {
            self.handle_script_reply(now, result);
        }
        // Else it answers a script that was given up.
    }

    fn handle_script_timeout(&mut self, now: Instant) {
        let timed_out = |message: String| DriverError { kind: DriverErrorKind::TimedOut, ..failed(message) };
        match (self.script.take(), &self.phase) {
            (Some(script), _) => {
                let error = timed_out(script.timed_out());
                self.give_up(now, &script, error);
            }
            (None, Phase::Launching) => {
                self.fail_start(now, timed_out("QEMU's monitor did not greet in time".to_owned()));
            }
            (None, Phase::Adopting) => self.lose("its monitor did not greet in time"),
            (None, _) => {}
        }
    }
}

fn failed(message: impl Into<String>) -> DriverError {
    DriverError { kind: DriverErrorKind::Failed, message: message.into(), causes: Vec::new(), hint: String::new() }
}

/// What becomes of an operation that a stop overtakes.
pub(super) fn superseded() -> DriverError {
    DriverError { kind: DriverErrorKind::Superseded, ..failed("a stop has overtaken it") }
}

/// For whoever comes too early all the same: admission lets everything wait.
fn unproved() -> DriverError {
    failed("it is not proved yet that the guest's process is ours")
}

fn lost_error() -> DriverError {
    DriverError {
        hint: "end the process that its run record names by hand; the daemon ends only what it can prove to be its own"
            .to_owned(),
        ..failed("the guest is lost: a process of it may run that could not be proved to be ours")
    }
}
