//! How a daemon starts, refuses to, is started by those who need it, and leaves.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use vmwire_protocol::message::{ClientData, SubscribeCall, code};
use vmwire_protocol::xdr::{List, Text};

use crate::harness::{Place, Ran, Running, SOON, Setup, VMWIRED, eventually, executable, has_qemu, vmwire};

/// A daemon that a client started in this place; it is ended when the story is.
struct Started<'a>(&'a Place);

impl Started<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = vmwire();
        command
            .env("XDG_RUNTIME_DIR", self.0.join("runtime"))
            .env("XDG_STATE_HOME", self.0.join("state"))
            .args(["-c", "test:///default"])
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Running::start(self.command(arguments)).end()
    }

    fn pid(&self) -> i32 {
        let info: Value = self.run(&["-o", "json", "daemon", "info"]).json();
        i32::try_from(info["pid"].as_u64().unwrap()).unwrap()
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        if UnixStream::connect(self.0.join("runtime/vmwire/test.sock")).is_ok() {
            let pid = self.pid();
            kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
            eventually("it leaves", || {
                UnixStream::connect(self.0.join("runtime/vmwire/test.sock")).is_err().then_some(())
            });
        }
    }
}

#[test]
fn a_client_starts_the_daemon_it_needs_and_the_next_one_finds_it() {
    let place = Place::new();
    let started = Started(&place);
    started.run(&["ping"]).ok();
    let pid = started.pid();
    assert_eq!(started.pid(), pid, "the same daemon answers");
    let file = place.write("web.toml", "name = \"web\"\nmemory = \"64 MiB\"\n");
    started.run(&["vm", "define", &file]).ok();
    assert_eq!(started.run(&["-o", "json", "vm", "list"]).json()[0]["name"], "web");
    let log = std::fs::read_to_string(place.join("state/vmwire/test/vmwired.log")).unwrap();
    assert!(log.contains("listening at"), "{log}");
    // It belongs to nobody's terminal, so it outlives whoever started it.
    assert_ne!(rustix::process::getpgid(Pid::from_raw(pid)).unwrap(), rustix::process::getpgrp());
}

#[test]
fn of_two_clients_that_start_a_daemon_at_once_both_are_served_by_one() {
    let place = Place::new();
    let started = Started(&place);
    // Each client starts one, and none of these goes on before all are there.
    let barrier = place.join("vmwired");
    executable(
        &barrier,
        format!(
            "#!/bin/sh\n: > {0}/started.$$\nuntil [ $(ls {0}/started.* | wc -l) = 4 ]; do sleep 0.01; done\nexec {1} \"$@\"\n",
            place.path().display(),
            VMWIRED
        ),
    );
    let all: Vec<Running> = (0..4)
        .map(|_| {
            let mut command = started.command(&["-o", "json", "daemon", "info"]);
            command.env("VMWIRE_DAEMON", &barrier);
            Running::start(command)
        })
        .collect();
    let mut pids: Vec<u64> = all.into_iter().map(|one| one.end().json()["pid"].as_u64().unwrap()).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 1, "{pids:?}");
    let log = || std::fs::read_to_string(place.join("state/vmwire/test/vmwired.log")).unwrap();
    eventually("the others have seen that there is one", || {
        (log().matches("another vmwired uses").count() == 3).then_some(())
    });
    assert_eq!(log().matches("listening at").count(), 1, "{}", log());
}

#[test]
fn a_daemon_that_cannot_start_is_told_with_its_log() {
    let place = Place::new();
    let started = Started(&place);
    // Others could meddle with it, so the daemon will not have it.
    std::fs::create_dir_all(place.join("state/vmwire/test")).unwrap();
    let open = PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(place.join("state/vmwire/test"), open).unwrap();
    let told = started.run(&["ping"]).fails(3);
    assert!(told.contains("is open to others"), "{told}");

    let mut command = started.command(&["ping"]);
    command.env("VMWIRE_DAEMON", place.join("nothing"));
    let told = Running::start(command).end().fails(3);
    assert!(told.contains("nothing cannot be started") && told.contains("VMWIRE_DAEMON"), "{told}");
}

#[test]
fn a_daemon_leaves_when_nobody_needs_it_and_not_before() {
    // Long enough for us to come back after having seen that it is there, on a machine that is busy with something else.
    let setup = Setup::test().argument("--idle-exit").argument("5");
    let mut daemon = setup.start();
    // From here on somebody is connected, however long what follows takes.
    let connection = daemon.raw();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    daemon.ok(&["vm", "start", "web"]);
    let begun = Instant::now();
    daemon.ok(&["vm", "stop", "web"]);
    // With a connection it stays for longer than it would without one.
    while begun.elapsed() < Duration::from_secs(6) {
        daemon.ok(&["ping"]);
    }
    drop(connection);
    assert_eq!(daemon.ended(), Some(0));
    assert!(daemon.log().contains("nobody is connected"), "{}", daemon.log());
    assert!(!daemon.socket().exists());
}

#[test]
fn a_daemon_that_nobody_ever_comes_to_leaves_too() {
    let setup = Setup::test().argument("--idle-exit").argument("1");
    let ran = Running::start(setup.command()).wait();
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused_and_the_first_serves_on() {
    let setup = Setup::test();
    let daemon = setup.start();
    let ran = Running::start(setup.command()).wait();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("another vmwired uses") && ran.err.contains(&daemon.pid().to_string()), "{ran:?}");
    daemon.ok(&["ping"]);
}

#[test]
fn a_daemon_that_leaves_tells_everybody_and_leaves_nothing_behind() {
    let mut daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nstart_ms = 60000\n");
    let mut idle = daemon.raw();
    idle.ping();
    let mut subscriber = daemon.raw();
    let subscribe = SubscribeCall { after: None, vm: Text::default(), kinds: List::default() };
    let serial = subscriber.call(&ClientData::Subscribe(subscribe));
    subscriber.answer(serial);
    // One that is in the middle of a call, one in the middle of a packet, one that does not read.
    let waiting = daemon.begin(&["-o", "json", "vm", "start", "web"]);
    let mut half = daemon.raw();
    half.send(b"\x89VMW\0\0");
    eventually("it waits", || (daemon.state("web") == "starting").then_some(()));

    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    for connection in [&mut idle, &mut subscriber, &mut half] {
        let failure = connection.closing();
        assert_eq!(failure.code, code::GOING_AWAY, "{failure:?}");
    }
    let ran = waiting.end();
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(daemon.ended(), Some(0));
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    assert!(!daemon.socket().exists());
}

#[test]
fn a_daemon_leaves_in_time_although_somebody_does_not_let_go() {
    let mut daemon = Setup::test().start();
    let stubborn: Vec<_> = (0..50).map(|_| daemon.raw()).collect();
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(), Some(0));
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    drop(stubborn);
}

#[test]
fn a_configuration_is_read_checked_and_told_of_with_its_place() {
    let setup = Setup::test().config("# a comment\nlog = \"debug\"\n");
    let check = |setup: &Setup| {
        let mut command = setup.command();
        command.arg("--check-config");
        Running::start(command).wait()
    };
    assert_eq!(check(&setup).ok(), "OK\n");
    assert!(!setup.place.join("state").exists(), "a check makes nothing");
    let bad = Setup::test().config("\nlgo = \"debug\"\n");
    let ran = check(&bad);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("line 2, column 1") && ran.err.contains("did you mean log?"), "{ran:?}");

    let daemon = setup.start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    daemon.ok(&["vm", "start", "web"]);
    for line in [" DEBUG ", "INFO  vm web: operation 2: vm-start of uid 0", "INFO  vm web: running"] {
        daemon.logs(line);
    }
}

/// What a check says of a configuration whose lines come behind `before`, in the place of `setup`.
fn checked(setup: &Setup, lines: &str) -> Ran {
    let mut command = setup.clone().config(lines).command();
    command.arg("--check-config");
    Running::start(command).wait()
}

#[test]
fn a_check_refuses_the_keys_and_certificates_that_a_start_would_refuse_where_they_are_named() {
    let setup = Setup::test();
    for dir in ["pki", "other"] {
        let mut command = vmwire();
        command.current_dir(setup.place.path()).args(["pki", "init", "--server", "127.0.0.1", "--dir", dir]);
        Running::start(command).end();
    }
    let path = |name: &str| setup.place.join(name).display().to_string();
    let listen = format!("listen = [\"unix:{}\", \"tls:127.0.0.1:0\"]\n[tls]\n", setup.socket().display());
    let files = |certificate: &str, key: &str, ca: &str, more: &str| {
        let [certificate, key, ca] = [certificate, key, ca].map(path);
        format!("{listen}certificate = \"{certificate}\"\nkey = \"{key}\"\nclient_ca = \"{ca}\"\n{more}")
    };
    let right = files("pki/server.crt", "pki/server.key", "pki/ca.crt", "");
    assert_eq!(checked(&setup, &right).ok(), "OK\n");
    setup.place.write("text", "hello");
    setup.place.write("open.key", std::fs::read_to_string(path("pki/server.key")).unwrap());
    std::fs::set_permissions(path("open.key"), PermissionsExt::from_mode(0o644)).unwrap();
    let crl = format!("crl = \"{}\"\n", path("missing.pem"));
    let ca_key = format!("# kept elsewhere\n  ca_key = \"{}\"\n", path("open.key"));
    let rows = [
        (files("missing.crt", "pki/server.key", "pki/ca.crt", ""), "line 3, column 15", "missing.crt: No such file"),
        (files("text", "pki/server.key", "pki/ca.crt", ""), "line 3, column 15", "holds no certificate in PEM form"),
        (files("pki/server.crt", "open.key", "pki/ca.crt", ""), "line 4, column 7", "open.key: "),
        (files("pki/server.crt", "other/server.key", "pki/ca.crt", ""), "line 4, column 7", "no TLS: "),
        (files("pki/server.crt", "pki/server.key", "text", ""), "line 5, column 13", "holds no CA certificate"),
        (
            files("pki/server.crt", "pki/server.key", "pki/ca.crt", &crl),
            "line 6, column 7",
            "missing.pem: No such file",
        ),
        (files("pki/server.crt", "pki/server.key", "pki/ca.crt", &ca_key), "line 7, column 12", "open.key: "),
    ];
    for (lines, place, words) in rows {
        let told = checked(&setup, &lines).fails(2);
        assert!(told.contains(&format!("vmwired.toml: {place}: ")) && told.contains(words), "{lines}\n{told}");
        // A start refuses the same, in the same words.
        let refused = Running::start(setup.clone().config(&lines).command()).wait();
        let reason = told.trim_end().split(": ").skip(3).collect::<Vec<_>>().join(": ");
        assert!(refused.code == 1 && refused.err.contains(&reason), "{reason}\n{refused:?}");
    }
    // What is not named is sought where it is by default.
    let mut command = setup.clone().config(&listen).command();
    command.arg("--check-config").env("HOME", "/nonexistent").env("XDG_CONFIG_HOME", "/nonexistent");
    let told = Running::start(command).wait();
    if told.code != 0 {
        assert!(told.err.contains("; tls.certificate in the configuration says another"), "{told:?}");
    }
}

#[test]
fn a_check_refuses_directories_that_a_start_would_refuse_and_makes_none() {
    let setup = Setup::test();
    let place = setup.place.path().to_owned();
    std::fs::create_dir(place.join("open")).unwrap();
    std::fs::set_permissions(place.join("open"), PermissionsExt::from_mode(0o777)).unwrap();
    setup.place.write("file", "");
    let check = |lines: &str| {
        let config = setup.place.write("c.toml", lines);
        let mut command = Command::new(VMWIRED);
        command.args(["--config", &config, "--check-config"]).env("HOME", place.join("home"));
        Running::start(command).wait()
    };
    let at = |name: &str| place.join(name).display().to_string();
    let good = format!("state_dir = \"{}\"\nruntime_dir = \"{}\"\n", at("a/b/state"), at("a/run"));
    assert_eq!(check(&good).ok(), "OK\n");
    assert!(!place.join("a").exists());
    for (lines, where_, words) in [
        (good.replace("a/b/state", "open"), "line 1, column 13", "is open to others (mode 777)"),
        (good.replace("a/b/state", "file/state"), "line 1, column 13", "Not a directory"),
        (good.replace("a/run", "open"), "line 2, column 15", "is open to others (mode 777)"),
        (
            good.clone() + &format!("listen = [\"unix:{}\"]", at("file")),
            "line 3, column 11",
            "something that is no socket",
        ),
        (
            good.clone() + &format!("[[listen]]\npath = \"{}\"\n[[listen]]\npath = \"{}\"\n", at("s"), at("file/s")),
            "line 6, column 8",
            "not a directory",
        ),
    ] {
        let told = check(&lines).fails(2);
        assert!(told.contains(&format!("c.toml: {where_}: ")) && told.contains(words), "{lines}\n{told}");
    }
    let mut command = setup.command();
    command.args(["--check-config", "--state-dir"]).arg(place.join("open"));
    let ran = Running::start(command).wait();
    assert_ne!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_daemon_can_listen_at_several_places() {
    let setup = Setup::test();
    let other = setup.place.join("other.sock");
    let setup = setup.clone().config(&format!(
        "listen = [\"unix:{}\", \"unix:{}\"]\n",
        setup.socket().display(),
        other.display()
    ));
    let mut daemon = setup.start();
    for socket in [daemon.socket(), other.clone()] {
        let mut raw = crate::harness::Raw::new(crate::harness::Socket::unix(&socket));
        raw.ping();
    }
    assert_eq!(daemon.json(&["daemon", "info"])["sockets"].as_array().unwrap().len(), 2);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(), Some(0));
    assert!(!other.exists());
}

#[test]
fn who_asks_at_once_what_the_host_can_do_is_answered_when_that_is_known() {
    if !has_qemu("who_asks_at_once_what_the_host_can_do_is_answered_when_that_is_known") {
        return;
    }
    let daemon = Setup::qemu().start();
    let answer = daemon.json(&["host", "capabilities"]);
    let accelerators = answer["accelerators"].as_array().unwrap();
    let tcg = accelerators.iter().find(|accelerator| accelerator["name"] == "tcg").unwrap();
    assert_eq!(tcg["usable"], Value::from(true), "{answer}");
    assert!(answer["hypervisor"].as_str().unwrap().starts_with("QEMU "), "{answer}");
}
