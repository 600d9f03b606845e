//! What somebody who has nothing but the capture is told of the reasons: which limit it was, since when a reader had not
//! read, what was offered and what is spoken, what a console said.

use vmwire_protocol::message::{
    CaptureOpenAnswer, CaptureOpenCall, ClientData, ConsoleOpenAnswer, ConsoleOpenCall, Cursor, Event, EventOperation,
    Failure, Gap, ListCall, ServerData, StreamCredit, StreamData, SubscribeAnswer, SubscribeCall, VmDoneAnswer,
    VmNamesAnswer, VmRef, VmShutdownCall, VmStartCall, VmWaitAnswer, VmWaitCall, code, event_kind, operation_state,
    shutdown_then, vm_state,
};
use vmwire_protocol::xdr::{Fixed, List, Opaque};

use super::capture::Capture;
use super::talk::{ADMIN, EPOCH, Talk, encoded, hello_answer, text};
use super::tshark::{Frame, Tshark};
use crate::support::server::hello;

/// What is complained of by this name, a line each; it is the same in one pass as in two.
fn complaints(tshark: &Tshark, name: &str) -> Vec<String> {
    let filter = format!("vmwire.expert.{name}");
    let shown = ["-Y", &filter, "-T", "fields", "-e", "_ws.expert.message"];
    let said = tshark.run(&shown);
    assert_eq!(tshark.run(&[&["-2"], &shown[..]].concat()), said);
    said.lines().map(str::to_owned).collect()
}

fn data(stream: u32, offset: u64, data: &[u8]) -> ServerData {
    ServerData::StreamData(StreamData { stream, flags: 0, offset, data: Opaque::new(data).unwrap() })
}

/// Opens the console of db1 as stream 1, from byte 0 on.
fn open_console(talk: &mut Talk, capture: &mut Capture) {
    let open = ConsoleOpenCall { vm: text("db1"), mode: 1, history_bytes: 0 };
    let serial = talk.call(capture, &ClientData::ConsoleOpen(open));
    let answer = ConsoleOpenAnswer { stream: 1, offset: 0, writer: text("") };
    talk.say(capture, serial, &ServerData::ConsoleOpen(answer));
}

fn subscribe(talk: &mut Talk, capture: &mut Capture, after: Option<u64>, vm: &str, kinds: &[u32]) {
    let after = after.map(|sequence| Cursor { epoch: EPOCH, sequence });
    let first = Cursor { epoch: EPOCH, sequence: after.as_ref().map_or(1, |after| after.sequence + 1) };
    let kinds = List::new(kinds).unwrap();
    let serial = talk.call(capture, &ClientData::Subscribe(SubscribeCall { after, vm: text(vm), kinds }));
    talk.say(capture, serial, &ServerData::Subscribe(SubscribeAnswer { first }));
}

fn event(sequence: u64, operation: u64, kind: u32, detail: Vec<u8>) -> ServerData {
    let vm = Some(VmRef { uuid: Fixed([9; 16]), name: text("db1") });
    let detail = Opaque::new(detail).unwrap();
    ServerData::Event(Event { epoch: EPOCH, sequence, time_ns: 1, operation, vm, kind, detail })
}

fn shutdown(grace_ms: u32, then: u32) -> ClientData {
    ClientData::VmShutdown(VmShutdownCall { vm: text("db1"), grace_ms, then })
}

#[test]
fn what_a_console_says_is_shown_as_text_and_what_controls_is_escaped() {
    let test = "what_a_console_says_is_shown_as_text_and_what_controls_is_escaped";
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 2, ADMIN.0, ADMIN.1);
    open_console(&mut talk, &mut capture);
    let all: Vec<u8> = (0..=255).collect();
    let kept = [0; 32];
    let said: [&[u8]; 6] =
        [b"out of memory\r\n", b"\x1b[31mr\xc3\xa9d\t\\\xc2\x9b\xed\xa0\x80", &all, b"", &kept, b"bye"];
    let mut offset = 0;
    for said in said {
        talk.say(&mut capture, 0, &data(1, offset, said));
        offset += u64::try_from(said.len()).unwrap();
    }
    // A stream of which nothing is known may be a console; that of a capture is none.
    talk.say(&mut capture, 0, &data(7, 0, b"who am I"));
    let open = CaptureOpenCall { vm: text(""), payload: false, agents: false };
    let serial = talk.call(&mut capture, &ClientData::CaptureOpen(open));
    talk.say(&mut capture, serial, &ServerData::CaptureOpen(CaptureOpenAnswer { stream: 2 }));
    talk.say(&mut capture, 0, &data(2, 0, b"no text"));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let frames = tshark.frames(&["-Y", "vmwire.type == 0x1010"]);
    let shown: Vec<String> = frames.iter().map(|frame| frame.all("vmwire.stream.text").concat()).collect();
    let hex = |from: u32, to: u32| (from..=to).map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let printed: String = (' '..='~').map(|c| if c == '\\' { "\\\\".to_owned() } else { c.to_string() }).collect();
    let controls = [&hex(0, 8), "\\t\\n", &hex(11, 12), "\\r", &hex(14, 26), "\\e", &hex(28, 31)].concat();
    let everything = controls + &printed + &hex(127, 255);
    let expected = ["out of memory\\r\\n", "\\e[31mréd\\t\\\\\\xc2\\x9b\\xed\\xa0\\x80", &everything, "", "", "bye"];
    assert_eq!(shown, [&expected[..], &["who am I", ""]].concat());
}

#[test]
fn credit_that_was_spent_says_for_how_long_and_what_was_lost_for_it() {
    let test = "credit_that_was_spent_says_for_how_long_and_what_was_lost_for_it";
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    open_console(&mut talk, &mut capture);
    let half = vec![b'x'; 32_768];
    let credit = |bytes| ClientData::StreamCredit(StreamCredit { stream: 1, bytes });
    talk.say(&mut capture, 0, &data(1, 0, &half));
    talk.say(&mut capture, 0, &data(1, 32_768, &half));
    capture.pass_us(30_000_000);
    // None is not more.
    talk.call(&mut capture, &credit(0));
    capture.pass_us(14_999_800);
    talk.call(&mut capture, &credit(1000));
    talk.call(&mut capture, &credit(1000));
    talk.say(&mut capture, 0, &data(1, 70_000, b"here"));
    // Another loss, for which the reader did nothing.
    talk.say(&mut capture, 0, &data(1, 80_000, b"there"));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let nothing = "nothing more may come until the other side says STREAM_CREDIT";
    assert_eq!(complaints(&tshark, "spent"), [nothing, "credit was spent for 45 s, since frame 9"]);
    let expected = [
        "4464 bytes of stream 1 are lost: the reader had granted no credit for 45 s, since frame 9",
        "9996 bytes of stream 1 are lost",
    ];
    assert_eq!(complaints(&tshark, "jump"), expected);
    let sentences = tshark.sentences(&[]);
    let expected = [
        "STREAM_CREDIT 1: 0 bytes more",
        "STREAM_CREDIT 1: 1000 bytes more; credit was spent for 45 s, since frame 9",
        "STREAM_CREDIT 1: 1000 bytes more",
    ];
    assert_eq!(sentences[6..9], expected);
}

#[test]
fn a_deadline_of_0_says_that_it_is_the_default_and_which() {
    let test = "a_deadline_of_0_says_that_it_is_the_default_and_which";
    let mut capture = Capture::new();
    let mut talk = Talk::new(&mut capture);
    talk.call(&mut capture, &shutdown(0, shutdown_then::STOP));
    talk.call_within(&mut capture, 50, &shutdown(1500, shutdown_then::FAIL));
    talk.call(&mut capture, &ClientData::StreamCredit(StreamCredit { stream: 1, bytes: 0 }));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    let shown = tshark.run(&["-O", "vmwire"]);
    let deadlines: Vec<&str> = shown.lines().filter_map(|line| line.trim().strip_prefix("Deadline in ms: ")).collect();
    assert_eq!(deadlines, ["0 (the default of VM_SHUTDOWN, 600000 ms)", "50", "0"]);
    let expected = [
        "VM_SHUTDOWN db1, a grace of a minute, the default, then stop",
        "VM_SHUTDOWN db1, a grace of 1.5 s, then fail, within 50 ms",
    ];
    assert_eq!(tshark.sentences(&[])[..2], expected);
}

#[test]
fn a_grace_that_passed_is_told_from_a_deadline_and_its_operation_does_not_go_on() {
    let test = "a_grace_that_passed_is_told_from_a_deadline_and_its_operation_does_not_go_on";
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    let passed = |operation| {
        let failure = Failure::new(code::DEADLINE_EXCEEDED, "no").detail("begun", "yes");
        failure.detail("operation", operation)
    };
    let known = talk.call(&mut capture, &shutdown(5000, shutdown_then::FAIL));
    let failure = Some(passed("12").detail("limit", "5000"));
    let detail = EventOperation { procedure: 0x111, state: operation_state::FAILED, identity: text("uid 0"), failure };
    talk.say(&mut capture, 0, &event(41, 12, event_kind::OPERATION, encoded(&detail)));
    talk.fail(&mut capture, known, passed("12").detail("limit", "5000"));
    let unknown = talk.call(&mut capture, &shutdown(4000, shutdown_then::FAIL));
    talk.fail(&mut capture, unknown, passed("13").detail("limit", "4000"));
    let deadline = talk.call_within(&mut capture, 50, &shutdown(4000, shutdown_then::FAIL));
    talk.fail(&mut capture, deadline, passed("14"));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let expected = [
        "DEADLINE_EXCEEDED, no: the grace of the call itself, 5000 ms, passed, and operation 12 failed (frame 7)",
        "DEADLINE_EXCEEDED, no: the grace of the call itself, 4000 ms, passed, and that ends the operation",
        "DEADLINE_EXCEEDED, no: allowed were 50 ms, and what was begun goes on",
    ];
    assert_eq!(complaints(&tshark, "deadline"), expected);
}

#[test]
fn an_operation_is_found_by_its_call_and_by_the_failure_that_names_it() {
    let test = "an_operation_is_found_by_its_call_and_by_the_failure_that_names_it";
    let mut capture = Capture::new();
    let mut talk = Talk::new(&mut capture);
    let start = |vm| ClientData::VmStart(VmStartCall { vm: text(vm), paused: false });
    let failing = talk.call(&mut capture, &start("db1"));
    let done = talk.call(&mut capture, &start("web1"));
    let none = talk.call(&mut capture, &start("web2"));
    let vast = talk.call(&mut capture, &start("web3"));
    let failed = |operation| Failure::new(code::DRIVER, "no").detail("operation", operation);
    talk.fail(&mut capture, failing, failed("12"));
    let answer = VmDoneAnswer { operation: 5_000_000_000, state: vm_state::RUNNING };
    talk.say(&mut capture, done, &ServerData::VmStart(answer));
    talk.fail(&mut capture, none, Failure::new(code::NOT_FOUND, "no such VM"));
    talk.fail(&mut capture, vast, failed("99999999999999999999"));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let frames = tshark.frames(&[]);
    let found: Vec<String> = frames.iter().map(|frame| frame.all("vmwire.operation").concat()).collect();
    assert_eq!(found, ["12", "5000000000", "", "", "12", "5000000000", "", ""]);
    // Of what is answered later, one pass knows nothing.
    let once = tshark.run(&["-Y", "vmwire.operation == 12", "-T", "fields", "-e", "frame.number"]);
    assert_eq!(once, "8\n");
}

#[test]
fn what_is_unsupported_says_whose_version_is_the_older_one() {
    let test = "what_is_unsupported_says_whose_version_is_the_older_one";
    let unsupported = || Failure::new(code::UNSUPPORTED, "no").detail("minor", "2");
    let names = || ClientData::VmNames(ListCall { after: text(""), rows_max: 0 });
    let mut capture = Capture::new();
    // The client's, the daemon's, both, and a client that says none.
    for (offered, agreed, newest) in [(1, 1, 2), (2, 1, 1), (1, 1, 1)] {
        let mut talk = Talk::new(&mut capture);
        let serial = talk.call(&mut capture, &hello(1, offered, &[]));
        let ServerData::Hello(mut answer) = hello_answer(agreed, ADMIN.0, ADMIN.1) else { unreachable!() };
        answer.newest_minor = newest;
        talk.say(&mut capture, serial, &ServerData::Hello(answer));
        let serial = talk.call(&mut capture, &names());
        talk.fail(&mut capture, serial, unsupported());
    }
    let mut silent = Talk::new(&mut capture);
    let serial = silent.call(&mut capture, &names());
    silent.fail(&mut capture, serial, unsupported());
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let expected = [
        "1.1 is in force, agreed on in frame 5: the client offered only 1.1 in frame 4; the daemon has 1.2",
        "1.1 is in force, agreed on in frame 12: the client offered 1.2 in frame 11; the daemon has only 1.1",
        "1.1 is in force, agreed on in frame 19: the client offered 1.1 in frame 18; the daemon has 1.1",
        "1.0 is in force, for no HELLO was said",
    ];
    assert_eq!(
        complaints(&tshark, "unsupported"),
        expected.map(|why| format!("UNSUPPORTED, no: it needs 1.2, and {why}"))
    );
}

#[test]
fn a_foreign_major_is_told_with_what_was_offered_and_what_is_spoken() {
    let test = "a_foreign_major_is_told_with_what_was_offered_and_what_is_spoken";
    let mut capture = Capture::new();
    let mut talk = Talk::new(&mut capture);
    let serial = talk.call(&mut capture, &hello(7, 0, &[]));
    for majors in ["1", "1, 2"] {
        talk.fail(&mut capture, serial, Failure::new(code::VERSION_MISMATCH, "no").detail("majors", majors));
    }
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    let offered = "the client offered major 7 in frame 4, and the daemon speaks only";
    let expected = ["major 1", "the majors 1, 2"].map(|majors| format!("VERSION_MISMATCH, no: {offered} {majors}"));
    let said = complaints(&tshark, "version");
    assert_eq!(said[0], expected[0]);
    // The second answers what was answered, which is complained of first.
    assert!(said[1].ends_with(&expected[1]), "{said:?}");
}

#[test]
fn a_gap_says_what_was_asked_for_and_what_to_do() {
    let test = "a_gap_says_what_was_asked_for_and_what_to_do";
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    let gap = |talk: &mut Talk, capture: &mut Capture, first, last| {
        talk.say(capture, 0, &ServerData::Gap(Gap { epoch: EPOCH, first, last }));
    };
    gap(&mut talk, &mut capture, 3, 17);
    subscribe(&mut talk, &mut capture, Some(100), "", &[]);
    gap(&mut talk, &mut capture, 101, 140);
    gap(&mut talk, &mut capture, 141, 150);
    subscribe(&mut talk, &mut capture, None, "", &[]);
    gap(&mut talk, &mut capture, 0, 0);
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let expected = [
        "events 3 to 17 are lost to this subscriber: no longer kept",
        "events 101 to 140 are lost to this subscriber: no longer kept when SUBSCRIBE in frame 7 asked for what is after 100",
        "events 141 to 150 are lost to this subscriber: no longer kept when the subscription of frame 7 came to them",
        "the sequence asked for is not known: all that is kept follows",
    ];
    let again = "; read the state again and go on from its cursor";
    assert_eq!(complaints(&tshark, "gap"), expected.map(|why| format!("{why}{again}")));
}

#[test]
fn events_that_are_not_shown_are_told_with_the_filter_of_their_subscription() {
    let test = "events_that_are_not_shown_are_told_with_the_filter_of_their_subscription";
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    let kinds = [event_kind::VM_STATE, event_kind::VM_UNDEFINED];
    for (vm, kinds) in [("", &[][..]), ("", &kinds[..1]), ("db1", &kinds), ("db1", &[])] {
        subscribe(&mut talk, &mut capture, Some(10), vm, kinds);
        for sequence in [11, 13] {
            talk.say(&mut capture, 0, &event(sequence, 0, event_kind::VM_UNDEFINED, Vec::new()));
        }
    }
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let expected = [
        "filtered by rights",
        "filtered by kind (vm-state), as SUBSCRIBE in frame 10 asked, or by rights",
        "filtered by kind (vm-state, vm-undefined) and VM (db1), as SUBSCRIBE in frame 14 asked, or by rights",
        "filtered by VM (db1), as SUBSCRIBE in frame 18 asked, or by rights",
    ];
    let expected = expected.map(|why| format!("event 12 was not shown: {why}, or lost without a GAP"));
    assert_eq!(complaints(&tshark, "sequence"), expected);
    let mut subscribes = tshark.sentences(&[]);
    subscribes.retain(|said| said.starts_with("SUBSCRIBE ") && !said.contains("to come"));
    let expected = [
        "SUBSCRIBE events after event 10",
        "SUBSCRIBE vm-state events after event 10",
        "SUBSCRIBE vm-state, vm-undefined events of db1 after event 10",
        "SUBSCRIBE events of db1 after event 10",
    ];
    assert_eq!(subscribes, expected);
}

#[test]
fn an_answer_with_a_cursor_says_as_of_which_event_it_is() {
    let test = "an_answer_with_a_cursor_says_as_of_which_event_it_is";
    let cursor = || Cursor { epoch: EPOCH, sequence: 6100 };
    let mut capture = Capture::new();
    let mut talk = Talk::new(&mut capture);
    let serial = talk.call(&mut capture, &ClientData::VmNames(ListCall { after: text(""), rows_max: 0 }));
    let names = List::new([text("db1")]).unwrap();
    talk.say(&mut capture, serial, &ServerData::VmNames(VmNamesAnswer { cursor: cursor(), names, next: text("db1") }));
    let wait = VmWaitCall { vm: text("db1"), states: List::new([3]).unwrap() };
    let serial = talk.call(&mut capture, &ClientData::VmWait(wait));
    let vm = VmRef { uuid: Fixed([9; 16]), name: text("db1") };
    let answer = VmWaitAnswer { cursor: cursor(), vm, state: vm_state::RUNNING };
    talk.say(&mut capture, serial, &ServerData::VmWait(answer));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let sentences = tshark.sentences(&[]);
    assert_eq!(sentences[1], "VM_NAMES: 1 name as of event 6100, more to come (0.1 ms)");
    assert_eq!(sentences[3], "VM_WAIT db1: running as of event 6100 (0.1 ms)");
}

#[test]
fn a_refusal_by_role_says_nothing_twice() {
    let test = "a_refusal_by_role_says_nothing_twice";
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, "CN=alice", 1);
    for message in ["vm-start needs the role operator; yours is observer", "no"] {
        let serial = talk.call(&mut capture, &ClientData::Ping);
        let denied = Failure::new(code::DENIED, message).detail("role", "observer").detail("needed", "operator");
        talk.fail(&mut capture, serial, denied);
    }
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    let who = "; the daemon takes the client for \"CN=alice\" (frame 5)";
    let expected = [
        format!("DENIED, vm-start needs the role operator; yours is observer{who}"),
        format!("DENIED, no: the role is observer, and needed is operator{who}"),
    ];
    assert_eq!(complaints(&tshark, "denied"), expected);
    let found: Vec<String> = tshark.frames(&[]).iter().flat_map(Frame::complaints).collect();
    assert_eq!(found, ["denied"; 2]);
}
