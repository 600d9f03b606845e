//! The command line as a whole, against a scripted daemon: what is printed where, and how it ends.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Instant;

use serde_json::{Value, json};
use vmwire_protocol::message::{
    ClientData, ConnectionListAnswer, Cursor, Event, EventVmReset, Failure, Gap, OperationInfo, OperationListAnswer,
    ServerData, VmCell, VmDoneAnswer, VmListAnswer, VmRow, code, event_kind, filter_comparison, number,
    operation_state, vm_field,
};
use vmwire_protocol::session::Ticket;
use vmwire_protocol::xdr::{self, List, Opaque, Sampler, Text};

use super::*;
use crate::connection::scripted::{Came, EPOCH, Scripted};

/// What a run of the program left behind.
struct Run {
    exit: Exit,
    out: String,
    err: String,
}

impl Run {
    /// What it printed, as JSON.
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// What it printed on standard error, as JSON.
    fn error(&self) -> Value {
        serde_json::from_str(&self.err).unwrap_or_else(|error| panic!("{error}: {}", self.err))
    }
}

#[derive(Clone, Default)]
struct Paper(Rc<RefCell<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that has gone away.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs the program with `words` against a daemon that does what `script` says.
fn vmwire(words: &[&str], script: impl FnOnce(Scripted) + Send + 'static) -> Run {
    let paper = Paper::default();
    let (exit, err) = vmwire_into(Box::new(paper.clone()), words, script);
    Run { exit, out: paper.text(), err }
}

fn vmwire_into(out: Box<dyn Write>, words: &[&str], script: impl FnOnce(Scripted) + Send + 'static) -> (Exit, String) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon: JoinHandle<()> = std::thread::spawn(move || script(Scripted::new(listener.accept().unwrap().0, 1)));
    let err = Paper::default();
    let uri = Uri::from_socket(socket).to_string();
    let arguments = ["vmwire", "-c", &uri].into_iter().chain(words.iter().copied()).map(OsString::from);
    let exit = run(arguments, &mut Output::new(out, Box::new(err.clone()), false));
    daemon.join().unwrap();
    (exit, err.text())
}

fn done(daemon: &mut Scripted, (ticket, data): (Ticket, ClientData), operation: u64) {
    let answer = VmDoneAnswer { operation, state: 3 };
    let answer = match data {
        ClientData::VmStart(_) => ServerData::VmStart(answer),
        ClientData::VmResume(_) => ServerData::VmResume(answer),
        other => panic!("not expected: {other:?}"),
    };
    daemon.answer(ticket, &answer);
}

fn list(mut daemon: Scripted) {
    let (ticket, data) = daemon.call();
    let ClientData::VmList(call) = data else { panic!("{data:?}") };
    assert_eq!(&call.fields[..], [vm_field::NAME, vm_field::STATE, vm_field::MEMORY_BYTES, vm_field::PID]);
    assert_eq!(call.filters[0].comparison, filter_comparison::NOT_EQUAL);
    let row = |name: &str, pid: VmCell| VmRow {
        cells: List::clipped([VmCell::Text(Text::clipped(name)), VmCell::Number(3), VmCell::Number(1 << 30), pid]),
    };
    daemon.answer(
        ticket,
        &ServerData::VmList(VmListAnswer {
            cursor: Cursor { epoch: EPOCH, sequence: 1 },
            rows: List::clipped([row("a\u{1b}[2J", VmCell::Number(77)), row("longer", VmCell::Absent)]),
            next: Text::clipped(""),
        }),
    );
    daemon.until_gone();
}

const LIST: [&str; 6] = ["vm", "list", "--fields", "name,state,memory,pid", "--filter", "state!=stopped"];

#[test]
fn a_list_is_a_table_for_people() {
    let run = vmwire(&LIST, list);
    assert_eq!(run.exit, Exit::Ok);
    assert_eq!(
        run.out,
        "NAME        STATE    MEMORY  PID\n\
         a\\u{1b}[2J  running   1 GiB   77\n\
         longer      running   1 GiB\n"
    );
    assert_eq!(run.err, "");
    let run = vmwire(&[&LIST[..], &["--no-header"]].concat(), list);
    assert!(!run.out.contains("NAME"), "{}", run.out);
}

#[test]
fn a_list_is_an_array_for_programs() {
    let run = vmwire(&[&LIST[..], &["-o", "json"]].concat(), list);
    assert_eq!(
        run.json(),
        json!([
            {"name": "a\u{1b}[2J", "state": "running", "memory_bytes": 1_u64 << 30, "pid": 77},
            {"name": "longer", "state": "running", "memory_bytes": 1_u64 << 30, "pid": null},
        ])
    );
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let (exit, err) = vmwire_into(Box::new(Gone), &LIST, list);
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
}

#[test]
fn of_several_some_may_fail() {
    let run = vmwire(&["-o", "json", "vm", "start", "a", "b"], |mut daemon| {
        let first = daemon.call();
        let (second, _) = daemon.call();
        // In the other order than they were asked.
        daemon.fail(second, Failure::new(code::DRIVER, "no disk").cause("qemu: no such file").hint("look for it"));
        done(&mut daemon, first, 12);
        daemon.until_gone();
    });
    assert_eq!(run.exit, Exit::Partial);
    assert_eq!(run.json(), json!([{"vm": "a", "state": "running", "operation": 12}]));
    assert_eq!(
        run.error(),
        json!({"error": {
            "code": "DRIVER",
            "exit": 1,
            "message": "no disk",
            "object": {"kind": "vm", "name": "b"},
            "causes": ["qemu: no such file"],
            "hint": "look for it",
            "retry_after_ms": null,
            "details": {},
        }})
    );
}

#[test]
fn what_does_not_exist_is_told_by_text_and_exit() {
    let run = vmwire(&["vm", "resume", "web"], |mut daemon| {
        let (ticket, _) = daemon.call();
        daemon.fail(ticket, Failure::new(code::NOT_FOUND, "there is none").about("vm", "web").hint("vmwire vm list"));
        daemon.until_gone();
    });
    assert_eq!(run.exit, Exit::NotFound);
    assert_eq!(run.err, "vmwire: vm web: there is none\n  hint: vmwire vm list\n");
}

#[test]
fn a_mistake_in_a_definition_is_told_with_its_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let run = vmwire(&["vm", "define", &path], |mut daemon| {
        let (ticket, _) = daemon.call();
        daemon.fail(ticket, Failure::new(code::INVALID, "line 2, column 1: unknown key").detail("line", "2"));
        daemon.until_gone();
    });
    assert_eq!((run.exit, run.err), (Exit::Failed, format!("vmwire: file {path}: line 2, column 1: unknown key\n")));
}

#[test]
fn a_wait_that_takes_too_long_names_its_machine() {
    let run = vmwire(&["vm", "wait", "web", "--for", "state=running"], |mut daemon| {
        let (ticket, _) = daemon.call();
        daemon.fail(ticket, Failure::new(code::DEADLINE_EXCEEDED, "the deadline passed"));
        daemon.until_gone();
    });
    assert_eq!((run.exit, run.err.as_str()), (Exit::Deadline, "vmwire: vm web: the deadline passed\n"));
}

#[test]
fn a_daemon_that_hangs_is_given_up_shortly_after_the_time_that_was_set() {
    let hangs = |words: &[&str]| {
        let words = [&["--timeout", "200ms"], words].concat();
        let began = Instant::now();
        // One that never greets, and one that greets and then says nothing.
        let directory = tempfile::tempdir().unwrap();
        let _listens = UnixListener::bind(directory.path().join("s")).unwrap();
        let (never, err) = (Uri::from_socket(directory.path().join("s")).to_string(), Paper::default());
        let arguments = ["vmwire", "-c", &never].into_iter().chain(words.iter().copied()).map(OsString::from);
        let exit = run(arguments, &mut Output::new(Box::new(Gone), Box::new(err.clone()), false));
        let greets = vmwire(&words, |mut daemon| {
            let _unanswered = daemon.call();
            daemon.until_gone();
        });
        for (exit, err) in [(exit, err.text()), (greets.exit, greets.err)] {
            assert_eq!(exit, Exit::Deadline, "{err}");
            assert!(err.starts_with("vmwire: no answer within 200 ms\n"), "{err}");
        }
        assert!(began.elapsed() < Duration::from_secs(4), "{words:?} took {:?}", began.elapsed());
    };
    hangs(&["host", "info"]);
    hangs(&["event", "follow"]);
}

#[test]
fn what_can_never_come_true_has_its_own_exit() {
    let run = vmwire(&["vm", "wait", "web", "--for", "state=running,paused", "--timeout", "2s"], |mut daemon| {
        let (ticket, data) = daemon.call();
        let ClientData::VmWait(call) = data else { panic!("{data:?}") };
        assert_eq!(&call.states[..], [3, 4]);
        daemon.fail(ticket, Failure::new(code::INVALID, "it is lost").detail("never", "yes"));
        daemon.until_gone();
    });
    assert_eq!(run.exit, Exit::Never);
}

#[test]
fn waiting_for_an_operation_that_fails_fails() {
    let run = vmwire(&["-o", "json", "op", "wait", "5"], |mut daemon| {
        let (ticket, _) = daemon.call();
        let operation = OperationInfo {
            id: 5,
            procedure: number::VM_START,
            vm: None,
            identity: Text::clipped("uid 0"),
            state: operation_state::FAILED,
            queued_ns: 1,
            begun_ns: 2,
            ended_ns: 3,
            failure: Some(Failure::new(code::DENIED, "not you")),
        };
        daemon.answer(ticket, &ServerData::OperationWait(operation));
        daemon.until_gone();
    });
    assert_eq!(run.exit, Exit::Denied);
    assert_eq!(run.json()["procedure"], "vm-start");
    assert_eq!(run.error()["error"]["code"], "DENIED");
}

#[test]
fn events_are_a_line_each_and_a_gap_is_among_them() {
    let run = vmwire(&["-o", "json", "event", "follow", "--since", "4", "--count", "2"], |mut daemon| {
        let after = daemon.subscribed(7).unwrap();
        assert_eq!((after.epoch, after.sequence), (EPOCH, 4));
        daemon.unasked(&ServerData::Gap(Gap { epoch: EPOCH, first: 5, last: 6 }));
        let mut detail = Vec::new();
        xdr::encode(&mut detail, &EventVmReset { by_guest: true }).unwrap();
        for sequence in [7, 8] {
            daemon.unasked(&ServerData::Event(Event {
                epoch: EPOCH,
                sequence,
                time_ns: 1,
                operation: 0,
                vm: None,
                kind: event_kind::VM_RESET,
                detail: Opaque::new(detail.clone()).unwrap(),
            }));
        }
        daemon.until_gone();
    });
    assert_eq!(run.exit, Exit::Ok);
    let lines: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["gap"]["last"], 6);
    assert_eq!((&lines[1]["sequence"], &lines[1]["detail"]), (&json!(7), &json!({"by_guest": true})));
    assert_eq!(lines.len(), 3);
}

#[test]
fn without_a_daemon_there_is_no_connection() {
    let err = Paper::default();
    let words = ["vmwire", "-c", "qemu+unix:///system?socket=/nonexistent/s", "-o", "json", "vm", "list"];
    let mut output = Output::new(Box::new(Gone), Box::new(err.clone()), false);
    assert_eq!(run(words.into_iter().map(OsString::from), &mut output), Exit::NoConnection);
    let error: Value = serde_json::from_str(&err.text()).unwrap();
    assert_eq!(error["error"]["code"], "NO_CONNECTION");
}

#[test]
fn a_command_line_that_is_not_understood_is_told_in_the_format_asked_for() {
    let usage = |words: &[&str]| {
        let (out, err) = (Paper::default(), Paper::default());
        let mut output = Output::new(Box::new(out.clone()), Box::new(err.clone()), false);
        let exit = run(["vmwire"].iter().chain(words).map(OsString::from), &mut output);
        (exit, out.text(), err.text())
    };
    let (exit, out, err) = usage(&["vm", "lst", "-o", "json"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert_eq!(serde_json::from_str::<Value>(&err).unwrap()["error"]["code"], "USAGE");
    let (_, _, err) = usage(&["vm", "lst"]);
    assert!(err.contains("hint: some similar subcommands exist"), "{err}");
    let (_, _, err) = usage(&["start", "web"]);
    assert!(err.contains("hint: did you mean vmwire vm start?\n"), "{err}");
    let (_, _, err) = usage(&["list"]);
    assert!(
        err.contains("did you mean vmwire vm list or vmwire op list or vmwire connection list or vmwire client list?"),
        "{err}"
    );
    let (exit, _, err) = usage(&["-c", "qemu+nc://h/system", "ping"]);
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("there is no transport \"nc\"") && err.contains("hint: "), "{err}");
    let (exit, out, err) = usage(&["vm", "list", "--help"]);
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    assert!(out.contains("Examples:"), "{out}");
    let (exit, out, err) = usage(&[]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.contains("Usage: vmwire"), "{err}");
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    command().debug_assert();
}

#[test]
fn every_verb_shows_examples() {
    fn visit(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        let mut leaf = true;
        for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
            leaf = false;
            visit(child, &path);
        }
        if leaf {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:") && help.contains("vmwire "), "{path} has no examples");
        }
        assert!(command.get_about().is_some(), "{path} does not say what it is");
    }
    visit(&command(), "");
}

/// The lines under `Examples:` of every verb, the root's manual page included.
fn examples(command: &clap::Command, found: &mut Vec<String>) {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (_, lines) = help.split_once("Examples:\n").unwrap_or_default();
    let lines = lines.lines().take_while(|line| line.starts_with("  "));
    found.extend(lines.map(|line| line.trim().to_owned()));
    command.get_subcommands().for_each(|child| examples(child, found));
}

#[test]
fn every_example_is_understood_as_the_shell_passes_it_on() {
    let mut lines = Vec::new();
    examples(&command(), &mut lines);
    lines.extend(man::EXAMPLES.lines().map(|line| line.trim().to_owned()));
    assert!(lines.len() > 40, "{lines:?}");
    let home = tempfile::tempdir().unwrap();
    for place in [".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"] {
        std::fs::create_dir_all(home.path().join(place)).unwrap();
    }
    for line in lines {
        // What is called is written down instead, a word a line; programs beside it do nothing.
        let script = format!(
            "vmwire() {{ printf '%s\\n' -- \"$@\" >> words; }}\njq() {{ cat; }}\nsed() {{ cat; }}\n\
             timeout() {{ shift; \"$@\"; }}\n{line}\n"
        );
        let mut sh = std::process::Command::new("sh");
        sh.args(["-ec", &script]).env("HOME", home.path()).current_dir(home.path());
        assert!(sh.status().unwrap().success(), "{line}");
        let words = std::fs::read_to_string(home.path().join("words")).unwrap();
        std::fs::remove_file(home.path().join("words")).unwrap();
        for words in words.split("--\n").skip(1) {
            let parsed = command().try_get_matches_from(std::iter::once("vmwire").chain(words.lines()));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn the_help_has_the_exit_codes() {
    let help = command().render_long_help().to_string();
    assert!(help.contains("7  what was waited for can never come true"), "{help}");
}

/// The paths of all keys in a value: `a`, and `a.b` for what is in it. What is in an array counts as in its key.
fn paths(value: &Value, above: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
                paths(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, above, found)),
        _ => {}
    }
}

/// The same out of the notation of `docs/cli.md`: `vm{uuid name} disks[{path}] sockets[]`.
fn documented(notation: &str) -> BTreeSet<String> {
    let (mut found, mut above, mut key) = (BTreeSet::new(), Vec::new(), String::new());
    let mut path = |above: &[String], key: &mut String| {
        if !key.is_empty() {
            found.insert(above.iter().cloned().chain([key.clone()]).collect::<Vec<_>>().join("."));
        }
    };
    for c in notation.chars() {
        match c {
            '{' => {
                path(&above, &mut key);
                above.push(std::mem::take(&mut key));
            }
            '}' | ' ' => {
                path(&above, &mut key);
                key.clear();
                if c == '}' {
                    above.pop();
                }
            }
            '[' | ']' => {}
            c => key.push(c),
        }
    }
    path(&above, &mut key);
    found
}

#[test]
fn a_daemon_that_sends_a_list_round_and_round_is_left() {
    let (after, next) = (|text: &Text<128>| text.to_string(), || Text::clipped("7"));
    for noun in ["vm", "op", "connection"] {
        let (say, said) = std::sync::mpsc::channel();
        let mut pages = 0..9;
        let run = vmwire(&[noun, "list"], move |mut daemon| {
            // It could go on for ever; a client that does not notice is left after a while.
            while let Some(Came::Call(call)) = daemon.next().filter(|_| pages.next().is_some()) {
                let (behind, answer) = match &call.data {
                    ClientData::VmList(call) => {
                        let cursor = Cursor { epoch: EPOCH, sequence: 1 };
                        let answer = VmListAnswer { cursor, rows: List::default(), next: next() };
                        (after(&call.after), ServerData::VmList(answer))
                    }
                    ClientData::OperationList(call) => {
                        let answer = OperationListAnswer { rows: List::default(), next: next() };
                        (after(&call.after), ServerData::OperationList(answer))
                    }
                    ClientData::ConnectionList(call) => {
                        let answer = ConnectionListAnswer { rows: List::default(), next: next() };
                        (after(&call.after), ServerData::ConnectionList(answer))
                    }
                    other => panic!("not expected: {other:?}"),
                };
                say.send(behind).unwrap();
                daemon.answer(call.ticket, &answer);
            }
        });
        assert_eq!(said.iter().collect::<Vec<_>>(), ["", "7"], "{noun}");
        assert!(run.err.contains("a list goes on before"), "{noun}: {}", run.err);
        assert_eq!((run.exit, run.out.as_str()), (Exit::NoConnection, ""), "{noun}");
    }
}

#[test]
fn a_page_without_rows_does_not_end_a_list() {
    let run = vmwire(&["vm", "list", "--fields", "name", "-o", "json"], |mut daemon| {
        let pages: [(&str, &[&str], &str); 4] =
            [("", &[], "c"), ("c", &["d"], "d"), ("d", &[], "f"), ("f", &["g"], "")];
        for (after, names, next) in pages {
            let (ticket, data) = daemon.call();
            let ClientData::VmList(call) = data else { panic!("{data:?}") };
            assert_eq!(call.after, after);
            let row = |name: &&str| VmRow { cells: List::clipped([VmCell::Text(Text::clipped(name))]) };
            let answer = VmListAnswer {
                cursor: Cursor { epoch: EPOCH, sequence: 1 },
                rows: List::clipped(names.iter().map(row)),
                next: Text::clipped(next),
            };
            daemon.answer(ticket, &ServerData::VmList(answer));
        }
        daemon.until_gone();
    });
    assert_eq!((run.exit, run.json()), (Exit::Ok, json!([{"name": "d"}, {"name": "g"}])));
}

#[test]
fn the_page_for_programs_names_every_key() {
    let page = include_str!("../../../docs/cli.md");
    let definition = tempfile::NamedTempFile::new().unwrap();
    let file = definition.path().to_str().unwrap();
    let verbs: [(&str, &[&str]); 17] = [
        ("vm show", &["vm", "show", "a"]),
        ("vm define", &["vm", "define", file]),
        ("vm definition", &["vm", "definition", "a"]),
        ("vm undefine start shutdown stop reboot reset pause resume", &["vm", "undefine", "a"]),
        ("vm undefine start shutdown stop reboot reset pause resume", &["vm", "start", "a"]),
        ("vm undefine start shutdown stop reboot reset pause resume", &["vm", "shutdown", "a"]),
        ("vm undefine start shutdown stop reboot reset pause resume", &["vm", "reboot", "a"]),
        ("vm wait", &["vm", "wait", "a", "--for", "state=running"]),
        ("host info", &["host", "info"]),
        ("host capabilities", &["host", "capabilities"]),
        ("daemon info", &["daemon", "info"]),
        ("op list", &["op", "list"]),
        ("op list", &["op", "show", "1"]),
        ("op list", &["op", "wait", "1"]),
        ("connection list", &["connection", "list"]),
        ("ping", &["ping"]),
        ("version", &["version"]),
    ];
    for (row, words) in verbs {
        let start = format!("| `{row}` |");
        let line = page.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no row {row}"));
        let notation = line[start.len()..].split('`').nth(1).unwrap();
        let mut found = BTreeSet::new();
        // Answers drawn by chance, until every optional part was there.
        for seed in 0..12 {
            let run = vmwire(&[&["-o", "json"], words].concat(), move |mut daemon| {
                while let Some(Came::Call(call)) = daemon.next() {
                    let mut answer = ServerData::sample(call.ticket.number(), &mut Sampler::new(seed)).unwrap();
                    match &mut answer {
                        ServerData::ConnectionList(answer) => answer.next = Text::clipped(""),
                        ServerData::OperationList(answer) => answer.next = Text::clipped(""),
                        _ => {}
                    }
                    daemon.answer(call.ticket, &answer);
                }
            });
            paths(&run.json(), "", &mut found);
        }
        assert_eq!(found, documented(notation), "{words:?}");
    }
}
