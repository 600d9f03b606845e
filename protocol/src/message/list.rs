//! VM_LIST of minor 1: chosen fields of chosen virtual machines in one round trip.

use super::event::Cursor;
use super::named::named_numbers;
use crate::xdr::{List, Text};
use crate::{wire_struct, wire_union};

named_numbers! {
    /// A field of a row. A new field is a new number; an unknown one is INVALID.
    vm_field {
        /// String.
        NAME = 1 => "name",
        /// String, canonical.
        UUID = 2 => "uuid",
        /// Number, of `vm_state`.
        STATE = 3 => "state",
        /// Number, of `state_reason`.
        REASON = 4 => "reason",
        /// Number: nanoseconds since 1970-01-01 UTC.
        SINCE_NS = 5 => "since",
        /// String.
        TITLE = 6 => "title",
        /// Number.
        MEMORY_BYTES = 7 => "memory",
        /// Number.
        CPUS = 8 => "cpus",
        /// String.
        MACHINE = 9 => "machine",
        /// String; absent while none is in force.
        ACCELERATOR = 10 => "accelerator",
        /// Number; absent without a process.
        PID = 11 => "pid",
        /// Number, 0 or 1.
        AUTOSTART = 12 => "autostart",
        /// Number; absent while none is under way.
        OPERATION = 13 => "operation",
        /// List of paths.
        DISKS = 14 => "disks",
        /// List, as in `127.0.0.1:8080:80/tcp`.
        FORWARDS = 15 => "forwards",
        /// List of names.
        CHANNELS = 16 => "channels",
        /// List of words; minor 2.
        LABELS = 17 => "labels",
    }
}

named_numbers! {
    /// How a field is compared with the value of a filter. An unknown one is INVALID.
    filter_comparison {
        /// The same cell.
        EQUAL = 1 => "=",
        /// Another cell.
        NOT_EQUAL = 2 => "!=",
        /// Strings, or any item of a list: a pattern in which `*` stands for any text and `?` for one character.
        MATCHES = 3 => "~",
        /// Numbers: the value or more.
        AT_LEAST = 4 => ">=",
        /// Numbers: the value or less.
        AT_MOST = 5 => "<=",
    }
}

wire_union! {
    /// One value of a row.
    pub enum VmCell {
        /// There is none.
        0 => Absent,
        /// A number.
        1 => Number(u64),
        /// A string.
        2 => Text(Text<1024>),
        /// A list of strings.
        3 => Items(List<Text<1024>, 64>),
    }
}

wire_struct! {
    /// A condition on a field. Where the cell is absent or of another sort, only `NOT_EQUAL` holds.
    pub struct VmFilter {
        /// One of [`vm_field`].
        pub field: u32,
        /// One of [`filter_comparison`].
        pub comparison: u32,
        /// What the field is compared with.
        pub value: VmCell,
    }
}

wire_struct! {
    /// Ask for fields of virtual machines, ordered by name.
    pub struct VmListCall {
        /// Which fields, in this order; at least one.
        pub fields: List<u32, 32>,
        /// All of these must hold.
        pub filters: List<VmFilter, 8>,
        /// Begin behind this name; empty for the first.
        pub after: Text<128>,
        /// At most so many rows; 0 for as many as fit.
        pub rows_max: u32,
    }
}

wire_struct! {
    /// The values of one virtual machine.
    pub struct VmRow {
        /// In the order of the fields asked for.
        pub cells: List<VmCell, 32>,
    }
}

wire_struct! {
    /// Rows, ordered by name.
    pub struct VmListAnswer {
        /// The newest event that the list includes.
        pub cursor: Cursor,
        /// The rows.
        pub rows: List<VmRow, 4096>,
        /// The last row looked at, behind which the list goes on though this page may have no rows; empty at its end.
        pub next: Text<128>,
    }
}
