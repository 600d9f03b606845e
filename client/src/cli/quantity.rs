//! Durations and sizes as people write and read them.
//!
//! Reading is strict: a number and a unit, nothing guessed. Writing is for tables only; JSON has exact numbers.

use std::fmt;
use std::time::Duration;

/// Reads `500ms`, `5s`, `2m`, `1h`, `1d`, or seconds without a unit. Zero is refused: a wait of nothing is an error.
///
/// # Errors
/// Says what was wrong with the text.
pub(crate) fn read_duration(text: &str) -> Result<Duration, QuantityError> {
    let (number, unit) = split(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(QuantityError::Unit { text: text.to_owned(), units: "ms, s, m, h, d" }),
    };
    let total = number.checked_mul(milliseconds).ok_or_else(|| QuantityError::TooLarge(text.to_owned()))?;
    if total == 0 {
        return Err(QuantityError::Zero);
    }
    Ok(Duration::from_millis(total))
}

/// Reads a size in bytes: `512MiB`, `1GiB`, `4096`. Units are powers of 1,024 only, as memory is.
///
/// # Errors
/// Says what was wrong with the text.
pub(crate) fn read_bytes(text: &str) -> Result<u64, QuantityError> {
    let (number, unit) = split(text)?;
    let shift = match unit {
        "" | "B" => 0,
        "KiB" | "K" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        "TiB" | "T" => 40,
        _ => return Err(QuantityError::Unit { text: text.to_owned(), units: "B, KiB, MiB, GiB, TiB" }),
    };
    number.checked_mul(1 << shift).ok_or_else(|| QuantityError::TooLarge(text.to_owned()))
}

fn split(text: &str) -> Result<(u64, &str), QuantityError> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err(QuantityError::NoNumber(text.to_owned()));
    }
    let number = digits.parse().map_err(|_| QuantityError::TooLarge(text.to_owned()))?;
    Ok((number, unit))
}

/// A size for a table: the largest unit that leaves at least 1, with one decimal where it is not whole.
pub(crate) fn show_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in UNITS {
        let whole = bytes >> shift;
        if whole == 0 {
            continue;
        }
        let tenths = ((bytes - (whole << shift)) * 10) >> shift;
        if tenths == 0 {
            return format!("{whole} {unit}");
        }
        return format!("{whole}.{tenths} {unit}");
    }
    format!("{bytes} B")
}

/// A duration for a table: the two largest units that say something.
pub(crate) fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days}d {hours}h")
    } else if hours > 0 {
        format!("{hours}h {minutes}m")
    } else if minutes > 0 {
        format!("{minutes}m {}s", seconds % 60)
    } else if seconds > 0 {
        format!("{}.{}s", seconds, duration.subsec_millis() / 100)
    } else if duration.as_micros() >= 1_000 {
        format!("{}.{:03} ms", duration.as_millis(), duration.subsec_micros() % 1_000)
    } else {
        format!("{} us", duration.as_micros())
    }
}

/// A moment, given in nanoseconds since 1970 (UTC), in the form of RFC 3339 with milliseconds.
pub(crate) fn show_time(time_ns: u64) -> String {
    let (seconds, milliseconds) = (time_ns / 1_000_000_000, time_ns / 1_000_000 % 1_000);
    let (year, month, day) = civil(seconds / 86_400);
    let second = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{milliseconds:03}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

/// Year, month and day of a day counted from 1970-01-01. Counts in eras of 400 years that begin on a 1st of March, so
/// that the leap day is the last day of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QuantityError {
    /// It does not begin with a digit.
    NoNumber(String),
    /// An unknown unit.
    Unit {
        /// The whole text.
        text: String,
        /// The units there are.
        units: &'static str,
    },
    /// More than can be counted.
    TooLarge(String),
    /// A duration of nothing.
    Zero,
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNumber(text) => write!(f, "{text:?} does not begin with a whole number"),
            Self::Unit { text, units } => write!(f, "{text:?} has no unit that is known; there are {units}"),
            Self::TooLarge(text) => write!(f, "{text:?} is too large to count"),
            Self::Zero => f.write_str("a duration of zero leaves no time"),
        }
    }
}

impl std::error::Error for QuantityError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        let table =
            [("1", 1_000), ("500ms", 500), ("5s", 5_000), ("2m", 120_000), ("1h", 3_600_000), ("1d", 86_400_000)];
        for (text, milliseconds) in table {
            assert_eq!(read_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in
            ["", "s", "-1s", "1.5s", "1 s", "1w", "1S", "18446744073709551616", "18446744073709551615d", "0", "0ms"]
        {
            assert!(read_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("1KiB", 1024), ("3M", 3 << 20), ("1GiB", 1 << 30), ("2T", 2 << 40)]
        {
            assert_eq!(read_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["GiB", "1GB", "1gib", "0x10", "16777216TiB"] {
            assert!(read_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_the_largest_unit() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (256 << 20, "256 MiB"),
            ((1 << 30) + (1 << 29), "1.5 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(show_bytes(bytes), text);
        }
    }

    #[test]
    fn durations_are_shown_with_two_units() {
        let table = [
            (Duration::from_micros(42), "42 us"),
            (Duration::from_micros(1_042), "1.042 ms"),
            (Duration::from_millis(1_500), "1.5s"),
            (Duration::from_secs(61), "1m 1s"),
            (Duration::from_secs(3_660), "1h 1m"),
            (Duration::from_secs(90_000), "1d 1h"),
        ];
        for (duration, text) in table {
            assert_eq!(show_duration(duration), text);
        }
    }

    #[test]
    fn moments_are_shown_in_utc() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999_999_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000Z"),
            (1_709_164_800_000_000_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_000_000_000, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "2554-07-21T23:34:33.709Z"),
        ];
        for (time_ns, text) in table {
            assert_eq!(show_time(time_ns), text);
        }
    }
}
