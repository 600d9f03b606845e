//! What the stories share: bytes, a server on a virtual clock, the memory that a piece of work takes.

pub(crate) mod memory;
pub(crate) mod packets;
pub(crate) mod server;
pub(crate) mod skip;
