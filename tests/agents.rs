//! Agents in guests: who answers a ping, what is said to whom none answers, and what captures have of it, read by real
//! tshark with the dissector of the sources.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::dissector::tshark;
use crate::harness::{Daemon, Running, Setup, eventually, skip};

/// Defines a guest that has the channel of an agent.
fn define(daemon: &Daemon, name: &str, tables: &str) {
    daemon
        .define(&format!("name = \"{name}\"\nmemory = \"64 MiB\"\nchannels = [\"org.qemu.guest_agent.0\"]\n{tables}"));
}

/// Waits until the agent of a guest is there.
pub(crate) fn answers(daemon: &Daemon, name: &str) {
    eventually("its agent answers", || {
        (daemon.vmwire(&["agent", "ping", name, "--timeout", "1m"]).code == 0).then_some(())
    });
}

/// Waits until a ping fails because nobody is there, as is told at once.
pub(crate) fn nobody_listens(daemon: &Daemon, name: &str) {
    let told = eventually("the daemon is told that nobody listens", || {
        let ran = daemon.vmwire(&["agent", "ping", name]);
        // While the agent goes one may still be asked, and end before it has answered; just adopted, nothing is known.
        let told = ran.code == 1 && ran.err.contains("nobody in the guest listens on the channel of its agent");
        told.then_some(ran.err)
    });
    let hint = "hint: vmwire-ga or qemu-guest-agent has to run in the guest";
    assert!(told.starts_with(&format!("vmwire: vm {name}: ")) && told.contains(hint), "{told}");
}

pub(crate) fn begin(daemon: &Daemon, path: &Path, more: &[&str]) -> Running {
    let capture = daemon.begin(&[&["capture", "-w", path.to_str().unwrap()], more].concat());
    eventually("it has begun", || capture.err().contains("capturing into").then_some(()));
    capture
}

/// Ends a definition; who asks for it at the end of a story finds out whether all before it is captured.
pub(crate) const LAST: &str = "# the last of it\n";

/// Ends a capture when the definition is in it that was asked for at last.
pub(crate) fn end(capture: Running, path: &Path) {
    eventually("all of it is captured", || {
        let bytes = fs::read(path).unwrap();
        bytes.windows(LAST.len()).any(|at| at == LAST.as_bytes()).then_some(())
    });
    capture.signal(Signal::INT);
    let ran = capture.wait();
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// What these fields hold in the frames that are chosen, a line each.
fn fields(daemon: &Daemon, file: &Path, filter: &str, fields: &[&str]) -> String {
    let fields: Vec<&str> = fields.iter().flat_map(|field| ["-e", field]).collect();
    tshark(daemon, file, &[&["-Y", filter, "-T", "fields"], &fields[..]].concat())
}

/// That a capture has the conversation of a ping, in the words of JSON and in ours, and nothing that is wrong.
pub(crate) fn tells_of_a_ping(daemon: &Daemon, file: &Path, name: &str) {
    let told = fields(daemon, file, "vmwire_agent", &["_ws.col.Info"]);
    // Where an agent takes its time others come before: asked, and not answered any more.
    let numbers = told.lines().filter_map(|said| said.strip_prefix("resynchronisation | guest-sync-delimited "));
    let returned = |number: &str| told.contains(&format!("| guest-sync-delimited {number}: returned {number} ("));
    assert!(numbers.into_iter().any(returned), "{told}");
    for sentence in ["\nguest-ping\n", "\nguest-ping: returned ("] {
        assert!(told.contains(sentence), "{sentence}: {told}");
    }
    let asked = fields(daemon, file, "json.value.string == \"guest-ping\"", &["json.key", "vmwire_agent.response_in"]);
    let is_answered = |line: &str| line.strip_prefix("execute").is_some_and(|rest| !rest.ends_with('\t'));
    assert!(asked.lines().any(is_answered), "{asked}{told}");
    assert!(!fields(daemon, file, "json.value.number && vmwire_agent.resync", &["frame.number"]).is_empty(), "{told}");
    let comments = fields(daemon, file, "frame.comment && vmwire_agent", &["frame.comment"]);
    assert_eq!(comments, format!("agent of {name}\n"));
    let wrong = "_ws.lua.error || _ws.malformed || vmwire_agent.expert.no_json || (vmwire_agent && tcp.analysis.flags)";
    assert_eq!(tshark(daemon, file, &["-Y", wrong]), "");
}

pub(crate) fn has_tshark(test: &str) -> bool {
    let there = Command::new("tshark").arg("-v").output().is_ok();
    if !there {
        skip(test, "tshark is not there");
    }
    there
}

#[test]
fn a_ping_is_answered_and_wireshark_tells_what_was_said_where_agents_were_asked_for() {
    let test = "a_ping_is_answered_and_wireshark_tells_what_was_said_where_agents_were_asked_for";
    if !has_tshark(test) {
        return;
    }
    let daemon = Setup::test().start();
    for name in ["db", "web"] {
        define(&daemon, name, LAST);
    }
    let [all, of_web, without] = ["all", "web", "without"].map(|name| daemon.place().join(&format!("{name}.pcapng")));
    let seeing = begin(&daemon, &all, &["--agents"]);
    let web_only = begin(&daemon, &of_web, &["--agents", "--vm", "web"]);
    let blind = begin(&daemon, &without, &[]);
    for name in ["db", "web"] {
        daemon.ok(&["vm", "start", name]);
        answers(&daemon, name);
    }
    let answered = daemon.json(&["agent", "ping", "db", "web", "--timeout", "1m"]);
    let of = |index: usize| (answered[index]["vm"].as_str().unwrap(), answered[index]["rtt_ns"].as_u64().unwrap() > 0);
    assert_eq!((of(0), of(1)), (("db", true), ("web", true)));
    daemon.ok(&["vm", "definition", "web"]);
    end(seeing, &all);
    end(web_only, &of_web);
    end(blind, &without);
    tells_of_a_ping(&daemon, &of_web, "web");
    let comments = fields(&daemon, &all, "frame.comment && vmwire_agent", &["frame.comment"]);
    assert_eq!(comments, "agent of db\nagent of web\n");
    let told = fields(&daemon, &all, "vmwire", &["_ws.col.Info"]);
    assert!(told.contains("AGENT_PING web: answered ("), "{told}");
    assert_eq!(tshark(&daemon, &without, &["-Y", "vmwire_agent || json"]), "");
    assert!(tshark(&daemon, &without, &["-Y", "vmwire"]).contains("AGENT_PING"));
}

#[test]
fn who_gets_no_answer_from_an_agent_is_told_why_and_what_to_do() {
    let daemon = Setup::test().start();
    daemon.define("name = \"plain\"\nmemory = \"64 MiB\"\n");
    daemon.ok(&["vm", "start", "plain"]);
    define(&daemon, "hung", "[test]\nagent = \"hangs\"\n");
    define(&daemon, "web", "");
    daemon.ok(&["vm", "start", "hung", "web"]);
    answers(&daemon, "web");
    let plain = daemon.vmwire(&["agent", "ping", "plain"]).fails(1);
    assert!(plain.contains("vm plain: the virtual machine has no channel for a guest agent\n"), "{plain}");
    assert!(plain.contains("hint: add \"org.qemu.guest_agent.0\" to the channels"), "{plain}");
    // Without `--timeout`, which would also end a greeting that takes its time.
    let hung = daemon.vmwire(&["agent", "ping", "hung"]).fails(6);
    assert!(hung.starts_with("vmwire: vm hung: ") && hung.contains("\n  hint: "), "{hung}");
    let nobody = daemon.vmwire(&["agent", "ping", "nobody"]).fails(5);
    assert!(nobody.contains("vm nobody: there is no virtual machine of that name"), "{nobody}");
    let some = daemon.vmwire(&["agent", "ping", "plain", "web", "--timeout", "1m"]);
    assert_eq!(some.code, 8, "{some:?}");
    assert!(some.out.lines().nth(1).is_some_and(|row| row.starts_with("web ")), "{some:?}");
    daemon.ok(&["vm", "stop", "web"]);
    let stopped = daemon.vmwire(&["agent", "ping", "web"]).fails(1);
    assert!(stopped.contains("cannot ask the agent of a virtual machine that is stopped\n  hint: "), "{stopped}");
}
