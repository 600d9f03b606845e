//! A serial port. Nobody sees who is at its other end, and hardly that somebody is.
//!
//! While no host is connected a virtio port is readable for ever, with nothing to read: who polls it spins or sleeps and looks
//! again. The port is therefore watched by an epoll of its own for *changes*, of which the kernel makes one when a host comes, and
//! the loop waits for that epoll. What it told is remembered until the port says that there is nothing more.
//!
//! A host's first bytes may arrive before the word that it is connected, and even before the word that its predecessor is not, for
//! bytes and words take different ways through the kernel. What was sent lately may therefore be the last of one or the first of the
//! other; it is done for either's sake, and answered if somebody comes:
//!
//! ```text
//!   Present ──nobody there, and no bytes lately──▶ Away ──bytes──▶ Arriving ──connected──▶ Present
//!      │      (what was begun is forgotten)         ▲              ▲  │
//!      │                                            └──not in time─┼──┘ (forgotten too)
//!      └──nobody there, but bytes now or lately────────────────────┘
//! ```
//!
//! How long the word may take is a bound, for nothing tells the two apart. A host sends the word before its bytes, but the kernel gives
//! us bytes when we ask and notes words when a thread of its own gets to run: of a host that left, and of one whose word is not noted
//! yet, we see the same bytes, the same `POLLHUP` and the same reads of 0, and an epoll does not count how often a port changed. Answers
//! that were kept for longer would be read by a third, who did not ask. So it is not only time that is waited for but turns: in each of
//! them the kernel's thread could have run as well as we, however slow the machine is and however far its clock jumps.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFlags, epoll};
use rustix::io::Errno;
use rustix::termios::{self, ControlModes, OptionalActions, QueueSelector, SpecialCodeIndex};

use super::Got;

/// How long to wait before a port that failed is opened anew.
const REOPEN_AFTER: Duration = Duration::from_secs(1);
/// The same when its owner said that it comes and goes.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Who sent bytes is connected within so many turns of that length, or has left again.
const ARRIVAL_TURNS: u32 = 10;
const ARRIVAL_TURN: Duration = Duration::from_millis(100);

/// A port that is open, or will be.
#[derive(Debug)]
pub struct Port {
    path: PathBuf,
    is_terminal: bool,
    retries: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Open(Open),
    /// To be opened at this time.
    Closed(Instant),
}

#[derive(Debug)]
struct Open {
    file: File,
    changes: OwnedFd,
    may_read: bool,
    may_write: bool,
    /// When something changed last, no host was connected.
    hung_up: bool,
    host: Host,
    /// When bytes came last.
    bytes_at: Option<Instant>,
}

/// Whether there is a host at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    Present,
    Away,
    /// It has sent bytes, and should be connected before that is over.
    Arriving(Arrival),
}

/// So much of the time in which a host should be connected is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Arrival {
    turns: u32,
    /// When this turn is over.
    until: Instant,
}

impl Arrival {
    fn begin(now: Instant) -> Arrival {
        Arrival { turns: ARRIVAL_TURNS, until: now + ARRIVAL_TURN }
    }

    /// Whether it is over. A turn that took longer than it should is one turn all the same.
    fn is_over(&mut self, now: Instant) -> bool {
        if self.turns > 0 && self.until <= now {
            *self = Arrival { turns: self.turns - 1, until: now + ARRIVAL_TURN };
        }
        self.turns == 0
    }
}

impl Port {
    /// Opens a port. One that `retries` may be missing.
    ///
    /// # Errors
    /// What the system says of it.
    pub fn open(path: &Path, is_terminal: bool, retries: bool, now: Instant) -> io::Result<Port> {
        let state = match Open::new(path, is_terminal) {
            Ok(open) => State::Open(open),
            Err(_) if retries => State::Closed(now + RETRY_AFTER),
            Err(error) => return Err(error),
        };
        Ok(Port { path: path.to_owned(), is_terminal, retries, state })
    }

    pub(super) fn read(&mut self, buffer: &mut [u8], now: Instant) -> Got {
        let open = match &mut self.state {
            State::Open(open) => open,
            State::Closed(at) if now < *at => return Got::Nothing,
            State::Closed(_) => return self.reopen(now),
        };
        open.look();
        if let Host::Arriving(arrival) = &mut open.host
            && arrival.is_over(now)
        {
            open.host = Host::Away;
            return Got::End;
        }
        if !open.may_read {
            return Got::Nothing;
        }
        match open.file.read(buffer) {
            Ok(0) => {
                open.may_read = false;
                if self.is_terminal {
                    self.state = State::Closed(now + REOPEN_AFTER);
                    return Got::End;
                }
                if open.host != Host::Present {
                    return Got::Nothing;
                }
                if open.bytes_at.is_some_and(|at| now < at + ARRIVAL_TURN * ARRIVAL_TURNS) {
                    open.host = Host::Arriving(Arrival::begin(now));
                    return Got::Changing;
                }
                open.host = Host::Away;
                Got::End
            }
            Ok(count) => {
                open.bytes_at = Some(now);
                if open.host == Host::Away || (open.host == Host::Present && open.hung_up) {
                    open.host = Host::Arriving(Arrival::begin(now));
                }
                Got::Bytes(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                open.may_read = false;
                Got::Nothing
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Got::Nothing,
            Err(error) => {
                if self.is_gone(&error) {
                    return Got::Broken(error);
                }
                self.state = State::Closed(now + if self.retries { RETRY_AFTER } else { REOPEN_AFTER });
                Got::End
            }
        }
    }

    fn reopen(&mut self, now: Instant) -> Got {
        match Open::new(&self.path, self.is_terminal) {
            Ok(open) => {
                self.state = State::Open(open);
                Got::Connected
            }
            Err(error) if self.is_gone(&error) => Got::Broken(error),
            Err(_) => {
                self.state = State::Closed(now + if self.retries { RETRY_AFTER } else { REOPEN_AFTER });
                Got::Nothing
            }
        }
    }

    /// Whether there is no such device any more, and nobody said that it comes back.
    fn is_gone(&self, error: &io::Error) -> bool {
        let gone = [Errno::NODEV, Errno::NXIO, Errno::NOENT].map(|errno| Some(errno.raw_os_error()));
        !self.retries && gone.contains(&error.raw_os_error())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let State::Open(open) = &mut self.state else { return Err(Errno::NODEV.into()) };
        open.look();
        if !open.may_write {
            return Ok(0);
        }
        match open.file.write(bytes) {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                open.may_write = false;
                Ok(0)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Whether who asked has left. What else it sent is still there.
    pub(super) fn has_left(&mut self, now: Instant) -> bool {
        let State::Open(open) = &mut self.state else { return true };
        open.look();
        if let Host::Arriving(arrival) = &mut open.host
            && arrival.is_over(now)
        {
            open.host = Host::Present;
        }
        open.hung_up && open.host == Host::Present
    }

    /// What changes, which is of interest to who neither reads nor writes, too: a host may leave.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.state {
            State::Open(open) => Some((open.changes.as_fd(), PollFlags::IN)),
            State::Closed(_) => None,
        }
    }

    pub(super) fn deadline(&self, reading: bool) -> Option<Instant> {
        match &self.state {
            State::Open(Open { host: Host::Arriving(arrival), .. }) => Some(arrival.until),
            State::Open(_) => None,
            State::Closed(at) => reading.then_some(*at),
        }
    }
}

impl Open {
    fn new(path: &Path, is_terminal: bool) -> io::Result<Open> {
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let file = File::options().read(true).write(true).custom_flags(flags).open(path)?;
        if is_terminal {
            make_plain(&file)?;
        }
        let changes = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&changes, &file, epoll::EventData::new_u64(0), interest)?;
        Ok(Open { file, changes, may_read: true, may_write: true, hung_up: false, host: Host::Present, bytes_at: None })
    }

    /// Takes note of what changed.
    fn look(&mut self) {
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }];
        let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        if epoll::wait(&self.changes, &mut events, Some(&none)).is_ok_and(|count| count > 0) {
            (self.may_read, self.may_write) = (true, true);
            let flags = events[0].flags;
            self.hung_up = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
            if !self.hung_up {
                self.host = Host::Present;
            }
        }
    }
}

/// A line that takes and gives every byte as it is. What waited there before us is nobody's.
fn make_plain(file: &File) -> io::Result<()> {
    let mut settings = termios::tcgetattr(file)?;
    settings.make_raw();
    settings.control_modes |= ControlModes::CREAD | ControlModes::CLOCAL;
    settings.set_speed(38400)?;
    settings.special_codes[SpecialCodeIndex::VMIN] = 1;
    settings.special_codes[SpecialCodeIndex::VTIME] = 0;
    termios::tcflush(file, QueueSelector::IFlush)?;
    termios::tcsetattr(file, OptionalActions::Now, &settings)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_takes_nobody_for_gone() {
        let begin = Instant::now();
        let mut arrival = Arrival::begin(begin);
        // Nothing ran for an hour, as the machine did not; then everything does.
        let mut now = begin + Duration::from_secs(3600);
        for turn in 1..ARRIVAL_TURNS {
            assert!(!arrival.is_over(now), "in turn {turn}");
            assert!(!arrival.is_over(now), "a turn passes by time only");
            now += ARRIVAL_TURN;
        }
        assert!(arrival.is_over(now));
        assert!(arrival.is_over(now), "over is over");
    }
}
