//! A fixed number of bytes.

use std::{fmt, ops::Deref};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
    ser::SerializeTuple,
};

use super::{
    Erase, Sampler, Wire,
    bytes::{fill, padded},
};

/// Exactly `N` bytes, without a length on the wire: UUIDs and epochs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fixed<const N: usize>(pub [u8; N]);

impl<const N: usize> Fixed<N> {
    /// How many words, of eight bytes or at the end of four, the bytes are written as.
    const WORDS: usize = N.div_ceil(8);
}

impl<const N: usize> Wire for Fixed<N> {
    const BYTES_MAX: usize = padded(N);

    fn sample(sampler: &mut Sampler) -> Self {
        let mut bytes = [0; N];
        sampler.fill(&mut bytes);
        Self(bytes)
    }
}

impl<const N: usize> Erase for Fixed<N> {
    fn erase(&mut self) {
        self.0.fill(b'*');
    }
}

impl<const N: usize> Serialize for Fixed<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(Self::WORDS)?;
        for chunk in self.0.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            let word = u64::from_be_bytes(word);
            match u32::try_from(word >> 32) {
                Ok(half) if chunk.len() <= 4 => tuple.serialize_element(&half)?,
                _ => tuple.serialize_element(&word)?,
            }
        }
        tuple.end()
    }
}

impl<'de, const N: usize> Deserialize<'de> for Fixed<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words<const N: usize>;

        impl<'de, const N: usize> Visitor<'de> for Words<N> {
            type Value = Fixed<N>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{N} bytes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Fixed<N>, A::Error> {
                let mut bytes = [0; N];
                fill(&mut access, &mut bytes)?;
                Ok(Fixed(bytes))
            }
        }

        deserializer.deserialize_tuple(Self::WORDS, Words)
    }
}

impl<const N: usize> Default for Fixed<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> fmt::Debug for Fixed<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl<const N: usize> Deref for Fixed<N> {
    type Target = [u8; N];

    fn deref(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> From<[u8; N]> for Fixed<N> {
    fn from(bytes: [u8; N]) -> Self {
        Self(bytes)
    }
}

impl<const N: usize> From<Fixed<N>> for [u8; N] {
    fn from(fixed: Fixed<N>) -> Self {
        fixed.0
    }
}
