//! Every key of a definition has a row here: it is set, QEMU is started, and the effect is observed in the guest or
//! over the monitor, never in the arguments. A key without a row fails the test and is not shipped.

use std::fs;
use std::process::Command;

use serde_json::Value;
use vmwire_daemon::driver::{Action, Driver, DriverErrorKind};
use vmwire_daemon::model::Definition;

use crate::guest;
use crate::qmp::Qmp;
use crate::stage::{Stage, VM, has_qemu};

/// How a key's effect is observed.
enum Row {
    /// With QEMU.
    Qemu(fn(&mut Stage)),
    /// The key is the daemon's own, and QEMU has no part in it; the stories of the daemon are told elsewhere.
    Daemon,
    /// The key is for the test driver, and a definition that has it is refused here.
    TestDriver(&'static str),
}

const ROWS: &[(&str, Row)] = &[
    ("name", Row::Qemu(name)),
    ("uuid", Row::Qemu(uuid)),
    ("title", Row::Daemon),
    ("labels", Row::Daemon),
    ("memory", Row::Qemu(memory)),
    ("machine", Row::Qemu(machine)),
    ("accel", Row::Qemu(accel)),
    ("autostart", Row::Daemon),
    ("rng", Row::Qemu(rng)),
    ("console", Row::Qemu(console)),
    ("channels", Row::Qemu(channels)),
    ("cpu.count", Row::Qemu(cpu_count)),
    ("cpu.sockets", Row::Qemu(cpu_topology)),
    ("cpu.cores", Row::Qemu(cpu_topology)),
    ("cpu.threads", Row::Qemu(cpu_topology)),
    ("cpu.model", Row::Qemu(cpu_model)),
    ("boot.kernel", Row::Qemu(boot)),
    ("boot.initrd", Row::Qemu(boot)),
    ("boot.cmdline", Row::Qemu(boot)),
    ("disk.path", Row::Qemu(disk_path)),
    ("disk.format", Row::Qemu(disk_format)),
    ("disk.bus", Row::Qemu(disk_bus)),
    ("disk.readonly", Row::Qemu(disk_readonly)),
    ("nic.network", Row::Qemu(nic_network)),
    ("nic.outbound", Row::Qemu(nic_outbound)),
    ("nic.forward", Row::Qemu(nic_forward)),
    ("test.start_ms", Row::TestDriver("start_ms = 1")),
    ("test.start_fails", Row::TestDriver("start_fails = 'no'")),
    ("test.delay_ms", Row::TestDriver("delay_ms = 1")),
    ("test.deaf", Row::TestDriver("deaf = true")),
    ("test.shutdown_ms", Row::TestDriver("shutdown_ms = 1")),
    ("test.console", Row::TestDriver("console = 'hello'")),
    ("test.panic_ms", Row::TestDriver("panic_ms = 1")),
    ("test.console_bytes", Row::TestDriver("console_bytes = 1")),
    ("test.console_burst", Row::TestDriver("console_burst = 1")),
    ("test.agent", Row::TestDriver("agent = 'hangs'")),
];

#[test]
fn every_key_has_a_row_and_every_row_its_effect() {
    for key in Definition::KEYS {
        assert_eq!(ROWS.iter().filter(|(row, _)| row == key).count(), 1, "{key} needs a row");
    }
    assert_eq!(ROWS.len(), Definition::KEYS.len(), "a row is there for no key");
    if !has_qemu("every_key_has_a_row_and_every_row_its_effect") {
        return;
    }
    let mut observed: Vec<usize> = Vec::new();
    for (key, row) in ROWS {
        match row {
            // Rows that belong together are observed together, once.
            Row::Qemu(observe) if observed.contains(&(*observe as usize)) => {}
            Row::Qemu(observe) => {
                println!("{key}");
                observe(&mut Stage::with(|config| config.force_tcg = false));
                observed.push(*observe as usize);
            }
            Row::TestDriver(text) => {
                let definition = Stage::definition(&format!("[test]\n{text}\n"));
                let error = Stage::new().driver.check(&definition).unwrap_err();
                assert_eq!(error.kind, DriverErrorKind::Unsupported, "{key}");
            }
            Row::Daemon => {}
        }
    }
}

/// The name stays out of QEMU; it is in the record by which people know the process.
fn name(stage: &mut Stage) {
    stage.start("").unwrap();
    let record = fs::read(stage.dir.path().join(format!("{VM}.run"))).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["name"], "guest");
    assert_eq!(record["process"]["pid"], stage.pid());
}

fn uuid(stage: &mut Stage) {
    let mut qmp = Qmp::of(stage, &format!("uuid = '{VM}'\n"));
    assert_eq!(qmp.query("query-uuid")["UUID"], VM.to_string());
}

fn memory(stage: &mut Stage) {
    let mut qmp = Qmp::of(stage, "");
    assert_eq!(qmp.query("query-memory-size-summary")["base-memory"], 16 << 20);
}

fn machine(_: &mut Stage) {
    for (text, expected) in [("", "q35"), ("machine = 'q35'\n", "q35"), ("machine = 'pc'\n", "i440fx")] {
        let mut stage = Stage::new();
        let found = Qmp::of(&mut stage, text).property("/machine", "type");
        assert!(found.as_str().unwrap().contains(expected), "{text}: {found}");
    }
}

fn accel(stage: &mut Stage) {
    let mut qmp = Qmp::of(stage, "accel = 'tcg'\n");
    assert_eq!(qmp.query("query-kvm")["enabled"], false);
    for (text, must) in [("accel = 'kvm'\n", true), ("accel = 'auto'\n", false)] {
        let mut stage = Stage::with(|config| config.force_tcg = false);
        stage.until("the probe", |stage| !stage.driver.capabilities().accelerators[0].why_not.contains("being found"));
        let usable = stage.driver.capabilities().accelerators[0].usable;
        if must && !usable {
            assert_eq!(stage.start(text).unwrap_err().kind, DriverErrorKind::Unsupported);
        } else {
            assert_eq!(Qmp::of(&mut stage, text).query("query-kvm")["enabled"], usable, "{text}");
        }
    }
}

fn rng(stage: &mut Stage) {
    let mut qmp = Qmp::of(stage, "rng = true\n");
    assert_eq!(qmp.property("/machine/peripheral/rng0", "type"), "virtio-rng-pci");
    let mut stage = Stage::new();
    assert!(!Qmp::of(&mut stage, "rng = false\n").devices().contains(&"rng0".to_owned()));
}

fn console(stage: &mut Stage) {
    let mut qmp = Qmp::of(stage, "console = true\n");
    assert!(qmp.devices().contains(&"serial0".to_owned()));
    let mut stage = Stage::new();
    let mut qmp = Qmp::of(&mut stage, "console = false\n");
    assert!(!qmp.devices().contains(&"serial0".to_owned()));
}

fn channels(stage: &mut Stage) {
    let mut qmp = Qmp::of(stage, "channels = ['org.qemu.guest_agent.0', 'com.example.0']\n");
    for (port, name) in [("port0", "org.qemu.guest_agent.0"), ("port1", "com.example.0")] {
        assert_eq!(qmp.property(&format!("/machine/peripheral/{port}"), "name"), name);
    }
}

fn cpu_count(stage: &mut Stage) {
    let mut qmp = Qmp::of(stage, "[cpu]\ncount = 3\n");
    assert_eq!(qmp.query("query-cpus-fast").as_array().unwrap().len(), 3);
}

fn cpu_topology(stage: &mut Stage) {
    let mut qmp = Qmp::of(stage, "[cpu]\nsockets = 2\ncores = 3\nthreads = 4\n");
    let cpus = qmp.query("query-cpus-fast");
    let most = |property: &str| {
        let ids = cpus.as_array().unwrap().iter().map(|cpu| cpu["props"][property].as_u64().unwrap());
        ids.max().unwrap() + 1
    };
    assert_eq!((most("socket-id"), most("core-id"), most("thread-id")), (2, 3, 4));
    assert_eq!(cpus.as_array().unwrap().len(), 24);
}

fn cpu_model(stage: &mut Stage) {
    let mut qmp = Qmp::of(stage, "[cpu]\nmodel = 'Westmere'\n");
    let cpus = qmp.query("query-cpus-fast");
    let found = qmp.property(cpus[0]["qom-path"].as_str().unwrap(), "type");
    assert_eq!(found, "Westmere-x86_64-cpu");
}

fn boot(stage: &mut Stage) {
    let dir = stage.dir.path().to_owned();
    fs::write(dir.join("initrd"), "what the initrd holds").unwrap();
    let kernel = guest::kernel(&dir);
    let initrd = dir.join("initrd").display().to_string();
    stage.start(&format!("{kernel}initrd = '{initrd}'\ncmdline = 'quiet a,b=\"c\" d=é'\n")).unwrap();
    stage.until_console("quiet a,b=\"c\" d=é\nwhat the initrd holds\n");
    stage.act(Action::Stop).unwrap();
    stage.console.clear();
    stage.start(&kernel).unwrap();
    stage.until_console("\n");
    assert!(!String::from_utf8_lossy(&stage.console).contains("initrd"));
}

fn disk_path(stage: &mut Stage) {
    stage.start(&guest::disk(stage.dir.path())).unwrap();
    stage.until_console("V\n");
}

fn disk_format(stage: &mut Stage) {
    let dir = stage.dir.path().display().to_string();
    let raw = guest::disk(stage.dir.path());
    // qcow2 as the installed tools write it, not as we imagine it.
    let made =
        Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(format!("{dir}/q")).arg("4M").status();
    assert!(made.unwrap().success());
    let mut qmp = Qmp::of(stage, &format!("{raw}[[disk]]\npath = '{dir}/q'\nformat = 'qcow2'\n"));
    let nodes = qmp.query("query-named-block-nodes");
    let driver = |name: &str| {
        let node = nodes.as_array().unwrap().iter().find(|node| node["node-name"] == name);
        node.unwrap()["drv"].as_str().unwrap().to_owned()
    };
    assert_eq!((driver("disk0").as_str(), driver("disk1").as_str()), ("raw", "qcow2"));
}

fn disk_bus(stage: &mut Stage) {
    let disk = guest::disk(stage.dir.path());
    let mut qmp = Qmp::of(stage, &format!("{disk}bus = 'scsi'\n"));
    assert_eq!(qmp.property("/machine/peripheral/drive0", "type"), "scsi-hd");
    let mut stage = Stage::new();
    let disk = guest::disk(stage.dir.path());
    let mut qmp = Qmp::of(&mut stage, &format!("{disk}bus = 'virtio'\n"));
    assert_eq!(qmp.property("/machine/peripheral/drive0", "type"), "virtio-blk-pci");
    // And the firmware boots either.
    let mut stage = Stage::new();
    let disk = guest::disk(stage.dir.path());
    stage.start(&format!("{disk}bus = 'scsi'\n")).unwrap();
    stage.until_console("V\n");
}

fn disk_readonly(_: &mut Stage) {
    for readonly in [true, false] {
        let mut stage = Stage::new();
        let disk = guest::disk(stage.dir.path());
        let mut qmp = Qmp::of(&mut stage, &format!("{disk}readonly = {readonly}\n"));
        let blocks = qmp.query("query-block");
        let block = blocks.as_array().unwrap().iter().find(|block| block["inserted"]["node-name"] == "disk0");
        assert_eq!(block.unwrap()["inserted"]["ro"], readonly);
    }
}

fn nic_network(stage: &mut Stage) {
    let mut qmp = Qmp::of(stage, "[[nic]]\nnetwork = 'user'\noutbound = false\n");
    assert_eq!(qmp.property("/machine/peripheral/nic0", "type"), "virtio-net-pci");
    assert_eq!(qmp.property("/machine/peripheral/nic0", "mac"), "52:54:00:1d:8a:11");
}

fn nic_outbound(_: &mut Stage) {
    for (outbound, expected) in [("true", "restrict=off"), ("false", "restrict=on")] {
        let mut stage = Stage::new();
        let mut qmp = Qmp::of(&mut stage, &format!("[[nic]]\nnetwork = 'user'\noutbound = {outbound}\n"));
        let told = qmp.human("info network");
        assert!(told.contains(expected), "{outbound}: {told}");
    }
}

/// A port that is free now, below those that the system gives to whoever asks for any: nobody comes by it by chance.
fn free_port() -> u16 {
    let first = 10_000 + u16::try_from(std::process::id() % 20_000).unwrap();
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..).find(is_free).unwrap()
}

fn nic_forward(stage: &mut Stage) {
    let port = free_port();
    let forward = format!("forward = ['{port}:80', '127.0.0.2:{port}:53/udp']\n");
    let mut qmp = Qmp::of(stage, &format!("[[nic]]\nnetwork = 'user'\noutbound = false\n{forward}"));
    let told = qmp.human("info usernet");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = told.lines().map(words).collect();
    for (protocol, address, guest_port) in [("TCP", "127.0.0.1", "80"), ("UDP", "127.0.0.2", "53")] {
        let found = lines.iter().any(|line| {
            line.first().is_some_and(|word| word.starts_with(protocol) && word.contains("HOST_FORWARD"))
                && [address, &port.to_string(), guest_port].iter().all(|wanted| line.iter().any(|word| word == wanted))
        });
        assert!(found, "{protocol}: {told}");
    }
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
}
