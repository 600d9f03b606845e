//! The sessions of both ends: pure state machines that are shown bytes and time, and asked what came of it.
//!
//! ```text
//!   bytes in ─▶ Deframer ─▶ serial ─▶ verdicts ─▶ Step ─▶ the caller ─▶ answer ─▶ Outbox ─▶ bytes out
//! ```
//! A session is shown what was read and asked for one [`Step`] at a time. What it can answer itself (PING, HELLO, refusals)
//! it puts into its [`Outbox`]; everything else is the caller's, who answers by the [`Ticket`] of the call.

mod client;
mod outbox;
mod refusal;
mod server;
mod stream;
mod tap;

pub use client::{ClientError, ClientSession, ClientStep, Closing};
pub use outbox::{Outbox, Unsendable};
pub use refusal::ASK_AN_ADMIN;
pub use server::{Below, Call, Peer, ServerConfig, ServerSession, Step, Ticket};
pub use stream::StreamError;
pub use tap::{Passed, Said};

/// The three words that every payload begins with.
fn words(head: &[u8; 12]) -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *head;
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]), u32::from_be_bytes([i, j, k, l])]
}
