//! How the daemon serves, whoever connects and however they behave.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vmwire_protocol::message::{ClientData, DaemonInfoAnswer, ServerData, SubscribeCall, VmDefineCall, code};
use vmwire_protocol::xdr::{List, Text};

use crate::harness::{Client, Daemon, ENOUGH, SOON, command, start};

fn define(name: &str) -> ClientData {
    let definition = Text::new(format!("name = \"{name}\"\nmemory = \"64 MiB\"\n")).unwrap();
    ClientData::VmDefine(VmDefineCall { definition, replace: false })
}

fn info(client: &mut Client) -> DaemonInfoAnswer {
    match client.ask(&ClientData::DaemonInfo) {
        Ok(ServerData::DaemonInfo(info)) => info,
        other => panic!("{other:?}"),
    }
}

/// Many calls as bytes, whose answers are much longer than they are.
fn calls(count: usize) -> Vec<u8> {
    let mut sender = Client::on(UnixStream::pair().unwrap().0);
    (0..count).flat_map(|_| sender.encoded(&ClientData::DaemonInfo).1).collect()
}

/// Sends without ever reading, until nothing more is taken. Answers how much was.
fn flood(socket: &Path, calls: &[u8]) -> (UnixStream, usize) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let mut stalled = Instant::now();
    while stalled.elapsed() < Duration::from_millis(300) && sent < calls.len() {
        match stream.write(&calls[sent..]) {
            Ok(count) => {
                sent += count;
                stalled = Instant::now();
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    (stream, sent)
}

/// The processor time that a process has used.
fn cpu_time(daemon: &Daemon) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|at| fields[*at].parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

#[test]
fn leaving_is_told_to_everybody_also_to_those_who_do_not_listen() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(&dir);
    let mut listens = Client::connect(&daemon.socket);
    let mut waits = Client::connect(&daemon.socket);
    assert!(listens.ask(&ClientData::Ping).is_ok());
    let _deaf = flood(&daemon.socket, &calls(50_000));
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    for client in [&mut listens, &mut waits] {
        let failure = client.last_word().unwrap();
        assert_eq!(failure.code, code::GOING_AWAY);
    }
    drop((listens, waits));
    let (code, log) = daemon.end();
    assert_eq!(code, 0, "{log}");
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
}

#[test]
fn who_ends_its_side_gets_every_answer() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(&dir);
    let mut client = Client::connect(&daemon.socket);
    let define = client.send(&define("a"));
    let info = client.send(&ClientData::DaemonInfo);
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert!(client.answer(define).is_ok());
    assert!(client.answer(info).is_ok());
    assert_eq!(client.last_word(), None);
}

#[test]
fn what_was_sent_before_the_sender_vanished_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(&dir);
    for name in ["a", "b", "c"] {
        Client::connect(&daemon.socket).send(&define(name));
    }
    let mut client = Client::connect(&daemon.socket);
    let end = Instant::now() + ENOUGH;
    loop {
        match client.ask(&ClientData::HostInfo) {
            Ok(ServerData::HostInfo(info)) if info.vms_defined == 3 => break,
            Ok(_) => assert!(Instant::now() < end, "something that was sent was not done"),
            Err(failure) => panic!("{failure:?}"),
        }
    }
}

#[test]
fn who_never_reads_is_no_longer_read_and_the_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(&dir);
    let mut calls = calls(50_000);
    let (mut flood, sent) = flood(&daemon.socket, &calls);
    assert!(sent < calls.len(), "all of it was read");
    let mut other = Client::connect(&daemon.socket);
    let asked = Instant::now();
    assert!(other.ask(&ClientData::Ping).is_ok());
    assert!(asked.elapsed() < SOON);

    // Once it reads, all that was sent is answered: each call once, in the end.
    flood.set_nonblocking(false).unwrap();
    flood.set_read_timeout(Some(ENOUGH)).unwrap();
    flood.set_write_timeout(Some(ENOUGH)).unwrap();
    let rest = calls.split_off(sent);
    let mut writer = flood.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&rest).and_then(|()| writer.shutdown(Shutdown::Write)));
    let mut answers = Vec::new();
    flood.read_to_end(&mut answers).unwrap();
    writing.join().unwrap().unwrap();
    assert_eq!(count_packets(&answers), 50_000);
}

fn count_packets(mut bytes: &[u8]) -> usize {
    let mut packets = 0;
    while let Some((header, rest)) = bytes.split_first_chunk::<8>() {
        let length = u32::from_be_bytes(header[4..].try_into().unwrap());
        bytes = &rest[usize::try_from(length).unwrap()..];
        packets += 1;
    }
    packets
}

#[test]
fn with_no_descriptor_left_it_neither_spins_nor_stops_and_goes_on_when_there_are_some() {
    let dir = tempfile::tempdir().unwrap();
    let mut limited = Command::new("sh");
    let program = command(dir.path());
    limited.arg("-c").arg("ulimit -n 40; exec \"$0\" \"$@\"").arg(program.get_program()).args(program.get_args());
    limited.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let daemon = Daemon::start(limited, dir.path().join("run/vmwired.sock"));
    let mut first = Client::connect(&daemon.socket);
    assert!(first.ask(&ClientData::Ping).is_ok());
    let mut crowd: Vec<Client> = (0..100).map(|_| Client::connect(&daemon.socket)).collect();
    // On a busy machine it may have them all to turn away still; who spins never rests.
    let until = Instant::now() + ENOUGH;
    loop {
        let before = cpu_time(&daemon);
        std::thread::sleep(Duration::from_secs(1));
        assert!(first.ask(&ClientData::Ping).is_ok(), "who was there before is not served any more");
        if cpu_time(&daemon) - before < Duration::from_millis(300) {
            break;
        }
        assert!(Instant::now() < until, "it spins");
    }
    // Those whose turn came after the last descriptor were told.
    let told = crowd.iter_mut().find_map(Client::was_turned_away);
    let told = told.unwrap();
    assert_eq!((told.code, told.retry_after_ms > 0), (code::OVERLOADED, true), "{told:?}");
    drop(crowd);
    let end = Instant::now() + ENOUGH;
    while Client::connect(&daemon.socket).was_turned_away().is_some() {
        assert!(Instant::now() < end, "it does not go on");
    }
    daemon.signal(Signal::TERM);
    let (code, log) = daemon.end();
    assert_eq!(code, 0);
    assert!(log.contains("no descriptor is left"), "{log}");
    assert!(log.lines().count() < 500, "{} lines of log", log.lines().count());
}

#[test]
fn without_connection_and_guest_it_leaves_when_it_was_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path());
    // Long enough for us to come back after having seen that it is there.
    command.args(["--idle-exit", "5"]);
    let daemon = Daemon::start(command, dir.path().join("run/vmwired.sock"));
    let mut client = Client::connect(&daemon.socket);
    std::thread::sleep(Duration::from_secs(6));
    assert!(client.ask(&ClientData::Ping).is_ok(), "it left although somebody was connected");
    let gone = Instant::now();
    drop(client);
    let (code, log) = daemon.end();
    assert_eq!(code, 0);
    assert!(gone.elapsed() >= Duration::from_millis(4900), "it did not wait");
    assert!(log.contains("nobody is connected and no guest runs"), "{log}");
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path());
    // Standard error is a pipe that is read only at the end; each call is some 70 bytes of it.
    command.env("VMWIRE_LOG", "debug");
    let daemon = Daemon::start(command, dir.path().join("run/vmwired.sock"));
    let mut client = Client::connect(&daemon.socket);
    for _ in 0..10_000 {
        client.ask(&ClientData::DaemonInfo).unwrap();
    }
    let lost = info(&mut client).log_lines_lost;
    assert!(lost > 0);
    daemon.signal(Signal::KILL);
    let (_, log) = daemon.end();
    assert!(log.contains("connection "), "{log}");
}

#[test]
fn an_old_daemon_can_be_had_for_tests() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path());
    command.args(["--newest-minor", "0"]);
    let daemon = Daemon::start(command, dir.path().join("run/vmwired.sock"));
    let mut client = Client::connect(&daemon.socket);
    match client.hello(7) {
        Ok(ServerData::Hello(answer)) => assert_eq!((answer.minor, answer.newest_minor), (0, 0)),
        other => panic!("{other:?}"),
    }
}

/// A daemon whose hypervisor is QEMU's driver with a QEMU that does nothing: enough for what is kept.
fn keeping(dir: &Path) -> Daemon {
    let file = dir.join("keeping.toml");
    std::fs::write(&file, "driver = \"qemu\"\n[qemu]\nbinary = \"/bin/false\"\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmwired"));
    command.arg("--config").arg(file).arg("--state-dir").arg(dir.join("state"));
    command.arg("--runtime-dir").arg(dir.join("run")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Daemon::start(command, dir.join("run/vmwired.sock"))
}

#[test]
fn definitions_events_and_operation_numbers_outlive_the_daemon_however_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut operations = Vec::new();
    let mut epoch = None;
    for (life, end) in [Signal::KILL, Signal::TERM, Signal::KILL].into_iter().enumerate() {
        let daemon = keeping(dir.path());
        let mut client = Client::connect(&daemon.socket);
        match client.hello(1) {
            Ok(ServerData::Hello(answer)) => assert_eq!(*epoch.get_or_insert(answer.epoch), answer.epoch),
            other => panic!("{other:?}"),
        }
        match client.ask(&ClientData::HostInfo) {
            Ok(ServerData::HostInfo(info)) => assert_eq!(usize::try_from(info.vms_defined).unwrap(), life),
            other => panic!("{other:?}"),
        }
        match client.ask(&define(&format!("vm{life}"))) {
            Ok(ServerData::VmDefine(answer)) => operations.push(answer.operation),
            other => panic!("{other:?}"),
        }
        daemon.signal(end);
        daemon.end();
    }
    assert!(operations.windows(2).all(|pair| pair[0] < pair[1]), "{operations:?}");

    // Whoever followed the events from the first one on has missed none.
    let daemon = keeping(dir.path());
    let mut client = Client::connect(&daemon.socket);
    let after = Some(vmwire_protocol::message::Cursor { epoch: epoch.unwrap(), sequence: 0 });
    client.ask(&ClientData::Subscribe(SubscribeCall { after, vm: Text::default(), kinds: List::default() })).unwrap();
    let newest = info(&mut client).events.sequence;
    while client.events.last().is_none_or(|event| event.sequence < newest) {
        assert!(client.read());
    }
    let sequences: Vec<u64> = client.events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=newest).collect::<Vec<_>>());
}

#[test]
fn without_its_runtime_directory_it_begins_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let epoch = || {
        let daemon = keeping(dir.path());
        let epoch = info(&mut Client::connect(&daemon.socket)).events.epoch;
        // With its helper: one that was killed may leave it writing there for a moment.
        daemon.signal(Signal::TERM);
        daemon.end();
        epoch
    };
    let first = epoch();
    assert_eq!(epoch(), first);
    std::fs::remove_dir_all(dir.path().join("run")).unwrap();
    assert_ne!(epoch(), first);
}
