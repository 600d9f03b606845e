//! The subscription: events as they happen, without loss that is not told, and without a queue that grows.
//!
//! ```text
//!                      too many wait                     answered
//!   ┌──────┐ ───────────────────────────▶ ┌───────────┐ ──────────▶ ┌──────────┐
//!   │ live │         UNSUBSCRIBE          │ unloading │             │ detached │
//!   └──────┘ ◀─┐                          └───────────┘             └──────────┘
//!      │       └────────── SUBSCRIBE behind the last one taken ◀────────┘   ▲
//!      └─────────────────────────── the link breaks ────────────────────────┘
//! ```
//! Events arrive also while a call is waited for, and its answer may stand behind any number of them. To stop reading
//! would make that wait a deadlock, to drop events would be a loss that nobody tells, and to keep them all would have no
//! bound. So the subscription is given up when [`QUEUE_BYTES_MAX`] wait. The daemon has at most 64 KiB of events under
//! way to one connection, so what still comes is little. When the program has fetched them all, the subscription is made
//! again behind the last one: the daemon's ring does the queueing, and only its GAP means loss. A lost link is the same
//! thing without the UNSUBSCRIBE.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use vmwire_protocol::message::{ClientData, Cursor, Event, Gap, SubscribeCall};
use vmwire_protocol::xdr::{List, Text};

use super::recovery::Attempt;
use super::{Connection, in_time};
use crate::error::Error;
use crate::request;

/// So many bytes of events may wait before the subscription is given up for a while.
const QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// What still comes after UNSUBSCRIBE is under way already: unsent on the daemon's side and in the sockets' buffers.
/// More than this is a daemon that does not heed it.
const UNDER_WAY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is counted for an event beside its detail.
const EVENT_BYTES: usize = 160;

/// How long one attempt to make a lost link anew lasts, where the program set no time.
const ATTEMPT: Duration = Duration::from_secs(60);

/// Which events are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    /// From behind this one on; `None` for what happens from now on.
    pub after: Option<Cursor>,
    /// Of this virtual machine, by name or uuid; empty for all.
    pub vm: Text<128>,
    /// Of these kinds; none for all.
    pub kinds: List<u32, 64>,
    /// How long the daemon may take to begin with it; `None` leaves it to the daemon.
    pub deadline: Option<Duration>,
}

/// Something a subscription brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Something happened.
    Event(Event),
    /// The events from `first` to `last` are lost to this client: they have left the daemon's memory.
    Gap(Gap),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Live,
    /// UNSUBSCRIBE is under way, under this serial.
    Unloading(u32),
    Detached,
}

/// A subscription under way.
///
/// Invariant: `queued_bytes` is the sum over `queue`; `wanted.after` is the last one that entered it.
#[derive(Debug)]
pub(super) struct Subscribed {
    wanted: Subscription,
    phase: Phase,
    queue: VecDeque<Notice>,
    queued_bytes: usize,
}

impl Subscribed {
    /// The link is gone, and the daemon's side of the subscription with it.
    pub(super) fn detach(&mut self) {
        self.phase = Phase::Detached;
    }
}

impl Connection {
    /// Subscribes to events, in place of a former subscription, whose waiting events are dropped. It changes nothing with the
    /// daemon that would outlive a link, so that on one that was made anew it is asked for again.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn subscribe(&mut self, wanted: Subscription) -> Result<(), Error> {
        self.subscribed = Some(Subscribed { wanted, phase: Phase::Detached, queue: VecDeque::new(), queued_bytes: 0 });
        while let Err(error) = self.attach() {
            if !self.may_restore(&error) {
                self.subscribed = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Ends the subscription and drops what waits.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn unsubscribe(&mut self) -> Result<(), Error> {
        self.subscribed = None;
        self.call(request::Unsubscribe, None)
    }

    /// The next event or gap, waiting for it for at most `timeout`; `None` when the time is over. A lost connection is
    /// made anew and the subscription goes on where it was, for as long as [`Options::reconnect`] says; an attempt that is
    /// under way when the time is over is brought to its end.
    ///
    /// [`Options::reconnect`]: super::Options::reconnect
    ///
    /// # Errors
    /// When the connection is lost for good, or the daemon will not have the subscription again.
    pub fn next_notice(&mut self, timeout: Option<Duration>) -> Result<Option<Notice>, Error> {
        let until = timeout.map(in_time);
        loop {
            let Some(subscribed) = self.subscribed.as_mut() else { return Ok(None) };
            if let Some(notice) = subscribed.queue.pop_front() {
                subscribed.queued_bytes -= size(&notice);
                return Ok(Some(notice));
            }
            let waited = match subscribed.phase {
                Phase::Detached if self.link.is_some() => self.attach(),
                Phase::Detached => self.restore(until.unwrap_or_else(|| Instant::now() + ATTEMPT), Attempt::Whole),
                Phase::Live | Phase::Unloading(_) => self.turn(until, None).map(drop),
            };
            match waited {
                Err(error) if !self.may_restore(&error) => return Err(error),
                _ => {}
            }
            let waiting = self.subscribed.as_ref().is_some_and(|subscribed| subscribed.queue.is_empty());
            if waiting && until.is_some_and(|until| Instant::now() >= until) {
                return Ok(None);
            }
        }
    }

    /// Where a subscription stands: behind the last event that arrived here, fetched or not.
    #[must_use]
    pub fn events_after(&self) -> Option<Cursor> {
        self.subscribed.as_ref()?.wanted.after.clone()
    }

    fn attach(&mut self) -> Result<(), Error> {
        let Some(subscribed) = self.subscribed.as_ref() else { return Ok(()) };
        let Subscription { after, vm, kinds, deadline } = subscribed.wanted.clone();
        let pending = self.begin(request::Subscribe(SubscribeCall { after, vm, kinds }), deadline)?;
        // Events may follow their subscription's answer in one read.
        if let Some(subscribed) = self.subscribed.as_mut() {
            subscribed.phase = Phase::Live;
        }
        match self.wait(pending) {
            Ok(answer) => {
                if let Some(subscribed) = self.subscribed.as_mut() {
                    let before = Cursor { sequence: answer.first.sequence.saturating_sub(1), ..answer.first };
                    subscribed.wanted.after.get_or_insert(before);
                }
                Ok(())
            }
            Err(error) => {
                if let Some(subscribed) = self.subscribed.as_mut() {
                    subscribed.detach();
                }
                Err(error)
            }
        }
    }

    pub(super) fn take_notice(&mut self, notice: Notice) -> Result<(), Error> {
        let Some(subscribed) = self.subscribed.as_mut().filter(|subscribed| subscribed.phase != Phase::Detached) else {
            // Was under way when the subscription ended. Nothing is lost: it will come again behind the cursor.
            return Ok(());
        };
        subscribed.wanted.after = Some(match &notice {
            Notice::Event(event) => Cursor { epoch: event.epoch, sequence: event.sequence },
            Notice::Gap(gap) => Cursor { epoch: gap.epoch, sequence: gap.last },
        });
        subscribed.queued_bytes += size(&notice);
        subscribed.queue.push_back(notice);
        if subscribed.queued_bytes > QUEUE_BYTES_MAX + UNDER_WAY_BYTES_MAX {
            return Err(Error::Protocol("the daemon goes on sending events after the subscription ended".to_owned()));
        }
        Ok(())
    }

    /// Gives the subscription up for a while when too much of it waits.
    pub(super) fn relieve(&mut self) {
        let full = self
            .subscribed
            .as_ref()
            .is_some_and(|subscribed| subscribed.phase == Phase::Live && subscribed.queued_bytes > QUEUE_BYTES_MAX);
        if !full {
            return;
        }
        let Some(link) = self.link.as_mut() else { return };
        let Ok(serial) = link.session.call(&ClientData::Unsubscribe, 0) else { return };
        log::debug!("too many events wait, the subscription is given up until they were fetched");
        link.write();
        if let Some(subscribed) = self.subscribed.as_mut() {
            subscribed.phase = Phase::Unloading(serial);
        }
    }

    /// A call that nobody waits for was answered; perhaps the UNSUBSCRIBE that [`Self::relieve`] sent.
    pub(super) fn unloaded(&mut self, serial: u32) {
        if let Some(subscribed) = self.subscribed.as_mut().filter(|own| own.phase == Phase::Unloading(serial)) {
            subscribed.detach();
        }
    }
}

fn size(notice: &Notice) -> usize {
    match notice {
        Notice::Event(event) => EVENT_BYTES + event.detail.as_slice().len(),
        Notice::Gap(_) => EVENT_BYTES,
    }
}
