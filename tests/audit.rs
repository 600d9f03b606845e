//! The audit: what stands in it after a session, what becomes of it where it cannot be written, and what never stands in it.

use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};
use vmwire_protocol::message::{ClientData, EnrollCall, HelloCall};
use vmwire_protocol::xdr::{Fixed, List, Opaque, Secret, Text};

use crate::harness::{Daemon, Setup, eventually};

const DEFINITION: &str = "name = \"web\"\nmemory = \"64 MiB\"\n";

fn path(daemon: &Daemon) -> PathBuf {
    daemon.place().join("state/audit.jsonl")
}

fn read(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line: {text:?}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until there is such a line.
fn line(daemon: &Daemon, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || read(&path(daemon)).into_iter().find(|line| is_it(line)))
}

#[test]
fn a_session_stands_in_the_audit_from_the_start_of_the_daemon_to_its_end() {
    let daemon = Setup::test().start();
    daemon.define(DEFINITION);
    daemon.ok(&["vm", "start", "web"]);
    daemon.ok(&["vm", "show", "web"]);
    assert_eq!(daemon.vmwire(&["vm", "show", "nobody"]).code, 5);
    let path = path(&daemon);
    let setup = daemon.stopped();
    let lines = read(&path);
    let told: Vec<_> = lines
        .iter()
        .map(|line| [&line["event"], &line["procedure"], &line["name"], &line["verdict"]].map(Value::clone))
        .filter(|[event, ..]| event != "connected" && event != "gone")
        .map(|told| Value::from(told.to_vec()))
        .collect();
    assert_eq!(
        told,
        [
            json!(["started", null, null, null]),
            json!(["call", "vm-define", "web", "ok"]),
            json!(["call", "vm-start", "web", "ok"]),
            json!(["call", "vm-show", "nobody", "NOT_FOUND"]),
            json!(["left", null, null, null]),
        ]
    );
    let came = lines.iter().filter(|line| line["event"] == "connected").count();
    let gone = lines.iter().filter(|line| line["event"] == "gone").count();
    assert!(came >= 4 && came == gone, "{came} came and {gone} went");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let mut daemon = setup.start();
    line(&daemon, "the next daemon goes on behind it", |line| {
        line["event"] == "started" && line["pid"] == daemon.pid()
    });
    assert_eq!(read(&path)[..lines.len()], lines);
    daemon.signal(Signal::TERM);
    daemon.ended();
}

#[test]
fn where_all_is_told_reads_are_told_too_and_where_nothing_is_there_is_no_file() {
    let daemon = Setup::test().config("[audit]\nlevel = \"all\"\n").start();
    daemon.ok(&["vm", "list"]);
    let read = line(&daemon, "the list is told of", |line| line["procedure"] == "vm-list");
    assert_eq!((&read["verdict"], &read["role"]), (&json!("ok"), &json!("admin")));

    let daemon = Setup::test().config("[audit]\nlevel = \"off\"\n").start();
    daemon.define(DEFINITION);
    let path = path(&daemon);
    let _place = daemon.stopped();
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_long_becomes_an_old_one_and_no_line_is_torn_or_lost() {
    let daemon = Setup::test().config("[audit]\nlevel = \"all\"\nrotate_bytes = 65536\nkeep = 100\n").start();
    let mut raw = daemon.raw();
    let path = path(&daemon);
    let old = |number: u32| path.with_extension(format!("jsonl.{number}"));
    let mut asked = 0;
    while !old(2).exists() {
        assert!(asked < 20_000, "the file does not become an old one");
        for _ in 0..100 {
            let serial = raw.call(&ClientData::DaemonInfo);
            raw.answer(serial);
            asked += 1;
        }
    }
    drop(raw);
    let _place = daemon.stopped();
    let files: Vec<PathBuf> = (1..=100).rev().map(old).filter(|old| old.exists()).chain([path.clone()]).collect();
    assert!(files.len() >= 3, "{files:?}");
    let told: Vec<Value> = files.iter().flat_map(read).collect();
    assert_eq!(told.iter().filter(|line| line["procedure"] == "daemon-info").count(), asked);
    assert!(!told.iter().any(|line| line["event"] == "lost"));
    assert!(told.is_sorted_by_key(|line| line["time"].as_str().unwrap().to_owned()));
    for path in files {
        assert!(std::fs::metadata(&path).unwrap().len() <= 65536);
    }
}

#[test]
fn what_could_not_be_written_is_told_in_the_log_once_and_in_the_audit_when_it_can_be_again() {
    let setup = Setup::test();
    let path = setup.place.join("state/audit.jsonl");
    std::fs::create_dir_all(&path).unwrap();
    let modes = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(path.parent().unwrap(), modes).unwrap();
    let daemon = setup.start();
    daemon.define(DEFINITION);
    for _ in 0..3 {
        daemon.ok(&["vm", "start", "web"]);
        daemon.ok(&["vm", "stop", "web"]);
    }
    eventually("the log tells of it", || daemon.log().contains("lines of the audit are lost: ").then_some(()));
    assert_eq!(daemon.log().matches("lines of the audit are lost").count(), 1, "once");
    std::fs::remove_dir(&path).unwrap();
    daemon.ok(&["vm", "start", "web"]);
    let lost = line(&daemon, "the loss is told", |line| line["event"] == "lost");
    assert!(lost["lost"].as_u64().unwrap() >= 8, "{lost}");
    assert_eq!(read(&path)[0], lost, "it stands before what comes after it");
    eventually("the log tells that it is over", || daemon.log().contains("the audit is written again").then_some(()));
}

#[test]
fn a_pipe_or_a_link_in_its_place_and_a_deleted_file_keep_nobody_waiting() {
    let daemon = Setup::test().start();
    let path = path(&daemon);
    daemon.define(DEFINITION);
    eventually("there is a file", || path.exists().then_some(()));
    std::fs::remove_file(&path).unwrap();
    daemon.ok(&["vm", "start", "web"]);
    line(&daemon, "it is begun anew", |line| line["procedure"] == "vm-start");

    std::fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    daemon.ok(&["vm", "stop", "web"]);
    eventually("a pipe is no file", || daemon.log().contains("not a regular file").then_some(()));
    std::fs::remove_file(&path).unwrap();

    let elsewhere = daemon.place().write("elsewhere", "");
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    daemon.ok(&["vm", "start", "web"]);
    daemon.ok(&["vm", "show", "web"]);
    std::fs::remove_file(&path).unwrap();
    daemon.ok(&["vm", "stop", "web"]);
    line(&daemon, "the loss is told", |line| line["event"] == "lost");
    assert_eq!(std::fs::read_to_string(elsewhere).unwrap(), "");
}

#[test]
fn a_secret_of_the_wire_stands_in_no_log_no_audit_and_no_command_line() {
    let daemon = Setup::test().config("log = \"trace\"\n[audit]\nlevel = \"all\"\n").start();
    let mut raw = daemon.raw();
    let canary = *b"CANARY-OF-TOKENS";
    let name = Text::clipped("alice");
    let hello = HelloCall { major: 1, minor: 2, capabilities: List::default(), name: Text::default() };
    let serial = raw.call(&ClientData::Hello(hello));
    raw.answer(serial);
    let enroll = EnrollCall { secret: Secret::new(Fixed::from(canary)), name, request: Opaque::default() };
    let serial = raw.call(&ClientData::Enroll(enroll));
    raw.failure(serial);
    let told = line(&daemon, "it is told of", |line| line["procedure"] == "enroll");
    assert_eq!((&told["object"], &told["name"]), (&json!("client"), &json!("alice")));

    let hex: String = canary.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{:?}", canary.as_slice()).trim_matches(['[', ']']).to_owned();
    let written = |text: &str| {
        let text = text.to_lowercase();
        ["canary-of-tokens", &hex, &list].iter().any(|written| text.contains(written))
    };
    assert!(written("a CANARY-OF-TOKENS") && written(&list) && written(&hex));
    assert!(!written(&std::fs::read_to_string(path(&daemon)).unwrap()));
    assert!(daemon.log().contains("call"), "the log tells of calls: {}", daemon.log());
    assert!(!written(&daemon.log()));
    let mut family = vec![daemon.pid()];
    while let Some(pid) = family.pop() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(!written(&String::from_utf8_lossy(&line)));
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        family.extend(children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
    }
}
