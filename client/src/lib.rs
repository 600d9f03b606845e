//! The blocking client library of vmwire, and the command line built on it.
//!
//! [`uri`] says which daemon is meant and [`transport`] where it is found.

pub mod cli;
pub mod transport;
pub mod uri;
