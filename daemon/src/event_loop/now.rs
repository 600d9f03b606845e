//! One reading of the clocks, taken once a turn and handed to whatever decides.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time of the present turn on both clocks.
///
/// Deciding code takes it as an argument instead of asking a clock, so that a simulation can run on a virtual one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock: deadlines and intervals count on this one.
    pub monotonic: Instant,
    /// Nanoseconds since 1970-01-01 UTC: what people are shown.
    pub utc_ns: u64,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        let utc = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { monotonic: Instant::now(), utc_ns: u64::try_from(utc.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// The same moment, moved into the future by `by`, on both clocks.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        Self {
            monotonic: self.monotonic + by,
            utc_ns: self.utc_ns.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)),
        }
    }
}
