//! A daemon that is asked to leave goes, whatever its helpers do.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Setup, eventually};

/// The children of a process, with what they were called with.
fn children(of: u32) -> Vec<(Pid, String)> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let of_it = |file: &str| std::fs::read(Path::new("/proc").join(pid.to_string()).join(file)).ok();
        let stat = String::from_utf8_lossy(&of_it("stat")?).into_owned();
        let parent: u32 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
        let command = String::from_utf8_lossy(&of_it("cmdline")?).replace('\0', " ");
        Some((Pid::from_raw(pid)?, command)).filter(|_| parent == of)
    })
    .collect()
}

/// Whether a process is there and is no zombie.
fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

#[test]
fn a_daemon_leaves_in_time_and_says_so_though_none_of_its_helpers_answers() {
    // Without a proof of KVM, which the file helper might be told to keep meanwhile.
    let mut daemon = Setup::qemu().networked().start_as(|mut command| {
        command.env("VMWIRE_ACCEL", "tcg");
        command
    });
    daemon.json(&["client", "invite", "bob", "--role", "operator"]);
    let helpers = children(daemon.pid());
    assert!(helpers.iter().any(|(_, command)| command.contains("--files")), "{helpers:?}");
    for (pid, _) in &helpers {
        let _ended_already = kill_process(*pid, Signal::STOP);
    }
    let inviting = daemon.begin(&["-o", "json", "client", "invite", "carol", "--role", "operator"]);
    eventually("the invitation waits for the file helper", || {
        let rows = daemon.json(&["connection", "list"]);
        let waits = |row: &serde_json::Value| row["own"] == false && row["calls_open"] == 1;
        rows.as_array().unwrap().iter().any(waits).then_some(())
    });
    let clients = std::fs::read(daemon.place().join("state/clients.json")).unwrap();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(), Some(0), "{}", daemon.log());
    // What is written down of who came waits as well.
    let line = daemon.logs(" left without waiting for the file helper to ");
    assert!(line.contains("write ") && line.contains("/state/clients.json"), "{line}");
    assert!(line.ends_with(": whether it was done is not known\n"), "{line}");
    assert_eq!(inviting.end().error(3)["code"], "GOING_AWAY");

    // Nothing is left of it that could write something later, beside the next daemon.
    for (pid, _) in helpers {
        eventually("the helper is gone", || (!is_alive(pid)).then_some(()));
    }
    assert_eq!(std::fs::read(daemon.place().join("state/clients.json")).unwrap(), clients);
}
