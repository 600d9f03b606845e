//! The table of hostile bytes that the protocol's sessions are held to, sent to a real daemon over every way to it.

use vmwire_protocol::message::{ClientData, HelloCall, Procedure, ServerData, code, number, role};
use vmwire_protocol::version::NEWEST_MINOR;
use vmwire_protocol::xdr::{List, Text};

use crate::harness::packet as raw;
use crate::harness::{Daemon, Raw, Setup, Socket, Way, by_every_way, client_context, pki};
use rows::To::{Agreed, AgreedObserver, AgreedVmAdmin, FreshObserver, FreshOld};
use rows::Verdict::{Answer, Call, Last, Refused};
use rows::{Row, To, rows};

// The same file that `protocol/tests/wire` reads, so that a row there is a row here.
#[expect(dead_code, reason = "how much memory a row may take is measured where nothing else takes any")]
#[path = "../protocol/tests/wire/hostile/rows.rs"]
mod rows;

by_every_way!(every_row_of_hostile_bytes_gets_its_verdict);

fn hello(major: u32, minor: u32, capabilities: &[u32]) -> ClientData {
    let capabilities = List::new(capabilities).unwrap();
    ClientData::Hello(HelloCall { major, minor, capabilities, name: Text::clipped("a story") })
}

fn packet(serial: u32, data: &ClientData) -> Vec<u8> {
    let mut type_and_body = Vec::new();
    data.encode(&mut type_and_body).unwrap();
    raw(serial, 0, data.number(), &type_and_body[4..])
}

/// A daemon at which admins and observers come in.
fn daemon(newest_minor: u32) -> Daemon {
    let setup = Setup::test();
    pki(&setup.place, &["init", "--server", "127.0.0.1"]).ok();
    let observers = setup.place.join("observers.sock");
    let mut lines = format!("[[listen]]\npath = \"{}\"\nrole = \"observer\"\n", observers.display());
    lines += &setup.listeners();
    for (name, role) in [("alice", "admin"), ("observer", "observer")] {
        pki(&setup.place, &["issue", "client", name]).ok();
        lines += &format!("[[rule]]\nidentity = \"subject:CN={name}\"\nrole = \"{role}\"\n");
    }
    setup.config(&lines).argument("--newest-minor").argument(&newest_minor.to_string()).start()
}

/// Comes as a row wants it, over plain TCP as an observer in any case; `None` where nobody of that role comes.
fn come(daemon: &Daemon, way: Way, to: To) -> Option<Raw> {
    let by_tls = |client: &str| {
        let context = client_context(&daemon.place().join("pki/issued").join(client));
        Raw::new(Socket::tls(daemon.address(Way::Tls), &context).unwrap())
    };
    let mut peer = match (way, to) {
        // A daemon that lets somebody in shows them its host.
        (_, AgreedVmAdmin) => return None,
        (Way::Unix, AgreedObserver | FreshObserver) => Raw::new(Socket::unix(&daemon.place().join("observers.sock"))),
        (Way::Tls, AgreedObserver | FreshObserver) => by_tls("observer"),
        (Way::Unix | Way::Tcp | Way::Tls, _) => daemon.raw_by(way),
    };
    if matches!(to, Agreed | AgreedObserver) {
        let serial = peer.call(&hello(1, NEWEST_MINOR, &[1]));
        assert!(matches!(peer.answer(serial), ServerData::Hello(_)));
    }
    Some(peer)
}

/// Serials and numbers of the packets, and whether the last one is whole.
fn packets(mut bytes: &[u8]) -> (Vec<(u32, u32)>, bool) {
    let word = |bytes: &[u8], at: usize| bytes.get(at..at + 4).map(|word| u32::from_be_bytes(word.try_into().unwrap()));
    let mut packets = Vec::new();
    while let Some(length) = word(bytes, 4) {
        let rest = usize::try_from(length).ok().and_then(|length| bytes.get(8 + length..));
        let (Some(rest), Some(serial), Some(number)) = (rest, word(bytes, 8), word(bytes, 16)) else { break };
        packets.push((serial, number));
        bytes = rest;
    }
    (packets, bytes.is_empty())
}

/// The code that a refusal has, as an observer hears it: what one may not do is not looked at.
fn for_observers(code: u32, packets: &[(u32, u32)], of: u32) -> u32 {
    let number = packets.iter().find(|(serial, _)| *serial == of).unwrap().1;
    let beyond = Procedure::of(number).is_some_and(|procedure| procedure.right.role > role::OBSERVER);
    if code == code::MALFORMED && beyond { code::DENIED } else { code }
}

fn judge(row: &Row, way: Way, mut peer: Raw, piece: usize) {
    let name = format!("{} over {way:?} in pieces of {piece}", row.name);
    for piece in row.bytes.chunks(piece) {
        peer.send(piece);
    }
    let (packets, whole) = packets(&row.bytes);
    let ends = row.verdicts.iter().any(|verdict| matches!(verdict, Last(..)));
    let first = if matches!(row.to, Agreed | AgreedObserver) { 2 } else { 1 };
    let next = first + u32::try_from(packets.len()).unwrap();
    if !ends && whole {
        peer.send(&raw(next, 0, number::PING, b""));
    } else {
        // There may be nobody any more who reads it.
        let _ = peer.socket.end_writing();
    }
    let mut heard: Vec<_> = std::iter::from_fn(|| {
        let said = peer.receive();
        // What comes behind a PING that was answered would be heard by the next one only; there is none.
        said.filter(|(reply_to, data)| ends || !(*reply_to == next && *data == ServerData::Ping))
    })
    .collect();
    for verdict in &row.verdicts {
        if let Call(serial) = verdict {
            let at = heard.iter().position(|(reply_to, _)| reply_to == serial);
            let (_, answer) = heard.remove(at.unwrap_or_else(|| panic!("{name}: {serial} is not answered: {heard:?}")));
            let refused = [code::MALFORMED, code::DENIED, code::UNSUPPORTED, code::VERSION_MISMATCH];
            assert!(
                !matches!(&answer, ServerData::Failure(failure) if refused.contains(&failure.code)),
                "{name}: {answer:?}"
            );
        }
    }
    let mut heard = heard.into_iter();
    for verdict in &row.verdicts {
        let (reply_to, number, code, facts) = match verdict {
            Call(_) => continue,
            Answer(serial, number) => (*serial, *number, 0, &[][..]),
            Refused(serial, code, facts) if way == Way::Tcp => {
                (*serial, number::FAILURE, for_observers(*code, &packets, *serial), *facts)
            }
            Refused(serial, code, facts) => (*serial, number::FAILURE, *code, *facts),
            Last(code, facts) => (0, number::FAILURE, *code, *facts),
        };
        let (to, data) = heard.next().unwrap_or_else(|| panic!("{name}: too little was said"));
        assert_eq!((to, data.number()), (reply_to, number), "{name}: {data:?}");
        if let ServerData::Failure(failure) = data {
            assert_eq!(failure.code, code, "{name}: {failure:?}");
            for (key, value) in facts {
                assert_eq!(failure.fact(key), Some(*value), "{name}: {failure:?}");
            }
            let like = facts.iter().any(|(key, _)| *key == "looks_like");
            assert_eq!(failure.fact("looks_like").is_some(), like, "{name}: {failure:?}");
        }
    }
    assert_eq!(heard.next(), None, "{name}: something is said behind the verdict");
}

fn every_row_of_hostile_bytes_gets_its_verdict(way: Way) {
    let (daemon, old) = (daemon(NEWEST_MINOR), daemon(0));
    let mut judged = 0;
    for row in rows() {
        let daemon = if row.to == FreshOld { &old } else { &daemon };
        // In pieces that fit no word; the longest rows only whole, or it would take all day.
        let pieces = if row.bytes.len() < 1000 { &[usize::MAX, 3][..] } else { &[usize::MAX] };
        for piece in pieces {
            let Some(peer) = come(daemon, way, row.to) else { continue };
            judge(&row, way, peer, *piece);
            judged += 1;
        }
    }
    assert!(judged > 150, "{judged}");
    for daemon in [daemon, old] {
        daemon.ok(&["ping"]);
    }
}
