//! Connections of memory that behave as sockets do: they take as much as they please, tell of changes and not of states,
//! stand still, break, and lose what was under way when they are closed with bytes unread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use vmwire_daemon::connection::{Hints, Socket};

use crate::random::Random;

pub(crate) type SharedLink = Rc<RefCell<Link>>;

/// A connection as a wire: what the client writes goes up, what the daemon writes comes down.
#[derive(Debug)]
pub(crate) struct Link {
    up: Pipe,
    down: Pipe,
    /// Nothing moves any more, and what was under way is lost.
    broken: bool,
    /// The client has closed its socket: what it wrote can still be read.
    client_closed: bool,
    /// The daemon has closed its socket.
    pub(crate) daemon_closed: bool,
    /// The daemon found no room, and is told when there is some.
    daemon_waits_for_room: bool,
    /// How many bytes the daemon has written.
    pub(crate) written: u64,
    /// Changes that the daemon was not told of yet.
    readable: bool,
    writable: bool,
    /// The daemon's writes are cut short at random with this; none when all works as it should.
    shortness: Option<Random>,
}

/// One direction.
#[derive(Debug)]
struct Pipe {
    bytes: VecDeque<u8>,
    bytes_max: usize,
    /// The writer has ended its side: after the bytes that are there comes the end.
    ended: bool,
    /// The client can neither write nor read until then.
    stalled_until: Option<Instant>,
}

/// What a client finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Bytes(Vec<u8>),
    Nothing,
    End,
    Broken,
}

impl Pipe {
    fn new(random: &mut Random) -> Self {
        let bytes_max = *random.pick(&[500, 4096, 65_536, 212_992]).unwrap();
        Self { bytes: VecDeque::new(), bytes_max, ended: false, stalled_until: None }
    }

    fn room(&self) -> usize {
        if self.ended { 0 } else { self.bytes_max.saturating_sub(self.bytes.len()) }
    }

    fn is_stalled(&self, now: Instant) -> bool {
        self.stalled_until.is_some_and(|until| until > now)
    }
}

impl Link {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            up: Pipe::new(random),
            down: Pipe::new(random),
            broken: false,
            client_closed: false,
            daemon_closed: false,
            daemon_waits_for_room: false,
            written: 0,
            // A fresh socket can be written to.
            readable: false,
            writable: true,
            shortness: Some(random.fork()),
        }
    }

    /// All works as it should from now on.
    pub(crate) fn heal(&mut self) {
        for pipe in [&mut self.up, &mut self.down] {
            pipe.stalled_until = None;
        }
        self.shortness = None;
    }

    pub(crate) fn stall(&mut self, upwards: bool, until: Instant) {
        let pipe = if upwards { &mut self.up } else { &mut self.down };
        pipe.stalled_until = Some(until);
    }

    /// The network breaks.
    pub(crate) fn break_off(&mut self) {
        self.broken = true;
        self.readable = true;
    }

    /// The client closes its socket.
    pub(crate) fn client_closes(&mut self) {
        self.client_closed = true;
        self.up.ended = true;
        self.broken |= !self.down.bytes.is_empty();
        self.readable = true;
    }

    /// The client writes; answers how much was taken.
    pub(crate) fn client_writes(&mut self, now: Instant, data: &[u8], random: Option<&mut Random>) -> usize {
        if self.broken || self.daemon_closed || self.up.is_stalled(now) {
            return 0;
        }
        let room = data.len().min(self.up.room());
        let taken = random.map_or(room, |random| random.part(40, room));
        self.up.bytes.extend(data.iter().take(taken));
        self.readable |= taken > 0;
        taken
    }

    /// The client sends no more; says whether that is new.
    pub(crate) fn client_ends(&mut self) -> bool {
        let new = !std::mem::replace(&mut self.up.ended, true);
        self.readable |= new;
        new
    }

    /// The client reads.
    pub(crate) fn client_reads(&mut self, now: Instant, bytes_max: usize) -> Found {
        if self.broken {
            return Found::Broken;
        }
        if self.down.is_stalled(now) {
            return Found::Nothing;
        }
        let length = self.down.bytes.len().min(bytes_max);
        if length == 0 {
            return if self.down.ended || self.daemon_closed { Found::End } else { Found::Nothing };
        }
        let bytes = self.down.bytes.drain(..length).collect();
        self.writable |= std::mem::take(&mut self.daemon_waits_for_room);
        Found::Bytes(bytes)
    }

    /// What changed since the daemon was told last, if anything did.
    pub(crate) fn take_change(&mut self) -> Option<Hints> {
        let changed = self.readable || self.writable;
        let read_closed = self.broken || self.up.ended;
        let hints = Hints { readable: std::mem::take(&mut self.readable), read_closed };
        self.writable = false;
        changed.then_some(hints)
    }

    /// The daemon closes its socket. With bytes unread, what it wrote last is lost with it; says whether it was.
    pub(crate) fn daemon_closes(&mut self) -> bool {
        self.daemon_closed = true;
        let whole = !self.broken && !self.client_closed;
        let lost = whole && !self.up.bytes.is_empty() && !self.down.bytes.is_empty();
        self.broken |= lost;
        lost
    }
}

/// The daemon's end of a link.
#[derive(Debug)]
pub(crate) struct DaemonEnd(pub(crate) SharedLink);

impl io::Read for DaemonEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut link = self.0.borrow_mut();
        if link.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let length = link.up.bytes.len().min(buffer.len());
        if length == 0 && !link.up.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (to, from) in buffer.iter_mut().zip(link.up.bytes.drain(..length)) {
            *to = from;
        }
        Ok(length)
    }
}

impl io::Write for DaemonEnd {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut link = self.0.borrow_mut();
        if link.broken || link.client_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = data.len().min(link.down.room());
        if room == 0 {
            link.daemon_waits_for_room = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = link.shortness.as_mut().map_or(room, |random| random.part(30, room));
        link.down.bytes.extend(data.iter().take(taken));
        link.written += u64::try_from(taken).unwrap();
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for DaemonEnd {
    fn shut_down_sending(&mut self) -> io::Result<()> {
        let mut link = self.0.borrow_mut();
        if link.broken || link.client_closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        link.down.ended = true;
        Ok(())
    }
}
