//! The model as it goes on the wire. What is too long for the wire is clipped here and nowhere else.

use uuid::Uuid;
use vmwire_protocol::message::{self, Failure, OperationInfo, VmDisk, VmInfo, VmNic, VmRef};
use vmwire_protocol::xdr::{Fixed, List, Text};

use super::is_up;
use crate::access::Role;
use crate::model::operation::Operation;
use crate::model::{Definition, DiskBus, DiskFormat, Forward, Machine, Vm, VmId};

/// An identity in the byte order of RFC 9562.
pub(super) fn uuid(id: VmId) -> Fixed<16> {
    Fixed::from(*id.0.as_bytes())
}

/// A virtual machine by identity and name.
pub(super) fn vm_ref(id: VmId, name: &str) -> VmRef {
    VmRef { uuid: uuid(id), name: Text::clipped(name) }
}

/// The identity out of a reference.
pub(super) fn vm_id(vm: &VmRef) -> VmId {
    VmId(Uuid::from_bytes(vm.uuid.0))
}

/// The name of a machine type.
pub(super) fn machine(machine: Machine) -> &'static str {
    match machine {
        Machine::Q35 => "q35",
        Machine::Pc => "pc",
    }
}

/// A forward as a person writes it.
pub(super) fn forward(forward: &Forward) -> String {
    let protocol = if forward.udp { "udp" } else { "tcp" };
    format!("{}:{}:{}/{protocol}", forward.address, forward.host_port, forward.guest_port)
}

/// A virtual machine, with who writes to its console and how many read it.
#[inline]
pub(super) fn vm_info(vm: &Vm, console_writer: Text<256>, console_readers: u32) -> VmInfo {
    let definition: &Definition = &vm.definition;
    VmInfo {
        uuid: uuid(vm.id),
        name: Text::clipped(vm.name().as_str()),
        title: Text::clipped(&definition.title),
        state: vm.state as u32,
        reason: vm.reason as u32,
        since_ns: vm.since_ns,
        message: Text::clipped(&vm.message),
        autostart: definition.autostart,
        memory_bytes: definition.memory_bytes,
        cpus: definition.cpu.count,
        machine: Text::constant(machine(definition.machine)),
        accelerator: Text::constant(vm.accelerator),
        pid: vm.pid,
        monitor: is_up(vm) && vm.monitor,
        operation: vm.current.map_or(0, |operation| operation.0),
        operations_waiting: u32::try_from(vm.waiting.len()).unwrap_or(u32::MAX),
        console_writer,
        console_readers,
        console_offset: vm.console.end(),
        disks: List::clipped(definition.disks.iter().map(|disk| VmDisk {
            path: Text::clipped(&disk.path.to_string_lossy()),
            format: Text::constant(match disk.format {
                DiskFormat::Qcow2 => "qcow2",
                DiskFormat::Raw => "raw",
            }),
            bus: Text::constant(match disk.bus {
                DiskBus::Virtio => "virtio",
                DiskBus::Scsi => "scsi",
            }),
            readonly: disk.readonly,
        })),
        nics: List::clipped(definition.nics.iter().map(|nic| VmNic {
            outbound: nic.outbound,
            forwards: List::clipped(nic.forwards.iter().map(|f| Text::clipped(&forward(f)))),
        })),
        channels: List::clipped(definition.channels.iter().map(|name| Text::clipped(name))),
    }
}

/// An operation.
pub(super) fn operation(operation: &Operation<Failure>) -> OperationInfo {
    OperationInfo {
        id: operation.id.0,
        procedure: operation.procedure,
        vm: Some(vm_ref(operation.vm.0, &operation.vm.1)),
        identity: Text::clipped(&operation.identity),
        state: operation.state as u32,
        queued_ns: operation.queued_ns,
        begun_ns: operation.begun_ns,
        ended_ns: operation.ended_ns,
        failure: operation.failure.clone(),
    }
}

/// A role.
pub(super) fn role(role: Role) -> u32 {
    match role {
        Role::Observer => message::role::OBSERVER,
        Role::Operator => message::role::OPERATOR,
        Role::Admin => message::role::ADMIN,
    }
}

/// The role of a number; one that is not known is none.
pub(super) fn role_of(number: u32) -> Option<Role> {
    [Role::Observer, Role::Operator, Role::Admin].into_iter().find(|known| role(*known) == number)
}

/// A count as the wire has it.
pub(super) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
