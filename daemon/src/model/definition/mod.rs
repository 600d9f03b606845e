//! What a virtual machine is, as its owner wrote it: TOML, kept byte-true, and what was understood of it.
//!
//! This room holds what a definition is once it was understood; `parse` says how a text becomes one, `keys` which keys
//! there are, `error` how a fault is told. `docs/definition.md` is the reference for those who write definitions.

mod error;
mod keys;
mod parse;
#[cfg(test)]
mod tests;
mod value;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

pub use error::DefinitionError;

use super::VmName;

/// A definition that was read and understood. What it says needs no further checking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The text, byte for byte as it came.
    pub text: String,
    /// The name.
    pub name: VmName,
    /// The identity, if the text states one; else the daemon draws one at define.
    pub uuid: Option<Uuid>,
    /// A line for people. May be empty.
    pub title: String,
    /// Words that group it with others, for filters and for rules about who may do what. Shared with what is remembered of
    /// it when it is gone.
    pub labels: Arc<[String]>,
    /// Memory of the guest in bytes, a multiple of 1 MiB.
    pub memory_bytes: u64,
    /// Processors.
    pub cpu: Cpu,
    /// The machine type.
    pub machine: Machine,
    /// The accelerator asked for.
    pub accel: Accel,
    /// Start it with the daemon.
    pub autostart: bool,
    /// What it boots.
    pub boot: Boot,
    /// Disks, in order.
    pub disks: Vec<Disk>,
    /// Network interfaces, in order.
    pub nics: Vec<Nic>,
    /// Whether there is a serial console.
    pub console: bool,
    /// Names of virtio-serial channels.
    pub channels: Vec<String>,
    /// Whether there is a virtio random number generator.
    pub rng: bool,
    /// Delays and faults for the test driver; refused by every other.
    pub test: Option<TestScript>,
}

impl Definition {
    /// Every key that may carry a value, with its table, as in `disk.path`.
    pub const KEYS: &[&str] = keys::KEYS;
}

/// The channel over which a guest's agent is spoken with.
pub const AGENT_CHANNEL: &str = "org.qemu.guest_agent.0";

/// Processor models that a definition may name. A fixed list, for the name enters a QEMU option where a comma would
/// begin another one.
pub const CPU_MODELS: &[&str] = &[
    "max",
    "host",
    "qemu64",
    "kvm64",
    "Conroe",
    "Penryn",
    "Nehalem",
    "Westmere",
    "SandyBridge",
    "IvyBridge",
    "Haswell",
    "Haswell-noTSX",
    "Broadwell",
    "Broadwell-noTSX",
    "Skylake-Client",
    "Skylake-Server",
    "Cascadelake-Server",
    "Cascadelake-Server-noTSX",
    "Cooperlake",
    "Icelake-Server",
    "Icelake-Server-noTSX",
    "SapphireRapids",
    "Denverton",
    "Snowridge",
    "Opteron_G1",
    "Opteron_G2",
    "Opteron_G3",
    "Opteron_G4",
    "Opteron_G5",
    "EPYC",
    "EPYC-Rome",
    "EPYC-Milan",
    "EPYC-Genoa",
    "Dhyana",
];

/// Processors of a guest: `count == sockets * cores * threads`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpu {
    /// How many the guest sees.
    pub count: u32,
    /// Sockets.
    pub sockets: u32,
    /// Cores per socket.
    pub cores: u32,
    /// Threads per core.
    pub threads: u32,
    /// The model; one of a fixed list. `None` leaves the choice to the driver.
    pub model: Option<&'static str>,
}

/// Machine types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// PCI Express chipset of 2007; the default.
    Q35,
    /// PCI chipset of 1996.
    Pc,
}

/// Accelerators that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// KVM where it was proved usable, else emulation.
    Auto,
    /// KVM or nothing.
    Kvm,
    /// Emulation.
    Tcg,
}

/// What a guest boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// Firmware, then the first disk.
    Disk,
    /// A kernel of the host's file system.
    Kernel {
        /// Absolute path.
        kernel: PathBuf,
        /// Absolute path.
        initrd: Option<PathBuf>,
        /// Kernel command line.
        cmdline: String,
    },
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Absolute path of the image.
    pub path: PathBuf,
    /// Stated, never probed.
    pub format: DiskFormat,
    /// How the guest sees it.
    pub bus: DiskBus,
    /// The guest cannot write to it.
    pub readonly: bool,
}

/// Image formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// QEMU copy-on-write, version 2 or 3.
    Qcow2,
    /// The bytes of the disk.
    Raw,
}

/// Disk buses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskBus {
    /// virtio-blk.
    Virtio,
    /// A disk on one virtio-scsi controller.
    Scsi,
}

/// A network interface on QEMU's user network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Whether the guest may open connections outwards, the host's own 127.0.0.1 among them.
    pub outbound: bool,
    /// Ports of the host that lead into the guest.
    pub forwards: Vec<Forward>,
}

/// A port of the host that leads into the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// UDP instead of TCP.
    pub udp: bool,
    /// Where the host listens; 127.0.0.1 unless written.
    pub address: Ipv4Addr,
    /// The host's port.
    pub host_port: u16,
    /// The guest's port.
    pub guest_port: u16,
}

/// Delays and faults of the test driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestScript {
    /// How long a start takes, in milliseconds.
    pub start_ms: u64,
    /// Start fails with this text, unless empty.
    pub start_fails: String,
    /// How long every other operation takes, in milliseconds.
    pub delay_ms: u64,
    /// The guest does not hear the power button.
    pub deaf: bool,
    /// How long the guest takes to go down after the power button, in milliseconds.
    pub shutdown_ms: u64,
    /// What the console says when the guest starts.
    pub console: String,
    /// The guest panics so many milliseconds after it started; 0 never.
    pub panic_ms: u64,
    /// The guest writes so many bytes to its console in a steady flow after it started.
    pub console_bytes: u64,
    /// So many of them at a time, a millisecond apart.
    pub console_burst: u64,
    /// What the guest's agent does, if there is a channel for one.
    pub agent: TestAgent,
}

/// What the agent of a guest of the test driver does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TestAgent {
    /// Opens its channel when the guest runs, and answers.
    #[default]
    Answers,
    /// Opens its channel, and answers nothing.
    Hangs,
}
