//! Whether file systems are frozen, and until when.
//!
//! ```text
//!   Thawed ──marker written, log quiet──▶ Frozen ──thawed, marker removed──▶ Thawed
//!                                           │
//!                                           └──nobody thawed for a lease──▶ thawed by the agent itself
//! ```

use std::time::{Duration, Instant};

/// What is known of frozen file systems.
#[derive(Debug)]
pub struct Freezer {
    /// How long they stay frozen if nobody thaws them. None is for ever.
    lease: Option<Duration>,
    frozen: bool,
    /// When the agent thaws them itself.
    until: Option<Instant>,
    /// The agent thawed them itself, and nobody was told yet.
    expired: bool,
}

impl Freezer {
    /// Nothing is frozen.
    pub fn new(lease: Option<Duration>) -> Freezer {
        Freezer { lease, frozen: false, until: None, expired: false }
    }

    /// Whether file systems are frozen, or may be.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// They are about to be frozen.
    pub fn freeze(&mut self, now: Instant) {
        self.frozen = true;
        self.expired = false;
        self.until = self.lease.map(|lease| now + lease);
    }

    /// They are no longer.
    pub fn thaw(&mut self) {
        self.frozen = false;
        self.until = None;
    }

    /// When they are to be thawed.
    pub fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Whether it is time; once, until `again`.
    pub fn is_due(&mut self, now: Instant, again: Duration) -> bool {
        let due = self.until.is_some_and(|until| until <= now);
        if due {
            self.until = Some(now + again);
        }
        due
    }

    /// The lease was over.
    pub fn expire(&mut self) {
        self.expired = true;
    }

    /// Whether it was, since this was asked last.
    pub fn take_expired(&mut self) -> bool {
        std::mem::take(&mut self.expired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_once_and_only_of_what_is_frozen() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let mut freezer = Freezer::new(Some(second * 10));
        assert!(!freezer.is_due(begin + second * 100, second));
        freezer.freeze(begin);
        assert!(!freezer.is_due(begin + second * 9, second));
        assert!(freezer.is_due(begin + second * 10, second));
        assert!(!freezer.is_due(begin + second * 10, second));
        assert!(freezer.is_due(begin + second * 11, second));
        freezer.thaw();
        assert_eq!(freezer.deadline(), None);
    }

    #[test]
    fn without_a_lease_it_never_ends() {
        let mut freezer = Freezer::new(None);
        freezer.freeze(Instant::now());
        assert!(freezer.is_frozen());
        assert_eq!(freezer.deadline(), None);
    }
}
