//! The client's end against any server.

use std::collections::BTreeSet;

use super::script::{Script, framed};
use crate::message::{ClientData, Failure, ServerData, code, number};
use crate::session::{ClientSession, ClientStep, Closing};

/// However the bytes of a server are cut, the session does the same; each call is answered at most once; an honest server
/// is never found broken; a session that is over stays over.
///
/// # Panics
/// When a rule is broken.
pub fn client_session(data: &[u8]) {
    let whole = Run::new(data, usize::MAX).finish();
    let piece = usize::from(data.first().copied().unwrap_or(0)) % 32 + 1;
    assert_eq!(Run::new(data, piece).finish(), whole, "cut into pieces of {piece}");
}

/// What a run came to: what was handed out, how it ended, and what was sent.
type Outcome = (Vec<(&'static str, u32, usize)>, Option<Closing>, Vec<u8>);

struct Run<'a> {
    script: Script<'a>,
    session: ClientSession,
    piece: usize,
    /// The serial of the server's next packet.
    serial: u32,
    /// The number of the next stream that the server opens.
    stream: u32,
    pending: Vec<u8>,
    shown: usize,
    /// Calls that the server has not answered: serial and number.
    open: Vec<(u32, u32)>,
    /// Calls whose answers were handed out.
    answered: BTreeSet<u32>,
    handed_out: Vec<(&'static str, u32, usize)>,
    closing: Option<Closing>,
    /// Nothing but what a server may send was sent.
    honest: bool,
    sent: Vec<u8>,
}

impl<'a> Run<'a> {
    fn new(data: &'a [u8], piece: usize) -> Self {
        let mut script = Script::new(data);
        script.byte();
        Self {
            script,
            session: ClientSession::new(),
            piece,
            serial: 1,
            stream: 1,
            pending: Vec::new(),
            shown: 0,
            open: Vec::new(),
            answered: BTreeSet::new(),
            handed_out: Vec::new(),
            closing: None,
            honest: true,
            sent: Vec::new(),
        }
    }

    fn finish(mut self) -> Outcome {
        while let Some(byte) = self.script.next() {
            self.act(byte);
        }
        self.deliver();
        if self.honest {
            assert!(!matches!(self.closing, Some(Closing::Broken(_))), "{:?}", self.closing);
        }
        (self.handed_out, self.closing, self.sent)
    }

    fn act(&mut self, byte: u8) {
        match byte % 16 {
            0..=3 => self.call(),
            4..=6 => self.answer(),
            7 => {
                let unasked = [
                    number::EVENT,
                    number::GAP,
                    number::STREAM_DATA,
                    number::STREAM_CREDIT,
                    number::STREAM_END,
                    0x1fff,
                ];
                let number = unasked.get(self.script.index(unasked.len())).copied().unwrap_or(number::EVENT);
                let body = self.body(number);
                self.packet(0, number, &body);
            }
            8 => {
                if let Some((serial, _)) = self.open.first().copied() {
                    let body = self.body(number::PROGRESS);
                    self.packet(serial, number::PROGRESS, &body);
                }
            }
            9 => {
                self.honest = false;
                let numbers = ServerData::NUMBERS;
                let number = numbers.get(self.script.index(numbers.len())).copied().unwrap_or(0x999);
                let mut body = self.body(number);
                self.script.damage(&mut body);
                let reply_to = u32::from(self.script.byte() % 8);
                self.packet(reply_to, number, &body);
            }
            10 if self.script.byte() < 32 => {
                self.honest = false;
                let count = self.script.index(16);
                self.pending.extend_from_slice(self.script.take(count));
            }
            11 if self.script.byte() < 32 => {
                let mut body = Vec::new();
                assert!(ServerData::Failure(Failure::new(code::GOING_AWAY, "")).encode(&mut body).is_ok());
                self.packet(0, number::FAILURE, &body[4..]);
            }
            12 => self.own_stream(),
            _ => self.deliver(),
        }
    }

    fn body(&mut self, number: u32) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        if let Some(packet) = ServerData::sample(number, &mut self.script.sampler()) {
            bytes.clear();
            assert!(packet.encode(&mut bytes).is_ok());
        }
        bytes.split_off(4)
    }

    fn packet(&mut self, reply_to: u32, number: u32, body: &[u8]) {
        self.pending.extend(framed(self.serial, reply_to, number, body));
        self.serial += 1;
    }

    /// The client calls something.
    fn call(&mut self) {
        let calls = ClientData::NUMBERS.iter().filter(|number| **number < number::UNANSWERED);
        let Some(number) = calls.copied().nth(self.script.index(28)) else { return };
        let Some(data) = ClientData::sample(number, &mut self.script.sampler()) else { return };
        if let Ok(serial) = self.session.call(&data, 0) {
            self.open.push((serial, number));
        }
    }

    /// The server answers one of the calls.
    fn answer(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let (serial, number) = self.open.swap_remove(self.script.index(self.open.len()));
        let failed = self.script.byte().is_multiple_of(4);
        let mut body = self.body(if failed { number::FAILURE } else { number });
        if super::opens_stream(number) && !failed {
            // The number of the stream is the first word of the body.
            body.splice(..4, self.stream.to_be_bytes());
            self.stream += 1;
            self.honest &= self.stream < 60;
        }
        self.packet(serial, if failed { number::FAILURE } else { number }, &body);
    }

    /// The client does something to a stream.
    fn own_stream(&mut self) {
        let stream = u32::from(self.script.byte() % 3) + 1;
        let bytes = usize::from(self.script.byte()) * 64;
        match self.script.byte() % 4 {
            0 => {
                let room = self.session.stream_room(stream);
                let sent = self.session.stream_send(stream, 0, 0, &vec![7; bytes.min(room)]);
                assert!(room == 0 || sent.is_ok());
            }
            1 => self.session.stream_taken(stream, bytes),
            2 => self.session.stream_end(stream, None),
            _ => self.session.stream_end(stream, Some(Failure::new(code::CANCELLED, ""))),
        }
    }

    /// Shows the session what the server has sent, and takes what it has to say.
    fn deliver(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.shown += pending.len();
        for piece in pending.chunks(self.piece.min(pending.len().max(1))) {
            self.take(piece);
        }
        let unsent = self.session.outbox().unsent().to_vec();
        self.session.outbox().advance(unsent.len());
        self.sent.extend(unsent);
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut input = bytes;
        loop {
            let handed_out = match self.session.step(&mut input) {
                ClientStep::Handled => continue,
                ClientStep::Idle => break,
                ClientStep::Closed(closing) => {
                    assert!(self.closing.as_ref().is_none_or(|before| *before == closing), "it ended twice");
                    self.closing = Some(closing);
                    input = &[];
                    break;
                }
                ClientStep::Answer { serial, .. } => {
                    assert!(self.answered.insert(serial), "{serial} was answered twice");
                    ("answer", serial, 0)
                }
                ClientStep::Progress { serial, .. } => {
                    assert!(!self.answered.contains(&serial), "progress behind the answer");
                    ("progress", serial, 0)
                }
                ClientStep::Event(event) => ("event", event.kind, event.detail.len()),
                ClientStep::Gap(_) => ("gap", 0, 0),
                ClientStep::StreamData { stream, data, .. } => ("data", stream, data.len()),
                ClientStep::StreamRoom(stream) => ("room", stream, 0),
                ClientStep::StreamEnded(stream) => ("ended", stream, 0),
                ClientStep::StreamOver { stream, .. } => ("over", stream, 0),
            };
            assert!(self.closing.is_none(), "something came of a session that is over");
            self.handed_out.push(handed_out);
        }
        assert!(input.is_empty());
    }
}
