//! Whose certificates are to be judged again, and when.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use vmwire_tls::date::Date;

use crate::dispatch::ConnectionId;
use crate::event_loop::Now;

/// Those whose certificates end, and those of whom it is not known whether a new context lets them in.
///
/// Ends are dates and no moments of the loop, so that a clock that is set counts at the next turn.
#[derive(Debug, Default)]
pub(super) struct Judging {
    ends: BTreeSet<(Date, ConnectionId)>,
    /// Places that are to be judged again: so many from the first.
    places: usize,
    /// The last second of a list of revoked certificates.
    list_end: Option<Date>,
}

/// The date of a turn.
pub(super) fn date(now: Now) -> Date {
    Date(i64::try_from(now.utc_ns / NS_A_SECOND).unwrap_or(i64::MAX))
}

const NS_A_SECOND: u64 = 1_000_000_000;

impl Judging {
    /// A certificate of `id` is good until the end of this second.
    pub(super) fn ends(&mut self, end: Date, id: ConnectionId) {
        self.ends.insert((end, id));
    }

    /// A connection is gone whose certificate would end then.
    pub(super) fn forget(&mut self, end: Date, id: ConnectionId) {
        self.ends.remove(&(end, id));
    }

    /// Takes the next one whose certificate has ended.
    pub(super) fn take_ended(&mut self, now: Now) -> Option<ConnectionId> {
        let (end, _) = self.ends.first()?;
        if *end >= date(now) {
            return None;
        }
        self.ends.pop_first().map(|(_, id)| id)
    }

    /// So many places are to be judged again, and all once more after a second that is the last one of a list.
    pub(super) fn all(&mut self, places: usize, list_end: Option<Date>) {
        (self.places, self.list_end) = (places, list_end);
    }

    /// Whether a list has ended by which they were let in. Says so once.
    pub(super) fn take_list_ended(&mut self, now: Now) -> bool {
        self.list_end.take_if(|end| *end < date(now)).is_some()
    }

    /// Takes the next place that is to be judged again.
    pub(super) fn take_place(&mut self) -> Option<usize> {
        self.places = self.places.checked_sub(1)?;
        Some(self.places)
    }

    /// When there is somebody to be judged.
    pub(super) fn poll_timeout(&self, now: Now) -> Option<Instant> {
        if self.places > 0 {
            return Some(now.monotonic);
        }
        let end = self.ends.first().map(|(end, _)| *end).into_iter().chain(self.list_end).min()?;
        let over = u64::try_from(end.0).unwrap_or(0).saturating_add(1).saturating_mul(NS_A_SECOND);
        now.monotonic.checked_add(Duration::from_nanos(over.saturating_sub(now.utc_ns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::ConnectionId;

    #[test]
    fn a_certificate_is_good_for_its_last_second_and_no_longer() {
        let now = Now::read();
        let today = date(now);
        let into = Duration::from_nanos(now.utc_ns % NS_A_SECOND);
        let mut judging = Judging::default();
        assert_eq!(judging.poll_timeout(now), None);
        let [late, soon] = [2, 1].map(ConnectionId::of_test);
        judging.ends(Date(today.0 + 60), late);
        judging.ends(Date(today.0 + 2), soon);
        let over = Duration::from_secs(3) - into;
        assert_eq!(judging.poll_timeout(now), Some(now.monotonic + over));
        assert_eq!(judging.take_ended(now.later(over - Duration::from_millis(1))), None);
        assert_eq!(judging.take_ended(now.later(over)), Some(soon));
        assert_eq!(judging.take_ended(now.later(over)), None);
        judging.forget(Date(today.0 + 60), late);
        assert_eq!(judging.poll_timeout(now), None);
    }

    #[test]
    fn all_are_judged_again_after_the_last_second_of_a_list_and_once() {
        let now = Now::read();
        let into = Duration::from_nanos(now.utc_ns % NS_A_SECOND);
        let mut judging = Judging::default();
        judging.all(2, Some(Date(date(now).0 + 4)));
        assert_eq!(judging.poll_timeout(now), Some(now.monotonic), "they are judged by it first");
        assert_eq!([(); 3].map(|()| judging.take_place()), [Some(1), Some(0), None]);
        let over = Duration::from_secs(5) - into;
        assert_eq!(judging.poll_timeout(now), Some(now.monotonic + over));
        assert!(!judging.take_list_ended(now.later(over - Duration::from_millis(1))));
        assert!(judging.take_list_ended(now.later(over)) && !judging.take_list_ended(now.later(over)));
        // A new one came in time.
        judging.all(0, Some(Date(date(now).0 + 4)));
        judging.all(0, None);
        assert!(!judging.take_list_ended(now.later(over)));
        assert_eq!(judging.poll_timeout(now), None);
    }
}
