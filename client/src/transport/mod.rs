//! The way to a daemon: where its socket lies, how to connect to it, and how to start one's own.

mod connect;
mod location;
mod start;

pub(crate) use connect::connect;
pub use location::{Environment, Location, LocationError, SOCKET_PATH_BYTES_MAX, SYSTEM_SOCKET, Start};
pub use start::{DAEMON_VARIABLE, StartError};
