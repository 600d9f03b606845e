//! From when until when a certificate is valid.

use time::OffsetDateTime;

use super::PkiError;
use crate::date::Date;

/// How long an authority lives: ten years and their leap days.
pub const AUTHORITY_DAYS: i64 = 3653;

/// How long the certificate of a server or a client lives: what browsers take at most, 13 months.
pub const CERTIFICATE_DAYS: i64 = 397;

/// By how much the beginning of all we sign lies before the moment of signing, for machines whose clocks are slow.
pub const SKEW_SECONDS: i64 = 300;

const DAY_SECONDS: i64 = 86_400;

/// 2025-01-01. A clock before that was never set: what it signs would be over before it began.
const CLOCK_MIN: Date = Date(1_735_689_600);

/// 9900-01-01. RFC 5280 ends with the year 9999.
const CLOCK_MAX: Date = Date(250_246_540_800);

/// First and last moment of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Date,
    pub(super) until: Date,
}

impl Validity {
    /// Of an authority that is made now.
    pub(super) fn of_authority(now: Date) -> Result<Self, PkiError> {
        let now = believable(now)?;
        Ok(Self { from: Date(now.0 - SKEW_SECONDS), until: Date(now.0 + AUTHORITY_DAYS * DAY_SECONDS) })
    }

    /// Of a certificate that is signed now by an authority with the validity `authority`, beyond which it cannot last.
    pub(super) fn of_certificate(now: Date, authority: Self) -> Result<Self, PkiError> {
        authority.holds(now)?;
        let from = Date((believable(now)?.0 - SKEW_SECONDS).max(authority.from.0));
        Ok(Self { from, until: Date(now.0 + CERTIFICATE_DAYS * DAY_SECONDS).min(authority.until) })
    }

    /// Whether an authority with this validity may sign now.
    pub(super) fn holds(self, now: Date) -> Result<(), PkiError> {
        believable(now)?;
        if now < self.from {
            return Err(PkiError::AuthorityNotYetValid { from: self.from, now });
        }
        if now >= self.until {
            return Err(PkiError::AuthorityExpired { until: self.until, now });
        }
        Ok(())
    }
}

fn believable(now: Date) -> Result<Date, PkiError> {
    if (CLOCK_MIN..CLOCK_MAX).contains(&now) { Ok(now) } else { Err(PkiError::Clock(now)) }
}

/// The same moment for rcgen. `date` is one that [`Validity`] made or that stands in a certificate.
pub(super) fn for_rcgen(date: Date) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp(date.0).map_err(|_| PkiError::Clock(date))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Date = Date(1_795_313_706);

    #[test]
    fn a_certificate_begins_a_little_earlier_and_never_outlives_its_authority() {
        let authority = Validity::of_authority(NOW).unwrap();
        let young = Validity::of_certificate(NOW, authority).unwrap();
        assert_eq!(young, Validity { from: Date(NOW.0 - 300), until: Date(NOW.0 + 397 * 86_400) });
        let late = Date(authority.until.0 - 10);
        assert_eq!(Validity::of_certificate(late, authority).unwrap().until, authority.until);
        let started_now = Validity { from: NOW, ..authority };
        assert_eq!(Validity::of_certificate(NOW, started_now).unwrap().from, NOW);
    }

    #[test]
    fn an_authority_signs_only_while_it_is_valid() {
        let authority = Validity::of_authority(NOW).unwrap();
        let Validity { from, until } = authority;
        assert_eq!(authority.holds(from), Ok(()));
        let early = Date(from.0 - 1);
        assert_eq!(authority.holds(early), Err(PkiError::AuthorityNotYetValid { from, now: early }));
        assert_eq!(authority.holds(until), Err(PkiError::AuthorityExpired { until, now: until }));
    }

    #[test]
    fn nothing_is_signed_by_a_clock_that_cannot_be_right() {
        for now in [i64::MIN, -1, 0, CLOCK_MIN.0 - 1, CLOCK_MAX.0, i64::MAX].map(Date) {
            assert_eq!(Validity::of_authority(now), Err(PkiError::Clock(now)));
            let forever = Validity { from: Date(i64::MIN), until: Date(i64::MAX) };
            assert_eq!(Validity::of_certificate(now, forever), Err(PkiError::Clock(now)));
        }
        assert!(for_rcgen(Validity::of_authority(Date(CLOCK_MAX.0 - 1)).unwrap().until).is_ok());
    }
}
