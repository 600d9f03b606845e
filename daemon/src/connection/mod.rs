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
use vmwire_protocol::session::Below;

pub use self::stream::Stream;
pub use self::tls::{Scratch, TlsSocket};
use crate::dispatch::{ConnectionId, Dispatch, Flow, Share, Turn};

/// Bytes that are read at once.
pub const READ_BYTES: usize = 64 * 1024;

/// Bytes that are written at once, after which others come first. What was made for a connection is written before more is
/// made for others, or those who do read would hold as much as those who do not: so this is more than a [`Share`].
const WRITE_BYTES_MAX: usize = 512 * 1024;

/// How long a peer that has ended its side may read nothing of what is still to be said to it.
const ENDED_TIME: Duration = Duration::from_secs(30);

/// What all connections of a loop share: buffers, and the count of what was done with them.
#[derive(Debug)]
pub struct Buffers {
    read: Vec<u8>,
    /// Lent to the outbox of whoever has something to say.
    write: Vec<u8>,
    work: usize,
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

    /// What it keeps of what was written to it, and of what it cannot show yet.
    fn below(&self) -> Below {
        Below::default()
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
    /// The core takes no more until what is unsent was written, or others had their turn.
    blocked: bool,
    /// What was written has made room that the core was not told of, for the share was used up.
    unfilled: bool,
    /// What the core was last told that the socket keeps.
    below: Below,
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
    /// It has more to do than its share allows.
    Again,
    /// Forget it.
    Gone,
}

impl Buffers {
    /// One pair for a loop.
    pub fn new() -> Self {
        Self { read: vec![0; READ_BYTES], write: Vec::with_capacity(READ_BYTES), work: 0 }
    }

    /// The work that was done since this was asked last: what [`Share`] counts, and what was written.
    pub fn take_work(&mut self) -> usize {
        std::mem::take(&mut self.work)
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
        Self { socket, id, phase: Phase::Serving, blocked: false, unfilled: false, below: Below::default() }
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
        let mut share = Share::whole();
        let next = self.exchange(core, turn, buffers, hints, &mut share);
        buffers.work = buffers.work.saturating_add(share.spent());
        match next {
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
        share: &mut Share,
    ) -> io::Result<Next> {
        let mut room = WRITE_BYTES_MAX;
        let mut readable = hints.readable;
        let mut full = false;
        loop {
            if matches!(self.phase, Phase::Lingering { .. }) {
                return self.linger(buffers, share);
            }
            // All that one read brought has been shown to the core before this, and is answered with one write; with none
            // where the socket was full a moment ago, for an event comes when it is not.
            if !full {
                full = match self.write(core, turn, buffers, &mut room, share) {
                    Ok(full) => full,
                    Err(error) => {
                        if self.hear_out(core, turn, buffers, share) {
                            return Ok(Next::Again);
                        }
                        return Err(error);
                    }
                };
                self.tell_below(core, turn);
            }
            if core.is_closing(self.id) {
                // Where no more may be written it is not known what the socket keeps.
                let flushed = !full && room > 0;
                match self.close(core, turn.now.monotonic, flushed)? {
                    // Without a full socket no event is certain to come.
                    Some(Next::Wait) if room == 0 => return Ok(Next::Again),
                    Some(next) => return Ok(next),
                    None => continue,
                }
            }
            if room == 0 || share.is_spent() {
                return Ok(Next::Again);
            }
            if self.blocked {
                if fault::is_planted(Fault::ForgottenWakeUp) {
                    return Ok(Next::Wait);
                }
                let flow = self.input(core, turn, &[], share);
                if flow == Flow::Blocked && full {
                    // Only a full socket makes us wait: then it is certain that an event comes.
                    return Ok(Next::Wait);
                }
                // Bytes may have come while nobody looked.
                readable = true;
            } else if readable && self.phase == Phase::Serving {
                readable = self.read(core, turn, buffers, hints, share)?;
                self.tell_below(core, turn);
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
        share: &mut Share,
    ) -> io::Result<bool> {
        let count = match self.socket.read(&mut buffers.read) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                // It may have read a lot of which nothing was to be shown.
                share.spend(READ_BYTES);
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        if count == 0 {
            self.phase = Phase::Ended { until: None };
            core.input_ended(self.id);
            return Ok(false);
        }
        if let Some(outbox) = core.outbox(self.id) {
            outbox.borrow_buffer(&mut buffers.write);
        }
        self.input(core, turn, &buffers.read[..count], share);
        share.spend(count);
        // What comes to an emptied socket brings an event, unless it came before this one: that is the case of the end,
        // which the hint tells.
        Ok(!self.socket.is_emptied_by(count, buffers.read.len()) || hints.read_closed)
    }

    /// Writes until nothing is unsent or kept, would-block, or `room` is used up. Says whether it would block.
    fn write(
        &mut self,
        core: &mut Dispatch,
        turn: &mut Turn<'_>,
        buffers: &mut Buffers,
        room: &mut usize,
        share: &mut Share,
    ) -> io::Result<bool> {
        while *room > 0 {
            let Some(outbox) = core.outbox(self.id) else { return Ok(false) };
            let outcome = match self.socket.flush() {
                Ok(()) if outbox.is_empty() => {
                    if self.unfilled && !share.is_spent() {
                        self.fill(core, turn, share);
                        continue;
                    }
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
                    *room = room.saturating_sub(count);
                    buffers.work = buffers.work.saturating_add(count);
                    if let Phase::Ended { until } = &mut self.phase {
                        *until = None;
                    }
                    self.fill(core, turn, share);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    core.is_stalled(self.id);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn tell_below(&mut self, core: &mut Dispatch, turn: &mut Turn<'_>) {
        let below = self.socket.below();
        if std::mem::replace(&mut self.below, below) != below {
            core.keeps_below(turn, self.id, below);
        }
    }

    /// Bytes were written, so that there is room for others.
    fn fill(&mut self, core: &mut Dispatch, turn: &mut Turn<'_>, share: &mut Share) {
        self.unfilled = share.is_spent();
        if !self.unfilled {
            core.flushed(turn, self.id, share);
        }
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
    fn linger(&mut self, buffers: &mut Buffers, share: &mut Share) -> io::Result<Next> {
        let Phase::Lingering { thrown_away, .. } = &mut self.phase else { return Ok(Next::Wait) };
        while *thrown_away <= LINGER_BYTES_MAX {
            if share.is_spent() {
                return Ok(Next::Again);
            }
            let count = match self.socket.read(&mut buffers.read) {
                Ok(0) => return Ok(Next::Gone),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => READ_BYTES,
                Err(error) => return Err(error),
            };
            *thrown_away += count;
            share.spend(count);
        }
        Ok(Next::Gone)
    }

    /// Shows bytes to the core.
    fn input(&mut self, core: &mut Dispatch, turn: &mut Turn<'_>, bytes: &[u8], share: &mut Share) -> Flow {
        let flow = core.input(turn, self.id, bytes, share);
        self.blocked = matches!(flow, Flow::Blocked | Flow::PutOff);
        flow
    }

    /// The peer hears nothing any more, but what it had sent whole is carried out all the same. Says whether there may
    /// be more of it than its share allows.
    fn hear_out(&mut self, core: &mut Dispatch, turn: &mut Turn<'_>, buffers: &mut Buffers, share: &mut Share) -> bool {
        let hints = Hints { readable: true, read_closed: true };
        loop {
            if let Some(outbox) = core.outbox(self.id) {
                let unheard = outbox.unsent().len();
                outbox.advance(unheard);
            }
            if core.is_closing(self.id) {
                return false;
            }
            if share.is_spent() {
                return true;
            }
            if self.blocked {
                self.input(core, turn, &[], share);
            } else if !matches!(self.read(core, turn, buffers, hints, share), Ok(true)) && !self.blocked {
                return false;
            }
        }
    }
}
