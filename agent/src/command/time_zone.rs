//! The local time zone: a file of RFC 8536, and the rule at its end for the time after its last entry.

use std::path::{Path, PathBuf};

/// Where zones are, and the one of this machine.
const ZONES: &str = "/usr/share/zoneinfo";
const LOCAL: &str = "/etc/localtime";
const DAY: i64 = 86_400;

/// A time zone.
#[derive(Debug, Default)]
pub(super) struct TimeZone {
    /// From when on which kind of time is kept.
    changes: Vec<(i64, usize)>,
    kinds: Vec<Kind>,
    rule: Option<Rule>,
}

/// Seconds east of UTC, and their name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind {
    offset: i64,
    name: String,
}

/// What is kept after the last change.
#[derive(Debug)]
struct Rule {
    standard: Kind,
    /// With when it begins and ends in a year.
    summer: Option<(Kind, Moment, Moment)>,
}

/// A day of a year and a second of it.
#[derive(Debug, Clone, Copy)]
struct Moment {
    day: Day,
    second: i64,
}

#[derive(Debug, Clone, Copy)]
enum Day {
    /// From 1, without 29 February.
    Julian(i64),
    /// From 0, with it.
    OfYear(i64),
    /// Month, week (5 is the last), day of the week.
    Weekday(i64, i64, i64),
}

impl TimeZone {
    /// The zone of this machine, UTC if there is none.
    pub(super) fn local() -> TimeZone {
        let named = std::env::var("TZ").ok();
        let named = named.as_deref().map(|name| name.strip_prefix(':').unwrap_or(name)).filter(|name| !name.is_empty());
        let path = named.map_or_else(|| PathBuf::from(LOCAL), |name| Path::new(ZONES).join(name));
        let read = std::fs::read(path).ok().and_then(|bytes| TimeZone::read(&bytes));
        // TZ may hold the rule itself.
        read.or_else(|| Some(TimeZone { rule: Some(Rule::read(named?)?), ..TimeZone::default() })).unwrap_or_default()
    }

    /// What a file says.
    fn read(bytes: &[u8]) -> Option<TimeZone> {
        let (first, rest) = Block::read(bytes, 4)?;
        if bytes.get(4).is_none_or(|version| *version < b'2') {
            return Some(first);
        }
        let (mut zone, footer) = Block::read(rest, 8)?;
        let footer = str::from_utf8(footer).ok()?.strip_prefix('\n')?;
        zone.rule = footer.split_once('\n').and_then(|(rule, _)| Rule::read(rule));
        Some(zone)
    }

    /// Seconds east of UTC at a moment, and what they are called.
    pub(super) fn at(&self, time: i64) -> (i64, String) {
        let passed = self.changes.iter().take_while(|(begin, _)| *begin <= time).last();
        let is_after_all = self.changes.last().is_none_or(|(begin, _)| *begin <= time);
        let kind = match &self.rule {
            Some(rule) if is_after_all => Some(rule.at(time)),
            _ => passed.and_then(|(_, kind)| self.kinds.get(*kind)).or(self.kinds.first()),
        };
        kind.map_or_else(|| (0, "UTC".to_owned()), |kind| (kind.offset, kind.name.clone()))
    }
}

/// One of the two blocks of a file, whose times have 4 or 8 bytes.
struct Block;

impl Block {
    fn read(bytes: &[u8], width: usize) -> Option<(TimeZone, &[u8])> {
        if bytes.get(..4)? != b"TZif" {
            return None;
        }
        let count = |place: usize| -> Option<usize> {
            let at = 20 + place * 4;
            usize::try_from(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?)).ok()
        };
        let (universal, standard, leaps, times, kinds, letters) =
            (count(0)?, count(1)?, count(2)?, count(3)?, count(4)?, count(5)?);
        let mut rest = bytes.get(44..)?;
        let mut part = |length: usize| -> Option<&[u8]> {
            let (part, behind) = rest.split_at_checked(length)?;
            rest = behind;
            Some(part)
        };
        let begins = part(times.checked_mul(width)?)?;
        let which = part(times)?;
        let described = part(kinds.checked_mul(6)?)?;
        let names = part(letters)?;
        part(leaps.checked_mul(width + 4)?)?;
        part(standard)?;
        part(universal)?;
        let begins = begins.chunks_exact(width).map(|bytes| match bytes.try_into() {
            Ok(wide) => i64::from_be_bytes(wide),
            Err(_) => bytes.try_into().map_or(0, |narrow| i64::from(i32::from_be_bytes(narrow))),
        });
        let changes = begins.zip(which.iter().map(|&kind| usize::from(kind))).collect();
        let kinds = described
            .chunks_exact(6)
            .map(|kind| {
                let offset = i32::from_be_bytes(kind.get(..4)?.try_into().ok()?);
                let name = names.get(usize::from(*kind.get(5)?)..)?.split(|&byte| byte == 0).next()?;
                Some(Kind { offset: offset.into(), name: String::from_utf8_lossy(name).into_owned() })
            })
            .collect::<Option<Vec<_>>>()?;
        Some((TimeZone { changes, kinds, rule: None }, rest))
    }
}

impl Rule {
    /// Reads `CET-1CEST,M3.5.0,M10.5.0/3`.
    fn read(text: &str) -> Option<Rule> {
        let mut rest = text;
        let standard = Kind { name: name(&mut rest)?, offset: -duration(&mut rest)? };
        if rest.is_empty() {
            return Some(Rule { standard, summer: None });
        }
        let summer = name(&mut rest)?;
        let offset = if rest.starts_with(',') { standard.offset + 3600 } else { -duration(&mut rest)? };
        let begin = moment(&mut rest)?;
        let end = moment(&mut rest)?;
        Some(Rule { standard, summer: Some((Kind { name: summer, offset }, begin, end)) })
    }

    fn at(&self, time: i64) -> &Kind {
        let Some((summer, begin, end)) = &self.summer else { return &self.standard };
        let year = year_of((time + self.standard.offset).div_euclid(DAY));
        let begin = begin.in_year(year) - self.standard.offset;
        let end = end.in_year(year) - summer.offset;
        let is_summer = if begin < end { (begin..end).contains(&time) } else { !(end..begin).contains(&time) };
        if is_summer { summer } else { &self.standard }
    }
}

fn name(rest: &mut &str) -> Option<String> {
    let (name, behind) = match rest.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>')?,
        None => rest.split_at(rest.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(rest.len())),
    };
    *rest = behind;
    (!name.is_empty()).then(|| name.to_owned())
}

fn number(rest: &mut &str) -> Option<i64> {
    let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, behind) = rest.split_at(end);
    *rest = behind;
    digits.parse().ok().filter(|number| *number < 100_000)
}

/// Seconds of `[+-]hh[:mm[:ss]]`.
fn duration(rest: &mut &str) -> Option<i64> {
    let sign = match rest.chars().next()? {
        '-' => -1,
        _ => 1,
    };
    *rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    let mut seconds = number(rest)? * 3600;
    for unit in [60, 1] {
        let Some(behind) = rest.strip_prefix(':') else { break };
        *rest = behind;
        seconds += number(rest)? * unit;
    }
    Some(sign * seconds)
}

fn moment(rest: &mut &str) -> Option<Moment> {
    *rest = rest.strip_prefix(',')?;
    let day = match rest.chars().next()? {
        'M' => {
            *rest = &rest[1..];
            let month = number(rest)?;
            *rest = rest.strip_prefix('.')?;
            let week = number(rest)?;
            *rest = rest.strip_prefix('.')?;
            let weekday = number(rest)?;
            ((1..=12).contains(&month)).then_some(Day::Weekday(month, week, weekday))?
        }
        'J' => {
            *rest = &rest[1..];
            Day::Julian(number(rest)?)
        }
        _ => Day::OfYear(number(rest)?),
    };
    let second = match rest.strip_prefix('/') {
        None => 7200,
        Some(behind) => {
            *rest = behind;
            duration(rest)?
        }
    };
    Some(Moment { day, second })
}

impl Moment {
    /// Seconds since 1970 by a clock that knows no offset.
    fn in_year(self, year: i64) -> i64 {
        let day = match self.day {
            Day::OfYear(day) => days_before(year, 1) + day,
            Day::Julian(day) => days_before(year, 1) + day - 1 + i64::from(is_leap(year) && day >= 60),
            Day::Weekday(month, week, weekday) => {
                let first = days_before(year, month);
                let next = if month == 12 { days_before(year + 1, 1) } else { days_before(year, month + 1) };
                // 1970 began on a Thursday.
                let mut day = first + (weekday - (first + 4)).rem_euclid(7) + (week - 1) * 7;
                while day >= next {
                    day -= 7;
                }
                day
            }
        };
        day * DAY + self.second
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from 1970 to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let past = year - 1;
    let leaps = past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400);
    let days = usize::try_from(month - 1).ok().and_then(|month| BEFORE.get(month)).copied().unwrap_or_default();
    365 * (year - 1970) + (leaps - 477) + days + i64::from(month > 2 && is_leap(year))
}

fn year_of(day: i64) -> i64 {
    let mut year = 1970 + day.div_euclid(366);
    while days_before(year + 1, 1) <= day {
        year += 1;
    }
    year
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rule: &str, time: i64) -> (i64, String) {
        TimeZone { rule: Rule::read(rule), ..TimeZone::default() }.at(time)
    }

    #[test]
    fn the_rule_says_when_summer_is() {
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        for (time, offset, name) in [
            (1_774_745_999, 3600, "CET"),  // 2026-03-29 00:59:59 UTC
            (1_774_746_000, 7200, "CEST"), // a second later
            (1_792_889_999, 7200, "CEST"), // 2026-10-25 00:59:59 UTC
            (1_792_890_000, 3600, "CET"),
            (4_102_444_800, 3600, "CET"), // 2100-01-01
        ] {
            assert_eq!(at(berlin, time), (offset, name.to_owned()), "{time}");
        }
        // South of the equator summer is at both ends of a year.
        assert_eq!(at("AEST-10AEDT,M10.1.0,M4.1.0/3", 1_767_225_600), (39_600, "AEDT".to_owned()));
        assert_eq!(at("AEST-10AEDT,M10.1.0,M4.1.0/3", 1_782_864_000), (36_000, "AEST".to_owned()));
        assert_eq!(at("<+0545>-5:45", 0), (20_700, "+0545".to_owned()));
        assert_eq!(at("UTC0", 0), (0, "UTC".to_owned()));
        assert_eq!(at("EST5EDT,J60,J300/1:30:10", 1_772_348_400), (-14_400, "EDT".to_owned()));
    }

    #[test]
    fn a_file_is_read_with_its_changes_and_its_rule() {
        let header = |version: u8, times: u32, kinds: u32, letters: u32| {
            let mut bytes = b"TZif".to_vec();
            bytes.push(version);
            bytes.extend_from_slice(&[0; 15]);
            for count in [0, 0, 0, times, kinds, letters] {
                bytes.extend_from_slice(&count.to_be_bytes());
            }
            bytes
        };
        let mut bytes = header(b'2', 0, 0, 0);
        bytes.extend(header(b'2', 2, 2, 8));
        bytes.extend(100_i64.to_be_bytes());
        bytes.extend(200_i64.to_be_bytes());
        bytes.extend([1, 0]);
        bytes.extend([0, 0, 0, 60, 0, 0]);
        bytes.extend([0, 0, 0, 120, 0, 4]);
        bytes.extend(b"ONE\0TWO\0");
        bytes.extend(b"\nTHREE-1\n");
        let zone = TimeZone::read(&bytes).unwrap();
        assert_eq!(zone.at(0), (60, "ONE".to_owned()));
        assert_eq!(zone.at(150), (120, "TWO".to_owned()));
        assert_eq!(zone.at(200), (3600, "THREE".to_owned()));
        for length in 0..bytes.len() {
            TimeZone::read(&bytes[..length]);
        }
    }
}
