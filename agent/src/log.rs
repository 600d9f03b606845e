//! What the agent says: its log, in qemu-ga's form, and a line for every command that matters to the system's. Both are
//! best effort: no request fails, and nothing waits, because a log is full or gone. What is written down never holds a password or
//! what a program was given to read.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest line that is handed to the system's log.
const LINE_BYTES_MAX: usize = 1024;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The agent cannot go on, or not as it should.
    Critical,
    /// Something went wrong, and the agent goes on.
    Warning,
    /// Said to whom asked for everything.
    Debug,
}

/// Where lines go.
#[derive(Debug, Default)]
pub struct Log {
    /// None is standard error.
    file: Option<File>,
    verbose: bool,
    /// Nothing may be written while file systems are frozen: it would never return.
    quiet: bool,
    system: RefCell<Option<UnixDatagram>>,
}

impl Log {
    /// A log to this file, or to standard error.
    pub fn new(file: Option<File>, verbose: bool) -> Log {
        Log { file, verbose, quiet: false, system: RefCell::new(None) }
    }

    /// Whether lines are thrown away.
    pub fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// Takes another file, which could not be opened before.
    pub fn set_file(&mut self, file: File) {
        self.file = Some(file);
    }

    /// Writes a line to the agent's own log.
    pub fn say(&self, level: Level, what: impl fmt::Display) {
        if self.quiet || (level > Level::Critical && !self.verbose) {
            return;
        }
        let name = match level {
            Level::Critical => "critical",
            Level::Warning => "warning",
            Level::Debug => "debug",
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = format!("{}.{:06}: {name}: {}\n", now.as_secs(), now.subsec_micros(), escaped(&what.to_string()));
        let _ = match &self.file {
            Some(file) => (&*file).write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    }

    /// Writes a line to the system's log: who asked for what.
    pub fn account(&self, what: impl fmt::Display) {
        if self.quiet {
            return;
        }
        let mut line = format!("<30>qemu-ga: info: {}", escaped(&what.to_string()));
        let mut end = line.len().min(LINE_BYTES_MAX);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        let mut system = self.system.borrow_mut();
        if system.is_none() {
            *system = system_log();
        }
        if system.as_ref().is_some_and(|socket| socket.send(line.as_bytes()).is_err()) {
            *system = None;
        }
    }
}

fn system_log() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect("/dev/log").ok()?;
    Some(socket)
}

/// Text that is not ours, without what would steer a terminal or begin a line.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() { shown.extend(character.escape_default()) } else { shown.push(character) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_begins_no_line_and_steers_no_terminal() {
        assert_eq!(escaped("a\nb\u{1b}[2J\r\u{9b}é"), "a\\nb\\u{1b}[2J\\r\\u{9b}é");
    }
}
