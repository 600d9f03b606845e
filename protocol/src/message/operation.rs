//! Operations: what was asked of a virtual machine, by whom, and what became of it.

use super::failure::Failure;
use super::named::named_numbers;
use super::vm::VmRef;
use crate::wire_struct;
use crate::xdr::{List, Text};

named_numbers! {
    /// Where an operation is.
    operation_state {
        /// It waits for its turn.
        QUEUED = 1 => "queued",
        /// It is being done.
        RUNNING = 2 => "running",
        /// It was done.
        DONE = 3 => "done",
        /// It was begun and failed.
        FAILED = 4 => "failed",
        /// It was never begun.
        DROPPED = 5 => "dropped",
    }
}

wire_struct! {
    /// An operation.
    pub struct OperationInfo {
        /// Its number, never reused.
        pub id: u64,
        /// The call's number.
        pub procedure: u32,
        /// The virtual machine.
        pub vm: Option<VmRef>,
        /// Who asked for it.
        pub identity: Text<256>,
        /// One of [`operation_state`].
        pub state: u32,
        /// When it was asked for, in nanoseconds since 1970-01-01 UTC.
        pub queued_ns: u64,
        /// When it was begun; 0 if it was not.
        pub begun_ns: u64,
        /// When it ended; 0 if it has not.
        pub ended_ns: u64,
        /// How it failed, if it did.
        pub failure: Option<Failure>,
    }
}

wire_struct! {
    /// Ask for operations, ordered by number.
    pub struct OperationListCall {
        /// Only of this virtual machine; empty for all.
        pub vm: Text<128>,
        /// Begin behind this number, in decimal; empty for the first.
        pub after: Text<128>,
        /// At most so many rows; 0 for as many as fit.
        pub rows_max: u32,
    }
}

wire_struct! {
    /// Operations, ordered by number.
    pub struct OperationListAnswer {
        /// The rows.
        pub rows: List<OperationInfo, 4096>,
        /// Where the list goes on; empty at its end.
        pub next: Text<128>,
    }
}

wire_struct! {
    /// Name an operation.
    pub struct OperationCall {
        /// Its number.
        pub id: u64,
    }
}
