//! Peers of whom nobody knows who they are: they get little time and little room, and push out only each other.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use vmwire_protocol::message::code;

use crate::harness::{Daemon, ENOUGH, SOON, Way, eventually};

fn knock(daemon: &Daemon, way: Way) -> TcpStream {
    let socket = TcpStream::connect(daemon.address(way)).unwrap();
    socket.set_read_timeout(Some(ENOUGH)).unwrap();
    socket
}

/// What the daemon says until it hangs up.
fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    match socket.read_to_end(&mut said) {
        Ok(_) => said,
        Err(error) if error.kind() == ErrorKind::ConnectionReset => said,
        Err(error) => panic!("it does not hang up: {error}"),
    }
}

#[test]
fn strangers_at_the_port_of_tls_are_sent_away_with_an_alert() {
    let daemon = Way::Tls.setup().start();
    let strangers: &[(&[u8], &str)] = &[
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "an HTTP request"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "an SSH banner"),
        (b"\x00\x00\x00\x1c\x20\x00\x80\x86\x00\x00\x00\x01\x00\x00\x00\x42", "a libvirt packet"),
        (b"\x80\x00\x00\x28\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02", "a SunRPC record"),
        (b"\x89VMW\x00\x00\x00\x0c\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02", "an unencrypted vmwire packet"),
        (b"{\"execute\": \"qmp_capabilities\"}\n", "\"{\\\"execut\""),
        (&[0; 64], "\"\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\""),
    ];
    for (bytes, looks_like) in strangers {
        let mut stranger = knock(&daemon, Way::Tls);
        stranger.write_all(bytes).unwrap();
        let said = rest(&mut stranger);
        // A fatal alert, or nothing at all to who could not read one.
        assert!(said.is_empty() || said[0] == 0x15, "{looks_like}: {said:?}");
        daemon.logs(&format!("refused: the client does not speak TLS: what it sent looks like {looks_like}"));
    }
    daemon.vmwire_by(Way::Tls, &["ping"]).ok();
    // The other way round the client says which port is meant.
    let plain = format!("test+tcp://{}/default", daemon.address(Way::Tls));
    let told = daemon.begin_at(&plain, &["ping"]).end();
    assert!(told.code == 3 && told.err.contains("TLS"), "{told:?}");
    let files = daemon.place().join("pki/issued/alice");
    let tls = format!("test+tls://{}/default?pkipath={}", daemon.address(Way::Tcp), files.display());
    let told = daemon.begin_at(&tls, &["ping"]).end();
    assert!(told.code == 3 && told.err.contains("speaks plainly on this port"), "{told:?}");
}

#[test]
fn records_that_may_not_come_end_the_handshake() {
    let daemon = Way::Tls.setup().start();
    let records: &[&[u8]] = &[
        // A record longer than there are, an empty one, a handshake of 16 MiB, an alert, nothing but change-cipher-spec.
        b"\x16\x03\x01\xff\xff\x01",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x14\x03\x03\x00\x01\x01",
        b"\x17\x03\x03\x00\x10aaaaaaaaaaaaaaaa",
    ];
    for record in records {
        let mut stranger = knock(&daemon, Way::Tls);
        stranger.write_all(record).unwrap();
        stranger.shutdown(Shutdown::Write).unwrap();
        rest(&mut stranger);
        daemon.vmwire_by(Way::Tls, &["ping"]).ok();
    }
    eventually("they are all refused", || (daemon.log().matches(" refused: ").count() >= records.len()).then_some(()));
}

/// A first message of TLS: all of it, from a handshake that is not gone on with.
fn client_hello(daemon: &Daemon) -> Vec<u8> {
    use vmwire_tls::stream::{ClientTls, Stream};
    let context = crate::harness::client_context(&daemon.place().join("pki/issued/alice"));
    let mut tls = ClientTls::new(&context, &"localhost".parse().unwrap()).unwrap();
    let mut hello = Vec::new();
    tls.write(&mut hello, &[]).unwrap();
    hello
}

#[test]
fn whoever_does_not_come_to_the_point_within_10_seconds_is_sent_away() {
    let daemon = Way::Tls.setup().start();
    let begun = Instant::now();
    let hello = client_hello(&daemon);
    // Says nothing; begins and stops; cuts its first message into pieces that would take minutes.
    let silent = knock(&daemon, Way::Tls);
    let mut stopped = knock(&daemon, Way::Tls);
    stopped.write_all(&hello[..hello.len() - 1]).unwrap();
    let trickling = knock(&daemon, Way::Tls);
    let trickle = trickling.try_clone().unwrap();
    let pieces = hello.clone();
    let writing = std::thread::spawn(move || {
        let mut trickle = trickle;
        for piece in pieces.chunks(1) {
            if trickle.write_all(piece).is_err() || begun.elapsed() > ENOUGH {
                return;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    // Is known, and says nothing more; the same in the clear; and half a packet in the clear.
    let mut known = daemon.raw_by(Way::Tls);
    let mut plain = daemon.raw_by(Way::Tcp);
    let mut half = daemon.raw_by(Way::Tcp);
    half.send(b"\x89VMW\x00\x00");
    for mut socket in [silent, stopped, trickling.try_clone().unwrap()] {
        rest(&mut socket);
        let waited = begun.elapsed();
        assert!((Duration::from_secs(9)..ENOUGH).contains(&waited), "{waited:?}");
    }
    trickling.shutdown(Shutdown::Both).ok();
    writing.join().unwrap();
    for raw in [&mut known, &mut plain, &mut half] {
        let failure = raw.closing();
        assert_eq!((failure.code, failure.fact("limit")), (code::DEADLINE_EXCEEDED, Some("10000")), "{failure:?}");
        let waited = begun.elapsed();
        assert!((Duration::from_secs(9)..ENOUGH).contains(&waited), "{waited:?}");
    }
    let late = "sent away, for it did not say who it is within 10 s";
    eventually("the log tells of all three", || (daemon.log().matches(late).count() == 3).then_some(()));
}

#[test]
fn of_65_silent_peers_the_oldest_makes_room() {
    let daemon = Way::Tls.setup().start();
    let mut silent: Vec<TcpStream> = (0..64).map(|_| knock(&daemon, Way::Tls)).collect();
    // Whoever is known takes no room among the unknown.
    let mut known = daemon.raw();
    known.ping();
    assert!(!daemon.log().contains("sent away"), "{}", daemon.log());
    let oldest = silent[0].local_addr().unwrap();
    silent.push(knock(&daemon, Way::Tls));
    daemon.logs(&format!("tls {oldest}: sent away, for 64 others are not known yet either"));
    assert_eq!(rest(&mut silent[0]), b"");
    assert_eq!(daemon.log().matches("sent away").count(), 1, "only the oldest");
    known.ping();
}

#[test]
fn who_was_refused_and_is_still_heard_out_makes_room_without_another_word() {
    let daemon = Way::Tls.setup().start();
    let mut refused = knock(&daemon, Way::Tls);
    refused.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    daemon.logs("refused: the client does not speak TLS");
    let silent: Vec<TcpStream> = (0..63).map(|_| knock(&daemon, Way::Tls)).collect();
    // The one too many.
    daemon.raw_by(Way::Tls).ping();
    assert!(!daemon.log().contains("sent away"), "{}", daemon.log());
    drop((silent, refused));
}

#[test]
fn an_honest_client_gets_in_during_a_flood_of_silent_ones() {
    let daemon = Way::Tls.setup().start();
    let before = daemon.memory_kib("VmRSS");
    let mut flood = Vec::new();
    for round in 0..10 {
        flood.extend((0..100).map(|_| knock(&daemon, Way::Tls)));
        let asked = Instant::now();
        daemon.vmwire_by(Way::Tls, &["ping"]).ok();
        assert!(asked.elapsed() < SOON, "round {round}: {:?}", asked.elapsed());
    }
    let grown = daemon.memory_kib("VmHWM").saturating_sub(before);
    assert!(grown < 8 * 1024, "64 handshakes took {grown} KiB");
    let sent_away = daemon.log().matches("sent away, for 64 others").count();
    assert!(sent_away >= 900, "{sent_away}");
}
