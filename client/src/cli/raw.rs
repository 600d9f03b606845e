//! A terminal that shows nothing by itself and whose keys all come to us.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{set_hook, take_hook};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Such a terminal, for as long as this lives. It is put back however that ends: no key ends the program, and a panic, which
/// drops nothing in a released program, does it first.
pub(super) struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    pub(super) fn enter(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let (own, usual, seen) = (terminal.try_clone_to_owned()?, take_hook(), before.clone());
        set_hook(Box::new(move |panic| {
            put_back(own.as_fd(), &seen);
            usual(panic);
        }));
        let mut raw = before.clone();
        raw.make_raw();
        let entered = Self { terminal, before };
        tcsetattr(terminal, OptionalActions::Drain, &raw)?;
        Ok(entered)
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        put_back(self.terminal, &self.before);
        if !std::thread::panicking() {
            drop(take_hook());
        }
    }
}

fn put_back(terminal: BorrowedFd<'_>, before: &Termios) {
    // If the terminal is gone there is nothing to put back.
    let _ = tcsetattr(terminal, OptionalActions::Drain, before);
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::LocalModes;

    use super::*;

    #[test]
    fn a_panic_leaves_a_terminal_behind_that_shows_what_is_typed() {
        let other = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&other).unwrap();
        unlockpt(&other).unwrap();
        let path = ptsname(&other, Vec::new()).unwrap().into_string().unwrap();
        let terminal = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let shows = || tcgetattr(&terminal).unwrap().local_modes.contains(LocalModes::ECHO);
        let raw = Raw::enter(terminal.as_fd()).unwrap();
        assert!(!shows());
        // Nothing is dropped, as in a released program.
        std::mem::forget(raw);
        assert!(std::panic::catch_unwind(|| panic!("as planned")).is_err());
        assert!(shows());
        let _: Box<_> = take_hook();
        drop(Raw::enter(terminal.as_fd()).unwrap());
        assert!(shows());
    }
}
