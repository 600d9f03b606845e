//! vmwire: protocol.

pub mod xdr;
