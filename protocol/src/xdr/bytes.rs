//! Reading what text and opaque have in common: a length, so many bytes, zeros up to a multiple of four.
//!
//! Two ways lead here, one for each backend. serde-xdr must never see the length, for it would believe it; it is asked
//! for single words instead. Our own backend hands over the item where it lies in the input. Both end in the same checks in
//! the same order: length present, bound, bytes present, padding.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::error::DecodeError;

/// The newtype name by which our own backend knows that an item may be handed over as it lies.
pub(super) const ITEM: &str = "vmwire-xdr-item";

/// What is reserved before a byte of an item, or a value of a list, was seen; from there on memory grows with what arrives.
pub(super) const CHUNK_BYTES: usize = 4096;

/// How many bytes a length of `length` takes with its padding.
pub(super) const fn padded(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// Reads an item of at most `max` bytes.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D, max: usize) -> Result<Vec<u8>, D::Error> {
    deserializer.deserialize_newtype_struct(ITEM, ItemVisitor { max })
}

/// Checks an announced length or count against its bound.
pub(super) fn checked<E: Error>(length: u32, max: usize) -> Result<usize, E> {
    match usize::try_from(length) {
        Ok(fitting) if fitting <= max => Ok(fitting),
        _ => Err(DecodeError::Bound { length, max: u32::try_from(max).unwrap_or(u32::MAX) }.refuse()),
    }
}

/// The next element, which has to be there.
pub(super) fn next<'de, A: SeqAccess<'de>, T: serde::Deserialize<'de>>(access: &mut A) -> Result<T, A::Error> {
    access.next_element()?.ok_or_else(|| DecodeError::Unsupported.refuse())
}

/// Sees to it that padding is zero.
fn zero<E: Error>(padding: &[u8]) -> Result<(), E> {
    if padding.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(DecodeError::Padding.refuse()) }
}

/// Copies the beginning of `word`; the rest is padding.
fn copy<E: Error>(bytes: &mut [u8], word: &[u8]) -> Result<(), E> {
    let (content, padding) = word.split_at(bytes.len().min(word.len()));
    bytes.copy_from_slice(content);
    zero(padding)
}

/// Fills `bytes` from words of eight bytes and, if four are enough for the end, a last one of four.
pub(super) fn fill<'de, A: SeqAccess<'de>>(access: &mut A, bytes: &mut [u8]) -> Result<(), A::Error> {
    let mut words = bytes.chunks_exact_mut(8);
    for word in words.by_ref() {
        word.copy_from_slice(&next::<A, u64>(access)?.to_be_bytes());
    }
    match words.into_remainder() {
        [] => Ok(()),
        end @ [_, _, _, _, _, ..] => copy(end, &next::<A, u64>(access)?.to_be_bytes()),
        end => copy(end, &next::<A, u32>(access)?.to_be_bytes()),
    }
}

struct ItemVisitor {
    max: usize,
}

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at most {} bytes", self.max)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<u8>, D::Error> {
        // A length, and at most so many words.
        deserializer.deserialize_tuple(self.max / 8 + 3, self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Vec<u8>, A::Error> {
        let length = checked(next(&mut access)?, self.max)?;
        let mut bytes = Vec::with_capacity(length.min(CHUNK_BYTES));
        let mut piece = [0; 64];
        while bytes.len() < length {
            let missing = length - bytes.len();
            let piece = &mut piece[..missing.min(64)];
            fill(&mut access, piece)?;
            bytes.extend_from_slice(piece);
        }
        Ok(bytes)
    }

    fn visit_borrowed_bytes<E: Error>(self, item: &'de [u8]) -> Result<Vec<u8>, E> {
        let Some((length, rest)) = item.split_first_chunk() else {
            return Err(DecodeError::Truncated.refuse());
        };
        let length = checked(u32::from_be_bytes(*length), self.max)?;
        let Some(item) = rest.get(..padded(length)) else {
            return Err(DecodeError::Truncated.refuse());
        };
        let (content, padding) = item.split_at(length);
        zero(padding)?;
        Ok(content.to_vec())
    }
}
