//! The daemon's end against any client, with a core behind it that does anything it may.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::script::{Script, framed};
use crate::message::{
    CaptureOpenAnswer, ClientData, ConsoleOpenAnswer, Failure, HelloCall, ServerData, VmDefinitionAnswer, code, number,
    role,
};
use crate::session::{Peer, ServerConfig, ServerSession, Step, Ticket};
use crate::version::NEWEST_MINOR;
use crate::xdr::{Fixed, List, Text};

/// However the bytes of a client are cut, the session does the same; each packet is answered as it may be and at most
/// once, each call in the end exactly once; what is said is continuous, sound, and ends with the last packet.
///
/// # Panics
/// When a rule is broken.
pub fn server_session(data: &[u8], now: Instant) {
    let whole = Run::new(data, now, usize::MAX).finish();
    let piece = usize::from(data.first().copied().unwrap_or(0)) % 32 + 1;
    assert_eq!(Run::new(data, now, piece).finish(), whole, "cut into pieces of {piece}");
}

/// What a run came to: what was handed out, and what was said.
type Outcome = (Vec<(&'static str, u32, usize)>, Vec<u8>);

struct Run<'a> {
    script: Script<'a>,
    session: ServerSession,
    now: Instant,
    piece: usize,
    /// The serial of the client's next packet.
    serial: u32,
    /// Bytes of the client that were not shown yet.
    pending: Vec<u8>,
    tickets: Vec<Ticket>,
    handed_out: Vec<(&'static str, u32, usize)>,
    witness: Witness,
}

impl<'a> Run<'a> {
    fn new(data: &'a [u8], now: Instant, piece: usize) -> Self {
        let mut script = Script::new(data);
        let newest_minor = u32::from(script.byte()) % (NEWEST_MINOR + 1);
        let config = ServerConfig { newest_minor, server: Text::default(), epoch: Fixed::default() };
        let peer = peer(script.byte());
        Self {
            script,
            session: ServerSession::new(Arc::new(config), peer),
            now,
            piece,
            serial: 1,
            pending: Vec::new(),
            tickets: Vec::new(),
            handed_out: Vec::new(),
            witness: Witness::default(),
        }
    }

    fn finish(mut self) -> Outcome {
        while let Some(byte) = self.script.next() {
            self.act(byte);
        }
        loop {
            self.deliver();
            self.flush(usize::MAX);
            let Some(ticket) = self.tickets.pop() else { break };
            self.session.fail(ticket, Failure::new(code::CANCELLED, ""));
        }
        self.flush(usize::MAX);
        assert!(!self.session.has_open_calls());
        self.witness.leave(self.session.is_closed());
        (self.handed_out, self.witness.said)
    }

    fn act(&mut self, byte: u8) {
        match byte % 16 {
            0..=4 => {
                let number = self.number();
                let body = self.body(number);
                self.packet(number, &body);
            }
            5 => {
                let (minor, major) = (u32::from(self.script.byte() % 3), 1 + u32::from(self.script.byte() / 192));
                let capabilities = List::clipped([u32::from(self.script.byte() % 3)]);
                let call = HelloCall { major, minor, capabilities, name: Text::default() };
                let mut body = Vec::new();
                assert!(ClientData::Hello(call).encode(&mut body).is_ok());
                self.packet(number::HELLO, &body[4..]);
            }
            6 => {
                let number = self.number();
                let words = self.script.index(8);
                let mut body = self.script.take(words * 4).to_vec();
                body.resize(words * 4, 0);
                self.packet(number, &body);
            }
            7 => {
                let number = self.number();
                let mut body = self.body(number);
                self.script.damage(&mut body);
                self.packet(number, &body);
            }
            8 => {
                let count = self.script.index(16);
                self.pending.extend_from_slice(self.script.take(count));
            }
            9 | 10 => self.deliver(),
            11 | 12 => self.answer(),
            13 => self.stream(),
            14 => {
                let count = usize::from(self.script.byte()) * 64;
                self.flush(count);
            }
            _ => {
                self.now += Duration::from_secs(self.script.byte().into());
                if self.session.poll_timeout().is_some_and(|due| due <= self.now) {
                    self.session.handle_timeout(self.now);
                }
            }
        }
    }

    fn number(&mut self) -> u32 {
        let numbers = ClientData::NUMBERS;
        numbers.get(self.script.index(numbers.len() + 2)).copied().unwrap_or(0x999)
    }

    fn body(&mut self, number: u32) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        if let Some(packet) = ClientData::sample(number, &mut self.script.sampler()) {
            bytes.clear();
            assert!(packet.encode(&mut bytes).is_ok());
        }
        bytes.split_off(4)
    }

    fn packet(&mut self, number: u32, body: &[u8]) {
        let serial = if self.script.byte() == 0xff { self.script.word() } else { self.serial };
        self.pending.extend(framed(serial, 0, number, body));
        self.serial = self.serial.wrapping_add(1);
    }

    /// Shows the session what the client has sent.
    fn deliver(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.witness.shown(&pending);
        if pending.is_empty() {
            self.take(&[]);
        }
        for piece in pending.chunks(self.piece.min(pending.len().max(1))) {
            self.take(piece);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut input = bytes;
        loop {
            let handed_out = match self.session.step(self.now, &mut input) {
                Step::Handled | Step::Refused { .. } => continue,
                Step::Idle | Step::Blocked | Step::Closed => break,
                Step::Call(call) => {
                    let (right, peer) = (call.procedure.right, self.session.peer());
                    assert!(right.role <= peer.role_over(right.over), "{} needs {right:?}", call.procedure.name);
                    let handed_out = ("call", call.ticket.serial(), 0);
                    self.tickets.push(call.ticket);
                    handed_out
                }
                Step::Cancelled(serial) => ("cancelled", serial, 0),
                Step::Unsubscribed => ("unsubscribed", 0, 0),
                Step::StreamData { stream, data, .. } => ("data", stream, data.len()),
                Step::StreamRoom(stream) => ("room", stream, 0),
                Step::StreamEnded(stream) => ("ended", stream, 0),
                Step::StreamOver { stream, .. } => ("over", stream, 0),
            };
            if let ("cancelled", serial, _) = handed_out {
                assert!(self.tickets.iter().any(|ticket| ticket.serial() == serial), "{serial} is not open");
            }
            self.handed_out.push(handed_out);
        }
        assert!(input.is_empty());
        assert!(self.session.untaken_bytes() <= self.witness.shown_bytes);
    }

    /// The core answers one of the calls, tells how far it has come, or fails it.
    fn answer(&mut self) {
        if self.tickets.is_empty() {
            return;
        }
        let ticket = self.tickets.swap_remove(self.script.index(self.tickets.len()));
        match self.script.byte() % 4 {
            0 => self.session.fail(ticket, Failure::new(code::DRIVER, "it failed")),
            1 => {
                for _ in 0..2 {
                    let progress = self.script.sampler().value();
                    self.session.progress(ticket.serial(), progress);
                }
                self.tickets.push(ticket);
            }
            _ if ticket.number() == 0x102 => {
                let definition = Text::clipped(&"#".repeat(49_152));
                self.session.answer(ticket, &ServerData::VmDefinition(VmDefinitionAnswer { definition }));
            }
            _ if super::opens_stream(ticket.number()) => match self.session.stream_open() {
                Ok(stream) if ticket.number() == number::CONSOLE_OPEN => {
                    let answer = ConsoleOpenAnswer { stream, ..self.script.sampler().value() };
                    self.session.answer(ticket, &ServerData::ConsoleOpen(answer));
                }
                Ok(stream) => self.session.answer(ticket, &ServerData::CaptureOpen(CaptureOpenAnswer { stream })),
                Err(_) => self.session.fail(ticket, Failure::new(code::OVERLOADED, "")),
            },
            _ => match ServerData::sample(ticket.number(), &mut self.script.sampler()) {
                Some(answer) => self.session.answer(ticket, &answer),
                None => self.session.fail(ticket, Failure::default()),
            },
        }
    }

    /// The core does something to a stream, or tells of an event.
    fn stream(&mut self) {
        let stream = u32::from(self.script.byte() % 3) + 1;
        let bytes = usize::from(self.script.byte()) * 64;
        match self.script.byte() % 7 {
            0 => {
                let room = self.session.stream_room(stream);
                let sent = self.session.stream_send(stream, 0, 0, &vec![7; bytes.min(room)]);
                assert!(room == 0 || sent.is_ok());
            }
            1 => self.session.stream_taken(stream, bytes),
            2 => self.session.stream_end(stream, None),
            3 => self.session.stream_end(stream, Some(Failure::new(code::BUSY, ""))),
            4 => {
                let peer = peer(self.script.byte());
                self.session.judge(peer);
            }
            5 if self.script.byte() == 0 => self.session.close(Failure::new(code::GOING_AWAY, "")),
            _ => {
                let mut event = Vec::new();
                let sampled = ServerData::sample(number::EVENT, &mut self.script.sampler());
                assert!(sampled.is_some_and(|sampled| sampled.encode(&mut event).is_ok()));
                if self.session.event_room() {
                    self.session.event(&event);
                }
            }
        }
    }

    /// So many bytes reach the client.
    fn flush(&mut self, count: usize) {
        loop {
            let unsent = self.session.outbox().unsent();
            let bytes = unsent.get(..count.min(unsent.len())).unwrap_or_default().to_vec();
            self.witness.heard(&bytes);
            self.session.outbox().advance(bytes.len());
            self.session.flushed();
            if count != usize::MAX {
                return;
            }
            self.take(&[]);
            if self.session.outbox().is_empty() {
                return;
            }
        }
    }
}

/// Somebody with one of the roles anywhere, or none, and no greater one over the host.
fn peer(byte: u8) -> Peer {
    // An admin for the most part: who is refused everything reaches little.
    let role = |nibble: u8| role::ADMIN - u32::from(nibble.saturating_sub(12));
    let (role, host_role) = (role(byte & 15), role(byte >> 4));
    Peer { identity: Text::default(), role, host_role: host_role.min(role) }
}

/// Reads both directions by itself and holds the one against the other.
#[derive(Default)]
struct Witness {
    shown: Vec<u8>,
    shown_bytes: usize,
    /// What the client sent makes no sense from here on.
    astray: bool,
    asked_next: u32,
    /// Packets of the client that may be answered, by serial.
    asked: BTreeMap<u32, u32>,
    said: Vec<u8>,
    read: usize,
    said_next: u32,
    last: bool,
}

impl Witness {
    fn shown(&mut self, bytes: &[u8]) {
        self.shown.extend_from_slice(bytes);
        self.shown_bytes += bytes.len();
        while let Some((payload, whole)) = packet(&self.shown).filter(|_| !self.astray) {
            let (serial, number) = (word(payload, 0), word(payload, 8));
            if payload.len() % 4 != 0 || payload.len() < 12 || serial != self.asked_next + 1 {
                self.astray = true;
                return;
            }
            self.asked_next += 1;
            self.asked.insert(serial, number);
            self.shown.drain(..whole);
        }
    }

    fn heard(&mut self, bytes: &[u8]) {
        self.said.extend_from_slice(bytes);
        while let Some((payload, whole)) = packet(self.said.get(self.read..).unwrap_or_default()) {
            assert!(!self.last, "something follows the last packet");
            let (serial, reply_to, number) = (word(payload, 0), word(payload, 4), word(payload, 8));
            assert!(payload.len() <= crate::limits::SERVER_BYTES_MAX);
            assert_eq!(serial, self.said_next + 1);
            self.said_next += 1;
            let body = payload.get(12..).unwrap_or_default();
            assert!(matches!(ServerData::decode_body(number, body), Some(Ok(_))), "{number:#x} is not sound");
            match number {
                number::FAILURE if reply_to == 0 => self.last = true,
                number::PROGRESS => assert!(self.asked.contains_key(&reply_to), "progress of what is not open"),
                _ if number >= number::UNANSWERED => assert_eq!(reply_to, 0),
                _ => {
                    let asked = self.asked.remove(&reply_to);
                    assert!(asked.is_some(), "{number:#x} answers {reply_to}, which is not open");
                    assert!(number == number::FAILURE || asked == Some(number), "{number:#x} answers {asked:x?}");
                }
            }
            self.read += whole;
        }
    }

    /// Nothing is open at the end but what may stay so.
    fn leave(&self, closed: bool) {
        assert_eq!(self.last, closed);
        assert_eq!(self.read, self.said.len(), "half a packet was said");
        let silent = [number::STREAM_DATA, number::STREAM_CREDIT, number::STREAM_END];
        let open = self.asked.iter().find(|(_, number)| !silent.contains(number));
        assert!(closed || self.astray || open.is_none(), "{open:x?} was never answered");
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_be_bytes(*word))
}

/// The payload of the first packet and the length of the whole, if it is there.
fn packet(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let length = usize::try_from(word(bytes.get(..8)?, 4)).ok()?;
    bytes.strip_prefix(&crate::header::MAGIC)?;
    Some((bytes.get(8..8 + length)?, 8 + length))
}
