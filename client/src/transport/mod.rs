//! The way to a daemon: where it is found, how to connect to it, how to start one's own, and what carries the bytes.
//!
//! ```text
//!   Location ──▶ Dialer ──▶ socket of the file system ───────────▶ Socket::Plain
//!                      └──▶ name looked up, TCP connected ──┬────▶ Socket::Plain
//!                                certificate and key read ──┴─▶ Socket::Tls, whose handshake the link does
//!                      └──▶ ssh's settings asked for, see `ssh` ─▶ Socket::Program, Socket::Ssh
//! ```

mod connect;
mod credentials;
mod location;
mod socket;
mod ssh;
mod start;
mod tcp;
mod tls;

pub(crate) use connect::{Dialer, connect_tls};
pub use credentials::CredentialsError;
pub(crate) use credentials::{AUTHORITIES, CERTIFICATE, KEY, REVOCATIONS};
pub use location::{
    Environment, Location, LocationError, OPERATOR_SOCKET, Place, SOCKET_PATH_BYTES_MAX, SYSTEM_PKI, SYSTEM_SOCKET,
    SshPlace, Start,
};
pub(crate) use socket::{Ending, Socket};
#[cfg(feature = "ssh2")]
pub use ssh::NativeError;
pub use ssh::{ChangedKey, Ended, Reason, SshError, Told, Verdict};
pub(crate) use ssh::{local_user, quoted};
pub use start::{DAEMON_VARIABLE, StartError};
pub use tls::TlsError;
