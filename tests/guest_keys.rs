//! What each key of a definition does to a real guest, as the guest itself sees it. A key without a row here fails the
//! story: it may not be shipped. (What QEMU says of the same keys, value by value, is in the tests of its driver.)
//!
//! Few boots and many looks: emulation is slow.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use vmwire_daemon::model::Definition;

use crate::harness::{Daemon, ENOUGH, Guest, Setup, Shell, eventually, free_port};

const UUID: &str = "6f1d5f5c-6f0b-4a3e-9d3c-2f6f3b1d8a11";

/// Keys that are observed elsewhere, and where.
const ELSEWHERE: &[(&str, &str)] = &[
    ("autostart", "guest_adoption: ... autostart_starts_with_it"),
    ("labels", "rights: what_a_rule_gives_by_label_is_given_to_the_machines_that_have_it"),
    ("accel", "below: every guest here says tcg; kvm and auto with the driver's own tests, by query-kvm"),
    ("test.start_ms", "operations: an_operation_can_be_listed_shown_and_waited_for_by_anybody"),
    ("test.start_fails", "exits: what_was_tried_and_failed_is_1"),
    ("test.delay_ms", "below: the_delays_of_the_test_driver_are_kept"),
    ("test.deaf", "operations: a_guest_that_does_not_hear_the_power_button_runs_on_or_is_stopped_as_was_asked"),
    ("test.shutdown_ms", "below: the_delays_of_the_test_driver_are_kept"),
    ("test.console", "console: history_is_as_long_as_was_asked_for_and_a_late_reader_has_it_too"),
    ("test.panic_ms", "below: the_delays_of_the_test_driver_are_kept"),
    ("test.console_bytes", "console: a_guest_that_says_a_lot_is_read_whole_by_whoever_reads_on"),
    ("test.console_burst", "daemon's own: the_flow_comes_in_pieces_of_the_size_that_was_asked_for"),
    ("test.agent", "daemon's own: an_agent_that_hangs_opens_its_channel_and_answers_nothing"),
];

/// Keys observed in the two guests below.
const HERE: &[&str] = &[
    "name",
    "uuid",
    "title",
    "memory",
    "machine",
    "rng",
    "console",
    "channels",
    "cpu.count",
    "cpu.sockets",
    "cpu.cores",
    "cpu.threads",
    "cpu.model",
    "boot.kernel",
    "boot.initrd",
    "boot.cmdline",
    "disk.path",
    "disk.format",
    "disk.bus",
    "disk.readonly",
    "nic.network",
    "nic.outbound",
    "nic.forward",
];

#[test]
fn every_key_of_a_definition_is_observed_somewhere() {
    let rows: Vec<&str> = HERE.iter().copied().chain(ELSEWHERE.iter().map(|(key, _)| *key)).collect();
    let set: BTreeSet<&str> = rows.iter().copied().collect();
    assert_eq!(set.len(), rows.len(), "a key has two rows");
    assert_eq!(set, Definition::KEYS.iter().copied().collect(), "a key needs a row, or a row its key");
}

/// Serves one word over HTTP at a port of the host's 127.0.0.1, for as long as the story lasts.
fn host_service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut byte = [0];
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = Vec::new();
            // To close with something unread would be to break off.
            while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                asked.extend(byte);
            }
            let _gone = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 16\r\n\r\nfrom-the-host-07");
        }
    });
    port
}

/// What a service of the guest answers at a port of the host.
fn fetch(port: u16) -> String {
    eventually("the guest's service answers", || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    })
}

/// The installed tool, so that images are what others make and read, not what we imagine.
fn qemu_img(arguments: &[&str]) {
    assert!(std::process::Command::new("qemu-img").args(arguments).status().unwrap().success(), "{arguments:?}");
}

fn qcow2(daemon: &Daemon, name: &str, mib: u32) -> String {
    let path = daemon.place().join(name).to_str().unwrap().to_owned();
    qemu_img(&["create", "-q", "-f", "qcow2", &path, &format!("{mib}M")]);
    path
}

#[test]
fn a_guest_sees_the_machine_that_its_definition_describes() {
    let Some(guest) = Guest::find("a_guest_sees_the_machine_that_its_definition_describes") else { return };
    let daemon = Setup::qemu().start();
    let raw = daemon.place().write("a.raw", vec![0; 3 << 20]);
    let qcow2 = qcow2(&daemon, "b.qcow2", 5);
    let (service, forwarded) = (host_service(), free_port());
    let top = format!(
        "uuid = \"{UUID}\"\ntitle = \"with everything\"\nrng = true\nchannels = [\"org.vmwire.one\", \"two\"]\n"
    );
    let tables = format!(
        "[cpu]\nsockets = 1\ncores = 2\nthreads = 1\nmodel = \"Westmere\"\n\
         [[disk]]\npath = \"{raw}\"\nformat = \"raw\"\n\
         [[disk]]\npath = \"{qcow2}\"\nformat = \"qcow2\"\nreadonly = true\n\
         [[nic]]\nnetwork = \"user\"\noutbound = true\nforward = [\"{forwarded}:80\"]\n"
    );
    let definition = guest.definition("full", "guest.net word='a, b' k=v", &top, &tables);
    daemon.define(&definition.replace("128 MiB", "160 MiB"));
    daemon.ok(&["vm", "start", "full"]);
    let (mut shell, release) = Shell::booted(&daemon, "full");

    assert_eq!(release, guest.release(), "boot.kernel, and boot.initrd, which says so");
    assert!(shell.facts("cmdline")[0].ends_with("guest.net word='a, b' k=v"), "boot.cmdline");
    assert_eq!(shell.facts("uuid"), [UUID], "uuid");
    assert_eq!(daemon.state(UUID), "running", "uuid, as the daemon sees it");
    let listed = daemon.json(&["vm", "list", "--fields", "name,title"]);
    assert_eq!(listed, serde_json::json!([{"name": "full", "title": "with everything"}]), "name and title");
    let kib: u64 = shell.facts("memory_kib")[0].parse().unwrap();
    assert!((120 << 10..160 << 10).contains(&kib), "memory: {kib} KiB");
    assert!(shell.facts("machine")[0].contains("q35"), "machine");
    assert_eq!(shell.facts("cpus"), ["2"], "cpu.count follows");
    assert_eq!((shell.facts("sockets"), shell.facts("cores")), (vec!["1".to_owned()], vec!["2".to_owned()]));
    assert_eq!(shell.facts("threads"), ["1"], "cpu.threads");
    assert!(shell.facts("cpu")[0].starts_with("Westmere"), "cpu.model");
    assert!(shell.facts("rng")[0].starts_with("virtio_rng"), "rng");
    assert_eq!(shell.facts("channels"), ["org.vmwire.one", "two"], "channels");

    let disks = shell.facts("disks");
    assert!(disks[0].starts_with("vda 3145728 rw virtio"), "disk.path, disk.format, disk.bus: {disks:?}");
    assert!(disks[1].starts_with("vdb 5242880 ro virtio"), "disk.readonly, and the size is the image's: {disks:?}");
    shell.asks("printf written >/tmp/w; dd if=/tmp/w of=/dev/vda conv=fsync 2>/dev/null");
    let kept = std::fs::read(&raw).unwrap();
    assert_eq!(&kept[..7], b"written", "what the guest writes is in the file");
    let refused = shell.asks("dd if=/tmp/w of=/dev/vdb conv=fsync 2>/dev/null || echo REFUSED");
    assert_eq!(refused, ["REFUSED"], "disk.readonly");

    let interfaces = shell.facts("interfaces");
    assert!(interfaces[0].contains("10.0.2.15"), "nic.network: {interfaces:?}");
    let heard = shell.asks(&format!("net get http://10.0.2.2:{service}/"));
    assert_eq!(heard[0], "from-the-host-07", "nic.outbound = true reaches even the host's 127.0.0.1");
    assert!(fetch(forwarded).contains("hello from the guest"), "nic.forward");
    // What is bound to 127.0.0.1 is nowhere else: another address of the host's loopback does not have it.
    assert!(TcpStream::connect(("127.0.0.2", forwarded)).is_err(), "nic.forward binds 127.0.0.1 alone");
    daemon.ok(&["vm", "shutdown", "full"]);
}

#[test]
fn another_guest_sees_the_other_values() {
    let Some(guest) = Guest::find("another_guest_sees_the_other_values") else { return };
    let daemon = Setup::qemu().start();
    let raw = daemon.place().write("a.raw", vec![0; 3 << 20]);
    let qcow2 = qcow2(&daemon, "b.qcow2", 5);
    let (service, forwarded) = (host_service(), free_port());
    let tables = format!(
        "[cpu]\ncount = 4\nsockets = 2\nthreads = 2\nmodel = \"Nehalem\"\n\
         [[disk]]\npath = \"{raw}\"\nformat = \"raw\"\nbus = \"scsi\"\nreadonly = true\n\
         [[disk]]\npath = \"{qcow2}\"\nformat = \"qcow2\"\n\
         [[nic]]\nnetwork = \"user\"\noutbound = false\nforward = [\"127.0.0.2:{forwarded}:80\"]\n"
    );
    daemon.define(&guest.definition("other", "guest.net", "machine = \"pc\"\nrng = false\n", &tables));
    daemon.ok(&["vm", "start", "other"]);
    let (mut shell, _) = Shell::booted(&daemon, "other");
    assert!(shell.facts("machine")[0].contains("i440fx"), "machine");
    let kib: u64 = shell.facts("memory_kib")[0].parse().unwrap();
    assert!((90 << 10..128 << 10).contains(&kib), "memory: {kib} KiB");
    assert_eq!(shell.facts("cpus"), ["4"], "cpu.count");
    assert_eq!((shell.facts("sockets"), shell.facts("cores")), (vec!["2".to_owned()], vec!["1".to_owned()]));
    assert_eq!(shell.facts("threads"), ["2"], "cpu.threads");
    assert_eq!(shell.facts("rng").first().map_or("none", String::as_str), "none", "rng");
    assert_eq!(shell.facts("channels"), Vec::<String>::new(), "channels");
    let drawn = daemon.json(&["vm", "show", "other"])["uuid"].as_str().unwrap().to_owned();
    assert_eq!(shell.facts("uuid"), [drawn], "uuid, drawn by the daemon");

    let disks = shell.facts("disks");
    assert!(disks.contains(&"sda 3145728 ro scsi -".to_owned()), "disk.bus, disk.readonly: {disks:?}");
    assert!(disks.contains(&"vda 5242880 rw virtio -".to_owned()), "disk.format, disk.bus: {disks:?}");
    shell.asks("printf written >/tmp/w; dd if=/tmp/w of=/dev/vda conv=fsync 2>/dev/null");
    let heard = shell.asks(&format!("net get http://10.0.2.2:{service}/"));
    assert_eq!(heard[0], "GUEST-NET failed", "nic.outbound = false keeps the guest in");
    let mut stream = TcpStream::connect(("127.0.0.2", forwarded)).unwrap();
    stream.set_read_timeout(Some(ENOUGH)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("hello from the guest"), "nic.forward at another address, and without outbound: {answer}");
    daemon.ok(&["vm", "shutdown", "other"]);
    let copy = daemon.place().join("copy");
    qemu_img(&["convert", "-f", "qcow2", "-O", "raw", &qcow2, copy.to_str().unwrap()]);
    assert!(std::fs::read(copy).unwrap().starts_with(b"written"), "disk.format = qcow2");
}

#[test]
fn without_a_kernel_the_first_disk_boots_and_without_a_console_nothing_is_heard() {
    let test = "without_a_kernel_the_first_disk_boots_and_without_a_console_nothing_is_heard";
    let Some(guest) = Guest::find(test) else { return };
    let daemon = Setup::qemu().start();
    let copy = daemon.place().write("boot.raw", std::fs::read(guest.boot_sector()).unwrap());
    let disk = format!("[[disk]]\npath = \"{copy}\"\nformat = \"raw\"\n");
    let head = "memory = \"32 MiB\"\naccel = \"tcg\"\n";
    daemon.define(&format!("name = \"disk\"\n{head}{disk}"));
    daemon.ok(&["vm", "start", "disk"]);
    let mut shell = Shell(daemon.begin(&["vm", "console", "disk", "--read-only", "--history", "4KiB"]));
    shell.0.expect("BOOT-SECTOR-READY");
    daemon.ok(&["vm", "stop", "disk"]);

    daemon.define(&format!("name = \"mute\"\n{head}console = false\n{disk}"));
    daemon.ok(&["vm", "start", "mute"]);
    assert!(daemon.vmwire(&["vm", "console", "mute"]).fails(1).contains("no console"));
    daemon.ok(&["vm", "stop", "mute"]);
}

#[test]
fn the_delays_of_the_test_driver_are_kept() {
    let daemon = Setup::test().start();
    daemon.define("name = \"a\"\nmemory = \"64 MiB\"\n[test]\ndelay_ms = 300\nshutdown_ms = 400\n");
    daemon.define("name = \"b\"\nmemory = \"64 MiB\"\n[test]\npanic_ms = 300\n");
    daemon.ok(&["vm", "start", "a", "b"]);
    let took = |arguments: &[&str]| {
        let begun = std::time::Instant::now();
        daemon.ok(arguments);
        begun.elapsed()
    };
    assert!(took(&["vm", "pause", "a"]) >= Duration::from_millis(300), "test.delay_ms");
    daemon.ok(&["vm", "resume", "a"]);
    daemon.wait_for("b", "crashed");
    let begun = daemon.json(&["op", "list", "--vm", "b"])[1]["ended_ns"].as_u64().unwrap();
    let crashed = daemon.json(&["vm", "show", "b"])["since_ns"].as_u64().unwrap();
    // By a clock that may be set or slewed meanwhile, other than the one that delays are kept by.
    assert!(crashed >= begun + 250_000_000, "test.panic_ms");
    assert!(took(&["vm", "shutdown", "a"]) >= Duration::from_millis(700), "test.shutdown_ms behind test.delay_ms");
    // A real hypervisor will not have them.
    let qemu = Setup::qemu().start();
    let file = qemu.place().write("d.toml", "name = \"a\"\nmemory = \"64 MiB\"\n[test]\ndeaf = true\n");
    assert!(qemu.vmwire(&["vm", "define", &file]).fails(1).contains("test"));
}
