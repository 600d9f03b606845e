//! What a host with virtual machines is, apart from wire, loop and hypervisor. Imports nothing of ours.

pub mod admission;
pub mod agent;
pub mod capture;
pub mod console;
mod definition;
mod id;
mod name;
pub mod operation;
pub mod ring;
mod state;
pub mod toml_table;
mod vm;

pub use definition::{
    AGENT_CHANNEL, Accel, Boot, CPU_MODELS, Cpu, Definition, DefinitionError, Disk, DiskBus, DiskFormat, Forward,
    Machine, Nic, TestAgent, TestScript,
};
pub use id::{OperationId, VmId};
pub use name::{NameError, VmName};
pub use state::{StateReason, VmState};
pub use vm::{Vm, Vms};
