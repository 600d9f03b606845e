//! The pauses between attempts: longer each time, and not the same for all who lost the same daemon.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::Error;

/// The pauses.
#[derive(Debug)]
pub(super) struct Pause {
    next: Duration,
    /// When the present one ends. It is as long however often somebody looks in between.
    ends: Option<Instant>,
}

/// How a rest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rested {
    /// It is time to try again.
    Due,
    /// There was no more time for it.
    Early,
    /// Something else is to be read.
    Extra,
}

impl Pause {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(5);

    pub(super) fn new() -> Self {
        Self { next: Duration::ZERO, ends: None }
    }

    /// How long the present pause still lasts; zero while an attempt is due or under way.
    pub(super) fn left(&self) -> Duration {
        self.ends.map_or(Duration::ZERO, |ends| ends.saturating_duration_since(Instant::now()))
    }

    /// Begins the pause that follows an attempt which ended with `error`, unless it has begun.
    pub(super) fn begin(&mut self, error: &Error) -> Instant {
        *self.ends.get_or_insert_with(|| {
            let asked = error.failure().map_or(0, |failure| failure.retry_after_ms);
            let pause = self.next.mul_f64(jitter()).max(Duration::from_millis(asked.into()));
            self.next = (self.next * 2).clamp(Self::FIRST, Self::LONGEST);
            Instant::now() + pause
        })
    }

    /// Rests until it is time to try again, not at all the first time, or until `until`, or until `extra` is readable.
    pub(super) fn rest(&mut self, error: &Error, until: Instant, extra: Option<BorrowedFd<'_>>) -> Rested {
        let ends = self.begin(error);
        loop {
            let now = Instant::now();
            if now >= ends && ends <= until {
                self.ends = None;
                return Rested::Due;
            }
            if now >= until {
                return Rested::Early;
            }
            if sleep(ends.min(until) - now, extra) {
                return Rested::Extra;
            }
        }
    }
}

/// Sleeps for so long, or until `extra` is readable, and says whether it is.
fn sleep(time: Duration, extra: Option<BorrowedFd<'_>>) -> bool {
    let Some(extra) = extra else {
        std::thread::sleep(time);
        return false;
    };
    let mut fds = [PollFd::from_borrowed_fd(extra, PollFlags::IN)];
    // What cannot be waited for is told to be readable: reading says why.
    poll(&mut fds, Timespec::try_from(time).ok().as_ref()).is_err() || !fds[0].revents().is_empty()
}

/// Between a half and one; another one each time.
fn jitter() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    0.5 + f64::from(u16::try_from(random & 0xffff).unwrap_or(0)) / 131_072.0
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::error::Lost;

    const LOST: Error = Error::Lost(Lost::Closed);

    #[test]
    fn pauses_grow_and_stop_at_their_longest() {
        let mut pause = Pause::new();
        assert_eq!(
            pause.rest(&LOST, Instant::now() + Duration::from_secs(3600), None),
            Rested::Due,
            "the first is none"
        );
        let mut before = Duration::ZERO;
        for _ in 0..12 {
            pause.begin(&LOST);
            assert!(pause.left() <= Pause::LONGEST && pause.left() * 4 >= before, "{before:?} {:?}", pause.left());
            before = pause.left();
            pause.ends = None;
        }
        assert_eq!(pause.next, Pause::LONGEST);
        for _ in 0..100 {
            assert!((0.5..=1.0).contains(&jitter()));
        }
    }

    #[test]
    fn a_pause_ends_when_it_was_to_however_often_somebody_looks_in_between() {
        let mut pause = Pause { next: Duration::from_millis(400), ends: None };
        let began = Instant::now();
        let mut looks = 0;
        while pause.rest(&LOST, Instant::now() + Duration::from_millis(20), None) == Rested::Early {
            looks += 1;
            assert!(looks < 100, "it never ends");
        }
        // A busy machine may come back from each look late.
        assert!((1..=20).contains(&looks), "{looks}");
        assert!(began.elapsed() >= Duration::from_millis(200));
        assert_eq!(pause.next, Duration::from_millis(800), "looking does not make the next one longer");
    }

    #[test]
    fn whoever_is_typing_is_not_kept_waiting() {
        let mut pause = Pause { next: Pause::LONGEST, ends: None };
        let (terminal, keyboard) = UnixStream::pair().unwrap();
        let later = Instant::now() + Duration::from_secs(60);
        drop(keyboard);
        assert_eq!(pause.rest(&LOST, later, Some(terminal.as_fd())), Rested::Extra);
    }

    #[test]
    fn who_asks_for_more_time_gets_it() {
        let mut pause = Pause::new();
        let failure = vmwire_protocol::message::Failure::new(vmwire_protocol::message::code::OVERLOADED, "full");
        let full = Error::Refused(Box::new(vmwire_protocol::message::Failure { retry_after_ms: 9000, ..failure }));
        pause.begin(&full);
        assert!(pause.left() > Duration::from_secs(8));
    }
}
