//! How long the clock of the hosts has stood: while a person is asked, and while standard input is read, which a person or
//! another program writes. Neither is the time of a host.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What has been counted so far. One for the process, as there is one terminal and one standard input.
static COUNTED: Mutex<Counted> = Mutex::new(Counted::new());

#[derive(Debug)]
struct Counted {
    whole: Duration,
    /// How many it stands for now, and since when.
    now: Option<(usize, Instant)>,
}

impl Counted {
    const fn new() -> Self {
        Self { whole: Duration::ZERO, now: None }
    }

    fn begin(&mut self, now: Instant) {
        let (count, since) = self.now.unwrap_or((0, now));
        self.now = Some((count + 1, since));
    }

    fn end(&mut self, now: Instant) {
        match self.now {
            Some((2.., since)) => self.now = self.now.map(|(count, _)| (count - 1, since)),
            Some((_, since)) => (self.whole, self.now) = (self.whole + now.saturating_duration_since(since), None),
            None => {}
        }
    }

    fn whole(&self, now: Instant) -> Duration {
        self.whole + self.now.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(since))
    }
}

/// The clock stands for as long as this lives.
#[derive(Debug)]
pub(super) struct Standing(());

impl Standing {
    pub(super) fn begin() -> Self {
        counted().begin(Instant::now());
        Self(())
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        counted().end(Instant::now());
    }
}

/// How long it has stood in all.
pub(super) fn stood() -> Duration {
    counted().whole(Instant::now())
}

fn counted() -> MutexGuard<'static, Counted> {
    COUNTED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_once_for_however_many_it_stands() {
        let mut counted = Counted::new();
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(counted.whole(at(9)), Duration::ZERO);
        counted.begin(at(10));
        counted.begin(at(12));
        assert_eq!(counted.whole(at(13)), Duration::from_secs(3));
        counted.end(at(14));
        assert_eq!(counted.whole(at(15)), Duration::from_secs(5));
        counted.end(at(16));
        assert_eq!(counted.whole(at(99)), Duration::from_secs(6));
        counted.begin(at(100));
        counted.end(at(101));
        assert_eq!(counted.whole(at(200)), Duration::from_secs(7));
    }
}
