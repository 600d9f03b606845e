//! The procedures: number, name, the minor that brought each, and how long each may take.

use std::time::Duration;

use super::client::ClientKind;
use super::hello::role;
use super::rights::{Over, Right};
use crate::limits::{DEADLINE_MAX, WAIT_DEADLINE_MAX};

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

/// The deadline of a call that names none, and the longest.
type Deadlines = (Duration, Duration);

const READ: Deadlines = (Duration::from_secs(10), DEADLINE_MAX);
const CHANGE: Deadlines = (Duration::from_secs(60), DEADLINE_MAX);
/// The guest has a say in when it is done.
const GUEST: Deadlines = (DEADLINE_MAX, DEADLINE_MAX);
const WAIT: Deadlines = (WAIT_DEADLINE_MAX, WAIT_DEADLINE_MAX);

/// What a number needs. A test holds that every row is an arm of the union.
const fn right(number: u32) -> Right {
    match ClientKind::of(number) {
        Some(kind) => Right::of(kind),
        None => Right { role: role::ADMIN, over: Over::Host },
    }
}

/// Makes the constants of the numbers and the table of the procedures, out of one row each; `besides` go among the numbers.
macro_rules! procedures {
    (
        besides { $($other:item)+ }
        $($(#[$doc:meta])* $NAME:ident = $number:literal => $text:literal, minor $minor:literal, $deadlines:ident;)+
    ) => {
        /// Numbers of the two unions.
        pub mod number {
            $($(#[$doc])* pub const $NAME: u32 = $number;)+
            $($other)+
        }

        /// Every call, ascending by number.
        pub const PROCEDURES: &[Procedure] = &[$(Procedure {
            number: $number,
            name: $text,
            minor: $minor,
            right: right($number),
            deadline_default: $deadlines.0,
            deadline_max: $deadlines.1,
        }),+];
    };
}

procedures! {
    besides {
        /// A call has no answer.
        pub const FAILURE: u32 = 0;
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

    /// Agree on a version.
    HELLO = 0x0001 => "hello", minor 0, READ;
    /// Are you there?
    PING = 0x0002 => "ping", minor 0, READ;
    /// Give up a call.
    CANCEL = 0x0003 => "cancel", minor 0, READ;
    /// Ask for events.
    SUBSCRIBE = 0x0004 => "subscribe", minor 0, READ;
    /// No more events.
    UNSUBSCRIBE = 0x0005 => "unsubscribe", minor 0, READ;
    /// What the host is.
    HOST_INFO = 0x0010 => "host-info", minor 0, READ;
    /// What a definition may ask for.
    HOST_CAPABILITIES = 0x0011 => "host-capabilities", minor 0, READ;
    /// What the daemon is.
    DAEMON_INFO = 0x0012 => "daemon-info", minor 0, READ;
    /// What the daemon proves itself with.
    HOST_CERTIFICATES = 0x0013 => "host-certificates", minor 2, READ;
    /// Who is connected.
    CONNECTION_LIST = 0x0020 => "connection-list", minor 0, READ;
    /// Close a connection.
    CONNECTION_KICK = 0x0021 => "connection-kick", minor 0, READ;
    /// What was asked for.
    OPERATION_LIST = 0x0030 => "operation-list", minor 0, READ;
    /// What became of one operation.
    OPERATION_SHOW = 0x0031 => "operation-show", minor 0, READ;
    /// Wait for the end of one operation.
    OPERATION_WAIT = 0x0032 => "operation-wait", minor 0, WAIT;
    /// Which clients are known.
    CLIENT_LIST = 0x0040 => "client-list", minor 2, READ;
    /// Make a token for a client.
    CLIENT_INVITE = 0x0041 => "client-invite", minor 2, CHANGE;
    /// Make a client known.
    CLIENT_ADD = 0x0042 => "client-add", minor 2, CHANGE;
    /// Give a client another role.
    CLIENT_SET_ROLE = 0x0043 => "client-set-role", minor 2, CHANGE;
    /// Know a client no more.
    CLIENT_REMOVE = 0x0044 => "client-remove", minor 2, CHANGE;
    /// Spend a token.
    ENROLL = 0x0045 => "enroll", minor 2, READ;
    /// Show the packets that pass.
    CAPTURE_OPEN = 0x0050 => "capture-open", minor 2, READ;
    /// Names of virtual machines.
    VM_NAMES = 0x0100 => "vm-names", minor 0, READ;
    /// All of one virtual machine.
    VM_SHOW = 0x0101 => "vm-show", minor 0, READ;
    /// Its definition.
    VM_DEFINITION = 0x0102 => "vm-definition", minor 0, READ;
    /// Define one.
    VM_DEFINE = 0x0103 => "vm-define", minor 0, CHANGE;
    /// Forget one.
    VM_UNDEFINE = 0x0104 => "vm-undefine", minor 0, CHANGE;
    /// Chosen fields of chosen ones.
    VM_LIST = 0x0105 => "vm-list", minor 1, READ;
    /// Bring the guest up.
    VM_START = 0x0110 => "vm-start", minor 0, CHANGE;
    /// Ask the guest to go down.
    VM_SHUTDOWN = 0x0111 => "vm-shutdown", minor 0, GUEST;
    /// End the guest now.
    VM_STOP = 0x0112 => "vm-stop", minor 0, CHANGE;
    /// Ask the guest to go down and come up again.
    VM_REBOOT = 0x0113 => "vm-reboot", minor 0, GUEST;
    /// Press the reset button.
    VM_RESET = 0x0114 => "vm-reset", minor 0, CHANGE;
    /// Let the processors stand still.
    VM_PAUSE = 0x0115 => "vm-pause", minor 0, CHANGE;
    /// Let the processors run.
    VM_RESUME = 0x0116 => "vm-resume", minor 0, CHANGE;
    /// Wait for a state.
    VM_WAIT = 0x0117 => "vm-wait", minor 0, WAIT;
    /// Open the console.
    CONSOLE_OPEN = 0x0120 => "console-open", minor 0, READ;
    /// Ask the guest's agent whether it is there.
    AGENT_PING = 0x0130 => "agent-ping", minor 2, READ;
}

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
        let (ping, wait) = (Procedure::of(number::PING).unwrap(), Procedure::of(number::VM_WAIT).unwrap());
        assert_eq!(ping.deadline(0), Duration::from_secs(10));
        assert_eq!(ping.deadline(u32::MAX), Duration::from_secs(600));
        assert_eq!(ping.deadline(1), Duration::from_millis(1));
        assert_eq!(wait.deadline(u32::MAX), Duration::from_secs(24 * 3600));
        assert_eq!(Procedure::of(0), None);
    }
}
