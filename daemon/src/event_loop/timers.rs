//! Deadlines in order: a set of keys, each with the moment it is due. Pure; nobody's clock is read here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Keys with deadlines. One key has at most one deadline; setting it again moves it.
///
/// Invariant: `by_time` and `by_key` hold exactly the same pairs.
#[derive(Debug)]
pub struct Timers<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Copy + Ord> Timers<K> {
    /// No deadlines.
    pub fn new() -> Self {
        Self { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }

    /// Sets or moves the deadline of `key`.
    pub fn set(&mut self, at: Instant, key: K) {
        self.cancel(key);
        self.by_time.insert((at, key));
        self.by_key.insert(key, at);
    }

    /// Forgets the deadline of `key`; says whether there was one.
    pub fn cancel(&mut self, key: K) -> bool {
        let Some(at) = self.by_key.remove(&key) else { return false };
        let removed = self.by_time.remove(&(at, key));
        debug_assert!(removed, "by_time lacks a pair that by_key holds");
        true
    }

    /// The earliest deadline, if there is any.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the earliest key that is due at `now`.
    pub fn take_due(&mut self, now: Instant) -> Option<K> {
        let (at, key) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        self.by_key.remove(&key);
        Some(key)
    }

    /// How many deadlines are set.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no deadline is set.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

impl<K: Copy + Ord> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn gives_keys_in_the_order_they_fall_due_and_no_earlier() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.set(start + Duration::from_secs(3), 'c');
        timers.set(start + Duration::from_secs(1), 'a');
        timers.set(start + Duration::from_secs(2), 'b');
        assert_eq!(timers.next(), Some(start + Duration::from_secs(1)));
        assert_eq!(timers.take_due(start), None);
        let later = start + Duration::from_secs(2);
        assert_eq!(timers.take_due(later), Some('a'));
        assert_eq!(timers.take_due(later), Some('b'));
        assert_eq!(timers.take_due(later), None);
        assert_eq!(timers.len(), 1);
    }

    #[test]
    fn setting_a_key_again_moves_its_deadline() {
        let start = Instant::now();
        let mut timers = Timers::new();
        timers.set(start, 1);
        timers.set(start + Duration::from_secs(5), 1);
        assert_eq!(timers.take_due(start + Duration::from_secs(4)), None);
        assert!(timers.cancel(1));
        assert!(!timers.cancel(1));
        assert!(timers.is_empty());
        assert_eq!(timers.next(), None);
    }
}
