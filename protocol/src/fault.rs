//! Faults that a simulation has to find. Compiled in by `--cfg vmwire_faults` alone; otherwise nothing is planted and
//! the compiler removes each question.

/// A fault that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Now and then an answer is not sent.
    LostReply,
    /// Now and then an answer is sent twice.
    DoubleReply,
    /// Now and then a call stays open although it was answered.
    LeakedTicket,
    /// Now and then a serial is left out.
    SkippedSerial,
    /// Packets are taken however much is unsent.
    UnboundedOutbox,
    /// A connection that was blocked is not taken up again.
    ForgottenWakeUp,
    /// Events of one kind are shown to everybody.
    LeakyEvents,
    /// The names of all are listed to everybody.
    LeakyNames,
    /// Whoever may not see a virtual machine is told that it may not, and so that it is there.
    LoudRefusal,
    /// Consoles stay open when the right to them is taken away.
    ForgottenConsole,
    /// Waits go on when what they wait for may not be seen any more.
    ForgottenWait,
    /// It is said of agents that they do not listen, although they do.
    OverheardAgent,
}

#[cfg(vmwire_faults)]
mod planted {
    use std::cell::Cell;

    use super::Fault;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
        static COUNT: Cell<u32> = const { Cell::new(0) };
    }

    /// Plants a fault in this thread, or none.
    pub fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
        COUNT.set(0);
    }

    /// Whether the fault strikes now: at every 40th chance.
    pub fn strikes(fault: Fault) -> bool {
        if PLANTED.get() != Some(fault) {
            return false;
        }
        COUNT.set(COUNT.get() + 1);
        COUNT.get().is_multiple_of(40)
    }

    /// Whether the fault is planted.
    pub fn is_planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }
}

#[cfg(vmwire_faults)]
pub use planted::{is_planted, plant, strikes};

/// Whether the fault strikes now.
#[cfg(not(vmwire_faults))]
#[inline(always)]
pub const fn strikes(_fault: Fault) -> bool {
    false
}

/// Whether the fault is planted.
#[cfg(not(vmwire_faults))]
#[inline(always)]
pub const fn is_planted(_fault: Fault) -> bool {
    false
}
