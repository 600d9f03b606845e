//! Streams: DATA, CREDIT, END. The data never pass through the codec; see `session::stream`.

use super::failure::Failure;
use super::named::named_numbers;
use crate::wire_struct;
use crate::xdr::Opaque;

named_numbers! {
    /// Bits of `flags` of [`StreamData`].
    stream_flag {
        /// These data end a message.
        MESSAGE_END = 1 => "message-end",
        /// The unfinished message is void.
        MESSAGE_VOID = 2 => "message-void",
    }
}

wire_struct! {
    /// A piece of a stream.
    pub struct StreamData {
        /// The number of the stream.
        pub stream: u32,
        /// Bits of [`stream_flag`].
        pub flags: u32,
        /// The position of the first byte in the source. A jump is loss, allowed on consoles only.
        pub offset: u64,
        /// The bytes.
        pub data: Opaque<32768>,
    }
}

wire_struct! {
    /// Leave to send more.
    pub struct StreamCredit {
        /// The number of the stream.
        pub stream: u32,
        /// So many bytes of data more.
        pub bytes: u32,
    }
}

wire_struct! {
    /// No more from this side; with `why`, nor from the other.
    pub struct StreamEnd {
        /// The number of the stream.
        pub stream: u32,
        /// Why the whole stream ends.
        pub why: Option<Failure>,
    }
}
