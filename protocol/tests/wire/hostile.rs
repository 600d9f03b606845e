//! What a hostile or mistaken client can send, the exact verdict on each, and the most memory each may take.
//!
//! The rows stand in [`rows`]. Each is shown to a session twice, in one piece and byte by byte; both have to come to the same.
//! Where the verdict is not the last, the session has to serve the next packet as if nothing had happened.

use vmwire_protocol::message::{ClientData, ServerData, number, role};
use vmwire_protocol::session::{Peer, ServerSession, Step};
use vmwire_protocol::version::NEWEST_MINOR;
use vmwire_protocol::xdr::Text;

use crate::support::memory;
use crate::support::packets::{Said, packet, raw};
use crate::support::server::{Event, Server, config, hello, peer};
use rows::To::{self, Agreed, AgreedObserver, AgreedVmAdmin, Fresh, FreshObserver, FreshOld};
use rows::Verdict::{Answer, Call, Last, Refused};
use rows::{Row, rows};

pub(crate) mod rows;

/// A session, and the serial that its next packet has to bear.
pub(crate) fn session(to: To) -> Server {
    match to {
        Fresh => Server::new(),
        FreshOld => Server::speaking(0),
        Agreed => Server::agreed(),
        AgreedObserver => Server::agreed_with(Peer::new(Text::clipped("uid 7"), role::OBSERVER)),
        AgreedVmAdmin => Server::agreed_with(Peer { host_role: 0, ..peer() }),
        FreshObserver => Server::with(NEWEST_MINOR, Peer::new(Text::clipped("uid 7"), role::OBSERVER)),
    }
}

/// The bytes in pieces of at most so many.
fn shown(to: To, bytes: &[u8], piece: usize) -> (Server, Vec<Event>, Vec<Said>) {
    let mut server = session(to);
    let (mut events, mut heard) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        let (more_events, more_heard) = server.exchange(piece);
        events.extend(more_events);
        heard.extend(more_heard);
    }
    events.dedup_by(|a, b| *a == Event::Closed && *b == Event::Closed);
    (server, events, heard)
}

fn judge(row: &Row, heard: &[Said], events: &[Event]) {
    let name = row.name;
    let (mut heard, mut events) = (heard.iter(), events.iter());
    for verdict in &row.verdicts {
        if let Call(serial) = verdict {
            assert!(matches!(events.next(), Some(Event::Call(of, _)) if of == serial), "{name}");
            continue;
        }
        let said = heard.next().unwrap_or_else(|| panic!("{name}: too little was said"));
        let (reply_to, number, code, facts) = match verdict {
            Answer(serial, number) => (*serial, *number, 0, &[][..]),
            Refused(serial, code, facts) => (*serial, number::FAILURE, *code, *facts),
            Last(code, facts) => (0, number::FAILURE, *code, *facts),
            Call(_) => unreachable!(),
        };
        assert_eq!((said.reply_to, said.data.number()), (reply_to, number), "{name}: {said:?}");
        if let ServerData::Failure(failure) = &said.data {
            assert_eq!(failure.code, code, "{name}: {failure:?}");
            for (key, value) in facts {
                assert_eq!(failure.fact(key), Some(*value), "{name}: {failure:?}");
            }
            let like = facts.iter().any(|(key, _)| *key == "looks_like");
            assert_eq!(failure.fact("looks_like").is_some(), like, "{name}: {failure:?}");
        }
        if matches!(verdict, Last(..)) {
            assert_eq!(events.next(), Some(&Event::Closed), "{name}");
        }
    }
    assert_eq!(heard.next(), None, "{name}");
    assert_eq!(events.next(), None, "{name}");
}

#[test]
fn every_row_gets_its_verdict_however_it_is_cut() {
    for row in rows() {
        let (mut whole, events, heard) = shown(row.to, &row.bytes, usize::MAX);
        judge(&row, &heard, &events);
        let (_, cut_events, cut_heard) = shown(row.to, &row.bytes, 1);
        assert_eq!((cut_events, cut_heard), (events, heard), "{} cut into bytes", row.name);
        let last = row.verdicts.iter().any(|verdict| matches!(verdict, Last(..)));
        assert_eq!(whole.session.is_closed(), last, "{}", row.name);
        if last {
            assert_eq!(whole.exchange(b"and more"), (vec![Event::Closed], Vec::new()), "{}", row.name);
            assert_eq!(whole.session.held_bytes(), 0, "{}", row.name);
        }
    }
}

#[test]
fn a_session_that_refused_serves_the_next_packet() {
    for row in rows() {
        let (mut server, ..) = shown(row.to, &row.bytes, usize::MAX);
        if server.session.is_closed() || server.session.untaken_bytes() > 0 {
            continue;
        }
        let serial = [1, 2, 3, 4, 5, 6, 11].into_iter().find(|serial| {
            // The next serial is the one behind those of the row.
            let (mut server, ..) = shown(row.to, &row.bytes, usize::MAX);
            server.show(&packet(*serial, &ClientData::Ping));
            !server.session.is_closed()
        });
        let serial = serial.unwrap_or_else(|| panic!("{}: no serial is right any more", row.name));
        let (_, heard) = server.exchange(&packet(serial, &ClientData::Ping));
        assert_eq!((heard[0].reply_to, &heard[0].data), (serial, &ServerData::Ping), "{}", row.name);
    }
}

/// Shows bytes to a session and keeps nothing of what comes of it.
fn swallow(session: &mut ServerSession, bytes: &[u8], piece: usize) {
    let now = std::time::Instant::now();
    for mut input in bytes.chunks(piece) {
        while !matches!(session.step(now, &mut input), Step::Idle | Step::Blocked | Step::Closed) {}
    }
}

#[test]
fn no_row_takes_more_memory_than_it_may() {
    for row in rows() {
        for piece in [usize::MAX, 1] {
            let newest_minor = if matches!(row.to, FreshOld) { 0 } else { 1 };
            let mut session = ServerSession::new(config(newest_minor), peer());
            if matches!(row.to, Agreed) {
                swallow(&mut session, &packet(1, &hello(1, 1, &[])), usize::MAX);
                session.outbox().advance(usize::MAX);
                session.outbox().return_buffer(&mut Vec::new());
            }
            let ((), peak) = memory::peak(|| swallow(&mut session, &row.bytes, piece));
            assert!(peak <= row.memory_max, "{}, in pieces of {piece}: {peak} bytes", row.name);
        }
    }
}
