//! What the first bytes look like when they are no TLS.

use std::fmt;

use vmwire_protocol::header::{MAGIC, Stranger};

/// A guess from the first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// A packet of ours, unencrypted.
    Vmwire,
    /// An answer of a web server.
    HttpAnswer,
    /// One of those that knock on other doors of ours too.
    Stranger(Stranger),
    /// Nothing we know; the first bytes.
    Bytes([u8; 8], usize),
}

impl Looks {
    /// What these first bytes look like; at most eight are looked at.
    pub fn at(bytes: &[u8]) -> Self {
        let mut first = [0; 8];
        let count = bytes.len().min(first.len());
        first[..count].copy_from_slice(&bytes[..count]);
        if first.starts_with(&MAGIC) {
            return Self::Vmwire;
        }
        if first.starts_with(b"HTTP/") {
            return Self::HttpAnswer;
        }
        Stranger::recognise(first).map_or(Self::Bytes(first, count), Self::Stranger)
    }
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vmwire => f.write_str("an unencrypted vmwire packet"),
            Self::HttpAnswer => f.write_str("an HTTP answer"),
            Self::Stranger(stranger) => stranger.fmt(f),
            Self::Bytes(bytes, count) => write!(f, "\"{}\"", bytes[..(*count).min(8)].escape_ascii()),
        }
    }
}
