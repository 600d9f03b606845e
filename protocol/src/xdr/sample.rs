//! Values out of a seed, for tests: round trips, exchanges with other implementations, simulations.
//!
//! Every [`Wire`] type can be sampled, so a test that goes through all messages needs to know none of them. Bounds are
//! where codecs break, so they come up often: the empty and the full text, the smallest and the largest number.

use super::Wire;

/// How many bytes a value's texts and lists may share, so that a list of lists stays handy.
const BUDGET_BYTES: usize = 128 * 1024;

/// What texts are made of: one to four bytes each, the ends of each range among them.
const CHARACTERS: [char; 16] = [
    'a',
    'Z',
    '0',
    ' ',
    '/',
    '\n',
    '\u{1}',
    '\u{7f}',
    '\u{80}',
    'ß',
    '\u{7ff}',
    '\u{800}',
    '漢',
    '\u{ffff}',
    '\u{10000}',
    '\u{10ffff}',
];

/// A source of values. The same seed gives the same values.
#[derive(Clone, Debug)]
pub struct Sampler {
    state: u64,
    /// What each value may take.
    value_bytes: usize,
    /// What is left of it.
    budget_bytes: usize,
}

impl Sampler {
    /// A source that begins at `seed`.
    pub fn new(seed: u64) -> Self {
        Self::sparing(seed, BUDGET_BYTES)
    }

    /// The same, whose values have `value_bytes` for all their texts and lists: where many values matter more than long ones.
    pub fn sparing(seed: u64, value_bytes: usize) -> Self {
        Self { state: seed, value_bytes, budget_bytes: value_bytes }
    }

    /// The next value of a type.
    pub fn value<T: Wire>(&mut self) -> T {
        self.budget_bytes = self.value_bytes;
        T::sample(self)
    }

    /// Any 64 bits (SplitMix64).
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from 0 to `last`.
    pub fn up_to(&mut self, last: usize) -> usize {
        let choices = u64::try_from(last).unwrap_or(u64::MAX).saturating_add(1);
        usize::try_from(self.bits() % choices).unwrap_or(0)
    }

    /// One of `choices`, which must not be empty.
    pub fn choose<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.up_to(choices.len().saturating_sub(1))]
    }

    /// A length of at most `max` units of at least `unit_bytes`, as far as the budget goes.
    pub(super) fn length(&mut self, max: usize, unit_bytes: usize) -> usize {
        let most = max.min(self.budget_bytes / unit_bytes);
        let length = match self.up_to(7) {
            0 | 1 => 0,
            2 => most.min(1),
            3 => most,
            4 => self.up_to(most),
            _ => self.up_to(most.min(20)),
        };
        self.budget_bytes -= length * unit_bytes;
        length
    }

    /// Text of exactly `length` bytes.
    pub(super) fn text(&mut self, length: usize) -> String {
        let mut text = String::with_capacity(length);
        while text.len() < length {
            let character = *self.choose(&CHARACTERS);
            text.push(if text.len() + character.len_utf8() <= length { character } else { 'x' });
        }
        text
    }

    /// Bytes of any kind.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            for (to, from) in chunk.iter_mut().zip(self.bits().to_be_bytes()) {
                *to = from;
            }
        }
    }
}
