//! QEMU's arguments. Pure.
//!
//! No value of a user enters an option that QEMU takes apart at commas: `-blockdev`, `-device`, `-netdev` and `-object`
//! are JSON, and the few options that have no JSON take only words of this file and numbers of the daemon's making. No
//! path of a definition is in here at all: the launcher opens the files and adds [`file_options`]. The kernel command
//! line goes over the monitor, before QEMU builds the machine (`-preconfig`).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::os::fd::RawFd;
use std::path::PathBuf;

use crate::model::{Boot, Definition, Disk, DiskBus, DiskFormat, Machine, VmId};

/// What of a guest is not in its definition.
#[derive(Debug, Clone)]
pub(super) struct Given {
    /// The identity.
    pub(super) vm: VmId,
    /// `kvm` or `tcg`.
    pub(super) accelerator: &'static str,
    /// A listening socket for the monitor.
    pub(super) monitor: RawFd,
    /// A listening socket for the console, if the definition wants one.
    pub(super) console: Option<RawFd>,
    /// Listening sockets, one per channel of the definition.
    pub(super) channels: Vec<RawFd>,
}

/// A file that the launcher opens and hands to QEMU as a descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    /// Absolute.
    pub(crate) path: PathBuf,
    /// What it is for.
    pub(crate) purpose: Purpose,
}

/// What QEMU wants a file for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// The kernel to boot.
    Kernel,
    /// Its initial file system.
    Initrd,
    /// The image of a disk.
    Disk {
        /// The disk's place in the definition, and the number of QEMU's set of descriptors.
        index: usize,
        /// Whether it is qcow2, else raw.
        qcow2: bool,
        /// Whether it is only read.
        readonly: bool,
    },
}

/// All arguments but the program's name and what [`file_options`] adds.
pub(super) fn build(definition: &Definition, given: &Given) -> Vec<String> {
    let mut argv = Argv::default();
    argv.plain("-nodefaults");
    argv.plain("-no-user-config");
    argv.pair("-display", "none");
    argv.pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    // The processors stand still until the monitor says otherwise, and the machine is not even built.
    argv.plain("-preconfig");
    argv.plain("-S");
    argv.pair("-action", "reboot=reset,shutdown=poweroff,panic=pause");
    argv.pair(
        "-machine",
        match definition.machine {
            Machine::Q35 => "q35",
            Machine::Pc => "pc",
        },
    );
    argv.pair("-accel", given.accelerator);
    argv.pair("-cpu", definition.cpu.model.unwrap_or("max"));
    let cpu = &definition.cpu;
    argv.pair("-smp", format!("{},sockets={},cores={},threads={}", cpu.count, cpu.sockets, cpu.cores, cpu.threads));
    argv.pair("-m", format!("size={}M", definition.memory_bytes >> 20));
    argv.pair("-uuid", given.vm.to_string());
    argv.socket("monitor", given.monitor);
    argv.pair("-mon", "chardev=monitor,mode=control");
    argv.json("-device", &json!({"driver": "pvpanic", "id": "panic"}));
    if let Some(console) = given.console {
        argv.socket("console", console);
        argv.json("-device", &json!({"driver": "isa-serial", "id": "serial0", "chardev": "console"}));
    }
    argv.channels(definition, &given.channels);
    if definition.rng {
        argv.json("-object", &json!({"qom-type": "rng-builtin", "id": "rng-source"}));
        argv.json("-device", &json!({"driver": "virtio-rng-pci", "id": "rng0", "rng": "rng-source"}));
    }
    argv.disks(definition);
    argv.nics(definition, given.vm);
    argv.0
}

/// The files that a definition names.
pub(super) fn files(definition: &Definition) -> Vec<File> {
    let mut files = Vec::new();
    if let Boot::Kernel { kernel, initrd, cmdline: _ } = &definition.boot {
        files.push(File { path: kernel.clone(), purpose: Purpose::Kernel });
        files.extend(initrd.iter().map(|path| File { path: path.clone(), purpose: Purpose::Initrd }));
    }
    files.extend(definition.disks.iter().enumerate().map(|(index, disk)| {
        let qcow2 = disk.format == DiskFormat::Qcow2;
        File { path: disk.path.clone(), purpose: Purpose::Disk { index, qcow2, readonly: disk.readonly } }
    }));
    files
}

/// What QEMU calls the host's end of a channel.
pub(super) fn channel_id(index: usize) -> String {
    format!("channel{index}")
}

/// What QEMU calls the guest's end of a channel.
pub(super) fn port_id(index: usize) -> String {
    format!("port{index}")
}

/// The arguments that hand an open file to QEMU.
pub(crate) fn file_options(purpose: Purpose, descriptor: RawFd) -> [String; 2] {
    match purpose {
        Purpose::Kernel => ["-kernel".to_owned(), format!("/proc/self/fd/{descriptor}")],
        Purpose::Initrd => ["-initrd".to_owned(), format!("/proc/self/fd/{descriptor}")],
        Purpose::Disk { index, .. } => ["-add-fd".to_owned(), format!("fd={descriptor},set={index}")],
    }
}

/// The arguments of a QEMU without a machine, which is only asked what it can do, over a connected socket.
pub(super) fn build_for_questions(monitor: RawFd) -> Vec<String> {
    let mut argv = Argv::default();
    argv.plain("-nodefaults");
    argv.plain("-no-user-config");
    argv.pair("-display", "none");
    argv.pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    argv.pair("-machine", "none");
    argv.plain("-S");
    argv.pair("-chardev", format!("socket,id=monitor,fd={monitor}"));
    argv.pair("-mon", "chardev=monitor,mode=control");
    argv.0
}

#[derive(Default)]
struct Argv(Vec<String>);

impl Argv {
    fn plain(&mut self, option: &'static str) {
        self.0.push(option.to_owned());
    }

    fn pair(&mut self, option: &'static str, value: impl Into<String>) {
        self.0.push(option.to_owned());
        self.0.push(value.into());
    }

    fn json(&mut self, option: &'static str, value: &Value) {
        self.pair(option, value.to_string());
    }

    /// A socket that listens already. `name` is a word of this file.
    fn socket(&mut self, name: &str, listener: RawFd) {
        self.pair("-chardev", format!("socket,id={name},fd={listener},server=on,wait=off"));
    }

    fn channels(&mut self, definition: &Definition, listeners: &[RawFd]) {
        if definition.channels.is_empty() {
            return;
        }
        self.json("-device", &json!({"driver": "virtio-serial-pci", "id": "channels"}));
        for (index, (name, listener)) in definition.channels.iter().zip(listeners).enumerate() {
            let id = channel_id(index);
            self.socket(&id, *listener);
            self.json(
                "-device",
                &json!({"driver": "virtserialport", "id": port_id(index), "chardev": id, "name": name}),
            );
        }
    }

    fn disks(&mut self, definition: &Definition) {
        if definition.disks.iter().any(|disk| disk.bus == DiskBus::Scsi) {
            self.json("-device", &json!({"driver": "virtio-scsi-pci", "id": "scsi"}));
        }
        for (index, disk) in definition.disks.iter().enumerate() {
            let Disk { path: _, format, bus, readonly } = disk;
            let (file, node) = (format!("file{index}"), format!("disk{index}"));
            self.json(
                "-blockdev",
                &json!({
                    "driver": "file", "node-name": file, "filename": format!("/dev/fdset/{index}"),
                    "read-only": readonly, "auto-read-only": false,
                }),
            );
            self.json(
                "-blockdev",
                // An image could name another file as what lies under it; the launcher refuses those, and QEMU is told
                // that there is none in case the image was changed in between.
                &match format {
                    DiskFormat::Raw => {
                        json!({"driver": "raw", "node-name": node, "file": file, "read-only": readonly})
                    }
                    DiskFormat::Qcow2 => json!({
                        "driver": "qcow2", "node-name": node, "file": file, "read-only": readonly, "backing": null,
                    }),
                },
            );
            // The first disk is what the firmware boots, unless there is a kernel: that has number 0.
            let bootindex = index + 1;
            self.json(
                "-device",
                &match bus {
                    DiskBus::Virtio => {
                        json!({"driver": "virtio-blk-pci", "id": format!("drive{index}"), "drive": node, "bootindex": bootindex})
                    }
                    DiskBus::Scsi => json!({
                        "driver": "scsi-hd", "id": format!("drive{index}"), "drive": node, "bus": "scsi.0",
                        "bootindex": bootindex,
                    }),
                },
            );
        }
    }

    fn nics(&mut self, definition: &Definition, vm: VmId) {
        for (index, nic) in definition.nics.iter().enumerate() {
            let forwards: Vec<Value> = nic
                .forwards
                .iter()
                .map(|forward| {
                    let protocol = if forward.udp { "udp" } else { "tcp" };
                    json!({"str": format!("{protocol}:{}:{}-:{}", forward.address, forward.host_port, forward.guest_port)})
                })
                .collect();
            let id = format!("net{index}");
            self.json("-netdev", &json!({"type": "user", "id": id, "restrict": !nic.outbound, "hostfwd": forwards}));
            // No boot from the network: the firmware would try it, and wait, before giving up.
            self.json(
                "-device",
                &json!({
                    "driver": "virtio-net-pci", "id": format!("nic{index}"), "netdev": id, "mac": mac(vm, index),
                    "romfile": "",
                }),
            );
        }
    }
}

/// An address in the range that QEMU's cards use, the same at every start.
fn mac(vm: VmId, index: usize) -> String {
    let [.., a, b, c] = vm.0.into_bytes();
    let c = c.wrapping_add(u8::try_from(index).unwrap_or(u8::MAX));
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::model::{Accel, CPU_MODELS, Cpu, Forward, Nic};

    const VM: VmId = VmId(Uuid::from_u128(0x6f1d_5f5c_6f0b_4a3e_9d3c_2f6f_3b1d_8a11));

    /// What may stand in an argument vector beside JSON, digits written as `0` and models of processors as `MODEL`.
    const WORDS: &[&str] = &[
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-preconfig",
        "-S",
        "-action",
        "reboot=reset,shutdown=poweroff,panic=pause",
        "-machine",
        "q0",
        "pc",
        "-accel",
        "kvm",
        "tcg",
        "-cpu",
        "MODEL",
        "-smp",
        "0,sockets=0,cores=0,threads=0",
        "-m",
        "size=0M",
        "-uuid",
        "UUID",
        "-chardev",
        "socket,id=monitor,fd=0,server=on,wait=off",
        "socket,id=console,fd=0,server=on,wait=off",
        "socket,id=channel0,fd=0,server=on,wait=off",
        "-mon",
        "chardev=monitor,mode=control",
        "-blockdev",
        "-device",
        "-netdev",
        "-object",
        "-kernel",
        "-initrd",
        "/proc/self/fd/0",
        "-add-fd",
        "fd=0,set=0",
    ];

    fn normalised(member: &str) -> String {
        if member == VM.to_string() {
            return "UUID".to_owned();
        }
        if CPU_MODELS.contains(&member) {
            return "MODEL".to_owned();
        }
        let mut out = String::new();
        for c in member.chars() {
            match c.is_ascii_digit() {
                true if out.ends_with('0') => {}
                true => out.push('0'),
                false => out.push(c),
            }
        }
        out
    }

    fn all(definition: &Definition) -> Vec<String> {
        let given = Given {
            vm: VM,
            accelerator: "tcg",
            monitor: 7,
            console: definition.console.then_some(8),
            channels: (20..).take(definition.channels.len()).collect(),
        };
        let mut argv = build(definition, &given);
        for (file, descriptor) in files(definition).iter().zip(40..) {
            argv.extend(file_options(file.purpose, descriptor));
        }
        argv
    }

    /// A definition as no parser would let it through: any text in every place that takes one.
    fn any_definition() -> impl Strategy<Value = Definition> {
        let text = || "\\PC{0,12}|[,=\"'\\\\{}a-z\n\u{0}]{0,12}";
        let disk =
            (text(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(path, qcow2, scsi, readonly)| Disk {
                path: path.into(),
                format: if qcow2 { DiskFormat::Qcow2 } else { DiskFormat::Raw },
                bus: if scsi { DiskBus::Scsi } else { DiskBus::Virtio },
                readonly,
            });
        let forward = (any::<bool>(), any::<[u8; 4]>(), any::<u16>(), any::<u16>()).prop_map(
            |(udp, address, host_port, guest_port)| Forward { udp, address: address.into(), host_port, guest_port },
        );
        let nic = (any::<bool>(), proptest::collection::vec(forward, 0..3))
            .prop_map(|(outbound, forwards)| Nic { outbound, forwards });
        let boot = (any::<bool>(), text(), proptest::option::of(text()), text()).prop_map(
            |(disk, kernel, initrd, cmdline)| match disk {
                true => Boot::Disk,
                false => Boot::Kernel { kernel: kernel.into(), initrd: initrd.map(PathBuf::from), cmdline },
            },
        );
        let cpu = (any::<[u32; 4]>(), 0..CPU_MODELS.len()).prop_map(|([count, sockets, cores, threads], model)| Cpu {
            count,
            sockets,
            cores,
            threads,
            model: Some(CPU_MODELS[model]),
        });
        (
            (text(), text(), any::<u64>(), any::<[bool; 3]>()),
            cpu,
            boot,
            proptest::collection::vec(disk, 0..3),
            proptest::collection::vec(nic, 0..3),
            proptest::collection::vec(text(), 0..3),
        )
            .prop_map(|((text, title, memory_bytes, [pc, console, rng]), cpu, boot, disks, nics, channels)| {
                Definition {
                    text,
                    name: "a".parse().unwrap(),
                    uuid: None,
                    title,
                    labels: std::sync::Arc::default(),
                    memory_bytes,
                    cpu,
                    machine: if pc { Machine::Pc } else { Machine::Q35 },
                    accel: Accel::Auto,
                    autostart: false,
                    boot,
                    disks,
                    nics,
                    console,
                    channels,
                    rng,
                    test: None,
                }
            })
    }

    proptest! {
        #[test]
        fn no_text_of_a_user_stands_outside_of_json(definition in any_definition()) {
            let words: BTreeSet<&str> = WORDS.iter().copied().collect();
            let argv = all(&definition);
            let mut json_next = false;
            for member in &argv {
                if json_next {
                    let value: Value = serde_json::from_str(member).unwrap();
                    prop_assert!(value.is_object() && !value.to_string().contains('\0'));
                } else {
                    prop_assert!(words.contains(normalised(member).as_str()), "{}", member);
                }
                json_next = !json_next && ["-blockdev", "-device", "-netdev", "-object"].contains(&member.as_str());
            }
        }
    }

    #[test]
    fn what_is_json_can_be_read_back_and_holds_the_definition() {
        let text = "name = 'a'\nmemory = '64 MiB'\nrng = true\nchannels = ['org.qemu.guest_agent.0']\n\
            [[disk]]\npath = '/a,b'\nformat = 'qcow2'\n[[disk]]\npath = '/c'\nformat = 'raw'\nbus = 'scsi'\nreadonly = true\n\
            [[nic]]\nnetwork = 'user'\noutbound = false\nforward = ['8080:80', '53:5353/udp']\n";
        let argv = all(&Definition::parse(text).unwrap());
        let json: Vec<Value> = argv.iter().filter_map(|member| serde_json::from_str(member).ok()).collect();
        for expected in [
            json!({"driver": "virtserialport", "id": "port0", "chardev": "channel0", "name": "org.qemu.guest_agent.0"}),
            json!({"driver": "file", "node-name": "file0", "filename": "/dev/fdset/0", "read-only": false, "auto-read-only": false}),
            json!({"driver": "qcow2", "node-name": "disk0", "file": "file0", "read-only": false, "backing": null}),
            json!({"driver": "raw", "node-name": "disk1", "file": "file1", "read-only": true}),
            json!({"driver": "scsi-hd", "id": "drive1", "drive": "disk1", "bus": "scsi.0", "bootindex": 2}),
            json!({"type": "user", "id": "net0", "restrict": true, "hostfwd": [
                {"str": "tcp:127.0.0.1:8080-:80"}, {"str": "udp:127.0.0.1:53-:5353"},
            ]}),
            json!({"driver": "virtio-net-pci", "id": "nic0", "netdev": "net0", "mac": "52:54:00:1d:8a:11", "romfile": ""}),
        ] {
            assert!(json.contains(&expected), "{expected} is not in {argv:#?}");
        }
        assert!(!argv.iter().any(|member| member.contains("/a,b")));
    }

    #[test]
    fn each_file_of_a_definition_is_handed_over_as_a_descriptor() {
        let text = "name = 'a'\nmemory = '64 MiB'\n[boot]\nkernel = '/k'\ninitrd = '/i'\n[[disk]]\npath = '/d'\nformat = 'raw'\n[[disk]]\npath = '/e'\nformat = 'qcow2'\n";
        let files = files(&Definition::parse(text).unwrap());
        let options: Vec<_> = files.iter().zip(40..).map(|(file, fd)| file_options(file.purpose, fd)).collect();
        assert_eq!(
            options,
            [
                ["-kernel", "/proc/self/fd/40"],
                ["-initrd", "/proc/self/fd/41"],
                ["-add-fd", "fd=42,set=0"],
                ["-add-fd", "fd=43,set=1"]
            ]
        );
    }
}
