//! Several scripted daemons, asked at once.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};
use vmwire_protocol::message::{
    ClientData, Cursor, Failure, ServerData, VmCell, VmDoneAnswer, VmListAnswer, VmRow, code,
};
use vmwire_protocol::xdr::{List, Text};

use super::super::tests::{Paper, Run};
use super::super::{Arguments, Exit, run};
use super::*;
use crate::connection::scripted::{EPOCH, Scripted, host_info};
use crate::uri::Uri;

type Script = Box<dyn FnOnce(Scripted) + Send>;

/// What there is of a host.
enum There {
    Nobody,
    /// A socket, and nobody behind it who takes anything up.
    Silent,
    Daemon(Script),
}

/// Runs the program against hosts that do what the scripts say.
fn vmwire(words: &[&str], there: Vec<There>) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let mut uris = Vec::new();
    let mut daemons: Vec<JoinHandle<()>> = Vec::new();
    let mut silent = Vec::new();
    for (number, there) in there.into_iter().enumerate() {
        let socket: PathBuf = directory.path().join(number.to_string());
        uris.push(Uri::from_socket(&socket).to_string());
        let listen = || UnixListener::bind(&socket).unwrap();
        match there {
            There::Nobody => {}
            There::Silent => silent.push(listen()),
            There::Daemon(script) => {
                let listener = listen();
                daemons.push(std::thread::spawn(move || script(Scripted::new(listener.accept().unwrap().0, 1))));
            }
        }
    }
    let (out, err) = (Paper::default(), Paper::default());
    let hosts = uris.join(",");
    let arguments = ["vmwire", "-H", &hosts].into_iter().chain(words.iter().copied()).map(Into::into);
    let exit = run(arguments, &mut Output::new(Box::new(out.clone()), Box::new(err.clone()), false));
    for daemon in daemons {
        daemon.join().unwrap();
    }
    let short = |text: String| {
        let begin = format!("qemu+unix:///system?socket={}/", directory.path().display());
        text.replace(&begin, "host").replace(&format!("{}/", directory.path().display()), "/")
    };
    // Columns are as wide as the URIs were.
    let mut out = short(out.text());
    while out.contains("   ") {
        out = out.replace("   ", "  ");
    }
    Run { exit, out, err: short(err.text()) }
}

/// A host with machines of these names.
fn lists(names: &'static [&'static str]) -> There {
    There::Daemon(Box::new(move |mut daemon| {
        let (ticket, data) = daemon.call();
        assert!(matches!(data, ClientData::VmList(_)), "{data:?}");
        let row = |name: &&str| VmRow { cells: List::clipped([VmCell::Text(Text::clipped(name)), VmCell::Number(1)]) };
        let answer = VmListAnswer {
            cursor: Cursor { epoch: EPOCH, sequence: 1 },
            rows: List::clipped(names.iter().map(row)),
            next: Text::default(),
        };
        daemon.answer(ticket, &ServerData::VmList(answer));
        daemon.until_gone();
    }))
}

fn refuses(code: u32) -> There {
    There::Daemon(Box::new(move |mut daemon| {
        let (ticket, _) = daemon.call();
        daemon.fail(ticket, Failure::new(code, "not for you").hint("ask for it"));
        daemon.until_gone();
    }))
}

fn hangs() -> There {
    There::Daemon(Box::new(|mut daemon| {
        let _unanswered = daemon.call();
        daemon.until_gone();
    }))
}

const LIST: [&str; 4] = ["vm", "list", "--fields", "name,cpus"];
const JSON: [&str; 6] = ["-o", "json", "vm", "list", "--fields", "name,cpus"];

#[test]
fn the_rows_of_all_are_one_table_in_the_order_of_naming() {
    let run = vmwire(&LIST, vec![lists(&["web", "a-long-name"]), lists(&[]), lists(&["db"])]);
    let table = "HOST  NAME  CPUS\nhost0  web  1\nhost0  a-long-name  1\nhost2  db  1\n";
    assert_eq!((run.exit, run.out.as_str(), run.err.as_str()), (Exit::Ok, table, ""));
}

#[test]
fn programs_get_one_array_with_the_host_in_each_row() {
    let run = vmwire(&JSON, vec![lists(&["web"]), lists(&["db"])]);
    let rows = json!([{"host": "host0", "name": "web", "cpus": 1}, {"host": "host1", "name": "db", "cpus": 1}]);
    assert_eq!((run.exit, run.json()), (Exit::Ok, rows));
    assert!(run.out.starts_with("[{\"host\":"), "{}", run.out);
    let none = vmwire(&JSON, vec![lists(&[])]);
    assert_eq!((none.exit, none.out.as_str()), (Exit::Ok, "[]\n"));
}

#[test]
fn who_cannot_be_reached_is_told_behind_the_table_and_holds_nobody_up() {
    let run = vmwire(&LIST, vec![There::Nobody, lists(&["web"]), refuses(code::DENIED)]);
    assert_eq!(run.exit, Exit::Partial);
    assert_eq!(run.out, "HOST  NAME  CPUS\nhost1  web  1\n");
    assert_eq!(
        run.err,
        "vmwire: host0: cannot connect to /0\n  cause: No such file or directory (os error 2)\n  \
         hint: is the daemon running there? -c or VMWIRE_URI says which one is meant\n\
         vmwire: host2: not for you\n  hint: ask for it\n"
    );
    let run = vmwire(&JSON, vec![lists(&["web"]), refuses(code::DENIED)]);
    assert_eq!((run.exit, run.json()[0]["host"].as_str()), (Exit::Partial, Some("host0")));
    let error: Value = serde_json::from_str(&run.err).unwrap();
    assert_eq!((&error["host"], &error["error"]["code"]), (&json!("host1"), &json!("DENIED")));
    assert_eq!(error["error"]["exit"], 4);
}

#[test]
fn where_all_fail_it_ends_as_all_or_partly() {
    assert_eq!(vmwire(&LIST, vec![There::Nobody, There::Nobody]).exit, Exit::NoConnection);
    let run = vmwire(&JSON, vec![There::Nobody, refuses(code::DENIED)]);
    assert_eq!((run.exit, run.out.as_str()), (Exit::Partial, "[]\n"));
    assert_eq!(run.err.lines().count(), 2);
}

#[test]
fn whoever_does_not_answer_within_the_time_is_given_up_alone() {
    let began = Instant::now();
    let words = [&["--timeout", "3s"], &LIST[..]].concat();
    let run = vmwire(&words, vec![lists(&["web"]), hangs(), There::Silent]);
    assert_eq!((run.exit, run.out.as_str()), (Exit::Partial, "HOST  NAME  CPUS\nhost0  web  1\n"));
    for host in ["host1", "host2"] {
        assert!(run.err.contains(&format!("vmwire: {host}: no answer within 3 s\n")), "{}", run.err);
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn a_host_that_ignores_every_limit_is_left_behind() {
    // A thread that never ends: nothing on the way of a single host would end it.
    let limit = Limit::of(Manner::Answers(Duration::from_millis(1)), None);
    let mut round = Round::new(Vec::new(), limit, AT_ONCE);
    round.ends = vec![None];
    round.asked.push(Asked::new(0, "h".to_owned()));
    let (sender, receiver) = sync_channel(1);
    let noun = Arc::new(Arguments::try_parse_from(["vmwire", "vm", "list"]).unwrap().noun);
    let threads = Threads { noun, timeout: None, stdin: Arc::default(), like: (Format::Table, true), sender };
    let mut output = Output::new(Box::new(io::sink()), Box::new(io::sink()), false);
    let mut told = Vec::new();
    let exit = round.listen(&threads, &receiver, &mut output, |piece, _, _| {
        told.push(format!("{piece:?}"));
        Ok(())
    });
    assert_eq!(exit, Ok(Exit::Deadline));
    assert!(told[0].contains("no answer within 1 ms") && told[0].contains("; --timeout gives it longer"), "{told:?}");
}

#[test]
fn each_host_has_a_limit_for_the_whole_verb_unless_it_is_there_to_wait() {
    let parsed = |words: &str| Arguments::try_parse_from(["vmwire"].into_iter().chain(words.split(' '))).unwrap().noun;
    let limit = |words: &str, timeout| Limit::of(manner(&parsed(words)).unwrap(), timeout).map(|limit| limit.time);
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (words, time) in [
        ("vm list", seconds(30)),
        ("vm show a", seconds(30)),
        ("vm definition a", seconds(30)),
        ("host info", seconds(30)),
        ("daemon info", seconds(30)),
        ("op list", seconds(30)),
        ("connection list", seconds(30)),
        ("client list", seconds(30)),
        ("version", seconds(30)),
        ("ping", seconds(30)),
        ("ping -n 3", seconds(90)),
        ("vm define f", seconds(90)),
        ("vm start a b", seconds(90)),
        ("vm stop a", seconds(90)),
        ("client remove a", seconds(90)),
        ("vm shutdown a --grace 9m", seconds(660)),
        ("vm reboot a", seconds(660)),
        ("vm wait a --for state=running", None),
        ("op wait 7", None),
        ("event follow", None),
    ] {
        assert_eq!(limit(words, None), time, "{words}");
        let set = if words == "event follow" { None } else { seconds(5) };
        assert_eq!(limit(words, seconds(5)), set, "{words} --timeout 5s");
    }
}

#[test]
fn as_many_as_may_are_asked_at_once_and_the_others_when_it_is_their_turn() {
    let open = Arc::new((Mutex::new((0, 0)), Condvar::new()));
    let script = |number: usize| -> There {
        let open = open.clone();
        There::Daemon(Box::new(move |mut daemon: Scripted| {
            let (ticket, _) = daemon.call();
            let (count, changed) = &*open;
            let mut count = count.lock().unwrap();
            count.0 += 1;
            count.1 = count.0.max(count.1);
            changed.notify_all();
            if number < AT_ONCE {
                // The first ones answer when all of them have been asked, and nobody else in a while. Were they asked one
                // after the other, only the first would wait for nothing.
                let (waited, late) =
                    changed.wait_timeout_while(count, Duration::from_secs(5), |count| count.1 < AT_ONCE).unwrap();
                count = waited;
                count.1 = if late.timed_out() { usize::MAX } else { count.1 };
                let more = changed.wait_timeout_while(count, Duration::from_millis(300), |count| count.1 == AT_ONCE);
                count = more.unwrap().0;
            }
            count.0 -= 1;
            drop(count);
            daemon.fail(ticket, Failure::new(code::NOT_FOUND, "none"));
            daemon.until_gone();
        }))
    };
    let run = vmwire(&["-o", "json", "vm", "definition", "web"], (0..AT_ONCE + 9).map(script).collect());
    assert_eq!((run.exit, run.err.lines().count()), (Exit::NotFound, AT_ONCE + 9));
    for (number, line) in run.err.lines().enumerate() {
        let error: Value = serde_json::from_str(line).unwrap();
        assert_eq!(error["host"], format!("host{number}"), "in the order of naming");
    }
    assert_eq!(open.0.lock().unwrap().1, AT_ONCE);
}

#[test]
fn all_are_followed_at_once_for_nobody_would_ever_make_room() {
    let asked = Arc::new((Mutex::new(0), Condvar::new()));
    let script = |_| -> There {
        let asked = asked.clone();
        There::Daemon(Box::new(move |mut daemon: Scripted| {
            let (ticket, _) = daemon.call();
            let (count, changed) = &*asked;
            let mut count = count.lock().unwrap();
            *count += 1;
            changed.notify_all();
            let all = changed.wait_timeout_while(count, Duration::from_secs(5), |count| *count < AT_ONCE + 2).unwrap();
            assert!(!all.1.timed_out(), "only some are followed");
            drop(all);
            daemon.fail(ticket, Failure::new(code::NOT_FOUND, "none"));
            daemon.until_gone();
        }))
    };
    let run = vmwire(&["event", "follow"], (0..AT_ONCE + 2).map(script).collect());
    assert_eq!(run.exit, Exit::NotFound);
}

#[test]
fn what_is_one_thing_on_one_host_is_a_row_for_each_of_several() {
    let info = |cpus| -> There {
        There::Daemon(Box::new(move |mut daemon: Scripted| {
            let (ticket, _) = daemon.call();
            daemon.answer(ticket, &host_info(cpus));
            daemon.until_gone();
        }))
    };
    let run = vmwire(&["-o", "json", "host", "info"], vec![info(3), info(5)]);
    let rows = run.json();
    assert_eq!((&rows[0]["cpus"], &rows[1]["cpus"], &rows[1]["host"]), (&json!(3), &json!(5), &json!("host1")));
    let run = vmwire(&["host", "info"], vec![info(3), info(5)]);
    assert!(run.out.contains("host0  cpus  3\n") && run.out.contains("host1  cpus  5\n"), "{}", run.out);
}

#[test]
fn what_fails_for_a_machine_is_told_with_its_host() {
    let starts = |fails: bool| -> There {
        There::Daemon(Box::new(move |mut daemon: Scripted| {
            let (ticket, _) = daemon.call();
            if fails {
                daemon.fail(ticket, Failure::new(code::NOT_FOUND, "there is none").about("vm", "web"));
            } else {
                daemon.answer(ticket, &ServerData::VmStart(VmDoneAnswer { operation: 7, state: 3 }));
            }
            daemon.until_gone();
        }))
    };
    let run = vmwire(&["vm", "start", "web"], vec![starts(false), starts(true)]);
    assert_eq!(run.exit, Exit::Partial);
    assert_eq!(run.out, "HOST  VM  STATE  OPERATION\nhost0  web  running  7\n");
    assert_eq!(run.err, "vmwire: host1: vm web: there is none\n");
    assert_eq!(vmwire(&["vm", "start", "web"], vec![starts(true), starts(true)]).exit, Exit::NotFound);
}

#[test]
fn what_makes_no_sense_on_several_is_refused_in_words() {
    let one = "name the one host with -c";
    let none = "leave -H out";
    let table = [
        ("vm console web", "vm console takes no -H: a console is that of one machine on one host", one),
        ("connection kick 7", "connection kick takes no -H: each daemon numbers its connections for itself", one),
        ("enroll", "enroll takes no -H: a token is for one host, and names it", one),
        ("pki show", "pki takes no -H: it asks no daemon", none),
        ("context list", "context takes no -H: it asks no daemon", none),
        ("completion bash", "completion takes no -H: it asks no daemon", none),
        ("-c qemu:///system vm list", "-c names one daemon, and -H names several", ""),
    ];
    for (words, message, hint) in table {
        let run = vmwire(&words.split(' ').collect::<Vec<_>>(), vec![There::Nobody]);
        let hint = if hint.is_empty() { "leave one of the two out; -H takes contexts and URIs as well" } else { hint };
        assert_eq!((run.exit, run.err), (Exit::Usage, format!("vmwire: {message}\n  hint: {hint}\n")), "{words}");
    }
}

#[test]
fn it_ends_as_all_did_or_partly() {
    assert_eq!(of_hosts(&[Exit::Ok, Exit::Ok]), Exit::Ok);
    assert_eq!(of_hosts(&[Exit::Denied, Exit::Denied]), Exit::Denied);
    assert_eq!(of_hosts(&[Exit::Ok, Exit::Denied]), Exit::Partial);
    assert_eq!(of_hosts(&[Exit::NotFound, Exit::Denied]), Exit::Partial);
}

#[test]
fn a_person_sees_how_far_it_has_come_and_nothing_of_it_stays() {
    let (err, mut seen) = UnixStream::pair().unwrap();
    let mut output = Output::new(Box::new(io::sink()), Box::new(err), false).with_progress();
    let names = ["a", "b", "c", "d", "e"];
    let host = |name: &&str| Host { name: (*name).to_owned(), uri: Uri::default_for(0) };
    let mut round = Round::new(names.iter().map(host).collect(), None, AT_ONCE);
    for _ in 0..4 {
        let (index, host) = round.waiting.pop_front().unwrap();
        round.asked.push(Asked::new(index, host.name));
    }
    round.show(&mut output);
    round.began -= PROGRESS_AFTER;
    round.end(1, Ok(Exit::Ok), &mut output, &mut |_, _, _| Ok(())).unwrap();
    round.show(&mut output);
    round.hide(&mut output);
    round.hide(&mut output);
    drop(output);
    let mut text = String::new();
    io::Read::read_to_string(&mut seen, &mut text).unwrap();
    assert_eq!(text, "\r\u{1b}[Kvmwire: 1 of 5 hosts done, waiting for a, c, d and 1 more\r\u{1b}[K");
}
