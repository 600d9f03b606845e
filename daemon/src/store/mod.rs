//! What outlives the daemon: definitions, numbers of operations, and the ring of events.

mod lock;

pub use lock::{Lock, LockError};
