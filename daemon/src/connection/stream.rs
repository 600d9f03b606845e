//! The sockets that connections are made of.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use vmwire_protocol::session::Below;

use super::{Socket, TlsSocket};

/// An accepted connection.
#[derive(Debug)]
pub enum Stream {
    /// Of this machine.
    Unix(UnixStream),
    /// Of a network.
    Tcp(TcpStream),
    /// Of a network, encrypted, by somebody who is known.
    Tls(Box<TlsSocket>),
}

/// Does the same with whatever socket it is.
macro_rules! each {
    ($stream:expr, $socket:ident => $work:expr) => {
        match $stream {
            Stream::Unix($socket) => $work,
            Stream::Tcp($socket) => $work,
            Stream::Tls($socket) => $work,
        }
    };
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        each!(self, socket => socket.read(into))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        each!(self, socket => socket.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        each!(self, socket => socket.flush())
    }
}

impl Socket for Stream {
    fn is_emptied_by(&self, count: usize, asked: usize) -> bool {
        match self {
            Self::Unix(_) | Self::Tcp(_) => count < asked,
            Self::Tls(socket) => socket.is_emptied_by(count, asked),
        }
    }

    fn below(&self) -> Below {
        match self {
            Self::Unix(_) | Self::Tcp(_) => Below::default(),
            Self::Tls(socket) => socket.below(),
        }
    }

    fn shut_down_sending(&mut self) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.shutdown(Shutdown::Write),
            Self::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Self::Tls(socket) => socket.shut_down_sending(),
        }
    }
}

impl Stream {
    /// What is registered with the poll.
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Unix(socket) => socket,
            Self::Tcp(socket) => socket,
            Self::Tls(socket) => socket.socket_mut(),
        }
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.source().register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}
