//! SUBSCRIBE, EVENT, GAP and the details of each kind of event.

use super::failure::Failure;
use super::named::named_numbers;
use super::vm::VmRef;
use crate::wire_struct;
use crate::xdr::{Fixed, List, Opaque, Text};

named_numbers! {
    /// What happened. A receiver accepts kinds it does not know: all but `detail` stays readable.
    event_kind {
        /// The daemon started; [`EventDaemonStarted`](super::EventDaemonStarted).
        DAEMON_STARTED = 1 => "daemon-started",
        /// A virtual machine was defined; [`EventVmDefined`](super::EventVmDefined).
        VM_DEFINED = 2 => "vm-defined",
        /// A virtual machine was undefined; no detail.
        VM_UNDEFINED = 3 => "vm-undefined",
        /// A virtual machine entered a state; [`EventVmState`](super::EventVmState).
        VM_STATE = 4 => "vm-state",
        /// A guest was reset; [`EventVmReset`](super::EventVmReset).
        VM_RESET = 5 => "vm-reset",
        /// The monitor of a guest went or came; [`EventVmMonitor`](super::EventVmMonitor).
        VM_MONITOR = 6 => "vm-monitor",
        /// The writer of a console changed; [`EventConsoleWriter`](super::EventConsoleWriter).
        CONSOLE_WRITER = 7 => "console-writer",
        /// An operation was queued, begun or ended; [`EventOperation`](super::EventOperation).
        OPERATION = 8 => "operation",
        /// A client was invited, enrolled, added, given another role or removed;
        /// [`EventClientChanged`](super::EventClientChanged).
        CLIENT_CHANGED = 9 => "client-changed",
        /// Certificates were taken up or refused, or one expires; [`EventCertificate`](super::EventCertificate).
        CERTIFICATE = 10 => "certificate",
    }
}

named_numbers! {
    /// What happened to a certificate.
    certificate_change {
        /// It is in force from now on.
        TAKEN_UP = 1 => "taken-up",
        /// It cannot be used; the old one stays in force.
        REFUSED = 2 => "refused",
        /// It expires soon.
        EXPIRES = 3 => "expires",
    }
}

wire_struct! {
    /// A place in the sequence of events.
    pub struct Cursor {
        /// Which sequence: drawn anew when the ring of events was lost.
        pub epoch: Fixed<16>,
        /// The number of an event, from 1; 0 is before all of them.
        pub sequence: u64,
    }
}

wire_struct! {
    /// Ask for events. A second subscription of a connection replaces the first.
    pub struct SubscribeCall {
        /// Replay what came after this; absent means from now.
        pub after: Option<Cursor>,
        /// Only of this virtual machine; empty for all and for the daemon's own.
        pub vm: Text<128>,
        /// Only these kinds; none for all.
        pub kinds: List<u32, 64>,
    }
}

wire_struct! {
    /// Where the events begin.
    pub struct SubscribeAnswer {
        /// The first event to come.
        pub first: Cursor,
    }
}

wire_struct! {
    /// Something happened.
    pub struct Event {
        /// The sequence it belongs to.
        pub epoch: Fixed<16>,
        /// Its number.
        pub sequence: u64,
        /// When, in nanoseconds since 1970-01-01 UTC.
        pub time_ns: u64,
        /// The operation that caused it; 0 for none.
        pub operation: u64,
        /// The virtual machine it is about.
        pub vm: Option<VmRef>,
        /// One of [`event_kind`].
        pub kind: u32,
        /// XDR of the kind's own struct.
        pub detail: Opaque<16384>,
    }
}

wire_struct! {
    /// Events that were lost to this subscriber. Nothing else means loss.
    pub struct Gap {
        /// The sequence that is being read now.
        pub epoch: Fixed<16>,
        /// The first number lost; 0 with `last` 0 when the sequence asked for is unknown.
        pub first: u64,
        /// The last number lost.
        pub last: u64,
    }
}

wire_struct! {
    /// Detail of `DAEMON_STARTED`.
    pub struct EventDaemonStarted {
        /// The release of the daemon.
        pub release: Text<64>,
    }
}

wire_struct! {
    /// Detail of `VM_DEFINED`.
    pub struct EventVmDefined {
        /// It took the place of an older definition.
        pub replaced: bool,
    }
}

wire_struct! {
    /// Detail of `VM_STATE`.
    pub struct EventVmState {
        /// The state entered.
        pub state: u32,
        /// The state left.
        pub previous: u32,
        /// One of `state_reason`.
        pub reason: u32,
        /// In words; may be empty.
        pub message: Text<1024>,
    }
}

wire_struct! {
    /// Detail of `VM_RESET`.
    pub struct EventVmReset {
        /// By the guest itself, not by an operation.
        pub by_guest: bool,
    }
}

wire_struct! {
    /// Detail of `VM_MONITOR`.
    pub struct EventVmMonitor {
        /// Whether the hypervisor can be asked now.
        pub connected: bool,
        /// Why not; empty when it can.
        pub why: Text<1024>,
    }
}

wire_struct! {
    /// Detail of `CONSOLE_WRITER`.
    pub struct EventConsoleWriter {
        /// Who writes now; empty for nobody.
        pub identity: Text<256>,
    }
}

wire_struct! {
    /// Detail of `OPERATION`.
    pub struct EventOperation {
        /// The call's number.
        pub procedure: u32,
        /// One of `operation_state`.
        pub state: u32,
        /// Who asked for it.
        pub identity: Text<256>,
        /// How it failed, if it did.
        pub failure: Option<Failure>,
    }
}

wire_struct! {
    /// Detail of `CLIENT_CHANGED`.
    pub struct EventClientChanged {
        /// Its name.
        pub name: Text<64>,
        /// What it is now, or was; of `role`.
        pub role: u32,
        /// One of `client_change`.
        pub change: u32,
    }
}

wire_struct! {
    /// Detail of `CERTIFICATE`.
    pub struct EventCertificate {
        /// `server`, `client-ca` or `crl`.
        pub purpose: Text<64>,
        /// One of `certificate_change`.
        pub change: u32,
        /// Until it expires; 0 for other changes.
        pub days: u32,
        /// In words.
        pub message: Text<1024>,
    }
}
