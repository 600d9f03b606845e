//! A line typed at a terminal that does not show it.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use signal_hook::low_level::emulate_default_handler;
use zeroize::Zeroizing;

use super::raw::Raw;
use super::signals::{Signals, Watched};

/// More than any secret has.
pub(super) const BYTES_MAX: usize = 4096;

/// Reads a line; `None` when it is broken off, or the terminal hangs up before its end. Asks for it when nothing is shown any more: who is quick would see the
/// beginning of the answer. What it asks with goes to a terminal on which a line needs its return.
pub(super) fn line(
    terminal: BorrowedFd<'_>,
    ask: impl FnOnce() -> io::Result<()>,
) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let signals = Signals::watch()?;
    let typed = {
        let _raw = Raw::enter(terminal)?;
        ask()?;
        read(terminal, &signals.all)?
    };
    match typed {
        Typed::Line(line) => Ok(line),
        Typed::Signal(signal) => {
            drop(signals);
            emulate_default_handler(signal)?;
            Ok(None)
        }
    }
}

/// How reading ended.
enum Typed {
    /// With a line, or with none.
    Line(Option<Zeroizing<Vec<u8>>>),
    /// With a signal that is still to do its work.
    Signal(i32),
}

fn read(terminal: BorrowedFd<'_>, signals: &[Watched]) -> io::Result<Typed> {
    // All of it from the beginning: a vector that grows leaves copies behind.
    let mut typed = Zeroizing::new(Vec::with_capacity(BYTES_MAX + 1));
    loop {
        let mut fds = vec![PollFd::from_borrowed_fd(terminal, PollFlags::IN)];
        fds.extend(signals.iter().map(|watched| PollFd::new(&watched.came, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let came = |fd: &PollFd<'_>| !fd.revents().is_empty();
        if let Some((watched, _)) = signals.iter().zip(&fds[1..]).find(|(_, fd)| came(fd)) {
            return Ok(Typed::Signal(watched.signal));
        }
        if !came(&fds[0]) {
            continue;
        }
        let mut byte = Zeroizing::new([0]);
        match rustix::io::read(terminal, &mut *byte) {
            // Whoever hangs up has not finished: half a secret is none, and the other half may have gone elsewhere.
            Ok(0) | Err(Errno::IO) => return Ok(Typed::Line(None)),
            Ok(_) => {
                if let Some(key) = key(&mut typed, byte[0]) {
                    return Ok(Typed::Line((key == Key::Whole).then_some(typed)));
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A key that ends the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Whole,
    BrokenOff,
}

fn key(typed: &mut Vec<u8>, byte: u8) -> Option<Key> {
    match byte {
        b'\r' | b'\n' => return Some(Key::Whole),
        // ^C, ^D, ^\, ^Z
        0x03 | 0x04 | 0x1c | 0x1a => return Some(Key::BrokenOff),
        // ^U
        0x15 => typed.clear(),
        0x08 | 0x7f => {
            typed.pop();
        }
        _ if typed.len() <= BYTES_MAX => typed.push(byte),
        _ => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn keys(bytes: &[u8]) -> (Option<Key>, Vec<u8>) {
        let mut typed = Vec::new();
        (bytes.iter().find_map(|&byte| key(&mut typed, byte)), typed)
    }

    #[test]
    fn what_was_typed_when_the_terminal_hangs_up_is_no_answer() {
        for (typed, whole) in [(&b"vmw1-AB"[..], None), (b"", None), (b"vmw1\r", Some(&b"vmw1"[..]))] {
            let (terminal, mut keyboard) = UnixStream::pair().unwrap();
            keyboard.write_all(typed).unwrap();
            drop(keyboard);
            let Typed::Line(line) = read(terminal.as_fd(), &[]).unwrap() else { panic!("no signal came") };
            assert_eq!(line.as_deref().map(Vec::as_slice), whole, "{typed:?}");
        }
    }

    #[test]
    fn a_line_is_typed_mended_and_broken_off() {
        assert_eq!(keys(b"vmw1-AB\x7fA\r"), (Some(Key::Whole), b"vmw1-AA".to_vec()));
        assert_eq!(keys(b"nonsense\x15vmw1-\n"), (Some(Key::Whole), b"vmw1-".to_vec()));
        assert_eq!(keys(b"vmw1\x03\r").0, Some(Key::BrokenOff));
        assert_eq!(keys(b"vmw1").0, None);
        assert!(keys(&[&[b'a'; 10_000][..], b"\r"].concat()).1.len() <= BYTES_MAX + 1);
    }
}
