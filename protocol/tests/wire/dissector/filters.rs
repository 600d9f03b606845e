//! What can be asked for with a filter: everything that packets say, and what was found out about them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use vmwire_protocol::message::{
    ClientData, ConsoleOpenAnswer, ConsoleOpenCall, Event, Failure, ServerData, StreamData, StreamEnd, VmDoneAnswer,
    VmListAnswer, VmRef, VmRow, VmStartCall, code, event_kind,
};
use vmwire_protocol::xdr::{Fixed, List, Opaque};

use super::capture::Capture;
use super::definition::Kind;
use super::fields::{Packets, scalars};
use super::rendered::Fields;
use super::talk::{ADMIN, EPOCH, Talk, text};
use super::tshark::{Frame, Tshark};

/// A value that our decoder says, as filters are written; none where it tells of the value only that it is there.
fn as_written(kind: &Kind, value: &str) -> Option<String> {
    let pairs = |value: &str| {
        let bytes: Vec<&str> = (0..value.len()).step_by(2).map(|at| &value[at..at + 2]).collect();
        bytes.join(":")
    };
    match kind {
        _ if value == "[secret]" => None,
        Kind::Opaque(_) => None,
        Kind::Uint | Kind::Hyper => Some(value.to_owned()),
        Kind::Bool => Some(u32::from(value == "true").to_string()),
        Kind::Fixed(_) => Some(pairs(value)),
        Kind::Uuid => {
            let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &value[part]);
            Some(parts.join("-"))
        }
        Kind::String(_) => {
            Some(format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")))
        }
        Kind::Body(_) => unreachable!("a body is no value"),
    }
}

/// That a packet has all of these fields with these values.
fn filter(stream: usize, fields: &Fields, kinds: &BTreeMap<String, Kind>) -> String {
    let mut filter = format!("(tcp.stream == {stream}");
    for (name, values) in fields {
        match as_written(&kinds[name], &values[0]) {
            Some(value) => write!(filter, " && vmwire.{name} == {value}").unwrap(),
            None => write!(filter, " && vmwire.{name}").unwrap(),
        }
    }
    filter + ")"
}

#[test]
fn every_field_of_every_message_can_be_a_filter() {
    let packets = Packets::golden();
    let kinds: BTreeMap<String, Kind> = scalars().into_iter().collect();
    let Some(tshark) = Tshark::of("every_field_of_every_message_can_be_a_filter", &packets.capture) else { return };
    let filters: Vec<String> =
        packets.expected.iter().enumerate().map(|(stream, fields)| filter(stream, fields, &kinds)).collect();
    // What one command line holds.
    for (few, from) in filters.chunks(40).zip((0..).step_by(40)) {
        let found = tshark.run(&["-2", "-Y", &few.join(" || "), "-T", "fields", "-e", "tcp.stream"]);
        let found: Vec<usize> = found.lines().map(|stream| stream.parse().unwrap()).collect();
        let all: Vec<usize> = (from..from + few.len()).collect();
        let missed: Vec<&String> =
            all.iter().filter(|stream| !found.contains(stream)).map(|stream| &filters[*stream]).collect();
        assert!(missed.is_empty(), "{missed:#?}");
    }
}

/// The frames that have a value of a field: by side and serial, as in `c2`.
fn having(frames: &[Frame], field: &str, value: &str) -> String {
    let having = frames.iter().filter(|frame| frame.all(field).iter().any(|shown| shown == value));
    let named = having.map(|frame| format!("{}{}", &frame.one("vmwire.from")[..1], frame.one("vmwire.serial")));
    named.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_packets_head_and_what_messages_have_in_common_bear_one_name_each() {
    let test = "a_packets_head_and_what_messages_have_in_common_bear_one_name_each";
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    let start = ClientData::VmStart(VmStartCall { vm: text("web1"), paused: false });
    let serial = talk.call_within(&mut capture, 5000, &start);
    let event = Event {
        epoch: EPOCH,
        sequence: 41,
        time_ns: 1,
        operation: 12,
        vm: Some(VmRef { uuid: Fixed([9; 16]), name: text("web1") }),
        kind: event_kind::VM_UNDEFINED,
        detail: Opaque::default(),
    };
    talk.say(&mut capture, 0, &ServerData::Event(event));
    talk.say(&mut capture, serial, &ServerData::VmStart(VmDoneAnswer { operation: 12, state: 3 }));
    let open = ConsoleOpenCall { vm: text("web1"), mode: 1, history_bytes: 0 };
    let serial = talk.call(&mut capture, &ClientData::ConsoleOpen(open));
    let answer = ConsoleOpenAnswer { stream: 7, offset: 100, writer: text("") };
    talk.say(&mut capture, serial, &ServerData::ConsoleOpen(answer));
    let data = StreamData { stream: 7, flags: 0, offset: 100, data: Opaque::new(*b"said").unwrap() };
    talk.say(&mut capture, 0, &ServerData::StreamData(data));
    let serial = talk.call(&mut capture, &ClientData::Ping);
    talk.fail(&mut capture, serial, Failure::new(code::DENIED, "no").detail("needed", "operator"));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    let frames = tshark.frames(&[]);
    let epoch: Vec<String> = EPOCH.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let all = "c1 s1 c2 s2 s3 c3 s4 s5 c4 s6";
    for (field, value, expected) in [
        ("magic", "89:56:4d:57", all),
        ("length", "12", "c4"),
        ("serial", "2", "c2 s2"),
        ("reply_to", "2", "s3"),
        ("deadline_ms", "5000", "c2"),
        ("type", "0x00000110", "c2 s3"),
        ("client.type", "0x00000110", "c2"),
        ("server.type", "0x00000110", "s3"),
        ("hello_call.capabilities", "1", "c1"),
        ("hello_call.minor", "1", "c1"),
        ("hello_answer.minor", "1", "s1"),
        ("version", "1.1", "s1 c2 s2 s3 c3 s4 s5 c4 s6"),
        ("event.sequence", "41", "s2"),
        ("event.epoch", &epoch.join(":"), "s2"),
        ("event.kind", "3", "s2"),
        ("vm.name", "web1", "c2 s2 s3 c3 s4 s5"),
        ("vm.uuid", "09090909-0909-0909-0909-090909090909", "s2"),
        ("operation", "12", "c2 s2 s3"),
        ("stream.number", "7", "s4 s5"),
        ("stream.offset", "100", "s4 s5"),
        ("failure.code", "10", "s6"),
        ("failure_detail.key", "needed", "s6"),
        ("failure_detail.value", "operator", "s6"),
    ] {
        assert_eq!(having(&frames, &format!("vmwire.{field}"), value), expected, "{field} == {value}");
    }
}

#[test]
fn an_answer_that_nobody_asked_for_or_of_another_procedure_is_wrong() {
    let test = "an_answer_that_nobody_asked_for_or_of_another_procedure_is_wrong";
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    let serial = talk.call(&mut capture, &ClientData::Ping);
    talk.say(&mut capture, serial, &ServerData::Unsubscribe);
    talk.say(&mut capture, 99, &ServerData::Ping);
    talk.say(&mut capture, 0, &ServerData::Ping);
    let why = Some(Failure::new(code::BUSY, "alice took the console over"));
    talk.say(&mut capture, 0, &ServerData::StreamEnd(StreamEnd { stream: 1, why }));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    let fields = ["-T", "fields", "-e", "vmwire.serial", "-e", "_ws.expert.message"];
    let said = tshark.run(&[&["-2", "-Y", "_ws.expert && vmwire.from == \"server\""][..], &fields].concat());
    let expected = "\
2\tit answers PING
3\tno call in this capture has serial 99
4\tit answers nothing, which only the last packet may do
5\tBUSY, alice took the console over
";
    assert_eq!(said, expected);
    let complaints: Vec<String> = tshark.frames(&[]).iter().flat_map(Frame::complaints).collect();
    assert_eq!(complaints, ["mismatch", "unasked", "unasked", "stream_failed"]);
}

#[test]
fn what_is_too_long_to_be_shown_is_shown_in_part_and_says_so() {
    use vmwire_protocol::message::{Cursor, VmCell};
    let test = "what_is_too_long_to_be_shown_is_shown_in_part_and_says_so";
    let items = VmCell::Items(List::new(vec![text(""); 64]).unwrap());
    let cells = List::new(vec![items; 32]).unwrap();
    let row = VmRow { cells };
    let mut capture = Capture::new();
    let mut talk = Talk::agreed(&mut capture, 1, ADMIN.0, ADMIN.1);
    for rows in [1, 60] {
        let rows = List::new(vec![row.clone(); rows]).unwrap();
        let cursor = Cursor { epoch: EPOCH, sequence: 1 };
        talk.say(&mut capture, 2, &ServerData::VmList(VmListAnswer { cursor, rows, next: text("") }));
    }
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let shortened = tshark.run(&["-Y", "vmwire.expert.shortened", "-T", "fields", "-e", "vmwire.serial"]);
    assert_eq!(shortened, "3\n");
}
