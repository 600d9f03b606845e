//! Questions put to whoever sits at the terminal: through `/dev/tty`, for standard input and output may be files.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError, TryLockError};

use zeroize::Zeroizing;

use super::stood::Standing;
use super::{hidden, text};
use crate::ask::{Ask, Question, Secret, UnknownHost};

/// The terminal of this process, if it has one.
#[derive(Debug)]
pub(super) struct Terminal {
    /// There is one connection.
    pub(super) alone: bool,
}

/// Held while somebody is asked: several hosts may want to know something.
static ASKING: Mutex<()> = Mutex::new(());

/// Whether somebody is being asked just now.
pub(super) fn is_asking() -> bool {
    matches!(ASKING.try_lock(), Err(TryLockError::WouldBlock))
}

impl Ask for Terminal {
    fn is_there(&self) -> bool {
        open().is_ok()
    }

    fn is_alone(&self) -> bool {
        self.alone
    }

    fn is_meant(&self, host: &UnknownHost<'_>) -> io::Result<bool> {
        let _one = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
        let _standing = Standing::begin();
        let mut terminal = open()?;
        terminal.write_all(words_of_host(host).as_bytes())?;
        let mut lines = BufReader::new(terminal.try_clone()?);
        loop {
            let Some(line) = whole_line(&mut lines)? else { return Ok(false) };
            match verdict(&String::from_utf8_lossy(&line), host.fingerprint) {
                Some(verdict) => return Ok(verdict),
                None => terminal.write_all(b"yes, no, or the fingerprint itself: ")?,
            }
        }
    }

    fn answer(&self, question: &Question<'_>) -> io::Result<Option<Secret>> {
        let _one = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
        let _standing = Standing::begin();
        let mut terminal = open()?;
        let words = words_of_question(question);
        let typed = if matches!(question, Question::Interactive { echo: true, .. }) {
            terminal.write_all(words.as_bytes())?;
            whole_line(&mut BufReader::new(terminal.try_clone()?))?
        } else {
            let line = hidden::line(terminal.as_fd(), || (&terminal).write_all(words.replace('\n', "\r\n").as_bytes()));
            terminal.write_all(b"\n")?;
            line?
        };
        let Some(mut typed) = typed else { return Ok(None) };
        while matches!(typed.last(), Some(b'\r' | b'\n')) {
            typed.pop();
        }
        let text = String::from_utf8(std::mem::take(&mut *typed));
        text.map(|text| Some(Secret::new(text))).map_err(|_| io::Error::other("what was typed is not UTF-8"))
    }

    fn tell(&self, place: &str, line: &str) {
        let _one = ASKING.lock().unwrap_or_else(PoisonError::into_inner);
        // A terminal that has gone wants to hear nothing.
        let _ = open().and_then(|mut terminal| terminal.write_all(told(place, line).as_bytes()));
    }
}

/// A line with its end; `None` where the terminal hangs up before that, or somebody pastes what cannot be an answer.
fn whole_line(lines: &mut impl BufRead) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(hidden::BYTES_MAX));
    io::Read::take(lines, hidden::BYTES_MAX as u64).read_until(b'\n', &mut line)?;
    Ok(line.ends_with(b"\n").then_some(line))
}

fn told(place: &str, line: &str) -> String {
    // The terminal may be raw by now, for a console.
    format!("{}: {}\r\n", text::line(place), text::line(line))
}

fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

fn words_of_host(host: &UnknownHost<'_>) -> String {
    format!(
        "The host {} is not known here. Its {} key has the fingerprint\n  {}\nGo on, and remember it in {}? (yes/no/the \
         fingerprint itself) ",
        text::line(host.name),
        host.key,
        host.fingerprint,
        text::line(&host.file.display().to_string())
    )
}

/// Whether an answer is a yes or a no, if it is one at all.
fn verdict(line: &str, fingerprint: &str) -> Option<bool> {
    let line = line.trim();
    if line == fingerprint || line.eq_ignore_ascii_case("yes") {
        Some(true)
    } else if line.eq_ignore_ascii_case("no") {
        Some(false)
    } else {
        None
    }
}

fn words_of_question(question: &Question<'_>) -> String {
    let wrong = |again: &bool| if *again { "That was wrong. " } else { "" };
    match question {
        Question::Passphrase { file, again } => {
            format!("{}Passphrase for {}: ", wrong(again), text::line(&file.display().to_string()))
        }
        Question::Password { user, host, again } => {
            format!("{}Password for {}@{}: ", wrong(again), text::line(user), text::line(host))
        }
        Question::Interactive { user, host, instructions, text: asked, .. } => {
            let mut words = String::new();
            if !instructions.trim().is_empty() {
                words = format!("{} says: {}\n", text::line(host), text::lines(instructions.trim()));
            }
            words + &format!("({}@{}) {}", text::line(user), text::line(host), text::line(asked))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_a_host_says_does_not_act_on_the_terminal() {
        let question = Question::Interactive {
            user: "me",
            host: "vm1",
            instructions: "\u{1b}[2Jsit down\nhere",
            text: "\u{202e}code: ",
            echo: false,
        };
        let expected = "vm1 says: \\u{1b}[2Jsit down\nhere\n(me@vm1) \\u{202e}code: ";
        assert_eq!(words_of_question(&question), expected);
        let again = Question::Password { user: "me", host: "vm1", again: true };
        assert_eq!(words_of_question(&again), "That was wrong. Password for me@vm1: ");
        let passphrase = Question::Passphrase { file: Path::new("/k\r"), again: false };
        assert_eq!(words_of_question(&passphrase), "Passphrase for /k\\r: ");
    }

    #[test]
    fn a_line_that_has_no_end_is_no_answer() {
        let read = |typed: &str| whole_line(&mut typed.as_bytes()).unwrap().map(|line| line.to_vec());
        assert_eq!(read("yes\nno"), Some(b"yes\n".to_vec()));
        for typed in ["", "yes", &"y".repeat(10_000)] {
            assert_eq!(read(typed), None, "{typed}");
        }
    }

    #[test]
    fn yes_no_and_the_fingerprint_are_answers_and_nothing_else_is() {
        for (line, expected) in [
            ("yes\n", Some(true)),
            ("YES", Some(true)),
            (" no \n", Some(false)),
            ("SHA256:abc\n", Some(true)),
            ("SHA256:abd\n", None),
            ("sha256:abc\n", None),
            ("y\n", None),
            ("\n", None),
        ] {
            assert_eq!(verdict(line, "SHA256:abc"), expected, "{line:?}");
        }
    }
}
