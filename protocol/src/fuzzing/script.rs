//! A script: bytes that are asked for decisions until none are left.

use crate::xdr::Sampler;

/// What texts and lists of a sampled body may take together; small, so that a run has room for many packets.
const VALUE_BYTES: usize = 96;

pub(super) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte; `None` at the end.
    pub(super) fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// The next byte, or 0 at the end.
    pub(super) fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    /// The next byte as an index below `length`.
    pub(super) fn index(&mut self, length: usize) -> usize {
        usize::from(self.byte()) % length.max(1)
    }

    /// Up to `count` of the next bytes.
    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(super) fn word(&mut self) -> u32 {
        self.take(4).iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
    }

    pub(super) fn sampler(&mut self) -> Sampler {
        Sampler::sparing(u64::from(self.byte()) << 8 | u64::from(self.byte()), VALUE_BYTES)
    }

    /// Does to one word of `bytes` what the script says.
    pub(super) fn damage(&mut self, bytes: &mut [u8]) {
        let at = self.index(bytes.len() / 4) * 4;
        let word = match self.byte() % 4 {
            0 => u32::from(self.byte()),
            1 => u32::MAX - u32::from(self.byte()),
            _ => self.word(),
        };
        if let Some(place) = bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&word.to_be_bytes());
        }
    }
}

/// Header, head and body of a packet.
pub(super) fn framed(serial: u32, second: u32, number: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = crate::header::MAGIC.to_vec();
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX);
    for word in [length, serial, second, number] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes.extend_from_slice(body);
    bytes
}
