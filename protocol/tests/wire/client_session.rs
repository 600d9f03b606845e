//! The client's end against servers that are newer, mistaken or hostile.

use vmwire_protocol::header::HeaderError;
use vmwire_protocol::message::{
    ClientData, ConsoleOpenAnswer, ConsoleOpenCall, Failure, ListCall, Progress, ServerData, StreamCredit, StreamData,
    StreamEnd, VmCell, VmFilter, VmListCall, code, number,
};
use vmwire_protocol::serial::SerialError;
use vmwire_protocol::session::{ClientError, ClientSession, ClientStep, Closing, StreamError, Unsendable};
use vmwire_protocol::xdr::{DecodeError, List, Opaque, Sampler, Text};

use crate::support::memory;
use crate::support::packets::raw;
use crate::support::server::hello;

/// A packet of a server.
fn packet(serial: u32, reply_to: u32, data: &ServerData) -> Vec<u8> {
    let mut body = Vec::new();
    data.encode(&mut body).unwrap();
    raw(serial, reply_to, data.number(), &body[4..])
}

/// What came of bytes, in words; the session is asked until it is idle or closed.
fn show(client: &mut ClientSession, mut input: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let step = client.step(&mut input);
        let (idle, closed) = (matches!(step, ClientStep::Idle), matches!(step, ClientStep::Closed(_)));
        if idle {
            assert!(input.is_empty());
            return all;
        }
        if !matches!(step, ClientStep::Handled) {
            all.push(format!("{step:?}"));
        }
        if closed {
            return all;
        }
    }
}

/// How a session ends that has begun a PING with serial 1 and is shown these bytes, whole and byte by byte.
fn ending(bytes: &[u8]) -> Option<Closing> {
    let outcomes = [usize::MAX, 1].map(|piece| {
        let mut client = ClientSession::new();
        client.call(&ClientData::Ping, 0).unwrap();
        for piece in bytes.chunks(piece) {
            show(&mut client, piece);
        }
        match client.step(&mut &b"more"[..]) {
            ClientStep::Closed(closing) => Some(closing),
            _ => None,
        }
    });
    assert_eq!(outcomes[0], outcomes[1]);
    outcomes.into_iter().next().unwrap()
}

fn broken(error: ClientError) -> Option<Closing> {
    Some(Closing::Broken(error))
}

#[test]
fn a_server_that_breaks_the_protocol_ends_the_session() {
    let pong = packet(1, 1, &ServerData::Ping);
    let http = *b"HTTP/1.1";
    let length = |length: u32| [&b"\x89VMW"[..], &length.to_be_bytes()].concat();
    let bad_length = |length| broken(ClientError::Header(HeaderError::Length { length, bytes_max: 4 << 20 }));
    let serial = |expected, received| broken(ClientError::Serial(SerialError { expected, received }));
    let answer = |reply_to, number| broken(ClientError::Answer { reply_to, number });
    let body = |number, error| broken(ClientError::Body { number, error });
    let going = Failure::new(code::GOING_AWAY, "the daemon is leaving");
    let rows = [
        ("another protocol", http.to_vec(), broken(ClientError::Header(HeaderError::Magic { header: http }))),
        ("a length without end", length(u32::MAX), bad_length(u32::MAX)),
        ("a length above the longest", length((4 << 20) + 4), bad_length((4 << 20) + 4)),
        ("no payload", length(0), bad_length(0)),
        ("a first serial of 2", packet(2, 1, &ServerData::Ping), serial(1, 2)),
        ("a repeated serial", [&pong[..], &pong].concat(), serial(2, 1)),
        ("an answer to nothing", packet(1, 9, &ServerData::Ping), answer(9, number::PING)),
        ("an answer in reply to 0", packet(1, 0, &ServerData::Ping), answer(0, number::PING)),
        ("a second answer", [&pong[..], &packet(2, 1, &ServerData::Ping)].concat(), answer(1, number::PING)),
        ("an answer of another number", packet(1, 1, &ServerData::Unsubscribe), answer(1, number::UNSUBSCRIBE)),
        ("an answer nobody knows", raw(1, 1, 0x999, &[]), answer(1, 0x999)),
        ("bytes left over", raw(1, 1, number::PING, &[0; 4]), body(number::PING, DecodeError::Trailing)),
        ("half a failure", raw(1, 1, number::FAILURE, &[0; 4]), body(number::FAILURE, DecodeError::Truncated)),
        ("half of stream data", raw(1, 0, 0x1010, &[0; 4]), body(0x1010, DecodeError::Truncated)),
        ("the last packet", packet(1, 0, &ServerData::Failure(going.clone())), Some(Closing::Told(going))),
        ("what it has to be", pong, None),
        ("a newer packet that is no answer", raw(1, 0, 0x1fff, b"news"), None),
        ("a failure in reply to a stream packet", packet(1, 7, &ServerData::Failure(Failure::default())), None),
        ("progress of nothing", packet(1, 9, &ServerData::Progress(progress())), None),
        ("credit of no stream", packet(1, 0, &ServerData::StreamCredit(StreamCredit { stream: 1, bytes: 1 })), None),
    ];
    for (name, bytes, expected) in rows {
        assert_eq!(ending(&bytes), expected, "{name}");
    }
}

fn progress() -> Progress {
    Progress { done: 1, total: 2, what: Text::clipped("copying") }
}

#[test]
fn memory_grows_with_what_came_and_not_with_what_was_announced() {
    let mut client = ClientSession::new();
    let half = [&b"\x89VMW\x00\x40\x00\x00"[..], &[0; 1000]].concat();
    let (_, peak) = memory::peak(|| show(&mut client, &half));
    assert!(peak <= 1100, "{peak}");
}

#[test]
fn progress_after_the_answer_is_dropped() {
    let mut client = ClientSession::new();
    client.call(&ClientData::Ping, 0).unwrap();
    let bytes = [
        packet(1, 1, &ServerData::Progress(progress())),
        packet(2, 1, &ServerData::Ping),
        packet(3, 1, &ServerData::Progress(progress())),
    ];
    let steps = show(&mut client, &bytes.concat());
    assert_eq!(steps.len(), 2, "{steps:?}");
    assert!(steps[0].starts_with("Progress") && steps[1].starts_with("Answer"), "{steps:?}");
}

#[test]
fn a_call_too_long_for_the_daemon_is_not_sent() {
    let mut client = ClientSession::new();
    let fits = ClientData::VmNames(ListCall { after: Text::default(), rows_max: 0 });
    assert_eq!(client.call(&fits, 0), Ok(1));
    let sent = client.outbox().unsent().len();
    let data = VmListCall {
        fields: List::new([1]).unwrap(),
        filters: List::new(vec![big_filter(); 2]).unwrap(),
        after: Text::default(),
        rows_max: 0,
    };
    assert!(matches!(client.call(&ClientData::VmList(data), 0), Err(Unsendable::TooLarge { bytes_max: 65_536, .. })));
    assert_eq!(client.outbox().unsent().len(), sent);
    assert_eq!(client.call(&fits, 0), Ok(2), "no serial was used");
}

#[test]
fn a_daemon_that_takes_nothing_does_not_keep_a_client_from_ending_a_stream() {
    let (mut client, serial) = with_stream();
    client.call(&hello(1, 1, &[]), 0).unwrap();
    let mut body = Vec::new();
    ServerData::sample(number::HELLO, &mut Sampler::new(1)).unwrap().encode(&mut body).unwrap();
    let Some(Ok(ServerData::Hello(mut answer))) = ServerData::decode_body(number::HELLO, &body[4..]) else { panic!() };
    answer.packet_bytes_max = 0;
    assert_eq!(show(&mut client, &packet(serial, 2, &ServerData::Hello(answer))).len(), 1);
    client.outbox().advance(usize::MAX);
    client.stream_end(1, None);
    assert!(!client.outbox().is_empty());
}

/// A filter that takes more than 64 KiB.
fn big_filter() -> VmFilter {
    let item = Text::new("x".repeat(1024)).unwrap();
    let items = List::new(vec![item; 64]).unwrap();
    VmFilter { field: 14, comparison: 1, value: VmCell::Items(items) }
}

/// A client with stream 1 open, and the next serial of its server.
fn with_stream() -> (ClientSession, u32) {
    let mut client = ClientSession::new();
    let open = ConsoleOpenCall { vm: Text::clipped("web1"), mode: 2, history_bytes: 0 };
    client.call(&ClientData::ConsoleOpen(open), 0).unwrap();
    let answer = ConsoleOpenAnswer { stream: 1, offset: 0, writer: Text::default() };
    assert_eq!(show(&mut client, &packet(1, 1, &ServerData::ConsoleOpen(answer))).len(), 1);
    client.outbox().advance(usize::MAX);
    (client, 2)
}

fn data(serial: u32, length: usize) -> Vec<u8> {
    let data = Opaque::new(vec![1; length]).unwrap();
    packet(serial, 0, &ServerData::StreamData(StreamData { stream: 1, flags: 0, offset: 0, data }))
}

#[test]
fn a_stream_out_of_turn_ends_the_session() {
    let (mut client, serial) = with_stream();
    let open = ConsoleOpenCall { vm: Text::clipped("web1"), mode: 1, history_bytes: 0 };
    client.call(&ClientData::ConsoleOpen(open), 0).unwrap();
    let again = ConsoleOpenAnswer { stream: 1, offset: 0, writer: Text::default() };
    let steps = show(&mut client, &packet(serial, 2, &ServerData::ConsoleOpen(again)));
    assert_eq!(steps, ["Closed(Broken(Stream(1)))"]);
}

#[test]
fn a_daemon_that_exceeds_its_credit_loses_the_stream() {
    let (mut client, serial) = with_stream();
    let bytes = [data(serial, 32_768), data(serial + 1, 32_768), data(serial + 2, 1), data(serial + 3, 1)].concat();
    let steps = show(&mut client, &bytes);
    assert_eq!(steps.len(), 3, "data, data, over: {steps:?}");
    assert!(steps[2].starts_with("StreamOver"), "{}", steps[2]);
    assert!(!client.stream_is_open(1));
    let said = client.outbox().unsent().to_vec();
    assert_eq!(said[16..24], [0, 0, 0x10, 0x12, 0, 0, 0, 1], "END of stream 1");
    assert_eq!(client.stream_send(1, 0, 0, b"x"), Err(StreamError::Over));
}

#[test]
fn a_client_sends_within_its_credit() {
    let (mut client, serial) = with_stream();
    assert_eq!(client.stream_room(1), 32_768);
    for offset in [0, 32_768] {
        client.stream_send(1, 0, offset, &[0; 32_768]).unwrap();
    }
    assert_eq!(client.stream_room(1), 0);
    let credit = packet(serial, 0, &ServerData::StreamCredit(StreamCredit { stream: 1, bytes: 7 }));
    assert_eq!(show(&mut client, &credit), ["StreamRoom(1)"]);
    assert_eq!(client.stream_room(1), 7);
    let end = packet(serial + 1, 0, &ServerData::StreamEnd(StreamEnd { stream: 1, why: Some(Failure::default()) }));
    assert!(show(&mut client, &end)[0].starts_with("StreamOver"));
    assert_eq!(client.stream_room(1), 0);
}
