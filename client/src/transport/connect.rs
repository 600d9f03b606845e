//! From a place to a connected socket; where nobody listens and the daemon is one's own, by starting it.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as connect_socket, socket_with};
use vmwire_tls::config::ClientContext;

use super::socket::Socket;
use super::tls::{Kept, TlsSocket};
use super::{Location, Place, Start, ssh, start, tcp};
use crate::ask::Asking;
use crate::error::Error;
use crate::uri::{HostPort, Transport};

/// How long between two looks for a socket that is about to appear, or a queue that is about to have room.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Connects to one place, any number of times.
#[derive(Debug)]
pub(crate) struct Dialer {
    location: Location,
    tls: Kept,
    /// Whether there was a connection: one that is made anew asks nobody.
    connected: bool,
}

impl Dialer {
    pub(crate) fn new(location: Location) -> Self {
        Self { location, tls: Kept::default(), connected: false }
    }

    /// Whether a daemon that is not there is ours to start.
    pub(crate) fn starts_daemon(&self) -> bool {
        self.location.start.is_some()
    }

    /// Connects. Where nobody listens and [`Location::start`] says how, starts a daemon.
    ///
    /// # Errors
    /// When nobody can be reached, no daemon could be started, or there is nothing to prove with who we are.
    pub(crate) fn connect(&mut self, asking: &Asking) -> Result<Socket, Error> {
        let until = asking.until();
        let failed = |error| Error::Connect { place: self.location.place.clone(), error: Arc::new(error) };
        match &self.location.place {
            Place::Unix(socket) => {
                let start = self.location.start.as_ref();
                connect_unix(socket, self.location.also.as_deref(), start, until).map(Socket::unix)
            }
            Place::Tcp(host) => {
                tcp::reach(host, until).map(|socket| Socket::Plain(socket, Transport::Tcp)).map_err(failed)
            }
            Place::Tls { host, pki } => {
                let context = self.tls.context(pki)?;
                connect_tls(host, &context, until)
            }
            Place::Ssh(place) => {
                let nobody = Asking::new(None, until);
                let socket = ssh::connect(place, if self.connected { &nobody } else { asking })?;
                self.connected = true;
                Ok(socket)
            }
        }
    }
}

/// Connects to a host, at the latest until `until`, for a conversation in TLS of which nothing has been said.
///
/// # Errors
/// When nobody can be reached.
pub(crate) fn connect_tls(host: &HostPort, context: &ClientContext, until: Instant) -> Result<Socket, Error> {
    let socket = tcp::reach(host, until).map_err(|error| Error::Connect {
        place: Place::Tls { host: host.clone(), pki: Vec::new() },
        error: Arc::new(error),
    })?;
    Ok(Socket::Tls(Box::new(TlsSocket::new(socket, host, context)?)))
}

fn connect_unix(path: &Path, also: Option<&Path>, start: Option<&Start>, until: Instant) -> Result<UnixStream, Error> {
    match reach(path, until) {
        Ok(socket) => Ok(socket),
        Err(Errno::ACCESS) if let Some(also) = also => {
            // Of the two it is the first whose failure says more.
            log::debug!("{} is not for this user; trying {}", path.display(), also.display());
            reach(also, until).map_err(|_| failed(path, Errno::ACCESS))
        }
        Err(error) => match start {
            Some(how) if nobody_listens(&error) => {
                let mut daemon = start::start(path, how)?;
                loop {
                    match reach(path, until) {
                        Ok(socket) => return Ok(socket),
                        Err(error) if !nobody_listens(&error) => return Err(failed(path, error)),
                        Err(_) => daemon.wait_a_little(LOOK_AGAIN, until)?,
                    }
                }
            }
            _ => Err(failed(path, error)),
        },
    }
}

fn failed(socket: &Path, error: Errno) -> Error {
    Error::Connect { place: Place::Unix(socket.to_owned()), error: Arc::new(io::Error::from(error)) }
}

fn nobody_listens(error: &Errno) -> bool {
    matches!(*error, Errno::NOENT | Errno::CONNREFUSED)
}

fn reach(path: &Path, until: Instant) -> Result<UnixStream, Errno> {
    let address = SocketAddrUnix::new(path)?;
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        match connect_socket(&socket, &address) {
            Ok(()) => return Ok(UnixStream::from(socket)),
            // The daemon's queue of those who want in is full. No event tells when it is not.
            Err(Errno::AGAIN) if Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
