//! Who is behind a token. A token says where to look and, in its upper bits, which of all that ever stood there is
//! meant, so that readiness of something that is gone never hits what came after it.

use mio::Token;
use slab::Slab;

/// Bits of a token that say where; the rest, never repeated, says who.
const PLACE_BITS: u32 = 24;
const PLACE_MASK: usize = (1 << PLACE_BITS) - 1;

// 2^40 generations: at a million new descriptors a second, that lasts 12 days short of 13 years.
const _: () = assert!(usize::BITS == 64, "tokens need 64 bits");

/// What is watched, by token.
#[derive(Debug)]
pub(super) struct Tokens<T> {
    places: Slab<(Token, T)>,
    generation: usize,
}

impl<T> Tokens<T> {
    pub(super) fn new() -> Self {
        Self { places: Slab::new(), generation: 0 }
    }

    /// Gives out a token that was never given before. `None` when all places are taken, which descriptors cannot do.
    pub(super) fn insert(&mut self, value: T) -> Option<Token> {
        let entry = self.places.vacant_entry();
        if entry.key() > PLACE_MASK {
            return None;
        }
        self.generation += 1;
        let token = Token((self.generation << PLACE_BITS) | entry.key());
        entry.insert((token, value));
        Some(token)
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        let (present, value) = self.places.get_mut(token.0 & PLACE_MASK)?;
        (*present == token).then_some(value)
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<T> {
        self.get_mut(token)?;
        Some(self.places.remove(token.0 & PLACE_MASK).1)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_the_past_finds_nobody_although_its_place_is_taken_again() {
        let mut tokens = Tokens::new();
        let first = tokens.insert('a').unwrap();
        assert_eq!(tokens.remove(first), Some('a'));
        let second = tokens.insert('b').unwrap();
        assert_eq!(first.0 & PLACE_MASK, second.0 & PLACE_MASK);
        assert_ne!(first, second);
        assert_eq!(tokens.get_mut(first), None);
        assert_eq!(tokens.remove(first), None);
        assert_eq!(tokens.get_mut(second), Some(&mut 'b'));
        assert_eq!(tokens.len(), 1);
    }
}
