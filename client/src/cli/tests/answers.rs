//! What is made of a daemon's answers.

use std::time::Instant;

use serde_json::{Value, json};
use vmwire_protocol::message::{
    ClientData, ConnectionListAnswer, Cursor, Event, EventVmReset, Failure, Gap, OperationInfo, OperationListAnswer,
    ServerData, VmCell, VmDoneAnswer, VmListAnswer, VmRow, code, event_kind, filter_comparison, number,
    operation_state, vm_field,
};
use vmwire_protocol::session::Ticket;
use vmwire_protocol::xdr::{self, List, Opaque, Text};

use super::*;
use crate::connection::scripted::{Came, EPOCH};

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
fn of_agents_those_that_answer_are_told_with_their_time_and_the_others_with_why() {
    let script = |mut daemon: Scripted| {
        let mut tickets = Vec::new();
        for name in ["web", "db", "old"] {
            let (ticket, data) = daemon.call();
            assert!(matches!(&data, ClientData::AgentPing(call) if &*call.vm == name), "{data:?}");
            tickets.push(ticket);
        }
        let [web, db, old] = tickets.try_into().unwrap();
        let hint = "vmwire-ga or qemu-guest-agent has to run in the guest";
        daemon.fail(db, Failure::new(code::AGENT, "nobody listens").about("vm", "db").hint(hint));
        daemon.answer(old, &ServerData::AgentPing);
        daemon.answer(web, &ServerData::AgentPing);
        daemon.until_gone();
    };
    let words = ["agent", "ping", "web", "db", "old"];
    let run = vmwire(&words, script);
    assert_eq!(run.exit, Exit::Partial);
    let rows: Vec<Vec<&str>> = run.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((&rows[0][..], rows[1][0], rows[2][0]), (&["VM", "ANSWERED", "AFTER"][..], "web", "old"), "{}", run.out);
    assert_eq!((rows.len(), rows[1].len()), (3, 3), "{}", run.out);
    let told = "vmwire: vm db: nobody listens\n  hint: vmwire-ga or qemu-guest-agent has to run in the guest\n";
    assert_eq!(run.err, told);
    let run = vmwire(&[&["-o", "json"], &words[..]].concat(), script);
    assert_eq!((&run.json()[0]["vm"], &run.json()[1]["vm"]), (&json!("web"), &json!("old")));
    assert!(run.json()[0]["rtt_ns"].as_u64().unwrap() > 0, "{}", run.out);
    assert_eq!((&run.error()["error"]["code"], &run.error()["error"]["exit"]), (&json!("AGENT"), &json!(1)));
}

#[test]
fn a_daemon_that_knows_no_agents_is_told_as_too_old() {
    for code in [code::UNSUPPORTED, code::UNKNOWN_PROCEDURE] {
        let run = vmwire(&["agent", "ping", "web"], move |mut daemon| {
            let (ticket, _) = daemon.call();
            daemon.fail(ticket, Failure::new(code, "not in this version"));
            daemon.until_gone();
        });
        let hint = "the daemon is too old for this: it came with protocol 1.2";
        let told = format!("vmwire: vm web: not in this version\n  hint: {hint}\n");
        assert_eq!((run.exit, run.out.as_str(), run.err.as_str()), (Exit::Failed, "", told.as_str()));
    }
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
        let words = [&["--timeout", "2s"], words].concat();
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
            assert!(err.starts_with("vmwire: no answer within 2 s\n"), "{err}");
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{words:?} took {:?}", began.elapsed());
    };
    hangs(&["host", "info"]);
    hangs(&["event", "follow"]);
}

#[test]
fn what_can_never_come_true_has_its_own_exit() {
    let run = vmwire(&["vm", "wait", "web", "--for", "state=running,paused", "--timeout", "60s"], |mut daemon| {
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
