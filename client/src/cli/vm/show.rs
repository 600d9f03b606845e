//! `vmwire vm show`: all that is known of one virtual machine.

use serde::Serialize;
use vmwire_protocol::message::{VmCall, VmShowAnswer, state_reason};

use super::super::named::{CursorJson, name_of, state, unless_empty, unless_zero, yes};
use super::super::output::Table;
use super::super::problem::Problem;
use super::super::quantity::{show_bytes, show_time};
use super::super::{Context, Exit};
use super::vm;
use crate::request;
use crate::vms::show_uuid;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  vmwire vm show web\n  vmwire vm show web -o json | jq -r .state\n")]
pub(crate) struct Arguments {
    /// Name or uuid
    #[arg(value_name = "VM")]
    vm: String,
}

pub(crate) fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Problem> {
    let call = VmCall { vm: vm(&arguments.vm)? };
    let answer = context.connect()?.call(request::VmShow(call), context.timeout)?;
    context.output.thing(&VmJson::from(&answer), labels)?;
    Ok(Exit::Ok)
}

fn labels(vm: &VmJson) -> Table {
    let mut table = Table::labels();
    table.label("name", vm.name.as_str());
    table.label("uuid", vm.uuid.as_str());
    table.label("title", vm.title.clone().unwrap_or_default());
    table.label("state", format!("{} ({})", vm.state, vm.reason));
    table.label("since", show_time(vm.since_ns));
    table.label("message", vm.message.clone().unwrap_or_default());
    table.label("memory", show_bytes(vm.memory_bytes));
    table.label("cpus", vm.cpus.to_string());
    table.label("machine", vm.machine.as_str());
    table.label("accelerator", vm.accelerator.clone().unwrap_or_default());
    table.label("autostart", yes(vm.autostart));
    if let Some(pid) = vm.pid {
        table.label("pid", pid.to_string());
        table.label("monitor", if vm.monitor { "connected" } else { "lost" });
    }
    if let Some(operation) = vm.operation {
        table.label("operation", format!("{operation}, and {} waiting", vm.operations_waiting));
    }
    table.label("console", console(&vm.console));
    for disk in &vm.disks {
        let readonly = if disk.readonly { ", read-only" } else { "" };
        table.label("disk", format!("{} ({}, {}{readonly})", disk.path, disk.format, disk.bus));
    }
    for nic in &vm.nics {
        table.label("network", format!("user, outbound {}", yes(nic.outbound)));
        for forward in &nic.forwards {
            table.label("forward", forward.as_str());
        }
    }
    table.label("channels", vm.channels.join(" "));
    table
}

fn console(console: &ConsoleJson) -> String {
    let writer = console.writer.as_deref().map(|writer| format!(", {writer} writes")).unwrap_or_default();
    format!("{} written by the guest, {} reading{writer}", show_bytes(console.offset), console.readers)
}

#[derive(Serialize)]
struct VmJson {
    name: String,
    uuid: String,
    title: Option<String>,
    state: String,
    reason: String,
    since_ns: u64,
    message: Option<String>,
    memory_bytes: u64,
    cpus: u32,
    machine: String,
    accelerator: Option<String>,
    autostart: bool,
    pid: Option<u32>,
    monitor: bool,
    operation: Option<u64>,
    operations_waiting: u32,
    console: ConsoleJson,
    disks: Vec<DiskJson>,
    nics: Vec<NicJson>,
    channels: Vec<String>,
    cursor: CursorJson,
}

#[derive(Serialize)]
struct ConsoleJson {
    offset: u64,
    readers: u32,
    writer: Option<String>,
}

#[derive(Serialize)]
struct DiskJson {
    path: String,
    format: String,
    bus: String,
    readonly: bool,
}

#[derive(Serialize)]
struct NicJson {
    outbound: bool,
    forwards: Vec<String>,
}

impl From<&VmShowAnswer> for VmJson {
    fn from(answer: &VmShowAnswer) -> Self {
        let vm = &answer.vm;
        Self {
            name: vm.name.to_string(),
            uuid: show_uuid(&vm.uuid.0),
            title: unless_empty(&vm.title),
            state: state(vm.state),
            reason: name_of(vm.reason, state_reason::name),
            since_ns: vm.since_ns,
            message: unless_empty(&vm.message),
            memory_bytes: vm.memory_bytes,
            cpus: vm.cpus,
            machine: vm.machine.to_string(),
            accelerator: unless_empty(&vm.accelerator),
            autostart: vm.autostart,
            pid: Some(vm.pid).filter(|&pid| pid != 0),
            monitor: vm.monitor,
            operation: unless_zero(vm.operation),
            operations_waiting: vm.operations_waiting,
            console: ConsoleJson {
                offset: vm.console_offset,
                readers: vm.console_readers,
                writer: unless_empty(&vm.console_writer),
            },
            disks: vm
                .disks
                .iter()
                .map(|disk| DiskJson {
                    path: disk.path.to_string(),
                    format: disk.format.to_string(),
                    bus: disk.bus.to_string(),
                    readonly: disk.readonly,
                })
                .collect(),
            nics: vm
                .nics
                .iter()
                .map(|nic| NicJson {
                    outbound: nic.outbound,
                    forwards: nic.forwards.iter().map(ToString::to_string).collect(),
                })
                .collect(),
            channels: vm.channels.iter().map(ToString::to_string).collect(),
            cursor: CursorJson::from(&answer.cursor),
        }
    }
}
