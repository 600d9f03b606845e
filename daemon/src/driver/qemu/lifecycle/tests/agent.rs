//! The agent's channel: what is asked and told of it.

use super::*;

/// A guest that runs, whose second channel is its agent's; QEMU was asked whether it is open.
fn running() -> Stage {
    let mut stage = Stage::new();
    stage.life.handle_channels(Some(1));
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.life.handle_agent_line(true);
    stage.life.handle_launched(Ok(process()));
    stage.greet();
    stage.reply_all(3);
    let told = stage.reply(json!({"status": "running"}));
    assert_eq!(told, ["Running Requested", "send query-chardev", "1 done"]);
    stage
}

fn devices(open: bool) -> Value {
    json!([
        {"frontend-open": true, "filename": "unix:", "label": "monitor"},
        {"frontend-open": !open, "filename": "unix:", "label": "channel0"},
        {"frontend-open": open, "filename": "unix:", "label": "channel1"},
    ])
}

const NOTHING: [&str; 0] = [];

#[test]
fn whether_the_agents_channel_is_open_is_asked_for_once_and_then_told_by_events() {
    let mut stage = running();
    assert_eq!(stage.reply(devices(false)), NOTHING);
    assert_eq!(stage.event("VSERPORT_CHANGE", json!({"id": "port1", "open": true})), ["agent port open=Some(true)"]);
    // QEMU tells the newest change of a second: the one before it is lost.
    assert_eq!(stage.event("VSERPORT_CHANGE", json!({"id": "port1", "open": true})), ["agent port open=Some(true)"]);
    assert_eq!(stage.event("VSERPORT_CHANGE", json!({"id": "port1", "open": false})), ["agent port open=Some(false)"]);
    assert_eq!(stage.event("VSERPORT_CHANGE", json!({"id": "port1", "open": false})), NOTHING);
    assert_eq!(stage.life.poll_timeout(), None, "a silent agent costs no wake-up");
}

#[test]
fn what_is_told_of_other_channels_or_makes_no_sense_changes_nothing() {
    let mut stage = running();
    for answer in [json!(null), json!([]), json!([{"label": "channel1"}]), json!([{"label": 1, "frontend-open": true}])]
    {
        stage.life.handle_agent_line(false);
        stage.life.handle_agent_line(true);
        assert_eq!(stage.orders(), ["agent port open=None", "send query-chardev"]);
        assert_eq!(stage.reply(answer), NOTHING);
    }
    for data in [
        json!({"id": "port0", "open": true}),
        json!({"id": "port11", "open": true}),
        json!({"id": 1, "open": true}),
        json!({"id": "port1", "open": "true"}),
        json!({"id": "port1"}),
        json!(null),
        json!("port1"),
    ] {
        assert_eq!(stage.event("VSERPORT_CHANGE", data), NOTHING);
    }
    let mut stage = Stage::running();
    assert_eq!(stage.event("VSERPORT_CHANGE", json!({"id": "port0", "open": true})), NOTHING, "no agent's channel");
    stage.life.handle_agent_line(true);
    assert_eq!(stage.orders(), NOTHING);
}

/// A guest of a former daemon, whose second channel is its agent's; QEMU was asked whether it is open.
fn adopted() -> Stage {
    let mut stage = Stage::new();
    stage.life = Lifecycle::adopt(stage.now, VM, process(), Patience::default(), 1);
    stage.life.handle_channels(Some(1));
    stage.life.handle_connected(process().pid);
    stage.life.handle_agent_line(true);
    stage.greet();
    stage.reply_all(1);
    assert_eq!(stage.event("VSERPORT_CHANGE", json!({"id": "port1", "open": true})), NOTHING, "not proved yet");
    stage.reply(json!({"UUID": VM.to_string()}));
    stage.reply_all(2);
    let told = stage.reply(json!({"status": "running"}));
    assert_eq!(told, ["process Some(7)", "Running Adopted", "send query-chardev"]);
    stage
}

#[test]
fn an_agent_that_was_there_before_the_daemon_is_found() {
    let mut stage = adopted();
    assert_eq!(stage.reply(devices(true)), ["agent port open=Some(true)"]);

    let mut stage = adopted();
    assert_eq!(stage.reply(devices(false)), ["agent port open=Some(false)"], "that there is none is news, too");
    stage.begin(Task::Stop);
    stage.exit(status(0, ""));
    assert_eq!(stage.cleaned()[0], "Stopped Requested");

    let mut stage = adopted();
    stage.begin(Task::Stop);
    stage.exit(status(0, ""));
    assert_eq!(stage.cleaned()[0], "Stopped Requested", "nobody knew");
}

#[test]
fn of_an_agent_that_cannot_be_reached_nobody_says_that_it_is_not_there() {
    let mut stage = running();
    stage.reply(devices(true));
    stage.life.handle_agent_line(false);
    assert_eq!(stage.orders(), ["agent port open=None"]);
    for open in [true, false] {
        assert_eq!(stage.event("VSERPORT_CHANGE", json!({"id": "port1", "open": open})), NOTHING);
    }
    stage.life.handle_agent_line(true);
    assert_eq!(stage.orders(), ["send query-chardev"]);
    let late = stage.last_command;
    stage.life.handle_agent_line(false);
    assert_eq!(stage.orders(), ["agent port open=None"]);
    stage.last_command = late;
    assert_eq!(stage.reply(devices(true)), NOTHING, "the answer came too late");
    stage.life.handle_agent_line(true);
    stage.orders();
    assert_eq!(stage.reply(devices(true)), ["agent port open=Some(true)"]);
    stage.life.handle_agent_line(false);
    stage.life.handle_agent_line(true);
    assert_eq!(stage.orders(), ["agent port open=None", "send query-chardev"]);
    assert_eq!(stage.reply(devices(false)), ["agent port open=Some(false)"], "that was not known meanwhile");
}

#[test]
fn an_agent_whose_channel_is_lost_before_its_guest_runs_is_not_known_either() {
    let mut stage = Stage::new();
    stage.life.handle_channels(Some(1));
    stage.begin(start());
    stage.life.handle_prepared(stage.now, Ok(()));
    stage.life.handle_agent_line(true);
    stage.life.handle_launched(Ok(process()));
    stage.life.handle_agent_line(false);
    stage.greet();
    stage.reply_all(3);
    assert_eq!(stage.reply(json!({"status": "running"})), ["Running Requested", "agent port open=None", "1 done"]);
    stage.life.handle_agent_line(true);
    assert_eq!(stage.orders(), ["send query-chardev"]);
    assert_eq!(stage.reply(devices(false)), ["agent port open=Some(false)"]);
}

#[test]
fn an_agent_whose_channel_is_lost_while_the_monitor_is_away_is_asked_for_when_both_are_back() {
    let mut stage = running();
    stage.reply(devices(true));
    stage.life.handle_link_lost(stage.now, "closed".to_owned());
    assert_eq!(stage.wait(LINK_GRACE), ["monitor false"]);
    stage.life.handle_agent_line(false);
    assert_eq!(stage.orders(), ["agent port open=None"]);
    stage.life.handle_agent_line(true);
    assert_eq!(stage.orders(), NOTHING, "nobody is there to be asked");
    stage.wait(Duration::from_millis(100));
    stage.greet();
    stage.reply_all(2);
    let told = stage.reply(json!({"status": "running"}));
    assert_eq!(told, ["monitor true", "send query-chardev"]);
}

#[test]
fn it_is_asked_for_again_when_the_monitor_was_lost() {
    let mut stage = running();
    stage.reply(devices(true));
    stage.life.handle_link_lost(stage.now, "closed".to_owned());
    assert_eq!(stage.wait(LINK_GRACE), ["monitor false"], "the agent can still be spoken with");
    stage.wait(Duration::from_millis(100));
    stage.greet();
    stage.reply_all(2);
    let told = stage.reply(json!({"status": "running"}));
    assert_eq!(told, ["monitor true", "send query-chardev"]);
    assert_eq!(stage.reply(devices(true)), ["agent port open=Some(true)"], "it may be another one");
    for _ in 0..2 {
        stage.life.handle_link_lost(stage.now, "closed".to_owned());
        stage.wait(LINK_GRACE);
        stage.wait(Duration::from_millis(100));
        stage.greet();
        stage.reply_all(3);
        assert_eq!(stage.reply(devices(false)), ["agent port open=Some(false)"], "it was not known meanwhile");
    }
}

#[test]
fn the_agent_is_gone_before_its_guest_is_told_stopped() {
    let mut stage = running();
    stage.reply(devices(true));
    stage.begin(Task::Stop);
    assert_eq!(stage.exit(status(0, "")), ["disconnect", "cleanup"]);
    stage.life.handle_agent_line(false);
    assert_eq!(stage.orders(), NOTHING, "why it is gone is told along with it");
    let told = stage.cleaned();
    assert_eq!(told, ["agent port open=Some(false)", "Stopped Requested", "process None", "2 done"]);
}
