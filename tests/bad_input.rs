//! Bytes that nobody should send: each gets a clear answer, and the daemon goes on serving others.

use std::io::Write;
use std::time::{Duration, Instant};

use vmwire_protocol::message::{
    ClientData, HelloCall, PROCEDURES, ServerData, VmCall, VmDefineCall, VmStartCall, code, number, role,
};
use vmwire_protocol::xdr::{List, Text};

use crate::harness::{Way, by_every_way, by_ways, packet};

by_every_way!(
    strangers_are_told_what_they_look_like,
    lengths_that_may_not_come_are_refused_before_a_byte_of_them_is_kept,
    a_body_that_cannot_be_decoded_is_malformed_and_the_connection_lives_on,
    serials_that_do_not_follow_close_the_connection,
    unknown_procedures_and_newer_ones_are_told_apart,
    hello_counts_once_and_what_follows_a_refused_one_is_not_executed,
    however_the_bytes_are_cut_the_answers_are_the_same,
    random_packets_are_all_answered_and_nothing_is_left_of_them,
    a_definition_that_is_too_large_is_refused_at_both_ends,
    of_two_definitions_with_one_name_or_uuid_sent_together_one_is_taken,
    escape_codes_in_what_strangers_say_reach_no_terminal,
);
by_ways!(by_unix_as_admin Unix: what_was_asked_before_a_half_close_is_answered);
by_ways!(by_tls_as_admin Tls: what_was_asked_before_a_half_close_is_answered);

fn hello(major: u32) -> ClientData {
    ClientData::Hello(HelloCall { major, minor: 1, capabilities: List::default(), name: Text::clipped("a story") })
}

/// A string as XDR has it.
fn string(bytes: &[u8]) -> Vec<u8> {
    let mut body = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    body.extend(bytes);
    body.resize(body.len().next_multiple_of(4), 0);
    body
}

fn strangers_are_told_what_they_look_like(way: Way) {
    let daemon = way.setup().start();
    let mut other = daemon.raw_by(way);
    other.ping();
    let strangers: &[(&[u8], Option<&str>)] = &[
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", Some("an HTTP request")),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Some("a TLS ClientHello")),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", Some("an SSH banner")),
        (b"\x00\x00\x00\x1c\x20\x00\x80\x86\x00\x00\x00\x01\x00\x00\x00\x42", Some("a libvirt packet")),
        (b"\x80\x00\x00\x28\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02", Some("a SunRPC record")),
        (b"\x00\x00\x00\x00\x00\x00\x00\x00", None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"{\"execute\": \"qmp_capabilities\"}\n", None),
    ];
    for (bytes, looks_like) in strangers {
        let mut stranger = daemon.raw_by(way);
        stranger.send(bytes);
        let failure = stranger.closing();
        assert_eq!((failure.code, failure.fact("looks_like")), (code::BAD_MAGIC, *looks_like), "{failure:?}");
        let words = looks_like.unwrap_or("the bytes are not of this protocol");
        assert!(failure.message.contains(words), "{failure:?}");
        other.ping();
    }
}

fn lengths_that_may_not_come_are_refused_before_a_byte_of_them_is_kept(way: Way) {
    let daemon = way.setup().start();
    let header = |length: u32| [b"\x89VMW".as_slice(), &length.to_be_bytes()].concat();
    for (length, after_hello) in [
        (0xffff_ffff, false),
        (0, false),
        (8, false),
        (13, false),
        (64 * 1024 + 4, false),
        (256 * 1024 + 4, true),
        (0x0c00_0000, true),
    ] {
        let mut raw = daemon.raw_by(way);
        if after_hello {
            let serial = raw.call(&hello(1));
            assert!(matches!(raw.answer(serial), ServerData::Hello(_)));
        }
        raw.send(&header(length));
        let failure = raw.closing();
        assert_eq!(failure.code, code::BAD_LENGTH, "{length}: {failure:?}");
        assert_eq!(failure.fact("received"), Some(length.to_string().as_str()));
    }
    daemon.ok(&["ping"]);
}

#[test]
fn half_a_packet_has_30_seconds_and_disturbs_nobody() {
    let daemon = Way::Tls.setup().start();
    let begun = Instant::now();
    let mut halves = Vec::new();
    for way in Way::ALL {
        for sent in [4, 19, 8] {
            let mut half = daemon.raw_by(way);
            // The first packet has less time than this, when it comes from a network.
            half.ping();
            half.send(&packet(2, 0, number::PING, b"")[..sent]);
            halves.push(half);
        }
    }
    // A byte now and then does not make it live longer.
    let mut trickles: Vec<_> = halves.iter().skip(2).step_by(3).map(|half| half.socket.clone()).collect();
    let mut other = daemon.raw();
    for second in 1..=10 {
        for trickle in &mut trickles {
            trickle.write_all(&[0]).unwrap();
        }
        other.ping();
        std::thread::sleep((begun + Duration::from_secs(2 * second)).saturating_duration_since(Instant::now()));
    }
    for half in &mut halves {
        let failure = half.closing();
        assert_eq!((failure.code, failure.fact("limit")), (code::DEADLINE_EXCEEDED, Some("30000")), "{failure:?}");
        let waited = begun.elapsed().as_secs();
        assert!((29..60).contains(&waited), "after {waited} s");
    }
    other.ping();
}

fn a_body_that_cannot_be_decoded_is_malformed_and_the_connection_lives_on(way: Way) {
    let daemon = way.setup().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    let mut raw = daemon.raw_by(way);
    let serial = raw.call(&hello(1));
    raw.answer(serial);
    let web = string(b"web");
    let word = |word: u32| word.to_be_bytes().to_vec();
    let start = ClientData::VmStart(VmStartCall { vm: Text::clipped("x"), paused: false }).number();
    let show = ClientData::VmShow(VmCall { vm: Text::clipped("x") }).number();
    let table: &[(&str, u32, Vec<u8>)] = &[
        ("trailing bytes", show, [web.clone(), word(0)].concat()),
        ("trailing bytes behind nothing", number::PING, word(0)),
        ("a bad boolean", start, [web.clone(), word(2)].concat()),
        ("a bad optional", number::SUBSCRIBE, [word(2), word(0), word(0)].concat()),
        ("padding that is not zero", show, [word(1), b"a\0\0\x01".to_vec()].concat()),
        ("no UTF-8", show, string(b"\xff\xfe")),
        ("a NUL", show, string(b"we\0b")),
        ("longer than its bound", show, string(&[b'a'; 129])),
        ("longer than the packet", show, word(0xffff_ffff)),
        ("cut off", show, word(8)),
        ("nothing at all", show, Vec::new()),
        (
            "a bad discriminant",
            number::VM_LIST,
            [word(0), word(1), word(1), word(1), word(9), word(0), word(0)].concat(),
        ),
        ("a list longer than its bound", number::SUBSCRIBE, [word(0), word(0), word(65)].concat()),
        ("HELLO again, cut off", number::CANCEL, Vec::new()),
    ];
    for (what, procedure, body) in table {
        let serial = raw.send_next(0, *procedure, body);
        let failure = raw.failure(serial);
        if *procedure == start && !way.may_change() {
            assert_eq!(failure.code, code::DENIED, "what may not be done is not looked at: {failure:?}");
            continue;
        }
        assert_eq!(failure.code, code::MALFORMED, "{what}: {failure:?}");
        assert!(!failure.causes.is_empty(), "{what}: {failure:?}");
        raw.ping();
    }
    assert_eq!(daemon.state("web"), "stopped");
}

fn serials_that_do_not_follow_close_the_connection(way: Way) {
    let daemon = way.setup().start();
    for (first, second, expected) in [(1, 1, 2), (1, 3, 2), (1, 0, 2), (2, 3, 1), (0, 1, 1), (u32::MAX, 1, 1)] {
        let mut raw = daemon.raw_by(way);
        raw.send(&[packet(first, 0, number::PING, b""), packet(second, 0, number::PING, b"")].concat());
        let failure = raw.closing();
        assert_eq!(failure.code, code::SERIAL, "{failure:?}");
        assert_eq!(failure.fact("expected"), Some(expected.to_string().as_str()), "{first}, {second}: {failure:?}");
    }
    // A packet that is refused for another reason has used its number all the same.
    let mut raw = daemon.raw_by(way);
    let serial = raw.send_next(0, 0x999, b"");
    assert_eq!(raw.failure(serial).code, code::UNKNOWN_PROCEDURE);
    raw.ping();
}

fn unknown_procedures_and_newer_ones_are_told_apart(way: Way) {
    let daemon = way.setup().start();
    let mut raw = daemon.raw_by(way);
    // An answer-only number, one from the server's side, one of nobody's.
    for procedure in [0, 0x1001, 0x999, u32::MAX] {
        let serial = raw.send_next(0, procedure, b"");
        let failure = raw.failure(serial);
        assert_eq!(failure.code, code::UNKNOWN_PROCEDURE, "{procedure:#x}: {failure:?}");
        assert_eq!(failure.fact("procedure"), Some(procedure.to_string().as_str()));
    }
    let serial = raw.send_next(0, number::VM_LIST, b"");
    let failure = raw.failure(serial);
    assert_eq!((failure.code, failure.fact("minor")), (code::UNSUPPORTED, Some("1")), "{failure:?}");
    raw.ping();
}

fn hello_counts_once_and_what_follows_a_refused_one_is_not_executed(way: Way) {
    let daemon = way.setup().start();
    let mut raw = daemon.raw_by(way);
    let refused = raw.call(&hello(2));
    let definition = Text::new("name = \"web\"\nmemory = \"64 MiB\"\n").unwrap();
    let behind = raw.call(&ClientData::VmDefine(VmDefineCall { definition, replace: false }));
    let failure = raw.failure(refused);
    assert_eq!((failure.code, failure.fact("majors")), (code::VERSION_MISMATCH, Some("1")), "{failure:?}");
    assert_eq!(raw.failure(behind).code, code::VERSION_MISMATCH);
    raw.ping();
    assert_eq!(daemon.json(&["vm", "list"]), serde_json::json!([]));

    let taken = raw.call(&hello(1));
    let ServerData::Hello(answer) = raw.answer(taken) else { panic!("no answer to HELLO") };
    assert_eq!((answer.major, answer.minor, role::name(answer.role)), (1, 1, Some(way.role())));
    let again = raw.call(&hello(1));
    assert_eq!(raw.failure(again).code, code::INVALID);
    let again = raw.call(&hello(2));
    assert_eq!(raw.failure(again).code, code::INVALID, "and the former agreement holds");
    let shown = raw.call(&ClientData::VmShow(VmCall { vm: Text::clipped("web") }));
    assert_eq!(raw.failure(shown).code, code::NOT_FOUND);
}

fn however_the_bytes_are_cut_the_answers_are_the_same(way: Way) {
    let daemon = way.setup().start();
    let mut bytes = Vec::new();
    for serial in 1..=20 {
        let call = if serial % 2 == 0 { (number::PING, Vec::new()) } else { (number::VM_SHOW, string(b"none")) };
        bytes.extend(packet(serial, 0, call.0, &call.1));
    }
    for cut in [1, 3, 7, 20, 21, bytes.len()] {
        let mut raw = daemon.raw_by(way);
        for piece in bytes.chunks(cut) {
            raw.send(piece);
        }
        for serial in 1..=20 {
            match raw.answer(serial) {
                ServerData::Ping => assert_eq!(serial % 2, 0),
                ServerData::Failure(failure) => assert_eq!((failure.code, serial % 2), (code::NOT_FOUND, 1)),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn what_was_asked_before_a_half_close_is_answered(way: Way) {
    let daemon = way.setup().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nstart_ms = 3000\n");
    let mut raw = daemon.raw_by(way);
    let start = raw.call(&ClientData::VmStart(VmStartCall { vm: Text::clipped("web"), paused: false }));
    let ping = raw.call(&ClientData::Ping);
    raw.socket.end_writing().unwrap();
    assert_eq!(raw.answer(ping), ServerData::Ping);
    assert!(matches!(raw.answer(start), ServerData::VmStart(_)));
    assert_eq!(raw.receive(), None);
}

fn a_definition_that_is_too_large_is_refused_at_both_ends(way: Way) {
    let daemon = way.setup().start();
    let head = "name = \"web\"\nmemory = \"64 MiB\"\n#";
    let fits = format!("{head}{}", "x".repeat(49_152 - head.len()));
    let mut raw = daemon.raw_by(way);
    let serial = raw.send_next(0, number::VM_DEFINE, &[string(format!("{fits}x").as_bytes()), vec![0; 4]].concat());
    let failure = raw.failure(serial);
    let expected = if way.may_change() { code::MALFORMED } else { code::DENIED };
    assert_eq!(failure.code, expected, "{failure:?}");
    raw.ping();

    let file = daemon.place().write("large.toml", format!("{fits}x"));
    let told = daemon.vmwire_by(way, &["vm", "define", &file]).fails(2);
    assert!(told.contains("49152"), "{told}");
    let file = daemon.place().write("fits.toml", &fits);
    let defined = daemon.vmwire_by(way, &["vm", "define", &file]);
    if way.may_change() {
        defined.ok();
        assert_eq!(daemon.vmwire_by(way, &["vm", "definition", "web"]).ok(), fits);
    } else {
        defined.fails(4);
        assert_eq!(daemon.json(&["vm", "list"]), serde_json::json!([]));
    }
}

fn of_two_definitions_with_one_name_or_uuid_sent_together_one_is_taken(way: Way) {
    let daemon = way.setup().start();
    let uuid = "uuid = \"6f1d5f5c-6f0b-4a3e-9d3c-2f6f3b1d8a11\"\n";
    let mut raw = daemon.raw_by(way);
    for (first, second) in [
        ("name = \"a\"\nmemory = \"64 MiB\"\n".to_owned(), "name = \"a\"\nmemory = \"65 MiB\"\n".to_owned()),
        (format!("name = \"b\"\nmemory = \"64 MiB\"\n{uuid}"), format!("name = \"c\"\nmemory = \"64 MiB\"\n{uuid}")),
    ] {
        let serials = [first, second].map(|definition| {
            let definition = Text::new(definition).unwrap();
            raw.call(&ClientData::VmDefine(VmDefineCall { definition, replace: false }))
        });
        if way.may_change() {
            assert!(matches!(raw.answer(serials[0]), ServerData::VmDefine(_)));
            assert_eq!(raw.failure(serials[1]).code, code::EXISTS);
        } else {
            assert_eq!(serials.map(|serial| raw.failure(serial).code), [code::DENIED; 2]);
        }
    }
    let names: Vec<_> = daemon.json(&["vm", "list"]).as_array().unwrap().iter().map(|vm| vm["name"].clone()).collect();
    assert_eq!(names, if way.may_change() { &["a", "b"][..] } else { &[] });
}

fn escape_codes_in_what_strangers_say_reach_no_terminal(way: Way) {
    let evil = "\u{1b}]0;pwned\u{7}\u{1b}[2J\u{202e}";
    let daemon = way.setup_with("log = \"debug\"\n").start();
    let mut raw = daemon.raw_by(way);
    let ClientData::Hello(call) = hello(1) else { unreachable!() };
    let serial = raw.call(&ClientData::Hello(HelloCall { name: Text::clipped(evil), ..call }));
    raw.answer(serial);
    let serial = raw.call(&ClientData::VmShow(VmCall { vm: Text::clipped(evil) }));
    assert_eq!(raw.failure(serial).object_name.as_str(), evil, "on the wire it is as it was");

    let file =
        daemon.place().write("evil.toml", format!("name = \"{}\"\nmemory = \"1 GiB\"\n", r"\u001b]0;pwned\u0007"));
    let defined = daemon.vmwire_by(way, &["vm", "define", &file]).fails(if way.may_change() { 1 } else { 4 });
    let shown = daemon.vmwire_by(way, &["vm", "show", evil]).fails(5);
    let started = daemon.vmwire_by(way, &["vm", "start", evil]);
    // Who else is there is told to admins alone.
    let listed = daemon.ok(&["connection", "list"]);
    let json = daemon.ok(&["-o", "json", "connection", "list"]);
    assert!(listed.contains("pwned") && shown.contains("pwned") && json.contains("pwned"), "{listed}{shown}");
    for text in [defined, shown, started.err, started.out, listed, json, daemon.log()] {
        let acts = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!text.contains(acts), "{text:?}");
    }
}

fn random_packets_are_all_answered_and_nothing_is_left_of_them(way: Way) {
    let seed = std::env::var("VMWIRE_SEED").ok().map_or_else(
        || u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() & u128::from(u64::MAX)).unwrap(),
        |seed| seed.parse().unwrap(),
    );
    println!("VMWIRE_SEED={seed}");
    let mut state = seed | 1;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    let daemon = way.setup().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    // All but kicking, by which it would show itself out.
    let numbers = PROCEDURES.iter().map(|procedure| procedure.number);
    let procedures: Vec<u32> = numbers.filter(|number| *number != 0x21).collect();
    let mut raw = daemon.raw_by(way);
    let serial = raw.call(&hello(1));
    raw.answer(serial);
    for _ in 0..3000 {
        let procedure = procedures[random(procedures.len())];
        // Words that are lengths, flags and names now and then, and anything else the rest of the time.
        let mut body = Vec::new();
        for _ in 0..random(8) {
            match random(4) {
                0 => body.extend(u32::try_from(random(5)).unwrap().to_be_bytes()),
                1 => body.extend(string(b"web")),
                2 => body.extend([0; 4]),
                _ => body.extend((0..4).map(|_| u8::try_from(random(256)).unwrap())),
            }
        }
        let serial = raw.send_next(20, procedure, &body);
        raw.answer(serial);
    }
    drop(raw);
    crate::harness::eventually("nothing is left", || {
        (daemon.json(&["connection", "list"]).as_array()?.len() == 1).then_some(())
    });
    daemon.ok(&["vm", "list"]);
}
