//! Each exit code of the command line, for people and for programs.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use serde_json::json;

use crate::harness::{Running, Setup, executable, skip, vmwire};

#[test]
fn done_is_0_and_help_needs_no_daemon() {
    for arguments in [&["--help"][..], &["--version"], &["vm", "start", "--help"], &["version", "--client"]] {
        let mut command = vmwire();
        command.env("VMWIRE_URI", "qemu+unix:///system?socket=/nonexistent").args(arguments);
        assert!(!Running::start(command).end().ok().is_empty());
    }
}

#[test]
fn what_was_tried_and_failed_is_1() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nstart_fails = \"the disk is on fire\"\n");
    let told = daemon.vmwire(&["--no-header", "vm", "start", "web"]).fails(1);
    assert!(told.starts_with("vmwire: vm web: ") && told.contains("the disk is on fire"), "{told}");
    let ran = daemon.vmwire(&["-o", "json", "vm", "start", "web"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, "[]\n"), "of those that were started there is none");
    assert!(ran.err.contains("\"code\":\"DRIVER\""), "{ran:?}");
    assert_eq!(daemon.json(&["vm", "show", "web"])["message"], "the disk is on fire");
}

#[test]
fn a_command_line_that_is_not_understood_is_2_and_nothing_is_tried() {
    for arguments in [
        &["vm", "strat", "web"][..],
        &["vm", "start"],
        &["--no-such-option"],
        &["-c", "http://example/", "ping"],
        &["vm", "wait", "web", "--for", "state=up"],
        &["--timeout", "0s", "ping"],
        &["vm", "show", ""],
    ] {
        let mut command = vmwire();
        let told = Running::start({
            command.env("VMWIRE_URI", "qemu+unix:///system?socket=/nonexistent").args(arguments);
            command
        })
        .end()
        .fails(2);
        assert!(told.starts_with("vmwire: "), "{told}");
    }
    let mut command = vmwire();
    command.args(["-o", "json", "vm", "strat"]);
    assert_eq!(Running::start(command).end().error(2)["code"], "USAGE");
}

#[test]
fn no_daemon_is_3_with_the_way_out() {
    let setup = Setup::test();
    let uri = format!("qemu+unix:///system?socket={}", setup.socket().display());
    let mut command = vmwire();
    command.args(["-c", &uri, "ping"]);
    let told = Running::start(command).end().fails(3);
    assert!(told.contains("cannot connect to ") && told.contains("is the daemon running there?"), "{told}");

    // A socket whose daemon was killed.
    let daemon = setup.start();
    daemon.killed();
    let mut command = vmwire();
    command.args(["-c", &uri, "-o", "json", "ping"]);
    let error = Running::start(command).end().error(3);
    assert_eq!(error["code"], "NO_CONNECTION");
    assert!(error["hint"].as_str().unwrap().contains("no daemon listens"), "{error}");
}

#[test]
fn another_user_is_denied_with_4() {
    if !rustix::process::geteuid().is_root() {
        return skip("another_user_is_denied_with_4", "only root can become another user");
    }
    let daemon = Setup::test().start();
    // Only what keeps others out before the daemon could say anything is opened here.
    let open = |path: &std::path::Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    open(daemon.place().path(), 0o711);
    open(&daemon.place().runtime_dir(), 0o711);
    open(&daemon.socket(), 0o666);
    // The program itself may lie where that user cannot go.
    let program = daemon.place().join("vmwire");
    executable(&program, std::fs::read(vmwire().get_program()).unwrap());
    let mut command = std::process::Command::new(program);
    command.env_clear().uid(65534).gid(65534).current_dir("/").args(["-c", &daemon.uri(), "-o", "json", "vm", "list"]);
    let error = Running::start(command).end().error(4);
    assert_eq!(error["code"], "DENIED");
    assert!(error["message"].as_str().unwrap().contains("65534"), "{error}");
    daemon.logs("65534");
    daemon.ok(&["ping"]);
}

#[test]
fn what_does_not_exist_is_5() {
    let daemon = Setup::test().start();
    for arguments in [
        &["vm", "show", "none"][..],
        &["vm", "definition", "none"],
        &["vm", "console", "none"],
        &["vm", "wait", "none", "--for", "state=running"],
        &["op", "show", "4711"],
        &["connection", "kick", "4711"],
    ] {
        let mut json = vec!["-o", "json"];
        json.extend(arguments);
        let json = if arguments.contains(&"console") { arguments } else { &json };
        let ran = daemon.vmwire(json);
        assert_eq!(ran.code, 5, "{ran:?}");
        assert!(json == arguments || ran.err.contains("\"code\":\"NOT_FOUND\""), "{ran:?}");
    }
    assert_eq!(daemon.vmwire(&["vm", "start", "none", "none-2"]).code, 5, "several that end alike end so together");
}

#[test]
fn time_that_is_over_is_6_and_says_whether_it_goes_on() {
    let daemon = Setup::test().start();
    daemon.define("name = \"slow\"\nmemory = \"64 MiB\"\n[test]\nstart_ms = 60000\n");
    let wait = ["vm", "wait", "slow", "--for", "state=running", "--timeout", "3s"];
    let told = daemon.vmwire(&wait).fails(6);
    assert!(told.contains("the deadline passed"), "{told}");

    let ran = daemon.vmwire(&["-o", "json", "--timeout", "3s", "vm", "start", "slow"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.err.contains("\"begun\":\"yes\""), "{ran:?}");
    assert_eq!(daemon.state("slow"), "starting", "what was begun goes on");
    let ran = daemon.vmwire(&["-o", "json", "--timeout", "3s", "vm", "pause", "slow"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.err.contains("\"begun\":\"no\""), "{ran:?}");
    let operations = daemon.json(&["op", "list"]);
    assert_eq!(operations[2]["state"], "dropped", "what was not begun never will be");
}

#[test]
fn what_can_never_come_true_is_7() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    let waits = daemon.begin(&["-o", "json", "vm", "wait", "web", "--for", "state=running"]);
    crate::harness::eventually("somebody waits", || {
        let connections = daemon.json(&["connection", "list"]);
        connections.as_array().unwrap().iter().find(|one| one["own"] == false && one["calls_open"] == 1).cloned()
    });
    daemon.ok(&["vm", "undefine", "web"]);
    let error = waits.end().error(7);
    assert_eq!((&error["code"], &error["details"]["never"]), (&json!("NOT_FOUND"), &json!("yes")));
}

#[test]
fn some_of_several_is_8() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    let ran = daemon.vmwire(&["--no-header", "vm", "start", "none", "web"]);
    assert_eq!((ran.code, ran.out.as_str()), (8, "web  running  2\n"));
    assert!(ran.err.starts_with("vmwire: vm none: "), "{ran:?}");
    assert_eq!(daemon.state("web"), "running");

    let good = daemon.place().write("db.toml", "name = \"db\"\nmemory = \"64 MiB\"\n");
    let bad = daemon.place().write("bad.toml", "nmae = \"bad\"\n");
    let none = daemon.place().join("none.toml");
    let mut both = daemon.begin(&["vm", "define", none.to_str().unwrap(), &bad, "-", &good]);
    both.write("name = \"piped\"\nmemory = \"64 MiB\"\n");
    let ran = both.end();
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (8, "piped  defined  operation 3\ndb     defined  operation 4\n"),
        "{ran:?}"
    );
    assert!(ran.err.contains("cannot read") && ran.err.contains("bad.toml: line 1"), "{ran:?}");
    let told = daemon.vmwire(&["vm", "define", "-", "-"]).fails(2);
    assert!(told.contains("only once"), "{told}");
}
