//! What belongs together: calls, answers, progress, events, streams, and the version in force.

use vmwire_protocol::message::{
    CancelAnswer, CancelCall, CaptureOpenAnswer, CaptureOpenCall, ClientData, ConsoleOpenAnswer, ConsoleOpenCall,
    Cursor, Event, EventOperation, Failure, Gap, Progress, ServerData, StreamCredit, StreamData, SubscribeAnswer,
    SubscribeCall, VmDoneAnswer, VmRef, VmStartCall, code, event_kind, operation_state,
};
use vmwire_protocol::xdr::{Fixed, List, Opaque};

use super::capture::Capture;
use super::talk::{ADMIN, EPOCH, Talk, encoded, hello_answer, text};
use super::tshark::{Frame, Tshark};

fn start(vm: &str) -> ClientData {
    ClientData::VmStart(VmStartCall { vm: text(vm), paused: false })
}

fn done(operation: u64, state: u32) -> VmDoneAnswer {
    VmDoneAnswer { operation, state }
}

fn operation_event(sequence: u64, operation: u64, vm: &str) -> ServerData {
    let detail =
        EventOperation { procedure: 0x110, state: operation_state::RUNNING, identity: text("uid 0"), failure: None };
    ServerData::Event(Event {
        epoch: EPOCH,
        sequence,
        time_ns: 1_793_534_400_000_000_000,
        operation,
        vm: Some(VmRef { uuid: Fixed([9; 16]), name: text(vm) }),
        kind: event_kind::OPERATION,
        detail: Opaque::new(encoded(&detail)).unwrap(),
    })
}

/// The frames by their first serial and who sent them: `c3` is the client's third.
fn find<'a>(frames: &'a [Frame], name: &str) -> &'a Frame {
    let (side, serial) = name.split_at(1);
    let from = if side == "c" { "client" } else { "server" };
    let found = |frame: &&Frame| frame.all("vmwire.from") == [from] && frame.all("vmwire.serial") == [serial];
    frames.iter().find(found).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn an_answer_progress_and_events_know_their_call() {
    let test = "an_answer_progress_and_events_know_their_call";
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    let serial = talk.call_within(&mut capture, 5000, &start("web1"));
    talk.say(&mut capture, 0, &operation_event(41, 12, "web1"));
    let progress = Progress { done: 1, total: 2, what: text("memory") };
    talk.say(&mut capture, serial, &ServerData::Progress(progress));
    capture.pass_us(20_000);
    talk.say(&mut capture, serial, &ServerData::VmStart(done(12, 3)));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let frames = tshark.frames(&[]);
    let (call, answer) = (find(&frames, "c2"), find(&frames, "s4"));
    let number = call.one("frame.number");
    assert_eq!(call.one("vmwire.response_in"), answer.one("frame.number"));
    assert_eq!((answer.one("vmwire.request_in"), answer.one("vmwire.time")), (number, "0.020300000"));
    assert_eq!(find(&frames, "s3").one("vmwire.request_in"), number);
    assert_eq!(find(&frames, "s2").one("vmwire.operation.call_in"), number);
    assert_eq!((answer.one("vmwire.operation"), answer.one("vmwire.vm.name")), ("12", "web1"));
    assert_eq!(answer.one("vmwire.version"), "1.1");
    let filtered = tshark.run(&[
        "-Y",
        "vmwire.vm.name == \"web1\" && vmwire.operation == 12",
        "-T",
        "fields",
        "-e",
        "frame.number",
    ]);
    assert_eq!(filtered.lines().count(), 2, "the event and the answer: {filtered}");
    let sentences = tshark.sentences(&[]);
    let expected = [
        "HELLO: speaks 1.1, can progress, is \"test\"",
        "HELLO: 1.1 agreed, of 1.2; \"uid 0\" is admin (0.5 ms)",
        "VM_START web1, within 5 s",
        "EVENT 41: operation 12 (VM_START web1) running",
        "PROGRESS of VM_START web1: 1 of 2, memory",
        "VM_START web1: running, operation 12 (20.3 ms)",
    ];
    assert_eq!(sentences, expected);
}

#[test]
fn what_is_late_twice_cancelled_or_never_answered_is_flagged() {
    let test = "what_is_late_twice_cancelled_or_never_answered_is_flagged";
    let mut capture = Capture::new();
    let mut talk = Talk::new(&mut capture);
    let late = talk.call_within(&mut capture, 100, &start("late"));
    let twice = talk.call(&mut capture, &start("twice"));
    let cancelled = talk.call(&mut capture, &start("cancelled"));
    talk.call(&mut capture, &start("never"));
    let cancel = talk.call(&mut capture, &ClientData::Cancel(CancelCall { serial: cancelled }));
    talk.say(&mut capture, cancel, &ServerData::Cancel(CancelAnswer { found: true }));
    talk.fail(&mut capture, cancelled, Failure::new(code::CANCELLED, "as you wish").detail("begun", "no"));
    for _ in 0..2 {
        talk.say(&mut capture, twice, &ServerData::VmStart(done(1, 3)));
    }
    capture.pass_us(900_000);
    talk.say(&mut capture, late, &ServerData::VmStart(done(2, 3)));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let frames = tshark.frames(&[]);
    let complaints = |name| find(&frames, name).complaints();
    assert_eq!(complaints("c4"), ["unanswered"]);
    assert_eq!(find(&frames, "c4").one("vmwire.unanswered"), "1");
    assert_eq!(find(&frames, "c3").one("vmwire.cancelled_in"), find(&frames, "c5").one("frame.number"));
    assert_eq!(find(&frames, "c5").one("vmwire.cancels"), find(&frames, "c3").one("frame.number"));
    assert_eq!((complaints("s2"), find(&frames, "s2").one("vmwire.cancelled")), (vec!["cancelled".to_owned()], "1"));
    assert_eq!((complaints("s3"), complaints("s4")), (vec![], vec!["duplicate".to_owned()]));
    assert_eq!(find(&frames, "s4").one("vmwire.duplicate"), "1");
    assert_eq!((complaints("s5"), find(&frames, "s5").one("vmwire.late")), (vec!["deadline".to_owned()], "1"));
    assert!(
        tshark.run(&["-Y", "vmwire.late", "-T", "fields", "-e", "_ws.expert.message"]).contains("allowed were 100 ms")
    );
}

#[test]
fn a_limit_that_is_not_the_deadline_makes_nothing_late() {
    let test = "a_limit_that_is_not_the_deadline_makes_nothing_late";
    let mut capture = Capture::new();
    let mut talk = Talk::new(&mut capture);
    let passed = |begun| Failure::new(code::DEADLINE_EXCEEDED, "too long").detail("begun", begun);
    let grace = talk.call(&mut capture, &start("grace"));
    talk.fail(&mut capture, grace, passed("yes").detail("limit", "50"));
    let own = talk.call_within(&mut capture, 50, &start("own"));
    talk.fail(&mut capture, own, passed("no").detail("limit", "50"));
    let default = talk.call(&mut capture, &start("default"));
    talk.fail(&mut capture, default, passed("no"));
    let both = talk.call_within(&mut capture, 50, &start("both"));
    capture.pass_us(900_000);
    talk.fail(&mut capture, both, passed("no").detail("limit", "70"));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let fields = ["-T", "fields", "-e", "vmwire.late", "-e", "_ws.expert.message"];
    let said = tshark.run(&[&["-2", "-Y", "vmwire.expert.deadline"][..], &fields].concat());
    let said: Vec<(&str, &str)> = said.lines().map(|line| line.split_once('\t').unwrap()).collect();
    let expected = [
        ("", "the limit of the call itself, 50 ms, passed, and what was begun goes on"),
        ("1", "allowed were 50 ms"),
        ("1", "allowed was the default of 60000 ms"),
        ("1", "the limit of the call itself, 70 ms, passed"),
    ];
    let expected = expected.map(|(late, why)| (late, format!("DEADLINE_EXCEEDED, too long: {why}")));
    assert_eq!(said, expected.each_ref().map(|(late, why)| (*late, why.as_str())));
}

#[test]
fn a_jump_of_the_sequence_is_noted_unless_a_gap_or_the_capture_explains_it() {
    let test = "a_jump_of_the_sequence_is_noted_unless_a_gap_or_the_capture_explains_it";
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    let come = |talk: &mut Talk, capture: &mut Capture, sequences: &[u64]| {
        sequences.iter().for_each(|sequence| talk.say(capture, 0, &operation_event(*sequence, 12, "web1")));
    };
    come(&mut talk, &mut capture, &[41, 42, 44, 47]);
    talk.say(&mut capture, 0, &ServerData::Gap(Gap { epoch: EPOCH, first: 48, last: 60 }));
    come(&mut talk, &mut capture, &[61]);
    let subscribe = SubscribeCall { after: None, vm: text(""), kinds: List::default() };
    let serial = talk.call(&mut capture, &ClientData::Subscribe(subscribe));
    let first = Cursor { epoch: EPOCH, sequence: 70 };
    talk.say(&mut capture, serial, &ServerData::Subscribe(SubscribeAnswer { first }));
    come(&mut talk, &mut capture, &[75]);
    talk.skip();
    come(&mut talk, &mut capture, &[80]);
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let fields = ["-T", "fields", "-e", "vmwire.event.sequence", "-e", "_ws.expert.message"];
    let said = tshark.run(&[&["-2", "-Y", "vmwire.expert.sequence"][..], &fields].concat());
    let why = "not shown: filtered by VM, kind or rights, or lost without a GAP";
    assert_eq!(said, format!("44\tevent 43 was {why}\n47\tevents 45 to 46 were {why}\n"));
}

#[test]
fn a_gap_that_names_no_events_says_that_the_whole_ring_follows() {
    let test = "a_gap_that_names_no_events_says_that_the_whole_ring_follows";
    let mut capture = Capture::new();
    let mut talk = Talk::new(&mut capture);
    for (first, last) in [(0, 0), (3, 17)] {
        talk.say(&mut capture, 0, &ServerData::Gap(Gap { epoch: EPOCH, first, last }));
    }
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    let expected =
        ["GAP: the sequence asked for is not known, and all that is kept follows", "GAP: events 3 to 17 are lost"];
    assert_eq!(tshark.sentences(&[]), expected);
}

#[test]
fn no_version_is_in_force_behind_a_refused_hello_until_one_succeeds() {
    let test = "no_version_is_in_force_behind_a_refused_hello_until_one_succeeds";
    let mut capture = Capture::new();
    let mut talk = Talk::new(&mut capture);
    let serial = talk.call(&mut capture, &crate::support::server::hello(2, 0, &[]));
    talk.fail(&mut capture, serial, Failure::new(code::VERSION_MISMATCH, "no"));
    talk.call(&mut capture, &ClientData::Ping);
    let serial = talk.call(&mut capture, &crate::support::server::hello(1, 1, &[]));
    talk.say(&mut capture, serial, &hello_answer(1, ADMIN.0, ADMIN.1));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    let frames = tshark.frames(&[]);
    let refused = format!("none: HELLO was refused in frame {}", find(&frames, "s1").one("frame.number"));
    let found = ["c1", "s1", "c2", "c3", "s2"].map(|name| find(&frames, name).one("vmwire.version"));
    assert_eq!(found, ["none yet", &refused, &refused, &refused, "1.1"]);
}

#[test]
fn moments_are_shown_to_the_nanosecond_and_no_flags_as_none() {
    let test = "moments_are_shown_to_the_nanosecond_and_no_flags_as_none";
    let mut capture = Capture::new();
    let mut talk = Talk::new(&mut capture);
    let mut say = |time_ns| {
        let vm = None;
        let detail = Opaque::new(Vec::new()).unwrap();
        let event = Event { epoch: EPOCH, sequence: 1, time_ns, operation: 0, vm, kind: 99, detail };
        talk.say(&mut capture, 0, &ServerData::Event(event));
    };
    say(1_793_534_400_041_000_000);
    say(1_793_534_400_999_999_999);
    let data = StreamData { stream: 1, flags: 0, offset: 0, data: Opaque::new(vec![b'x'; 4]).unwrap() };
    talk.say(&mut capture, 0, &ServerData::StreamData(data));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let shown = tshark.run(&["-O", "vmwire"]);
    for part in ["(2026-11-01 12:00:00.041000000 UTC)", "(2026-11-01 12:00:00.999999999 UTC)", "flags: none (0)"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_stream_beyond_its_credit_and_what_is_lost_of_it_are_seen() {
    let test = "a_stream_beyond_its_credit_and_what_is_lost_of_it_are_seen";
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    let open = ConsoleOpenCall { vm: text("web1"), mode: 1, history_bytes: 0 };
    let serial = talk.call(&mut capture, &ClientData::ConsoleOpen(open));
    let answer = ConsoleOpenAnswer { stream: 1, offset: 100, writer: text("") };
    talk.say(&mut capture, serial, &ServerData::ConsoleOpen(answer));
    let data = |offset, bytes: usize| {
        let data = Opaque::new(vec![b'x'; bytes]).unwrap();
        ServerData::StreamData(StreamData { stream: 1, flags: 0, offset, data })
    };
    talk.say(&mut capture, 0, &data(100, 32_768));
    talk.say(&mut capture, 0, &data(40_000, 32_000));
    talk.call(&mut capture, &ClientData::StreamCredit(StreamCredit { stream: 1, bytes: 1000 }));
    talk.say(&mut capture, 0, &data(72_000, 2_000));
    let gap = Gap { epoch: EPOCH, first: 3, last: 17 };
    talk.say(&mut capture, 0, &ServerData::Gap(gap));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let frames = tshark.frames(&[]);
    let opened = find(&frames, "s2").one("frame.number");
    let found = ["s3", "s4", "s5"].map(|name| {
        let frame = find(&frames, name);
        assert_eq!(frame.one("vmwire.stream.opened_in"), opened);
        (frame.one("vmwire.stream.credit"), frame.complaints().join(" "))
    });
    let expected = [("32768", ""), ("768", "jump"), ("0", "credit")].map(|(credit, text)| (credit, text.to_owned()));
    assert_eq!(found, expected);
    assert_eq!(find(&frames, "s6").complaints(), ["gap"]);
}

#[test]
fn an_offset_that_goes_back_is_said_to_go_back() {
    let test = "an_offset_that_goes_back_is_said_to_go_back";
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    let open = ConsoleOpenCall { vm: text("web1"), mode: 1, history_bytes: 0 };
    let serial = talk.call(&mut capture, &ClientData::ConsoleOpen(open));
    let answer = ConsoleOpenAnswer { stream: 1, offset: 100, writer: text("") };
    talk.say(&mut capture, serial, &ServerData::ConsoleOpen(answer));
    let data = StreamData { stream: 1, flags: 0, offset: 70, data: Opaque::new(vec![b'x'; 8]).unwrap() };
    talk.say(&mut capture, 0, &ServerData::StreamData(data));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    let said = tshark.run(&["-Y", "vmwire.expert.jump", "-T", "fields", "-e", "_ws.expert.message"]);
    assert_eq!(said, "stream 1 goes back by 30 bytes\n");
}

/// Calls are kept in pages of 256 serials, and those that are answered throughout are kept in another form.
#[test]
fn calls_that_were_all_answered_are_known_as_well_as_others() {
    let test = "calls_that_were_all_answered_are_known_as_well_as_others";
    let mut capture = Capture::new();
    let mut talk = Talk::new(&mut capture);
    for number in 1..=600 {
        let serial = talk.call_within(&mut capture, number % 3 * 1000, &start(&format!("vm{}", number % 5)));
        capture.pass_us(u64::from(number));
        talk.say(&mut capture, serial, &ServerData::VmStart(done(number.into(), 3)));
    }
    talk.say(&mut capture, 300, &ServerData::VmStart(done(300, 3)));
    talk.call(&mut capture, &ClientData::Cancel(CancelCall { serial: 400 }));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    // The connection takes three frames; call n comes in frame 2n + 2, and its answer in the next.
    let of_calls = ["-e", "vmwire.serial", "-e", "frame.number", "-e", "vmwire.response_in"];
    let calls = tshark.run(&[&["-2", "-Y", "vmwire.response_in", "-T", "fields"][..], &of_calls].concat());
    let expected: String = (1..=600).map(|n| format!("{n}\t{}\t{}\n", 2 * n + 2, 2 * n + 3)).collect();
    assert_eq!(calls, expected);
    let operations = tshark.run(&["-2", "-Y", "vmwire.response_in", "-T", "fields", "-e", "vmwire.operation"]);
    assert_eq!(operations, (1..=600).map(|n| format!("{n}\n")).collect::<String>());
    let of_answers = ["-e", "vmwire.reply_to", "-e", "vmwire.request_in", "-e", "vmwire.time", "-e", "vmwire.vm.name"];
    let expected = |n| format!("{n}\t{}\t0.000{:03}000\tvm{}\n", 2 * n + 2, 100 + n, n % 5);
    for passes in [&[][..], &["-2"]] {
        let shown = ["-Y", "vmwire.request_in && !vmwire.duplicate", "-T", "fields"];
        let answers = tshark.run(&[passes, &shown, &of_answers].concat());
        assert_eq!(answers, (1..=600).map(expected).collect::<String>());
    }
    let twice = ["-2", "-Y", "vmwire.duplicate", "-T", "fields", "-e", "frame.number", "-e", "_ws.expert.message"];
    assert_eq!(tshark.run(&twice), "1204\tthe call was answered in frame 603\n");
    let cancels = ["-2", "-Y", "vmwire.cancels", "-T", "fields", "-e", "vmwire.cancels"];
    assert_eq!(tshark.run(&cancels), "802\n");
    assert_eq!(tshark.run(&["-2", "-Y", "vmwire.cancelled_in"]), "");
}

#[test]
fn a_stream_whose_opening_says_no_offset_begins_anywhere() {
    let test = "a_stream_whose_opening_says_no_offset_begins_anywhere";
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 2, ADMIN.0, ADMIN.1);
    let open = CaptureOpenCall { vm: text(""), payload: false, agents: false };
    let serial = talk.call(&mut capture, &ClientData::CaptureOpen(open));
    talk.say(&mut capture, serial, &ServerData::CaptureOpen(CaptureOpenAnswer { stream: 1 }));
    let data = StreamData { stream: 1, flags: 1, offset: 70, data: Opaque::new(vec![0; 8]).unwrap() };
    talk.say(&mut capture, 0, &ServerData::StreamData(data));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.run(&["-V"]);
    tshark.is_sound();
    assert_eq!(find(&tshark.frames(&[]), "s3").complaints(), Vec::<String>::new());
}

#[test]
fn a_port_that_is_used_again_is_another_conversation() {
    let test = "a_port_that_is_used_again_is_another_conversation";
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    talk.call(&mut capture, &start("web1"));
    let mut again = talk.again(&mut capture);
    let serial = again.call(&mut capture, &crate::support::server::hello(1, 0, &[]));
    again.say(&mut capture, serial, &hello_answer(0, "alice", 1));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let frames = tshark.frames(&[]);
    let complaints: Vec<String> = frames.iter().flat_map(Frame::complaints).collect();
    assert_eq!(complaints, ["unanswered"]);
    assert_eq!(frames.last().unwrap().one("vmwire.request_in"), frames[3].one("frame.number"));
}

#[test]
fn statistics_count_by_procedure() {
    let test = "statistics_count_by_procedure";
    let mut capture = Capture::new();
    let mut talk = Talk::new(&mut capture);
    for time_us in [900, 2900] {
        let serial = talk.call(&mut capture, &ClientData::Ping);
        capture.pass_us(time_us);
        talk.say(&mut capture, serial, &ServerData::Ping);
    }
    let serial = talk.call(&mut capture, &start("web1"));
    talk.fail(&mut capture, serial, Failure::new(code::NOT_FOUND, "no such VM"));
    talk.call(&mut capture, &ClientData::Ping);
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    let expected = "\
procedure            calls  errors      min ms     mean ms      max ms
PING                     2       0       1.000       2.000       3.000
VM_START                 1       1       0.100       0.100       0.100
4 calls, 3 of them answered
";
    assert_eq!(tshark.run(&["-q", "-o", "vmwire.statistics:TRUE"]), expected);
    assert_eq!(tshark.run(&["-2", "-q", "-o", "vmwire.statistics:TRUE"]), expected);
}

/// The frame that the first pass ends with is the one that the second begins with.
#[test]
fn a_call_that_is_all_of_a_capture_is_counted_once() {
    let test = "a_call_that_is_all_of_a_capture_is_counted_once";
    let mut capture = Capture::new();
    Talk::new(&mut capture).call(&mut capture, &ClientData::Ping);
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    for passes in [&[][..], &["-2"]] {
        let shown = tshark.run(&[passes, &["-q", "-o", "vmwire.statistics:TRUE"]].concat());
        assert!(shown.ends_with("1 calls, 0 of them answered\n"), "{passes:?}: {shown}");
    }
}
