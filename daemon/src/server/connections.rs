//! The sockets of all connections, by the identity that the core gave them, and the end of each.

use std::collections::HashMap;
use std::time::Instant;

use mio::Token;
use mio::net::UnixStream;

use super::Who;
use crate::connection::{Buffers, Connection, Hints, Next};
use crate::dispatch::{ConnectionId, Dispatch, Turn};
use crate::event_loop::{Readiness, Timers};

/// Connections, and what they share.
#[derive(Debug)]
pub(super) struct Connections {
    all: HashMap<ConnectionId, Watched>,
    buffers: Buffers,
    /// When a connection is dropped although its peer does nothing.
    timers: Timers<ConnectionId>,
    /// Over, and to be removed at the end of the turn. Each once.
    over: Vec<ConnectionId>,
}

#[derive(Debug)]
struct Watched {
    connection: Connection<UnixStream>,
    token: Token,
    over: bool,
}

impl Connections {
    pub(super) fn new() -> Self {
        Self { all: HashMap::new(), buffers: Buffers::new(), timers: Timers::new(), over: Vec::new() }
    }

    /// Takes up a socket that the core has accepted as `id`.
    pub(super) fn insert(&mut self, id: ConnectionId, stream: UnixStream, readiness: &mut Readiness<Who>) {
        let mut connection = Connection::new(stream, id);
        match readiness.watch(connection.socket_mut(), Who::Connection(id)) {
            Ok(token) => {
                self.all.insert(id, Watched { connection, token, over: false });
            }
            Err(error) => {
                log::warn!("connection {}: cannot be watched: {error}", id.number);
                self.over.push(id);
            }
        }
    }

    /// The socket may be ready. Says whether it has to be looked at again in the next turn.
    pub(super) fn handle_ready(
        &mut self,
        core: &mut Dispatch,
        turn: &mut Turn<'_>,
        id: ConnectionId,
        hints: Hints,
    ) -> Option<Token> {
        let watched = self.all.get_mut(&id).filter(|watched| !watched.over)?;
        let next = watched.connection.handle_ready(core, turn, &mut self.buffers, hints);
        self.settle(id, next)
    }

    /// The core has something to write. Says whether there will be more in the next turn.
    pub(super) fn handle_output(
        &mut self,
        core: &mut Dispatch,
        turn: &mut Turn<'_>,
        id: ConnectionId,
    ) -> Option<Token> {
        let watched = self.all.get_mut(&id).filter(|watched| !watched.over)?;
        let next = watched.connection.handle_output(core, turn, &mut self.buffers);
        self.settle(id, next)
    }

    /// Ends those whose time is over.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(id) = self.timers.take_due(now) {
            // It may have made progress since the timer was set.
            if self.all.get(&id).is_some_and(|watched| watched.connection.is_overdue(now)) {
                self.settle(id, Next::Gone);
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Removes those that are over, and names them.
    pub(super) fn remove_over(&mut self, readiness: &mut Readiness<Who>) -> Vec<ConnectionId> {
        let over = std::mem::take(&mut self.over);
        for id in &over {
            self.timers.cancel(*id);
            if let Some(mut watched) = self.all.remove(id) {
                readiness.unwatch(watched.connection.socket_mut(), watched.token);
            }
        }
        over
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn settle(&mut self, id: ConnectionId, next: Next) -> Option<Token> {
        let watched = self.all.get_mut(&id)?;
        match next {
            Next::Wait | Next::Again => {
                if let Some(at) = watched.connection.poll_timeout() {
                    self.timers.set(at, id);
                }
                (next == Next::Again).then_some(watched.token)
            }
            Next::Gone => {
                if !std::mem::replace(&mut watched.over, true) {
                    self.over.push(id);
                }
                None
            }
        }
    }
}
