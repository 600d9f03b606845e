//! How fast people who may do nothing can make the audit grow: it is rotated, so whoever could fill it could make it forget.

use std::time::{Duration, Instant};

/// Lines at once.
const BURST: u32 = 1000;

/// One more each time that so much has passed.
const REFILL: Duration = Duration::from_millis(10);

/// Lines that may be caused now, and how many were left out since the last one.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
    refilled: Option<Instant>,
    left_out: u64,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { left: BURST, refilled: None, left_out: 0 }
    }

    /// Whether there may be another line now. If not, it is counted.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        let since = *self.refilled.get_or_insert(now);
        let refills = now.saturating_duration_since(since).as_nanos() / REFILL.as_nanos();
        let refills = u32::try_from(refills).unwrap_or(u32::MAX).min(BURST);
        if refills > 0 {
            self.left = self.left.saturating_add(refills).min(BURST);
            self.refilled = Some(now);
        }
        if self.left == 0 {
            self.left_out += 1;
            return false;
        }
        self.left -= 1;
        true
    }

    /// How many were left out since this was asked last.
    pub(super) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_short_counted_and_heard_again_later() {
        let begin = Instant::now();
        let mut budget = Budget::new();
        let told = (0..5000).filter(|_| budget.spend(begin)).count();
        assert_eq!(told, 1000);
        assert_eq!((budget.take_left_out(), budget.take_left_out()), (4000, 0));
        let later = begin + REFILL * 3;
        assert_eq!((0..5000).filter(|_| budget.spend(later)).count(), 3);
        let much_later = begin + Duration::from_secs(3600);
        assert_eq!((0..5000).filter(|_| budget.spend(much_later)).count(), 1000);
    }
}
