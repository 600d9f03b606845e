//! What can go wrong between a program and a daemon, sorted by whose matter it is.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vmwire_protocol::message::Failure;
use vmwire_protocol::session::Unsendable;

use crate::transport::{LocationError, StartError};

/// Why something could not be had from a daemon.
#[derive(Debug, Clone)]
pub enum Error {
    /// It cannot be said where the daemon is.
    Location(LocationError),
    /// Nobody could be reached at the socket.
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        error: Arc<io::Error>,
    },
    /// The daemon that belongs to the URI did not run and could not be started.
    Start(StartError),
    /// The connection ended. What was asked and not answered may or may not have been done.
    Lost(Lost),
    /// The daemon said why it ends the connection, or will not have it.
    Refused(Box<Failure>),
    /// The daemon broke the rules of the protocol; the connection was given up.
    Protocol(String),
    /// The daemon answered this call with a failure. The connection lives on.
    Failure(Box<Failure>),
    /// No answer came within the deadline, nor a little later. The daemon may still do what was asked.
    Deadline(Duration),
    /// The request cannot be put into a packet, in words.
    Request(String),
}

/// How a connection was lost.
#[derive(Debug, Clone)]
pub enum Lost {
    /// The daemon closed it.
    Closed,
    /// The system did.
    Io(Arc<io::Error>),
    /// The daemon did not say anything for so long, not even when it was asked.
    Silent(Duration),
}

impl Error {
    /// Whether the connection is over. A new one may fare better.
    #[must_use]
    pub fn ends_connection(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Refused(_) | Self::Protocol(_) => true,
            Self::Location(_)
            | Self::Connect { .. }
            | Self::Start(_)
            | Self::Failure(_)
            | Self::Deadline(_)
            | Self::Request(_) => false,
        }
    }

    /// What the daemon said, if it was the daemon that said no.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failure(failure) | Self::Refused(failure) => Some(failure),
            _ => None,
        }
    }

    /// Whether the daemon said no with the given code.
    #[must_use]
    pub fn is(&self, code: u32) -> bool {
        self.failure().is_some_and(|failure| failure.is(code))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Location(error) => error.fmt(f),
            Self::Connect { socket, .. } => write!(f, "cannot connect to {}", socket.display()),
            Self::Start(error) => error.fmt(f),
            Self::Lost(Lost::Closed) => f.write_str("the daemon closed the connection"),
            Self::Lost(Lost::Io(_)) => f.write_str("the connection to the daemon was lost"),
            Self::Lost(Lost::Silent(time)) => write!(f, "the daemon has been silent for {}", in_words(*time)),
            Self::Refused(failure) | Self::Failure(failure) => f.write_str(&failure.message),
            Self::Protocol(why) => write!(f, "the daemon does not keep to the protocol: {why}"),
            Self::Deadline(time) => write!(f, "no answer within {}", in_words(*time)),
            Self::Request(why) => write!(f, "the request cannot be sent: {why}"),
        }
    }
}

/// A time in whole seconds, or in milliseconds where that would be wrong.
fn in_words(time: Duration) -> String {
    match time.as_millis() {
        milliseconds if milliseconds >= 1000 && milliseconds % 1000 == 0 => format!("{} s", milliseconds / 1000),
        milliseconds if milliseconds >= 10_000 => format!("{} s", milliseconds / 1000),
        milliseconds => format!("{milliseconds} ms"),
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { error, .. } | Self::Lost(Lost::Io(error)) => Some(error.as_ref()),
            Self::Start(error) => error.source(),
            _ => None,
        }
    }
}

impl From<LocationError> for Error {
    fn from(error: LocationError) -> Self {
        Self::Location(error)
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl From<Unsendable> for Error {
    fn from(error: Unsendable) -> Self {
        match error {
            Unsendable::Encode(error) => Self::Request(error.to_string()),
            Unsendable::TooLarge { bytes, bytes_max } => {
                Self::Request(format!("it has {bytes} bytes, and the daemon takes {bytes_max}"))
            }
        }
    }
}
