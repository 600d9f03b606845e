//! The client's end of a connection.
//!
//! Calls are begun in any number and answered in any order. What comes between the answers (progress, events, gaps,
//! streams) is handed out as it comes. A server that breaks the protocol ends the session: nobody can tell any more which
//! answer belongs to which call.

use std::fmt;

use super::outbox::{Outbox, Unsendable};
use super::stream::{self, DataHead, Received, StreamError, Streams};
use crate::frame::Deframer;
use crate::header::{HeaderError, Stranger};
use crate::limits::{CLIENT_BYTES_MAX_BEFORE_HELLO, SERVER_BYTES_MAX};
use crate::message::{
    CaptureOpenAnswer, ClientData, ConsoleOpenAnswer, Event, Failure, Gap, Progress, ServerData, StreamEnd, number,
};
use crate::serial::{SerialError, Serials};
use crate::xdr::DecodeError;

/// What came of the bytes received so far.
#[derive(Debug)]
pub enum ClientStep<'a> {
    /// Everything that came whole has been taken. Show more bytes.
    Idle,
    /// The session has dealt with a packet itself. Ask again.
    Handled,
    /// A call was answered.
    Answer {
        /// The serial of the call.
        serial: u32,
        /// Its answer, or why there is none.
        result: Result<ServerData, Failure>,
    },
    /// An open call has come so far.
    Progress {
        /// The serial of the call.
        serial: u32,
        /// How far.
        progress: Progress,
    },
    /// Something happened.
    Event(Event),
    /// Events were lost.
    Gap(Gap),
    /// Data of a stream. Say [`ClientSession::stream_taken`] when they were taken over.
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
    /// The daemon sends no more on a stream.
    StreamEnded(u32),
    /// A stream is over.
    StreamOver {
        /// The stream.
        stream: u32,
        /// Why, if the daemon said.
        why: Option<Failure>,
    },
    /// The session is over.
    Closed(Closing),
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// The daemon said so: its last packet.
    Told(Failure),
    /// The daemon broke the protocol.
    Broken(ClientError),
}

/// How a daemon can break the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientError {
    /// No packet stands where one was due.
    Header(HeaderError),
    /// A packet bore another serial than the next one.
    Serial(SerialError),
    /// A body could not be decoded.
    Body {
        /// The number of the packet.
        number: u32,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// An answer to nothing that was asked, or of another number than what was asked.
    Answer {
        /// The serial it answers.
        reply_to: u32,
        /// The number of the packet.
        number: u32,
    },
    /// A stream with a number that cannot be.
    Stream(u32),
}

/// The client's end of a connection.
#[derive(Debug)]
pub struct ClientSession {
    deframer: Deframer,
    core: Core,
}

#[derive(Debug)]
struct Core {
    serials: Serials,
    outbox: Outbox,
    /// Serial and number of the calls that wait for their answers.
    open: Vec<(u32, u32)>,
    streams: Streams,
    closing: Option<Closing>,
}

impl ClientSession {
    /// A fresh connection.
    pub fn new() -> Self {
        let core = Core {
            serials: Serials::new(),
            outbox: Outbox::new(CLIENT_BYTES_MAX_BEFORE_HELLO),
            open: Vec::new(),
            streams: Streams::default(),
            closing: None,
        };
        Self { deframer: Deframer::new(), core }
    }

    /// Begins a call; answers its serial. `deadline_ms` 0 leaves the deadline to the procedure.
    ///
    /// # Errors
    /// When the daemon would not take a packet of that length.
    pub fn call(&mut self, data: &ClientData, deadline_ms: u32) -> Result<u32, Unsendable> {
        debug_assert!(data.number() < number::UNANSWERED, "not a call");
        let serial = self.core.outbox.push(deadline_ms, |out| data.encode(out))?;
        self.core.open.push((serial, data.number()));
        Ok(serial)
    }

    /// Takes the next packet off `input` or off what is held. Ask until it is `Idle` or `Closed`; `input` is empty then.
    pub fn step<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> ClientStep<'s> {
        if let Some(closing) = &self.core.closing {
            *input = &[];
            return ClientStep::Closed(closing.clone());
        }
        match self.deframer.next(input, SERVER_BYTES_MAX) {
            Ok(None) => ClientStep::Idle,
            Ok(Some(packet)) => match self.core.packet(self.deframer.payload(packet)) {
                Ok(step) => step,
                Err(error) => self.core.close(Closing::Broken(error)),
            },
            Err(error) => self.core.close(Closing::Broken(ClientError::Header(error))),
        }
    }

    /// How many bytes of data can be sent on a stream in one packet now.
    pub fn stream_room(&self, stream: u32) -> usize {
        self.core.streams.room(stream)
    }

    /// Sends data on a stream.
    ///
    /// # Errors
    /// When there is no such room.
    pub fn stream_send(&mut self, stream: u32, flags: u32, offset: u64, data: &[u8]) -> Result<(), StreamError> {
        self.core.streams.spend(stream, data.len())?;
        let head = DataHead { stream, flags, offset };
        self.core.outbox.push(0, |out| stream::encode_data(out, head, data)).map_err(|_| StreamError::Over)?;
        Ok(())
    }

    /// Lets the daemon send so many bytes more ahead of what is taken: as much as this end has room for.
    pub fn stream_widen(&mut self, stream: u32, bytes: u32) {
        if let Some(credit) = self.core.streams.widen(stream, bytes) {
            self.core.send(&ClientData::StreamCredit(credit));
        }
    }

    /// Received data were taken over: grants new credit when it is time.
    pub fn stream_taken(&mut self, stream: u32, bytes: usize) {
        if let Some(credit) = self.core.streams.taken(stream, bytes) {
            self.core.send(&ClientData::StreamCredit(credit));
        }
    }

    /// Ends our direction of a stream, or the whole of it by saying why.
    pub fn stream_end(&mut self, stream: u32, why: Option<Failure>) {
        if self.core.streams.end(stream, why.is_some()) {
            self.core.send(&ClientData::StreamEnd(StreamEnd { stream, why }));
        }
    }

    /// Whether a stream is open.
    pub fn stream_is_open(&self, stream: u32) -> bool {
        self.core.streams.is_open(stream)
    }

    /// Bytes that wait to be written.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.core.outbox
    }

    /// The serials of the calls that wait for their answers.
    pub fn open_calls(&self) -> impl Iterator<Item = u32> + '_ {
        self.core.open.iter().map(|(serial, _)| *serial)
    }
}

impl Default for ClientSession {
    fn default() -> Self {
        Self::new()
    }
}

impl Core {
    fn packet<'a>(&mut self, payload: &'a [u8]) -> Result<ClientStep<'a>, ClientError> {
        let truncated = |number| ClientError::Body { number, error: DecodeError::Truncated };
        let (&serial, rest) = payload.split_first_chunk().ok_or_else(|| truncated(0))?;
        let (&reply_to, rest) = rest.split_first_chunk().ok_or_else(|| truncated(0))?;
        let (&number, body) = rest.split_first_chunk().ok_or_else(|| truncated(0))?;
        let (serial, reply_to, number) =
            (u32::from_be_bytes(serial), u32::from_be_bytes(reply_to), u32::from_be_bytes(number));
        self.serials.check(serial).map_err(ClientError::Serial)?;
        if number == number::STREAM_DATA {
            return self.stream_data(body);
        }
        match ServerData::decode_body(number, body) {
            Some(Ok(data)) if number < number::UNANSWERED => self.answer(reply_to, data),
            Some(Ok(data)) => Ok(self.unasked(reply_to, data)),
            Some(Err(error)) => Err(ClientError::Body { number, error }),
            // A newer daemon may tell more than this client understands; but answers are to what was asked.
            None if number >= number::UNANSWERED => Ok(ClientStep::Handled),
            None => Err(ClientError::Answer { reply_to, number }),
        }
    }

    fn answer(&mut self, reply_to: u32, data: ServerData) -> Result<ClientStep<'static>, ClientError> {
        let number = data.number();
        let data = match data {
            ServerData::Failure(failure) if reply_to == 0 => return Ok(self.close(Closing::Told(failure))),
            data => data,
        };
        let open = self
            .open
            .iter()
            .position(|(serial, asked)| *serial == reply_to && (*asked == number || number == number::FAILURE));
        let Some(at) = open else {
            // STREAM packets are no calls, but a malformed one is answered with FAILURE all the same.
            return if number == number::FAILURE && reply_to != 0 && self.open.iter().all(|(s, _)| *s != reply_to) {
                Ok(ClientStep::Handled)
            } else {
                Err(ClientError::Answer { reply_to, number })
            };
        };
        self.open.swap_remove(at);
        match &data {
            ServerData::Hello(hello) => {
                // No daemon takes less than before; one that says so must not keep us from ending a stream.
                let told = usize::try_from(hello.packet_bytes_max).unwrap_or(usize::MAX);
                self.outbox.allow(told.max(CLIENT_BYTES_MAX_BEFORE_HELLO));
            }
            ServerData::ConsoleOpen(ConsoleOpenAnswer { stream, .. })
            | ServerData::CaptureOpen(CaptureOpenAnswer { stream }) => {
                self.streams.adopt(*stream).map_err(|_| ClientError::Stream(*stream))?;
            }
            _ => {}
        }
        let result = match data {
            ServerData::Failure(failure) => Err(failure),
            data => Ok(data),
        };
        Ok(ClientStep::Answer { serial: reply_to, result })
    }

    fn unasked(&mut self, reply_to: u32, data: ServerData) -> ClientStep<'static> {
        match data {
            ServerData::Progress(progress) if self.open.iter().any(|(serial, _)| *serial == reply_to) => {
                ClientStep::Progress { serial: reply_to, progress }
            }
            ServerData::Event(event) => ClientStep::Event(event),
            ServerData::Gap(gap) => ClientStep::Gap(gap),
            ServerData::StreamCredit(credit) => match self.streams.handle_credit(&credit) {
                Received::Room => ClientStep::StreamRoom(credit.stream),
                _ => ClientStep::Handled,
            },
            ServerData::StreamEnd(end) => match self.streams.handle_end(&end) {
                Received::Ended => ClientStep::StreamEnded(end.stream),
                Received::Over => ClientStep::StreamOver { stream: end.stream, why: end.why },
                _ => ClientStep::Handled,
            },
            _ => ClientStep::Handled,
        }
    }

    fn stream_data<'a>(&mut self, body: &'a [u8]) -> Result<ClientStep<'a>, ClientError> {
        let malformed = ClientError::Body { number: number::STREAM_DATA, error: DecodeError::Truncated };
        let (head, data) = stream::split_data(body).ok_or(malformed)?;
        Ok(match self.streams.handle_data(head, data.len()) {
            Received::Data => {
                ClientStep::StreamData { stream: head.stream, flags: head.flags, offset: head.offset, data }
            }
            Received::Violated(failure) => {
                let why = Some(failure);
                self.send(&ClientData::StreamEnd(StreamEnd { stream: head.stream, why: why.clone() }));
                ClientStep::StreamOver { stream: head.stream, why }
            }
            _ => ClientStep::Handled,
        })
    }

    /// Sends a packet that is never answered and known to fit.
    fn send(&mut self, data: &ClientData) {
        let outcome = self.outbox.push(0, |out| data.encode(out));
        debug_assert!(outcome.is_ok(), "{outcome:?}");
    }

    fn close(&mut self, closing: Closing) -> ClientStep<'static> {
        self.closing = Some(closing.clone());
        ClientStep::Closed(closing)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(HeaderError::Magic { header }) => match Stranger::recognise(*header) {
                Some(stranger) => write!(f, "the other end does not speak vmwire: that looks like {stranger}"),
                None => write!(f, "the other end does not speak vmwire"),
            },
            Self::Header(HeaderError::Length { length, .. }) => {
                write!(f, "the daemon announced a payload of {length} bytes")
            }
            Self::Serial(error) => error.fmt(f),
            Self::Body { number, error } => write!(f, "the daemon sent a packet {number:#x} of which {error}"),
            Self::Answer { reply_to, number } => {
                write!(f, "the daemon sent an answer {number:#x} to {reply_to}, which was not asked")
            }
            Self::Stream(stream) => write!(f, "the daemon opened stream {stream} out of turn"),
        }
    }
}

impl std::error::Error for ClientError {}
