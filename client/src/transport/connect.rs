//! From a place to a connected socket; where nobody listens and the daemon is one's own, by starting it.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as connect_socket, socket_with};

use super::{Location, start};
use crate::error::Error;

/// How long between two looks for a socket that is about to appear, or a queue that is about to have room.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Connects to a daemon, at the latest until `until`. Where none listens and [`Location::start`] says how, starts one.
///
/// # Errors
/// When nobody can be reached, or no daemon could be started.
pub(crate) fn connect(location: &Location, until: Instant) -> Result<UnixStream, Error> {
    match reach(&location.socket, until) {
        Ok(socket) => Ok(socket),
        Err(error) => match &location.start {
            Some(how) if nobody_listens(&error) => {
                let mut daemon = start::start(&location.socket, how)?;
                loop {
                    match reach(&location.socket, until) {
                        Ok(socket) => return Ok(socket),
                        Err(error) if !nobody_listens(&error) => return Err(failed(&location.socket, error)),
                        Err(_) => daemon.wait_a_little(LOOK_AGAIN, until)?,
                    }
                }
            }
            _ => Err(failed(&location.socket, error)),
        },
    }
}

fn failed(socket: &Path, error: Errno) -> Error {
    Error::Connect { socket: socket.to_owned(), error: Arc::new(io::Error::from(error)) }
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
