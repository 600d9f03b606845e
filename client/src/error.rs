//! What can go wrong between a program and a daemon, sorted by whose matter it is.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use vmwire_protocol::message::Failure;
use vmwire_protocol::session::Unsendable;

use crate::transport::{CredentialsError, LocationError, Place, SshError, StartError, TlsError};

/// Why something could not be had from a daemon.
#[derive(Debug, Clone)]
pub enum Error {
    /// It cannot be said where the daemon is.
    Location(LocationError),
    /// Nobody could be reached there.
    Connect {
        /// Where.
        place: Place,
        /// Why.
        error: Arc<io::Error>,
    },
    /// The daemon that belongs to the URI did not run and could not be started.
    Start(StartError),
    /// There is nothing to prove with who we are, or to judge by who the daemon is.
    Credentials(CredentialsError),
    /// One of the two ends will not talk to the other.
    Tls(Box<TlsError>),
    /// There is no way by ssh.
    Ssh(Box<SshError>),
    /// Whoever is there speaks TLS, and we do not.
    WantsTls,
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
    /// It ended without the farewell that TLS has: somebody on the way may have cut it.
    Cut,
    /// The handshake of TLS took longer than this.
    Handshake(Duration),
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
            Self::Lost(_) | Self::Refused(_) | Self::Protocol(_) | Self::Tls(_) | Self::Ssh(_) | Self::WantsTls => true,
            Self::Location(_)
            | Self::Connect { .. }
            | Self::Credentials(_)
            | Self::Start(_)
            | Self::Failure(_)
            | Self::Deadline(_)
            | Self::Request(_) => false,
        }
    }

    /// Whether a limit of time was what ended an attempt to connect.
    #[must_use]
    pub fn is_late(&self) -> bool {
        match self {
            Self::Lost(Lost::Silent(_) | Lost::Handshake(_)) => true,
            Self::Connect { error, .. } => error.kind() == io::ErrorKind::TimedOut,
            Self::Ssh(error) => error.is_late(),
            _ => false,
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
            Self::Connect { place, .. } => write!(f, "cannot connect to {place}"),
            Self::Credentials(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::Ssh(error) => error.fmt(f),
            Self::WantsTls => f.write_str("the server speaks TLS on this port"),
            Self::Start(error) => error.fmt(f),
            Self::Lost(Lost::Closed) => f.write_str("the daemon closed the connection"),
            Self::Lost(Lost::Cut) => f.write_str("the connection to the daemon was cut"),
            Self::Lost(Lost::Handshake(time)) => {
                write!(f, "whoever is there has not finished the handshake of TLS within {}", in_words(*time))
            }
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
pub(crate) fn in_words(time: Duration) -> String {
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
            Self::Credentials(error) => error.source(),
            Self::Tls(error) => error.source(),
            Self::Ssh(error) => error.source(),
            _ => None,
        }
    }
}

impl From<LocationError> for Error {
    fn from(error: LocationError) -> Self {
        Self::Location(error)
    }
}

impl From<CredentialsError> for Error {
    fn from(error: CredentialsError) -> Self {
        Self::Credentials(error)
    }
}

impl From<TlsError> for Error {
    fn from(error: TlsError) -> Self {
        Self::Tls(Box::new(error))
    }
}

impl From<SshError> for Error {
    fn from(error: SshError) -> Self {
        Self::Ssh(Box::new(error))
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
