//! Moments as certificates know them, whole seconds since 1970, and the clock that tells the present one.
//!
//! Nothing here asks the system by itself: who makes a [`Clock`] says where time comes from.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

const DAY_SECONDS: i64 = 86_400;

/// Seconds since 1970-01-01 00:00:00 UTC; shown as `2026-11-22 02:15:06 UTC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub i64);

/// Where the present moment comes from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Date {
    /// Whole days from `now` until this moment, rounded down: 0 on the last day, negative when it has passed.
    pub fn days_left(self, now: Self) -> i64 {
        self.0.saturating_sub(now.0).div_euclid(DAY_SECONDS)
    }

    /// Seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0
    }
}

impl From<SystemTime> for Date {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Self(i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
            Err(before) => Self(i64::try_from(before.duration().as_secs()).map_or(i64::MIN, i64::wrapping_neg)),
        }
    }
}

impl From<UnixTime> for Date {
    fn from(time: UnixTime) -> Self {
        Self(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0.div_euclid(DAY_SECONDS));
        let second = self.0.rem_euclid(DAY_SECONDS);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar (years start in March
/// inside, so that the leap day is the last).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

impl Clock {
    /// A clock that asks `now`: `Clock::new(SystemTime::now)` in programs, anything in tests.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present moment.
    pub fn now(&self) -> Date {
        Date::from((self.0)())
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

impl TimeProvider for Clock {
    /// A clock before 1970 counts as 1970: nothing is valid then either.
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch((self.0)().duration_since(UNIX_EPOCH).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_dates_as_people_write_them() {
        let rows = [
            (0, "1970-01-01 00:00:00 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_795_313_706, "2026-11-22 02:15:06 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
        ];
        for (seconds, text) in rows {
            assert_eq!(Date(seconds).to_string(), text);
        }
    }

    #[test]
    fn counts_whole_days_that_are_left() {
        let end = Date(100 * DAY_SECONDS);
        assert_eq!(end.days_left(Date(70 * DAY_SECONDS)), 30);
        assert_eq!(end.days_left(Date(100 * DAY_SECONDS - 1)), 0);
        assert_eq!(end.days_left(end), 0);
        assert_eq!(end.days_left(Date(100 * DAY_SECONDS + 1)), -1);
    }

    #[test]
    fn shows_any_number_of_seconds() {
        for seconds in [i64::MIN, i64::MAX] {
            assert!(Date(seconds).to_string().ends_with(" UTC"));
        }
    }

    #[test]
    fn a_clock_before_1970_says_1970_to_rustls() {
        let clock = Clock::new(|| UNIX_EPOCH - std::time::Duration::from_secs(5));
        assert_eq!(clock.now(), Date(-5));
        assert_eq!(clock.current_time().map(|time| time.as_secs()), Some(0));
    }
}
