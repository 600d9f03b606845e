//! A server session on a virtual clock, shown bytes by hand. Everything it writes is read back and checked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vmwire_protocol::message::{
    ClientData, ConsoleOpenAnswer, ConsoleOpenCall, Failure, HelloCall, ServerData, code, console_mode, role,
};
use vmwire_protocol::session::{Call, Peer, ServerConfig, ServerSession, Step};
use vmwire_protocol::version::NEWEST_MINOR;
use vmwire_protocol::xdr::{Fixed, List, Text};

use super::packets::{Said, packet, said};

pub(crate) const EPOCH: Fixed<16> = Fixed(*b"the test's epoch");

/// What a session did with what it was shown, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A call was handed out.
    Call(u32, ClientData),
    Cancelled(u32),
    Unsubscribed,
    StreamData(u32, Vec<u8>),
    StreamRoom(u32),
    StreamEnded(u32),
    StreamOver(u32, Option<u32>),
    Blocked,
    Closed,
}

/// A session, its clock and the other end of its socket.
pub(crate) struct Server {
    pub(crate) session: ServerSession,
    pub(crate) now: Instant,
    /// Calls handed out and not answered.
    pub(crate) calls: Vec<Call>,
    /// The serial that its next packet has to bear.
    next: u32,
}

pub(crate) fn config(newest_minor: u32) -> Arc<ServerConfig> {
    Arc::new(ServerConfig { newest_minor, server: Text::clipped("vmwired 0.1.0"), epoch: EPOCH })
}

pub(crate) fn peer() -> Peer {
    Peer::new(Text::clipped("uid 0"), role::ADMIN)
}

pub(crate) fn hello(major: u32, minor: u32, capabilities: &[u32]) -> ClientData {
    let capabilities = List::new(capabilities).unwrap();
    ClientData::Hello(HelloCall { major, minor, capabilities, name: Text::clipped("test") })
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::speaking(NEWEST_MINOR)
    }

    pub(crate) fn speaking(newest_minor: u32) -> Self {
        Self::with(newest_minor, peer())
    }

    pub(crate) fn with(newest_minor: u32, peer: Peer) -> Self {
        let session = ServerSession::new(config(newest_minor), peer);
        Self { session, now: Instant::now(), calls: Vec::new(), next: 1 }
    }

    /// One that has agreed on the newest minor with somebody of that role.
    pub(crate) fn agreed_with(peer: Peer) -> Self {
        let mut server = Self::with(NEWEST_MINOR, peer);
        server.show(&packet(1, &hello(1, NEWEST_MINOR, &[1])));
        server.heard();
        server
    }

    /// One that has agreed on the newest minor, with PROGRESS.
    pub(crate) fn agreed() -> Self {
        let mut server = Self::new();
        server.show(&packet(1, &hello(1, NEWEST_MINOR, &[1])));
        assert!(matches!(server.heard()[..], [Said { data: ServerData::Hello(_), .. }]));
        server
    }

    /// Shows it bytes in one piece, until it wants no more of them.
    pub(crate) fn show(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut input = bytes;
        let mut events = Vec::new();
        // Two steps a packet, and one for the end; a header is the least a packet can be.
        for _ in 0..bytes.len() + self.session.untaken_bytes() + 2 {
            let event = match self.session.step(self.now, &mut input) {
                Step::Idle => {
                    assert!(input.is_empty());
                    return events;
                }
                Step::Handled | Step::Refused { .. } => continue,
                Step::Call(call) => {
                    let event = Event::Call(call.ticket.serial(), call.data.clone());
                    assert_eq!(call.procedure.number, call.data.number());
                    assert_eq!(call.ticket.number(), call.data.number());
                    self.calls.push(call);
                    event
                }
                Step::Cancelled(serial) => Event::Cancelled(serial),
                Step::Unsubscribed => Event::Unsubscribed,
                Step::StreamData { stream, data, .. } => Event::StreamData(stream, data.to_vec()),
                Step::StreamRoom(stream) => Event::StreamRoom(stream),
                Step::StreamEnded(stream) => Event::StreamEnded(stream),
                Step::StreamOver { stream, why } => Event::StreamOver(stream, why.map(|why| why.code)),
                step @ (Step::Blocked | Step::Closed) => {
                    assert!(input.is_empty());
                    events.push(if matches!(step, Step::Closed) { Event::Closed } else { Event::Blocked });
                    return events;
                }
            };
            events.push(event);
        }
        panic!("more steps than packets");
    }

    /// All that it has written since the last time, its serials checked.
    pub(crate) fn heard(&mut self) -> Vec<Said> {
        let unsent = self.session.outbox().unsent().to_vec();
        self.session.outbox().advance(unsent.len());
        self.session.flushed();
        let mut all = said(&unsent);
        for (at, said) in all.iter().enumerate() {
            assert_eq!(said.serial, self.next, "{said:?}");
            self.next += 1;
            if matches!(said.data, ServerData::Failure(_)) {
                let last = self.session.is_closed() && at + 1 == all.len();
                assert_eq!(said.reply_to == 0, last, "reply_to is 0 if and only if it is the last packet: {said:?}");
            }
        }
        if !self.session.outbox().is_empty() {
            all.extend(self.heard());
        }
        all
    }

    /// Shows bytes and answers what came of them and what was written.
    pub(crate) fn exchange(&mut self, bytes: &[u8]) -> (Vec<Event>, Vec<Said>) {
        let events = self.show(bytes);
        (events, self.heard())
    }

    /// Lets time go by.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.session.poll_timeout().is_some_and(|deadline| deadline <= self.now) {
            self.session.handle_timeout(self.now);
        }
    }

    /// Answers an open call.
    pub(crate) fn answer(&mut self, serial: u32, data: &ServerData) {
        let at = self.calls.iter().position(|call| call.ticket.serial() == serial).expect("an open call");
        let call = self.calls.swap_remove(at);
        self.session.answer(call.ticket, data);
    }

    /// Answers an open call with CANCELLED.
    pub(crate) fn cancel(&mut self, serial: u32) {
        let at = self.calls.iter().position(|call| call.ticket.serial() == serial).expect("an open call");
        let call = self.calls.swap_remove(at);
        self.session.fail(call.ticket, Failure::new(code::CANCELLED, "as you wish").detail("begun", "no"));
    }

    /// Opens a console's stream by a call with this serial.
    pub(crate) fn open_stream(&mut self, serial: u32) -> u32 {
        let call = ConsoleOpenCall { vm: Text::clipped("web1"), mode: console_mode::WRITE, history_bytes: 0 };
        self.show(&packet(serial, &ClientData::ConsoleOpen(call)));
        let stream = self.session.stream_open().unwrap();
        let answer = ConsoleOpenAnswer { stream, offset: 0, writer: Text::clipped("uid 0") };
        self.answer(serial, &ServerData::ConsoleOpen(answer));
        self.heard();
        stream
    }

    /// Opens a stream as if a call had been answered with it.
    pub(crate) fn open_stream_unasked(&mut self) -> u32 {
        self.session.stream_open().unwrap()
    }
}
