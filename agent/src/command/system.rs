//! What system the guest is: its name, its release, who is logged in, what time zone it is in, how busy it is.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Done;
use super::time_zone::TimeZone;
use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::error::CommandError;
use crate::json::Value;

/// Another file than the system's, for tests of hosts.
const RELEASE_VARIABLE: &str = "QGA_OS_RELEASE";
const RELEASES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
const LOGINS: &str = "/var/run/utmp";

/// Kernel and distribution.
pub(super) fn osinfo(arguments: &mut Arguments) -> Result<Value, CommandError> {
    arguments.finish()?;
    let kernel = rustix::system::uname();
    let mut members = vec![
        ("kernel-release".to_owned(), kernel.release().to_string_lossy().into_owned().into()),
        ("kernel-version".to_owned(), kernel.version().to_string_lossy().into_owned().into()),
        ("machine".to_owned(), kernel.machine().to_string_lossy().into_owned().into()),
    ];
    let text = match std::env::var(RELEASE_VARIABLE) {
        Ok(path) => std::fs::read_to_string(path).ok(),
        Err(_) => RELEASES.iter().find_map(|path| std::fs::read_to_string(path).ok()),
    };
    let text = text.unwrap_or_default();
    let release = os_release(&text);
    for (key, name) in [
        ("ID", "id"),
        ("NAME", "name"),
        ("PRETTY_NAME", "pretty-name"),
        ("VERSION", "version"),
        ("VERSION_ID", "version-id"),
        ("VARIANT", "variant"),
        ("VARIANT_ID", "variant-id"),
    ] {
        members.extend(release.get(key).map(|value| (name.to_owned(), value.as_str().into())));
    }
    Ok(Value::Object(members))
}

/// The lines of an `os-release`, which are assignments as a shell reads them.
fn os_release(text: &str) -> BTreeMap<&str, String> {
    let assignments = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.trim().split_once('='));
    assignments.map(|(key, value)| (key, unquoted(value))).collect()
}

/// A word of a shell without its quotes.
fn unquoted(word: &str) -> String {
    let mut plain = String::new();
    let mut quote = None;
    let mut characters = word.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None | Some('"'), '\\') => plain.extend(characters.next()),
            (None, ' ' | '\t' | '#') => break,
            _ => plain.push(character),
        }
    }
    plain
}

/// The guest's name.
pub(super) fn host_name(_: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(Done::Return(Value::object([("host-name", name.into())])))
}

/// How far the guest's clocks are from UTC, and what that is called.
pub(super) fn time_zone(arguments: &mut Arguments) -> Result<Value, CommandError> {
    arguments.finish()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|span| i64::try_from(span.as_secs()).ok());
    let (offset, zone) = TimeZone::local().at(now.unwrap_or_default());
    Ok(Value::object([("zone", zone.into()), ("offset", offset.into())]))
}

/// Who is logged in, and since when.
pub(super) fn users(arguments: &mut Arguments) -> Result<Value, CommandError> {
    arguments.finish()?;
    let records = std::fs::read(LOGINS).unwrap_or_default();
    let users: Vec<Value> = logins(&records)
        .into_iter()
        .map(|(user, since)| Value::object([("user", user.into()), ("login-time", since.into())]))
        .collect();
    Ok(users.into())
}

/// How long a record of `utmp` is, and where in it things are; the same on every Linux with a 64-bit processor.
const RECORD_BYTES: usize = 384;
const USER_PROCESS: i16 = 7;

/// The first login of everybody in a file of `utmp` records.
fn logins(records: &[u8]) -> BTreeMap<String, f64> {
    let mut logins = BTreeMap::new();
    for record in records.chunks_exact(RECORD_BYTES) {
        let number = |at: usize| record.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
        if record.first_chunk().copied().map(i16::from_ne_bytes) != Some(USER_PROCESS) {
            continue;
        }
        let name = &record[44..76];
        let name = String::from_utf8_lossy(name.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned();
        let (Some(seconds), Some(microseconds)) = (number(340), number(344)) else { continue };
        let since = f64::from(seconds) + f64::from(microseconds) / 1e6;
        let first = logins.entry(name).or_insert(since);
        *first = first.min(since);
    }
    logins
}

/// How many programs wanted the processors over the last minutes.
pub(super) fn load(_: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    let text = std::fs::read_to_string("/proc/loadavg")
        .map_err(|error| CommandError::system("Failed to query load", error))?;
    load_in(&text).map(Done::Return)
}

/// What `/proc/loadavg` begins with.
fn load_in(text: &str) -> Result<Value, CommandError> {
    let mut numbers = text.split_whitespace().map_while(|word| word.parse::<f64>().ok());
    let (Some(one), Some(five), Some(fifteen)) = (numbers.next(), numbers.next(), numbers.next()) else {
        return Err(CommandError::generic("Failed to query load: /proc/loadavg is not understood"));
    };
    Ok(Value::object([("load1m", one.into()), ("load5m", five.into()), ("load15m", fifteen.into())]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_read_as_a_shell_does() {
        let read =
            os_release("# x\nNAME=\"Debian \\\"GNU\\\"\"\nID=debian\nVERSION='12 (a)'\n\nVARIANT=a\\ b # c\nbroken\n");
        assert_eq!(read["NAME"], "Debian \"GNU\"");
        assert_eq!(read["ID"], "debian");
        assert_eq!(read["VERSION"], "12 (a)");
        assert_eq!(read["VARIANT"], "a b");
        assert_eq!(read.len(), 4);
    }

    #[test]
    fn each_load_is_that_of_its_minutes() {
        let expected = [("load1m", 0.25.into()), ("load5m", 1.5.into()), ("load15m", 30.0.into())];
        assert_eq!(load_in("0.25 1.50 30.00 1/234 5678\n").unwrap(), Value::object(expected));
        assert!(load_in("0.25 garbage").unwrap_err().text().contains("not understood"));
    }

    #[test]
    fn the_first_login_of_each_user_counts() {
        let record = |kind: i16, user: &str, seconds: i32, microseconds: i32| {
            let mut record = vec![0; RECORD_BYTES];
            record[..2].copy_from_slice(&kind.to_ne_bytes());
            record[44..44 + user.len()].copy_from_slice(user.as_bytes());
            record[340..344].copy_from_slice(&seconds.to_ne_bytes());
            record[344..348].copy_from_slice(&microseconds.to_ne_bytes());
            record
        };
        let long = "u".repeat(32);
        let mut records = [
            record(7, "root", 2000, 500_000),
            record(7, "root", 1000, 0),
            record(6, "nobody", 1, 0),
            record(7, &long, 5, 0),
        ]
        .concat();
        records.extend_from_slice(&[7, 0, 0]);
        let logins = logins(&records);
        assert_eq!(logins.len(), 2);
        assert!((logins["root"] - 1000.0).abs() < f64::EPSILON);
        assert!((logins[&long] - 5.0).abs() < f64::EPSILON);
    }
}
