//! Virtual machines: what they are and what can be done to them.

use super::event::Cursor;
use super::named::named_numbers;
use crate::wire_struct;
use crate::xdr::{Fixed, List, Text};

named_numbers! {
    /// Where a virtual machine is in its life.
    vm_state {
        /// No guest runs.
        STOPPED = 1 => "stopped",
        /// The hypervisor is being launched.
        STARTING = 2 => "starting",
        /// The guest's processors run.
        RUNNING = 3 => "running",
        /// The guest is there and its processors stand still.
        PAUSED = 4 => "paused",
        /// The guest panicked and stands still.
        CRASHED = 5 => "crashed",
        /// A run record exists whose process could not be proved to be ours.
        LOST = 6 => "lost",
        /// It is being found out whether the process that a former daemon left is the one of its run record.
        ADOPTING = 7 => "adopting",
    }
}

named_numbers! {
    /// Why a state was entered.
    state_reason {
        /// Nothing is known of it.
        UNKNOWN = 0 => "unknown",
        /// An operation asked for it.
        REQUESTED = 1 => "requested",
        /// The guest did it itself.
        GUEST = 2 => "guest",
        /// An operation asked for something else and failed.
        FAILED = 3 => "failed",
        /// The hypervisor did it without being asked to.
        HYPERVISOR = 4 => "hypervisor",
        /// The daemon started again and took up a guest it had left.
        ADOPTED = 5 => "adopted",
    }
}

named_numbers! {
    /// What follows when a guest does not go down in time.
    shutdown_then {
        /// The call fails; the guest runs on.
        FAIL = 1 => "fail",
        /// The guest is stopped hard.
        STOP = 2 => "stop",
    }
}

wire_struct! {
    /// Who a virtual machine is.
    pub struct VmRef {
        /// Its identity, in the byte order of RFC 9562.
        pub uuid: Fixed<16>,
        /// Its name.
        pub name: Text<64>,
    }
}

wire_struct! {
    /// Names of virtual machines, in order.
    pub struct VmNamesAnswer {
        /// The newest event that the list includes.
        pub cursor: Cursor,
        /// The names.
        pub names: List<Text<64>, 4096>,
        /// Where the list goes on; empty at its end.
        pub next: Text<128>,
    }
}

wire_struct! {
    /// Name a virtual machine.
    pub struct VmCall {
        /// Its name or uuid.
        pub vm: Text<128>,
    }
}

wire_struct! {
    /// A disk of a virtual machine.
    pub struct VmDisk {
        /// The image.
        pub path: Text<1024>,
        /// `qcow2` or `raw`.
        pub format: Text<64>,
        /// `virtio` or `scsi`.
        pub bus: Text<64>,
        /// The guest cannot write to it.
        pub readonly: bool,
    }
}

wire_struct! {
    /// A network interface of a virtual machine.
    pub struct VmNic {
        /// The guest may open connections outwards.
        pub outbound: bool,
        /// Ports of the host that lead into the guest, as in `127.0.0.1:8080:80/tcp`.
        pub forwards: List<Text<64>, 32>,
    }
}

wire_struct! {
    /// All that is known of a virtual machine.
    #[derive(Default)]
    pub struct VmInfo {
        /// Its identity.
        pub uuid: Fixed<16>,
        /// Its name.
        pub name: Text<64>,
        /// A line for people.
        pub title: Text<256>,
        /// One of [`vm_state`].
        pub state: u32,
        /// One of [`state_reason`].
        pub reason: u32,
        /// Since when, in nanoseconds since 1970-01-01 UTC.
        pub since_ns: u64,
        /// Why, in words.
        pub message: Text<1024>,
        /// Started with the daemon.
        pub autostart: bool,
        /// The guest's memory in bytes.
        pub memory_bytes: u64,
        /// The guest's processors.
        pub cpus: u32,
        /// Its machine type.
        pub machine: Text<64>,
        /// The accelerator in force; empty for none.
        pub accelerator: Text<64>,
        /// The hypervisor's process; 0 for none.
        pub pid: u32,
        /// Whether the hypervisor can be asked.
        pub monitor: bool,
        /// The operation under way; 0 for none.
        pub operation: u64,
        /// Operations that wait behind it.
        pub operations_waiting: u32,
        /// Who writes to the console; empty for nobody.
        pub console_writer: Text<256>,
        /// How many read the console.
        pub console_readers: u32,
        /// Bytes that the guest wrote to the console so far.
        pub console_offset: u64,
        /// Disks, in order.
        pub disks: List<VmDisk, 16>,
        /// Network interfaces, in order.
        pub nics: List<VmNic, 8>,
        /// Names of virtio-serial channels.
        pub channels: List<Text<64>, 16>,
    }
}

wire_struct! {
    /// One virtual machine.
    pub struct VmShowAnswer {
        /// The newest event that it includes.
        pub cursor: Cursor,
        /// What is known of it.
        pub vm: VmInfo,
    }
}

wire_struct! {
    /// The definition, byte for byte as it was given.
    pub struct VmDefinitionAnswer {
        /// TOML.
        pub definition: Text<49152>,
    }
}

wire_struct! {
    /// Define a virtual machine.
    pub struct VmDefineCall {
        /// TOML.
        pub definition: Text<49152>,
        /// It may take the place of a stopped one of the same name or uuid.
        pub replace: bool,
    }
}

wire_struct! {
    /// What was defined.
    pub struct VmDefineAnswer {
        /// The operation's number.
        pub operation: u64,
        /// Who it is.
        pub vm: VmRef,
    }
}

wire_struct! {
    /// Start a virtual machine.
    pub struct VmStartCall {
        /// Its name or uuid.
        pub vm: Text<128>,
        /// Leave its processors standing.
        pub paused: bool,
    }
}

wire_struct! {
    /// Press the power button and wait for the guest to go down.
    pub struct VmShutdownCall {
        /// Its name or uuid.
        pub vm: Text<128>,
        /// How long the guest may take, in milliseconds; 0 for a minute, at most ten.
        pub grace_ms: u32,
        /// What follows when it does not, of [`shutdown_then`].
        pub then: u32,
    }
}

wire_struct! {
    /// An operation was done.
    pub struct VmDoneAnswer {
        /// The operation's number.
        pub operation: u64,
        /// The state after it, of [`vm_state`].
        pub state: u32,
    }
}

wire_struct! {
    /// Wait until a virtual machine is in one of these states.
    pub struct VmWaitCall {
        /// Its name or uuid.
        pub vm: Text<128>,
        /// Any of these, of [`vm_state`]; at least one.
        pub states: List<u32, 16>,
    }
}

wire_struct! {
    /// The state waited for has come.
    pub struct VmWaitAnswer {
        /// The newest event that it includes.
        pub cursor: Cursor,
        /// Who.
        pub vm: VmRef,
        /// The state it is in.
        pub state: u32,
    }
}
