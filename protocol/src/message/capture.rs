//! Captures: a stream of the packets that pass the daemon.

use crate::limits::{CAPTURED_BYTES_MAX, STREAM_DATA_BYTES_MAX};
use crate::wire_struct;
use crate::xdr::{Opaque, Text, Wire};

wire_struct! {
    /// Show the packets of all connections but those that have a capture open.
    pub struct CaptureOpenCall {
        /// Only what is about this virtual machine, by name or uuid, and each HELLO; empty for everything.
        pub vm: Text<128>,
        /// Whether the data of streams are shown; else they are zeroes.
        pub payload: bool,
        /// Whether what passes between the daemon and the agents of guests is shown too.
        pub agents: bool,
    }
}

wire_struct! {
    /// The capture runs.
    pub struct CaptureOpenAnswer {
        /// The stream that carries it: in each STREAM_DATA one [`CaptureRecord`].
        pub stream: u32,
    }
}

wire_struct! {
    /// A piece of a packet that passed, or of what passed between the daemon and the agent of a guest.
    pub struct CaptureRecord {
        /// When it was received, or given to the socket; nanoseconds since 1970 in UTC.
        pub time_ns: u64,
        /// The number of the connection; over `agent`, of that agent, counted apart.
        pub connection: u64,
        /// Whether the daemon sent it.
        pub sent: bool,
        /// Who is at the other end; over `agent`, the name of its virtual machine.
        pub peer: Text<256>,
        /// How the other end came: `unix`, `tcp` or `tls`; `agent` is the channel of a guest's agent.
        pub transport: Text<64>,
        /// How many bytes went this way on this connection since it is captured. A jump is loss.
        pub position: u64,
        /// The bytes: of a packet with its header, of an agent as they are on its channel. What is secret is written over.
        pub bytes: Opaque<CAPTURED_BYTES_MAX>,
    }
}

const _: () = assert!(CaptureRecord::BYTES_MAX <= STREAM_DATA_BYTES_MAX, "a record fits into one STREAM_DATA");
