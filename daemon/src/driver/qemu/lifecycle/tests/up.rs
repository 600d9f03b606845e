//! What happens to a guest that runs, asked for or not, until it is down; and to the way to its monitor.

use super::*;

#[test]
fn a_stop_says_quit_and_kills_after_a_second() {
    let mut stage = Stage::running();
    assert_eq!(stage.begin(Task::Stop), ["send quit"]);
    assert_eq!(stage.event("SHUTDOWN", json!({"guest": false, "reason": "host-qmp-quit"})), [""; 0]);
    assert_eq!(stage.wait(QUIT), ["kill"]);
    stage.exit(Exit { signal: Some(9), ..Exit::default() });
    assert_eq!(stage.cleaned(), ["Stopped Requested", "process None", "2 done"]);
}

#[test]
fn a_stop_overtakes_what_is_under_way() {
    let mut stage = Stage::running();
    stage.begin(Task::Reboot);
    let told = stage.begin(Task::Stop);
    assert_eq!(told, ["2 Superseded: a stop has overtaken it []", "send quit"]);
    stage.exit(status(0, ""));
    assert_eq!(stage.cleaned(), ["Stopped Requested", "process None", "3 done"]);

    let mut stage = Stage::new();
    stage.begin(start());
    assert_eq!(stage.begin(Task::Stop), ["1 Superseded: a stop has overtaken it []"]);
    stage.life.handle_prepared(stage.now, Ok(()));
    assert_eq!(stage.orders(), ["cleanup"]);
    assert_eq!(stage.cleaned(), ["Stopped Requested", "2 done"]);

    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.orders();
    assert_eq!(stage.begin(Task::Stop), ["1 Superseded: a stop has overtaken it []", "kill"]);
}

#[test]
fn a_process_that_the_kernel_does_not_let_go_is_told() {
    let mut stage = Stage::running();
    stage.begin(Task::Stop);
    stage.wait(QUIT);
    assert_eq!(stage.wait(KILL), ["2 TimedOut: QEMU was killed and has not ended []"]);
    assert_eq!(stage.begin(start()), ["3 Failed: the guest is there already []"]);
    stage.exit(Exit { signal: Some(9), ..Exit::default() });
    assert_eq!(stage.cleaned(), ["Stopped Requested", "process None"]);
}

#[test]
fn a_guest_that_powers_off_and_one_whose_qemu_dies_are_told_apart() {
    let mut stage = Stage::running();
    stage.event("SHUTDOWN", json!({"guest": true, "reason": "guest-shutdown"}));
    stage.exit(status(0, ""));
    assert_eq!(stage.cleaned(), ["Stopped Guest", "process None"]);

    let mut stage = Stage::running();
    stage.begin(Task::Pause);
    stage.exit(Exit { signal: Some(11), stderr: vec!["oops".to_owned()], ..Exit::default() });
    assert_eq!(
        stage.cleaned(),
        [
            "Stopped Hypervisor QEMU was ended by signal 11\noops",
            "process None",
            "2 Ended: the guest ended meanwhile [\"QEMU was ended by signal 11\", \"oops\"]"
        ]
    );

    let mut stage = Stage::running();
    stage.event("SHUTDOWN", json!({"guest": false, "reason": "host-signal"}));
    assert_eq!(stage.event("STOP", Value::Null), ["send query-status"]);
    stage.reply(json!({"status": "shutdown"}));
    stage.exit(status(0, "terminating on signal 15 from pid 3"));
    assert_eq!(
        stage.cleaned()[0],
        "Stopped Hypervisor QEMU ended with status 0: host-signal\nterminating on signal 15 from pid 3"
    );
}

#[test]
fn a_guest_that_goes_down_while_its_button_is_pressed_has_obeyed() {
    let mut stage = Stage::running();
    assert_eq!(stage.begin(Task::PowerButton), ["send system_powerdown"]);
    stage.event("SHUTDOWN", json!({"guest": true, "reason": "guest-shutdown"}));
    stage.life.handle_link_lost(stage.now, "closed".to_owned());
    stage.exit(status(0, ""));
    assert_eq!(stage.cleaned(), ["Stopped Guest", "process None", "2 done"]);

    // Where somebody else ended it, it is down all the same; the state says why.
    let mut stage = Stage::running();
    stage.begin(Task::PowerButton);
    stage.exit(Exit { signal: Some(9), ..Exit::default() });
    assert_eq!(stage.cleaned(), ["Stopped Hypervisor QEMU was ended by signal 9", "process None", "2 done"]);
}

#[test]
fn pause_and_resume_are_finished_when_the_status_says_so() {
    let mut stage = Stage::running();
    assert_eq!(stage.begin(Task::Pause), ["send stop"]);
    assert_eq!(stage.event("STOP", Value::Null), [""; 0]);
    assert_eq!(stage.reply(json!({})), ["send query-status"]);
    assert_eq!(stage.reply(json!({"status": "paused"}))[..2], ["Paused Requested", "2 done"]);
    stage.reply(json!({"status": "paused"}));
    assert_eq!(stage.begin(Task::Resume), ["send cont"]);
    stage.reply(json!({}));
    assert_eq!(stage.reply(json!({"status": "running"})), ["Running Requested", "3 done"]);
    assert_eq!(stage.begin(Task::Resume), ["send cont"]);
    assert_eq!(
        stage.refuse("Resetting the Virtual Machine is required"),
        ["4 Failed: QEMU refused cont [\"Resetting the Virtual Machine is required\"]"]
    );
}

#[test]
fn a_guest_that_stands_unasked_is_told_only_when_its_status_says_so() {
    let mut stage = Stage::running();
    assert_eq!(stage.event("STOP", Value::Null), ["send query-status"]);
    assert_eq!(stage.event("RESUME", Value::Null), [""; 0]);
    assert_eq!(stage.reply(json!({"status": "save-vm"})), ["send query-status"], "once more for the RESUME");
    assert_eq!(stage.reply(json!({"status": "running"})), [""; 0]);
    stage.event("STOP", Value::Null);
    assert_eq!(stage.reply(json!({"status": "io-error"})), ["Paused Hypervisor a disk failed"]);
}

#[test]
fn a_panic_is_told_and_a_reset_brings_the_guest_up_again() {
    let mut stage = Stage::running();
    let told = stage.event("GUEST_PANICKED", json!({"action": "pause"}));
    assert_eq!(told, ["Crashed Guest the guest panicked", "send query-status"]);
    stage.event("STOP", Value::Null);
    assert_eq!(stage.reply(json!({"status": "guest-panicked"})), ["send query-status"]);
    stage.reply(json!({"status": "guest-panicked"}));
    assert_eq!(stage.begin(Task::Reset), ["send system_reset"]);
    stage.reply(json!({}));
    assert_eq!(stage.event("RESET", json!({"guest": false})), ["reset by_guest=false", "send cont"]);
    stage.reply(json!({}));
    assert_eq!(stage.reply(json!({"status": "running"}))[..2], ["Running Requested", "2 done"]);
}

#[test]
fn a_guest_that_has_panicked_does_not_run_again_because_qemu_has_yet_to_stop_it() {
    let mut stage = Stage::running();
    stage.event("GUEST_PANICKED", json!({"action": "pause"}));
    assert_eq!(stage.reply(json!({"status": "running"})), [""; 0]);
    assert_eq!(stage.event("STOP", Value::Null), ["send query-status"]);
    assert_eq!(stage.reply(json!({"status": "guest-panicked"})), [""; 0]);
    // One that QEMU lets run on is another matter.
    let mut stage = Stage::running();
    stage.event("GUEST_PANICKED", json!({"action": "run"}));
    assert_eq!(stage.reply(json!({"status": "running"})), ["Running Hypervisor"]);
}

#[test]
fn a_reset_is_finished_when_it_was_done_and_its_echoes_are_not_told() {
    let mut stage = Stage::running();
    assert_eq!(stage.begin(Task::Reset), ["send system_reset"]);
    assert_eq!(stage.event("RESET", json!({"guest": false})), ["reset by_guest=false"]);
    assert_eq!(stage.reply(json!({})), ["send query-status"]);
    assert_eq!(stage.reply(json!({"status": "running"}))[0], "2 done");
    for _ in 0..6 {
        stage.now += Duration::from_millis(900);
        let told = stage.event("RESET", json!({"guest": true}));
        assert!(!told.contains(&"reset by_guest=true".to_owned()), "{told:?}");
    }
    stage.now += Duration::from_secs(1);
    stage.life.handle_console(stage.now);
    let told = stage.event("RESET", json!({"guest": true}));
    assert!(told.contains(&"reset by_guest=true".to_owned()), "{told:?}");
}

#[test]
fn the_echo_of_a_reset_while_paused_comes_after_the_resume_and_is_not_told() {
    let mut stage = Stage::running();
    stage.begin(Task::Pause);
    stage.reply(json!({}));
    stage.reply(json!({"status": "paused"}));
    stage.begin(Task::Reset);
    stage.event("RESET", json!({"guest": false}));
    stage.reply(json!({}));
    stage.reply(json!({"status": "prelaunch"}));
    stage.reply(json!({"status": "prelaunch"}));
    stage.wait(Duration::from_secs(60));
    stage.begin(Task::Resume);
    stage.event("RESUME", Value::Null);
    let told = stage.event("RESET", json!({"guest": true}));
    assert_eq!(told, [""; 0]);
}

#[test]
fn a_reboot_lets_the_guest_go_down_and_up_within_one_process() {
    let mut stage = Stage::running();
    assert_eq!(stage.begin(Task::Reboot), ["send stand=true"]);
    assert_eq!(stage.reply(json!({})), ["send system_powerdown"]);
    assert_eq!(stage.reply(json!({})), [""; 0]);
    stage.event("POWERDOWN", Value::Null);
    assert_eq!(stage.event("SHUTDOWN", json!({"guest": true, "reason": "guest-shutdown"})), ["send system_reset"]);
    assert_eq!(stage.event("STOP", Value::Null), [""; 0]);
    assert_eq!(stage.reply(json!({})), ["send stand=false"]);
    stage.event("RESET", json!({"guest": false}));
    assert_eq!(stage.reply(json!({})), ["send cont"]);
    assert_eq!(stage.reply(json!({})), ["send query-status"]);
    assert_eq!(stage.reply(json!({"status": "running"}))[0], "2 done");
    stage.exit(Exit { signal: Some(9), ..Exit::default() });
    assert_eq!(
        stage.cleaned()[0],
        "Stopped Hypervisor QEMU was ended by signal 9",
        "the shutdown of the reboot is not taken for the reason"
    );
}

#[test]
fn a_reboot_that_the_guest_does_not_hear_ends_and_leaves_no_trap() {
    let mut stage = Stage::running();
    stage.begin(Task::Reboot);
    stage.reply(json!({}));
    stage.reply(json!({}));
    let told = stage.wait(Duration::from_secs(120));
    assert_eq!(told[..2], ["send stand=false", "2 TimedOut: the guest did not go down in time []"]);
}

#[test]
fn a_panic_during_a_reboot_ends_it() {
    let mut stage = Stage::running();
    stage.begin(Task::Reboot);
    stage.reply(json!({}));
    stage.reply(json!({}));
    let told = stage.event("GUEST_PANICKED", Value::Null);
    assert!(told.contains(&"2 Failed: the guest panicked meanwhile []".to_owned()), "{told:?}");
}

#[test]
fn a_lost_monitor_is_told_and_sought_and_is_not_an_end() {
    let mut stage = Stage::running();
    stage.begin(Task::Pause);
    stage.life.handle_link_lost(stage.now, "nonsense".to_owned());
    assert_eq!(stage.orders(), [""; 0], "perhaps the process is ending");
    assert_eq!(
        stage.wait(LINK_GRACE),
        ["monitor false", "2 Failed: the connection to QEMU's monitor was lost [\"nonsense\"]"]
    );
    assert_eq!(stage.begin(Task::Resume), ["3 Failed: QEMU's monitor is not connected; it is being sought []"]);
    assert_eq!(stage.wait(Duration::from_millis(100)), ["connect"]);
    stage.life.handle_link_lost(stage.now, "refused".to_owned());
    assert_eq!(stage.orders(), ["disconnect"]);
    assert_eq!(stage.wait(Duration::from_millis(199)), [""; 0]);
    assert_eq!(stage.wait(Duration::from_millis(1)), ["connect"]);
    stage.greet();
    assert_eq!(stage.orders(), ["send qmp_capabilities"]);
    assert_eq!(stage.reply(json!({})), ["send stand=false"]);
    assert_eq!(stage.reply(json!({})), ["send query-status"]);
    assert_eq!(stage.reply(json!({"status": "paused"})), ["monitor true", "Paused Hypervisor"]);
    assert_eq!(stage.begin(Task::Resume), ["send cont"]);
}

#[test]
fn a_monitor_that_closes_because_the_process_ends_is_not_told() {
    let mut stage = Stage::running();
    stage.life.handle_link_lost(stage.now, "closed".to_owned());
    stage.exit(Exit { signal: Some(9), ..Exit::default() });
    assert_eq!(stage.wait(LINK_GRACE), [""; 0]);
    assert_eq!(stage.cleaned(), ["Stopped Hypervisor QEMU was ended by signal 9", "process None"]);

    // One that has said that it is going may take its time to do so.
    let mut stage = Stage::running();
    stage.event("SHUTDOWN", json!({"guest": true, "reason": "guest-shutdown"}));
    stage.life.handle_link_lost(stage.now, "closed".to_owned());
    assert_eq!(stage.wait(GOING_GRACE - LINK_GRACE), [""; 0]);
    stage.exit(status(0, ""));
    assert_eq!(stage.cleaned(), ["Stopped Guest", "process None"]);
}

#[test]
fn a_command_that_is_not_answered_ends_the_operation() {
    let mut stage = Stage::running();
    stage.begin(Task::Pause);
    let told = stage.wait(SCRIPT);
    assert_eq!(told, ["2 TimedOut: QEMU's monitor did not answer stop in time []"]);
    assert_eq!(stage.reply(json!({})), [""; 0], "the late answer is nobody's");
}
