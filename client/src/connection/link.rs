//! One socket and the session on it. Every wait polls for reading and for writing, so that neither end can block the
//! other: a daemon that does not read because its answers are not taken gets them taken while we write.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmwire_protocol::message::{ClientData, Event, Failure, Gap, Progress, ServerData};
use vmwire_protocol::session::{ClientSession, ClientStep, Closing};

use crate::error::{Error, Lost};
use crate::transport::{Ending, Socket};
use crate::uri::Transport;

/// How much is read at once; also bounds what one turn may bring.
const READ_BYTES: usize = 64 * 1024;

/// Whoever never wants to be told asks for more than this.
const KEEPALIVE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Something that came from the daemon.
#[derive(Debug)]
pub(super) enum Arrival {
    Answer { serial: u32, result: Result<ServerData, Failure> },
    Progress { serial: u32, progress: Progress },
    Event(Event),
    Gap(Gap),
    StreamData { stream: u32, offset: u64, data: Vec<u8> },
    StreamEnded(u32),
    StreamOver { stream: u32, why: Option<Failure> },
}

/// A socket with a session.
#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    pub(super) session: ClientSession,
    buffer: Box<[u8]>,
    /// How long the daemon may be silent before it is asked, and then again before it is given up.
    keepalive: Duration,
    /// When the daemon was last heard. Time in which nobody listened does not count.
    heard: Instant,
    /// When it was last listened to.
    listened: Instant,
    /// The PING that asks whether the daemon is still there, and when it was asked.
    ping: Option<(u32, Instant)>,
    /// Something has come.
    begun: bool,
    /// Writing failed. What the daemon said before it went is still read.
    broken: Option<io::Error>,
}

impl Link {
    pub(super) fn new(socket: Socket, keepalive: Duration) -> Self {
        Self {
            socket,
            session: ClientSession::new(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            keepalive: keepalive.min(KEEPALIVE_MAX),
            heard: Instant::now(),
            listened: Instant::now(),
            ping: None,
            begun: false,
            broken: None,
        }
    }

    /// How the daemon is reached.
    pub(super) fn transport(&self) -> Transport {
        self.socket.transport()
    }

    /// Version and cipher of TLS.
    pub(super) fn tls_summary(&self) -> Option<String> {
        self.socket.tls_summary()
    }

    /// Whether a person is being asked something before the first answer can come.
    pub(super) fn is_asking(&self) -> bool {
        self.socket.is_asking()
    }

    /// What it means that no first answer has come for so long.
    pub(super) fn late(&self, time: Duration) -> Error {
        match self.socket.late() {
            Some(late) => late.into(),
            None if self.socket.is_handshaking() => Error::Lost(Lost::Handshake(time)),
            None => Error::Lost(Lost::Silent(time)),
        }
    }

    /// Whether TLS is not ready for what we have to say.
    pub(super) fn is_handshaking(&self) -> bool {
        self.socket.is_handshaking()
    }

    /// Writes what the socket takes now.
    pub(super) fn write(&mut self) {
        while self.broken.is_none() && self.wants_write() {
            match self.socket.write(self.session.outbox().unsent()) {
                Ok(written) => {
                    self.session.outbox().advance(written.taken);
                    if written.blocked {
                        return;
                    }
                }
                Err(error) => self.broken = Some(error),
            }
        }
    }

    fn wants_write(&mut self) -> bool {
        let unsent = !self.session.outbox().is_empty();
        self.socket.wants_write(unsent)
    }

    /// Writes what can be written, waits until something can be read, `extra` is readable, or it is `until`, and hands
    /// what came to `arrivals`. Answers whether `extra` is readable.
    pub(super) fn turn(
        &mut self,
        until: Option<Instant>,
        extra: Option<BorrowedFd<'_>>,
        arrivals: &mut Vec<Arrival>,
    ) -> Result<bool, Error> {
        self.write();
        let began = Instant::now();
        let away = began.saturating_duration_since(self.listened);
        self.heard += away;
        if let Some((_, asked)) = &mut self.ping {
            *asked += away;
        }
        let silent_at = self.ping.map_or(self.heard, |(_, asked)| asked) + self.keepalive;
        let wake_at = until.map_or(silent_at, |until| until.min(silent_at));
        let (readable, extra) = self.poll(wake_at.saturating_duration_since(began), extra)?;
        self.listened = Instant::now();
        if readable {
            self.read(arrivals)?;
        } else if self.listened >= silent_at {
            match self.ping {
                // It is not the daemon that is waited for.
                _ if self.socket.is_asking() => {
                    self.heard = self.listened;
                    self.ping = self.ping.map(|(serial, _)| (serial, self.listened));
                }
                Some(_) => return Err(Error::Lost(Lost::Silent(self.keepalive * 2))),
                None => self.ask(),
            }
        }
        Ok(extra)
    }

    fn ask(&mut self) {
        log::debug!("the daemon has been silent, asking whether it is there");
        if let Ok(serial) = self.session.call(&ClientData::Ping, 0) {
            self.ping = Some((serial, Instant::now()));
        }
        self.write();
    }

    fn poll(&mut self, timeout: Duration, extra: Option<BorrowedFd<'_>>) -> Result<(bool, bool), Error> {
        let has_more = self.socket.has_more();
        let mut interest = PollFlags::empty();
        if self.socket.wants_read() {
            interest |= PollFlags::IN;
        }
        if self.broken.is_none() && self.wants_write() {
            interest |= PollFlags::OUT;
        }
        let timeout = Timespec::try_from(if has_more { Duration::ZERO } else { timeout }).ok();
        let socket = self.socket.as_fd();
        let mut fds =
            [PollFd::from_borrowed_fd(socket, interest), PollFd::from_borrowed_fd(socket, PollFlags::empty())];
        let count = if let Some(extra) = extra {
            fds[1] = PollFd::from_borrowed_fd(extra, PollFlags::IN);
            2
        } else {
            1
        };
        match poll(&mut fds[..count], timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok((false, false)),
            Err(error) => return Err(lost(error.into())),
        }
        let ready = |fd: &PollFd<'_>, flags: PollFlags| fd.revents().intersects(flags);
        let ended = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        let readable = has_more || ready(&fds[0], PollFlags::IN | ended);
        let extra = count == 2 && ready(&fds[1], PollFlags::IN | ended);
        Ok((readable, extra))
    }

    fn read(&mut self, arrivals: &mut Vec<Arrival>) -> Result<(), Error> {
        let came = self.socket.read(&mut self.buffer).map_err(lost)?;
        if came.alive {
            self.heard = Instant::now();
        }
        if came.bytes > 0 {
            if !std::mem::replace(&mut self.begun, true) && self.socket.answers_in_tls(&self.buffer[..came.bytes]) {
                return Err(Error::WantsTls);
            }
            self.take(came.bytes, arrivals)?;
        }
        Err(match (came.end, self.broken.take()) {
            (None, broken) => {
                self.broken = broken;
                return Ok(());
            }
            (Some(Ending::Refused(error)), _) => *error,
            (Some(_), Some(error)) => lost(error),
            (Some(Ending::Closed), None) => Error::Lost(Lost::Closed),
            (Some(Ending::Cut), None) => Error::Lost(Lost::Cut),
        })
    }

    /// Takes so many bytes at the front of the buffer.
    fn take(&mut self, count: usize, arrivals: &mut Vec<Arrival>) -> Result<(), Error> {
        let mut input = self.buffer.get(..count).unwrap_or_default();
        loop {
            // What a step lends out must not bind the rest of the input to the session.
            let mut rest = input;
            let step = self.session.step(&mut rest);
            input = input.get(input.len() - rest.len()..).unwrap_or_default();
            let arrival = match step {
                ClientStep::Idle => return Ok(()),
                ClientStep::Handled | ClientStep::StreamRoom(_) => continue,
                ClientStep::Answer { serial, .. } if self.ping.is_some_and(|(ping, _)| ping == serial) => {
                    self.ping = None;
                    continue;
                }
                ClientStep::Answer { serial, result } => Arrival::Answer { serial, result },
                ClientStep::Progress { serial, progress } => Arrival::Progress { serial, progress },
                ClientStep::Event(event) => Arrival::Event(event),
                ClientStep::Gap(gap) => Arrival::Gap(gap),
                ClientStep::StreamData { stream, offset, data, .. } => {
                    Arrival::StreamData { stream, offset, data: data.to_vec() }
                }
                ClientStep::StreamEnded(stream) => Arrival::StreamEnded(stream),
                ClientStep::StreamOver { stream, why } => Arrival::StreamOver { stream, why },
                ClientStep::Closed(Closing::Told(failure)) => return Err(Error::Refused(Box::new(failure))),
                ClientStep::Closed(Closing::Broken(error)) => return Err(Error::Protocol(error.to_string())),
            };
            arrivals.push(arrival);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.socket.close();
    }
}

fn lost(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Lost(Lost::Closed),
        _ => Error::Lost(Lost::Io(Arc::new(error))),
    }
}
