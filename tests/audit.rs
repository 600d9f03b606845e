//! The audit: what stands in it after a session, what a flood does to it, and what becomes of it where it cannot be written.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use vmwire_protocol::message::ClientData;

use crate::harness::{Daemon, Raw, Setup, eventually, skip};

const DEFINITION: &str = "name = \"web\"\nmemory = \"64 MiB\"\n";

fn path(daemon: &Daemon) -> PathBuf {
    daemon.place().join("state/audit.jsonl")
}

/// What stands there when nobody writes any more.
fn read(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "half a line: {text:?}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What stands there so far: of what is being written a reader may see the beginning.
fn so_far(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until there is such a line.
fn line(daemon: &Daemon, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || so_far(&path(daemon)).into_iter().find(|line| is_it(line)))
}

#[test]
fn a_session_stands_in_the_audit_from_the_start_of_the_daemon_to_its_end() {
    let daemon = Setup::test().start();
    daemon.define(DEFINITION);
    daemon.ok(&["vm", "start", "web"]);
    daemon.ok(&["vm", "show", "web"]);
    assert_eq!(daemon.vmwire(&["vm", "show", "nobody"]).code, 5);
    let path = path(&daemon);
    let setup = daemon.stopped();
    let lines = read(&path);
    let told: Vec<_> = lines
        .iter()
        .map(|line| [&line["event"], &line["procedure"], &line["name"], &line["verdict"]].map(Value::clone))
        .filter(|[event, ..]| event != "connected" && event != "gone")
        .map(|told| Value::from(told.to_vec()))
        .collect();
    assert_eq!(
        told,
        [
            json!(["started", null, null, null]),
            json!(["call", "vm-define", "web", "ok"]),
            json!(["call", "vm-start", "web", "ok"]),
            json!(["call", "vm-show", "nobody", "NOT_FOUND"]),
            json!(["left", null, null, null]),
        ]
    );
    let came = lines.iter().filter(|line| line["event"] == "connected").count();
    let gone = lines.iter().filter(|line| line["event"] == "gone").count();
    assert!(came >= 4 && came == gone, "{came} came and {gone} went");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let mut daemon = setup.start();
    line(&daemon, "the next daemon goes on behind it", |line| {
        line["event"] == "started" && line["pid"] == daemon.pid()
    });
    assert_eq!(so_far(&path)[..lines.len()], lines);
    daemon.signal(Signal::TERM);
    daemon.ended();
}

#[test]
fn where_all_is_told_reads_are_told_too_and_where_nothing_is_there_is_no_file() {
    let daemon = Setup::test().config("[audit]\nlevel = \"all\"\n").start();
    daemon.ok(&["vm", "list"]);
    let read = line(&daemon, "the list is told of", |line| line["procedure"] == "vm-list");
    assert_eq!((&read["verdict"], &read["role"]), (&json!("ok"), &json!("admin")));

    let daemon = Setup::test().config("[audit]\nlevel = \"off\"\n").start();
    daemon.define(DEFINITION);
    let path = path(&daemon);
    let _place = daemon.stopped();
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_long_becomes_an_old_one_and_no_line_is_torn_or_lost() {
    let daemon =
        Setup::test().config("[audit]\nlevel = \"all\"\nburst = 0\nrotate_bytes = 65536\nkeep = 100\n").start();
    let mut raw = daemon.raw();
    let path = path(&daemon);
    let old = |number: u32| path.with_extension(format!("jsonl.{number}"));
    let mut asked = 0;
    while !old(2).exists() {
        assert!(asked < 20_000, "the file does not become an old one");
        for _ in 0..100 {
            let serial = raw.call(&ClientData::DaemonInfo);
            raw.answer(serial);
            asked += 1;
        }
    }
    drop(raw);
    let _place = daemon.stopped();
    let files: Vec<PathBuf> = (1..=100).rev().map(old).filter(|old| old.exists()).chain([path.clone()]).collect();
    assert!(files.len() >= 3, "{files:?}");
    let told: Vec<Value> = files.iter().flat_map(read).collect();
    assert_eq!(told.iter().filter(|line| line["procedure"] == "daemon-info").count(), asked);
    assert!(!told.iter().any(|line| line["event"] == "lost"));
    assert!(told.is_sorted_by_key(|line| line["time"].as_str().unwrap().to_owned()));
    for path in files {
        assert!(std::fs::metadata(&path).unwrap().len() <= 65536);
    }
}

#[test]
fn what_could_not_be_written_is_told_in_the_log_once_and_in_the_audit_when_it_can_be_again() {
    let setup = Setup::test();
    let path = setup.place.join("state/audit.jsonl");
    std::fs::create_dir_all(&path).unwrap();
    let modes = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(path.parent().unwrap(), modes).unwrap();
    let daemon = setup.start();
    daemon.define(DEFINITION);
    for _ in 0..3 {
        daemon.ok(&["vm", "start", "web"]);
        daemon.ok(&["vm", "stop", "web"]);
    }
    eventually("the log tells of it", || daemon.log().contains("lines of the audit are lost: ").then_some(()));
    assert_eq!(daemon.log().matches("lines of the audit are lost").count(), 1, "once");
    std::fs::remove_dir(&path).unwrap();
    daemon.ok(&["vm", "start", "web"]);
    let lost = line(&daemon, "the loss is told", |line| line["event"] == "lost");
    assert!(lost["lost"].as_u64().unwrap() >= 8, "{lost}");
    assert_eq!(so_far(&path)[0], lost, "it stands before what comes after it");
    eventually("the log tells that it is over", || daemon.log().contains("the audit is written again").then_some(()));
}

#[test]
fn a_pipe_or_a_link_in_its_place_and_a_deleted_file_keep_nobody_waiting() {
    let daemon = Setup::test().start();
    let path = path(&daemon);
    daemon.define(DEFINITION);
    eventually("there is a file", || path.exists().then_some(()));
    std::fs::remove_file(&path).unwrap();
    daemon.ok(&["vm", "start", "web"]);
    line(&daemon, "it is begun anew", |line| line["procedure"] == "vm-start");

    std::fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    daemon.ok(&["vm", "stop", "web"]);
    eventually("a pipe is no file", || daemon.log().contains("not a regular file").then_some(()));
    std::fs::remove_file(&path).unwrap();

    let elsewhere = daemon.place().write("elsewhere", "");
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    daemon.ok(&["vm", "start", "web"]);
    daemon.ok(&["vm", "show", "web"]);
    std::fs::remove_file(&path).unwrap();
    daemon.ok(&["vm", "stop", "web"]);
    line(&daemon, "the loss is told", |line| line["event"] == "lost");
    assert_eq!(std::fs::read_to_string(elsewhere).unwrap(), "");
}

/// Makes so many calls at once that are refused, for there is none of that number, and waits for the answers.
fn ask_in_vain(raw: &mut Raw, calls: usize) {
    for _ in 0..calls {
        raw.send_next(0, 0x777, b"");
    }
    for _ in 0..calls {
        raw.receive().unwrap();
    }
}

/// How many there are of each of these events, and how many lines are told to have been lost.
fn count<const N: usize>(lines: &[Value], events: [&str; N]) -> ([usize; N], u64) {
    let lost = lines.iter().filter_map(|line| line["lost"].as_u64()).sum();
    (events.map(|event| lines.iter().filter(|line| line["event"] == event).count()), lost)
}

#[test]
fn ten_thousand_who_come_and_ten_thousand_refusals_are_all_told() {
    let daemon = Setup::test().config("[audit]\nburst = 0\n").start();
    let mut before = usize::MAX;
    eventually("those who looked whether it is there are gone", || {
        let ([came, gone], _) = count(&so_far(&path(&daemon)), ["connected", "gone"]);
        before = came;
        (came > 0 && came == gone).then_some(())
    });
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| ask_in_vain(&mut daemon.raw(), 500));
        }
        for _ in 0..40 {
            let sockets: Vec<_> = (0..250).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect();
            drop(sockets);
        }
    });
    // Who comes last is let in last.
    daemon.raw().ping();
    let path = path(&daemon);
    let log = daemon.log();
    let _place = daemon.stopped();
    let came = before + 10_000 + 20 + 1;
    assert_eq!(count(&read(&path), ["connected", "gone", "call", "left-out"]), ([came, came, 10_000, 0], 0));
    assert!(!log.contains("lost"), "{log}");
}

#[test]
fn who_floods_the_audit_does_not_have_the_lines_of_others_rotated_away() {
    let daemon = Setup::test().config("[audit]\nrotate_bytes = 65536\nkeep = 1\nburst = 100\n").start();
    daemon.define(DEFINITION);
    line(&daemon, "somebody has changed something", |line| line["procedure"] == "vm-define");
    (0..20).for_each(|_| ask_in_vain(&mut daemon.raw(), 250));
    daemon.ok(&["vm", "start", "web"]);
    let path = path(&daemon);
    let _place = daemon.stopped();
    assert!(!path.with_extension("jsonl.1").exists(), "it is not even long");
    let lines = read(&path);
    for procedure in ["vm-define", "vm-start"] {
        assert!(lines.iter().any(|line| line["procedure"] == procedure), "{procedure} is told");
    }
    let refused = lines.iter().filter(|line| line["verdict"] == "UNKNOWN_PROCEDURE").count();
    let left_out: Vec<_> = lines.iter().filter(|line| line["event"] == "left-out").collect();
    assert_eq!((refused, left_out.len()), (100, 1), "{left_out:?}");
    let who = &lines.iter().find(|line| line["event"] == "connected").unwrap()["identity"];
    let [identity, of, lines] = ["identity", "of", "left_out"].map(|key| &left_out[0][key]);
    assert_eq!((identity, of, lines), (who, &json!("refusals"), &json!(4900)));
}

#[test]
fn a_hangup_has_the_audit_told_otherwise_and_elsewhere_and_no_line_is_lost() {
    let daemon = Setup::test().start();
    let (first, second) = (path(&daemon), daemon.place().join("other.jsonl"));
    let mut read_again = 0;
    let mut reload = |lines: &str| {
        daemon.place().write("vmwired.toml", lines);
        daemon.signal(Signal::HUP);
        read_again += 1;
        eventually("it is read", || {
            (daemon.log().matches("the configuration was read again").count() == read_again).then_some(())
        });
    };
    let asker = daemon.raw();
    /// Over when dropped, so that a failure does not leave the asking one asking for ever.
    struct GoingOn<'a>(&'a AtomicBool);
    impl Drop for GoingOn<'_> {
        fn drop(&mut self) {
            self.0.store(false, Ordering::Relaxed);
        }
    }
    let going_on = AtomicBool::new(true);
    let asked = std::thread::scope(|scope| {
        let until_here = GoingOn(&going_on);
        let asking = scope.spawn(|| {
            let (mut raw, mut asked) = (asker, 0);
            while going_on.load(Ordering::Relaxed) {
                ask_in_vain(&mut raw, 10);
                asked += 10;
            }
            asked
        });
        let other = format!("[audit]\nburst = 0\npath = \"{}\"\n", second.display());
        reload("[audit]\nburst = 0\n");
        for _ in 0..5 {
            reload(&other);
            reload("[audit]\nburst = 0\n");
        }
        reload(&other);
        drop(until_here);
        asking.join().unwrap()
    });
    reload("[audit]\nlevel = \"off\"\n");
    daemon.define(DEFINITION);
    daemon.logs("nothing more is told to the audit");
    // A directory that is not there keeps the daemon from nothing, and is told.
    reload("[audit]\npath = \"/not/there/audit.jsonl\"\n");
    daemon.logs("the audit is in /not/there/audit.jsonl from now on");
    daemon.logs("lines of the audit are lost: cannot append to /not/there/audit.jsonl");
    let _place = daemon.stopped();

    let elsewhere = second.clone();
    let (first, second) = (read(&first), read(&second));
    let calls = |lines: &[Value]| lines.iter().filter(|line| line["verdict"] == "UNKNOWN_PROCEDURE").count();
    assert!(calls(&first) > 0 && calls(&second) > 0);
    assert_eq!(calls(&first) + calls(&second), asked);
    assert_eq!(count(&first, []).1 + count(&second, []).1, 0);
    let told: Vec<_> = first.iter().filter(|line| line["event"] == "configured").map(|line| &line["path"]).collect();
    assert_eq!(told.last().unwrap().as_str(), elsewhere.to_str(), "the first one tells where it goes on");
    assert!(!first.iter().chain(&second).any(|line| line["procedure"] == "vm-define"));
    assert_eq!(second.last().unwrap()["level"], "off");
}

#[test]
fn who_is_still_there_when_the_daemon_leaves_is_told_to_have_gone_and_a_disk_that_hangs_is_told_in_the_log() {
    let daemon = Setup::test().start();
    let mut raw = daemon.raw();
    raw.ping();
    let path = path(&daemon);
    daemon.signal(Signal::TERM);
    line(&daemon, "it leaves", |line| line["event"] == "left");
    assert!(raw.closing().message.contains("leaving"));
    drop(raw);
    let setup = daemon.stopped();
    let last = read(&path).pop().unwrap();
    assert_eq!((&last["event"], &last["closed"]), (&json!("gone"), &json!("GOING_AWAY")));

    let daemon = setup.start();
    daemon.define(DEFINITION);
    line(&daemon, "there is a file helper", |line| line["procedure"] == "vm-define");
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", daemon.pid())).unwrap();
    let helper = Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    kill_process(helper, Signal::STOP).unwrap();
    let _place = daemon.stopped();
    kill_process(helper, Signal::KILL).unwrap();
    let log = std::fs::read_to_string(path.parent().unwrap().with_file_name("log")).unwrap();
    assert!(log.contains("lines of the audit are lost: the last "), "{log}");
}

#[test]
fn a_line_that_was_cut_by_a_crash_is_not_glued_to_the_next_one() {
    let daemon = Setup::test().start();
    let path = path(&daemon);
    line(&daemon, "there is a line", |line| line["event"] == "started");
    let setup = daemon.killed();
    let whole = std::fs::read(&path).unwrap();
    let cut = b"{\"time\":\"2026-";
    std::fs::write(&path, [&whole, &cut[..]].concat()).unwrap();
    let mut daemon = setup.start();
    daemon.signal(Signal::TERM);
    daemon.ended();
    let text = std::fs::read(&path).unwrap();
    let rest = text.strip_prefix(&whole[..]).unwrap().strip_prefix(&cut[..]).unwrap();
    let rest = std::str::from_utf8(rest.strip_prefix(b"\n").unwrap()).unwrap();
    let first: Value = serde_json::from_str(rest.lines().next().unwrap()).unwrap();
    assert_eq!(first["event"], "started");
    assert!(rest.ends_with('\n') && rest.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[test]
fn what_a_full_or_a_read_only_disk_or_a_directory_that_is_gone_took_is_counted_to_the_line() {
    if !rustix::process::geteuid().is_root() {
        return skip("what_a_full_or_a_read_only_disk_takes", "only root mounts a disk of its own");
    }
    let setup = Setup::test();
    let disk = setup.place.join("disk");
    std::fs::create_dir(&disk).unwrap();
    let setup = setup.config(&format!("[audit]\nburst = 0\npath = \"{}/dir/audit.jsonl\"\n", disk.display()));
    let disk = disk.display();
    let full = format!("mkdir {disk}/dir && head -c 960K /dev/zero > {disk}/filler");
    let mount = format!("mount -t tmpfs -o size=1M,mode=700 tmpfs {disk} && {full}");
    let daemon = setup.start_with(&format!("exec unshare -m sh -c '{mount} && exec \"$@\"' sh \"$@\""));
    // The disk is the daemon's alone.
    let as_daemon = |words: &str| {
        let pid = daemon.pid().to_string();
        let ran = Command::new("nsenter").args(["-t", &pid, "-m", "sh", "-c", words]).output().unwrap();
        assert!(ran.status.success(), "{words}: {ran:?}");
    };
    let file = PathBuf::from(format!("/proc/{}/root{disk}/dir/audit.jsonl", daemon.pid()));
    let begin = eventually("those who looked whether it is there are gone", || {
        let lines = so_far(&file);
        let ([came, gone], _) = count(&lines, ["connected", "gone"]);
        (came > 0 && came == gone).then_some(lines.len())
    });
    let mut raw = daemon.raw();
    let mut expected = begin + 1;
    let mut ask = |calls| {
        ask_in_vain(&mut raw, calls);
        expected += calls;
        expected
    };
    for (breaks, why, heals) in [
        ("true".to_owned(), "No space left on device", format!("rm {disk}/filler")),
        (format!("mount -o remount,ro {disk}"), "Read-only file system", format!("mount -o remount,rw {disk}")),
        (format!("mv {disk}/dir {disk}/away"), "No such file or directory", format!("mv {disk}/away {disk}/dir")),
        (
            format!("mount --bind /proc/version {disk}/dir/audit.jsonl"),
            "append to",
            format!("umount {disk}/dir/audit.jsonl"),
        ),
    ] {
        as_daemon(&breaks);
        let before = daemon.log().len();
        eventually(why, || {
            ask(250);
            daemon.log()[before..].lines().any(|line| line.contains("lost: ") && line.contains(why)).then_some(())
        });
        as_daemon(&heals);
        let expected = ask(1);
        eventually("it is told how much was lost", || {
            let lines = so_far(&file);
            let ([lost_lines], lost) = count(&lines, ["lost"]);
            (lines.len() - lost_lines + usize::try_from(lost).unwrap() == expected).then_some(())
        });
    }
    let ([lost_lines], lost) = count(&so_far(&file), ["lost"]);
    assert!(lost_lines >= 4, "{lost_lines}");
    eventually("the log tells the same", || {
        let log = daemon.log();
        let told = log
            .lines()
            .filter_map(|line| line.strip_suffix(" of its lines were lost")?.rsplit(' ').next()?.parse::<u64>().ok());
        (told.sum::<u64>() == lost).then_some(())
    });
}
