//! Signals as something that becomes readable.

use std::io::{self, Read};
use std::os::unix::net::UnixStream as StdUnixStream;

use mio::event::Source;
use mio::net::UnixStream;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// The signals that ask the daemon to leave. A handler writes a byte into a socket, and the loop reads it.
///
/// SIGHUP is one of them: there is nothing to be read anew, and a daemon in the foreground of a terminal that is gone
/// would be forgotten there.
#[derive(Debug)]
pub struct LeaveSignals {
    bytes: UnixStream,
}

impl LeaveSignals {
    /// Catches the signals from now on, for the life of the process.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn catch() -> io::Result<Self> {
        let (ours, handlers) = StdUnixStream::pair()?;
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            pipe::register(signal, handlers.try_clone()?)?;
        }
        ours.set_nonblocking(true)?;
        Ok(Self { bytes: UnixStream::from_std(ours) })
    }

    /// What to watch.
    pub fn source(&mut self) -> &mut dyn Source {
        &mut self.bytes
    }

    /// Whether a signal has come since the last time.
    pub fn take(&mut self) -> bool {
        let mut came = false;
        let mut bytes = [0; 64];
        loop {
            match self.bytes.read(&mut bytes) {
                Ok(0) => return came,
                Ok(_) => came = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return came,
            }
        }
    }
}
