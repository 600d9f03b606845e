//! A daemon that starts again takes up the guests it left, and nothing else.

use std::fs;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, test_kill_process};
use vmwire_daemon::driver::{Action, Driver, DriverErrorKind};
use vmwire_daemon::model::{StateReason, VmState};

use crate::guest;
use crate::stage::{PATIENCE, Stage, VM, has_qemu};

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

/// Kills a process when the test ends, however it ends.
struct Doomed(Pid);

impl Drop for Doomed {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

#[test]
fn a_running_guest_is_adopted_with_its_console_and_can_be_stopped() {
    if !has_qemu("a_running_guest_is_adopted_with_its_console_and_can_be_stopped") {
        return;
    }
    let mut stage = Stage::new();
    stage.start(&guest::disk(stage.dir.path())).unwrap();
    stage.until_console("V\n");
    let before = stage.pid();
    let _doomed = Doomed(pid(before));
    stage.restart();
    assert_eq!(stage.state_now(), VmState::Adopting, "until it is proved, nobody may take it for stopped");
    stage.until("the adoption", |stage| stage.count("Running") == 1);
    assert_eq!((stage.reason, stage.pid()), (StateReason::Adopted, before));
    stage.until("the console", |stage| stage.driver.console_room(VM) > 0);
    stage.console.clear();
    stage.type_in("1234");
    stage.until_console("1234");
    stage.act(Action::Pause).unwrap();
    stage.restart();
    stage.until("the adoption", |stage| stage.count("Paused Adopted") == 1);
    stage.act(Action::Stop).unwrap();
    assert!(stage.files().is_empty());
}

#[test]
fn a_guest_that_ended_while_no_daemon_was_there_is_told_and_its_files_are_removed() {
    if !has_qemu("a_guest_that_ended_while_no_daemon_was_there_is_told_and_its_files_are_removed") {
        return;
    }
    let mut stage = Stage::new();
    stage.start("").unwrap();
    let number = stage.pid();
    stage.driver.detach(&mut stage.host);
    kill_process(pid(number), Signal::KILL).unwrap();
    // The kernel keeps it for its parent, which is this test and not the init of a real host.
    rustix::process::waitpid(Some(pid(number)), rustix::process::WaitOptions::empty()).unwrap();
    assert_eq!(stage.files(), ["console", "monitor", "run"]);
    stage.restart();
    stage.until("its end", |stage| stage.count("Stopped") == 1);
    assert_eq!(stage.reason, StateReason::Hypervisor);
    assert!(stage.files().is_empty(), "{:?}", stage.files());
    stage.start("").unwrap();
}

#[test]
fn a_record_of_another_boot_is_removed_without_a_word() {
    let mut stage = Stage::new();
    let record = stage.dir.path().join(format!("{VM}.run"));
    let text = format!(
        r#"{{"uuid": "{VM}", "name": "a", "boot_id": "another", "monitor": "/x", "console": null, "channels": 0,
            "accelerator": "tcg", "process": {{"pid": 1, "start_time": 1}}, "definition": ""}}"#
    );
    fs::write(record, text).unwrap();
    stage.restart();
    stage.until("the removal", |stage| stage.files().is_empty());
    assert!(stage.told.is_empty(), "{:?}", stage.told);
}

#[test]
fn a_start_waits_until_the_files_of_a_former_run_are_removed() {
    if !has_qemu("a_start_waits_until_the_files_of_a_former_run_are_removed") {
        return;
    }
    let mut stage = Stage::new();
    for fate in [None, Some(Action::Stop)] {
        stage.start("").unwrap();
        let number = stage.pid();
        stage.driver.detach(&mut stage.host);
        kill_process(pid(number), Signal::KILL).unwrap();
        // Nobody waits for it: a process that has ended and is not noticed is gone all the same.
        let pidfd = pidfd_open(pid(number), PidfdFlags::empty()).unwrap();
        let patience = Timespec::try_from(PATIENCE).unwrap();
        assert_eq!(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)), Ok(1));
        stage.restart();
        assert!(!matches!(stage.state_now(), VmState::Lost | VmState::Adopting));
        let start = stage.begin(Action::Start { definition: Stage::definition(""), paused: false });
        match fate {
            None => stage.result(start).unwrap(),
            Some(stop) => {
                stage.act(stop).unwrap();
                assert_eq!(stage.result(start).unwrap_err().kind, DriverErrorKind::Superseded);
                assert!(stage.files().is_empty());
                return;
            }
        }
        stage.act(Action::Stop).unwrap();
    }
}

#[test]
fn a_guest_whose_monitor_is_gone_is_lost_and_never_killed() {
    if !has_qemu("a_guest_whose_monitor_is_gone_is_lost_and_never_killed") {
        return;
    }
    let mut stage = Stage::new();
    stage.start("").unwrap();
    let number = stage.pid();
    let _doomed = Doomed(pid(number));
    fs::remove_file(stage.dir.path().join(format!("{VM}.monitor"))).unwrap();
    stage.restart();
    stage.until_state(VmState::Lost);
    let error = stage.start("").unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Failed, "{error:?}");
    assert!(stage.act(Action::Stop).is_err());
    assert!(test_kill_process(pid(number)).is_ok());
    assert_eq!(stage.files(), ["console", "run"]);
    kill_process(pid(number), Signal::KILL).unwrap();
    stage.until_state(VmState::Stopped);
    stage.until("the removal", |stage| stage.files().is_empty());
}

/// A process that the test began: only its end is seen.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn new() -> Self {
        Self(std::process::Command::new("sleep").arg("600").spawn().unwrap())
    }

    /// As a run record names it.
    fn mark(&self) -> serde_json::Value {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let begun: u64 = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(19).unwrap().parse().unwrap();
        serde_json::json!({"pid": self.0.id(), "start_time": begun})
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.end();
    }
}

/// A record with another guest's process was believed, and a stop killed that one.
#[test]
fn a_record_that_names_another_process_than_that_behind_the_monitor_proves_nothing() {
    if !has_qemu("a_record_that_names_another_process_than_that_behind_the_monitor_proves_nothing") {
        return;
    }
    let mut stage = Stage::new();
    stage.start("").unwrap();
    let number = stage.pid();
    let _doomed = Doomed(pid(number));
    let path = stage.dir.path().join(format!("{VM}.run"));
    let text = fs::read_to_string(&path).unwrap();
    let mut other = Sleeper::new();
    for (key, value) in [("process", other.mark()), ("process", serde_json::Value::Null), ("boot_id", "another".into())]
    {
        let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
        record[key] = value;
        fs::write(&path, record.to_string()).unwrap();
        stage.restart();
        stage.until_state(VmState::Lost);
        assert!(stage.act(Action::Stop).unwrap_err().message.contains("lost"));
        if key == "process" && !record[key].is_null() {
            assert!(other.lives());
            other.end();
            let mut turns = 0;
            stage.until("its end to be seen", |_| {
                turns += 1;
                turns > 3
            });
            assert_eq!(stage.state, VmState::Lost, "what ended was not QEMU");
        }
        assert!(stage.start("").unwrap_err().message.contains("lost"), "a second QEMU would have its disks");
        assert!(test_kill_process(pid(number)).is_ok());
        assert_eq!(stage.files(), ["console", "monitor", "run"]);
    }
    fs::write(&path, text).unwrap();
    stage.restart();
    stage.until("the adoption", |stage| stage.count("Running") == 1);
    stage.act(Action::Stop).unwrap();
}

#[test]
fn a_record_that_nobody_can_read_makes_its_guest_lost() {
    let mut stage = Stage::new();
    fs::write(stage.dir.path().join(format!("{VM}.run")), "{").unwrap();
    stage.restart();
    stage.until_state(VmState::Lost);
    assert!(stage.start("").unwrap_err().message.contains("lost"));
    assert_eq!(stage.files(), ["run"]);
}
