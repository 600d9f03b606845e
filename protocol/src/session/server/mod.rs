//! The daemon's end of a connection.
//!
//! ```text
//!            HELLO of our major                 a fault of the stream, close()
//!  ┌───────┐ ──────────────────▶ ┌────────┐ ─────────────────────────────────▶ ┌────────┐
//!  │ fresh │                     │ agreed │                                    │ closed │
//!  └───────┘ ◀─┐                 └────────┘                                    └────────┘
//!      │ HELLO of another major      ▲                                              ▲
//!      ▼                             │ HELLO of our major                           │
//!  ┌─────────┐ ──────────────────────┘                                              │
//!  │ refused │ ────────────────────────────────────────────────────────────────────▶┘
//!  └─────────┘
//! ```
//! The client causes every arrow but `close()`. A fresh connection is served as 1.0 without capabilities.
//!
//! First verdict wins: magic, length, serial, refused major, number known, minor, role, calls in flight, body. What comes
//! after (the object, the rule, the procedure's own) is the caller's.

mod core;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::core::{Core, Phase};
use super::outbox::Outbox;
use super::refusal::header_failure;
use super::stream::{self, DataHead, StreamError, Streams};
use super::tap::Passed;
use crate::fault::{self, Fault};
use crate::frame::Deframer;
use crate::limits::{EVENT_UNSENT_BYTES_MAX, FIRST_PACKET_TIME, HALF_PACKET_TIME, SERVER_BYTES_MAX, UNSENT_BYTES_HIGH};
use crate::message::{ClientData, Failure, Over, Procedure, Progress, ServerData, code};
use crate::serial::Serials;
use crate::xdr::{Fixed, Text};

/// What all sessions of a daemon have in common.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The newest minor spoken; `version::NEWEST_MINOR` but in tests.
    pub newest_minor: u32,
    /// What the daemon calls itself.
    pub server: Text<128>,
    /// The epoch of its events.
    pub epoch: Fixed<16>,
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// In words, as in `uid 0`.
    pub identity: Text<256>,
    /// The most it may do anywhere, of `role`: what HELLO's answer tells, and what calls about virtual machines are judged by.
    pub role: u32,
    /// What it may do to the daemon and its host: what all other calls are judged by.
    pub host_role: u32,
}

impl Peer {
    /// One whose role is the same everywhere.
    pub fn new(identity: Text<256>, role: u32) -> Self {
        Self { identity, role, host_role: role }
    }

    /// The role that calls about `over` are judged by.
    pub fn role_over(&self, over: Over) -> u32 {
        match over {
            Over::Host => self.host_role,
            Over::Vms => self.role,
        }
    }
}

/// A call that has to be answered exactly once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "each call is answered exactly once"]
pub struct Ticket {
    serial: u32,
    number: u32,
}

impl Ticket {
    /// The serial of the call.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// The number of its procedure.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Gives the ticket up for the serial of its call.
    fn redeem(self) -> u32 {
        self.serial
    }
}

/// A call to be carried out.
#[derive(Debug)]
pub struct Call {
    /// To answer by.
    pub ticket: Ticket,
    /// What is fixed about the procedure.
    pub procedure: &'static Procedure,
    /// When it has to be answered at the latest.
    pub deadline: Instant,
    /// What was asked.
    pub data: ClientData,
}

/// What came of the bytes received so far.
#[derive(Debug)]
pub enum Step<'a> {
    /// Everything that came whole has been taken. Show more bytes.
    Idle,
    /// Too much is unsent: nothing is taken, and what was shown is kept. Ask again when it was written.
    Blocked,
    /// The session has dealt with a packet itself. Ask again.
    Handled,
    /// The session has refused a packet itself, and said so. Ask again.
    Refused {
        /// The number of the packet.
        number: u32,
        /// What was said.
        failure: Failure,
    },
    /// A call to be carried out and answered.
    Call(Call),
    /// An open call, by its serial, is to be given up and answered CANCELLED.
    Cancelled(u32),
    /// The subscription has ended; that was answered.
    Unsubscribed,
    /// Data of a stream. Say [`ServerSession::stream_taken`] when they were taken over.
    StreamData {
        /// The stream.
        stream: u32,
        /// Bits of `stream_flag`.
        flags: u32,
        /// The position of the first byte in the source.
        offset: u64,
        /// The bytes.
        data: &'a [u8],
    },
    /// A stream can take more data.
    StreamRoom(u32),
    /// The client sends no more on a stream.
    StreamEnded(u32),
    /// A stream is over.
    StreamOver {
        /// The stream.
        stream: u32,
        /// Why, if the client said.
        why: Option<Failure>,
    },
    /// The session is over; its last packet is in the outbox.
    Closed,
}

/// What lies between a session and its peer, where the session cannot see it: with TLS, what is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Below {
    /// Bytes that were taken out of the outbox and are not written.
    pub unsent: usize,
    /// Bytes that were received and of which nothing can be shown to the session until more come.
    pub half: usize,
}

/// The daemon's end of a connection.
#[derive(Debug)]
pub struct ServerSession {
    deframer: Deframer,
    half: Half,
    below: Below,
    core: Core,
}

/// The clock of a packet that is not there whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    /// No packet has come whole yet, and one has to until then.
    First(Instant),
    /// No half packet is held.
    None,
    /// It has until then.
    Runs(Instant),
    /// It has so long, counted from when reading goes on.
    Stands(Duration),
}

impl ServerSession {
    /// A fresh connection.
    pub fn new(config: Arc<ServerConfig>, peer: Peer) -> Self {
        let core = Core {
            config,
            peer,
            phase: Phase::Fresh,
            minor: 0,
            progress_granted: false,
            name: Text::default(),
            serials: Serials::new(),
            outbox: Outbox::new(SERVER_BYTES_MAX),
            open: Vec::new(),
            progress: Vec::new(),
            streams: Streams::default(),
            calls: 0,
            closed_with: None,
        };
        Self { deframer: Deframer::new(), half: Half::None, below: Below::default(), core }
    }

    /// The first packet has to come whole until then. To be said before anything has come.
    pub fn expect_packet_by(&mut self, until: Instant) {
        if self.core.phase != Phase::Closed {
            self.half = Half::First(until);
        }
    }

    /// Takes the next packet off `input` or off what is held. Ask until it is `Idle`, `Blocked` or `Closed`; `input` is
    /// empty then.
    pub fn step<'s, 'i: 's>(&'s mut self, now: Instant, input: &mut &'i [u8]) -> Step<'s> {
        if self.core.phase == Phase::Closed {
            self.deframer.clear();
            *input = &[];
            return Step::Closed;
        }
        if self.is_blocked() {
            self.put_off(now, input);
            return Step::Blocked;
        }
        match self.deframer.next(input, self.core.client_bytes_max()) {
            Ok(Some(packet)) => {
                self.half = Half::None;
                let payload = self.deframer.payload(packet);
                self.core.outbox.received(payload);
                let step = self.core.packet(now, payload);
                if self.core.phase == Phase::Closed {
                    *input = &[];
                }
                step
            }
            Ok(None) => {
                self.half = match (self.deframer.held() + self.below.half, self.half) {
                    (_, first @ Half::First(_)) => first,
                    (0, _) => Half::None,
                    (_, Half::None) => Half::Runs(now + HALF_PACKET_TIME),
                    (_, Half::Stands(left)) => Half::Runs(now + left),
                    (_, running @ Half::Runs(_)) => running,
                };
                Step::Idle
            }
            Err(error) => {
                *input = &[];
                self.close(header_failure(error));
                Step::Closed
            }
        }
    }

    /// Keeps `input` for a later [`ServerSession::step`], so that others come first.
    pub fn put_off(&mut self, now: Instant, input: &mut &[u8]) {
        self.deframer.keep(input);
        if let Half::Runs(deadline) = self.half {
            self.half = Half::Stands(deadline.saturating_duration_since(now));
        }
    }

    /// Tells what lies below. It counts as if it were held here, and half of something has to become whole there too.
    pub fn keeps_below(&mut self, now: Instant, below: Below) {
        self.below = below;
        match self.half {
            Half::None if below.half > 0 && self.core.phase != Phase::Closed => {
                self.half = Half::Runs(now + HALF_PACKET_TIME);
            }
            Half::Runs(_) | Half::Stands(_) if below.half + self.deframer.held() == 0 => self.half = Half::None,
            _ => {}
        }
    }

    /// Who is at the other end is somebody else to us from now on, or may do something else. Calls that were taken
    /// before stay the caller's to judge.
    pub fn judge(&mut self, peer: Peer) {
        self.core.peer = peer;
    }

    /// Answers a call.
    pub fn answer(&mut self, ticket: Ticket, data: &ServerData) {
        debug_assert_eq!(data.number(), ticket.number, "an answer bears the number of its call");
        self.core.conclude(ticket.redeem(), data);
    }

    /// Answers a call with FAILURE.
    pub fn fail(&mut self, ticket: Ticket, failure: Failure) {
        self.core.conclude(ticket.redeem(), &ServerData::Failure(failure));
    }

    /// Tells how far an open call has come, if the client wants to know. Only the latest is kept while there is no room.
    pub fn progress(&mut self, serial: u32, progress: Progress) {
        let core = &mut self.core;
        if !core.open.iter().any(|call| call.serial == serial && call.progress) {
            return;
        }
        match core.progress.iter_mut().find(|(of, _)| *of == serial) {
            Some((_, latest)) => *latest = progress,
            None => core.progress.push((serial, progress)),
        }
        core.send_progress();
    }

    /// Sends an event or a gap, given as type and body. The caller keeps to [`ServerSession::event_room`].
    pub fn event(&mut self, type_and_body: &[u8]) {
        if self.core.phase != Phase::Closed {
            self.core.send(0, |out| {
                out.extend_from_slice(type_and_body);
                Ok(())
            });
        }
    }

    /// Whether there is room for an event now.
    pub fn event_room(&self) -> bool {
        self.core.phase != Phase::Closed && self.core.outbox.unsent().len() < EVENT_UNSENT_BYTES_MAX
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// When too many are open.
    pub fn stream_open(&mut self) -> Result<u32, StreamError> {
        self.core.streams.open()
    }

    /// How many bytes of data can be sent on a stream in one packet now: within its credit, and while the connection has
    /// little unsent.
    pub fn stream_room(&self, stream: u32) -> usize {
        if self.event_room() { self.core.streams.room(stream) } else { 0 }
    }

    /// Sends data on a stream.
    ///
    /// # Errors
    /// When there is no such room.
    pub fn stream_send(&mut self, stream: u32, flags: u32, offset: u64, data: &[u8]) -> Result<(), StreamError> {
        if self.core.phase == Phase::Closed {
            return Err(StreamError::Over);
        }
        self.core.streams.spend(stream, data.len())?;
        self.core.send(0, |out| stream::encode_data(out, DataHead { stream, flags, offset }, data));
        Ok(())
    }

    /// Received data were taken over: grants new credit when it is time.
    pub fn stream_taken(&mut self, stream: u32, bytes: usize) {
        if let Some(credit) = self.core.streams.taken(stream, bytes) {
            self.core.send_data(0, &ServerData::StreamCredit(credit));
        }
    }

    /// Ends our direction of a stream, or the whole of it by saying why.
    pub fn stream_end(&mut self, stream: u32, why: Option<Failure>) {
        self.core.end_stream(stream, why);
    }

    /// Whether a stream is open.
    pub fn stream_is_open(&self, stream: u32) -> bool {
        self.core.streams.is_open(stream)
    }

    /// Sends the connection's last packet. Nothing is taken or answered any more.
    pub fn close(&mut self, failure: Failure) {
        self.core.close(failure);
        self.deframer.clear();
        self.half = Half::None;
    }

    /// Whether the last packet is in the outbox.
    pub fn is_closed(&self) -> bool {
        self.core.phase == Phase::Closed
    }

    /// The code of the last packet, if it is in the outbox.
    pub fn closed_with(&self) -> Option<u32> {
        self.core.closed_with
    }

    /// When [`ServerSession::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.half {
            Half::Runs(deadline) | Half::First(deadline) => Some(deadline),
            Half::None | Half::Stands(_) => None,
        }
    }

    /// Closes if a packet took too long to become whole.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|deadline| deadline > now) {
            return;
        }
        if self.is_blocked() {
            // Answers have filled the outbox while nobody asked for a step: since when, nobody can tell.
            self.half = Half::Stands(HALF_PACKET_TIME);
            return;
        }
        let (message, limit) = match self.half {
            Half::First(_) => ("no packet came in time", FIRST_PACKET_TIME),
            _ => ("half a packet did not become whole in time", HALF_PACKET_TIME),
        };
        let limit = limit.as_millis().to_string();
        self.close(Failure::new(code::DEADLINE_EXCEEDED, message).detail("limit", &limit));
    }

    /// Whether so much is unsent that no packet is taken.
    fn is_blocked(&self) -> bool {
        self.unsent_bytes() > UNSENT_BYTES_HIGH && !fault::is_planted(Fault::UnboundedOutbox)
    }

    /// Bytes that wait to be written. Progress that found no room is sent when they are few again.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.core.outbox
    }

    /// Bytes have been written: sends what waited for room.
    pub fn flushed(&mut self) {
        self.core.send_progress();
    }

    /// From now on packets that pass are kept for [`ServerSession::take_passed`], or are not any more.
    pub fn set_tapped(&mut self, tapped: bool) {
        self.core.outbox.set_tapped(tapped);
    }

    /// The packets that have passed since this was asked before, in their order. To be asked once a turn, for they are kept
    /// until then.
    pub fn take_passed(&mut self) -> Vec<Passed> {
        self.core.outbox.take_passed()
    }

    /// Memory that is held on behalf of this connection: for unsent bytes, and those of packets not taken yet. What was made
    /// for more of them counts, for it is held as well.
    pub fn held_bytes(&self) -> usize {
        self.deframer.held_memory() + self.below.half + self.core.outbox.held() + self.below.unsent
    }

    /// Bytes that wait to be written, here and below.
    pub fn unsent_bytes(&self) -> usize {
        self.core.outbox.unsent().len() + self.below.unsent
    }

    /// Bytes received of packets that were not taken yet.
    pub fn untaken_bytes(&self) -> usize {
        self.deframer.held()
    }

    /// Whether a call waits for its answer.
    pub fn has_open_calls(&self) -> bool {
        !self.core.open.is_empty()
    }

    /// How many calls wait for their answers.
    pub fn calls_open(&self) -> u32 {
        u32::try_from(self.core.open.len()).unwrap_or(u32::MAX)
    }

    /// How many calls were taken.
    pub fn calls(&self) -> u64 {
        self.core.calls
    }

    /// How many streams are open.
    pub fn streams_open(&self) -> u32 {
        u32::try_from(self.core.streams.len()).unwrap_or(u32::MAX)
    }

    /// The minor in force.
    pub fn minor(&self) -> u32 {
        self.core.minor
    }

    /// What the client called itself in HELLO.
    pub fn client_name(&self) -> &str {
        &self.core.name
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.core.peer
    }
}

#[cfg(test)]
mod tests {
    use super::core::OpenCall;
    use super::*;
    use crate::message::number;
    use crate::message::role;

    /// A session whose client's next serial is `next`, and a packet without body.
    fn session(next: u32) -> ServerSession {
        let config = ServerConfig { newest_minor: 1, server: Text::default(), epoch: Fixed::default() };
        let peer = Peer::new(Text::default(), role::ADMIN);
        let mut session = ServerSession::new(Arc::new(config), peer);
        session.core.serials = Serials::starting_at(next);
        session
    }

    fn packet(serial: u32, number: u32) -> Vec<u8> {
        [0x8956_4d57, 12, serial, 0, number].map(u32::to_be_bytes).concat()
    }

    fn show(session: &mut ServerSession, bytes: &[u8]) -> Vec<Ticket> {
        let mut input = bytes;
        let mut tickets = Vec::new();
        loop {
            match session.step(Instant::now(), &mut input) {
                Step::Call(call) => tickets.push(call.ticket),
                Step::Idle | Step::Closed => return tickets,
                _ => {}
            }
        }
    }

    #[test]
    fn serials_skip_zero_at_the_wrap() {
        let mut right = session(u32::MAX);
        assert_eq!(show(&mut right, &packet(u32::MAX, 0x10)).len(), 1);
        assert_eq!(show(&mut right, &packet(1, 0x10)).len(), 1);
        let mut wrong = session(u32::MAX);
        show(&mut wrong, &[packet(u32::MAX, 0x10), packet(0, 0x10)].concat());
        assert!(wrong.is_closed());
    }

    #[test]
    fn the_serial_of_a_call_that_is_still_open_closes() {
        let mut session = session(u32::MAX - 1);
        session.core.open.push(OpenCall { serial: 1, progress: false });
        let tickets = show(&mut session, &[packet(u32::MAX - 1, 0x10), packet(u32::MAX, 0x10)].concat());
        assert_eq!((tickets.len(), session.is_closed()), (2, false));
        session.outbox().advance(usize::MAX);
        assert_eq!(show(&mut session, &packet(1, number::PING)), []);
        assert!(session.is_closed());
        let said = session.outbox().unsent();
        assert_eq!(said.get(12..24), Some(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5][..]), "the last packet, SERIAL");
    }
}
