//! From an order to a guest that runs, or to the reason why it does not.

use super::*;

#[test]
fn a_start_is_finished_when_the_monitor_says_running_and_not_before() {
    let mut stage = Stage::new();
    let task = Task::Start { cmdline: Some("quiet".to_owned()), paused: false };
    assert_eq!(stage.begin(task), ["Starting Requested", "prepare"]);
    stage.life.handle_prepared(stage.now, Ok(()));
    assert_eq!(stage.orders(), ["launch"]);
    stage.life.handle_launched(Ok(process()));
    assert_eq!(stage.orders(), ["process Some(7)"]);
    stage.greet();
    assert_eq!(stage.orders(), ["send qmp_capabilities"]);
    assert_eq!(stage.reply(json!({})), ["send append quiet"]);
    assert_eq!(stage.reply(json!({})), ["send x-exit-preconfig"]);
    assert_eq!(stage.reply(json!({})), ["send cont"]);
    assert_eq!(stage.event("RESUME", Value::Null), [""; 0]);
    assert_eq!(stage.reply(json!({})), ["send query-status"]);
    let told = stage.reply(json!({"status": "running", "running": true}));
    assert_eq!(told[..2], ["Running Requested", "1 done"]);
    assert_eq!(told[2..], ["send query-status"], "the RESUME is looked into");
    assert_eq!(stage.reply(json!({"status": "running"})), [""; 0]);
}

#[test]
fn a_paused_start_is_finished_when_the_guest_stands() {
    let mut stage = Stage::new();
    stage.begin(Task::Start { cmdline: None, paused: true });
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.greet();
    stage.orders();
    assert_eq!(stage.reply(json!({})), ["send x-exit-preconfig"]);
    assert_eq!(stage.reply(json!({})), ["send query-status"]);
    assert_eq!(stage.reply(json!({"status": "prelaunch"})), ["Paused Requested", "1 done"]);
}

#[test]
fn a_qemu_that_ends_at_once_fails_the_start_with_what_it_said() {
    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.life.handle_launched(Ok(process()));
    stage.life.handle_link_lost(stage.now, "closed".to_owned());
    stage.orders();
    assert_eq!(stage.exit(status(1, "no such\nfirmware")), ["disconnect", "cleanup"]);
    assert_eq!(
        stage.cleaned(),
        [
            "Stopped Failed QEMU ended before the guest ran",
            "process None",
            "1 Failed: QEMU ended before the guest ran [\"QEMU ended with status 1\", \"no such\", \"firmware\"]"
        ]
    );
    assert!(stage.life.is_stopped() && stage.life.poll_timeout().is_none());
}

#[test]
fn what_the_launcher_says_is_the_error() {
    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.orders();
    stage.exit(Exit { status: Some(70), launcher: Some(failed("/srv/x cannot be opened")), ..Exit::default() });
    assert_eq!(stage.cleaned()[2], "1 Failed: /srv/x cannot be opened []");
}

#[test]
fn a_monitor_that_never_greets_times_the_start_out_and_the_process_is_killed() {
    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.orders();
    assert_eq!(stage.wait(Duration::from_millis(29_999)), [""; 0]);
    assert_eq!(stage.wait(Duration::from_millis(1)), ["kill"]);
    assert_eq!(stage.exit(Exit { signal: Some(9), ..Exit::default() }), ["disconnect", "cleanup"]);
    let told = stage.cleaned();
    assert_eq!(told[0], "Stopped Failed QEMU's monitor did not greet in time");
    assert!(told[2].starts_with("1 TimedOut"), "{told:?}");
}

#[test]
fn a_monitor_lost_during_the_start_fails_it() {
    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.orders();
    stage.life.handle_link_lost(stage.now, "nonsense".to_owned());
    assert_eq!(stage.wait(LINK_GRACE), ["kill"]);
    stage.exit(Exit { signal: Some(9), ..Exit::default() });
    let told = stage.cleaned();
    assert_eq!(told[2], "1 Failed: the connection to QEMU's monitor was lost [\"nonsense\"]");
}

#[test]
fn a_refusal_during_the_start_fails_it() {
    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.greet();
    stage.orders();
    stage.reply(json!({}));
    assert_eq!(stage.refuse("no"), ["kill"]);
    stage.exit(Exit { signal: Some(9), ..Exit::default() });
    assert_eq!(stage.cleaned()[2], "1 Failed: QEMU refused x-exit-preconfig [\"no\"]");
}

#[test]
fn an_operation_after_which_the_guest_is_in_another_state_has_failed() {
    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.greet();
    stage.reply_all(3);
    assert_eq!(
        stage.reply(json!({"status": "guest-panicked"})),
        [
            "Crashed Guest the guest panicked",
            "1 Failed: everything was done, and yet the guest is in another state [\"QEMU says guest-panicked\"]"
        ]
    );
}

#[test]
fn a_record_that_cannot_be_written_fails_the_start_before_anything_is_launched() {
    let mut stage = Stage::new();
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Err("disk full".to_owned()));
    assert_eq!(stage.orders(), ["disconnect", "cleanup"]);
    assert_eq!(
        stage.cleaned(),
        [
            "Stopped Failed the run record could not be written",
            "1 Failed: the run record could not be written [\"disk full\"]"
        ]
    );
}
