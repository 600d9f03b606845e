//! The daemon's end, one rule at a time, on a virtual clock.

use std::time::Duration;

use vmwire_protocol::message::{
    CancelCall, ClientData, Cursor, Failure, Gap, HelloAnswer, Over, PROCEDURES, Progress, ServerData, StreamCredit,
    StreamData, StreamEnd, VmCall, VmCell, VmDefinitionAnswer, VmListAnswer, VmRow, VmWaitCall, code, number, role,
};
use vmwire_protocol::session::{Peer, StreamError};
use vmwire_protocol::version::NEWEST_MINOR;
use vmwire_protocol::xdr::{List, Opaque, Text};

use crate::support::memory;
use crate::support::packets::{Said, packet, raw};
use crate::support::server::{EPOCH, Event, Server, hello};

const SECOND: Duration = Duration::from_secs(1);

fn ping(serial: u32) -> Vec<u8> {
    packet(serial, &ClientData::Ping)
}

fn cancel(serial: u32, of: u32) -> Vec<u8> {
    packet(serial, &ClientData::Cancel(CancelCall { serial: of }))
}

fn wait(serial: u32) -> Vec<u8> {
    let call = VmWaitCall { vm: Text::clipped("web1"), states: List::new([1]).unwrap() };
    packet(serial, &ClientData::VmWait(call))
}

/// The code and the reply of a FAILURE, or the number and the reply of anything else with `u32::MAX`.
fn in_short(said: &[Said]) -> Vec<(u32, u32)> {
    said.iter()
        .map(|said| match &said.data {
            ServerData::Failure(failure) => (said.reply_to, failure.code),
            data => (said.reply_to, u32::MAX - data.number()),
        })
        .collect()
}

const fn plain(number: u32) -> u32 {
    u32::MAX - number
}

#[test]
fn hello_is_answered_with_what_is_spoken_from_here_on() {
    let mut server = Server::new();
    let (_, heard) = server.exchange(&packet(1, &hello(1, NEWEST_MINOR + 6, &[9, 1, 1, 0])));
    let answer = HelloAnswer {
        major: 1,
        minor: NEWEST_MINOR,
        newest_minor: NEWEST_MINOR,
        capabilities: List::new([1]).unwrap(),
        packet_bytes_max: 262_144,
        calls_in_flight_max: 256,
        epoch: EPOCH,
        server: Text::clipped("vmwired 0.1.0"),
        identity: Text::clipped("uid 0"),
        role: role::ADMIN,
    };
    assert_eq!(heard, [Said { serial: 1, reply_to: 1, data: ServerData::Hello(answer) }]);
    assert_eq!((server.session.minor(), server.session.client_name()), (NEWEST_MINOR, "test"));
}

#[test]
fn the_lesser_minor_is_agreed() {
    for (newest_minor, asked, agreed) in [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 1), (1, u32::MAX, 1)] {
        let mut server = Server::speaking(newest_minor);
        let (_, heard) = server.exchange(&packet(1, &hello(1, asked, &[])));
        let ServerData::Hello(answer) = &heard[0].data else { panic!("{heard:?}") };
        assert_eq!((answer.minor, answer.newest_minor), (agreed, newest_minor));
        assert!(answer.capabilities.is_empty());
    }
}

#[test]
fn a_client_that_never_says_hello_is_served_as_1_0() {
    let mut server = Server::new();
    let (events, _) = server.exchange(&[wait(1), raw(2, 0, 0x105, &[])].concat());
    assert!(matches!(events[..], [Event::Call(1, ClientData::VmWait(_))]));
    assert_eq!(server.session.minor(), 0);
    let stream = server.open_stream(3);
    server.session.stream_send(stream, 0, 0, b"login: ").unwrap();
    let mut gap = Vec::new();
    ServerData::Gap(Gap { epoch: EPOCH, first: 3, last: 4 }).encode(&mut gap).unwrap();
    server.session.event(&gap);
    let heard = server.heard();
    assert!(matches!(heard[..], [Said { data: ServerData::StreamData(_), .. }, Said { data: ServerData::Gap(_), .. }]));
}

/// What a session of somebody with these roles says to a call of this number whose body makes no sense.
fn verdict(number: u32, role: u32, host_role: u32) -> Failure {
    let peer = Peer { identity: Text::clipped("uid 7"), role, host_role };
    let mut server = Server::agreed_with(peer);
    let (_, mut heard) = server.exchange(&raw(2, 0, number, b"junkjunkjunk"));
    let Some(ServerData::Failure(failure)) = heard.pop().map(|said| said.data) else { panic!("{number:#x}") };
    failure
}

#[test]
fn every_call_is_denied_to_every_role_below_its_own_and_to_no_other() {
    let unjudged = [number::HELLO, number::PING, number::CANCEL, number::UNSUBSCRIBE];
    for procedure in PROCEDURES {
        for role in 0..=role::ADMIN {
            let suffices = role >= procedure.right.role || unjudged.contains(&procedure.number);
            let (greater, lesser) = (role::ADMIN, 0);
            // The other of the two roles makes no difference.
            let (role_anywhere, host_role) = match procedure.right.over {
                Over::Host => (greater, role),
                Over::Vms => (role, lesser),
            };
            let failure = verdict(procedure.number, role_anywhere, host_role);
            if suffices {
                assert_ne!(failure.code, code::DENIED, "{} {role}: {failure:?}", procedure.name);
                continue;
            }
            assert_eq!(failure.code, code::DENIED, "{} {role}: {failure:?}", procedure.name);
            assert_eq!(failure.fact("role"), Some(role::name(role).unwrap_or("none")));
            assert_eq!(failure.fact("needed"), role::name(procedure.right.role));
            assert!(failure.message.starts_with(procedure.name) && !failure.hint.is_empty(), "{failure:?}");
        }
    }
}

#[test]
fn a_connection_that_is_judged_again_is_judged_so_from_then_on() {
    let mut server = Server::agreed();
    let (events, _) = server.exchange(&wait(2));
    assert_eq!(events.len(), 1);
    server.session.judge(Peer::new(Text::clipped("client eve"), role::OBSERVER));
    let stop = packet(3, &ClientData::VmStop(VmCall { vm: Text::clipped("web1") }));
    assert_eq!(in_short(&server.exchange(&stop).1), [(3, code::DENIED)]);
    // What was taken before is answered all the same.
    server.cancel(2);
    assert_eq!(in_short(&server.heard()), [(2, code::CANCELLED)]);
    assert_eq!(server.session.peer().identity, "client eve");
    server.session.judge(Peer::new(Text::clipped("client eve"), role::OPERATOR));
    let stop = packet(4, &ClientData::VmStop(VmCall { vm: Text::clipped("web1") }));
    assert!(matches!(server.exchange(&stop).0[..], [Event::Call(4, _)]));
}

#[test]
fn what_a_role_may_not_do_is_said_before_that_there_is_no_room() {
    let mut server = Server::agreed_with(Peer::new(Text::clipped("uid 7"), role::OBSERVER));
    for serial in 2..258 {
        server.show(&wait(serial));
    }
    let stop = packet(258, &ClientData::VmStop(VmCall { vm: Text::clipped("web1") }));
    let (_, heard) = server.exchange(&[stop, wait(259)].concat());
    assert_eq!(in_short(&heard), [(258, code::DENIED), (259, code::OVERLOADED)]);
}

#[test]
fn half_a_packet_has_30_seconds_from_its_first_byte() {
    let mut server = Server::new();
    let bytes = ping(1);
    server.show(&bytes[..1]);
    for byte in 1..10 {
        server.pass(3 * SECOND);
        server.show(&bytes[byte..=byte]);
    }
    server.pass(3 * SECOND - Duration::from_millis(1));
    assert!(!server.session.is_closed());
    server.pass(Duration::from_millis(1));
    assert!(server.session.is_closed());
    let heard = server.heard();
    let ServerData::Failure(failure) = &heard[0].data else { panic!("{heard:?}") };
    assert_eq!((heard.len(), heard[0].reply_to, failure.code), (1, 0, code::DEADLINE_EXCEEDED));
    assert_eq!(failure.fact("limit"), Some("30000"));
    assert_eq!(server.exchange(&bytes[10..]), (vec![Event::Closed], Vec::new()));
    assert_eq!(server.session.poll_timeout(), None);
}

#[test]
fn the_first_packet_has_to_be_whole_by_when_it_was_told() {
    // Silence, and a packet that trickles in: its first byte does not put the end off.
    for pieces in [0, 10] {
        let mut server = Server::new();
        let until = server.now + 10 * SECOND;
        server.session.expect_packet_by(until);
        for piece in ping(1).chunks(1).take(pieces) {
            server.pass(SECOND / 2);
            server.show(piece);
        }
        server.pass(until - server.now - SECOND / 2);
        assert_eq!(server.heard(), []);
        server.pass(SECOND / 2);
        let heard = server.heard();
        let [Said { data: ServerData::Failure(failure), .. }] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((failure.code, failure.fact("limit")), (code::DEADLINE_EXCEEDED, Some("10000")));
        assert_eq!(failure.message.as_str(), "no packet came in time");
    }
    // Whoever has said something may be silent ever after, and each half of a packet has its own time.
    let mut server = Server::new();
    server.session.expect_packet_by(server.now + 10 * SECOND);
    server.pass(9 * SECOND);
    server.show(&[ping(1), ping(2)].concat()[..25]);
    server.pass(29 * SECOND);
    server.show(&ping(2)[5..]);
    server.pass(3600 * SECOND);
    assert_eq!(in_short(&server.heard()), [(1, plain(2)), (2, plain(2))]);
}

#[test]
fn each_half_packet_has_30_seconds_of_its_own() {
    let mut server = Server::new();
    let bytes = [ping(1), ping(2), ping(3)].concat();
    server.show(&bytes[..5]);
    server.pass(29 * SECOND);
    server.show(&bytes[5..25]);
    server.pass(29 * SECOND);
    server.show(&bytes[25..45]);
    server.pass(29 * SECOND);
    server.show(&bytes[45..]);
    assert_eq!(server.session.poll_timeout(), None);
    server.pass(3600 * SECOND);
    assert_eq!(in_short(&server.heard()), [(1, plain(2)), (2, plain(2)), (3, plain(2))]);
}

/// An answer to VM_LIST with so many rows of 33,028 bytes each.
fn rows(count: usize) -> ServerData {
    let cell = VmCell::Text(Text::new("x".repeat(1024)).unwrap());
    let row = VmRow { cells: List::new(vec![cell; 32]).unwrap() };
    ServerData::VmList(VmListAnswer {
        cursor: Cursor { epoch: EPOCH, sequence: 1 },
        rows: List::new(vec![row; count]).unwrap(),
        next: Text::default(),
    })
}

/// Answers a VM_LIST with so many bytes that nothing is taken any more.
fn clog(server: &mut Server, serial: u32) {
    server.answer(serial, &rows(9));
    assert!(server.session.outbox().unsent().len() > 256 * 1024);
}

fn list(serial: u32) -> Vec<u8> {
    raw(serial, 0, 0x105, &[0; 16])
}

#[test]
fn the_clock_of_half_a_packet_stands_while_nothing_is_taken() {
    let mut server = Server::agreed();
    server.show(&list(2));
    let bytes = ping(3);
    server.show(&bytes[..8]);
    server.pass(20 * SECOND);
    clog(&mut server, 2);
    assert_eq!(server.show(&bytes[8..12]), [Event::Blocked]);
    server.pass(3600 * SECOND);
    assert!(!server.session.is_closed());
    server.heard();
    assert_eq!(server.show(&[]), []);
    server.pass(10 * SECOND - Duration::from_millis(1));
    assert!(!server.session.is_closed());
    server.pass(Duration::from_millis(1));
    assert!(server.session.is_closed());
}

#[test]
fn answers_that_fill_the_outbox_stop_the_clock_though_nothing_was_shown() {
    let mut server = Server::agreed();
    server.show(&[list(2), ping(3)[..8].to_vec()].concat());
    clog(&mut server, 2);
    server.pass(3600 * SECOND);
    assert!(!server.session.is_closed());
    server.heard();
    assert_eq!(server.show(&ping(3)[8..]), []);
    assert_eq!(in_short(&server.heard()), [(3, plain(2))]);
}

#[test]
fn packets_are_taken_until_more_than_256_kib_are_unsent() {
    let mut server = Server::new();
    let flood: Vec<u8> = (1..=20_000).flat_map(ping).collect();
    assert_eq!(server.show(&flood), [Event::Blocked]);
    // An answer is 20 bytes long: the last one was taken at 262,140 unsent bytes, which is not more.
    assert_eq!(server.session.outbox().unsent().len(), 13_108 * 20);
    assert_eq!(server.session.untaken_bytes(), (20_000 - 13_108) * 20);
    assert_eq!(server.show(&[]), [Event::Blocked]);
    server.session.outbox().advance(15);
    assert_eq!(server.show(&[]), [Event::Blocked], "262,145 bytes");
    server.session.outbox().advance(1);
    assert_eq!(server.show(&[]), [Event::Blocked], "one packet was taken, and now there are too many again");
    assert_eq!(server.session.untaken_bytes(), (20_000 - 13_109) * 20);
}

#[test]
fn whoever_floods_without_reading_takes_what_was_shown_and_no_more() {
    let mut server = Server::new();
    let unknown: Vec<u8> = (1..=5000).flat_map(|serial| raw(serial, 0, 0x9999, &[])).collect();
    let (events, peak) = memory::peak(|| server.show(&unknown));
    assert_eq!(events, [Event::Blocked]);
    let unsent = server.session.outbox().unsent().len();
    assert!(unsent <= 256 * 1024 + 512, "{unsent}");
    // Two vectors that grow by doubling, old and new while they move.
    assert!(peak < 3 * (unsent + unknown.len()), "{peak}");
}

#[test]
fn the_257th_call_is_overloaded_and_ping_and_cancel_are_not() {
    for agreed in [false, true] {
        let mut server = if agreed { Server::agreed() } else { Server::new() };
        let first = if agreed { 2 } else { 1 };
        let flood: Vec<u8> = (first..first + 256).flat_map(wait).collect();
        assert_eq!(server.show(&flood).len(), 256);
        assert_eq!(server.session.calls_open(), 256);
        assert_eq!(server.heard(), []);

        let next = first + 256;
        let subscribe = raw(next + 1, 0, number::SUBSCRIBE, &[0; 12]);
        let (events, heard) = server.exchange(&[wait(next), subscribe, ping(next + 2)].concat());
        assert_eq!(events, []);
        let overloaded = code::OVERLOADED;
        assert_eq!(in_short(&heard), [(next, overloaded), (next + 1, overloaded), (next + 2, plain(2))]);
        let ServerData::Failure(failure) = &heard[0].data else { panic!("{heard:?}") };
        assert_eq!(failure.fact("limit"), Some("256"));

        let unsubscribe = packet(next + 3, &ClientData::Unsubscribe);
        let (events, heard) = server.exchange(&[unsubscribe, cancel(next + 4, first)].concat());
        assert_eq!(events, [Event::Unsubscribed, Event::Cancelled(first)]);
        assert_eq!(in_short(&heard), [(next + 3, plain(5)), (next + 4, plain(3))]);

        server.cancel(first);
        assert_eq!(in_short(&server.heard()), [(first, code::CANCELLED)]);
        let (events, _) = server.exchange(&wait(next + 5));
        assert!(matches!(events[..], [Event::Call(..)]));
    }
}

#[test]
fn calls_in_flight_are_counted_before_the_body_is_read() {
    let mut server = Server::new();
    let flood: Vec<u8> = (1..=256).flat_map(wait).collect();
    server.show(&flood);
    let (_, heard) = server.exchange(&[raw(257, 0, 0x117, &[]), raw(258, 0, 0x105, &[]), raw(259, 0, 6, &[])].concat());
    let codes = [(257, code::OVERLOADED), (258, code::UNSUPPORTED), (259, code::UNKNOWN_PROCEDURE)];
    assert_eq!(in_short(&heard), codes);
}

#[test]
fn cancel_says_whether_the_call_was_open() {
    let mut server = Server::new();
    server.show(&[wait(1), wait(2)].concat());
    let said = |server: &mut Server, serial, of| {
        let (events, heard) = server.exchange(&cancel(serial, of));
        let ServerData::Cancel(answer) = &heard[0].data else { panic!("{heard:?}") };
        assert_eq!((heard.len(), heard[0].reply_to), (1, serial));
        (answer.found, events)
    };
    assert_eq!(said(&mut server, 3, 2), (true, vec![Event::Cancelled(2)]));
    server.cancel(2);
    server.heard();
    assert_eq!(said(&mut server, 4, 2), (false, Vec::new()), "it has been answered");
    for (serial, of) in [(5, 0), (6, 6), (7, 99)] {
        assert_eq!(said(&mut server, serial, of), (false, Vec::new()));
    }
    assert_eq!(server.session.calls_open(), 1);
}

fn progress(done: u64) -> Progress {
    Progress { done, total: 100, what: Text::clipped("copying") }
}

#[test]
fn progress_comes_only_to_those_who_asked_for_it() {
    let mut server = Server::new();
    server.show(&[packet(1, &hello(1, 1, &[])), wait(2)].concat());
    server.heard();
    server.session.progress(2, progress(1));
    assert_eq!(server.heard(), []);
}

#[test]
fn progress_bears_the_serial_of_its_call_and_never_follows_the_answer() {
    let mut server = Server::agreed();
    server.show(&[wait(2), wait(3)].concat());
    server.session.progress(2, progress(1));
    server.session.progress(2, progress(2));
    server.session.progress(99, progress(3));
    let expected: Vec<_> = [1, 2].map(|done| (2, ServerData::Progress(progress(done)))).into();
    let heard: Vec<_> = server.heard().into_iter().map(|said| (said.reply_to, said.data)).collect();
    assert_eq!(heard, expected);
    server.cancel(2);
    server.session.progress(2, progress(4));
    assert_eq!(in_short(&server.heard()), [(2, code::CANCELLED)]);
}

#[test]
fn without_room_the_latest_progress_of_each_call_is_kept() {
    let mut server = Server::agreed();
    server.show(&[list(2), wait(3), wait(4), wait(5)].concat());
    clog(&mut server, 2);
    for done in 1..=9 {
        server.session.progress(3, progress(done));
        server.session.progress(4, progress(done + 10));
        server.session.progress(5, progress(done + 20));
    }
    server.cancel(5);
    let mut heard: Vec<_> = server.heard().into_iter().map(|said| (said.reply_to, said.data)).skip(2).collect();
    heard.sort_by_key(|(reply_to, _)| *reply_to);
    assert_eq!(heard, [(3, ServerData::Progress(progress(9))), (4, ServerData::Progress(progress(19)))]);
}

#[test]
fn a_call_that_came_before_hello_gets_no_progress() {
    let mut server = Server::new();
    server.show(&[wait(1), packet(2, &hello(1, 1, &[1])), wait(3)].concat());
    server.heard();
    server.session.progress(1, progress(1));
    server.session.progress(3, progress(2));
    assert_eq!(in_short(&server.heard()), [(3, plain(number::PROGRESS))]);
}

#[test]
fn an_answer_that_does_not_fit_becomes_answer_too_large() {
    let mut server = Server::agreed();
    server.show(&[list(2), ping(3)].concat());
    server.answer(2, &rows(128));
    let heard = server.heard();
    let ServerData::Failure(failure) = &heard[1].data else { panic!("{heard:?}") };
    assert_eq!((heard[1].reply_to, failure.code), (2, code::ANSWER_TOO_LARGE));
    assert_eq!((failure.fact("limit"), failure.fact("bytes")), (Some("4194304"), Some("4227628")));
    server.exchange(&ping(4));
    assert!(!server.session.is_closed());
}

#[test]
fn a_deadline_counts_from_the_packet_and_ends_at_the_ceiling() {
    let mut server = Server::new();
    let asked =
        [(0x101, 0, 10), (0x101, 1500, 1), (0x101, u32::MAX, 600), (0x117, 0, 86_400), (0x117, u32::MAX, 86_400)];
    for (serial, (number, deadline_ms, seconds)) in (1..).zip(asked) {
        server.pass(SECOND);
        let body: &[u8] = if number == 0x117 { &[0, 0, 0, 0, 0, 0, 0, 0] } else { &[0, 0, 0, 0] };
        server.show(&raw(serial, deadline_ms, number, body));
        let deadline = server.calls.last().unwrap().deadline;
        assert_eq!((deadline - server.now).as_secs(), seconds, "{number:#x} {deadline_ms}");
    }
}

#[test]
fn nothing_follows_the_last_packet() {
    let mut server = Server::agreed();
    server.show(&[wait(2), ping(3)[..9].to_vec()].concat());
    let stream = server.open_stream_unasked();
    server.session.close(Failure::new(code::GOING_AWAY, "the daemon is leaving"));
    server.session.close(Failure::new(code::INTERNAL, "once more"));
    server.cancel(2);
    server.session.event(&[0, 0, 0x10, 1]);
    server.session.progress(2, progress(1));
    server.session.stream_end(stream, None);
    assert_eq!(server.session.stream_send(stream, 0, 0, b"x"), Err(StreamError::Over));
    assert_eq!(in_short(&server.heard()), [(0, code::GOING_AWAY)]);
    assert!(!server.session.event_room());
    assert_eq!(server.session.held_bytes(), 0);
}

fn data(serial: u32, stream: u32, length: usize) -> Vec<u8> {
    let data = Opaque::new(vec![7; length]).unwrap();
    packet(serial, &ClientData::StreamData(StreamData { stream, flags: 0, offset: 0, data }))
}

fn end(serial: u32, stream: u32, why: Option<Failure>) -> Vec<u8> {
    packet(serial, &ClientData::StreamEnd(StreamEnd { stream, why }))
}

#[test]
fn data_beyond_the_credit_end_the_stream_and_not_the_connection() {
    let mut server = Server::agreed();
    let (first, second) = (server.open_stream(2), server.open_stream(3));
    assert_eq!((first, second), (1, 2));
    let (events, heard) = server.exchange(&[data(4, first, 32_768), data(5, first, 32_768)].concat());
    assert_eq!((events.len(), heard), (2, Vec::new()), "all the credit there is");
    let (events, heard) = server.exchange(&data(6, first, 1));
    assert_eq!(events, [Event::StreamOver(first, Some(code::INVALID))]);
    let [Said { reply_to: 0, data: ServerData::StreamEnd(StreamEnd { stream: 1, why: Some(why) }), .. }] = &heard[..]
    else {
        panic!("{heard:?}")
    };
    assert_eq!((why.code, why.fact("limit")), (code::INVALID, Some("0")));
    let (events, heard) = server.exchange(&[data(7, first, 9), end(8, first, None), data(9, second, 5)].concat());
    assert_eq!(
        (events, heard),
        (vec![Event::StreamData(second, vec![7; 5])], Vec::new()),
        "silence, and the other lives"
    );
}

#[test]
fn credit_comes_back_a_quarter_of_the_window_at_a_time() {
    let mut server = Server::agreed();
    let stream = server.open_stream(2);
    server.exchange(&data(3, stream, 20_000));
    server.session.stream_taken(stream, 16_383);
    assert_eq!(server.heard(), []);
    server.session.stream_taken(stream, 1);
    let grant = ServerData::StreamCredit(StreamCredit { stream, bytes: 16_384 });
    assert_eq!(server.heard(), [Said { serial: 3, reply_to: 0, data: grant }]);
    // 65,536 + 16,384 - 20,000 are left.
    let (_, heard) = server.exchange(&[data(4, stream, 32_768), data(5, stream, 29_152)].concat());
    assert_eq!(heard, []);
    assert!(server.session.stream_is_open(stream));
    server.exchange(&data(6, stream, 1));
    assert!(!server.session.stream_is_open(stream));
}

#[test]
fn the_server_sends_within_credit_and_while_little_is_unsent() {
    let mut server = Server::agreed();
    let stream = server.open_stream(2);
    assert_eq!(server.session.stream_room(stream), 32_768);
    server.session.stream_send(stream, 0, 0, &[1; 32_768]).unwrap();
    assert_eq!(server.session.stream_room(stream), 32_768);
    server.session.stream_send(stream, 0, 32_768, &[1; 32_768]).unwrap();
    assert_eq!(server.session.stream_room(stream), 0);
    server.heard();
    assert_eq!(server.session.stream_room(stream), 0, "there is room, but no credit");
    assert_eq!(server.session.stream_send(stream, 0, 65_536, &[1]), Err(StreamError::Over));
    let credit = packet(3, &ClientData::StreamCredit(StreamCredit { stream, bytes: 100 }));
    assert_eq!(server.show(&credit), [Event::StreamRoom(stream)]);
    assert_eq!(server.session.stream_room(stream), 100);
}

#[test]
fn end_closes_the_direction_of_its_sender_and_with_why_both() {
    let mut server = Server::agreed();
    let (first, second) = (server.open_stream(2), server.open_stream(3));
    assert_eq!(server.show(&end(4, first, None)), [Event::StreamEnded(first)]);
    assert_eq!(server.show(&data(5, first, 4)), [], "it said that there would be no more");
    server.session.stream_send(first, 0, 0, b"still here").unwrap();
    server.session.stream_end(first, None);
    assert!(!server.session.stream_is_open(first));
    let why = Failure::new(code::CANCELLED, "enough");
    assert_eq!(server.show(&end(6, second, Some(why))), [Event::StreamOver(second, Some(code::CANCELLED))]);
    assert_eq!(server.session.stream_send(second, 0, 0, b"x"), Err(StreamError::Over));
    assert_eq!(server.session.streams_open(), 0);
    assert_eq!(server.session.stream_open(), Ok(3), "numbers are never reused");
}

#[test]
fn at_most_64_streams_are_open() {
    let mut server = Server::agreed();
    for stream in 1..=64 {
        assert_eq!(server.session.stream_open(), Ok(stream));
    }
    assert_eq!(server.session.stream_open(), Err(StreamError::TooMany));
    server.session.stream_end(9, Some(Failure::new(code::BUSY, "taken over")));
    assert_eq!(server.session.stream_open(), Ok(65));
}

#[test]
fn events_have_room_while_less_than_64_kib_are_unsent() {
    let mut server = Server::agreed();
    server.show(&raw(2, 0, 0x102, &[0; 4]));
    let definition = Text::new("#".repeat(49_152)).unwrap();
    server.answer(2, &ServerData::VmDefinition(VmDefinitionAnswer { definition }));
    assert!(server.session.event_room());
    let stream = server.open_stream_unasked();
    server.session.stream_send(stream, 0, 0, &[0; 16_384 - 24 - 40 - 1]).unwrap();
    assert_eq!(server.session.outbox().unsent().len(), 65_536);
    assert_eq!((server.session.event_room(), server.session.stream_room(stream)), (false, 0));
    server.session.outbox().advance(1);
    assert_eq!((server.session.event_room(), server.session.stream_room(stream)), (true, 32_768));
}
