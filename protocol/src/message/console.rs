//! Consoles: a stream with history, many readers and one writer.

use super::named::named_numbers;
use crate::wire_struct;
use crate::xdr::Text;

named_numbers! {
    /// How a console is opened.
    console_mode {
        /// Only read.
        READ = 1 => "read",
        /// Also write; BUSY where somebody writes already.
        WRITE = 2 => "write",
        /// Also write; the former writer's stream ends with BUSY.
        TAKE_OVER = 3 => "take-over",
    }
}

wire_struct! {
    /// Open the console of a virtual machine.
    pub struct ConsoleOpenCall {
        /// Its name or uuid.
        pub vm: Text<128>,
        /// One of [`console_mode`].
        pub mode: u32,
        /// At most so many bytes of what was already written.
        pub history_bytes: u32,
    }
}

wire_struct! {
    /// The console is open.
    pub struct ConsoleOpenAnswer {
        /// The stream that carries it.
        pub stream: u32,
        /// The position of the first byte that will come.
        pub offset: u64,
        /// Who writes now; empty for nobody.
        pub writer: Text<256>,
    }
}
