//! The generator's end of a connection: a unix socket, or a TCP socket with TLS around it. Both block.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::Outcome;

/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where somebody listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// At a unix socket.
    Unix(PathBuf),
    /// At an address, with TLS; with what a client is who connects there.
    Tls(SocketAddr, Arc<ClientConfig>),
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Plain.
    Unix(UnixStream),
    /// Encrypted.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Address {
    /// Connects, to somebody who may not be there yet. The handshake comes with the first bytes.
    pub(crate) fn connect(&self) -> Outcome<Socket> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.try_connect() {
                Ok(socket) => return Ok(socket),
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
                        && Instant::now() < end =>
                {
                    std::thread::sleep(Duration::from_micros(100));
                }
                Err(error) => return Err(format!("cannot connect to {self:?}: {error}").into()),
            }
        }
    }

    fn try_connect(&self) -> std::io::Result<Socket> {
        match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Ok(Socket::Unix(stream))
            }
            Self::Tls(address, config) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                let host = ServerName::IpAddress(address.ip().into());
                let tls = ClientConnection::new(config.clone(), host).map_err(std::io::Error::other)?;
                Ok(Socket::Tls(Box::new(StreamOwned::new(tls, stream))))
            }
        }
    }
}

impl Socket {
    /// The bare descriptor of a connection that is to be silent from now on: what TLS needed here is thrown away.
    pub(crate) fn into_silence(self) -> OwnedFd {
        match self {
            Self::Unix(stream) => stream.into(),
            Self::Tls(stream) => stream.sock.into(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Unix(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.sock.as_fd(),
        }
    }
}
