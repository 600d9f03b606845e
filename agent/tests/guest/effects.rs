//! What commands do, seen by qemu-ga beside us.

use std::time::Duration;

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::port::Port;

/// A guest with our agent, told these words.
fn start(test: &str, words: &str) -> Option<(Machine, Port, Port)> {
    let machine = Machine::start(test, "/bin/vmwire-ga", words)?;
    let (agent, observer) = (machine.agent(), machine.observer());
    Some((machine, agent, observer))
}

/// Begins to write to the disk; `/run/written` is there when it is done.
pub(crate) fn begin_to_write(observer: &mut Port) {
    let command = "rm -f /run/written; echo x >/mnt/file && sync && echo done >/run/written";
    observer.ask_well("guest-exec", &json!({"path": "/bin/sh", "arg": ["-c", command]}));
}

pub(crate) fn is_written(observer: &mut Port) -> bool {
    observer.run("cat /run/written 2>/dev/null") == "done\n"
}

pub(crate) fn wait_until_written(observer: &mut Port) {
    observer.run_until("cat /run/written 2>/dev/null", |said| said == "done\n");
}

fn error(answer: &Value) -> &str {
    answer["error"]["desc"].as_str().unwrap()
}

#[test]
fn a_frozen_disk_is_not_written_to_until_it_thaws() {
    let Some((_machine, mut agent, mut observer)) = start("a_frozen_disk_is_not_written_to_until_it_thaws", "") else {
        return;
    };
    assert_eq!(agent.ask_well("guest-fsfreeze-freeze", &json!({})), 1);
    assert_eq!(observer.run("ls /run/first/qga.state.isfrozen"), "/run/first/qga.state.isfrozen\n");
    begin_to_write(&mut observer);
    observer.run("sleep 0.5");
    assert!(!is_written(&mut observer));
    assert_eq!(agent.ask_well("guest-fsfreeze-thaw", &json!({})), 1);
    wait_until_written(&mut observer);
    assert_eq!(agent.ask_well("guest-fsfreeze-status", &json!({})), "thawed");
}

#[test]
fn a_freeze_that_nobody_thaws_ends_and_is_told() {
    let Some((_machine, mut agent, mut observer)) =
        start("a_freeze_that_nobody_thaws_ends_and_is_told", "-c,/etc/short.conf")
    else {
        return;
    };
    assert_eq!(agent.ask_well("guest-fsfreeze-freeze", &json!({})), 1);
    begin_to_write(&mut observer);
    wait_until_written(&mut observer);
    assert_eq!(agent.ask_well("guest-fsfreeze-status", &json!({})), "thawed");
    let answer = agent.ask("guest-fsfreeze-thaw", &json!({}));
    assert!(error(&answer).contains("lease"), "{answer}");
    assert_eq!(agent.ask_well("guest-fsfreeze-thaw", &json!({})), 0);
    agent.ask_well("guest-get-time", &json!({}));
}

#[test]
fn a_frozen_agent_that_has_to_leave_thaws_first() {
    let Some((_machine, mut agent, mut observer)) = start("a_frozen_agent_that_has_to_leave_thaws_first", "") else {
        return;
    };
    assert_eq!(agent.ask_well("guest-fsfreeze-freeze", &json!({})), 1);
    begin_to_write(&mut observer);
    observer.run("kill -TERM $(cat /run/first/number)");
    wait_until_written(&mut observer);
    observer.run_until("ls /run/first", |said| !said.contains("isfrozen"));
    observer.run_until("kill -0 $(cat /run/first/number) 2>/dev/null || echo gone", |said| said == "gone\n");
}

#[test]
fn a_frozen_agent_that_was_killed_comes_back_frozen() {
    let Some((machine, mut agent, mut observer)) = start("a_frozen_agent_that_was_killed_comes_back_frozen", "") else {
        return;
    };
    assert_eq!(agent.ask_well("guest-fsfreeze-freeze", &json!({})), 1);
    observer.run("kill -KILL $(cat /run/first/number); sleep 0.2; touch /run/first/again");
    observer.run_until("ls /run/first", |said| !said.contains("again"));
    drop(agent);
    let mut agent = machine.agent();
    assert_eq!(agent.ask_well("guest-fsfreeze-status", &json!({})), "frozen");
    assert!(error(&agent.ask("guest-get-time", &json!({}))).contains("frozen state"));
    begin_to_write(&mut observer);
    assert_eq!(agent.ask_well("guest-fsfreeze-thaw", &json!({})), 1);
    wait_until_written(&mut observer);
}

#[test]
fn a_hook_that_fails_or_hangs_freezes_nothing_and_keeps_nobody() {
    let test = "a_hook_that_fails_or_hangs_freezes_nothing_and_keeps_nobody";
    let Some((_machine, mut agent, mut observer)) = start(test, "-c,/etc/short.conf,-F/etc/hook") else { return };
    observer.run("touch /run/hook-fails");
    let answer = agent.ask("guest-fsfreeze-freeze", &json!({}));
    assert_eq!(error(&answer), "fsfreeze hook has failed with status 1");
    observer.run("rm /run/hook-fails; touch /run/hook-hangs");
    let answer = agent.ask("guest-fsfreeze-freeze", &json!({}));
    assert!(error(&answer).contains("took too long"), "{answer}");
    assert_eq!(observer.run("ps | grep '[s]leep 1234'"), "", "what the hook started was killed with it");
    assert_eq!(agent.ask_well("guest-fsfreeze-status", &json!({})), "thawed");
    begin_to_write(&mut observer);
    wait_until_written(&mut observer);
}

#[test]
fn a_password_that_was_set_is_the_users() {
    let Some((_machine, mut agent, mut observer)) = start("a_password_that_was_set_is_the_users", "") else { return };
    let field = "grep ^alice: /etc/shadow | cut -d: -f2";
    let arguments = json!({"username": "alice", "password": "c2VjcmV0", "crypted": false});
    assert_eq!(agent.ask_well("guest-set-user-password", &arguments), json!({}));
    let set = observer.run(field);
    let salt = set.trim_end().split('$').nth(2).unwrap();
    // The same password with the same salt, by another program.
    assert_eq!(observer.run(&format!("openssl passwd -6 -salt '{salt}' secret")), set);
    let arguments = json!({"username": "alice", "password": "JDYkeCR5", "crypted": true});
    agent.ask_well("guest-set-user-password", &arguments);
    assert_eq!(observer.run(field), "$6$x$y\n");
    let arguments = json!({"username": "nobody-here", "password": "eA==", "crypted": false});
    let answer = agent.ask("guest-set-user-password", &arguments);
    assert_eq!(error(&answer), "child process has failed to set user password");
}

#[test]
fn clock_and_processors_become_what_is_wanted() {
    let Some((_machine, mut agent, mut observer)) = start("clock_and_processors_become_what_is_wanted", "") else {
        return;
    };
    agent.ask_well("guest-set-time", &json!({"time": 2_000_000_000_000_000_000_i64}));
    assert_eq!(observer.run("date -u +%Y-%m-%d"), "2033-05-18\n");
    assert!(observer.run("hwclock -u").contains("2033"));
    agent.ask_well("guest-set-vcpus", &json!({"vcpus": [{"logical-id": 1, "online": false}]}));
    assert_eq!(observer.run("cat /sys/devices/system/cpu/online"), "0\n");
    agent.ask_well("guest-set-vcpus", &json!({"vcpus": [{"logical-id": 1, "online": true}]}));
    assert_eq!(observer.run("cat /sys/devices/system/cpu/online"), "0-1\n");
}

#[test]
fn a_shutdown_is_seen_and_not_answered() {
    let Some((mut machine, mut agent, mut observer)) = start("a_shutdown_is_seen_and_not_answered", "") else { return };
    // A halt leaves this guest as it is, so that what is answered next is the next request.
    agent.send(b"{\"execute\":\"guest-shutdown\",\"arguments\":{\"mode\":\"halt\"},\"id\":1}\n");
    assert_eq!(agent.ask_well("guest-sync", &json!({"id": 5})), 5);
    assert_eq!(observer.run("cat /run/shutdown"), "-h -H +0 hypervisor initiated shutdown\n");
    agent.send(b"{\"execute\":\"guest-shutdown\"}\n");
    machine.wait_for_end();
}

#[test]
fn an_agent_whose_host_is_away_sleeps() {
    let Some((machine, agent, mut observer)) = start("an_agent_whose_host_is_away_sleeps", "") else { return };
    drop(agent);
    // How often it slept, and the time of the processor that it took: who spins does not sleep.
    let busy = "cd /proc/$(cat /run/first/number); grep ^voluntary status; cut -d' ' -f14,15 stat";
    observer.run("sleep 0.5");
    let before = observer.run(busy);
    observer.run("sleep 2");
    assert_eq!(observer.run(busy), before);
    machine.agent().ask_well("guest-ping", &json!({}));
}

#[test]
fn a_guest_that_sleeps_is_woken_and_answers() {
    let Some((machine, mut agent, mut observer)) = start("a_guest_that_sleeps_is_woken_and_answers", "") else {
        return;
    };
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
