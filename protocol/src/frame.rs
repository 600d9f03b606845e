//! Cutting a stream of bytes into packets.
//!
//! The caller reads into a buffer that all connections share and shows it here. A packet that lies whole in it is lent
//! out where it lies; only what is left of a half packet is copied, so that an idle connection holds no buffer. The
//! copy grows with bytes received, never with bytes announced.

use crate::header::{self, HeaderError};
use crate::limits::HEADER_BYTES;

/// The half packet of one direction of one connection.
///
/// Invariant: `start <= bytes.len()`; the bytes before `start` were lent out and are void.
#[derive(Debug, Default)]
pub struct Deframer {
    bytes: Vec<u8>,
    start: usize,
}

/// Where the payload of a packet lies. Good until the next one is taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// In what the caller showed.
    InPlace(&'a [u8]),
    /// In what was held.
    Held(std::ops::Range<usize>),
}

impl Deframer {
    /// Nothing received yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next payload off `input`, or keeps all of `input` and answers `None` when it ends first.
    ///
    /// `bytes_max` is the longest payload allowed at this moment.
    ///
    /// # Errors
    /// When what stands there is no header. The stream is lost then: nobody looks for the next one.
    pub fn next<'a>(&mut self, input: &mut &'a [u8], bytes_max: usize) -> Result<Option<Packet<'a>>, HeaderError> {
        if self.start == self.bytes.len() {
            self.clear();
            return self.next_in_place(input, bytes_max);
        }
        while self.held() < HEADER_BYTES {
            if !self.take(input, HEADER_BYTES) {
                return Ok(None);
            }
        }
        let header = first_chunk(self.bytes.get(self.start..)).unwrap_or_default();
        let whole = HEADER_BYTES + header::parse(header, bytes_max)?;
        if self.held() < whole && !self.take(input, whole) {
            return Ok(None);
        }
        let payload = self.start + HEADER_BYTES..self.start + whole;
        self.start = payload.end;
        Ok(Some(Packet::Held(payload)))
    }

    /// The payload of a packet just taken.
    pub fn payload<'a>(&'a self, packet: Packet<'a>) -> &'a [u8] {
        match packet {
            Packet::InPlace(payload) => payload,
            Packet::Held(payload) => self.bytes.get(payload).unwrap_or_default(),
        }
    }

    fn next_in_place<'a>(&mut self, input: &mut &'a [u8], bytes_max: usize) -> Result<Option<Packet<'a>>, HeaderError> {
        let Some(header) = first_chunk(Some(input)) else {
            self.keep(input);
            return Ok(None);
        };
        let whole = HEADER_BYTES + header::parse(header, bytes_max)?;
        match input.split_at_checked(whole) {
            Some((packet, rest)) => {
                *input = rest;
                Ok(packet.get(HEADER_BYTES..).map(Packet::InPlace))
            }
            None => {
                self.keep(input);
                Ok(None)
            }
        }
    }

    /// Keeps all of `input` for later, behind what is held already. For a connection whose packets may not be taken
    /// now although they have arrived.
    pub fn keep(&mut self, input: &mut &[u8]) {
        if input.is_empty() {
            return;
        }
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(input);
        *input = &[];
    }

    /// Takes from `input` until `wanted` bytes are held; says whether that was reached.
    fn take(&mut self, input: &mut &[u8], wanted: usize) -> bool {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let missing = wanted.saturating_sub(self.held());
        let (taken, rest) = input.split_at(missing.min(input.len()));
        self.bytes.extend_from_slice(taken);
        *input = rest;
        self.held() >= wanted
    }

    /// Bytes held: half a packet, or packets that were not taken yet.
    pub fn held(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The memory that is held for them.
    pub fn held_memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets everything and gives the memory back.
    pub fn clear(&mut self) {
        self.start = 0;
        self.bytes = Vec::new();
    }
}

fn first_chunk(bytes: Option<&[u8]>) -> Option<[u8; HEADER_BYTES]> {
    bytes?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::header::MAGIC;

    fn packet(payload: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec((3_usize..40).prop_flat_map(|words| prop::collection::vec(any::<u8>(), words * 4)), 0..12)
    }

    proptest! {
        #[test]
        fn any_cutting_of_a_stream_gives_the_same_packets(
            payloads in payloads(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
            hold in prop::collection::vec(any::<bool>(), 31),
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|payload| packet(payload)).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let mut deframer = Deframer::new();
            let mut seen = Vec::new();
            for (pair, hold) in cuts.windows(2).zip(hold) {
                let mut input = &stream[pair[0]..pair[1]];
                if hold {
                    deframer.keep(&mut input);
                }
                while let Some(packet) = deframer.next(&mut input, 4096).unwrap() {
                    seen.push(deframer.payload(packet).to_vec());
                }
                prop_assert!(input.is_empty());
            }
            prop_assert_eq!(seen, payloads);
            prop_assert_eq!(deframer.held(), 0);
        }
    }

    #[test]
    fn holds_no_more_than_was_received() {
        let mut deframer = Deframer::new();
        let mut input: &[u8] = b"\x89VMW\x00\x04\x00\x00only this";
        assert_eq!(deframer.next(&mut input, 256 * 1024), Ok(None));
        assert_eq!(deframer.held(), 17);
        assert!(deframer.bytes.capacity() < 64);
    }

    #[test]
    fn gives_its_memory_back_when_nothing_is_held() {
        let bytes = packet(&[7; 400]);
        let mut deframer = Deframer::new();
        assert_eq!(deframer.next(&mut &bytes[..50], 4096), Ok(None));
        let packet = deframer.next(&mut &bytes[50..], 4096).unwrap().unwrap();
        assert_eq!(deframer.payload(packet), [7; 400]);
        assert_eq!(deframer.next(&mut &[][..], 4096), Ok(None));
        assert_eq!(deframer.bytes.capacity(), 0);
    }
}
