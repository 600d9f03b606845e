//! A line into a guest: the connection to one of QEMU's sockets for what guest and host say to each other.
//!
//! It is drained, whoever listens or not: QEMU makes the guest wait while nobody reads. One that is lost while the
//! guest lives is sought again.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use mio::Token;

use super::socket::{Reading, Socket};
use crate::driver::Host;

/// A line that was lost is sought again so much later.
const BACK_OFF: Duration = Duration::from_secs(1);

/// A line, connected or not.
#[derive(Debug, Default)]
pub(super) struct Line {
    socket: Option<Socket>,
    /// Written by somebody, not yet taken by QEMU.
    unsent: Vec<u8>,
    sought_at: Option<Instant>,
}

/// What came of reading and writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exchanged {
    /// Everything that is there was read.
    All,
    /// There may be more; it is the others' turn now.
    More,
    /// The line is lost.
    Lost,
}

impl Line {
    /// Connects, unless it is connected.
    pub(super) fn connect(&mut self, host: &mut dyn Host, path: &Path) -> io::Result<()> {
        if self.socket.is_none() {
            self.socket = Some(Socket::connect(host, path)?);
        }
        self.sought_at = None;
        Ok(())
    }

    /// Connects, unless it is connected. If that cannot be done, it is sought later.
    pub(super) fn seek(&mut self, now: Instant, host: &mut dyn Host, path: &Path) {
        if self.connect(host, path).is_err() {
            self.sought_at = Some(now + BACK_OFF);
        }
    }

    /// Whether the time has come to seek it. Says so once.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.sought_at.take_if(|at| *at <= now).is_some()
    }

    /// When it is to be sought.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.sought_at
    }

    pub(super) fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// The token under which readiness for it comes.
    pub(super) fn token(&self) -> Option<Token> {
        self.socket.as_ref().map(Socket::token)
    }

    /// How many bytes wait for QEMU to take them.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Reads what is there as far as `budget` goes, and sends what waits.
    pub(super) fn exchange(
        &mut self,
        now: Instant,
        host: &mut dyn Host,
        budget: &mut usize,
        take: impl FnMut(&[u8]),
    ) -> Exchanged {
        let Some(socket) = &mut self.socket else { return Exchanged::All };
        let exchanged = match socket.read_within(budget, take) {
            Reading::Done => Exchanged::All,
            Reading::More => Exchanged::More,
            Reading::Closed(_) => {
                self.lose(now, host);
                return Exchanged::Lost;
            }
        };
        if self.send(now, host, &[]) { exchanged } else { Exchanged::Lost }
    }

    /// Sends what waits, and then this; what QEMU does not take now waits. Says whether the line is still there.
    pub(super) fn send(&mut self, now: Instant, host: &mut dyn Host, data: &[u8]) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let written = socket.write(&self.unsent).and_then(|count| {
            self.unsent.drain(..count);
            if !self.unsent.is_empty() {
                return Ok(0);
            }
            self.unsent = Vec::new();
            socket.write(data)
        });
        match written {
            Ok(count) => {
                self.unsent.extend_from_slice(&data[count..]);
                true
            }
            Err(_) => {
                self.lose(now, host);
                false
            }
        }
    }

    /// Lets go of it. It is not sought.
    pub(super) fn close(&mut self, host: &mut dyn Host) {
        if let Some(socket) = self.socket.take() {
            socket.close(host);
        }
        *self = Self::default();
    }

    fn lose(&mut self, now: Instant, host: &mut dyn Host) {
        self.close(host);
        self.sought_at = Some(now + BACK_OFF);
    }
}
