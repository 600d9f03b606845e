//! The life of a guest under the real QEMU, from start to end.

use rustix::process::{Pid, Signal, kill_process};
use vmwire_daemon::driver::{Action, DriverErrorKind};
use vmwire_daemon::model::{StateReason, VmState};

use crate::guest;
use crate::stage::{Stage, has_qemu};

#[test]
fn a_guest_starts_pauses_resumes_and_stops_and_leaves_nothing_behind() {
    if !has_qemu("a_guest_starts_pauses_resumes_and_stops_and_leaves_nothing_behind") {
        return;
    }
    let mut stage = Stage::new();
    stage.start("channels = ['org.qemu.guest_agent.0']\nrng = true\n").unwrap();
    assert_eq!((stage.state, stage.reason), (VmState::Running, StateReason::Requested));
    assert_eq!(stage.process.as_ref().unwrap().accelerator, "tcg");
    assert_eq!(stage.files(), ["ch0", "console", "monitor", "run"]);
    stage.act(Action::Pause).unwrap();
    assert_eq!(stage.state, VmState::Paused);
    stage.act(Action::Resume).unwrap();
    assert_eq!(stage.state, VmState::Running);
    stage.act(Action::Stop).unwrap();
    assert_eq!((stage.state, stage.reason), (VmState::Stopped, StateReason::Requested));
    assert_eq!(stage.process, None);
    assert!(stage.files().is_empty(), "{:?}", stage.files());
    stage.until("the probes to end", |stage| stage.host.watched == 0);
    let states: Vec<&str> = stage.told.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(
        states,
        ["Starting", "process", "Running", "1", "Paused", "2", "Running", "3", "Stopped", "process", "4"]
    );
}

#[test]
fn a_guest_that_is_started_paused_stands_until_it_is_resumed() {
    if !has_qemu("a_guest_that_is_started_paused_stands_until_it_is_resumed") {
        return;
    }
    let mut stage = Stage::new();
    let definition = Stage::definition(&guest::disk(stage.dir.path()));
    stage.act(Action::Start { definition, paused: true }).unwrap();
    assert_eq!(stage.state, VmState::Paused);
    assert!(stage.console.is_empty());
    stage.act(Action::Resume).unwrap();
    stage.until_console("V\n");
}

#[test]
fn the_console_goes_both_ways_and_a_flood_that_nobody_reads_does_not_stall_the_guest() {
    if !has_qemu("the_console_goes_both_ways_and_a_flood_that_nobody_reads_does_not_stall_the_guest") {
        return;
    }
    let mut stage = Stage::new();
    stage.start(&guest::disk(stage.dir.path())).unwrap();
    stage.until_console("V\n");
    stage.type_in("1234");
    stage.until_console("1234");
    stage.type_in("f");
    stage.until("the flood", |stage| stage.console.iter().filter(|byte| **byte == b'#').count() > 20_000);
    stage.type_in("!");
    stage.until_console("!");
}

#[test]
fn a_guest_that_hears_the_power_button_goes_down_by_itself() {
    if !has_qemu("a_guest_that_hears_the_power_button_goes_down_by_itself") {
        return;
    }
    for machine in ["q35", "pc"] {
        let mut stage = Stage::new();
        stage.start(&format!("machine = '{machine}'\n{}", guest::disk(stage.dir.path()))).unwrap();
        stage.until_console("V\n");
        stage.act(Action::PowerButton).unwrap();
        stage.until_state(VmState::Stopped);
        assert_eq!(stage.reason, StateReason::Guest);
        assert!(stage.files().is_empty());
    }
}

#[test]
fn a_reboot_goes_down_and_up_within_one_process() {
    if !has_qemu("a_reboot_goes_down_and_up_within_one_process") {
        return;
    }
    let mut stage = Stage::new();
    stage.start(&guest::disk(stage.dir.path())).unwrap();
    stage.until_console("V\n");
    let pid = stage.pid();
    stage.act(Action::Reboot).unwrap();
    assert_eq!((stage.state, stage.pid()), (VmState::Running, pid));
    stage.until_console("V\nV\n");
    assert_eq!(stage.count("Paused"), 0, "{:?}", stage.told);
    stage.type_in("o");
    stage.until_state(VmState::Stopped);
    assert_eq!(stage.reason, StateReason::Guest, "a guest that powers off after a reboot is gone");
}

#[test]
fn a_reset_is_told_once_whoever_caused_it() {
    if !has_qemu("a_reset_is_told_once_whoever_caused_it") {
        return;
    }
    let mut stage = Stage::new();
    stage.start(&guest::disk(stage.dir.path())).unwrap();
    stage.until_console("V\n");
    stage.act(Action::Reset).unwrap();
    stage.until_console("V\nV\n");
    assert_eq!((stage.count("reset by_guest=false"), stage.count("reset by_guest=true")), (1, 0), "{:?}", stage.told);
    assert_eq!(stage.state, VmState::Running);
    // A guest that has said something since, and not only what may have been said before, has reset itself.
    let quiet = std::time::Instant::now() + std::time::Duration::from_millis(500);
    while std::time::Instant::now() < quiet {
        stage.type_in(".");
        let dots = stage.console.len();
        stage.until("the echo", |stage| stage.console.len() > dots);
    }
    stage.console.clear();
    stage.type_in("r");
    stage.until_console("V\n");
    stage.until("the reset", |stage| stage.count("reset by_guest=true") == 1);
}

#[test]
fn a_guest_that_panics_is_crashed_until_it_is_reset() {
    if !has_qemu("a_guest_that_panics_is_crashed_until_it_is_reset") {
        return;
    }
    let mut stage = Stage::new();
    stage.start(&guest::disk(stage.dir.path())).unwrap();
    stage.until_console("V\n");
    stage.type_in("p");
    stage.until_state(VmState::Crashed);
    assert_eq!(stage.reason, StateReason::Guest);
    stage.console.clear();
    stage.act(Action::Reset).unwrap();
    assert_eq!(stage.state, VmState::Running);
    stage.until_console("V\n");
}

#[test]
fn a_qemu_that_is_killed_by_a_stranger_is_noticed() {
    if !has_qemu("a_qemu_that_is_killed_by_a_stranger_is_noticed") {
        return;
    }
    let mut stage = Stage::new();
    stage.start("").unwrap();
    let pid = Pid::from_raw(i32::try_from(stage.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    stage.until_state(VmState::Stopped);
    assert_eq!(stage.reason, StateReason::Hypervisor);
    assert_eq!(stage.count("Stopped Hypervisor QEMU was ended by signal 9"), 1, "{:?}", stage.told);
    assert_eq!(stage.count("monitor"), 0, "an end is no loss of the monitor: {:?}", stage.told);
    assert!(stage.files().is_empty());

    stage.start("").unwrap();
    let pid = Pid::from_raw(i32::try_from(stage.pid()).unwrap()).unwrap();
    // On a busy host QEMU 7.2 takes the signal now and then and sleeps on: one in ten, until the next one wakes it.
    stage.until("its end", |stage| {
        let stopped = stage.state == VmState::Stopped;
        stopped || kill_process(pid, Signal::TERM).is_err()
    });
    stage.until_state(VmState::Stopped);
    assert_eq!(stage.reason, StateReason::Hypervisor);
    assert!(stage.told.iter().any(|line| line.contains("terminating on signal 15")), "{:?}", stage.told);
}

#[test]
fn a_qemu_that_stands_still_is_stopped_all_the_same() {
    if !has_qemu("a_qemu_that_stands_still_is_stopped_all_the_same") {
        return;
    }
    let mut stage = Stage::new();
    stage.start("").unwrap();
    let pid = Pid::from_raw(i32::try_from(stage.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let reset = stage.begin(Action::Reset);
    stage.act(Action::Stop).unwrap();
    assert_eq!(stage.result(reset).unwrap_err().kind, DriverErrorKind::Superseded);
    assert_eq!((stage.state, stage.reason), (VmState::Stopped, StateReason::Requested));
}
