//! Bytes that wait to be written, and the serials in them.
//!
//! A serial is stamped here, when a packet takes its place among the bytes, so that the order of serials is the order on
//! the socket; nothing that was stamped is ever taken back.

use super::tap::{Passed, Tap};
use crate::fault::{self, Fault};
use crate::header::MAGIC;
use crate::limits::HEADER_BYTES;
use crate::serial::Serials;
use crate::xdr::EncodeError;

/// What a buffer begins with that was not borrowed.
const FIRST_BYTES: usize = 512;

/// Packets in the order in which they reach the socket.
///
/// Invariant: `sent <= bytes.len()`; the bytes before `sent` have been written.
#[derive(Debug)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    serials: Serials,
    payload_bytes_max: usize,
    /// What passes here and, by [`Outbox::received`], the other way; while somebody wants to know.
    tap: Option<Box<Tap>>,
}

/// Why a packet cannot be sent. Nothing of it is in the outbox, and no serial was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsendable {
    /// A value exceeds the bound of its type.
    Encode(EncodeError),
    /// The payload is longer than the other side takes.
    TooLarge {
        /// Its length in bytes.
        bytes: usize,
        /// The longest allowed.
        bytes_max: usize,
    },
}

impl Outbox {
    /// An empty outbox for payloads of at most `payload_bytes_max`.
    pub(super) fn new(payload_bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), sent: 0, serials: Serials::new(), payload_bytes_max, tap: None }
    }

    /// Payloads may be this long from now on.
    pub(super) fn allow(&mut self, payload_bytes_max: usize) {
        self.payload_bytes_max = payload_bytes_max;
    }

    /// Appends a packet: header, serial, `second` word, and what `body` writes (type and body). Answers its serial.
    pub(super) fn push(
        &mut self,
        second: u32,
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<u32, Unsendable> {
        if self.bytes.capacity() == 0 {
            // Most of what is said unasked, an event, fits into this.
            self.bytes.reserve(FIRST_BYTES);
        }
        let begin = self.bytes.len();
        let before = self.serials;
        if fault::strikes(Fault::SkippedSerial) {
            self.serials.take();
        }
        let serial = self.serials.take();
        self.bytes.extend_from_slice(&MAGIC);
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&serial.to_be_bytes());
        self.bytes.extend_from_slice(&second.to_be_bytes());
        let outcome = body(&mut self.bytes).map_err(Unsendable::Encode).and_then(|()| self.seal(begin));
        if outcome.is_err() {
            self.bytes.truncate(begin);
            self.serials = before;
        } else if let Some(tap) = &mut self.tap {
            tap.sent(self.bytes.get(begin..).unwrap_or_default());
        }
        outcome.map(|()| serial)
    }

    /// Writes the length of the packet that begins at `begin` into its header.
    fn seal(&mut self, begin: usize) -> Result<(), Unsendable> {
        let payload = self.bytes.len() - begin - HEADER_BYTES;
        let too_large = Unsendable::TooLarge { bytes: payload, bytes_max: self.payload_bytes_max };
        let length = u32::try_from(payload).ok().filter(|_| payload <= self.payload_bytes_max).ok_or(too_large)?;
        if let Some(field) = self.bytes.get_mut(begin + 4..begin + HEADER_BYTES) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    /// From now on what passes is kept until it is fetched, or is not any more.
    pub(super) fn set_tapped(&mut self, tapped: bool) {
        match tapped {
            true => drop(self.tap.get_or_insert_default()),
            false => self.tap = None,
        }
    }

    /// A packet of the other side was taken, given without its header.
    pub(super) fn received(&mut self, payload: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap.received(payload);
        }
    }

    /// What has passed since this was asked before; nothing where nobody wants to know.
    pub(super) fn take_passed(&mut self) -> Vec<Passed> {
        self.tap.as_mut().map(|tap| tap.take()).unwrap_or_default()
    }

    /// What waits to be written.
    pub fn unsent(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// The first `count` of the unsent bytes have been written.
    pub fn advance(&mut self, count: usize) {
        self.sent = self.bytes.len().min(self.sent + count);
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        } else if self.sent >= self.bytes.len() / 2 && self.sent >= 64 * 1024 {
            // A slow reader must not let what was sent pile up in front of what was not.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Gives memory back that is much more than what waits needs: of what was sent already, or for what might have come. For
    /// a socket that takes no more for now.
    pub fn tighten(&mut self) {
        if self.bytes.capacity() > 2 * self.unsent().len().max(FIRST_BYTES) {
            self.bytes.drain(..self.sent);
            self.sent = 0;
            self.bytes.shrink_to_fit();
        }
    }

    /// The memory that is held for what waits.
    pub fn held(&self) -> usize {
        if self.is_empty() { 0 } else { self.bytes.capacity() }
    }

    /// Lets go of what waits, and of its memory: it will never be written, for the connection is cut.
    pub fn discard(&mut self) {
        self.bytes = Vec::new();
        self.sent = 0;
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.unsent().is_empty()
    }

    /// Takes a spare buffer to write into, if it has none of its own.
    ///
    /// All connections of a loop share one buffer this way: an idle connection holds none.
    pub fn borrow_buffer(&mut self, spare: &mut Vec<u8>) {
        if self.bytes.capacity() == 0 {
            self.bytes = std::mem::take(spare);
        }
    }

    /// Gives its buffer back as the spare one, if nothing waits in it. A spare that has grown large is let go.
    pub fn return_buffer(&mut self, spare: &mut Vec<u8>) {
        const SPARE_BYTES_MAX: usize = 1024 * 1024;
        if !self.bytes.is_empty() {
            return;
        }
        let own = std::mem::take(&mut self.bytes);
        if own.capacity() > spare.capacity() && own.capacity() <= SPARE_BYTES_MAX {
            *spare = own;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::{self, Fixed};

    #[test]
    fn stamps_serials_in_the_order_of_the_bytes() {
        let mut outbox = Outbox::new(64);
        assert_eq!(outbox.push(7, |out| xdr::encode(out, &9_u32)), Ok(1));
        assert_eq!(outbox.push(0, |out| xdr::encode(out, &8_u32)), Ok(2));
        #[rustfmt::skip]
        assert_eq!(outbox.unsent(), [
            0x89, b'V', b'M', b'W',  0, 0, 0, 12,  0, 0, 0, 1,  0, 0, 0, 7,  0, 0, 0, 9,
            0x89, b'V', b'M', b'W',  0, 0, 0, 12,  0, 0, 0, 2,  0, 0, 0, 0,  0, 0, 0, 8,
        ]);
        outbox.advance(21);
        assert_eq!(outbox.unsent().first(), Some(&b'V'));
        outbox.advance(19);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_packet_that_is_too_large_leaves_no_trace() {
        let mut outbox = Outbox::new(16);
        assert_eq!(
            outbox.push(0, |out| xdr::encode(out, &Fixed::from([0_u8; 12]))),
            Err(Unsendable::TooLarge { bytes: 20, bytes_max: 16 })
        );
        assert!(outbox.is_empty());
        assert_eq!(outbox.push(0, |out| xdr::encode(out, &1_u32)), Ok(1));
    }

    #[test]
    fn what_waits_for_long_is_held_in_hardly_more_memory_than_it_needs() {
        let mut outbox = Outbox::new(1024 * 1024);
        outbox.borrow_buffer(&mut Vec::with_capacity(1024 * 1024));
        assert_eq!(outbox.held(), 0, "nothing waits");
        for _ in 0..10 {
            outbox.push(0, |out| xdr::encode(out, &Fixed::from([7_u8; 4096]))).unwrap();
        }
        outbox.advance(30_000);
        let unsent = outbox.unsent().to_vec();
        assert!(outbox.held() >= 1024 * 1024, "all of it is, until somebody has time");
        outbox.tighten();
        assert!(outbox.held() < 2 * unsent.len(), "{} for {}", outbox.held(), unsent.len());
        assert_eq!(outbox.unsent(), unsent);
        outbox.push(0, |out| xdr::encode(out, &1_u32)).unwrap();
        assert_eq!(outbox.unsent().len(), unsent.len() + 20);
        // Little is not worth the work.
        outbox.advance(unsent.len() + 10);
        outbox.tighten();
        let held = outbox.held();
        outbox.tighten();
        assert_eq!((outbox.held(), outbox.unsent().len()), (held, 10));
    }

    #[test]
    fn lends_and_returns_one_buffer() {
        let mut spare = Vec::with_capacity(4096);
        let mut outbox = Outbox::new(64);
        outbox.borrow_buffer(&mut spare);
        assert_eq!((spare.capacity(), outbox.bytes.capacity() >= 4096), (0, true));
        outbox.push(0, |out| xdr::encode(out, &1_u32)).unwrap();
        outbox.return_buffer(&mut spare);
        assert_eq!(spare.capacity(), 0, "a buffer with unsent bytes stays");
        outbox.advance(20);
        outbox.return_buffer(&mut spare);
        assert_eq!((spare.capacity() >= 4096, outbox.bytes.capacity()), (true, 0));
        outbox.bytes.reserve(1024 * 1024 + 1);
        outbox.return_buffer(&mut spare);
        assert!(spare.capacity() < 1024 * 1024 && outbox.bytes.capacity() == 0, "what has grown large is let go");
    }
}
