//! The blocking client library of vmwire, and the command line built on it.
//!
//! [`uri`] says which daemon is meant and [`transport`] where it is found; a [`Connection`](connection::Connection)
//! takes the calls of [`request`] there and brings back answers, events and consoles.
//!
//! ```no_run
//! use vmwire_client::connection::{Connection, Options};
//! use vmwire_client::request;
//! use vmwire_client::transport::Environment;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut daemon = Connection::open(&"test:///default".parse()?, &Environment::of_process(), Options::default())?;
//! let host = daemon.call(request::HostInfo, None)?;
//! println!("{} virtual machines on {}", host.vms_defined, host.hostname);
//! # Ok(())
//! # }
//! ```

pub mod ask;
pub mod cli;
pub mod connection;
pub mod contexts;
pub mod error;
mod pages;
pub mod request;
pub mod transport;
pub mod uri;
pub mod vms;

pub use vmwire_protocol as protocol;
