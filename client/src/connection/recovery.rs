//! A lost link: what ends with it, what goes on, and how it is made anew.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use vmwire_protocol::message::code;

use super::pause::{Pause, Rested};
use super::{Connection, YEAR, in_time, milliseconds};
use crate::error::{Error, Lost};

/// A link that held for so long is a good one: the next loss is a trouble of its own.
const STEADY_AFTER: Duration = Duration::from_secs(5);

/// A lost link and the attempts to make it anew. Lasts until a new one has held for a while, so that a daemon that
/// accepts us and goes again is not asked without pause and without end.
#[derive(Debug)]
pub(super) struct Trouble {
    /// How the link was lost.
    loss: Error,
    /// The same, or how the last attempt to make it anew ended.
    error: Error,
    since: Instant,
    attempts: u32,
    pause: Pause,
}

/// How long one attempt may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Not beyond the moment until which somebody waits for its outcome.
    Within,
    /// As long as connecting may take.
    Whole,
}

/// How it stands with a lost link.
#[derive(Debug, Clone, Copy)]
pub struct Outage<'a> {
    /// Why there is no link: how it was lost, or how the last attempt to make it anew ended.
    pub error: &'a Error,
    /// How many attempts have failed.
    pub attempts: u32,
    /// For how long it has been lost.
    pub lasted: Duration,
    /// In what time the next attempt comes.
    pub next: Duration,
}

impl Connection {
    /// How it stands with a link that is lost; `None` while there is one.
    #[must_use]
    pub fn outage(&self) -> Option<Outage<'_>> {
        let trouble = self.trouble.as_ref().filter(|_| self.link.is_none())?;
        Some(Outage {
            error: &trouble.error,
            attempts: trouble.attempts,
            lasted: trouble.since.elapsed(),
            next: trouble.pause.left(),
        })
    }

    /// How the link was lost that was lost last, also when there is another one by now: who waits for something is given a new
    /// link without a word.
    #[must_use]
    pub fn last_loss(&self) -> Option<&Error> {
        self.trouble.as_ref().map(|trouble| &trouble.loss)
    }

    /// Makes a lost link anew: rests until the next attempt is due, `extra` is readable or the time is over, and tries once
    /// when it is due. Says whether `extra` is readable; whether there is a link now, [`Connection::is_connected`] says.
    ///
    /// # Errors
    /// When the link is lost for good.
    pub fn reconnect_beside(&mut self, extra: Option<BorrowedFd<'_>>, timeout: Duration) -> Result<bool, Error> {
        if self.link.is_some() {
            return Ok(false);
        }
        match self.try_again(in_time(timeout), Attempt::Whole, extra)? {
            Rested::Extra => Ok(true),
            Rested::Due | Rested::Early => Ok(false),
        }
    }

    /// The link is gone: what cannot go on without it ends with the reason.
    pub(super) fn lose(&mut self, error: &Error) {
        log::debug!("connection lost: {error}");
        self.link = None;
        match &mut self.trouble {
            Some(trouble) if self.linked.elapsed() < STEADY_AFTER => {
                (trouble.loss, trouble.error) = (error.clone(), error.clone());
            }
            _ => {
                let (loss, error, since) = (error.clone(), error.clone(), Instant::now());
                self.trouble = Some(Trouble { loss, error, since, attempts: 0, pause: Pause::new() });
            }
        }
        let lasting = self.may_restore(error);
        for call in self.calls.values_mut() {
            call.serial = None;
            if call.outcome.is_none() && (call.repeat.is_none() || !lasting) {
                call.outcome = Some(Err(error.clone()));
            }
        }
        if let Some(subscribed) = &mut self.subscribed {
            subscribed.detach();
        }
    }

    /// Whether, after this error, a new link may be tried for.
    pub(super) fn may_restore(&self, error: &Error) -> bool {
        let worth_it = match error {
            Error::Lost(_) | Error::Connect { .. } | Error::Start(_) => true,
            Error::Tls(error) => error.may_pass(),
            Error::Ssh(error) => error.may_pass(),
            Error::Refused(failure) => failure.is(code::GOING_AWAY) || failure.is(code::OVERLOADED),
            Error::Location(_)
            | Error::Credentials(_)
            | Error::WantsTls
            | Error::Protocol(_)
            | Error::Failure(_)
            | Error::Deadline(_)
            | Error::Request(_) => false,
        };
        let lasted = self.trouble.as_ref().map_or(Duration::ZERO, |trouble| trouble.since.elapsed());
        worth_it && self.origin.can_reopen() && lasted < self.options.reconnect
    }

    pub(super) fn reason(&self) -> Error {
        self.trouble.as_ref().map_or(Error::Lost(Lost::Closed), |trouble| trouble.error.clone())
    }

    /// Makes a lost link anew, at the latest until `until`, and asks again what may be asked again.
    pub(super) fn restore(&mut self, until: Instant, attempt: Attempt) -> Result<(), Error> {
        while self.link.is_none() {
            if self.try_again(until, attempt, None)? != Rested::Due {
                return Err(self.reason());
            }
        }
        Ok(())
    }

    /// Tries once, when it is time to.
    fn try_again(&mut self, until: Instant, attempt: Attempt, extra: Option<BorrowedFd<'_>>) -> Result<Rested, Error> {
        let error = self.reason();
        if !self.may_restore(&error) {
            for call in self.calls.values_mut().filter(|call| call.outcome.is_none()) {
                call.outcome = Some(Err(error.clone()));
            }
            return Err(error);
        }
        let (within, rested) = match &mut self.trouble {
            Some(trouble) => {
                // However late the daemon asks to be asked again: beyond that nobody tries.
                let until = until.min(trouble.since + self.options.reconnect.min(YEAR));
                (until, trouble.pause.rest(&error, until, extra))
            }
            None => (until, Rested::Due),
        };
        if rested != Rested::Due {
            return Ok(rested);
        }
        match self.origin.open(&self.options, (attempt == Attempt::Within).then_some(within)) {
            Ok((link, hello)) => {
                log::debug!("connected again");
                (self.link, self.hello, self.linked) = (Some(link), hello, Instant::now());
                self.generation += 1;
                self.repeat();
            }
            Err(error) => {
                if let Some(trouble) = &mut self.trouble {
                    log::debug!("not connected again: {error}");
                    trouble.attempts = trouble.attempts.saturating_add(1);
                    trouble.pause.begin(&error);
                    // One that ended because our own time did says nothing of the other side.
                    if attempt == Attempt::Whole || Instant::now() < within {
                        trouble.error = error;
                    }
                }
            }
        }
        Ok(Rested::Due)
    }

    fn repeat(&mut self) {
        let Some(link) = self.link.as_mut() else { return };
        for call in self.calls.values_mut().filter(|call| call.outcome.is_none() && call.serial.is_none()) {
            let Some(data) = &call.repeat else { continue };
            let left = call.until.at.saturating_duration_since(Instant::now()).saturating_sub(call.until.grace);
            let deadline = call.deadline.map(|deadline| deadline.min(left));
            match link.session.call(data, milliseconds(deadline)) {
                Ok(serial) => call.serial = Some(serial),
                Err(error) => call.outcome = Some(Err(error.into())),
            }
        }
        link.write();
    }
}
