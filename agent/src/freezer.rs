//! Whether file systems are frozen, and until when.
//!
//! ```text
//!   Thawed ──marker written, log quiet──▶ Frozen ──thawed, marker removed──▶ Thawed
//!                                           │
//!                                           └──lease over, or freeze given up──▶ thawed by the agent itself
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
    /// The freeze did not come to be, as whoever asked for it is told.
    given_up: bool,
    /// The agent thawed them itself, and nobody was told yet.
    expired: bool,
}

impl Freezer {
    /// Nothing is frozen.
    pub fn new(lease: Option<Duration>) -> Freezer {
        Freezer { lease, frozen: false, until: None, given_up: false, expired: false }
    }

    /// Whether file systems are frozen, or may be.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// They are about to be frozen.
    pub fn freeze(&mut self, now: Instant) {
        self.frozen = true;
        self.given_up = false;
        self.expired = false;
        self.until = self.lease.map(|lease| now + lease);
    }

    /// They are not, or not all: what is frozen of them is to be thawed at once.
    pub fn give_up(&mut self, now: Instant) {
        self.given_up = true;
        self.until = Some(now);
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

    /// The lease was over. Of a freeze that was given up nobody believes that it held.
    pub fn expire(&mut self) {
        self.expired = !self.given_up;
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
    fn without_a_lease_it_never_ends_unless_it_was_given_up() {
        let mut freezer = Freezer::new(None);
        let now = Instant::now();
        freezer.freeze(now);
        assert!(freezer.is_frozen());
        assert_eq!(freezer.deadline(), None);
        freezer.give_up(now);
        assert!(freezer.is_due(now, Duration::from_secs(1)));
        freezer.expire();
        assert!(!freezer.take_expired());
        freezer.freeze(now);
        assert_eq!(freezer.deadline(), None);
        freezer.expire();
        assert!(freezer.take_expired());
    }
}
