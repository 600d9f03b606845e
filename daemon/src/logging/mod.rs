//! The log: lines are put into a bounded buffer and carried to standard error by the loop, which never waits for
//! whoever reads there. Lines that found no room are counted, and the count is told when there is room again.
//!
//! A line is `LEVEL text`; text that is about a connection or a virtual machine begins with `connection N: ` or
//! `vm NAME: `. Under journald the level is its `<N>` prefix and the time is left to it. Control characters are
//! escaped, whoever they came from.

mod lines;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Record, SetLoggerError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use self::lines::Lines;

/// What waits for standard error at most.
const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Longer text is cut, so that a line is never longer than a pipe takes at once.
const TEXT_BYTES_MAX: usize = 3 * 1024;

/// The way from the log's buffer to standard error.
#[derive(Debug, Clone)]
pub struct Log {
    lines: Arc<Mutex<Lines>>,
}

impl Log {
    /// Makes this process log into a buffer. `VMWIRE_LOG` or else `RUST_LOG`, a level or what env_logger understands,
    /// overrules `level`.
    ///
    /// # Errors
    /// A logger was set before.
    pub fn start(level: &str) -> Result<Self, SetLoggerError> {
        let log = Self { lines: Arc::new(Mutex::new(Lines::new(BUFFER_BYTES_MAX))) };
        let from_environment = from_environment();
        let style = if is_journal(io::stderr().as_fd()) { Style::Journal } else { Style::Time };
        env_logger::Builder::new()
            .parse_filters(from_environment.as_deref().unwrap_or("trace"))
            .format(move |out, record| out.write_all(line(style, SystemTime::now(), record).as_bytes()))
            .target(env_logger::Target::Pipe(Box::new(log.clone())))
            .try_init()?;
        set_level(level);
        Ok(log)
    }

    /// Writes what standard error takes without waiting. Says whether lines are left, so that the loop looks again.
    pub fn flush(&self) -> bool {
        self.flush_to(io::stderr().as_fd())
    }

    /// Writes all lines, waiting for standard error at most `patience` in all: for the way in and the way out, when
    /// there is no loop to disturb.
    pub fn flush_waiting(&self, patience: Duration) {
        let end = Instant::now() + patience;
        while self.flush() {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or_default();
            let stderr = io::stderr();
            if left.is_zero() || poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], Some(&timeout)).is_err() {
                return;
            }
        }
    }

    /// How many lines found no room since the start.
    pub fn lines_lost(&self) -> u64 {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).lost_ever()
    }

    /// Nobody can log any more.
    #[cfg(test)]
    pub(crate) fn hang_in_it(&self) {
        std::mem::forget(self.lines.lock());
    }

    fn flush_to(&self, out: BorrowedFd<'_>) -> bool {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(chunk) = lines.chunk() {
            // Standard error may be shared with others, so that it is not ours to make non-blocking. A pipe that
            // polls as writable takes what is within PIPE_BUF without waiting.
            match poll(&mut [PollFd::new(&out, PollFlags::OUT)], Some(&Timespec::default())) {
                Ok(0) | Err(Errno::INTR) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
            match rustix::io::write(out, chunk) {
                Ok(written) => lines.consume(written),
                Err(Errno::AGAIN | Errno::INTR) => return true,
                // Nobody will ever read it: a closed pipe, a terminal that is gone.
                Err(_) => lines.discard(),
            }
        }
        false
    }
}

/// Logs from now on what `level` says, unless the environment overrules it.
pub fn set_level(level: &str) {
    if from_environment().is_none() {
        // Whoever calls has checked it against the names that there are.
        log::set_max_level(level.parse().unwrap_or(LevelFilter::Info));
    }
}

fn from_environment() -> Option<String> {
    ["VMWIRE_LOG", "RUST_LOG"].iter().find_map(|name| std::env::var(name).ok())
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a character acts on whatever shows it: C0, DEL, C1, the ends of lines, and what turns the direction of writing.
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text with every character escaped that could make a terminal or a log reader do something.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// How a line says when and how grave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `2026-07-01T12:00:00.000Z WARN text`
    Time,
    /// `<4>text`, for journald.
    Journal,
}

fn line(style: Style, time: SystemTime, record: &Record<'_>) -> String {
    let mut line = match style {
        Style::Time => format!("{} {:<5} ", rfc3339(time), record.level()),
        Style::Journal => format!("<{}>", priority(record.level())),
    };
    if record.level() >= Level::Debug {
        line.push_str(record.target());
        line.push_str(": ");
    }
    let text = escape(&record.args().to_string());
    line.push_str(&text[..text.floor_char_boundary(TEXT_BYTES_MAX)]);
    if text.len() > TEXT_BYTES_MAX {
        // A string takes whatever is written to it.
        let _ = write!(line, "… ({} bytes)", text.len());
    }
    line.push('\n');
    line
}

/// The priority of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Whether `fd` is the stream that systemd gave us for the journal: it names device and inode.
fn is_journal(fd: BorrowedFd<'_>) -> bool {
    let (Ok(stream), Ok(stat)) = (std::env::var("JOURNAL_STREAM"), rustix::fs::fstat(fd)) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// A moment in UTC with milliseconds, as in `2026-07-01T12:00:00.000Z`.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second_of_day) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
        since.subsec_millis()
    )
}

/// The Gregorian date of a day counted from 1970-01-01: years are counted from March, so that leap days come last, in
/// eras of 400 years, which all have the same length.
pub(crate) fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn at(seconds: u64, millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis)
    }

    fn a_line(style: Style, level: Level, text: &str) -> String {
        line(style, at(0, 0), &Record::builder().level(level).target("here").args(format_args!("{text}")).build())
    }

    #[test]
    fn dates_agree_with_the_calendar() {
        assert_eq!(rfc3339(at(0, 0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(at(951_782_399, 999)), "2000-02-28T23:59:59.999Z");
        assert_eq!(rfc3339(at(951_782_400, 0)), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(at(1_782_907_200, 7)), "2026-07-01T12:00:00.007Z");
        assert_eq!(rfc3339(at(4_107_542_399, 0)), "2100-02-28T23:59:59.000Z");
        assert_eq!(rfc3339(at(4_107_542_400, 0)), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn a_line_says_when_and_how_grave_in_the_way_of_its_reader() {
        assert_eq!(a_line(Style::Time, Level::Warn, "vm a: odd"), "1970-01-01T00:00:00.000Z WARN  vm a: odd\n");
        assert_eq!(a_line(Style::Journal, Level::Error, "bad"), "<3>bad\n");
        assert_eq!(a_line(Style::Journal, Level::Debug, "fine"), "<7>here: fine\n");
    }

    #[test]
    fn nothing_in_a_line_can_start_a_new_line_or_drive_a_terminal() {
        let hostile = "a\nb\r\u{1b}[2J\u{7f}\u{9b}2J\u{202e}\u{2066}\u{61c}\u{200e}\u{200f}ä";
        let told = "<6>a\\nb\\r\\u{1b}[2J\\u{7f}\\u{9b}2J\\u{202e}\\u{2066}\\u{61c}\\u{200e}\\u{200f}ä\n";
        assert_eq!(a_line(Style::Journal, Level::Info, hostile), told);
    }

    #[test]
    fn a_line_never_exceeds_what_a_pipe_takes_at_once() {
        let line = a_line(Style::Time, Level::Info, &"ä".repeat(100_000));
        assert!(line.len() <= lines::CHUNK_BYTES_MAX, "{}", line.len());
        assert!(line.ends_with("ä… (200000 bytes)\n"));
    }

    #[test]
    fn a_reader_who_stalls_never_makes_us_wait_and_hears_how_much_was_lost() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut log = Log { lines: Arc::new(Mutex::new(Lines::new(BUFFER_BYTES_MAX))) };
        let line = [b"x".repeat(999).as_slice(), b"\n"].concat();
        // 64 KiB go into the pipe, 256 KiB into the buffer, and the rest is lost.
        for _ in 0..1000 {
            log.write_all(&line).unwrap();
            log.flush_to(writer.as_fd());
        }
        assert!(log.flush_to(writer.as_fd()), "nothing was left although nobody read");

        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        while log.flush_to(writer.as_fd()) {
            std::thread::yield_now();
        }
        drop(writer);
        let text = reading.join().unwrap().unwrap();
        let whole = text.lines().filter(|line| line.len() == 999).count();
        let told = text.lines().find_map(|line| line.split_once(" log lines lost")).expect("no word of the loss").0;
        let lost: usize = told.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(whole + lost, 1000);
        assert_eq!(log.lines_lost(), u64::try_from(lost).unwrap());
        assert!(lost > 0);
    }

    #[test]
    fn a_reader_who_is_gone_is_no_error_and_leaves_nothing_behind() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut log = Log { lines: Arc::new(Mutex::new(Lines::new(BUFFER_BYTES_MAX))) };
        log.write_all(b"a\n").unwrap();
        assert!(!log.flush_to(writer.as_fd()));
        assert!(log.lines.lock().unwrap().chunk().is_none());
    }
}
