//! Captures: what is shown of others' packets, what is not, and what becomes of it when nobody looks on any more.

use vmwire_protocol::xdr::{Opaque, Secret, decode_prefix};

use super::*;
use crate::access::Role;
use crate::model::capture::Captured;
use crate::model::ring::Item;

/// When the packets of a turn were given to the socket, after its beginning.
const WRITING_NS: u64 = 5000;

fn open(vm: &str, payload: bool) -> ClientData {
    ClientData::CaptureOpen(CaptureOpenCall { vm: Text::clipped(vm), payload, agents: false })
}

/// Somebody who has agreed on the newest minor.
fn greeted(world: &mut World) -> Visitor {
    let mut visitor = world.visitor();
    let hello = HelloCall { major: 1, minor: NEWEST_MINOR, capabilities: List::default(), name: Text::default() };
    world.ask(&mut visitor, &ClientData::Hello(hello)).unwrap();
    visitor
}

/// One who looks on.
pub(super) fn watcher(world: &mut World, vm: &str, payload: bool) -> Visitor {
    let mut watcher = greeted(world);
    let answer = world.ask(&mut watcher, &open(vm, payload)).unwrap();
    assert_eq!(answer, ServerData::CaptureOpen(CaptureOpenAnswer { stream: 1 }));
    watcher
}

/// One who looks on at agents too.
pub(super) fn watcher_of_agents(world: &mut World, vm: &str) -> Visitor {
    let mut watcher = greeted(world);
    let call = CaptureOpenCall { vm: Text::clipped(vm), payload: false, agents: true };
    world.ask(&mut watcher, &ClientData::CaptureOpen(call)).unwrap();
    watcher
}

/// What it was shown since it was asked before.
pub(super) fn shown(world: &mut World, watcher: &mut Visitor) -> Vec<CaptureRecord> {
    world.turn(|dispatch, turn| dispatch.capture(turn, turn.now.utc_ns + WRITING_NS));
    world.exchange(watcher);
    let bytes = std::mem::take(&mut watcher.console);
    let mut rest = &bytes[..];
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (record, others) = decode_prefix::<CaptureRecord>(rest).unwrap();
        records.push(record);
        rest = others;
    }
    records
}

/// Which way each went, and its number.
fn ways(records: &[CaptureRecord]) -> Vec<(bool, u32)> {
    let number = |record: &CaptureRecord| u32::from_be_bytes(record.bytes[16..20].try_into().unwrap());
    records.iter().map(|record| (record.sent, number(record))).collect()
}

#[test]
fn what_passes_between_others_is_shown_with_its_time_and_who_it_was() {
    let mut world = World::new();
    let (mut other, mut watcher) = (world.visitor(), watcher(&mut world, "", false));
    world.ask(&mut other, &ClientData::DaemonInfo).unwrap();
    let mut late = world.visitor();
    world.ask(&mut late, &ClientData::HostInfo).unwrap();
    world.ask(&mut watcher, &ClientData::HostInfo).unwrap();
    let records = shown(&mut world, &mut watcher);
    assert_eq!(ways(&records), [(false, 0x12), (false, 0x10), (true, 0x12), (true, 0x10)], "and nothing of its own");
    let connections: Vec<u64> = records.iter().map(|record| record.connection).collect();
    assert_eq!(connections, [other.id.number, late.id.number, other.id.number, late.id.number]);
    for record in &records {
        assert_eq!((record.peer.as_str(), record.transport.as_str(), record.position), ("uid 0", "unix", 0));
        assert_eq!(record.time_ns, world.now.utc_ns + if record.sent { WRITING_NS } else { 0 });
        let length = u32::from_be_bytes(record.bytes[4..8].try_into().unwrap());
        assert_eq!((&record.bytes[..4], record.bytes.len()), (&b"\x89VMW"[..], 8 + usize::try_from(length).unwrap()));
    }
    world.ask(&mut other, &ClientData::DaemonInfo).unwrap();
    let again = shown(&mut world, &mut watcher);
    assert_eq!(again[0].position, u64::try_from(records[0].bytes.len()).unwrap());
}

#[test]
fn of_one_vm_its_calls_answers_events_and_streams_are_shown_and_how_connections_begin() {
    let mut world = World::new();
    let mut other = world.visitor();
    for name in ["mine", "theirs"] {
        world.define(&mut other, &simple(name, "console = \"hello\"")).unwrap();
    }
    let subscribe = SubscribeCall { after: None, vm: Text::default(), kinds: List::default() };
    world.ask(&mut other, &ClientData::Subscribe(subscribe)).unwrap();
    let mut watcher = watcher(&mut world, "mine", false);
    let hello = HelloCall { major: 1, minor: 2, capabilities: List::default(), name: Text::default() };
    world.ask(&mut other, &ClientData::Hello(hello)).unwrap();
    for name in ["mine", "theirs"] {
        world.ask(&mut other, &start(name)).unwrap();
        let open = ConsoleOpenCall { vm: Text::clipped(name), mode: console_mode::READ, history_bytes: 100 };
        world.ask(&mut other, &ClientData::ConsoleOpen(open)).unwrap();
        world.pass(&mut other, Duration::from_secs(1));
    }
    world.ask(&mut other, &ClientData::DaemonInfo).unwrap();
    let mut seen = ways(&shown(&mut world, &mut watcher));
    seen.sort_unstable();
    seen.dedup();
    let calls = [(false, 0x1), (false, 0x110), (false, 0x120)];
    let told = [(true, 0x1), (true, 0x110), (true, 0x120), (true, 0x1001), (true, 0x1010)];
    assert_eq!(seen, [&calls[..], &told[..]].concat());
    let all = std::mem::take(&mut other.events);
    assert!(all.iter().any(|event| event.vm.as_ref().is_some_and(|vm| vm.name.as_str() == "theirs")));
    let failure = world.ask(&mut other, &open("nobody", false)).unwrap_err();
    assert_eq!(failure.code, code::NOT_FOUND);
}

#[test]
fn what_streams_carry_is_zeroes_unless_it_is_asked_for_and_secrets_are_never_shown() {
    let mut world = World::new();
    let mut other = greeted(&mut world);
    world.define(&mut other, &simple("talks", "console = \"password: \"")).unwrap();
    let (mut blind, mut seeing) = (watcher(&mut world, "", false), watcher(&mut world, "", true));
    world.ask(&mut other, &start("talks")).unwrap();
    let console = ConsoleOpenCall { vm: Text::clipped("talks"), mode: console_mode::WRITE, history_bytes: 100 };
    world.ask(&mut other, &ClientData::ConsoleOpen(console)).unwrap();
    world.pass(&mut other, Duration::from_secs(1));
    other.session.stream_send(1, 0, 0, b"hunter2").unwrap();
    world.exchange(&mut other);
    let enroll =
        EnrollCall { secret: Secret::new(Fixed([0xc5; 16])), name: Text::default(), request: Default::default() };
    world.ask(&mut other, &ClientData::Enroll(enroll)).unwrap_err();
    for (watcher, wanted) in [(&mut blind, false), (&mut seeing, true)] {
        let records = shown(&mut world, watcher);
        let holds = |text: &[u8]| records.iter().any(|record| record.bytes.windows(text.len()).any(|at| at == text));
        assert_eq!((holds(b"password: "), holds(b"hunter2")), (wanted, wanted));
        assert!(holds(&[b'*'; 16]) && !holds(&[0xc5; 4]));
        assert!(ways(&records).contains(&(false, 0x1010)));
    }
}

#[test]
fn one_who_reads_too_slowly_jumps_and_no_more_is_kept_than_may_be() {
    let mut world = World::new();
    let (mut other, mut watcher) = (world.visitor(), watcher(&mut world, "", false));
    let mut passed = 0;
    for _ in 0..Captured::COUNT_MAX {
        let serial = other.session.call(&ClientData::Ping, 0).unwrap();
        world.exchange(&mut other);
        assert_eq!(other.answers.pop().unwrap().0, serial);
        world.turn(|dispatch, turn| dispatch.capture(turn, turn.now.utc_ns));
        passed += 20;
    }
    let mut records = shown(&mut world, &mut watcher);
    records.retain(|record| !record.sent);
    let jumps = records.windows(2).filter(|pair| pair[0].position + 20 != pair[1].position).count();
    assert_eq!(jumps, 1, "{} records", records.len());
    assert_eq!(records.last().unwrap().position, passed - 20);
}

#[test]
fn a_packet_longer_than_a_record_comes_in_pieces_that_fit_together() {
    let mut world = World::new();
    let (mut other, mut watcher) = (world.visitor(), watcher(&mut world, "", false));
    let padding = format!("#{}", "x".repeat(40_000));
    world.define(&mut other, &format!("{}{padding}\n", simple("long", ""))).unwrap();
    let records = shown(&mut world, &mut watcher);
    let define: Vec<&CaptureRecord> = records.iter().filter(|record| !record.sent).collect();
    assert_eq!(define.len(), 3);
    let bytes: Vec<u8> = define.iter().flat_map(|record| record.bytes.to_vec()).collect();
    assert_eq!(bytes.len(), 8 + usize::try_from(u32::from_be_bytes(bytes[4..8].try_into().unwrap())).unwrap());
    assert!(bytes.windows(padding.len()).any(|at| at == padding.as_bytes()));
    assert_eq!(define.iter().map(|record| record.position).collect::<Vec<_>>(), [0, 16384, 32768]);
}

#[test]
fn nothing_is_kept_when_nobody_looks_on_any_more() {
    let mut world = World::new();
    let (mut other, mut watcher) = (world.visitor(), watcher(&mut world, "", false));
    let mut second = greeted(&mut world);
    // A capture begins with the turn in which it is asked for.
    shown(&mut world, &mut watcher);
    world.ask(&mut second, &open("", false)).unwrap();
    watcher.session.stream_end(1, Some(Failure::new(code::CANCELLED, "")));
    world.exchange(&mut watcher);
    assert!(world.dispatch.is_capturing());
    // Whoever captures no more is shown to the others again.
    world.ask(&mut watcher, &ClientData::HostInfo).unwrap();
    assert_eq!(ways(&shown(&mut world, &mut second)), [(false, 0x10), (true, 0x10)]);
    world.turn(|dispatch, turn| dispatch.gone(turn, second.id));
    assert!(!world.dispatch.is_capturing());
    world.ask(&mut other, &ClientData::HostInfo).unwrap();
    let client = world.dispatch.clients.get_mut(other.id).unwrap();
    assert!(client.tapped.is_none() && client.session.take_passed().is_empty());
}

#[test]
fn the_last_packet_of_somebody_who_is_shown_out_is_shown() {
    let mut world = World::new();
    let (mut other, mut watcher) = (world.visitor(), watcher(&mut world, "", false));
    other.session.outbox();
    world.ask(&mut watcher, &ClientData::ConnectionKick(ConnectionKickCall { id: other.id.number })).unwrap();
    world.exchange(&mut other);
    world.turn(|dispatch, turn| dispatch.gone(turn, other.id));
    assert_eq!(ways(&shown(&mut world, &mut watcher)), [(true, 0)]);
}

#[test]
fn a_capture_takes_no_data_ends_with_the_role_and_there_are_at_most_eight() {
    let mut world = World::new();
    let mut typing = watcher(&mut world, "", false);
    typing.session.stream_send(1, 0, 0, b"x").unwrap();
    world.exchange(&mut typing);
    assert!(matches!(typing.over.as_slice(), [(1, Some(why))] if why.code == code::INVALID), "{:?}", typing.over);

    let mut demoted = watcher(&mut world, "", false);
    world.turn(|dispatch, turn| {
        let client = dispatch.clients.get_mut(demoted.id).unwrap();
        client.grants = crate::access::Grants::everywhere(Role::Operator);
        dispatch.take_away(turn, demoted.id, None);
    });
    world.exchange(&mut demoted);
    assert!(matches!(demoted.over.as_slice(), [(1, Some(why))] if why.code == code::DENIED), "{:?}", demoted.over);

    let mut many = greeted(&mut world);
    for _ in 0..8 {
        world.ask(&mut many, &open("", false)).unwrap();
    }
    let failure = world.ask(&mut many, &open("", false)).unwrap_err();
    assert_eq!((failure.code, failure.fact("limit")), (code::OVERLOADED, Some("8")));
    let number = many.id.number;
    let hint = format!(
        "they run on connections {number}: end one of them, there with ^C or from here with vmwire connection kick {number}"
    );
    assert_eq!(failure.hint.as_str(), hint);
}

#[test]
fn what_takes_a_machine_away_is_about_it_and_so_is_a_greeting_in_another_version() {
    let mut world = World::new();
    let mut other = greeted(&mut world);
    world.define(&mut other, &simple("web", "")).unwrap();
    let mut watcher = watcher(&mut world, "web", false);
    world.ask(&mut other, &ClientData::VmUndefine(vm("web"))).unwrap();
    let mut stranger = world.visitor();
    let hello = HelloCall { major: 9, minor: 0, capabilities: List::default(), name: Text::default() };
    world.ask(&mut stranger, &ClientData::Hello(hello)).unwrap_err();
    let seen = ways(&shown(&mut world, &mut watcher));
    for wanted in [(false, 0x104), (true, 0x104), (false, 1), (true, 0)] {
        assert!(seen.contains(&wanted), "{wanted:x?} is not in {seen:x?}");
    }
}

#[test]
fn positions_go_on_where_somebody_captured_for_a_while() {
    let mut world = World::new();
    let (mut other, mut watcher) = (greeted(&mut world), watcher(&mut world, "", false));
    world.ask(&mut other, &ClientData::HostInfo).unwrap();
    let before = shown(&mut world, &mut watcher);
    let end = |records: &[CaptureRecord]| records[0].position + u64::try_from(records[0].bytes.len()).unwrap();
    world.ask(&mut other, &open("", false)).unwrap();
    other.session.stream_end(1, Some(Failure::new(code::CANCELLED, "")));
    world.exchange(&mut other);
    world.ask(&mut other, &ClientData::HostInfo).unwrap();
    let after = shown(&mut world, &mut watcher);
    assert_eq!((ways(&after), after[0].position), (vec![(false, 0x10), (true, 0x10)], end(&before)));
}

#[test]
fn no_more_of_a_turn_is_kept_than_may_be() {
    let mut world = World::new();
    let (mut other, mut watcher) = (greeted(&mut world), watcher(&mut world, "", false));
    let padding = "x".repeat(40_000);
    world.define(&mut other, &format!("{}#{padding}\n", simple("long", ""))).unwrap();
    for _ in 0..2 * Captured::BYTES_MAX / padding.len() {
        world.ask(&mut other, &ClientData::VmDefinition(vm("long"))).unwrap();
    }
    assert!(world.dispatch.captures.fresh_bytes() <= Captured::BYTES_MAX);
    assert!(!shown(&mut world, &mut watcher).is_empty());
}

#[test]
fn what_is_typed_into_a_console_that_has_ended_is_about_its_machine_and_covered_all_the_same() {
    let mut world = World::new();
    let mut other = greeted(&mut world);
    world.define(&mut other, &simple("talks", "console = \"hello\"")).unwrap();
    let mut watcher = watcher(&mut world, "talks", false);
    world.ask(&mut other, &start("talks")).unwrap();
    let console =
        |mode| ClientData::ConsoleOpen(ConsoleOpenCall { vm: Text::clipped("talks"), mode, history_bytes: 0 });
    for stream in 1..=2 {
        world.ask(&mut other, &console(console_mode::TAKE_OVER)).unwrap();
        world.pass(&mut other, Duration::from_secs(1));
        other.session.stream_send(stream, 0, 0, b"hunter2").unwrap();
    }
    // Both before the client has heard of it: of the first stream both directions are over, of the second one.
    world.ask(&mut other, &ClientData::VmStop(vm("talks"))).unwrap();
    let mut serial = other.session.call(&ClientData::Ping, 0).unwrap();
    world.exchange(&mut other);
    // A session of ours would not send these.
    let mut send = |world: &mut World, data: &ClientData| {
        serial += 1;
        let mut payload = [serial.to_be_bytes(), [0; 4]].concat();
        data.encode(&mut payload).unwrap();
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let packet = [&b"\x89VMW"[..], &length, &payload].concat();
        world.turn(|dispatch, turn| dispatch.input(turn, other.id, &packet, &mut Share::whole()));
    };
    let typed = |stream: u32| {
        ClientData::StreamData(StreamData { stream, flags: 0, offset: 7, data: Opaque::new(*b"hunter2").unwrap() })
    };
    let before = ways(&shown(&mut world, &mut watcher));
    assert_eq!(before.iter().filter(|way| **way == (true, number::STREAM_END)).count(), 2, "{before:x?}");
    for (stream, about_it) in [(1, false), (2, true), (9, false)] {
        send(&mut world, &typed(stream));
        let records = shown(&mut world, &mut watcher);
        assert_eq!(ways(&records), if about_it { vec![(false, number::STREAM_DATA)] } else { vec![] }, "{stream}");
        assert!(records.iter().all(|record| !record.bytes.windows(7).any(|at| at == b"hunter2")));
    }
    let end = |stream| ClientData::StreamEnd(StreamEnd { stream, why: None });
    send(&mut world, &end(2));
    send(&mut world, &typed(2));
    assert_eq!(ways(&shown(&mut world, &mut watcher)), [(false, number::STREAM_END)], "its end, and no more");
}

#[test]
fn a_capture_has_no_more_done_for_it_at_once_than_its_share_and_misses_nothing_for_it() {
    let mut world = World::new();
    let (mut other, mut watcher) = (greeted(&mut world), watcher(&mut world, "", false));
    for _ in 0..400 {
        other.session.call(&ClientData::Ping, 0).unwrap();
        world.exchange(&mut other);
    }
    world.turn(|dispatch, turn| dispatch.capture(turn, turn.now.utc_ns));
    let unsent = world.dispatch.clients.get(watcher.id).unwrap().session.unsent_bytes();
    assert!((16 * 1024..48 * 1024).contains(&unsent), "{unsent}");
    assert!(world.dispatch.has_dirty(), "what is left over waits for nothing else");
    assert_eq!(shown(&mut world, &mut watcher).len(), 800);
}
