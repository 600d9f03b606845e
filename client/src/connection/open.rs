//! How a link comes to be: a socket, HELLO, and the pauses between attempts.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use vmwire_protocol::message::{HelloAnswer, ServerData, code};

use super::link::{Arrival, Link};
use super::{Options, greeting, in_time};
use crate::ask::Asking;
use crate::error::{Error, Lost};
use crate::transport::{Dialer, Socket};

/// Where links come from.
#[derive(Debug)]
pub(super) enum Origin {
    /// A place to connect to, any number of times.
    Dialer(Box<Dialer>),
    /// A socket that was handed over, once.
    Given(Option<Socket>),
}

impl Origin {
    /// Whether a second link can be had.
    pub(super) fn can_reopen(&self) -> bool {
        matches!(self, Self::Dialer(_))
    }

    /// Connects and says HELLO.
    pub(super) fn open(&mut self, options: &Options) -> Result<(Link, HelloAnswer), Error> {
        let until = in_time(options.connect_timeout);
        let dialer = match self {
            Self::Given(socket) => {
                let socket = socket.take().ok_or(Error::Lost(Lost::Closed))?;
                return greet(Link::new(socket, options.keepalive), options, until);
            }
            Self::Dialer(dialer) => dialer,
        };
        let asking = Asking::new(options.ask.clone(), until);
        let socket = dialer.connect(&asking)?;
        match greet(Link::new(socket, options.keepalive), options, asking.until()) {
            // A daemon of one's own leaves when nobody needs it, and may do so just as we come in.
            Err(error) if dialer.starts_daemon() && leaves(&error) => {
                log::debug!("the daemon was just leaving: {error}");
                let socket = dialer.connect(&asking)?;
                greet(Link::new(socket, options.keepalive), options, asking.until())
            }
            greeted => greeted,
        }
    }
}

fn leaves(error: &Error) -> bool {
    matches!(error, Error::Lost(Lost::Closed)) || error.is(code::GOING_AWAY)
}

fn greet(mut link: Link, options: &Options, until: Instant) -> Result<(Link, HelloAnswer), Error> {
    let hello = link.session.call(&greeting(options), 0)?;
    let began = Instant::now();
    let until = match link.patience() {
        Some(patience) => until.max(began + patience),
        None => until.min(began + options.greeting_timeout.min(options.connect_timeout)),
    };
    let mut arrivals = Vec::new();
    loop {
        let turned = link.turn(Some(until), None, &mut arrivals);
        for arrival in arrivals.drain(..) {
            match arrival {
                Arrival::Answer { serial, result: Ok(ServerData::Hello(answer)) } if serial == hello => {
                    return Ok((link, answer));
                }
                Arrival::Answer { result: Err(failure), .. } => return Err(Error::Refused(Box::new(failure))),
                _ => {}
            }
        }
        turned?;
        if Instant::now() >= until {
            return Err(link.late(began.elapsed()));
        }
    }
}

/// The pauses between attempts: longer each time, and not the same for all who lost the same daemon.
#[derive(Debug)]
pub(super) struct Pause {
    next: Duration,
}

impl Pause {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);

    pub(super) fn new() -> Self {
        Self { next: Duration::ZERO }
    }

    /// Rests until it is time to try again, not at all the first time. `false` when `until` comes before.
    pub(super) fn rest(&mut self, error: &Error, until: Instant) -> bool {
        let asked = error.failure().map_or(0, |failure| failure.retry_after_ms);
        let pause = self.next.mul_f64(jitter()).max(Duration::from_millis(asked.into()));
        self.next = (self.next * 2).clamp(Self::FIRST, Self::LONGEST);
        let left = until.saturating_duration_since(Instant::now());
        std::thread::sleep(pause.min(left));
        pause < left
    }
}

/// Between a half and one; another one each time.
fn jitter() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    0.5 + f64::from(u16::try_from(random & 0xffff).unwrap_or(0)) / 131_072.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stop_at_their_longest() {
        let mut pause = Pause::new();
        let now = Instant::now();
        assert!(pause.rest(&Error::Lost(Lost::Closed), now + Duration::from_secs(3600)), "the first is none");
        for _ in 0..10 {
            assert!(!pause.rest(&Error::Lost(Lost::Closed), now), "there is no time left");
        }
        assert_eq!(pause.next, Pause::LONGEST);
        for _ in 0..100 {
            assert!((0.5..=1.0).contains(&jitter()));
        }
    }
}
