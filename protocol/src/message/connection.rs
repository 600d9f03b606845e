//! Connections: who is here, and showing them out.

use crate::wire_struct;
use crate::xdr::{List, Text};

wire_struct! {
    /// Ask for rows of a list, in its order.
    pub struct ListCall {
        /// Begin behind this row; empty for the first.
        pub after: Text<128>,
        /// At most so many rows; 0 for as many as fit.
        pub rows_max: u32,
    }
}

wire_struct! {
    /// A connection.
    pub struct ConnectionInfo {
        /// Its number, never reused.
        pub id: u64,
        /// How it came, as in `unix`.
        pub transport: Text<64>,
        /// Who it is.
        pub identity: Text<256>,
        /// What it may do, of `role`.
        pub role: u32,
        /// What it called itself in HELLO.
        pub name: Text<128>,
        /// The minor in force.
        pub minor: u32,
        /// Since when, in nanoseconds since 1970-01-01 UTC.
        pub since_ns: u64,
        /// Calls taken.
        pub calls: u64,
        /// Calls that wait for their answers.
        pub calls_open: u32,
        /// Streams open.
        pub streams: u32,
        /// Whether it asked for events.
        pub subscribed: bool,
        /// Bytes that it has not read yet.
        pub unsent_bytes: u32,
        /// It is the one that asks.
        pub own: bool,
    }
}

wire_struct! {
    /// Connections, ordered by number.
    pub struct ConnectionListAnswer {
        /// The rows.
        pub rows: List<ConnectionInfo, 4096>,
        /// Where the list goes on; empty at its end.
        pub next: Text<128>,
    }
}

wire_struct! {
    /// Close a connection.
    pub struct ConnectionKickCall {
        /// Its number.
        pub id: u64,
    }
}
