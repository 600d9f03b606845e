//! When the daemon leaves, and what it waits for on the way.

use std::time::{Duration, Instant};

use log::{error, info, warn};

use super::{Server, notify, with_turn};
use crate::event_loop::Now;

/// How long connections may take to go when the daemon leaves.
const LEAVE_TIME: Duration = Duration::from_millis(2500);

impl Server {
    /// Notes since when nobody needs this daemon, and leaves when that is long enough. After the removals of a turn, or
    /// the last one to go would be noted by a turn that nothing begins.
    pub(super) fn handle_idleness(&mut self, now: Now) {
        match self.idle_exit {
            Some(patience) if self.leaving.is_none() && self.core.is_idle() && !self.files.is_busy() => {
                let since = *self.idle_since.get_or_insert(now.monotonic);
                if now.monotonic.saturating_duration_since(since) >= patience {
                    self.leave(now, "nobody is connected and no guest runs");
                }
            }
            _ => self.idle_since = None,
        }
    }

    /// Begins to leave: nobody comes any more, and everybody is told.
    pub(super) fn leave(&mut self, now: Now, why: &str) {
        if self.leaving.is_some() {
            return;
        }
        info!("leaving: {why}; {}", self.core.fate_of_guests());
        notify::notify("STOPPING=1");
        self.last_resort.begin(&self.log);
        self.leaving = Some(now.monotonic + LEAVE_TIME);
        for mut listening in self.listeners.drain(..) {
            self.readiness.unwatch(listening.listener.source(), listening.token);
        }
        if let Some(tls) = &mut self.tls {
            tls.handshakes.clear(&mut self.readiness);
        }
        with_turn(&mut self.readiness, &mut self.files, now, |turn| self.core.leave(turn));
    }

    /// Says what is not waited for any longer.
    pub(super) fn give_up(&mut self) {
        if !self.connections.is_empty() {
            warn!("left without waiting for {} connections to end", self.connections.len());
        }
        if let Some(deed) = self.files.give_up() {
            error!("left without waiting for the file helper to {deed}: whether it was done is not known");
        }
        self.core.give_up_audit();
        self.log.flush();
    }

    /// Everybody is gone, or had the time for it.
    pub(super) fn has_left(&self, now: Instant) -> bool {
        self.leaving.is_some_and(|until| until <= now || self.connections.is_empty() && !self.files.is_busy())
    }
}
