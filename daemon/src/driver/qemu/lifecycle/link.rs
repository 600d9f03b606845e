//! The connection to the monitor: lost and found while the process lives.
//!
//! ```text
//!             lost               some time passed, the process lives: told
//!  Ready ─────────────▶ Suspect ───────────────────────────────────────────▶ Down ◀─┐ lost again, no greeting:
//!    ▲                                                            back-off  │       │ longer back-off
//!    │ negotiated, status known: told                                       ▼       │
//!    └────────────────────────────────────────────────────────────────── Greeting ──┘
//! ```

use std::time::{Duration, Instant};

use super::{GOING_GRACE, LINK_GRACE, Lifecycle, Order, Phase, Timer, failed};
use crate::driver::{DriverError, Report};

const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
const BACK_OFF_MOST: Duration = Duration::from_secs(10);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// There is none, and none is sought.
    Down,
    /// Connected or about to be; the greeting is awaited.
    Greeting,
    Ready,
    /// Lost a moment ago; perhaps the process is ending.
    Suspect {
        why: String,
    },
    /// Lost, told, and sought again.
    Sought {
        back_off: Duration,
    },
}

impl Lifecycle {
    /// The connection is gone: closed, refused, or dropped because of what came over it.
    pub(in super::super) fn handle_link_lost(&mut self, now: Instant, why: String) {
        match (&self.phase, &self.link) {
            (Phase::Up, Link::Sought { .. }) => self.link_failed(now),
            (Phase::Launching | Phase::Configuring | Phase::Adopting | Phase::Up, Link::Greeting | Link::Ready) => {
                self.link = Link::Suspect { why };
                let grace = if self.shutdown.is_some() { GOING_GRACE } else { LINK_GRACE };
                self.timers.set(now + grace, Timer::LinkGrace);
            }
            _ => {}
        }
    }

    /// The process did not end with its monitor's connection.
    pub(super) fn handle_link_grace_over(&mut self, now: Instant) {
        let Link::Suspect { why } = std::mem::replace(&mut self.link, Link::Down) else { return };
        let error = || DriverError { causes: vec![why.clone()], ..failed("the connection to QEMU's monitor was lost") };
        match &self.phase {
            Phase::Launching | Phase::Configuring => self.fail_start(now, error()),
            Phase::Adopting => self.lose(&format!("its monitor cannot be spoken with: {why}")),
            Phase::Up => {
                self.asked_status = None;
                self.lose_agent_port();
                self.report(Report::Monitor { vm: self.vm, connected: false, why: why.clone() });
                if let Some(script) = self.script.take() {
                    self.give_up(now, &script, error());
                }
                self.link = Link::Sought { back_off: BACK_OFF_FIRST };
                self.timers.set(now + BACK_OFF_FIRST, Timer::Reconnect);
            }
            _ => {}
        }
    }

    pub(super) fn reconnect(&mut self, now: Instant) {
        if let (Phase::Up, Link::Sought { .. }) = (&self.phase, &self.link) {
            self.order(Order::Connect);
            self.panicking = false;
            // Covers a greeting that never comes; with the greeting a script begins that has its own.
            self.timers.set(now + self.patience.greeting, Timer::Reconnect);
        }
    }

    /// One attempt has failed; the next comes later.
    pub(super) fn link_failed(&mut self, now: Instant) {
        if let Link::Sought { back_off } = &mut self.link {
            *back_off = (*back_off * 2).min(BACK_OFF_MOST);
            let at = now + *back_off;
            self.script = None;
            self.timers.cancel(Timer::Script);
            self.order(Order::Disconnect);
            self.timers.set(at, Timer::Reconnect);
        }
    }

    /// The monitor can be asked again.
    pub(super) fn link_ready(&mut self) {
        self.timers.cancel(Timer::Reconnect);
        self.link = Link::Ready;
        self.report(Report::Monitor { vm: self.vm, connected: true, why: String::new() });
    }

    pub(super) fn link_is_ready(&self) -> bool {
        self.link == Link::Ready
    }
}
