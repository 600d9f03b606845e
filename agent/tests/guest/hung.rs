//! A guest of which something hangs: a file system whose server is dead, a disk that somebody froze. Whoever asks it waits, and so does
//! a child of the agent; the agent does not.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::port::Port;

/// Has a file system be there whose server takes no question: whoever asks it anything waits.
fn hang(observer: &mut Port, words: &str) {
    let options = "fd=3,rootmode=40000,user_id=0,group_id=0";
    observer.run(&format!("exec 3<>/dev/fuse; mount -o {options} {words} && exec sleep 100000 >/dev/null 2>&1 &"));
    let directory = words.rsplit(' ').next().unwrap();
    observer.run_until(&format!("grep -c ' {directory} fuse' /proc/mounts"), |said| said == "1\n");
}

fn error(answer: &Value) -> &str {
    answer["error"]["desc"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

/// Nobody is left whom the agent started.
fn wait_until_childless(observer: &mut Port) {
    let look = "grep -l \"^PPid:.$(cat /run/first/number)$\" /proc/[0-9]*/status | wc -l";
    observer.run_until(look, |said| said == "0\n");
}

#[test]
fn a_file_system_that_hangs_keeps_who_asks_for_it_and_nobody_else() {
    let test = "a_file_system_that_hangs_keeps_who_asks_for_it_and_nobody_else";
    let Some(machine) = Machine::start(test, "/bin/vmwire-ga", "-c,/etc/impatient.conf,-F/run/hung/hook") else {
        return;
    };
    let (mut agent, mut observer) = (machine.agent(), machine.observer());
    observer.run("mkdir /run/hung && umount /mnt");
    let (cpu, memory) = ("/sys/devices/system/cpu", "/sys/devices/system/memory");
    for directory in ["/run/hung", "/home/alice", cpu, memory] {
        hang(&mut observer, &format!("-t fuse none {directory}"));
    }
    hang(&mut observer, "-t fuseblk /dev/vda /mnt");
    let killed = "child process took too long and was killed";
    let path = "/run/hung/program";
    let not_found = |path: &str| {
        format!(
            "Guest agent command failed, error was 'Failed to execute child process \u{201c}{path}\u{201d} (it could not be \
             looked up in time)'"
        )
    };
    let processor = json!([{"logical-id": 1, "online": true}]);
    let block = json!([{"phys-index": 0, "online": true}]);
    for (command, arguments, why) in [
        ("guest-exec", json!({"path": path}), not_found(path)),
        ("guest-exec", json!({"path": "program", "env": ["PATH=/run/hung"]}), not_found("program")),
        ("guest-get-fsinfo", json!({}), killed.to_owned()),
        ("guest-ssh-get-authorized-keys", json!({"username": "alice"}), killed.to_owned()),
        ("guest-ssh-add-authorized-keys", json!({"username": "alice", "keys": ["x"]}), killed.to_owned()),
        ("guest-ssh-remove-authorized-keys", json!({"username": "alice", "keys": ["x"]}), killed.to_owned()),
        ("guest-get-vcpus", json!({}), killed.to_owned()),
        ("guest-set-vcpus", json!({"vcpus": processor}), killed.to_owned()),
        ("guest-get-memory-blocks", json!({}), killed.to_owned()),
        ("guest-set-memory-blocks", json!({"mem-blks": block}), killed.to_owned()),
        ("guest-get-memory-block-info", json!({}), killed.to_owned()),
        ("guest-fsfreeze-freeze", json!({}), killed.to_owned()),
    ] {
        assert_eq!(error(&agent.ask(command, &arguments)), why, "{command}");
        assert_eq!(agent.ask_well("guest-ping", &json!({})), json!({}));
    }
    wait_until_childless(&mut observer);
    // The last, as nothing works without.
    hang(&mut observer, "-t fuse none /etc");
    for command in ["guest-get-osinfo", "guest-get-timezone"] {
        assert_eq!(error(&agent.ask(command, &json!({}))), killed, "{command}");
    }
    agent.ask_well("guest-ping", &json!({}));
    wait_until_childless(&mut observer);
}

#[test]
fn keys_on_a_disk_that_somebody_froze_keep_nobody() {
    let test = "keys_on_a_disk_that_somebody_froze_keep_nobody";
    let Some(machine) = Machine::start(test, "/bin/vmwire-ga", "-c,/etc/longer.conf") else { return };
    let (mut agent, mut observer) = (machine.agent(), machine.observer());
    observer.run("mkdir /mnt/alice && chown 1000:1000 /mnt/alice && mount -o bind /mnt/alice /home/alice");
    let keys = |key: &str| json!({"username": "alice", "keys": [key]});
    agent.ask_well("guest-ssh-add-authorized-keys", &keys("one"));
    assert_eq!(observer.ask_well("guest-fsfreeze-freeze", &json!({})), 1);
    let answer = agent.ask("guest-ssh-add-authorized-keys", &keys("two"));
    assert_eq!(error(&answer), "child process took too long and was killed");
    agent.ask_well("guest-ping", &json!({}));
    assert_eq!(observer.ask_well("guest-fsfreeze-thaw", &json!({})), 1);
    // Who was left behind in the kernel ends with the freeze, and is taken note of.
    wait_until_childless(&mut observer);
    assert_eq!(observer.run("cat /home/alice/.ssh/authorized_keys"), "one", "it is not written by who was given up");
    agent.ask_well("guest-ssh-add-authorized-keys", &keys("three"));
    assert_eq!(observer.run("cat /home/alice/.ssh/authorized_keys"), "one\nthree");
}

#[test]
fn a_signal_ends_an_agent_whose_program_cannot_begin() {
    let test = "a_signal_ends_an_agent_whose_program_cannot_begin";
    let Some(machine) = Machine::start(test, "/bin/vmwire-ga", "-c,/etc/endless.conf") else { return };
    let (mut agent, mut observer) = (machine.agent(), machine.observer());
    observer.run("mkdir /run/hung");
    hang(&mut observer, "-t fuse none /run/hung");
    agent.send(b"{\"execute\":\"guest-exec\",\"arguments\":{\"path\":\"/run/hung/program\"}}\n");
    let look = "grep -l \"^PPid:.$(cat /run/first/number)$\" /proc/[0-9]*/status | wc -l";
    observer.run_until(look, |said| said == "1\n");
    observer.run("kill -TERM $(cat /run/first/number)");
    observer.run_until("kill -0 $(cat /run/first/number) 2>/dev/null || echo gone", |said| said == "gone\n");
    // Who could not begin did not outlive it.
    observer.run_until("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '[b]in/vmwire-ga -m'", |said| said == "0\n");
}

/// Has the disk take no more than one byte in a second, or as many as come.
fn set_stalled(monitor: &mut Port, stalled: bool) {
    let arguments = json!({
        "device": "disk", "bps": 0, "bps_rd": 0, "bps_wr": u8::from(stalled), "iops": 0, "iops_rd": 0, "iops_wr": 0
    });
    monitor.ask_well("block_set_io_throttle", &arguments);
}

#[test]
fn a_freeze_that_a_stalled_disk_keeps_in_the_kernel_is_thawed_when_it_is_over() {
    let test = "a_freeze_that_a_stalled_disk_keeps_in_the_kernel_is_thawed_when_it_is_over";
    let Some(machine) = Machine::start(test, "/bin/vmwire-ga", "-c,/etc/longer.conf") else { return };
    let (mut agent, mut observer, mut monitor) = (machine.agent(), machine.observer(), machine.monitor());
    // Who writes is in the middle of it until the disk has taken it.
    observer.run("mount -o remount,sync /mnt");
    set_stalled(&mut monitor, true);
    observer.run("(while echo x >>/mnt/file; do echo x >>/run/lines; done) >/dev/null 2>&1 & echo $! >/run/writer");
    let look = "cat /run/lines | wc -l; grep ^State /proc/$(cat /run/writer)/status";
    let is_stuck =
        format!("before=$({look}); sleep 1; after=$({look}); [ \"$before\" = \"$after\" ] && echo \"$after\"");
    observer.run_until(&is_stuck, |said| said.contains("D (disk sleep)"));
    assert_eq!(error(&agent.ask("guest-fsfreeze-freeze", &json!({}))), "child process took too long and was killed");
    assert_eq!(agent.ask_well("guest-fsfreeze-status", &json!({})), "frozen");
    error(&agent.ask("guest-fsfreeze-thaw", &json!({})));
    assert_eq!(agent.ask_well("guest-fsfreeze-status", &json!({})), "frozen");
    set_stalled(&mut monitor, false);
    let end = Instant::now() + Duration::from_secs(180);
    while agent.ask_well("guest-fsfreeze-status", &json!({})) == "frozen" {
        assert!(Instant::now() < end, "it stays frozen");
    }
    // Nothing is frozen in truth either.
    observer.run("kill $(cat /run/writer)");
    observer.run("echo x >/mnt/file");
    wait_until_childless(&mut observer);
    assert_eq!(agent.ask_well("guest-fsfreeze-thaw", &json!({})), 0);
}
