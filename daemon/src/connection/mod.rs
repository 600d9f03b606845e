//! One socket: bytes from it to the core, bytes from the core to it, and its end.
//!
//! ```text
//!               end of the peer             all answered, all written
//!   ┌─────────┐ ───────────▶ ┌───────┐ ─────────────────────────────────▶ gone
//!   │ serving │              │ ended │
//!   └─────────┘              └───────┘
//!        │ the core wrote the last packet    ┌─────────┐ written, sending shut down  ┌───────────┐
//!        └─────────────────────────────────▶ │ closing │ ──────────────────────────▶ │ lingering │ ──▶ gone
//!                                            └─────────┘                             └───────────┘
//! ```
//! A connection that closes reads and throws away what the peer still sends, until the peer's end, for 2 s or 1 MiB:
//! were it closed with bytes unread, the kernel would take the last packet back from the peer. An error of the socket,
//! or the core's word, leads from everywhere to gone.
//!
//! Both buffers are the loop's: an idle connection holds none. Readiness is a hint; the only thing that counts is what
//! read and write say.

mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use vmwire_protocol::fault::{self, Fault};
use vmwire_protocol::limits::{LINGER_BYTES_MAX, LINGER_TIME};

pub use self::stream::Stream;
pub use self::tls::{Scratch, TlsSocket};
use crate::dispatch::{ConnectionId, Dispatch, Flow, Turn};

/// Bytes that are read at once.
pub const READ_BYTES: usize = 64 * 1024;

/// Bytes read or written in one turn, after which others come first.
const TURN_BYTES_MAX: usize = 512 * 1024;

/// How long a peer that has ended its side may read nothing of what is still to be said to it.
const ENDED_TIME: Duration = Duration::from_secs(30);

/// The buffers that all connections of a loop share.
#[derive(Debug)]
pub struct Buffers {
    read: Vec<u8>,
    /// Lent to the outbox of whoever has something to say.
    write: Vec<u8>,
}

/// What a connection needs of its socket.
///
/// A socket may keep what was written to it (TLS does, for what it encrypted has to go out as it is): then `flush` sends
/// that, or would block, and an event tells when it is worth trying again.
pub trait Socket: Read + Write {
    /// Whether nothing is left to be read, after a read of `count` bytes into room for `asked`. An event tells of more.
    fn is_emptied_by(&self, count: usize, asked: usize) -> bool {
        count < asked
    }

    /// Ends sending, so that the peer sees the end behind the last byte. Everything written has been flushed.
    ///
    /// # Errors
    /// The peer is gone already; or it would block, and is to be tried again.
    fn shut_down_sending(&mut self) -> io::Result<()>;
}

/// A socket and the core's end of the conversation on it.
#[derive(Debug)]
pub struct Connection<S> {
    socket: S,
    id: ConnectionId,
    phase: Phase,
    /// The core takes no more until what is unsent was written.
    blocked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Once all is answered, what is unsent has time `until`, counted anew when some of it was written.
    Ended {
        until: Option<Instant>,
    },
    Closing {
        until: Instant,
    },
    Lingering {
        until: Instant,
        thrown_away: usize,
    },
}

/// What is known of the socket before it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hints {
    /// There may be something to be read.
    pub readable: bool,
    /// Behind what is there comes the end.
    pub read_closed: bool,
}

/// What the loop is to do about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the next event concerns it, or its [`Connection::poll_timeout`].
    Wait,
    /// It has more to do than a turn allows.
    Again,
    /// Forget it.
    Gone,
}

impl Buffers {
    /// One pair for a loop.
    pub fn new() -> Self {
        Self { read: vec![0; READ_BYTES], write: Vec::with_capacity(READ_BYTES) }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Socket> Connection<S> {
    /// A connection that the core has accepted as `id`.
    pub fn new(socket: S, id: ConnectionId) -> Self {
        Self { socket, id, phase: Phase::Serving, blocked: false }
    }

    /// The socket, to be watched.
    pub fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// When this is to be dropped although nothing happened.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Serving => None,
            Phase::Ended { until } => until,
            Phase::Closing { until } | Phase::Lingering { until, .. } => Some(until),
        }
    }

    /// The core has something to write.
    pub fn handle_output(&mut self, core: &mut Dispatch, turn: &mut Turn<'_>, buffers: &mut Buffers) -> Next {
        // Reading comes only after a block: otherwise an event tells when there is something.
        let hints = Hints { readable: self.blocked, read_closed: false };
        self.handle_ready(core, turn, buffers, hints)
    }

    /// The socket may be readable or writable.
    pub fn handle_ready(
        &mut self,
        core: &mut Dispatch,
        turn: &mut Turn<'_>,
        buffers: &mut Buffers,
        hints: Hints,
    ) -> Next {
        if core.is_cut(self.id) {
            return Next::Gone;
        }
        match self.exchange(core, turn, buffers, hints) {
            Ok(next) => next,
            Err(error) => {
                log::debug!("connection {}: {error}", self.id.number);
                Next::Gone
            }
        }
    }

    /// When [`Connection::poll_timeout`] has come, there is nothing more to be done for it.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.poll_timeout().is_some_and(|at| at <= now)
    }

    fn exchange(
        &mut self,
        core: &mut Dispatch,
        turn: &mut Turn<'_>,
        buffers: &mut Buffers,
        hints: Hints,
    ) -> io::Result<Next> {
        let mut budget = TURN_BYTES_MAX;
        let mut readable = hints.readable;
        loop {
            if matches!(self.phase, Phase::Lingering { .. }) {
                return self.linger(buffers);
            }
            // All that one read brought has been shown to the core before this, and is answered with one write.
            let full = match self.write(core, turn, buffers, &mut budget) {
                Ok(full) => full,
                Err(error) => {
                    if self.hear_out(core, turn, buffers) {
                        return Ok(Next::Again);
                    }
                    return Err(error);
                }
            };
            if core.is_closing(self.id) {
                // At the end of the budget it is not known what the socket keeps.
                let flushed = !full && budget > 0;
                match self.close(core, turn.now.monotonic, flushed)? {
                    // Without a full socket no event is certain to come.
                    Some(Next::Wait) if budget == 0 => return Ok(Next::Again),
                    Some(next) => return Ok(next),
                    None => continue,
                }
            }
            if budget == 0 {
                return Ok(Next::Again);
            }
            if self.blocked {
                if fault::is_planted(Fault::ForgottenWakeUp) {
                    return Ok(Next::Wait);
                }
                self.input(core, turn, &[], &mut budget);
                if self.blocked && full && budget > 0 {
                    // Only a full socket makes us wait: then it is certain that an event comes.
                    return Ok(Next::Wait);
                }
                // Bytes may have come while nobody looked.
                readable = true;
            } else if readable && self.phase == Phase::Serving {
                readable = self.read(core, turn, buffers, hints, &mut budget)?;
            } else {
                return Ok(Next::Wait);
            }
        }
    }

    /// Reads once. Says whether there may be more.
    fn read(
        &mut self,
        core: &mut Dispatch,
        turn: &mut Turn<'_>,
        buffers: &mut Buffers,
        hints: Hints,
        budget: &mut usize,
    ) -> io::Result<bool> {
        let count = match self.socket.read(&mut buffers.read) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                // It may have read a lot of which nothing was to be shown.
                *budget = budget.saturating_sub(READ_BYTES);
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        if count == 0 {
            self.phase = Phase::Ended { until: None };
            core.input_ended(self.id);
            return Ok(false);
        }
        *budget = budget.saturating_sub(count);
        if let Some(outbox) = core.outbox(self.id) {
            outbox.borrow_buffer(&mut buffers.write);
        }
        self.input(core, turn, &buffers.read[..count], budget);
        // What comes to an emptied socket brings an event, unless it came before this one: that is the case of the end,
        // which the hint tells.
        Ok(!self.socket.is_emptied_by(count, buffers.read.len()) || hints.read_closed)
    }

    /// Writes until nothing is unsent or kept, would-block, or the end of the budget. Says whether it would block.
    fn write(
        &mut self,
        core: &mut Dispatch,
        turn: &mut Turn<'_>,
        buffers: &mut Buffers,
        budget: &mut usize,
    ) -> io::Result<bool> {
        while *budget > 0 {
            let Some(outbox) = core.outbox(self.id) else { return Ok(false) };
            let outcome = match self.socket.flush() {
                Ok(()) if outbox.is_empty() => {
                    outbox.return_buffer(&mut buffers.write);
                    return Ok(false);
                }
                Ok(()) => self.socket.write(outbox.unsent()),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    outbox.advance(count);
                    *budget = budget.saturating_sub(count);
                    if let Phase::Ended { until } = &mut self.phase {
                        *until = None;
                    }
                    core.flushed(turn, self.id);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The core has said its last. `None` when it is time to linger.
    fn close(&mut self, core: &mut Dispatch, now: Instant, flushed: bool) -> io::Result<Option<Next>> {
        let written = flushed && core.outbox(self.id).is_none_or(|outbox| outbox.is_empty());
        let until = match self.phase {
            Phase::Ended { .. } if written => {
                // It goes in a moment anyway; over TLS this is what tells the end from a cut.
                let _gone_already = self.socket.shut_down_sending();
                return Ok(Some(Next::Gone));
            }
            Phase::Ended { until } => {
                self.phase = Phase::Ended { until: until.or(Some(now + ENDED_TIME)) };
                return Ok(Some(Next::Wait));
            }
            Phase::Closing { until } | Phase::Lingering { until, .. } => until,
            Phase::Serving => now + LINGER_TIME,
        };
        self.phase = Phase::Closing { until };
        if !written {
            return Ok(Some(Next::Wait));
        }
        match self.socket.shut_down_sending() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(Next::Wait)),
            outcome => outcome?,
        }
        self.phase = Phase::Lingering { until, thrown_away: 0 };
        Ok(None)
    }

    /// Reads and throws away, until the peer's end or the end of our patience.
    fn linger(&mut self, buffers: &mut Buffers) -> io::Result<Next> {
        let Phase::Lingering { thrown_away, .. } = &mut self.phase else { return Ok(Next::Wait) };
        while *thrown_away <= LINGER_BYTES_MAX {
            match self.socket.read(&mut buffers.read) {
                Ok(0) => return Ok(Next::Gone),
                Ok(count) => *thrown_away += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => *thrown_away += READ_BYTES,
                Err(error) => return Err(error),
            }
        }
        Ok(Next::Gone)
    }

    /// Shows bytes to the core.
    fn input(&mut self, core: &mut Dispatch, turn: &mut Turn<'_>, bytes: &[u8], budget: &mut usize) {
        let flow = core.input(turn, self.id, bytes);
        self.blocked = matches!(flow, Flow::Blocked | Flow::PutOff);
        if flow == Flow::PutOff {
            *budget = 0;
        }
    }

    /// The peer hears nothing any more, but what it had sent whole is carried out all the same. Says whether there may
    /// be more of it than a turn allows.
    fn hear_out(&mut self, core: &mut Dispatch, turn: &mut Turn<'_>, buffers: &mut Buffers) -> bool {
        let mut budget = TURN_BYTES_MAX;
        let hints = Hints { readable: true, read_closed: true };
        loop {
            if let Some(outbox) = core.outbox(self.id) {
                // To make an answer that nobody hears is as much as to make any other.
                let unheard = outbox.unsent().len();
                outbox.advance(unheard);
                budget = budget.saturating_sub(unheard);
            }
            if core.is_closing(self.id) {
                return false;
            }
            if budget == 0 {
                return true;
            }
            if self.blocked {
                self.input(core, turn, &[], &mut budget);
            } else if !matches!(self.read(core, turn, buffers, hints, &mut budget), Ok(true)) && !self.blocked {
                return false;
            }
        }
    }
}
