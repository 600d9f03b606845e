//! The way to a daemon: where its socket lies.

mod location;

pub use location::{Environment, Location, LocationError, SOCKET_PATH_BYTES_MAX, SYSTEM_SOCKET, Start};
