//! What commands do, seen by qemu-ga beside us.

use serde_json::{Value, json};

use crate::machine::{Machine, Plan};
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

/// Kills the first agent, and has the guest start it again when nothing is left of it.
fn kill_and_start_again(observer: &mut Port) {
    let dies =
        "number=$(cat /run/first/number); kill -KILL $number; while kill -0 $number 2>/dev/null; do sleep 0.05; done";
    observer.run(&format!("{dies}; touch /run/first/again"));
    observer.run_until("ls /run/first", |said| !said.contains("again"));
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
    kill_and_start_again(&mut observer);
    drop(agent);
    let mut agent = machine.agent();
    assert_eq!(agent.ask_well("guest-fsfreeze-status", &json!({})), "frozen");
    assert!(error(&agent.ask("guest-get-time", &json!({}))).contains("frozen state"));
    begin_to_write(&mut observer);
    assert_eq!(agent.ask_well("guest-fsfreeze-thaw", &json!({})), 1);
    wait_until_written(&mut observer);
}

#[test]
fn a_frozen_agent_touches_nothing_of_what_it_froze() {
    let test = "a_frozen_agent_touches_nothing_of_what_it_froze";
    // Log and state are on the disk that is frozen: who wrote there would not come back.
    let Some((machine, mut agent, mut observer)) = start(test, "-v,-l,/mnt/log,-t,/mnt") else { return };
    let frozen = |agent: &mut Port| {
        assert!(error(&agent.ask("guest-file-open", &json!({"path": "/etc/passwd"}))).contains("frozen state"));
        assert!(error(&agent.ask("nope", &json!({}))).contains("not been found"));
        assert_eq!(agent.ask_well("guest-ping", &json!({})), json!({}));
        assert_eq!(agent.answers(b"garbage here").len(), 1);
        assert_eq!(agent.ask_well("guest-fsfreeze-status", &json!({})), "frozen");
    };
    assert_eq!(agent.ask_well("guest-fsfreeze-freeze", &json!({})), 1);
    frozen(&mut agent);
    // Nor does its successor.
    kill_and_start_again(&mut observer);
    drop(agent);
    let mut agent = machine.agent();
    frozen(&mut agent);
    let before = observer.run("wc -l </mnt/log");
    assert_eq!(agent.ask_well("guest-fsfreeze-thaw", &json!({})), 1);
    assert_eq!(agent.ask_well("guest-file-open", &json!({"path": "/etc/passwd"})), 1000);
    assert_ne!(observer.run("wc -l </mnt/log"), before, "it logs again");
    assert_eq!(observer.run("cat /mnt/qga.state; ls /mnt/*frozen 2>&1 | wc -l"), "[global]\nfd_counter=1001\n1\n");
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
    // What the hook started was killed with it, and goes when a processor has time for that.
    observer.run_until("ps | grep '[s]leep 1234'", str::is_empty);
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
    // A program that asks for it lets in who knows it, and nobody else.
    observer.run("mkdir /tmp/asks && cp /bin/busybox /tmp/asks/su && chmod 4755 /tmp/asks/su");
    let become_alice = |word: &str| format!("su alice -c \"echo {word} | /tmp/asks/su alice -c 'id -un'\"");
    assert!(observer.run(&become_alice("secret")).ends_with("alice\n"));
    assert!(!observer.run(&become_alice("Secret")).contains("alice"));
    let arguments = json!({"username": "alice", "password": "JDYkeCR5", "crypted": true});
    agent.ask_well("guest-set-user-password", &arguments);
    assert_eq!(observer.run(field), "$6$x$y\n");
    let arguments = json!({"username": "nobody-here", "password": "eA==", "crypted": false});
    let answer = agent.ask("guest-set-user-password", &arguments);
    assert_eq!(error(&answer), "child process has failed to set user password");
}

#[test]
fn clocks_and_processors_become_what_is_wanted() {
    let Some((_machine, mut agent, mut observer)) = start("clocks_and_processors_become_what_is_wanted", "") else {
        return;
    };
    let now = "date -u +%s";
    let before: i64 = observer.run(now).trim().parse().unwrap();
    observer.run("date -s 2001-01-01");
    // The other clock still knows. It counts whole seconds, not those of the first clock: it may be up to one behind.
    agent.ask_well("guest-set-time", &json!({}));
    let after: i64 = observer.run(now).trim().parse().unwrap();
    assert!((before - 2..before + 120).contains(&after), "{before} {after}");
    agent.ask_well("guest-set-time", &json!({"time": 2_000_000_000_000_000_000_i64}));
    assert_eq!(observer.run("date -u +%Y-%m-%d"), "2033-05-18\n");
    assert!(observer.run("hwclock -u").contains("2033"));
    let zone = agent.ask_well("guest-get-timezone", &json!({}));
    assert_eq!(zone, json!({"zone": "IST", "offset": 5 * 3600 + 1800}));
    assert_eq!(observer.run("date '+%Z %z'"), "IST +0530\n");
    agent.ask_well("guest-set-vcpus", &json!({"vcpus": [{"logical-id": 1, "online": false}]}));
    assert_eq!(observer.run("cat /sys/devices/system/cpu/online"), "0\n");
    agent.ask_well("guest-set-vcpus", &json!({"vcpus": [{"logical-id": 1, "online": true}]}));
    assert_eq!(observer.run("cat /sys/devices/system/cpu/online"), "0-1\n");
}

#[test]
fn memory_comes_and_goes_by_blocks() {
    let test = "memory_comes_and_goes_by_blocks";
    let qemu = "-m 320,slots=2,maxmem=1G -object memory-backend-ram,id=more,size=256M -device pc-dimm,memdev=more";
    let qemu: Vec<&str> = qemu.split(' ').collect();
    // Where memory may be taken away again, nothing that cannot be moved is put.
    let kernel = "memory_hotplug.online_policy=auto-movable memory_hotplug.auto_movable_ratio=1000";
    let plan = Plan { program: "/bin/vmwire-ga", words: "", qemu: &qemu, kernel, programs: &[] };
    let Some(machine) = Machine::planned(test, &plan) else { return };
    let (mut agent, mut observer) = (machine.agent(), machine.observer());
    let mut total =
        || observer.run("sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo").trim().parse().unwrap();
    let size = agent.ask_well("guest-get-memory-block-info", &json!({}))["size"].as_i64().unwrap() >> 10;
    let blocks = agent.ask_well("guest-get-memory-blocks", &json!({}));
    let block = blocks.as_array().unwrap().iter().rfind(|block| block["online"] == json!(false)).unwrap();
    let number = block["phys-index"].clone();
    let before: i64 = total();
    let success = json!([{"phys-index": number, "response": "success"}]);
    let set = |agent: &mut Port, online: bool| {
        agent.ask_well("guest-set-memory-blocks", &json!({"mem-blks": [{"phys-index": number, "online": online}]}))
    };
    assert_eq!(set(&mut agent, true), success);
    assert_eq!(total(), before + size);
    assert_eq!(set(&mut agent, false), success);
    assert_eq!(total(), before);
    assert_eq!(observer.run(&format!("cat /sys/devices/system/memory/memory{number}/state")), "offline\n");
}

#[test]
fn what_is_not_used_is_given_back_to_the_host() {
    let Some((machine, mut agent, mut observer)) = start("what_is_not_used_is_given_back_to_the_host", "") else {
        return;
    };
    let image = machine.directory.path().join("disk");
    let blocks = || std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&image).unwrap());
    let before = blocks();
    observer.run("head -c 8000000 /dev/urandom >/mnt/much; sync");
    let full = blocks();
    assert!(full - before > 8_000_000 / 512 / 2, "{before} {full}");
    observer.run("rm /mnt/much; sync");
    assert!(blocks() > full - 1000);
    let trimmed = agent.ask_well("guest-fstrim", &json!({}));
    assert_eq!(trimmed["paths"][0]["path"], "/mnt");
    assert!(full - blocks() > 8_000_000 / 512 / 2, "{full} {}", blocks());
}

#[test]
fn keys_are_their_users_and_only_whole() {
    let Some((_machine, mut agent, mut observer)) = start("keys_are_their_users_and_only_whole", "") else { return };
    let look = "cd /home/alice; stat -c '%n %a %u:%g' .ssh .ssh/*; cat .ssh/authorized_keys";
    let keys = json!({"username": "alice", "keys": ["ssh-ed25519 AAAA a@b", "ssh-rsa BBBB"]});
    agent.ask_well("guest-ssh-add-authorized-keys", &keys);
    let file = ".ssh 700 1000:1000\n.ssh/authorized_keys 600 1000:1000\n";
    assert_eq!(observer.run(look), format!("{file}ssh-ed25519 AAAA a@b\nssh-rsa BBBB"));
    agent.ask_well("guest-ssh-remove-authorized-keys", &json!({"username": "alice", "keys": ["ssh-ed25519 AAAA a@b"]}));
    assert_eq!(observer.run(look), format!("{file}ssh-rsa BBBB"));
}

#[test]
fn a_shutdown_is_seen_and_not_answered() {
    let Some((mut machine, mut agent, mut observer)) = start("a_shutdown_is_seen_and_not_answered", "") else { return };
    // A halt leaves this guest as it is, so that what is answered next is the next request.
    agent.send(b"{\"execute\":\"guest-shutdown\",\"arguments\":{\"mode\":\"halt\"},\"id\":1}\n");
    assert_eq!(agent.ask_well("guest-sync", &json!({"id": 5})), 5);
    observer.run_until("cat /run/shutdown 2>/dev/null", |said| said == "-h -H +0 hypervisor initiated shutdown\n");
    agent.send(b"{\"execute\":\"guest-shutdown\"}\n");
    machine.wait_for_end();
}

#[test]
fn an_agent_whose_host_is_away_sleeps() {
    let Some((machine, agent, mut observer)) = start("an_agent_whose_host_is_away_sleeps", "") else { return };
    drop(agent);
    // How often it slept, and the time of the processor that it took: who spins does not sleep. It has to do with the host's
    // going at first; who spins is never found twice with the same figures.
    let busy = "cd /proc/$(cat /run/first/number); grep -e ^voluntary -e ^State status; cut -d' ' -f14,15 stat";
    observer.wait_until_idle(busy);
    machine.agent().ask_well("guest-ping", &json!({}));
}

#[test]
fn no_secret_reaches_the_systems_log() {
    let Some((_machine, mut agent, mut observer)) = start("no_secret_reaches_the_systems_log", "") else { return };
    observer.run("syslogd -O /run/syslog");
    observer.run_until("ls /dev/log 2>/dev/null", |said| said == "/dev/log\n");
    // "secret", as it is sent and as it is.
    let (sent, meant) = ("c2VjcmV0", "secret");
    agent.ask_well("guest-set-user-password", &json!({"username": "alice", "password": sent, "crypted": false}));
    let program = json!({"path": "true", "arg": ["a\nline"], "input-data": sent, "env": [format!("WORD={meant}")]});
    agent.ask_well("guest-exec", &program);
    agent.ask_well("guest-fstrim", &json!({}));
    // Lines arrive in order, so that with the last all are there.
    let said = observer.run_until("cat /run/syslog", |said| said.contains("guest-fstrim called"));
    assert!(said.contains("guest-exec called: \"true a\\nline\""), "{said}");
    assert!(!said.contains(sent) && !said.contains(meant), "{said}");
}
