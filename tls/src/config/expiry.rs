//! When what a context is made of ends, and when that is worth a word.

use std::fmt;

use crate::date::Date;

use super::material::Part;

/// Days before the end at which it is told: in an event and in the log, once each.
pub const NOTICE_DAYS: [i64; 3] = [30, 7, 1];

/// Something that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// What it is.
    pub part: Part,
    /// Its subject, or the issuer of a revocation list.
    pub subject: String,
    /// Its last moment.
    pub not_after: Date,
}

/// Which notice is due with so many days left: the smallest that has been reached, 0 once it is over.
///
/// Who remembers the answer tells it again only when it has become smaller.
pub fn notice(days_left: i64) -> Option<i64> {
    if days_left < 0 {
        return Some(0);
    }
    NOTICE_DAYS.into_iter().filter(|days| days_left < *days).min()
}

impl Expiry {
    /// Whole days until the end, negative when it has passed.
    pub fn days_left(&self, now: Date) -> i64 {
        self.not_after.days_left(now)
    }

    /// What is to be said of it now.
    pub fn words(&self, now: Date) -> String {
        let Self { part, subject, not_after } = self;
        match self.days_left(now) {
            ..0 => format!("the {part} ({subject}) expired on {not_after}"),
            0 => format!("the {part} ({subject}) expires within a day, on {not_after}"),
            1 => format!("the {part} ({subject}) expires in a day, on {not_after}"),
            days => format!("the {part} ({subject}) expires in {days} days, on {not_after}"),
        }
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) until {}", self.part, self.subject, self.not_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_notice_30_and_7_days_and_a_day_before_and_at_the_end() {
        let rows = [
            (31, None),
            (30, None),
            (29, Some(30)),
            (7, Some(30)),
            (6, Some(7)),
            (1, Some(7)),
            (0, Some(1)),
            (-1, Some(0)),
            (i64::MIN, Some(0)),
        ];
        for (days, due) in rows {
            assert_eq!(notice(days), due, "{days} days left");
        }
    }

    #[test]
    fn says_how_long_it_lasts() {
        let expiry = Expiry { part: Part::Certificate, subject: "CN=host".to_owned(), not_after: Date(86_400 * 40) };
        let rows = [
            (10, "the certificate (CN=host) expires in 30 days, on 1970-02-10 00:00:00 UTC"),
            (39, "the certificate (CN=host) expires in a day, on 1970-02-10 00:00:00 UTC"),
            (40, "the certificate (CN=host) expires within a day, on 1970-02-10 00:00:00 UTC"),
            (41, "the certificate (CN=host) expired on 1970-02-10 00:00:00 UTC"),
        ];
        for (day, words) in rows {
            assert_eq!(expiry.words(Date(86_400 * day)), words);
        }
    }
}
