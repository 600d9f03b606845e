//! Streams: a console's bytes in both directions and what a capture shows, bounded by credit.
//!
//! What the daemon may send is bounded by the credit it has; credit is granted as data are fetched from here, so a
//! program that does not fetch holds at most [`WINDOW_BYTES`] of memory and never stops the other traffic.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use vmwire_protocol::limits::STREAM_CREDIT_INITIAL;
use vmwire_protocol::message::{CaptureOpenCall, CaptureRecord, ConsoleOpenCall, Failure};
use vmwire_protocol::xdr;

use super::{Connection, UNSENT_BYTES_MAX, in_time};
use crate::error::Error;
use crate::request;

/// How much of a stream may be under way to here. What every stream begins with would be 1.3 MB/s to a daemon that is 50 ms
/// away.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// An open console. It ends with the link it was opened on.
#[derive(Debug)]
pub struct Console {
    held: Held,
    /// Bytes sent so far.
    sent: u64,
    /// The position of the next byte expected.
    offset: u64,
    writer: String,
}

/// What passes a daemon, as it passes. It ends with the link it was opened on.
#[derive(Debug)]
pub struct Capture(Held);

/// A stream of a link, for as long as somebody wants what comes on it.
#[derive(Debug)]
struct Held {
    stream: u32,
    generation: u64,
    _alive: Arc<()>,
}

/// What a capture has to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A piece of a packet.
    Record(CaptureRecord),
    /// The daemon shows no more, and says why unless it just ended.
    End(Option<Failure>),
}

/// What is next on a stream.
enum Next {
    /// Bytes, and where they stand.
    Chunk(u64, Vec<u8>),
    /// The daemon sends no more.
    End(Option<Failure>),
}

impl Console {
    /// Who wrote to this console when it was opened; empty for nobody.
    #[must_use]
    pub fn writer(&self) -> &str {
        &self.writer
    }

    /// What stands before this position was read already.
    pub(super) fn expect_at(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// The position of the next byte: how much the guest has written before it.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// What was fetched from a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// Bytes, and how many before them are lost because nobody fetched them in time.
    Data {
        /// Lost bytes.
        lost: u64,
        /// The bytes.
        data: Vec<u8>,
    },
    /// The daemon sends no more, and says why unless it just ended.
    End(Option<Failure>),
}

/// What has arrived on a stream and was not fetched.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    alive: Weak<()>,
    chunks: VecDeque<(u64, Vec<u8>)>,
    end: Option<Option<Failure>>,
}

impl Connection {
    /// Opens a console.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn open_console(&mut self, call: ConsoleOpenCall, deadline: Option<Duration>) -> Result<Console, Error> {
        let answer = self.call(request::ConsoleOpen(call), deadline)?;
        Ok(Console {
            held: self.hold(answer.stream),
            sent: 0,
            offset: answer.offset,
            writer: answer.writer.into_string(),
        })
    }

    /// Has the packets shown that pass the daemon.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn open_capture(&mut self, call: CaptureOpenCall, deadline: Option<Duration>) -> Result<Capture, Error> {
        let answer = self.call(request::CaptureOpen(call), deadline)?;
        Ok(Capture(self.hold(answer.stream)))
    }

    /// Fetches what a capture has to show, without waiting.
    ///
    /// # Errors
    /// When the link that the capture was opened on is lost, or what came is no record.
    pub fn take_capture(&mut self, capture: &Capture) -> Result<Option<Shown>, Error> {
        Ok(match self.take_next(&capture.0)? {
            None => None,
            Some(Next::End(why)) => Some(Shown::End(why)),
            Some(Next::Chunk(_, data)) => {
                let record = xdr::decode(&data)
                    .map_err(|error| Error::Protocol(format!("a capture shows what is no record: {error}")))?;
                Some(Shown::Record(record))
            }
        })
    }

    /// Takes up a stream that a call has opened, with room for more than what every stream begins with.
    fn hold(&mut self, stream: u32) -> Held {
        // What nobody will fetch any more has no place here.
        self.streams
            .retain(|(generation, _), stream| *generation == self.generation || stream.alive.strong_count() > 0);
        let alive = Arc::new(());
        self.streams.entry((self.generation, stream)).or_default().alive = Arc::downgrade(&alive);
        if let Some(link) = self.link.as_mut() {
            link.session.stream_widen(stream, WINDOW_BYTES.saturating_sub(STREAM_CREDIT_INITIAL));
            link.write();
        }
        Held { stream, generation: self.generation, _alive: alive }
    }

    /// Fetches what is next on a stream, without waiting.
    fn take_next(&mut self, held: &Held) -> Result<Option<Next>, Error> {
        let Some(incoming) = self.streams.get_mut(&(held.generation, held.stream)) else {
            return Err(self.reason());
        };
        let Some((offset, data)) = incoming.chunks.pop_front() else {
            return match &incoming.end {
                Some(why) => Ok(Some(Next::End(why.clone()))),
                None => self.check(held).map(|()| None),
            };
        };
        if let Some(link) = self.link.as_mut().filter(|_| held.generation == self.generation) {
            link.session.stream_taken(held.stream, data.len());
            link.write();
        }
        Ok(Some(Next::Chunk(offset, data)))
    }

    /// Fetches what has arrived on a console, without waiting.
    ///
    /// # Errors
    /// When the link that the console was opened on is lost.
    pub fn take_console(&mut self, console: &mut Console) -> Result<Option<Received>, Error> {
        let (offset, mut data) = match self.take_next(&console.held)? {
            None => return Ok(None),
            Some(Next::End(why)) => return Ok(Some(Received::End(why))),
            Some(Next::Chunk(offset, data)) => (offset, data),
        };
        let lost = offset.saturating_sub(console.offset);
        // What was read on a former link comes again.
        let known = usize::try_from(console.offset.saturating_sub(offset)).unwrap_or(usize::MAX);
        let end = offset.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        data.drain(..known.min(data.len()));
        console.offset = end.max(console.offset);
        Ok(Some(Received::Data { lost, data }))
    }

    /// Fetches what arrives on a console, waiting for it for at most `timeout`; `None` when the time is over.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn read_console(
        &mut self,
        console: &mut Console,
        timeout: Option<Duration>,
    ) -> Result<Option<Received>, Error> {
        let until = timeout.map(in_time);
        loop {
            if let Some(received) = self.take_console(console)? {
                return Ok(Some(received));
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(None);
            }
            // A link that breaks may have brought something before: taking it tells.
            let _broken = self.turn(until, None);
        }
    }

    /// How many bytes [`Connection::write_console`] would take now.
    #[must_use]
    pub fn console_room(&mut self, console: &Console) -> usize {
        if self.check(&console.held).is_err() || self.unsent() > UNSENT_BYTES_MAX {
            return 0;
        }
        self.link.as_ref().map_or(0, |link| link.session.stream_room(console.held.stream))
    }

    /// Sends bytes to a console, as many as there is room for, and says how many. Without waiting.
    ///
    /// # Errors
    /// When the link that the console was opened on is lost.
    pub fn write_console(&mut self, console: &mut Console, data: &[u8]) -> Result<usize, Error> {
        self.check(&console.held)?;
        let count = self.console_room(console).min(data.len());
        let Some(now) = data.get(..count).filter(|now| !now.is_empty()) else { return Ok(0) };
        let Some(link) = self.link.as_mut() else { return Err(self.reason()) };
        if link.session.stream_send(console.held.stream, 0, console.sent, now).is_err() {
            return Ok(0);
        }
        console.sent += u64::try_from(count).unwrap_or(u64::MAX);
        link.write();
        Ok(count)
    }

    /// Says that no more is sent to a console. What the guest writes still comes.
    ///
    /// # Errors
    /// When the link that the console was opened on is lost.
    pub fn end_console(&mut self, console: &Console) -> Result<(), Error> {
        self.check(&console.held)?;
        if let Some(link) = self.link.as_mut() {
            link.session.stream_end(console.held.stream, None);
            link.write();
        }
        Ok(())
    }

    fn check(&self, held: &Held) -> Result<(), Error> {
        if held.generation == self.generation && self.link.is_some() {
            return Ok(());
        }
        Err(self.reason())
    }

    pub(super) fn take_data(&mut self, stream: u32, offset: u64, data: Vec<u8>) {
        self.streams.entry((self.generation, stream)).or_default().chunks.push_back((offset, data));
    }

    pub(super) fn take_end(&mut self, stream: u32, why: Option<Failure>) {
        self.streams.entry((self.generation, stream)).or_default().end.get_or_insert(why);
    }
}
