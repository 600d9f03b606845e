//! More than a daemon can be asked to hold: it holds what it promised, and goes on serving others.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use vmwire_protocol::limits::{CALLS_IN_FLIGHT_MAX, TOTAL_BYTES_MAX};
use vmwire_protocol::message::{
    CancelCall, ClientData, ConsoleOpenCall, ListCall, ServerData, StreamData, VmCall, VmDefineCall, VmWaitCall, code,
    console_mode, number, vm_state,
};
use vmwire_protocol::xdr::{List, Opaque, Text};

use crate::harness::{Daemon, ENOUGH, SOON, Socket, Way, by_every_way, by_ways, eventually, packet};

by_every_way!(
    a_flood_without_reading_costs_a_bounded_amount_and_every_call_of_it_is_answered,
    of_257_waits_the_last_is_refused_and_pings_and_cancels_go_through,
    hundreds_of_clients_come_and_go_at_once,
);
by_ways!(by_unix_as_admin Unix:
    a_peer_that_vanishes_in_the_middle_of_a_stream_leaves_nothing_behind
    a_reader_that_stops_reading_stops_neither_the_guest_nor_other_readers
    data_beyond_credit_end_the_stream_and_not_the_connection
);
by_ways!(by_tls_as_admin Tls:
    those_who_read_nothing_take_hardly_more_memory_together_than_is_counted
    a_peer_that_vanishes_in_the_middle_of_a_stream_leaves_nothing_behind
    a_reader_that_stops_reading_stops_neither_the_guest_nor_other_readers
    data_beyond_credit_end_the_stream_and_not_the_connection
);

/// Writes until the daemon has read nothing for a while, at most `most` bytes; answers how much it took.
fn flood(socket: &mut Socket, bytes: &[u8]) -> usize {
    socket.keep_little();
    socket.set_write_timeout(Duration::from_millis(300));
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    written
}

fn web(way: Way, test: &str) -> Daemon {
    let daemon = way.setup().start();
    daemon.define(&format!("name = \"web\"\nmemory = \"64 MiB\"\n[test]\n{test}\n"));
    daemon
}

fn a_flood_without_reading_costs_a_bounded_amount_and_every_call_of_it_is_answered(way: Way) {
    let daemon = web(way, "");
    let mut admin = daemon.raw();
    for index in 0..100 {
        let text = format!("name = \"vm-{index}\"\nmemory = \"64 MiB\"\ntitle = \"{}\"\n", "x".repeat(250));
        let serial =
            admin.call(&ClientData::VmDefine(VmDefineCall { definition: Text::new(text).unwrap(), replace: false }));
        assert!(matches!(admin.answer(serial), ServerData::VmDefine(_)));
    }
    drop(admin);
    let before = daemon.memory_kib("VmRSS");
    let mut names = Vec::new();
    ClientData::VmNames(ListCall { after: Text::default(), rows_max: 0 }).encode(&mut names).unwrap();
    let calls = if way == Way::Unix { 20_000 } else { 40_000 };
    let bytes: Vec<u8> = (1..=calls)
        .flat_map(|serial| match serial % 4 {
            0 => packet(serial, 0, number::VM_NAMES, &names[4..]),
            _ => packet(serial, 0, number::PING, b""),
        })
        .collect();
    let mut floods: Vec<_> = (0..8).map(|_| daemon.raw_by(way)).collect();
    let taken: Vec<usize> = floods.iter_mut().map(|raw| flood(&mut raw.socket, &bytes)).collect();
    // How much of a flood a network keeps for a while is not ours to say; of some of it too much has come.
    let least = (0..taken.len()).min_by_key(|index| taken[*index]).unwrap();
    let cut_short = if way == Way::Unix { taken.iter().max() } else { taken.get(least) };
    assert!(cut_short < Some(&bytes.len()), "{taken:?} of {}: it was no flood", bytes.len());
    let asked = Instant::now();
    daemon.ok(&["ping"]);
    assert!(asked.elapsed() < SOON, "others are served");
    let grown = daemon.memory_kib("VmHWM") - before;
    assert!(grown < 8 * 1024, "8 connections may hold 256 KiB and a bit each, and took {grown} KiB");

    // One of them repents: it sends the rest while it reads, and has every answer once, in order.
    let raw = &mut floods[least];
    raw.socket.keep_much();
    let mut writer = raw.socket.clone();
    writer.set_write_timeout(ENOUGH);
    let rest = bytes[taken[least]..].to_vec();
    let writing = std::thread::spawn(move || writer.write_all(&rest).unwrap());
    for serial in 1..=calls {
        let (reply_to, data) = raw.receive().unwrap();
        assert_eq!(reply_to, serial);
        assert!(matches!(data, ServerData::Ping | ServerData::VmNames(_)), "{data:?}");
    }
    writing.join().unwrap();
    drop(floods);
    eventually("they are gone", || (daemon.json(&["connection", "list"]).as_array()?.len() == 1).then_some(()));
}

/// What was sent already, and room that had been made for more, was held as well and counted for nothing: more than twice as much.
fn those_who_read_nothing_take_hardly_more_memory_together_than_is_counted(way: Way) {
    let daemon = web(way, "");
    daemon.define(&format!("name = \"big\"\nmemory = \"64 MiB\"\n# {}\n", "x".repeat(48_000)));
    let big = ClientData::VmDefinition(VmCall { vm: Text::clipped("big") });
    let before = daemon.memory_kib("VmRSS");
    // Each asks for some 50 KB at a time, until the daemon takes no more of it.
    let slow: Vec<_> = (0..400)
        .map(|_| {
            let mut raw = daemon.raw_by(way);
            raw.socket.keep_little();
            for _ in 0..60 {
                raw.call(&big);
            }
            raw
        })
        .collect();
    let counted = u64::try_from(TOTAL_BYTES_MAX).unwrap() / 1024;
    let mut former = 0;
    eventually("they hold what they are to hold", || {
        let rows = daemon.json(&["connection", "list"]);
        let unsent: u64 = rows.as_array()?.iter().filter_map(|row| row["unsent_bytes"].as_u64()).sum();
        (std::mem::replace(&mut former, unsent) == unsent && unsent / 1024 > counted / 3).then_some(())
    });
    let grown = daemon.memory_kib("VmHWM") - before;
    assert!(grown < counted * 5 / 4 + 8 * 1024, "{grown} KiB, and {counted} KiB are counted");
    drop(slow);
}

fn of_257_waits_the_last_is_refused_and_pings_and_cancels_go_through(way: Way) {
    let daemon = web(way, "");
    let mut raw = daemon.raw_by(way);
    let wait = || {
        let states = List::new([vm_state::RUNNING].as_slice()).unwrap();
        ClientData::VmWait(VmWaitCall { vm: Text::clipped("web"), states })
    };
    let waits: Vec<u32> = (0..CALLS_IN_FLIGHT_MAX).map(|_| raw.call(&wait())).collect();
    let refused = raw.call(&wait());
    let failure = raw.failure(refused);
    assert_eq!((failure.code, failure.fact("limit")), (code::OVERLOADED, Some("256")), "{failure:?}");
    raw.ping();
    let cancel = raw.call(&ClientData::Cancel(CancelCall { serial: waits[7] }));
    let mut answers = vec![raw.receive().unwrap(), raw.receive().unwrap()];
    answers.sort_by_key(|(reply_to, _)| *reply_to);
    let [(seventh, ServerData::Failure(cancelled)), (to, ServerData::Cancel(found))] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!((*seventh, cancelled.code), (waits[7], code::CANCELLED));
    assert!(*to == cancel && found.found, "{answers:?}");
    let again = raw.call(&ClientData::Cancel(CancelCall { serial: waits[7] }));
    assert!(matches!(raw.answer(again), ServerData::Cancel(found) if !found.found));

    // There is room for one more, and when the state comes all of them are answered.
    let one_more = raw.call(&wait());
    daemon.ok(&["vm", "start", "web"]);
    let mut expected: Vec<u32> = waits.into_iter().filter(|serial| *serial != *seventh).chain([one_more]).collect();
    for _ in 0..expected.len() {
        let (reply_to, data) = raw.receive().unwrap();
        assert!(matches!(&data, ServerData::VmWait(answer) if answer.state == vm_state::RUNNING), "{data:?}");
        expected.retain(|serial| *serial != reply_to);
    }
    assert_eq!(expected, Vec::<u32>::new());
}

fn open_console(raw: &mut crate::harness::Raw, mode: u32) -> u32 {
    let call = ConsoleOpenCall { vm: Text::clipped("web"), mode, history_bytes: 0 };
    let serial = raw.call(&ClientData::ConsoleOpen(call));
    match raw.answer(serial) {
        ServerData::ConsoleOpen(answer) => answer.stream,
        other => panic!("{other:?}"),
    }
}

fn a_peer_that_vanishes_in_the_middle_of_a_stream_leaves_nothing_behind(way: Way) {
    // It goes on talking for longer than this takes.
    let daemon = web(way, "console_bytes = 100000000\nconsole_burst = 500");
    daemon.ok(&["vm", "start", "web"]);
    for round in 0..20 {
        let mut raw = daemon.raw_by(way);
        open_console(&mut raw, console_mode::TAKE_OVER);
        if round % 2 == 0 {
            assert!(raw.receive().is_some());
        }
        // Some vanish in the middle of a packet of their own.
        raw.send(&packet(2, 0, 0x1010, &[0; 64])[..40]);
    }
    eventually("nobody reads or writes any more", || {
        let console = &daemon.json(&["vm", "show", "web"])["console"];
        (console["readers"] == 0 && console["writer"].is_null()).then_some(())
    });
    let mut reader = daemon.begin(&["vm", "console", "web", "--read-only"]);
    reader.expect("abcdefghij");
    daemon.ok(&["vm", "stop", "web"]);
}

fn a_reader_that_stops_reading_stops_neither_the_guest_nor_other_readers(way: Way) {
    let daemon = web(way, "console_bytes = 3000000");
    daemon.ok(&["vm", "start", "--paused", "web"]);
    let before = daemon.memory_kib("VmRSS");
    let mut stuck: Vec<_> = (0..10).map(|_| daemon.raw_by(way)).collect();
    for raw in &mut stuck {
        open_console(raw, console_mode::READ);
    }
    daemon.ok(&["vm", "resume", "web"]);
    eventually("the guest has said everything", || {
        (daemon.json(&["vm", "show", "web"])["console"]["offset"] == 3_000_000).then_some(())
    });
    let grown = daemon.memory_kib("VmHWM").saturating_sub(before);
    assert!(grown < 2560, "readers and history took {grown} KiB of what 3,000,000 bytes were said");
    // Whoever reads late misses what was not kept, and is told where it goes on.
    let raw = &mut stuck[0];
    let (mut got, mut at) = (0, 0);
    while at < 65_536 {
        if let ServerData::StreamData(data) = raw.receive().unwrap().1 {
            got += data.data.as_slice().len();
            at = data.offset + u64::try_from(data.data.as_slice().len()).unwrap();
        }
    }
    assert!(got <= 65_536, "more came than there was credit for: {got}");
    raw.ping();
}

fn data_beyond_credit_end_the_stream_and_not_the_connection(way: Way) {
    let daemon = web(way, "");
    daemon.ok(&["vm", "start", "--paused", "web"]);
    let mut raw = daemon.raw_by(way);
    let stream = open_console(&mut raw, console_mode::WRITE);
    let data = |offset: u64| {
        let data = Opaque::new(vec![b'x'; 32_768]).unwrap();
        ClientData::StreamData(StreamData { stream, flags: 0, offset, data })
    };
    for index in 0..3 {
        raw.call(&data(index * 32_768));
    }
    let end = loop {
        match raw.receive().unwrap().1 {
            ServerData::StreamEnd(end) => break end,
            ServerData::StreamCredit(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end.stream, stream);
    assert!(end.why.is_some(), "it is told why");
    // What comes for a stream that is over, or never was, is dropped in silence.
    raw.call(&data(3 * 32_768));
    let nobodys = StreamData { stream: 4711, flags: 0, offset: 0, data: Opaque::new(vec![1]).unwrap() };
    raw.call(&ClientData::StreamData(nobodys));
    raw.ping();
    daemon.ok(&["vm", "stop", "web"]);
}

fn hundreds_of_clients_come_and_go_at_once(way: Way) {
    let daemon = web(way, "");
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    let (before, descriptors_before) = (daemon.memory_kib("VmRSS"), descriptors());
    for _ in 0..5 {
        // Each calls at once: on a busy machine the handshakes of all may take longer than a silent peer is waited for.
        let comes = || {
            let mut raw = daemon.raw_by(way);
            raw.call(&ClientData::Ping);
            raw
        };
        let mut all: Vec<_> = (0..300).map(|_| comes()).collect();
        for raw in &mut all {
            assert_eq!(raw.answer(1), ServerData::Ping);
        }
    }
    eventually("they are gone", || (daemon.json(&["connection", "list"]).as_array()?.len() == 1).then_some(()));
    let grown = daemon.memory_kib("VmRSS").saturating_sub(before);
    assert!(grown < 4 * 1024, "{grown} KiB are left");
    eventually("their descriptors are gone", || (descriptors() <= descriptors_before).then_some(()));
}
