//! Guests that sleep: in memory, on their disk, and by whatever way to it they have.

use std::time::Duration;

use serde_json::{Value, json};

use crate::machine::{Machine, Plan};

/// A second disk to sleep on.
const DISK: [&str; 6] =
    ["-m", "384", "-drive", "file={}/second,format=raw,if=none,id=second", "-device", "virtio-blk-pci,drive=second"];

#[test]
fn a_guest_that_slept_on_its_disk_goes_on_where_it_was() {
    let test = "a_guest_that_slept_on_its_disk_goes_on_where_it_was";
    let plan = Plan { program: "/bin/vmwire-ga", words: "", qemu: &DISK, kernel: "", programs: &[] };
    let Some(mut machine) = Machine::planned(test, &plan) else { return };
    let (mut agent, mut observer) = (machine.agent(), machine.observer());
    let life = "cat /proc/sys/kernel/random/boot_id /run/first/number; echo slept >/run/slept";
    let before = observer.run(life);
    agent.send(b"{\"execute\":\"guest-suspend-disk\"}\n");
    machine.start_again();
    drop((agent, observer));
    let (mut agent, mut observer) = (machine.agent(), machine.observer());
    assert_eq!(agent.ask_well("guest-ping", &json!({})), json!({}));
    assert_eq!(observer.run("cat /run/slept"), "slept\n");
    assert_eq!(observer.run(life), before);
}

#[test]
fn a_guest_that_sleeps_is_woken_and_answers() {
    let Some(machine) = Machine::start("a_guest_that_sleeps_is_woken_and_answers", "/bin/vmwire-ga", "") else {
        return;
    };
    let (mut agent, mut observer) = (machine.agent(), machine.observer());
    if !observer.run("cat /sys/power/state").contains("mem") {
        panic!("the guest cannot sleep");
    }
    let mut monitor = machine.monitor();
    agent.send(b"{\"execute\":\"guest-suspend-ram\"}\n");
    loop {
        let event: Value = serde_json::from_slice(&monitor.line()).unwrap();
        if event["event"] == "SUSPEND" {
            break;
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    monitor.send(b"{\"execute\":\"system_wakeup\"}\n");
    assert!(agent.answers(b"{\"execute\":\"guest-ping\"}").iter().any(|line| line == b"{\"return\": {}}"));
}
