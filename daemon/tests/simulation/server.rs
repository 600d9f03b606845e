//! The turn of `server` around the real core and the real connections, over links of memory: the same order, the same
//! wake-ups and no others, so that what is forgotten stays forgotten.

use std::time::Instant;

use vmwire_daemon::connection::{Buffers, Connection, Hints, Next};
use vmwire_daemon::dispatch::{Arrival, ConnectionId, Dispatch, Turn};
use vmwire_daemon::event_loop::Now;

use crate::doubles::Files;
use crate::link::{DaemonEnd, SharedLink};
use crate::random::Random;

/// The daemon without its process.
pub(crate) struct Server {
    pub(crate) core: Dispatch,
    pub(crate) files: Files,
    buffers: Buffers,
    doors: Vec<Door>,
}

/// A connection and where it leads.
struct Door {
    id: ConnectionId,
    connection: Connection<DaemonEnd>,
    link: SharedLink,
    /// It asked for another turn.
    again: bool,
    over: bool,
}

/// What one turn did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Turned {
    /// Something was ready or due.
    pub(crate) worked: bool,
    /// Connections that were dropped because their time was over.
    pub(crate) overdue: u64,
    /// Connections whose last bytes were lost because the peer's were not read.
    pub(crate) resets: u64,
}

impl Server {
    pub(crate) fn new(core: Dispatch, files: Files) -> Self {
        Self { core, files, buffers: Buffers::new(), doors: Vec::new() }
    }

    /// Somebody connects.
    pub(crate) fn accept(&mut self, now: Now, arrival: Arrival, link: SharedLink) -> ConnectionId {
        let id = self.core.accept(&mut Turn { now, host: &mut self.files }, arrival);
        let connection = Connection::new(DaemonEnd(link.clone()), id);
        self.doors.push(Door { id, connection, link, again: false, over: false });
        id
    }

    /// Numbers of the connections that are there.
    pub(crate) fn connections(&self) -> Vec<u64> {
        self.doors.iter().map(|door| door.id.number).collect()
    }

    /// When the next turn is due if nothing happens.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let doors = self.doors.iter().filter_map(|door| door.connection.poll_timeout());
        doors.chain(self.core.poll_timeout(now)).min()
    }

    /// One turn. In a calm one, everything that was asked of the file helper is answered.
    pub(crate) fn turn(&mut self, now: Now, random: &mut Random, calm: bool) -> Turned {
        let mut turned = Turned::default();
        let Self { core, files, buffers, doors } = self;
        for door in doors.iter_mut() {
            let changed = door.link.borrow_mut().take_change();
            let again = std::mem::take(&mut door.again);
            // Whoever asked for another turn is marked as readable, whatever else happens to it.
            let hints = match changed {
                Some(hints) => Hints { readable: hints.readable || again, ..hints },
                None if again => Hints { readable: true, read_closed: false },
                None => continue,
            };
            turned.worked = true;
            let mut turn = Turn { now, host: files };
            let next = door.connection.handle_ready(core, &mut turn, buffers, hints);
            door.settle(next);
        }
        if core.poll_timeout(now.monotonic).is_some_and(|at| at <= now.monotonic) {
            turned.worked = true;
            core.handle_timeout(&mut Turn { now, host: files });
        }
        for door in doors.iter_mut().filter(|door| !door.over && door.connection.is_overdue(now.monotonic)) {
            turned.overdue += 1;
            door.over = true;
        }
        while let Some((ticket, answer)) = files.answer(random, calm) {
            turned.worked = true;
            core.handle_file(&mut Turn { now, host: files }, ticket, answer);
        }
        core.collect(&mut Turn { now, host: files });
        self.write_and_remove(now, &mut turned);
        if self.core.is_capturing() {
            self.core.capture(&mut Turn { now, host: &mut self.files }, now.utc_ns);
            self.write_and_remove(now, &mut turned);
        }
        self.core.hand_over_audit(&mut Turn { now, host: &mut self.files });
        turned
    }

    fn write_and_remove(&mut self, now: Now, turned: &mut Turned) {
        let Self { core, files, buffers, doors } = self;
        loop {
            while let Some(id) = core.poll_dirty(&mut Turn { now, host: files }) {
                let Some(door) = doors.iter_mut().find(|door| door.id == id && !door.over) else { continue };
                turned.worked = true;
                let next = door.connection.handle_output(core, &mut Turn { now, host: files }, buffers);
                door.settle(next);
            }
            let Some(at) = doors.iter().position(|door| door.over) else { return };
            let door = doors.remove(at);
            turned.worked = true;
            turned.resets += u64::from(door.link.borrow_mut().daemon_closes());
            core.gone(&mut Turn { now, host: files }, door.id);
        }
    }
}

impl Door {
    fn settle(&mut self, next: Next) {
        match next {
            Next::Wait => {}
            Next::Again => self.again = true,
            Next::Gone => self.over = true,
        }
    }
}
