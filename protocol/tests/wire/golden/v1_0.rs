//! The bytes of 1.0, frozen.
//!
//! **To whoever breaks this test:** these bytes are in the field. A peer that was built yesterday sends and expects exactly
//! them, and a released body never changes: no field, arm, bound or meaning. If your change needs other bytes, leave the
//! old arm as it is, append a new number to both unions, give it the next minor, and freeze that in a file of its own
//! (CONTRIBUTING.md, "Runbook: a new procedure"). Do not touch the rows here.

use vmwire_protocol::message::*;
use vmwire_protocol::xdr::Opaque;

use super::{EPOCH, Golden, UUID, cursor, failure, list, text};

/// What a client of 1.0 may send.
pub(super) fn client() -> Vec<Golden<ClientData>> {
    vec![
        Golden {
            packet: ClientData::Hello(HelloCall { major: 1, minor: 0, capabilities: list([1]), name: text("vmwire") }),
            rows: "
                00000001 | HELLO
                00000001 | major: 1
                00000000 | minor: 0
                00000001 | capabilities, count: 1
                00000001 | capabilities[0]: 1
                00000006 | name, bytes: 6
                766d7769 72650000 | name: 'vmwire'
            ",
        },
        Golden { packet: ClientData::Ping, rows: "00000002 | PING" },
        Golden {
            packet: ClientData::Cancel(CancelCall { serial: 0x0102_0304 }),
            rows: "
                00000003 | CANCEL
                01020304 | serial: 16909060
            ",
        },
        Golden {
            packet: ClientData::Subscribe(SubscribeCall {
                after: Some(cursor(41)),
                vm: text("web1"),
                kinds: list([4, 8]),
            }),
            rows: "
                00000004 | SUBSCRIBE
                00000001 | after, present: 1
                00010203 04050607 08090a0b 0c0d0e0f | after.epoch
                00000000 00000029 | after.sequence: 41
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
                00000002 | kinds, count: 2
                00000004 | kinds[0]: 4
                00000008 | kinds[1]: 8
            ",
        },
        Golden {
            packet: ClientData::Subscribe(SubscribeCall { after: None, vm: text(""), kinds: list([]) }),
            rows: "
                00000004 | SUBSCRIBE
                00000000 | after, present: 0
                00000000 | vm, bytes: 0
                00000000 | kinds, count: 0
            ",
        },
        Golden { packet: ClientData::Unsubscribe, rows: "00000005 | UNSUBSCRIBE" },
        Golden { packet: ClientData::HostInfo, rows: "00000010 | HOST_INFO" },
        Golden { packet: ClientData::HostCapabilities, rows: "00000011 | HOST_CAPABILITIES" },
        Golden { packet: ClientData::DaemonInfo, rows: "00000012 | DAEMON_INFO" },
        Golden {
            packet: ClientData::ConnectionList(ListCall { after: text("17"), rows_max: 100 }),
            rows: "
                00000020 | CONNECTION_LIST
                00000002 | after, bytes: 2
                31370000 | after: '17'
                00000064 | rows_max: 100
            ",
        },
        Golden {
            packet: ClientData::ConnectionKick(ConnectionKickCall { id: 0x1_0000_0002 }),
            rows: "
                00000021 | CONNECTION_KICK
                00000001 00000002 | id: 4294967298
            ",
        },
        Golden {
            packet: ClientData::OperationList(OperationListCall { vm: text("web1"), after: text("9"), rows_max: 50 }),
            rows: "
                00000030 | OPERATION_LIST
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
                00000001 | after, bytes: 1
                39000000 | after: '9'
                00000032 | rows_max: 50
            ",
        },
        Golden {
            packet: ClientData::OperationShow(OperationCall { id: 12 }),
            rows: "
                00000031 | OPERATION_SHOW
                00000000 0000000c | id: 12
            ",
        },
        Golden {
            packet: ClientData::OperationWait(OperationCall { id: 12 }),
            rows: "
                00000032 | OPERATION_WAIT
                00000000 0000000c | id: 12
            ",
        },
        Golden {
            packet: ClientData::VmNames(ListCall { after: text("db1"), rows_max: 2 }),
            rows: "
                00000100 | VM_NAMES
                00000003 | after, bytes: 3
                64623100 | after: 'db1'
                00000002 | rows_max: 2
            ",
        },
        Golden {
            packet: ClientData::VmShow(VmCall { vm: text("web1") }),
            rows: "
                00000101 | VM_SHOW
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
            ",
        },
        Golden {
            packet: ClientData::VmDefinition(VmCall { vm: text("grün") }),
            rows: "
                00000102 | VM_DEFINITION
                00000005 | vm, bytes: 5
                6772c3bc 6e000000 | vm: 'grün'
            ",
        },
        Golden {
            packet: ClientData::VmDefine(VmDefineCall { definition: text("name = \"web1\"\n"), replace: true }),
            rows: "
                00000103 | VM_DEFINE
                0000000e | definition, bytes: 14
                6e616d65 203d2022 77656231 220a0000 | definition: 'name = web1\\n'
                00000001 | replace: 1
            ",
        },
        Golden {
            packet: ClientData::VmUndefine(VmCall { vm: text("web1") }),
            rows: "
                00000104 | VM_UNDEFINE
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
            ",
        },
        Golden {
            packet: ClientData::VmStart(VmStartCall { vm: text("web1"), paused: true }),
            rows: "
                00000110 | VM_START
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
                00000001 | paused: 1
            ",
        },
        Golden {
            packet: ClientData::VmShutdown(VmShutdownCall { vm: text("web1"), grace_ms: 30_000, then: 2 }),
            rows: "
                00000111 | VM_SHUTDOWN
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
                00007530 | grace_ms: 30000
                00000002 | then: 2
            ",
        },
        Golden {
            packet: ClientData::VmStop(VmCall { vm: text("web1") }),
            rows: "
                00000112 | VM_STOP
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
            ",
        },
        Golden {
            packet: ClientData::VmReboot(VmCall { vm: text("web1") }),
            rows: "
                00000113 | VM_REBOOT
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
            ",
        },
        Golden {
            packet: ClientData::VmReset(VmCall { vm: text("web1") }),
            rows: "
                00000114 | VM_RESET
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
            ",
        },
        Golden {
            packet: ClientData::VmPause(VmCall { vm: text("web1") }),
            rows: "
                00000115 | VM_PAUSE
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
            ",
        },
        Golden {
            packet: ClientData::VmResume(VmCall { vm: text("web1") }),
            rows: "
                00000116 | VM_RESUME
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
            ",
        },
        Golden {
            packet: ClientData::VmWait(VmWaitCall { vm: text("web1"), states: list([1, 5]) }),
            rows: "
                00000117 | VM_WAIT
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
                00000002 | states, count: 2
                00000001 | states[0]: 1
                00000005 | states[1]: 5
            ",
        },
        Golden {
            packet: ClientData::ConsoleOpen(ConsoleOpenCall { vm: text("web1"), mode: 3, history_bytes: 4096 }),
            rows: "
                00000120 | CONSOLE_OPEN
                00000004 | vm, bytes: 4
                77656231 | vm: 'web1'
                00000003 | mode: 3
                00001000 | history_bytes: 4096
            ",
        },
        Golden {
            packet: ClientData::StreamData(StreamData {
                stream: 1,
                flags: 1,
                offset: 0x1_0000_0000,
                data: Opaque::new(*b"root\n").unwrap(),
            }),
            rows: "
                00001010 | STREAM_DATA
                00000001 | stream: 1
                00000001 | flags: 1
                00000001 00000000 | offset: 4294967296
                00000005 | data, bytes: 5
                726f6f74 0a000000 | data
            ",
        },
        Golden {
            packet: ClientData::StreamCredit(StreamCredit { stream: 1, bytes: 16_384 }),
            rows: "
                00001011 | STREAM_CREDIT
                00000001 | stream: 1
                00004000 | bytes: 16384
            ",
        },
        Golden {
            packet: ClientData::StreamEnd(StreamEnd { stream: 1, why: None }),
            rows: "
                00001012 | STREAM_END
                00000001 | stream: 1
                00000000 | why, present: 0
            ",
        },
    ]
}

/// What a server of 1.0 may send.
pub(super) fn server() -> Vec<Golden<ServerData>> {
    let vm = || VmRef { uuid: UUID, name: text("web1") };
    let operation = || OperationInfo {
        id: 12,
        procedure: 0x110,
        vm: Some(vm()),
        identity: text("uid 0"),
        state: 4,
        queued_ns: 1_767_225_600_000_000_000,
        begun_ns: 1_767_225_600_000_000_001,
        ended_ns: 1_767_225_600_000_000_002,
        failure: Some(failure()),
    };
    let done = || VmDoneAnswer { operation: 12, state: 3 };
    vec![
        Golden {
            packet: ServerData::Failure(failure()),
            rows: "
                00000000 | FAILURE
                0000000d | code: 13
                00000004 | message, bytes: 4
                62757379 | message: 'busy'
                00000002 | object_kind, bytes: 2
                766d0000 | object_kind: 'vm'
                00000004 | object_name, bytes: 4
                77656231 | object_name: 'web1'
                00000002 | causes, count: 2
                00000003 | causes[0], bytes: 3
                6f6e6500 | causes[0]: 'one'
                00000003 | causes[1], bytes: 3
                74776f00 | causes[1]: 'two'
                00000004 | hint, bytes: 4
                77616974 | hint: 'wait'
                000001f4 | retry_after_ms: 500
                00000001 | details, count: 1
                00000006 | details[0].key, bytes: 6
                686f6c64 65720000 | details[0].key: 'holder'
                00000005 | details[0].value, bytes: 5
                75696420 30000000 | details[0].value: 'uid 0'
            ",
        },
        Golden {
            packet: ServerData::Hello(HelloAnswer {
                major: 1,
                minor: 0,
                newest_minor: 1,
                capabilities: list([1]),
                packet_bytes_max: 262_144,
                calls_in_flight_max: 256,
                epoch: EPOCH,
                server: text("vmwired"),
                identity: text("uid 0"),
                role: 3,
            }),
            rows: "
                00000001 | HELLO
                00000001 | major: 1
                00000000 | minor: 0
                00000001 | newest_minor: 1
                00000001 | capabilities, count: 1
                00000001 | capabilities[0]: 1
                00040000 | packet_bytes_max: 262144
                00000100 | calls_in_flight_max: 256
                00010203 04050607 08090a0b 0c0d0e0f | epoch
                00000007 | server, bytes: 7
                766d7769 72656400 | server: 'vmwired'
                00000005 | identity, bytes: 5
                75696420 30000000 | identity: 'uid 0'
                00000003 | role: 3
            ",
        },
        Golden { packet: ServerData::Ping, rows: "00000002 | PING" },
        Golden {
            packet: ServerData::Cancel(CancelAnswer { found: true }),
            rows: "
                00000003 | CANCEL
                00000001 | found: 1
            ",
        },
        Golden {
            packet: ServerData::Subscribe(SubscribeAnswer { first: cursor(42) }),
            rows: "
                00000004 | SUBSCRIBE
                00010203 04050607 08090a0b 0c0d0e0f | first.epoch
                00000000 0000002a | first.sequence: 42
            ",
        },
        Golden { packet: ServerData::Unsubscribe, rows: "00000005 | UNSUBSCRIBE" },
        Golden {
            packet: ServerData::HostInfo(HostInfoAnswer {
                hostname: text("host1"),
                kernel: text("6.1.0"),
                architecture: text("x86_64"),
                cpus: 8,
                memory_bytes: 0x4_0000_0000,
                driver: text("qemu"),
                hypervisor: text("QEMU 7.2.0"),
                vms_defined: 3,
                vms_running: 2,
            }),
            rows: "
                00000010 | HOST_INFO
                00000005 | hostname, bytes: 5
                686f7374 31000000 | hostname: 'host1'
                00000005 | kernel, bytes: 5
                362e312e 30000000 | kernel: '6.1.0'
                00000006 | architecture, bytes: 6
                7838365f 36340000 | architecture: 'x86_64'
                00000008 | cpus: 8
                00000004 00000000 | memory_bytes: 17179869184
                00000004 | driver, bytes: 4
                71656d75 | driver: 'qemu'
                0000000a | hypervisor, bytes: 10
                51454d55 20372e32 2e300000 | hypervisor: 'QEMU 7.2.0'
                00000003 | vms_defined: 3
                00000002 | vms_running: 2
            ",
        },
        Golden {
            packet: ServerData::HostCapabilities(HostCapabilitiesAnswer {
                hypervisor: text("QEMU 7.2.0"),
                machines: list([text("q35"), text("pc")]),
                cpu_models: list([text("host")]),
                accelerators: list([
                    AcceleratorInfo { name: text("kvm"), usable: false, why_not: text("no /dev/kvm") },
                    AcceleratorInfo { name: text("tcg"), usable: true, why_not: text("") },
                ]),
            }),
            rows: "
                00000011 | HOST_CAPABILITIES
                0000000a | hypervisor, bytes: 10
                51454d55 20372e32 2e300000 | hypervisor: 'QEMU 7.2.0'
                00000002 | machines, count: 2
                00000003 | machines[0], bytes: 3
                71333500 | machines[0]: 'q35'
                00000002 | machines[1], bytes: 2
                70630000 | machines[1]: 'pc'
                00000001 | cpu_models, count: 1
                00000004 | cpu_models[0], bytes: 4
                686f7374 | cpu_models[0]: 'host'
                00000002 | accelerators, count: 2
                00000003 | accelerators[0].name, bytes: 3
                6b766d00 | accelerators[0].name: 'kvm'
                00000000 | accelerators[0].usable: 0
                0000000b | accelerators[0].why_not, bytes: 11
                6e6f202f 6465762f 6b766d00 | accelerators[0].why_not: 'no /dev/kvm'
                00000003 | accelerators[1].name, bytes: 3
                74636700 | accelerators[1].name: 'tcg'
                00000001 | accelerators[1].usable: 1
                00000000 | accelerators[1].why_not, bytes: 0
            ",
        },
        Golden {
            packet: ServerData::DaemonInfo(DaemonInfoAnswer {
                release: text("0.1.0"),
                pid: 4711,
                started_ns: 1_767_225_600_000_000_000,
                driver: text("qemu"),
                state_dir: text("/s"),
                runtime_dir: text("/r"),
                sockets: list([text("unix:/r/x")]),
                connections: 2,
                connections_max: 5000,
                calls: 0x1_0000_0003,
                events: cursor(42),
                log_lines_lost: 5,
            }),
            rows: "
                00000012 | DAEMON_INFO
                00000005 | release, bytes: 5
                302e312e 30000000 | release: '0.1.0'
                00001267 | pid: 4711
                18867251 edfa0000 | started_ns: 1767225600000000000
                00000004 | driver, bytes: 4
                71656d75 | driver: 'qemu'
                00000002 | state_dir, bytes: 2
                2f730000 | state_dir: '/s'
                00000002 | runtime_dir, bytes: 2
                2f720000 | runtime_dir: '/r'
                00000001 | sockets, count: 1
                00000009 | sockets[0], bytes: 9
                756e6978 3a2f722f 78000000 | sockets[0]: 'unix:/r/x'
                00000002 | connections: 2
                00001388 | connections_max: 5000
                00000001 00000003 | calls: 4294967299
                00010203 04050607 08090a0b 0c0d0e0f | events.epoch
                00000000 0000002a | events.sequence: 42
                00000000 00000005 | log_lines_lost: 5
            ",
        },
        Golden {
            packet: ServerData::ConnectionList(ConnectionListAnswer {
                rows: list([ConnectionInfo {
                    id: 18,
                    transport: text("unix"),
                    identity: text("uid 0"),
                    role: 3,
                    name: text("vmwire"),
                    minor: 1,
                    since_ns: 1_767_225_600_000_000_000,
                    calls: 9,
                    calls_open: 1,
                    streams: 2,
                    subscribed: true,
                    unsent_bytes: 64,
                    own: false,
                }]),
                next: text("18"),
            }),
            rows: "
                00000020 | CONNECTION_LIST
                00000001 | rows, count: 1
                00000000 00000012 | rows[0].id: 18
                00000004 | rows[0].transport, bytes: 4
                756e6978 | rows[0].transport: 'unix'
                00000005 | rows[0].identity, bytes: 5
                75696420 30000000 | rows[0].identity: 'uid 0'
                00000003 | rows[0].role: 3
                00000006 | rows[0].name, bytes: 6
                766d7769 72650000 | rows[0].name: 'vmwire'
                00000001 | rows[0].minor: 1
                18867251 edfa0000 | rows[0].since_ns: 1767225600000000000
                00000000 00000009 | rows[0].calls: 9
                00000001 | rows[0].calls_open: 1
                00000002 | rows[0].streams: 2
                00000001 | rows[0].subscribed: 1
                00000040 | rows[0].unsent_bytes: 64
                00000000 | rows[0].own: 0
                00000002 | next, bytes: 2
                31380000 | next: '18'
            ",
        },
        Golden { packet: ServerData::ConnectionKick, rows: "00000021 | CONNECTION_KICK" },
        Golden {
            packet: ServerData::OperationList(OperationListAnswer { rows: list([operation()]), next: text("12") }),
            rows: "
                00000030 | OPERATION_LIST
                00000001 | rows, count: 1
                00000000 0000000c | rows[0].id: 12
                00000110 | rows[0].procedure: 272
                00000001 | rows[0].vm, present: 1
                6f1d3c2a 5b4e4f6d 8a7b9c0d 1e2f3a4b | rows[0].vm.uuid
                00000004 | rows[0].vm.name, bytes: 4
                77656231 | rows[0].vm.name: 'web1'
                00000005 | rows[0].identity, bytes: 5
                75696420 30000000 | rows[0].identity: 'uid 0'
                00000004 | rows[0].state: 4
                18867251 edfa0000 | rows[0].queued_ns: 1767225600000000000
                18867251 edfa0001 | rows[0].begun_ns: 1767225600000000001
                18867251 edfa0002 | rows[0].ended_ns: 1767225600000000002
                00000001 | rows[0].failure, present: 1
                0000000d | rows[0].failure.code: 13
                00000004 | rows[0].failure.message, bytes: 4
                62757379 | rows[0].failure.message: 'busy'
                00000002 | rows[0].failure.object_kind, bytes: 2
                766d0000 | rows[0].failure.object_kind: 'vm'
                00000004 | rows[0].failure.object_name, bytes: 4
                77656231 | rows[0].failure.object_name: 'web1'
                00000002 | rows[0].failure.causes, count: 2
                00000003 | rows[0].failure.causes[0], bytes: 3
                6f6e6500 | rows[0].failure.causes[0]: 'one'
                00000003 | rows[0].failure.causes[1], bytes: 3
                74776f00 | rows[0].failure.causes[1]: 'two'
                00000004 | rows[0].failure.hint, bytes: 4
                77616974 | rows[0].failure.hint: 'wait'
                000001f4 | rows[0].failure.retry_after_ms: 500
                00000001 | rows[0].failure.details, count: 1
                00000006 | rows[0].failure.details[0].key, bytes: 6
                686f6c64 65720000 | rows[0].failure.details[0].key: 'holder'
                00000005 | rows[0].failure.details[0].value, bytes: 5
                75696420 30000000 | rows[0].failure.details[0].value: 'uid 0'
                00000002 | next, bytes: 2
                31320000 | next: '12'
            ",
        },
        Golden {
            packet: ServerData::OperationShow(OperationInfo { vm: None, failure: None, ..operation() }),
            rows: "
                00000031 | OPERATION_SHOW
                00000000 0000000c | id: 12
                00000110 | procedure: 272
                00000000 | vm, present: 0
                00000005 | identity, bytes: 5
                75696420 30000000 | identity: 'uid 0'
                00000004 | state: 4
                18867251 edfa0000 | queued_ns: 1767225600000000000
                18867251 edfa0001 | begun_ns: 1767225600000000001
                18867251 edfa0002 | ended_ns: 1767225600000000002
                00000000 | failure, present: 0
            ",
        },
        Golden {
            packet: ServerData::OperationWait(operation()),
            rows: "
                00000032 | OPERATION_WAIT
                00000000 0000000c | id: 12
                00000110 | procedure: 272
                00000001 | vm, present: 1
                6f1d3c2a 5b4e4f6d 8a7b9c0d 1e2f3a4b | vm.uuid
                00000004 | vm.name, bytes: 4
                77656231 | vm.name: 'web1'
                00000005 | identity, bytes: 5
                75696420 30000000 | identity: 'uid 0'
                00000004 | state: 4
                18867251 edfa0000 | queued_ns: 1767225600000000000
                18867251 edfa0001 | begun_ns: 1767225600000000001
                18867251 edfa0002 | ended_ns: 1767225600000000002
                00000001 | failure, present: 1
                0000000d | failure.code: 13
                00000004 | failure.message, bytes: 4
                62757379 | failure.message: 'busy'
                00000002 | failure.object_kind, bytes: 2
                766d0000 | failure.object_kind: 'vm'
                00000004 | failure.object_name, bytes: 4
                77656231 | failure.object_name: 'web1'
                00000002 | failure.causes, count: 2
                00000003 | failure.causes[0], bytes: 3
                6f6e6500 | failure.causes[0]: 'one'
                00000003 | failure.causes[1], bytes: 3
                74776f00 | failure.causes[1]: 'two'
                00000004 | failure.hint, bytes: 4
                77616974 | failure.hint: 'wait'
                000001f4 | failure.retry_after_ms: 500
                00000001 | failure.details, count: 1
                00000006 | failure.details[0].key, bytes: 6
                686f6c64 65720000 | failure.details[0].key: 'holder'
                00000005 | failure.details[0].value, bytes: 5
                75696420 30000000 | failure.details[0].value: 'uid 0'
            ",
        },
        Golden {
            packet: ServerData::VmNames(VmNamesAnswer {
                cursor: cursor(42),
                names: list([text("db1"), text("web1")]),
                next: text("web1"),
            }),
            rows: "
                00000100 | VM_NAMES
                00010203 04050607 08090a0b 0c0d0e0f | cursor.epoch
                00000000 0000002a | cursor.sequence: 42
                00000002 | names, count: 2
                00000003 | names[0], bytes: 3
                64623100 | names[0]: 'db1'
                00000004 | names[1], bytes: 4
                77656231 | names[1]: 'web1'
                00000004 | next, bytes: 4
                77656231 | next: 'web1'
            ",
        },
        Golden {
            packet: ServerData::VmShow(VmShowAnswer {
                cursor: cursor(42),
                vm: VmInfo {
                    uuid: UUID,
                    name: text("web1"),
                    title: text("shop"),
                    state: 3,
                    reason: 1,
                    since_ns: 1_767_225_600_000_000_000,
                    message: text("up"),
                    autostart: true,
                    memory_bytes: 0x2000_0000,
                    cpus: 2,
                    machine: text("q35"),
                    accelerator: text("tcg"),
                    pid: 4712,
                    monitor: true,
                    operation: 13,
                    operations_waiting: 1,
                    console_writer: text("uid 0"),
                    console_readers: 2,
                    console_offset: 0x1_0000_0004,
                    disks: list([VmDisk {
                        path: text("/d.qcow2"),
                        format: text("qcow2"),
                        bus: text("virtio"),
                        readonly: true,
                    }]),
                    nics: list([VmNic { outbound: true, forwards: list([text("127.0.0.1:8080:80/tcp")]) }]),
                    channels: list([text("org.vmwire.0")]),
                },
            }),
            rows: "
                00000101 | VM_SHOW
                00010203 04050607 08090a0b 0c0d0e0f | cursor.epoch
                00000000 0000002a | cursor.sequence: 42
                6f1d3c2a 5b4e4f6d 8a7b9c0d 1e2f3a4b | vm.uuid
                00000004 | vm.name, bytes: 4
                77656231 | vm.name: 'web1'
                00000004 | vm.title, bytes: 4
                73686f70 | vm.title: 'shop'
                00000003 | vm.state: 3
                00000001 | vm.reason: 1
                18867251 edfa0000 | vm.since_ns: 1767225600000000000
                00000002 | vm.message, bytes: 2
                75700000 | vm.message: 'up'
                00000001 | vm.autostart: 1
                00000000 20000000 | vm.memory_bytes: 536870912
                00000002 | vm.cpus: 2
                00000003 | vm.machine, bytes: 3
                71333500 | vm.machine: 'q35'
                00000003 | vm.accelerator, bytes: 3
                74636700 | vm.accelerator: 'tcg'
                00001268 | vm.pid: 4712
                00000001 | vm.monitor: 1
                00000000 0000000d | vm.operation: 13
                00000001 | vm.operations_waiting: 1
                00000005 | vm.console_writer, bytes: 5
                75696420 30000000 | vm.console_writer: 'uid 0'
                00000002 | vm.console_readers: 2
                00000001 00000004 | vm.console_offset: 4294967300
                00000001 | vm.disks, count: 1
                00000008 | vm.disks[0].path, bytes: 8
                2f642e71 636f7732 | vm.disks[0].path: '/d.qcow2'
                00000005 | vm.disks[0].format, bytes: 5
                71636f77 32000000 | vm.disks[0].format: 'qcow2'
                00000006 | vm.disks[0].bus, bytes: 6
                76697274 696f0000 | vm.disks[0].bus: 'virtio'
                00000001 | vm.disks[0].readonly: 1
                00000001 | vm.nics, count: 1
                00000001 | vm.nics[0].outbound: 1
                00000001 | vm.nics[0].forwards, count: 1
                00000015 | vm.nics[0].forwards[0], bytes: 21
                3132372e 302e302e 313a3830 38303a38 | vm.nics[0].forwards[0]: '127.0.0.1:8080:80/tcp'
                302f7463 70000000 |
                00000001 | vm.channels, count: 1
                0000000c | vm.channels[0], bytes: 12
                6f72672e 766d7769 72652e30 | vm.channels[0]: 'org.vmwire.0'
            ",
        },
        Golden {
            packet: ServerData::VmDefinition(VmDefinitionAnswer { definition: text("name = \"web1\"\n") }),
            rows: "
                00000102 | VM_DEFINITION
                0000000e | definition, bytes: 14
                6e616d65 203d2022 77656231 220a0000 | definition: 'name = web1\\n'
            ",
        },
        Golden {
            packet: ServerData::VmDefine(VmDefineAnswer { operation: 12, vm: vm() }),
            rows: "
                00000103 | VM_DEFINE
                00000000 0000000c | operation: 12
                6f1d3c2a 5b4e4f6d 8a7b9c0d 1e2f3a4b | vm.uuid
                00000004 | vm.name, bytes: 4
                77656231 | vm.name: 'web1'
            ",
        },
        Golden {
            packet: ServerData::VmUndefine(VmDoneAnswer { operation: 12, state: 1 }),
            rows: "
                00000104 | VM_UNDEFINE
                00000000 0000000c | operation: 12
                00000001 | state: 1
            ",
        },
        Golden {
            packet: ServerData::VmStart(done()),
            rows: "
                00000110 | VM_START
                00000000 0000000c | operation: 12
                00000003 | state: 3
            ",
        },
        Golden {
            packet: ServerData::VmShutdown(VmDoneAnswer { operation: 0, state: 1 }),
            rows: "
                00000111 | VM_SHUTDOWN
                00000000 00000000 | operation: 0
                00000001 | state: 1
            ",
        },
        Golden {
            packet: ServerData::VmStop(done()),
            rows: "
                00000112 | VM_STOP
                00000000 0000000c | operation: 12
                00000003 | state: 3
            ",
        },
        Golden {
            packet: ServerData::VmReboot(done()),
            rows: "
                00000113 | VM_REBOOT
                00000000 0000000c | operation: 12
                00000003 | state: 3
            ",
        },
        Golden {
            packet: ServerData::VmReset(done()),
            rows: "
                00000114 | VM_RESET
                00000000 0000000c | operation: 12
                00000003 | state: 3
            ",
        },
        Golden {
            packet: ServerData::VmPause(done()),
            rows: "
                00000115 | VM_PAUSE
                00000000 0000000c | operation: 12
                00000003 | state: 3
            ",
        },
        Golden {
            packet: ServerData::VmResume(done()),
            rows: "
                00000116 | VM_RESUME
                00000000 0000000c | operation: 12
                00000003 | state: 3
            ",
        },
        Golden {
            packet: ServerData::VmWait(VmWaitAnswer { cursor: cursor(42), vm: vm(), state: 5 }),
            rows: "
                00000117 | VM_WAIT
                00010203 04050607 08090a0b 0c0d0e0f | cursor.epoch
                00000000 0000002a | cursor.sequence: 42
                6f1d3c2a 5b4e4f6d 8a7b9c0d 1e2f3a4b | vm.uuid
                00000004 | vm.name, bytes: 4
                77656231 | vm.name: 'web1'
                00000005 | state: 5
            ",
        },
        Golden {
            packet: ServerData::ConsoleOpen(ConsoleOpenAnswer { stream: 1, offset: 100, writer: text("uid 0") }),
            rows: "
                00000120 | CONSOLE_OPEN
                00000001 | stream: 1
                00000000 00000064 | offset: 100
                00000005 | writer, bytes: 5
                75696420 30000000 | writer: 'uid 0'
            ",
        },
        Golden {
            packet: ServerData::Progress(Progress { done: 1, total: 0x1_0000_0000, what: text("copying") }),
            rows: "
                00001000 | PROGRESS
                00000000 00000001 | done: 1
                00000001 00000000 | total: 4294967296
                00000007 | what, bytes: 7
                636f7079 696e6700 | what: 'copying'
            ",
        },
        Golden {
            packet: ServerData::Event(Event {
                epoch: EPOCH,
                sequence: 42,
                time_ns: 1_767_225_600_000_000_000,
                operation: 12,
                vm: Some(vm()),
                kind: 2,
                detail: Opaque::new([0, 0, 0, 1]).unwrap(),
            }),
            rows: "
                00001001 | EVENT
                00010203 04050607 08090a0b 0c0d0e0f | epoch
                00000000 0000002a | sequence: 42
                18867251 edfa0000 | time_ns: 1767225600000000000
                00000000 0000000c | operation: 12
                00000001 | vm, present: 1
                6f1d3c2a 5b4e4f6d 8a7b9c0d 1e2f3a4b | vm.uuid
                00000004 | vm.name, bytes: 4
                77656231 | vm.name: 'web1'
                00000002 | kind: 2
                00000004 | detail, bytes: 4
                00000001 | detail
            ",
        },
        Golden {
            packet: ServerData::Gap(Gap { epoch: EPOCH, first: 3, last: 41 }),
            rows: "
                00001002 | GAP
                00010203 04050607 08090a0b 0c0d0e0f | epoch
                00000000 00000003 | first: 3
                00000000 00000029 | last: 41
            ",
        },
        Golden {
            packet: ServerData::StreamData(StreamData {
                stream: 1,
                flags: 0,
                offset: 100,
                data: Opaque::new(*b"login: ").unwrap(),
            }),
            rows: "
                00001010 | STREAM_DATA
                00000001 | stream: 1
                00000000 | flags: 0
                00000000 00000064 | offset: 100
                00000007 | data, bytes: 7
                6c6f6769 6e3a2000 | data
            ",
        },
        Golden {
            packet: ServerData::StreamCredit(StreamCredit { stream: 1, bytes: 16_384 }),
            rows: "
                00001011 | STREAM_CREDIT
                00000001 | stream: 1
                00004000 | bytes: 16384
            ",
        },
        Golden {
            packet: ServerData::StreamEnd(StreamEnd { stream: 1, why: Some(failure()) }),
            rows: "
                00001012 | STREAM_END
                00000001 | stream: 1
                00000001 | why, present: 1
                0000000d | why.code: 13
                00000004 | why.message, bytes: 4
                62757379 | why.message: 'busy'
                00000002 | why.object_kind, bytes: 2
                766d0000 | why.object_kind: 'vm'
                00000004 | why.object_name, bytes: 4
                77656231 | why.object_name: 'web1'
                00000002 | why.causes, count: 2
                00000003 | why.causes[0], bytes: 3
                6f6e6500 | why.causes[0]: 'one'
                00000003 | why.causes[1], bytes: 3
                74776f00 | why.causes[1]: 'two'
                00000004 | why.hint, bytes: 4
                77616974 | why.hint: 'wait'
                000001f4 | why.retry_after_ms: 500
                00000001 | why.details, count: 1
                00000006 | why.details[0].key, bytes: 6
                686f6c64 65720000 | why.details[0].key: 'holder'
                00000005 | why.details[0].value, bytes: 5
                75696420 30000000 | why.details[0].value: 'uid 0'
            ",
        },
    ]
}

/// The details of the events of 1.0, by kind.
pub(super) fn details() -> Vec<(u32, Vec<u8>, &'static str)> {
    vec![
        (
            1,
            super::bytes(&EventDaemonStarted { release: text("0.1.0") }),
            "
            00000005 | release, bytes: 5
            302e312e 30000000 | release: '0.1.0'
        ",
        ),
        (2, super::bytes(&EventVmDefined { replaced: true }), "00000001 | replaced: 1"),
        (3, Vec::new(), ""),
        (
            4,
            super::bytes(&EventVmState { state: 3, previous: 2, reason: 1, message: text("up") }),
            "
            00000003 | state: 3
            00000002 | previous: 2
            00000001 | reason: 1
            00000002 | message, bytes: 2
            75700000 | message: 'up'
        ",
        ),
        (5, super::bytes(&EventVmReset { by_guest: true }), "00000001 | by_guest: 1"),
        (
            6,
            super::bytes(&EventVmMonitor { connected: false, why: text("silent") }),
            "
            00000000 | connected: 0
            00000006 | why, bytes: 6
            73696c65 6e740000 | why: 'silent'
        ",
        ),
        (
            7,
            super::bytes(&EventConsoleWriter { identity: text("uid 0") }),
            "
            00000005 | identity, bytes: 5
            75696420 30000000 | identity: 'uid 0'
        ",
        ),
        (
            8,
            super::bytes(&EventOperation {
                procedure: 0x110,
                state: 4,
                identity: text("uid 0"),
                failure: Some(failure()),
            }),
            "
                00000110 | procedure: 272
                00000004 | state: 4
                00000005 | identity, bytes: 5
                75696420 30000000 | identity: 'uid 0'
                00000001 | failure, present: 1
                0000000d | failure.code: 13
                00000004 | failure.message, bytes: 4
                62757379 | failure.message: 'busy'
                00000002 | failure.object_kind, bytes: 2
                766d0000 | failure.object_kind: 'vm'
                00000004 | failure.object_name, bytes: 4
                77656231 | failure.object_name: 'web1'
                00000002 | failure.causes, count: 2
                00000003 | failure.causes[0], bytes: 3
                6f6e6500 | failure.causes[0]: 'one'
                00000003 | failure.causes[1], bytes: 3
                74776f00 | failure.causes[1]: 'two'
                00000004 | failure.hint, bytes: 4
                77616974 | failure.hint: 'wait'
                000001f4 | failure.retry_after_ms: 500
                00000001 | failure.details, count: 1
                00000006 | failure.details[0].key, bytes: 6
                686f6c64 65720000 | failure.details[0].key: 'holder'
                00000005 | failure.details[0].value, bytes: 5
                75696420 30000000 | failure.details[0].value: 'uid 0'
            ",
        ),
    ]
}
