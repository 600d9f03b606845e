//! The life of a virtual machine.
//!
//! ```text
//!             start                 monitor says running
//!  ┌───────┐ ───────▶ ┌──────────┐ ───────────────────▶ ┌─────────┐ ◀── pause/resume ──▶ ┌────────┐
//!  │stopped│          │ starting │                      │ running │                      │ paused │
//!  └───────┘ ◀─────── └──────────┘                      └─────────┘                      └────────┘
//!      ▲      failed                                     │       │ guest panics
//!      │                     the guest or QEMU ends      │       ▼
//!      └─────────────────────────────────────────────────┘   ┌─────────┐
//!      ▲                                        stop         │ crashed │
//!      └──────────────────────────────────────────────────── └─────────┘
//!
//!  adopting: a run record of a former daemon whose process is being proved; becomes running, paused, crashed or
//!  stopped, or lost where the proof fails: never killed, refuses to start
//! ```
//! The operator causes start, pause, resume and stop; everything else is told by the driver.

/// Where a virtual machine is in its life. The discriminants are the numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum VmState {
    /// No guest runs.
    Stopped = 1,
    /// The hypervisor is being launched; the monitor has not yet said that the guest runs.
    Starting = 2,
    /// The guest's processors run.
    Running = 3,
    /// The guest is there and its processors stand still.
    Paused = 4,
    /// The guest said that it panicked; it stands still until it is stopped or reset.
    Crashed = 5,
    /// A run record exists but the process behind it could not be proved to be ours. Refuses to start.
    Lost = 6,
    /// A former daemon left it; it is being found out whether the process is the one that it left. Until then nothing is
    /// done to it.
    Adopting = 7,
}

/// Why a state was entered. The discriminants are the numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum StateReason {
    /// Nothing is known of it (a definition was just loaded).
    Unknown = 0,
    /// An operation asked for it.
    Requested = 1,
    /// The guest did it itself: powered off, panicked.
    Guest = 2,
    /// An operation asked for something else and failed.
    Failed = 3,
    /// The hypervisor ended or stood still without being asked to.
    Hypervisor = 4,
    /// The daemon started again and took up a guest it had left.
    Adopted = 5,
}
