//! The life of a real guest: a kernel that boots, a shell that answers, a power button that is heard.

use std::time::{Duration, Instant};

use serde_json::Value;
use vmwire_protocol::message::{ClientData, ConsoleOpenCall, console_mode};
use vmwire_protocol::xdr::Text;

use crate::harness::{Daemon, Guest, Running, Setup, Shell, eventually};

fn follow(daemon: &Daemon) -> Running {
    daemon.begin(&["-o", "json", "event", "follow", "--since", "0"])
}

/// The next event that is no operation, in short.
fn next(events: &mut Running) -> String {
    loop {
        let event = events.json_line();
        let detail = &event["detail"];
        match event["kind"].as_str().unwrap() {
            "operation" | "console-writer" => {}
            "vm-state" => {
                return format!("{} {}", detail["state"].as_str().unwrap(), detail["reason"].as_str().unwrap());
            }
            "vm-reset" => return format!("reset by_guest={}", detail["by_guest"]),
            other => return other.to_owned(),
        }
    }
}

fn cpu_ticks(pid: &Value) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let words: Vec<u64> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|word| word.parse().unwrap())
        .collect();
    words[0] + words[1]
}

#[test]
fn a_guest_boots_answers_on_its_console_and_goes_down_by_its_power_button() {
    let test = "a_guest_boots_answers_on_its_console_and_goes_down_by_its_power_button";
    let Some(guest) = Guest::find(test) else { return };
    let daemon = Setup::qemu().start();
    let mut events = follow(&daemon);
    guest.define(&daemon, "linux", "");
    assert_eq!(daemon.json(&["vm", "start", "linux"])[0]["state"], "running");
    let shown = daemon.json(&["vm", "show", "linux"]);
    assert_eq!((&shown["accelerator"], &shown["monitor"]), (&"tcg".into(), &true.into()), "{shown:#}");

    let (mut shell, release) = Shell::booted(&daemon, "linux");
    assert_eq!(release, guest.release());
    assert_eq!(shell.asks("uname -r"), [guest.release()]);
    let mut reader = daemon.begin(&["vm", "console", "linux", "--read-only"]);
    // Without history it hears only what is said from when it is there.
    eventually("the reader reads", || (daemon.json(&["vm", "show", "linux"])["console"]["readers"] == 2).then_some(()));
    assert_eq!(shell.asks("expr 6 \\* 7"), ["42"]);
    reader.expect("42\r\n");
    let listed = daemon.json(&["vm", "list", "--fields", "name,state,pid,accelerator"]);
    assert_eq!(
        listed,
        serde_json::json!([
            {"name": "linux", "state": "running", "pid": shown["pid"], "accelerator": "tcg"}
        ])
    );

    // A guest that is paused takes no time and hears nothing; what was typed meanwhile it hears afterwards.
    daemon.ok(&["vm", "pause", "linux"]);
    let before = cpu_ticks(&shown["pid"]);
    shell.types("echo awake");
    let paused = Instant::now();
    while paused.elapsed() < Duration::from_millis(700) {
        assert!(!shell.0.out().contains("awake"), "it runs");
        daemon.ok(&["ping"]);
    }
    let ticks = cpu_ticks(&shown["pid"]) - before;
    assert!(ticks <= 10, "a paused guest took {ticks} ticks of the processor");
    daemon.ok(&["vm", "resume", "linux"]);
    shell.0.expect("\r\nawake\r\n");
    shell.prompted();

    let down = daemon.json(&["vm", "shutdown", "linux", "--grace", "60s"]);
    assert_eq!(down[0]["state"], "stopped");
    shell.0.expect("GUEST-POWER-BUTTON");
    assert_eq!(shell.0.wait().code, 0, "the console ends with its guest");
    assert_eq!(daemon.json(&["vm", "show", "linux"])["reason"], "guest");
    let told: Vec<String> = (0..7).map(|_| next(&mut events)).collect();
    assert_eq!(
        told,
        [
            "daemon-started",
            "vm-defined",
            "starting requested",
            "running requested",
            "paused requested",
            "running requested",
            "stopped guest",
        ]
    );
    assert_eq!(daemon.place().records(), [], "no run record is left");
    daemon.ok(&["vm", "undefine", "linux"]);
}

#[test]
fn a_guest_is_reset_reboots_panics_and_is_told_of_each_once() {
    let Some(guest) = Guest::find("a_guest_is_reset_reboots_panics_and_is_told_of_each_once") else { return };
    let daemon = Setup::qemu().start();
    let mut events = follow(&daemon);
    guest.define(&daemon, "linux", "");
    daemon.ok(&["vm", "start", "linux"]);
    let pid = daemon.json(&["vm", "show", "linux"])["pid"].clone();
    let (mut shell, _) = Shell::booted(&daemon, "linux");

    daemon.ok(&["vm", "reset", "linux"]);
    shell.boots();
    shell.types("reboot -f");
    shell.boots();
    // By the power button: the guest goes down by itself and comes up again.
    daemon.ok(&["vm", "reboot", "linux"]);
    shell.0.expect("GUEST-POWER-BUTTON");
    shell.boots();
    let rebooted = daemon.json(&["vm", "show", "linux"]);
    assert_eq!(rebooted["state"], "running");

    shell.types("echo c >/proc/sysrq-trigger");
    daemon.wait_for("linux", "crashed");
    let refused = daemon.vmwire(&["vm", "shutdown", "linux"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("panicked"), "{refused:?}");
    shell.0.expect("Kernel panic");
    daemon.ok(&["vm", "reset", "linux"]);
    shell.boots();
    daemon.ok(&["vm", "stop", "linux"]);
    assert_eq!(daemon.state("linux"), "stopped");
    assert_eq!(rebooted["pid"], pid, "it is the same process all the while");
    let mut told = Vec::new();
    while told.last().map(String::as_str) != Some("stopped requested") {
        told.push(next(&mut events));
    }
    assert_eq!(
        told[4..],
        [
            "reset by_guest=false",
            "reset by_guest=true",
            "reset by_guest=false",
            "crashed guest",
            "reset by_guest=false",
            "running requested",
            "stopped requested",
        ]
    );
}

/// Lets a guest that is deaf otherwise do this when its power button is pressed.
fn obeys_by(shell: &mut Shell, line: &str) {
    shell.asks("event=$(grep -l Power /sys/class/input/event*/device/name); event=${event#/sys/class/}");
    // Opened by the shell itself, so that a button pressed from now on is heard.
    shell.asks("exec 3</dev/${event%/device/name}");
    shell.asks(&format!("(dd bs=24 count=1 of=/dev/null <&3 2>/dev/null; {line}) &"));
}

#[test]
fn a_shutdown_ends_when_the_guest_panics_and_outlasts_a_guest_that_comes_up_again() {
    let test = "a_shutdown_ends_when_the_guest_panics_and_outlasts_a_guest_that_comes_up_again";
    let Some(guest) = Guest::find(test) else { return };
    let daemon = Setup::qemu().start();
    guest.define(&daemon, "linux", "guest.deaf");
    daemon.ok(&["vm", "start", "linux"]);
    let (mut shell, _) = Shell::booted(&daemon, "linux");
    obeys_by(&mut shell, "echo c >/proc/sysrq-trigger");
    let begun = Instant::now();
    let ran = daemon.vmwire(&["vm", "shutdown", "linux", "--grace", "300s"]);
    assert!(ran.code == 1 && ran.err.contains("panicked"), "{ran:?}");
    assert_eq!(daemon.state("linux"), "crashed");
    assert!(begun.elapsed() < Duration::from_secs(120), "it waited for the grace");

    // Without a driver for the device by which a panic is told, the guest resets itself as its command line says: it is
    // there, and its firmware resets the machine too. Only the grace ends that.
    daemon.ok(&["vm", "reset", "linux"]);
    shell.boots();
    obeys_by(&mut shell, "rmmod pvpanic_mmio; rmmod pvpanic_pci; echo c >/proc/sysrq-trigger");
    let shutdown = daemon.begin(&["-o", "json", "vm", "shutdown", "linux", "--grace", "60s"]);
    shell.boots();
    assert_eq!(daemon.state("linux"), "running");
    // The one that came up hears nothing of a button that was pressed before; it goes down by itself.
    shell.types("poweroff -f");
    assert_eq!(shutdown.end().json()[0]["state"], "stopped");
}

#[test]
fn a_console_that_nobody_reads_never_stalls_its_guest() {
    let Some(guest) = Guest::find("a_console_that_nobody_reads_never_stalls_its_guest") else { return };
    let daemon = Setup::qemu().start();
    guest.define(&daemon, "linux", "");
    daemon.ok(&["vm", "start", "linux"]);
    let (mut shell, _) = Shell::booted(&daemon, "linux");
    shell.types("sleep 1; head -c 524288 /dev/zero | tr '\\0' x; echo ALL-SAID");
    shell.0.expect("echo ALL-SAID\r\n");
    drop(shell);
    // One reads nothing, which must be as good as nobody.
    let mut stuck = daemon.raw();
    let open = ConsoleOpenCall { vm: Text::clipped("linux"), mode: console_mode::READ, history_bytes: 0 };
    stuck.call(&ClientData::ConsoleOpen(open));
    eventually("the guest has said everything", || {
        (daemon.json(&["vm", "show", "linux"])["console"]["offset"].as_u64()? > 512 << 10).then_some(())
    });
    let mut shell = Shell(daemon.begin(&["vm", "console", "linux", "--history", "1KiB"]));
    shell.0.expect("xALL-SAID");
    shell.prompted();
    daemon.ok(&["vm", "stop", "linux"]);
}
