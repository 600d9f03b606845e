//! What carries a link's bytes: a socket as it is, of either family, or TLS on one. Nothing here waits.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

#[cfg(feature = "ssh2")]
use super::ssh::SshSocket;
use super::ssh::{ProgramSocket, SshError};
use super::tls::TlsSocket;
use crate::error::Error;
use crate::uri::Transport;

/// A connected socket. The one branch per read and write is all that a plain one pays for the other.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Bytes go as they are.
    Plain(OwnedFd, Transport),
    /// Bytes go encrypted.
    Tls(Box<TlsSocket>),
    /// Bytes go through the ssh program.
    Program(Box<ProgramSocket>),
    /// Bytes go through a channel of SSH in this process.
    #[cfg(feature = "ssh2")]
    Ssh(Box<SshSocket>),
}

/// What a write did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    /// Bytes that need not be kept.
    pub(crate) taken: usize,
    /// There is no point in trying again before the socket says so.
    pub(crate) blocked: bool,
}

/// What a read brought.
#[derive(Debug, Default)]
pub(crate) struct Came {
    /// Bytes at the front of the buffer.
    pub(crate) bytes: usize,
    /// Something came, bytes for us or not.
    pub(crate) alive: bool,
    /// There will be no more.
    pub(crate) end: Option<Ending>,
}

/// How it came to an end.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The other end said that it sends no more, or its socket did where nothing else can.
    Closed,
    /// The other end has not said so, though it could have: the last bytes may be missing.
    Cut,
    /// The other end was not to be talked to, or would not talk to us.
    Refused(Box<Error>),
}

impl Socket {
    /// A socket of the file system.
    pub(crate) fn unix(socket: UnixStream) -> Self {
        Self::Plain(socket.into(), Transport::Unix)
    }

    /// How the daemon is reached.
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Plain(_, transport) => *transport,
            Self::Tls(_) => Transport::Tls,
            Self::Program(_) => Transport::Ssh,
            #[cfg(feature = "ssh2")]
            Self::Ssh(_) => Transport::Ssh,
        }
    }

    /// Version and cipher, where there is TLS and its handshake is over.
    pub(crate) fn tls_summary(&self) -> Option<String> {
        match self {
            Self::Plain(..) | Self::Program(_) => None,
            #[cfg(feature = "ssh2")]
            Self::Ssh(_) => None,
            Self::Tls(socket) => socket.summary(),
        }
    }

    /// Whether a person is being asked something before the first answer can come.
    pub(crate) fn is_asking(&self) -> bool {
        match self {
            Self::Program(socket) => socket.is_asking(),
            _ => false,
        }
    }

    /// Why it takes so long until the first answer, where that is not for the daemon to say.
    pub(crate) fn late(&self) -> Option<SshError> {
        match self {
            Self::Plain(..) | Self::Tls(_) => None,
            Self::Program(socket) => socket.late(),
            #[cfg(feature = "ssh2")]
            Self::Ssh(socket) => socket.late(),
        }
    }

    /// Whether the handshake is not over, so that nothing can be sent yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        match self {
            Self::Plain(..) | Self::Program(_) => false,
            #[cfg(feature = "ssh2")]
            Self::Ssh(_) => false,
            Self::Tls(socket) => socket.is_handshaking(),
        }
    }

    /// Whether the socket is waited for to take more, when `unsent` says whether there are bytes of ours.
    pub(crate) fn wants_write(&self, unsent: bool) -> bool {
        match self {
            Self::Plain(..) | Self::Program(_) => unsent,
            #[cfg(feature = "ssh2")]
            Self::Ssh(socket) => socket.wants_write(unsent),
            Self::Tls(socket) => socket.wants_write() || unsent && !socket.is_handshaking(),
        }
    }

    /// Whether something can be read that no poll announces.
    pub(crate) fn has_more(&self) -> bool {
        match self {
            Self::Plain(..) | Self::Tls(_) | Self::Program(_) => false,
            #[cfg(feature = "ssh2")]
            Self::Ssh(socket) => socket.has_more(),
        }
    }

    /// Whether the socket is waited for to have something.
    pub(crate) fn wants_read(&self) -> bool {
        match self {
            Self::Plain(..) | Self::Tls(_) | Self::Program(_) => true,
            #[cfg(feature = "ssh2")]
            Self::Ssh(socket) => socket.wants_read(),
        }
    }

    /// Writes what the socket takes now.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<Written> {
        match self {
            Self::Plain(socket, _) => write_plainly(socket.as_fd(), bytes),
            Self::Tls(socket) => socket.write(bytes),
            Self::Program(socket) => socket.write(bytes),
            #[cfg(feature = "ssh2")]
            Self::Ssh(socket) => socket.write(bytes),
        }
    }

    /// Reads once what is there.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Came> {
        match self {
            Self::Plain(socket, _) => match read(socket.as_fd(), buffer) {
                Ok(0) => Ok(Came { end: Some(Ending::Closed), ..Came::default() }),
                Ok(bytes) => Ok(Came { bytes, alive: true, end: None }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Came::default()),
                Err(error) => Err(error),
            },
            Self::Tls(socket) => socket.read(buffer),
            Self::Program(socket) => socket.read(buffer),
            #[cfg(feature = "ssh2")]
            Self::Ssh(socket) => socket.read(buffer),
        }
    }

    /// Whether these first bytes are those of somebody who was not spoken to in TLS and wants to be: an alert (RFC 8446
    /// section 5.1), of which no packet of ours has even the first byte.
    pub(crate) fn answers_in_tls(&self, first: &[u8]) -> bool {
        self.transport() == Transport::Tcp && matches!(first, [0x15] | [0x15, 3, ..])
    }

    /// Says, where that can be said, that we send no more.
    pub(crate) fn close(&mut self) {
        match self {
            Self::Plain(..) | Self::Program(_) => {}
            #[cfg(feature = "ssh2")]
            Self::Ssh(socket) => socket.close(),
            Self::Tls(socket) => socket.close(),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(socket, _) => socket.as_fd(),
            Self::Tls(socket) => socket.as_fd(),
            Self::Program(socket) => socket.as_fd(),
            #[cfg(feature = "ssh2")]
            Self::Ssh(socket) => socket.as_fd(),
        }
    }
}

/// Writes what a socket takes now, as it is.
pub(super) fn write_plainly(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<Written> {
    match write(socket, bytes) {
        Ok(taken) => Ok(Written { taken, blocked: false }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Written { taken: 0, blocked: true }),
        Err(error) => Err(error),
    }
}

fn write(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            written => return Ok(written?),
        }
    }
}

fn read(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            came => return Ok(came?.1),
        }
    }
}

/// A socket that never waits, whatever its own mode is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unwaiting<'a>(pub(super) BorrowedFd<'a>);

impl Read for Unwaiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read(self.0, buffer)
    }
}

impl Write for Unwaiting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
