//! What ssh and the far side say on standard error: line by line, bounded, and to whom.
//!
//! Until the daemon has answered it may be why it never will, and is kept for the error. From then on it is for whoever is
//! there: warnings of ssh, the words with which a host greets, complaints of the far side.

use std::fmt;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ask::Ask;
use crate::uri::SshTarget;

/// Lines that are kept, and how long each may be.
const LINES_MAX: usize = 24;
const LINE_BYTES_MAX: usize = 2048;

/// How ssh asks for a key to be touched: where what it says goes to a terminal, and to a window where there is one. Here
/// it goes to a pipe, so that it says nothing, and what it does is looked at instead.
const TOUCH: &str = "Confirm user presence";
const TOUCH_LOOK: Duration = Duration::from_millis(50);

/// How long such a key waits.
const TOUCH_TIME: Duration = Duration::from_secs(30);

/// The last lines, as they come.
#[derive(Clone)]
pub(super) struct Said(Arc<Shared>);

struct Shared {
    place: String,
    told: Option<Arc<dyn Ask>>,
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    /// The daemon has answered.
    opened: bool,
    /// When somebody was asked to touch a key.
    touch: Option<Instant>,
    over: bool,
}

impl Said {
    /// Nothing yet; what there will be comes from a place, and somebody may be told.
    pub(super) fn new(place: &SshTarget, told: Option<Arc<dyn Ask>>) -> Self {
        let (lines, changed) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { place: place.to_string(), told, lines, changed }))
    }

    /// Reads until its end, on a thread of its own: who does not read would make ssh wait.
    pub(super) fn collect(&self, mut stderr: impl Read + Send + 'static) {
        let said = self.clone();
        let collecting = std::thread::Builder::new().name("ssh".to_owned()).spawn(move || {
            let (mut line, mut buffer) = (Vec::new(), [0; 1024]);
            while let Ok(count @ 1..) = stderr.read(&mut buffer) {
                said.hear(&mut line, &buffer[..count]);
            }
            said.add(&line);
            said.locked().over = true;
            said.0.changed.notify_all();
        });
        if let Err(error) = collecting {
            log::debug!("what ssh says cannot be read: {error}");
        }
    }

    /// Takes bytes as they come; `line` has what is no whole line yet.
    pub(super) fn hear(&self, line: &mut Vec<u8>, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => self.add(&std::mem::take(line)),
                _ if line.len() < LINE_BYTES_MAX => line.push(byte),
                _ => {}
            }
        }
    }

    /// Takes a line, whole or at the end of everything.
    pub(super) fn add(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        if line.is_empty() {
            return;
        }
        log::debug!("{}: {}", self.0.place, line.escape_debug());
        if line.starts_with(TOUCH) {
            self.locked().touch = Some(Instant::now());
            return self.tell(&line);
        }
        let mut lines = self.locked();
        if lines.lines.len() == LINES_MAX {
            lines.lines.remove(0);
        }
        lines.lines.push(line.clone());
        let opened = lines.opened;
        drop(lines);
        if opened {
            self.tell(&line);
        }
    }

    /// The daemon has answered: nothing that was said was why it does not.
    pub(super) fn opened(&self) {
        let mut lines = self.locked();
        lines.opened = true;
        let before = std::mem::take(&mut lines.lines);
        drop(lines);
        before.iter().for_each(|line| self.tell(line));
    }

    /// Asks whoever is there to touch their key, whenever it waits for that, until there is nothing to wait for any more
    /// or ssh asks by itself. `waits` answers by which process: a key that wants a PIN as well signs once without and once
    /// with it.
    pub(super) fn ask_for_a_touch_when(&self, waits: impl Fn() -> Option<u32> + Send + 'static) {
        let said = self.clone();
        let watching = std::thread::Builder::new().name("ssh-touch".to_owned()).spawn(move || {
            let (mut asked, mut process) = (None, None);
            loop {
                let mut lines = said.locked();
                if lines.opened || lines.over || lines.touch != asked {
                    return;
                }
                if let Some(waiting) = waits()
                    && process.replace(waiting) != Some(waiting)
                {
                    asked = Some(Instant::now());
                    lines.touch = asked;
                    drop(lines);
                    said.tell("touch your security key");
                } else {
                    drop(lines);
                }
                std::thread::sleep(TOUCH_LOOK);
            }
        });
        if let Err(error) = watching {
            log::debug!("it cannot be seen whether a key waits to be touched: {error}");
        }
    }

    /// Whether a key waits to be touched.
    pub(super) fn asks_for_a_touch(&self) -> bool {
        self.locked().touch.is_some_and(|since| since.elapsed() < TOUCH_TIME)
    }

    /// Nobody may hold the lines meanwhile: whoever is there may be answering to another host.
    fn tell(&self, line: &str) {
        if let Some(told) = &self.0.told {
            told.tell(&self.0.place, line);
        }
    }

    /// Those that there are.
    pub(super) fn lines(&self) -> Vec<String> {
        self.locked().lines.clone()
    }

    /// All of them, when ssh has ended; what it left behind may hold the other end open.
    pub(super) fn all_within(&self, time: Duration) -> Vec<String> {
        let waited = self.0.changed.wait_timeout_while(self.locked(), time, |lines| !lines.over);
        waited.map_or_else(|poisoned| poisoned.into_inner().0.lines.clone(), |(lines, _)| lines.lines.clone())
    }

    fn locked(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Said").field(&self.lines()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;
    use crate::ask::{Question, Secret, UnknownHost};
    use crate::uri::Uri;

    /// Somebody who only listens.
    #[derive(Debug, Default)]
    struct Ear(Mutex<Vec<String>>, Mutex<()>);

    impl Ask for Ear {
        fn is_there(&self) -> bool {
            true
        }

        fn is_meant(&self, _: &UnknownHost<'_>) -> io::Result<bool> {
            Ok(false)
        }

        fn answer(&self, _: &Question<'_>) -> io::Result<Option<Secret>> {
            Ok(None)
        }

        fn tell(&self, place: &str, line: &str) {
            self.0.lock().unwrap().push(format!("{place}: {line}"));
            drop(self.1.lock());
        }
    }

    fn said(told: Option<Arc<dyn Ask>>) -> Said {
        let uri: Uri = "qemu+ssh://me@vm1/system".parse().unwrap();
        Said::new(uri.ssh().unwrap(), told)
    }

    #[test]
    fn the_last_lines_are_kept_and_no_line_without_end() {
        let mut text: String = (0..99).map(|number| format!("line {number}\n\n")).collect();
        text.push_str(&"x".repeat(100_000));
        let said = said(None);
        said.collect(io::Cursor::new(text));
        let lines = said.all_within(Duration::from_secs(30));
        assert_eq!((lines.len(), lines[LINES_MAX - 2].as_str()), (LINES_MAX, "line 98"));
        assert_eq!(lines[LINES_MAX - 1], "x".repeat(LINE_BYTES_MAX));
    }

    #[test]
    fn what_was_no_failure_is_told_to_whoever_is_there_once_the_daemon_has_answered() {
        let ear = Arc::new(Ear::default());
        let said = said(Some(ear.clone()));
        said.add(b"authorized uses only\r");
        assert!(ear.0.lock().unwrap().is_empty() && !said.asks_for_a_touch(), "it may be why there is no daemon");
        said.add(b"Confirm user presence for key ED25519-SK SHA256:x");
        assert_eq!(*ear.0.lock().unwrap(), ["me@vm1: Confirm user presence for key ED25519-SK SHA256:x"]);
        assert!(said.asks_for_a_touch());
        ear.0.lock().unwrap().clear();
        said.ask_for_a_touch_when(|| panic!("ssh asks by itself"));
        said.opened();
        said.add(b"the disk is full");
        assert_eq!(*ear.0.lock().unwrap(), ["me@vm1: authorized uses only", "me@vm1: the disk is full"]);
        assert_eq!(said.lines(), ["the disk is full"]);
    }

    #[test]
    fn whoever_is_there_is_asked_to_touch_the_key_when_it_waits() {
        let ear = Arc::new(Ear::default());
        let said = said(Some(ear.clone()));
        // Without the PIN, nothing while that is asked for, and with it.
        let seen = Mutex::new([None, Some(1), Some(1), None, Some(2), Some(2)].into_iter());
        let (looked, looks) = mpsc::channel();
        said.ask_for_a_touch_when(move || {
            let seen = seen.lock().unwrap().next();
            if seen.is_none() {
                let _nobody_looks_any_more = looked.send(());
            }
            seen.flatten()
        });
        looks.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(*ear.0.lock().unwrap(), ["me@vm1: touch your security key"; 2]);
        assert!(said.asks_for_a_touch());
    }

    #[test]
    fn whoever_is_busy_with_another_host_holds_up_no_limit_of_this_one() {
        let ear = Arc::new(Ear::default());
        let said = said(Some(ear.clone()));
        let busy = ear.1.lock().unwrap();
        said.ask_for_a_touch_when(|| Some(1));
        let adding = said.clone();
        let speaking = std::thread::spawn(move || {
            adding.opened();
            adding.add(b"the disk is full");
        });
        let (answer, answered) = mpsc::channel();
        let heard = ear.clone();
        std::thread::spawn(move || {
            while heard.0.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
            answer.send(said.asks_for_a_touch()).unwrap();
        });
        let asks = answered.recv_timeout(Duration::from_secs(60));
        drop(busy);
        speaking.join().unwrap();
        assert!(asks.is_ok(), "it waits for the other host's answer");
    }

    #[test]
    fn whoever_holds_the_other_end_open_is_not_waited_for() {
        let (near, _far) = UnixStream::pair().unwrap();
        let said = said(None);
        said.collect(near);
        assert!(said.all_within(Duration::from_millis(20)).is_empty());
    }
}
