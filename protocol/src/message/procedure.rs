//! The procedures: number, name, the minor that brought each, and how long each may take.

use std::time::Duration;

use super::client::ClientKind;
use super::hello::role;
use super::rights::{Over, Right};
use crate::limits::{DEADLINE_MAX, WAIT_DEADLINE_MAX};

/// Numbers that are used outside the unions.
pub mod number {
    /// A call has no answer.
    pub const FAILURE: u32 = 0;
    /// Agree on a version.
    pub const HELLO: u32 = 1;
    /// Are you there?
    pub const PING: u32 = 2;
    /// Give up a call.
    pub const CANCEL: u32 = 3;
    /// Ask for events.
    pub const SUBSCRIBE: u32 = 4;
    /// No more events.
    pub const UNSUBSCRIBE: u32 = 5;
    /// From here on, packets are never answered.
    pub const UNANSWERED: u32 = 0x1000;
    /// How far a call has come.
    pub const PROGRESS: u32 = 0x1000;
    /// Something happened.
    pub const EVENT: u32 = 0x1001;
    /// Events were lost.
    pub const GAP: u32 = 0x1002;
    /// A piece of a stream.
    pub const STREAM_DATA: u32 = 0x1010;
    /// Leave to send more of a stream.
    pub const STREAM_CREDIT: u32 = 0x1011;
    /// The end of a stream.
    pub const STREAM_END: u32 = 0x1012;
}

/// What is fixed about a procedure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Procedure {
    /// Its number, in both unions.
    pub number: u32,
    /// Its name in logs and lists.
    pub name: &'static str,
    /// The minor of major 1 that brought it.
    pub minor: u32,
    /// What it needs of whoever calls it.
    pub right: Right,
    /// The deadline of a call that names none.
    pub deadline_default: Duration,
    /// The longest deadline.
    pub deadline_max: Duration,
}

const READ: Duration = Duration::from_secs(10);
const CHANGE: Duration = Duration::from_secs(60);

const fn call(number: u32, name: &'static str, minor: u32, deadline_default: Duration) -> Procedure {
    Procedure { number, name, minor, right: right(number), deadline_default, deadline_max: DEADLINE_MAX }
}

const fn wait(number: u32, name: &'static str, minor: u32) -> Procedure {
    let right = right(number);
    Procedure { number, name, minor, right, deadline_default: WAIT_DEADLINE_MAX, deadline_max: WAIT_DEADLINE_MAX }
}

/// What a number needs. A test holds that every row is an arm of the union.
const fn right(number: u32) -> Right {
    match ClientKind::of(number) {
        Some(kind) => Right::of(kind),
        None => Right { role: role::ADMIN, over: Over::Host },
    }
}

/// Every call, ascending by number.
pub const PROCEDURES: &[Procedure] = &[
    call(number::HELLO, "hello", 0, READ),
    call(number::PING, "ping", 0, READ),
    call(number::CANCEL, "cancel", 0, READ),
    call(number::SUBSCRIBE, "subscribe", 0, READ),
    call(number::UNSUBSCRIBE, "unsubscribe", 0, READ),
    call(0x0010, "host-info", 0, READ),
    call(0x0011, "host-capabilities", 0, READ),
    call(0x0012, "daemon-info", 0, READ),
    call(0x0020, "connection-list", 0, READ),
    call(0x0021, "connection-kick", 0, READ),
    call(0x0030, "operation-list", 0, READ),
    call(0x0031, "operation-show", 0, READ),
    wait(0x0032, "operation-wait", 0),
    call(0x0100, "vm-names", 0, READ),
    call(0x0101, "vm-show", 0, READ),
    call(0x0102, "vm-definition", 0, READ),
    call(0x0103, "vm-define", 0, CHANGE),
    call(0x0104, "vm-undefine", 0, CHANGE),
    call(0x0105, "vm-list", 1, READ),
    call(0x0110, "vm-start", 0, CHANGE),
    call(0x0111, "vm-shutdown", 0, DEADLINE_MAX),
    call(0x0112, "vm-stop", 0, CHANGE),
    call(0x0113, "vm-reboot", 0, DEADLINE_MAX),
    call(0x0114, "vm-reset", 0, CHANGE),
    call(0x0115, "vm-pause", 0, CHANGE),
    call(0x0116, "vm-resume", 0, CHANGE),
    wait(0x0117, "vm-wait", 0),
    call(0x0120, "console-open", 0, READ),
];

impl Procedure {
    /// The procedure of a number, of any minor.
    pub fn of(number: u32) -> Option<&'static Self> {
        PROCEDURES.binary_search_by_key(&number, |procedure| procedure.number).ok().and_then(|at| PROCEDURES.get(at))
    }

    /// The deadline of a call that asked for `deadline_ms`.
    pub fn deadline(&self, deadline_ms: u32) -> Duration {
        if deadline_ms == 0 {
            self.deadline_default
        } else {
            Duration::from_millis(deadline_ms.into()).min(self.deadline_max)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ClientData, ServerData};

    #[test]
    fn every_call_of_the_union_has_its_row_and_its_answer() {
        let rows: Vec<u32> = PROCEDURES.iter().map(|procedure| procedure.number).collect();
        assert!(rows.is_sorted(), "{rows:?}");
        let calls: Vec<u32> = ClientData::NUMBERS.iter().copied().filter(|n| *n < number::UNANSWERED).collect();
        assert_eq!(rows, calls);
        let answers: Vec<u32> =
            ServerData::NUMBERS.iter().copied().filter(|n| (1..number::UNANSWERED).contains(n)).collect();
        assert_eq!(answers, calls);
    }

    #[test]
    fn a_deadline_beyond_the_ceiling_is_the_ceiling() {
        let (ping, wait) = (Procedure::of(number::PING).unwrap(), Procedure::of(0x117).unwrap());
        assert_eq!(ping.deadline(0), Duration::from_secs(10));
        assert_eq!(ping.deadline(u32::MAX), Duration::from_secs(600));
        assert_eq!(ping.deadline(1), Duration::from_millis(1));
        assert_eq!(wait.deadline(u32::MAX), Duration::from_secs(24 * 3600));
        assert_eq!(Procedure::of(0), None);
    }
}
