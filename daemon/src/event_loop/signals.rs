//! Signals as something that becomes readable.

use std::ffi::c_int;
use std::io::{self, Read};
use std::os::unix::net::UnixStream as StdUnixStream;

use mio::event::Source;
use mio::net::UnixStream;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// Signals that mean the same. A handler writes a byte into a socket, and the loop reads it.
#[derive(Debug)]
pub struct Signals {
    bytes: UnixStream,
}

impl Signals {
    /// Catches those that ask the daemon to leave, from now on, for the life of the process.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn to_leave() -> io::Result<Self> {
        Self::catch(&[SIGTERM, SIGINT])
    }

    /// The same for the one that asks it to read its configuration again.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn to_reload() -> io::Result<Self> {
        Self::catch(&[SIGHUP])
    }

    fn catch(signals: &[c_int]) -> io::Result<Self> {
        let (ours, handlers) = StdUnixStream::pair()?;
        for signal in signals {
            pipe::register(*signal, handlers.try_clone()?)?;
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
