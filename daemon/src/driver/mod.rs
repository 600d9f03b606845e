//! The seam where a hypervisor fits: what a driver is asked, what it reports, and the host it needs.
//!
//! A driver never calls back. It is told to [`begin`](Driver::begin) something, is shown readiness and time by
//! `handle_*`, and is asked with `poll_*` what came of it. It owns its descriptors; the loop only watches them for it.

mod host;
pub mod qemu;
mod test;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mio::Token;

pub use host::{FileAnswer, FileRequest, FileTicket, Host, ReadFile};
pub use test::TestDriver;

use crate::event_loop::Now;
use crate::model::{Definition, OperationId, StateReason, VmId, VmState};

/// The longest request that [`Driver::agent_write`] takes.
pub const AGENT_REQUEST_BYTES_MAX: usize = 64 << 10;

/// One thing to be done to one virtual machine.
#[derive(Debug)]
pub struct Job {
    /// Whom it is done to.
    pub vm: VmId,
    /// The operation on whose behalf; comes back in [`Report::Finished`].
    pub operation: OperationId,
    /// What is to be done.
    pub action: Action,
}

/// What a driver can be asked to do. Whether it may be done now was decided before (`model::admission`).
#[derive(Debug)]
pub enum Action {
    /// Bring the guest up; finished when the hypervisor's own monitor says that it runs (or stands, if `paused`).
    Start {
        /// What to run.
        definition: Arc<Definition>,
        /// Leave the processors standing.
        paused: bool,
    },
    /// Press the power button; finished when it was pressed, or when the guest is gone meanwhile. Whether it obeys is
    /// seen by its state.
    PowerButton,
    /// End the guest now; finished when nothing of it is left. May be begun while another job of the same guest is
    /// under way: that one is then finished with [`DriverErrorKind::Superseded`] first.
    Stop,
    /// Ask the guest to go down and come up again within the same hypervisor process; finished when it came up.
    Reboot,
    /// Reset the virtual machine like a reset button; finished when it was done.
    Reset,
    /// Let the processors stand still; finished when they do.
    Pause,
    /// Let the processors run; finished when they do.
    Resume,
}

/// What a driver tells of its own accord. Collected by the loop with [`Driver::poll_report`].
#[derive(Debug)]
pub enum Report {
    /// A job has ended. Exactly one per job begun.
    Finished {
        /// The job's virtual machine.
        vm: VmId,
        /// The job's operation.
        operation: OperationId,
        /// How it went.
        result: Result<(), DriverError>,
    },
    /// A virtual machine has entered a state. Comes before the `Finished` of the job that caused it.
    State {
        /// Which one.
        vm: VmId,
        /// Where it is now.
        state: VmState,
        /// Why.
        reason: StateReason,
        /// What people may want to read about it: an exit status, the tail of standard error. May be empty.
        message: String,
    },
    /// What is known of the running hypervisor process. Sent when it starts, is adopted, and with `None` at its end.
    Process {
        /// Whose.
        vm: VmId,
        /// The process, if there is one.
        process: Option<Process>,
    },
    /// The guest was reset, by itself or by request. What the firmware resets once more in the wake of that is not
    /// reported.
    Reset {
        /// Which one.
        vm: VmId,
        /// By the guest itself, not by an operation.
        by_guest: bool,
    },
    /// The monitor connection went or came while the hypervisor process lives.
    Monitor {
        /// Whose.
        vm: VmId,
        /// Whether the monitor can be asked now.
        connected: bool,
        /// Why it went. Empty when it came.
        why: String,
    },
    /// The guest wrote to its console.
    Console {
        /// Which one.
        vm: VmId,
        /// What it wrote.
        data: Bytes,
    },
    /// The guest's agent wrote to its channel: bytes as they come, in pieces.
    Agent {
        /// Which guest.
        vm: VmId,
        /// What it wrote.
        data: Bytes,
    },
    /// Somebody in the guest opened or closed the agent's channel, which is closed as well when the guest's run ends;
    /// or the daemon lost its own line to it. That it is open may be told again: it may have been closed in between.
    AgentPort {
        /// Which guest.
        vm: VmId,
        /// Whether it is open now; nothing where that is not known.
        open: Option<bool>,
    },
}

/// A hypervisor process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its process identifier; 0 where there is none (test driver).
    pub pid: u32,
    /// The accelerator in force: `kvm`, `tcg` or `test`.
    pub accelerator: &'static str,
}

/// Why a driver could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverError {
    /// What sort of thing went wrong.
    pub kind: DriverErrorKind,
    /// In words, lower case, without a full stop.
    pub message: String,
    /// The chain of causes, outermost first: a line of QEMU's standard error, a monitor's error.
    pub causes: Vec<String>,
    /// What the person could do. May be empty.
    pub hint: String,
}

/// The sorts of driver error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverErrorKind {
    /// The hypervisor or the host refused or failed.
    Failed,
    /// A stop overtook the job.
    Superseded,
    /// The hypervisor did not answer in time.
    TimedOut,
    /// The hypervisor ended while the job was under way.
    Ended,
    /// This driver, or the hypervisor as it is, cannot do this.
    Unsupported,
}

/// What a driver can do on this host, from memory. Becomes the answer to host capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The hypervisor's name and version, as in `QEMU 7.2.22`; empty while not yet known.
    pub hypervisor: String,
    /// Machine types that a definition may name.
    pub machines: Vec<String>,
    /// Processor models that a definition may name.
    pub cpu_models: Vec<String>,
    /// Accelerators, the preferred first.
    pub accelerators: Vec<Accelerator>,
}

/// An accelerator and whether it can be used here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accelerator {
    /// `kvm`, `tcg` or `test`.
    pub name: String,
    /// Whether it was proved usable.
    pub usable: bool,
    /// Which step said no, and how. Empty when usable.
    pub why_not: String,
}

/// A hypervisor, driven without waiting.
pub trait Driver {
    /// `qemu` or `test`.
    fn name(&self) -> &'static str;

    /// What it can do here, from memory.
    fn capabilities(&self) -> &Capabilities;

    /// Whether what it can do here is known yet. If not, it will be, shortly after the start.
    fn capabilities_are_known(&self) -> bool {
        true
    }

    /// Whether a definition could run under this driver, as far as can be said without touching the host.
    ///
    /// # Errors
    /// Says what of the definition this driver cannot do.
    fn check(&self, definition: &Definition) -> Result<(), DriverError>;

    /// Begins a job. Its end is a [`Report::Finished`].
    fn begin(&mut self, now: Now, host: &mut dyn Host, job: Job);

    /// Hands bytes to the guest's console. Answers how many were taken; the rest may be offered again when
    /// [`Driver::console_room`] says so. Zero when the guest does not run.
    fn console_write(&mut self, now: Now, host: &mut dyn Host, vm: VmId, data: &[u8]) -> usize;

    /// How many bytes [`Driver::console_write`] would take now.
    fn console_room(&self, vm: VmId) -> usize;

    /// Hands one request of at most [`AGENT_REQUEST_BYTES_MAX`] to the agent's channel
    /// ([`AGENT_CHANNEL`](crate::model::AGENT_CHANNEL)), all of it or nothing. Answers whether it was taken: not where
    /// the guest has no such channel, is not up or cannot be reached, nor while bytes of a former request wait to be
    /// sent.
    fn agent_write(&mut self, now: Now, host: &mut dyn Host, vm: VmId, data: &[u8]) -> bool;

    /// A descriptor that the driver had watched may be readable, writable, closed or in error: a hint, not a state.
    fn handle_ready(&mut self, now: Now, host: &mut dyn Host, token: Token);

    /// A file request has been answered.
    fn handle_file(&mut self, now: Now, host: &mut dyn Host, ticket: FileTicket, answer: FileAnswer);

    /// Time has passed; called when [`Driver::poll_timeout`] has come.
    fn handle_timeout(&mut self, now: Now, host: &mut dyn Host);

    /// When the driver wants to be called next, if nothing else happens.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Takes the next report, in the order things happened.
    fn poll_report(&mut self) -> Option<Report>;

    /// Whether guests outlive the daemon.
    fn guests_run_on(&self) -> bool {
        true
    }

    /// The daemon is leaving: let go of everything, leave the guests running where they can.
    fn detach(&mut self, host: &mut dyn Host);
}
