//! What an operation is about to do.

use std::time::Duration;

use vmwire_protocol::message::{Failure, VmShutdownCall, number, shutdown_then};

use super::refusal::invalid;
use crate::model::Definition;
use crate::model::admission::Wish;

/// The grace of a shutdown that names none.
const GRACE_DEFAULT: Duration = Duration::from_secs(60);
/// The longest grace.
const GRACE_MAX: Duration = Duration::from_secs(600);

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

    /// The definition that it makes or puts in the place of another.
    pub(super) fn definition(&self) -> Option<&Definition> {
        match self {
            Self::Define(definition) | Self::Redefine(definition) => Some(definition),
            _ => None,
        }
    }

    /// What it wants of a virtual machine that is there; `None` if it makes one.
    pub(super) fn wish(&self) -> Option<Wish> {
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
    pub(super) fn procedure(&self) -> u32 {
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
