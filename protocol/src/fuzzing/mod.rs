//! What fuzzers call: each target makes something to try of any bytes, tries it, and panics when a rule was broken.
//!
//! Bytes are read as a script, so that most of what is tried gets past the first verdicts: packets with the right serial
//! and a sampled body, damaged ones, noise, and in between what the other end, the clock and the socket do. The same bytes
//! give the same run. `tests/wire/fuzz.rs` drives the targets with mutated scripts, `fuzz/` with libFuzzer.

mod client;
mod packets;
mod script;
mod server;

pub use client::client_session;
pub use packets::{frame, packet};
pub use server::server_session;

use crate::message::number;

/// Whether the answer to a call of this number opens a stream, whose number then is its first word.
fn opens_stream(number: u32) -> bool {
    matches!(number, number::CONSOLE_OPEN | number::CAPTURE_OPEN)
}
