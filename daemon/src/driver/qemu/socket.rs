//! A connection to one of QEMU's sockets, read and written until would-block.

use std::io::{self, Read, Write};
use std::path::Path;

use mio::Token;
use mio::net::UnixStream;
use rustix::net::sockopt::socket_peercred;
use rustix::process::Pid;

use crate::driver::Host;

/// How much is read from one socket in one turn of the loop.
pub(super) const READ_BYTES_MAX: usize = 128 << 10;

/// Which process had called `listen` last when `stream` was connected. A listener that is handed on is its old owner's
/// until the new one calls it as well, which QEMU does. The kernel says so, and no file has a say in it. 0 is a process
/// of another pid namespace.
pub(super) fn peer(stream: &UnixStream) -> u32 {
    let number = socket_peercred(stream).map_or(0, |of| Pid::as_raw(Some(of.pid)));
    u32::try_from(number).unwrap_or(0)
}

/// A connection that the loop watches.
#[derive(Debug)]
pub(super) struct Socket {
    stream: UnixStream,
    token: Token,
}

/// How far reading came.
#[derive(Debug)]
pub(super) enum Reading {
    /// Everything that is there was read.
    Done,
    /// There may be more; it is the others' turn now.
    More,
    /// It is closed.
    Closed(String),
}

impl Socket {
    pub(super) fn connect(host: &mut dyn Host, path: &Path) -> io::Result<Self> {
        Self::over(host, UnixStream::connect(path)?)
    }

    /// Takes over a stream that is connected.
    pub(super) fn over(host: &mut dyn Host, mut stream: UnixStream) -> io::Result<Self> {
        let token = host.watch(&mut stream)?;
        Ok(Self { stream, token })
    }

    /// Which process listens at the other end.
    pub(super) fn peer(&self) -> u32 {
        peer(&self.stream)
    }

    pub(super) fn token(&self) -> Token {
        self.token
    }

    pub(super) fn close(mut self, host: &mut dyn Host) {
        host.unwatch(&mut self.stream, self.token);
    }

    /// Reads what is there, in pieces.
    pub(super) fn read(&mut self, take: impl FnMut(&[u8])) -> Reading {
        self.read_within(&mut { READ_BYTES_MAX }, take)
    }

    /// Reads what is there, in pieces, until the budget is used up. The last piece may go beyond it.
    pub(super) fn read_within(&mut self, budget: &mut usize, mut take: impl FnMut(&[u8])) -> Reading {
        let mut buffer = [0; 16 << 10];
        while *budget > 0 {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Reading::Closed("it was closed".to_owned()),
                Ok(count) => {
                    *budget = budget.saturating_sub(count);
                    take(&buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Reading::Done,
                Err(error) => return Reading::Closed(error.to_string()),
            }
        }
        Reading::More
    }

    /// Writes what can be written now; says how much that was.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let mut written = 0;
        while written < bytes.len() {
            match self.stream.write(&bytes[written..]) {
                Ok(0) => return Err("it takes nothing".to_owned()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(written)
    }
}
