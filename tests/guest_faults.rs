//! What goes wrong with QEMU, and how it is told.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Daemon, Guest, Setup, Shell, executable, free_port, has_qemu};

/// A daemon whose QEMU is a script.
fn with_script(script: &str) -> Daemon {
    let setup = Setup::qemu();
    let path = setup.place.join("qemu");
    executable(&path, format!("#!/bin/bash\n{script}\n"));
    setup.config(&format!("[qemu]\nbinary = \"{}\"\n", path.display())).start()
}

const TINY: &str = "name = \"tiny\"\nmemory = \"16 MiB\"\naccel = \"tcg\"\n";

/// The failure of a start; the machine is stopped then, and says why.
fn start_fails(daemon: &Daemon, vm: &str) -> Value {
    let ran = daemon.vmwire(&["-o", "json", "vm", "start", vm]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "[]\n"), "{ran:?}");
    let error: Value = serde_json::from_str(&ran.err).unwrap();
    let shown = daemon.json(&["vm", "show", vm]);
    assert_eq!((&shown["state"], &shown["reason"], &shown["pid"]), (&json!("stopped"), &json!("failed"), &Value::Null));
    assert_eq!(shown["message"], error["error"]["message"]);
    assert_eq!(daemon.place().records(), []);
    daemon.ok(&["ping"]);
    error["error"].clone()
}

fn causes(error: &Value) -> String {
    error["causes"].as_array().unwrap().iter().map(|cause| format!("{}\n", cause.as_str().unwrap())).collect()
}

#[test]
fn a_qemu_that_dies_at_once_is_told_with_what_it_said() {
    let daemon = with_script("printf 'first\\nsecond \\033[2J\\n' >&2; exit 3");
    daemon.define(TINY);
    let error = start_fails(&daemon, "tiny");
    assert_eq!(error["code"], "DRIVER");
    for part in ["status 3", "first", "second"] {
        assert!(causes(&error).contains(part), "{error}");
    }
    let told = daemon.vmwire(&["vm", "start", "tiny"]).err;
    assert!(told.contains("second \\u{1b}[2J") && !told.contains('\u{1b}'), "{told}");
    assert!(!daemon.log().contains('\u{1b}'), "{}", daemon.log());
    let event = daemon.ok(&["event", "follow", "--since", "0", "--kind", "vm-state", "--count", "2"]);
    assert!(event.contains("starting -> stopped (failed)"), "{event}");
}

#[test]
fn a_qemu_that_is_not_there_is_told_with_the_way_out() {
    let daemon = Setup::qemu().config("[qemu]\nbinary = \"/nonexistent/qemu\"\n").start();
    daemon.define(TINY);
    let error = start_fails(&daemon, "tiny");
    assert!(error["message"].as_str().unwrap().contains("/nonexistent/qemu"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("install QEMU"), "{error}");
}

/// Says which part this program plays for a story that starts it as QEMU.
const PART: &str = "VMWIRE_STORY_PART";

/// No story, but where another one starts this program as QEMU, with the monitor's listener as standard input.
#[test]
fn plays_a_monitor_that_says_nonsense() {
    if std::env::var_os(PART).is_none() {
        return;
    }
    let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    listener.set_nonblocking(false).unwrap();
    // Whatever becomes of the story, this ends.
    for _ in 0..100 {
        let (mut peer, _) = listener.accept().unwrap();
        let _gone = peer.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _gone = peer.read(&mut [0]);
    }
}

#[test]
fn monitors_that_never_greet_or_say_nonsense_fail_the_start_and_disturb_nobody() {
    // It has the monitor's listener as a descriptor, and does not care.
    let silent = with_script("exec sleep 600");
    let nonsense = with_script(&format!(
        "for argument; do case $argument in socket,id=monitor,fd=*) fd=${{argument#*fd=}}; fd=${{fd%%,*}};; esac; done\n\
         test \"$fd\" || exit 1\n\
         eval \"exec env {PART}=nonsense '{}' --exact guest_faults::plays_a_monitor_that_says_nonsense <&$fd\"",
        std::env::current_exe().unwrap().display()
    ));
    let begun = Instant::now();
    for daemon in [&silent, &nonsense] {
        daemon.define(TINY);
        daemon.define(&TINY.replace("tiny", "other"));
    }
    let waits = silent.begin(&["-o", "json", "vm", "start", "tiny"]);
    let error = start_fails(&nonsense, "tiny");
    assert!(causes(&error).contains("the monitor"), "{error}");
    // Others are served meanwhile, and this very machine can be stopped.
    while begun.elapsed() < Duration::from_secs(2) {
        silent.ok(&["vm", "list"]);
    }
    assert_eq!(silent.state("tiny"), "starting");
    let ran = silent.begin(&["vm", "start", "other"]);
    crate::harness::eventually("it starts", || (silent.state("other") == "starting").then_some(()));
    silent.ok(&["vm", "stop", "other"]);
    assert_eq!(ran.end().code, 1, "it was overtaken");

    let ran = waits.end();
    assert_eq!(ran.code, 1, "{ran:?}");
    let waited = begun.elapsed().as_secs();
    assert!((29..90).contains(&waited), "after {waited} s");
    assert!(ran.err.contains("DRIVER") && ran.err.contains("greet"), "{ran:?}");
    assert_eq!(silent.state("tiny"), "stopped");
    assert_eq!(silent.place().records(), []);
}

#[test]
fn a_disk_that_cannot_be_used_is_told_with_its_path_and_why() {
    if !has_qemu("a_disk_that_cannot_be_used_is_told_with_its_path_and_why") {
        return;
    }
    let daemon = Setup::qemu().start();
    let raw = daemon.place().write("a.raw", vec![0; 1 << 20]);
    let dir = daemon.place().path().display().to_string();
    for (name, path, format, why) in [
        ("missing", format!("{dir}/none.raw"), "raw", "there is no such file"),
        ("deep", format!("{dir}/a/b/c.raw"), "raw", "/a does not exist"),
        ("other", raw, "qcow2", "no qcow2 image"),
        ("device", "/dev/null".to_owned(), "raw", "neither a file nor a block device"),
    ] {
        let disk = format!("[[disk]]\npath = \"{path}\"\nformat = \"{format}\"\n");
        daemon.define(&format!("{}{disk}", TINY.replace("tiny", name)));
        let error = start_fails(&daemon, name);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(&path) && causes(&error).contains(why), "{error}");
    }
}

#[test]
fn what_qemu_itself_refuses_is_told_in_its_own_words() {
    if !has_qemu("what_qemu_itself_refuses_is_told_in_its_own_words") {
        return;
    }
    let daemon = Setup::qemu().start();
    // A port that is taken, and a processor that only KVM can have.
    let port = free_port();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    daemon.define(&format!("{TINY}[[nic]]\nnetwork = \"user\"\noutbound = false\nforward = [\"{port}:80\"]\n"));
    let error = start_fails(&daemon, "tiny");
    assert!(causes(&error).contains(&port.to_string()), "{error}");
    daemon.define(&format!("{}[cpu]\nmodel = \"host\"\n", TINY.replace("tiny", "host")));
    let ran = daemon.vmwire(&["-o", "json", "vm", "start", "host"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("KVM"), "{ran:?}");
    drop(taken);
    daemon.ok(&["vm", "start", "tiny"]);
    daemon.ok(&["vm", "stop", "tiny"]);
}

#[test]
fn a_guest_that_is_deaf_is_stopped_and_one_that_is_killed_is_noticed() {
    let Some(guest) = Guest::find("a_guest_that_is_deaf_is_stopped_and_one_that_is_killed_is_noticed") else { return };
    let daemon = Setup::qemu().start();
    guest.define(&daemon, "deaf", "guest.deaf");
    daemon.ok(&["vm", "start", "deaf"]);
    let (shell, _) = Shell::booted(&daemon, "deaf");
    let ran = daemon.vmwire(&["vm", "shutdown", "deaf", "--grace", "500ms"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert_eq!(daemon.state("deaf"), "running");
    daemon.ok(&["vm", "shutdown", "deaf", "--grace", "500ms", "--then", "stop"]);
    assert_eq!(shell.0.wait().code, 0);

    daemon.define(TINY);
    daemon.ok(&["vm", "start", "tiny"]);
    let waiting = daemon.begin(&["-o", "json", "vm", "wait", "tiny", "--for", "state=stopped"]);
    let pid = daemon.json(&["vm", "show", "tiny"])["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(waiting.end().json()["state"], "stopped");
    let shown = daemon.json(&["vm", "show", "tiny"]);
    assert_eq!((&shown["reason"], &shown["pid"]), (&json!("hypervisor"), &Value::Null));
    assert!(shown["message"].as_str().unwrap().contains("signal 9"), "{shown}");
    daemon.ok(&["vm", "start", "tiny"]);
    daemon.ok(&["vm", "stop", "tiny"]);
}
