//! Starts that fail, each with an answer that helps, and starts that a stop overtakes.

use std::fs;
use std::net::TcpListener;

use vmwire_daemon::driver::{Action, Driver, DriverErrorKind};
use vmwire_daemon::model::{Definition, StateReason, VmState};

use crate::guest;
use crate::stage::{Stage, has_qemu};

/// After a failed start nothing may be left.
fn assert_failed(stage: &mut Stage) {
    assert_eq!((stage.state, stage.reason), (VmState::Stopped, StateReason::Failed), "{:?}", stage.told);
    assert_eq!(stage.process, None);
    assert!(stage.files().is_empty(), "{:?}", stage.files());
    stage.until("everything to be let go of", |stage| stage.host.watched == 0);
}

#[test]
fn a_missing_disk_is_told_with_its_path_and_where_the_path_ends() {
    if !has_qemu("a_missing_disk_is_told_with_its_path_and_where_the_path_ends") {
        return;
    }
    let mut stage = Stage::new();
    let dir = stage.dir.path().display().to_string();
    let error = stage.start(&format!("[[disk]]\npath = '{dir}/a/b.raw'\nformat = 'raw'\n")).unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Failed);
    assert_eq!(error.message, format!("the disk {dir}/a/b.raw cannot be opened"));
    assert_eq!(
        error.causes,
        ["No such file or directory (os error 2)".to_owned(), format!("the directory {dir}/a does not exist")]
    );
    assert_failed(&mut stage);
}

#[test]
fn a_disk_of_another_format_than_stated_is_refused() {
    if !has_qemu("a_disk_of_another_format_than_stated_is_refused") {
        return;
    }
    let mut stage = Stage::new();
    let disk = guest::disk(stage.dir.path()).replace("raw'\n", "qcow2'\n").replace("guest.qcow2", "guest.raw");
    let error = stage.start(&disk).unwrap_err();
    assert!(error.causes[0].contains("no qcow2 image"), "{error:?}");
    assert_failed(&mut stage);
}

#[test]
fn a_qemu_that_dies_at_once_is_told_with_what_it_said() {
    let mut stage = Stage::with(|config| {
        config.qemu = Stage::script(&config.runtime_dir, "printf 'first\\nsecond \\033[2J\\n' >&2; exit 3");
    });
    let error = stage.start("").unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Failed);
    assert_eq!(error.message, "QEMU ended before the guest ran");
    assert_eq!(error.causes, ["QEMU ended with status 3", "first", "second \u{1b}[2J"]);
    assert_failed(&mut stage);
    stage.until("the probe to end", |stage| !stage.driver.capabilities().accelerators[1].why_not.contains("still"));
    let tcg = &stage.driver.capabilities().accelerators[1];
    assert!(!tcg.usable && tcg.why_not.contains("second"), "{tcg:?}");
}

#[test]
fn a_qemu_that_is_not_there_is_told_with_what_to_install() {
    let mut stage = Stage::with(|config| config.qemu = "/nonexistent/qemu".into());
    let error = stage.start("").unwrap_err();
    assert_eq!(error.message, "/nonexistent/qemu cannot be started");
    assert_eq!(error.causes, ["No such file or directory (os error 2)"]);
    assert!(error.hint.contains("install"), "{error:?}");
    assert_failed(&mut stage);
}

#[test]
fn what_the_real_qemu_refuses_is_told_in_its_own_words() {
    if !has_qemu("what_the_real_qemu_refuses_is_told_in_its_own_words") {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut stage = Stage::new();
    let nic = format!("[[nic]]\nnetwork = 'user'\noutbound = false\nforward = ['{port}:80']\n");
    let error = stage.start(&nic).unwrap_err();
    assert!(error.causes.iter().any(|cause| cause.contains("Could not set up host forwarding rule")), "{error:?}");
    assert_failed(&mut stage);
}

#[test]
fn kvm_is_refused_where_it_is_not_to_be_used() {
    let mut stage = Stage::new();
    let error = stage.start("[cpu]\nmodel = 'host'\n").unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Unsupported);
    assert!(error.causes[0].contains("VMWIRE_ACCEL=tcg"), "{error:?}");
    assert!(stage.files().is_empty());
}

#[test]
fn emulation_can_be_forced_whatever_a_definition_says() {
    if !has_qemu("emulation_can_be_forced_whatever_a_definition_says") {
        return;
    }
    let mut stage = Stage::new();
    stage.start("accel = 'kvm'\n").unwrap();
    assert_eq!(stage.process.as_ref().unwrap().accelerator, "tcg");
}

#[test]
fn a_definition_for_the_test_driver_is_refused() {
    let stage = Stage::new();
    let definition = Definition::parse("name = 'a'\nmemory = '16 MiB'\n[test]\ndeaf = true\n").unwrap();
    let error = stage.driver.check(&definition).unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Unsupported);
    assert!(stage.driver.check(&Stage::definition("")).is_ok());
}

#[test]
fn a_stop_overtakes_a_start_wherever_it_is() {
    if !has_qemu("a_stop_overtakes_a_start_wherever_it_is") {
        return;
    }
    // While it waits for the probe; then after so many reports of it: none, `Starting`, the process.
    for reports in [None, Some(0), Some(1), Some(2)] {
        let mut stage = Stage::new();
        if reports.is_some() {
            stage.until("the probe", |stage| !stage.driver.capabilities().hypervisor.is_empty());
        }
        let start = stage.begin(Action::Start { definition: Stage::definition(""), paused: false });
        stage.until("the start to get so far", |stage| stage.told.len() >= reports.unwrap_or(0));
        stage.act(Action::Stop).unwrap();
        assert_eq!(stage.result(start).unwrap_err().kind, DriverErrorKind::Superseded);
        assert_eq!(stage.state, VmState::Stopped);
        assert!(stage.files().is_empty(), "{:?}", stage.files());
        stage.until("everything to be let go of", |stage| stage.host.watched == 0);
    }
}

/// What a launcher that was killed in the middle of it had begun lay there for ever.
#[test]
fn an_end_leaves_no_record_behind_that_a_launcher_did_not_finish() {
    if !has_qemu("an_end_leaves_no_record_behind_that_a_launcher_did_not_finish") {
        return;
    }
    let mut stage = Stage::new();
    stage.start("").unwrap();
    fs::write(stage.dir.path().join(format!("{}.run.unfinished", crate::stage::VM)), "{").unwrap();
    stage.act(Action::Stop).unwrap();
    assert!(stage.files().is_empty(), "{:?}", stage.files());
}

#[test]
fn sockets_that_lie_around_do_not_hinder_a_start() {
    if !has_qemu("sockets_that_lie_around_do_not_hinder_a_start") {
        return;
    }
    let mut stage = Stage::new();
    for name in ["monitor", "console", "run"] {
        fs::write(stage.dir.path().join(format!("{}.{name}", crate::stage::VM)), "").unwrap();
    }
    stage.start("").unwrap();
    stage.act(Action::Stop).unwrap();
}

#[test]
fn the_host_is_described_by_what_its_qemu_says() {
    if !has_qemu("the_host_is_described_by_what_its_qemu_says") {
        return;
    }
    let mut stage = Stage::new();
    assert_eq!(stage.driver.capabilities().hypervisor, "", "it is not waited for");
    stage.until("the probe", |stage| !stage.driver.capabilities().hypervisor.is_empty());
    let capabilities = stage.driver.capabilities();
    assert!(capabilities.hypervisor.starts_with("QEMU "), "{capabilities:?}");
    assert_eq!(capabilities.machines, ["q35", "pc"]);
    assert!(capabilities.cpu_models.iter().any(|model| model == "max"), "{capabilities:?}");
    let usable: Vec<_> = capabilities.accelerators.iter().map(|a| (a.name.as_str(), a.usable)).collect();
    assert_eq!(usable, [("kvm", false), ("tcg", true)]);
    assert_eq!(capabilities.accelerators[0].why_not, "VMWIRE_ACCEL=tcg is set for the daemon");
}

#[test]
fn kvm_is_proved_or_told_why_not_and_starts_wait_for_that() {
    if !has_qemu("kvm_is_proved_or_told_why_not_and_starts_wait_for_that") {
        return;
    }
    let mut stage = Stage::with(|config| config.force_tcg = false);
    stage.start("").unwrap();
    let kvm = stage.driver.capabilities().accelerators[0].clone();
    assert_eq!(kvm.usable, kvm.why_not.is_empty(), "{kvm:?}");
    assert!(!kvm.why_not.contains("still being found out"), "{kvm:?}");
    let expected = if kvm.usable { "kvm" } else { "tcg" };
    assert_eq!(stage.process.as_ref().unwrap().accelerator, expected);
    stage.act(Action::Stop).unwrap();
    if !kvm.usable {
        let error = stage.start("accel = 'kvm'\n").unwrap_err();
        assert_eq!((error.kind, error.causes), (DriverErrorKind::Unsupported, vec![kvm.why_not]));
    }
}
