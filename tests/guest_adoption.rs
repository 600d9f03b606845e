//! Guests outlive their daemon, and the next one takes them up: definitions, operations, events, consoles.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use vmwire_protocol::message::{ClientData, ServerData, VmWaitCall, vm_state};
use vmwire_protocol::xdr::{List, Text};

use crate::harness::{Daemon, Guest, Raw, Running, Setup, Shell, eventually, has_qemu};

const TINY: &str = "name = \"tiny\"\nmemory = \"16 MiB\"\naccel = \"tcg\"\n";

fn pid(shown: &Value) -> Pid {
    Pid::from_raw(i32::try_from(shown["pid"].as_i64().unwrap()).unwrap()).unwrap()
}

/// Waits until a guest was taken up, or not.
fn taken_up(daemon: &Daemon, vm: &str, reason: &str) -> Value {
    eventually("the guest is taken up", || {
        let shown = daemon.json(&["vm", "show", vm]);
        (shown["reason"] == reason).then_some(shown)
    })
}

#[test]
fn a_guest_outlives_its_daemon_and_its_console_works_again() {
    let Some(guest) = Guest::find("a_guest_outlives_its_daemon_and_its_console_works_again") else { return };
    let daemon = Setup::qemu().start();
    guest.define(&daemon, "linux", "");
    daemon.ok(&["vm", "start", "linux"]);
    let (mut shell, _) = Shell::booted(&daemon, "linux");
    assert_eq!(shell.asks("echo before >/tmp/f; cat /tmp/f"), ["before"]);
    let before = daemon.json(&["vm", "show", "linux"]);
    let cursor = format!("{}:{}", before["cursor"]["epoch"].as_str().unwrap(), before["cursor"]["sequence"]);
    drop(shell);

    let daemon = daemon.killed().start();
    let after = taken_up(&daemon, "linux", "adopted");
    assert_eq!((&after["state"], &after["pid"]), (&json!("running"), &before["pid"]));
    assert_eq!(after["accelerator"], "tcg");
    let mut shell = Shell(daemon.begin(&["vm", "console", "linux"]));
    eventually("the console is there again", || {
        daemon.json(&["vm", "show", "linux"])["console"]["writer"].is_string().then_some(())
    });
    assert_eq!(shell.asks("cat /tmp/f"), ["before"]);
    // Events go on where they were: the epoch is the same, and nothing is missing but what happened to nobody's eyes.
    let mut events: Running = daemon.begin(&["-o", "json", "event", "follow", "--since", &cursor]);
    let mut sequence = before["cursor"]["sequence"].as_u64().unwrap();
    let mut told = Vec::new();
    loop {
        let event = events.json_line();
        sequence += 1;
        assert_eq!((&event["epoch"], &event["sequence"]), (&before["cursor"]["epoch"], &json!(sequence)), "{event}");
        if event["kind"] == "vm-state" {
            told.push(format!("{} {}", event["detail"]["state"], event["detail"]["reason"]).replace('"', ""));
        }
        if event["detail"]["state"] == "running" {
            break;
        }
    }
    assert_eq!(told, ["adopting unknown", "running adopted"]);
    drop((shell, events));

    // A daemon that is asked to leave leaves its guests alone too, and what was paused is found paused.
    daemon.ok(&["vm", "pause", "linux"]);
    let setup = daemon.stopped();
    assert!(test_kill_process(pid(&before)).is_ok());
    let daemon = setup.start();
    assert_eq!(taken_up(&daemon, "linux", "adopted")["state"], "paused");
    daemon.ok(&["vm", "resume", "linux"]);
    daemon.ok(&["vm", "shutdown", "linux"]);
    assert_eq!(daemon.place().records(), []);
}

#[test]
fn a_guest_whose_record_does_not_fit_is_lost_and_neither_killed_nor_started_again() {
    let test = "a_guest_whose_record_does_not_fit_is_lost_and_neither_killed_nor_started_again";
    if !has_qemu(test) {
        return;
    }
    let daemon = Setup::qemu().start();
    daemon.define(TINY);
    daemon.ok(&["vm", "start", "tiny"]);
    let before = daemon.json(&["vm", "show", "tiny"]);
    let setup = daemon.killed();
    let (path, record) = setup.place.records().remove(0);
    let mut wrong = record.clone();
    wrong["process"]["start_time"] = json!(record["process"]["start_time"].as_u64().unwrap() + 1);
    std::fs::write(&path, wrong.to_string()).unwrap();

    let daemon = setup.start();
    eventually("it is lost", || (daemon.state("tiny") == "lost").then_some(()));
    let shown = daemon.json(&["vm", "show", "tiny"]);
    assert!(!shown["message"].is_null(), "{shown}");
    for verb in ["start", "stop", "pause", "undefine"] {
        let ran = daemon.vmwire(&["vm", verb, "tiny"]);
        assert_eq!(ran.code, 1, "{verb}: {ran:?}");
        assert!(ran.err.contains("lost"), "{ran:?}");
    }
    let waited = daemon.vmwire(&["vm", "wait", "tiny", "--for", "state=running"]);
    assert_eq!(waited.code, 7, "it can never come true: {waited:?}");
    assert!(test_kill_process(pid(&before)).is_ok(), "it is never killed");

    // Put right, it is taken up.
    let setup = daemon.killed();
    std::fs::write(&path, record.to_string()).unwrap();
    let daemon = setup.start();
    taken_up(&daemon, "tiny", "adopted");
    daemon.ok(&["vm", "stop", "tiny"]);
}

/// Begins to do something to a virtual machine, and answers when it waits for its turn.
fn queued(daemon: &Daemon, verb: &str, vm: &str) -> Running {
    let running = daemon.begin(&["vm", verb, vm]);
    eventually("it waits", || {
        let all = daemon.json(&["op", "list", "--vm", vm]);
        all.as_array()?.iter().any(|o| o["procedure"] == format!("vm-{verb}") && o["state"] == "queued").then_some(())
    });
    running
}

/// Waits for tiny to run: whoever waits so, and the call, which was taken.
fn waiting_for_running(daemon: &Daemon) -> (Raw, u32) {
    let mut waits = daemon.raw();
    let call = VmWaitCall { vm: Text::clipped("tiny"), states: List::clipped([vm_state::RUNNING]) };
    let call = waits.call(&ClientData::VmWait(call));
    waits.ping();
    (waits, call)
}

#[test]
fn a_guest_is_adopting_until_its_monitor_has_proved_it_and_whatever_is_asked_for_waits() {
    let test = "a_guest_is_adopting_until_its_monitor_has_proved_it_and_whatever_is_asked_for_waits";
    if !has_qemu(test) {
        return;
    }
    let daemon = Setup::qemu().start();
    daemon.define(&format!("{TINY}autostart = true\n"));
    daemon.ok(&["vm", "start", "tiny"]);
    let guest = pid(&daemon.json(&["vm", "show", "tiny"]));

    // A monitor that does not answer for now.
    let setup = daemon.killed();
    kill_process(guest, Signal::STOP).unwrap();
    let daemon = setup.start();
    let shown = daemon.json(&["vm", "show", "tiny"]);
    assert_eq!((&shown["state"], &shown["pid"]), (&json!("adopting"), &Value::Null), "{shown:#}");
    assert!(daemon.ok(&["vm", "list"]).contains("adopting"));
    let (mut waits, running) = waiting_for_running(&daemon);
    let paused = queued(&daemon, "pause", "tiny");
    let started = daemon.json(&["op", "list"]).to_string().matches("autostart").count();
    assert_eq!(started, 0, "what is there already is not started with the daemon");
    kill_process(guest, Signal::CONT).unwrap();
    assert!(matches!(waits.answer(running), ServerData::VmWait(answer) if answer.state == vm_state::RUNNING));
    paused.end().ok();
    let shown = daemon.json(&["vm", "show", "tiny"]);
    assert_eq!((&shown["state"], &shown["pid"]), (&json!("paused"), &json!(guest.as_raw_nonzero().get())));

    // Even a stop waits, and is carried out then.
    let setup = daemon.killed();
    kill_process(guest, Signal::STOP).unwrap();
    let daemon = setup.start();
    let stopped = queued(&daemon, "stop", "tiny");
    assert_eq!(daemon.state("tiny"), "adopting");
    assert!(test_kill_process(guest).is_ok(), "what is not proved is not killed");
    kill_process(guest, Signal::CONT).unwrap();
    stopped.end().ok();
    assert_eq!(daemon.state("tiny"), "stopped");
    assert_eq!(daemon.place().records(), []);
}

#[test]
fn a_record_that_names_somebody_elses_process_and_monitor_is_lost_and_what_waited_for_it_is_refused() {
    let test = "a_record_that_names_somebody_elses_process_and_monitor_is_lost_and_what_waited_for_it_is_refused";
    if !has_qemu(test) {
        return;
    }
    let daemon = Setup::qemu().start();
    let guests = ["tiny", "other"].map(|name| {
        daemon.define(&TINY.replace("tiny", name));
        daemon.ok(&["vm", "start", name]);
        pid(&daemon.json(&["vm", "show", name]))
    });
    let setup = daemon.killed();
    let records = setup.place.records();
    let find = |name: &str| records.iter().find(|(_, record)| record["name"] == name).unwrap();
    let ((path, forged), (others_path, other)) = (find("tiny"), find("other"));
    let mut forged = forged.clone();
    forged["process"] = other["process"].clone();
    std::fs::write(path, forged.to_string()).unwrap();
    std::fs::rename(other["monitor"].as_str().unwrap(), forged["monitor"].as_str().unwrap()).unwrap();

    let daemon = setup.start();
    for name in ["tiny", "other"] {
        assert_eq!(daemon.state(name), "lost", "one of the two lies about the process that both name");
    }
    let setup = daemon.killed();
    std::fs::remove_file(others_path).unwrap();

    kill_process(guests[1], Signal::STOP).unwrap();
    let daemon = setup.start();
    assert_eq!(daemon.state("tiny"), "adopting", "everything fits but what the monitor will say");
    let (mut waits, running) = waiting_for_running(&daemon);
    let stopped = queued(&daemon, "stop", "tiny");
    kill_process(guests[1], Signal::CONT).unwrap();
    assert_eq!(waits.failure(running).fact("never"), Some("yes"));
    let stopped = stopped.end();
    assert!(stopped.code == 1 && stopped.err.contains("lost"), "{stopped:?}");
    let shown = daemon.json(&["vm", "show", "tiny"]);
    assert_eq!(shown["state"], "lost");
    assert!(shown["message"].as_str().unwrap().contains("another machine"), "{shown:#}");
    for guest in guests {
        assert!(test_kill_process(guest).is_ok(), "neither is killed");
    }
}

#[test]
fn a_guest_that_ended_without_a_daemon_is_stopped_and_can_be_started() {
    if !has_qemu("a_guest_that_ended_without_a_daemon_is_stopped_and_can_be_started") {
        return;
    }
    let daemon = Setup::qemu().start();
    daemon.define(TINY);
    daemon.ok(&["vm", "start", "tiny"]);
    let guest = pid(&daemon.json(&["vm", "show", "tiny"]));
    let setup = daemon.killed();
    kill_process(guest, Signal::KILL).unwrap();
    let daemon = setup.start();
    eventually("its files are gone", || daemon.place().records().is_empty().then_some(()));
    let shown = daemon.json(&["vm", "show", "tiny"]);
    assert_eq!((&shown["state"], &shown["pid"]), (&json!("stopped"), &Value::Null), "{shown:#}");
    daemon.ok(&["vm", "start", "tiny"]);
    daemon.ok(&["vm", "stop", "tiny"]);
}

#[test]
fn definitions_and_the_numbers_of_operations_outlive_the_daemon_and_autostart_starts_with_it() {
    let test = "definitions_and_the_numbers_of_operations_outlive_the_daemon_and_autostart_starts_with_it";
    if !has_qemu(test) {
        return;
    }
    let daemon = Setup::qemu().start();
    let text = format!("# by hand\r\n{TINY}title = \"for people\"\nautostart = true  # with the daemon\n");
    daemon.define(&text);
    daemon.define(&TINY.replace("tiny", "other"));
    daemon.define(&TINY.replace("tiny", "gone"));
    daemon.ok(&["vm", "undefine", "gone"]);
    assert_eq!(daemon.state("tiny"), "stopped", "to define is not to start");
    let uuid = daemon.json(&["vm", "show", "tiny"])["uuid"].clone();
    let operations = daemon.json(&["op", "list"]).as_array().unwrap().len();
    let epoch = daemon.json(&["daemon", "info"])["events"]["epoch"].clone();

    let daemon = daemon.killed().start();
    daemon.wait_for("tiny", "running");
    assert_eq!(daemon.ok(&["vm", "definition", "tiny"]), text);
    let shown = daemon.json(&["vm", "show", "tiny"]);
    assert_eq!((&shown["uuid"], &shown["title"], &shown["autostart"]), (&uuid, &json!("for people"), &json!(true)));
    let names: Vec<Value> =
        daemon.json(&["vm", "list"]).as_array().unwrap().iter().map(|vm| vm["name"].clone()).collect();
    assert_eq!(names, ["other", "tiny"]);
    assert_eq!(daemon.state("other"), "stopped");
    let list = daemon.json(&["op", "list"]);
    let start = list.as_array().unwrap().iter().find(|operation| operation["identity"] == "autostart").unwrap();
    assert!(start["id"].as_u64().unwrap() > u64::try_from(operations).unwrap(), "no number is used twice: {list}");
    assert_eq!(daemon.json(&["daemon", "info"])["events"]["epoch"], epoch);
    daemon.ok(&["vm", "stop", "tiny"]);
}

#[test]
fn a_definition_that_cannot_be_read_keeps_no_other_from_being_served() {
    let daemon = Setup::qemu().start();
    daemon.define(TINY);
    let setup = daemon.stopped();
    let dir = setup.place.join("state/vms");
    std::fs::write(dir.join("6f1d5f5c-6f0b-4a3e-9d3c-2f6f3b1d8a11.toml"), "name = \"torn\nmem").unwrap();
    std::fs::write(dir.join("notes.txt"), "not mine").unwrap();
    let daemon = setup.start();
    assert_eq!(daemon.state("tiny"), "stopped");
    daemon.logs("6f1d5f5c-6f0b-4a3e-9d3c-2f6f3b1d8a11.toml");
    assert!(dir.join("6f1d5f5c-6f0b-4a3e-9d3c-2f6f3b1d8a11.toml").exists(), "and left where it is");
}
