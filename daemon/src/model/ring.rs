//! The newest of something, kept once, in order: events, and packets that are captured. Whoever looks on is a number that walks
//! along here; nothing is queued for anyone.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::VmId;

/// The most events that are kept.
pub const EVENTS_MAX: usize = 4096;
/// The most bytes of encoded events that are kept.
pub const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Whom an event that is about no virtual machine is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Whoever may see the virtual machine, and everybody where it is about none.
    Everybody,
    /// Admins of the host.
    Admins,
    /// Admins of the host, and whoever is taken for this one.
    Owner(String),
}

/// An event that was encoded, and what subscriptions filter by.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The virtual machine it is about, with the name it had.
    pub vm: Option<(VmId, String)>,
    /// The labels that it had.
    pub labels: Arc<[String]>,
    /// Whom it is for.
    pub audience: Audience,
    /// Its kind, as on the wire.
    pub kind: u32,
    /// As it goes to every subscriber.
    pub encoded: Bytes,
}

/// What a ring is made of.
pub trait Item {
    /// The most of them that are kept.
    const COUNT_MAX: usize;
    /// The most bytes of them that are kept.
    const BYTES_MAX: usize;

    /// How many bytes it has.
    fn bytes(&self) -> usize;
}

impl Item for Kept {
    const COUNT_MAX: usize = EVENTS_MAX;
    const BYTES_MAX: usize = BYTES_MAX;

    fn bytes(&self) -> usize {
        self.encoded.len()
    }
}

/// Items `first..=newest`, without a hole.
///
/// Invariant: `bytes` is the sum of the lengths of `kept`; `kept.len() == newest + 1 - first`.
#[derive(Debug)]
pub struct Ring<T = Kept> {
    kept: VecDeque<T>,
    first: u64,
    bytes: usize,
}

impl<T: Item> Ring<T> {
    /// An empty ring whose next item bears the number `next`.
    pub fn starting_at(next: u64) -> Self {
        Self { kept: VecDeque::new(), first: next.max(1), bytes: 0 }
    }

    /// The number of the oldest item that is kept; of the next one, if none is.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next item.
    pub fn next(&self) -> u64 {
        self.first + u64::try_from(self.kept.len()).unwrap_or(u64::MAX)
    }

    /// The number of the newest item; 0 before the first one ever.
    pub fn newest(&self) -> u64 {
        self.next() - 1
    }

    /// Adds the next item; the oldest go when there are too many or too long.
    pub fn push(&mut self, item: T) {
        self.bytes += item.bytes();
        self.kept.push_back(item);
        while self.kept.len() > T::COUNT_MAX || self.bytes > T::BYTES_MAX {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.first += 1;
        }
        debug_assert!(self.kept.len() <= T::COUNT_MAX && self.bytes <= T::BYTES_MAX);
    }

    /// How many bytes are kept.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes all that is kept.
    pub fn take(&mut self) -> VecDeque<T> {
        self.first = self.next();
        self.bytes = 0;
        std::mem::take(&mut self.kept)
    }

    /// The item of a number, if it is kept.
    pub fn at(&self, sequence: u64) -> Option<&T> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.kept.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: usize) -> Kept {
        Kept {
            vm: None,
            labels: Arc::default(),
            audience: Audience::Everybody,
            kind: 1,
            encoded: Bytes::from(vec![0; bytes]),
        }
    }

    #[test]
    fn numbers_go_on_while_the_oldest_fall_off() {
        let mut ring = Ring::starting_at(1);
        assert_eq!((ring.first(), ring.next(), ring.newest()), (1, 1, 0));
        for _ in 0..EVENTS_MAX + 10 {
            ring.push(event(1));
        }
        assert_eq!((ring.first(), ring.newest()), (11, 4106));
        assert!(ring.at(10).is_none() && ring.at(11).is_some() && ring.at(4106).is_some() && ring.at(4107).is_none());
    }

    #[test]
    fn keeps_no_more_bytes_than_it_may() {
        let mut ring = Ring::starting_at(100);
        for _ in 0..5 {
            ring.push(event(BYTES_MAX / 4));
        }
        assert_eq!((ring.first(), ring.newest()), (101, 104));
        ring.push(event(BYTES_MAX));
        assert_eq!((ring.first(), ring.newest()), (105, 105));
    }
}
