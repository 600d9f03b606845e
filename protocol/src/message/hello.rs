//! HELLO, CANCEL, PROGRESS: the packets of the session itself. PING has no body.

use super::named::named_numbers;
use crate::wire_struct;
use crate::xdr::{Fixed, List, Text};

named_numbers! {
    /// What the daemon would do unasked, and does only for clients that said they understand it.
    capability {
        /// PROGRESS packets may come before an answer.
        PROGRESS = 1 => "progress",
    }
}

named_numbers! {
    /// What an identity may do.
    role {
        /// Look.
        OBSERVER = 1 => "observer",
        /// Also start, stop and talk to guests.
        OPERATOR = 2 => "operator",
        /// Everything.
        ADMIN = 3 => "admin",
    }
}

wire_struct! {
    /// What a client wants to speak.
    pub struct HelloCall {
        /// The major; the first word, frozen in every major.
        pub major: u32,
        /// The newest minor the client speaks.
        pub minor: u32,
        /// What the client understands unasked, of [`capability`]; unknown ones are ignored.
        pub capabilities: List<u32, 64>,
        /// What the client calls itself, for logs and lists.
        pub name: Text<128>,
    }
}

wire_struct! {
    /// What is spoken from here on.
    pub struct HelloAnswer {
        /// The major.
        pub major: u32,
        /// The minor agreed: the lesser of both.
        pub minor: u32,
        /// The newest minor the daemon speaks.
        pub newest_minor: u32,
        /// The capabilities granted, ascending.
        pub capabilities: List<u32, 64>,
        /// The longest payload the client may send from now on.
        pub packet_bytes_max: u32,
        /// Calls that may be in flight on this connection.
        pub calls_in_flight_max: u32,
        /// The epoch of the event sequence.
        pub epoch: Fixed<16>,
        /// What the daemon calls itself.
        pub server: Text<128>,
        /// Who the daemon takes the client for.
        pub identity: Text<256>,
        /// One of [`role`].
        pub role: u32,
    }
}

wire_struct! {
    /// Give up a call.
    pub struct CancelCall {
        /// The serial of the call.
        pub serial: u32,
    }
}

wire_struct! {
    /// Whether that call was still open. If so, its own answer is CANCELLED.
    pub struct CancelAnswer {
        /// The call was open.
        pub found: bool,
    }
}

wire_struct! {
    /// How far a call has come. Bears the call's serial, never follows its answer, never prolongs its deadline.
    pub struct Progress {
        /// Units done.
        pub done: u64,
        /// Units in all; 0 when nobody knows.
        pub total: u64,
        /// What is being done, in words.
        pub what: Text<256>,
    }
}
