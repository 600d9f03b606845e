//! The bytes of one connection: encrypted on the side of a socket, plain on the other.
//!
//! ```text
//!              ClientHello read          verified, agreed
//!   ┌───────┐ ─────────────────▶ ┌───────────┐ ────────▶ ┌──────┐   close_notify, end of the socket
//!   │ hello │                    │ handshake │           │ open │ ──────────────────────────────────▶ ended
//!   └───────┘                    └───────────┘           └──────┘
//!       └────────────────────────────┴──────────────────────┴───────▶ failed, with a Refusal and an alert to be written
//! ```
//! A client begins in the handshake. Nothing here waits: [`Stream::read`] and [`Stream::write`] are shown a socket, do what
//! it lets them, and say whether to come back.
//!
//! Whoever calls owns the buffers, one pair for all connections of a loop, so that an idle stream holds only what rustls
//! keeps for it. What one read of the socket brought is decrypted at once and always fits, so that no plaintext is left
//! behind that no event of the socket would announce.

mod client;
mod records;
mod server;
mod session;

use std::io::{self, Read, Write};

use crate::config::Protocol;
use crate::error::Refusal;
use crate::identity::PeerIdentity;

pub use self::client::ClientTls;
pub use self::server::{HELLO_BYTES_MAX, Judgement, ServerTls};

/// The longest record with its header (RFC 5246 section 6.2.3): what may be kept of an unfinished one.
pub const RECORD_BYTES_MAX: usize = 16_384 + 2_048 + 5;

/// Plaintext that is encrypted ahead of a socket that takes nothing: what a stream holds for a slow peer.
pub const UNSENT_BYTES_MAX: usize = 32 * 1024;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The client's first message has not come whole.
    Hello,
    /// Both ends get to know each other.
    Handshake,
    /// Plaintext goes both ways.
    Open,
    /// Nothing more is read: see [`End`].
    Ended,
}

/// How reading came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The other end has said that it sends no more; it may be answered all the same.
    Closed,
    /// The socket ended, and the other end has not said that it would: the last bytes may have been taken away.
    Cut,
    /// See [`Stream::refusal`]. An alert may still be to be written.
    Failed,
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// Bytes at the front of the buffer for plaintext.
    pub plaintext: usize,
    /// Bytes taken from the socket.
    pub taken: usize,
    /// The socket may have more; else the next event tells.
    pub more: bool,
    /// There will be no more.
    pub end: Option<End>,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Bytes of the plaintext that were taken over: they need not be kept.
    pub taken: usize,
    /// Bytes that the socket took.
    pub written: usize,
    /// The socket would block; else all that was taken has been written.
    pub blocked: bool,
}

/// What both ends of a connection do.
pub trait Stream {
    /// Reads once from the socket, at most as much as fits, and decrypts it.
    ///
    /// `scratch` is for what comes from the socket, `plaintext` for what was in it; the latter has to be longer than
    /// [`RECORD_BYTES_MAX`], and a read takes no more than what it is longer by.
    ///
    /// Would-block and interruption are no errors here. Nor is a refusal, for what was read before it counts.
    ///
    /// # Errors
    /// Those of the socket.
    fn read(&mut self, socket: &mut dyn Read, scratch: &mut [u8], plaintext: &mut [u8]) -> io::Result<Received>;

    /// Writes what is unsent, then encrypts and writes as much of the plaintext as the socket takes.
    ///
    /// Nothing of it is taken before the handshake is over. Called with nothing, it writes what the handshake, an alert or
    /// the end of the conversation left to be written.
    ///
    /// # Errors
    /// Those of the socket.
    fn write(&mut self, socket: &mut dyn Write, plaintext: &[u8]) -> io::Result<Sent>;

    /// There is something to be written that the socket has not taken.
    fn wants_write(&self) -> bool;

    /// Says that no more plaintext will follow. It has to be written too.
    fn close(&mut self);

    /// How far it has come.
    fn phase(&self) -> Phase;

    /// Who is at the other end, once the handshake is over. A client that enrols has no identity.
    fn peer(&self) -> Option<&PeerIdentity>;

    /// What is spoken inside, once it is known.
    fn protocol(&self) -> Option<Protocol>;

    /// Why it failed.
    fn refusal(&self) -> Option<&Refusal>;

    /// Version and cipher, for log lines; empty before they are agreed.
    fn summary(&self) -> String;
}
