//! The newest events, encoded once, in order. A subscription is a number that walks along here; nothing is queued for
//! anyone.

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

/// Events `first..=newest`, without a hole.
///
/// Invariant: `bytes` is the sum of the lengths of `kept`; `kept.len() == newest + 1 - first`.
#[derive(Debug)]
pub struct Ring {
    kept: VecDeque<Kept>,
    first: u64,
    bytes: usize,
}

impl Ring {
    /// An empty ring whose next event bears the number `next`.
    pub fn starting_at(next: u64) -> Self {
        Self { kept: VecDeque::new(), first: next.max(1), bytes: 0 }
    }

    /// The number of the oldest event that is kept; of the next one, if none is.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.first + u64::try_from(self.kept.len()).unwrap_or(u64::MAX)
    }

    /// The number of the newest event; 0 before the first one ever.
    pub fn newest(&self) -> u64 {
        self.next() - 1
    }

    /// Adds the next event; the oldest go when there are too many or too long.
    pub fn push(&mut self, event: Kept) {
        self.bytes += event.encoded.len();
        self.kept.push_back(event);
        while self.kept.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.encoded.len();
            self.first += 1;
        }
        debug_assert!(self.kept.len() <= EVENTS_MAX && self.bytes <= BYTES_MAX);
    }

    /// The event of a number, if it is kept.
    pub fn at(&self, sequence: u64) -> Option<&Kept> {
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
