//! Who is connected: the session of each, and what it asked to be told.

use std::collections::VecDeque;
use std::time::Instant;

use slab::Slab;
use vmwire_protocol::session::ServerSession;

use super::capture::Tapped;
use super::event::Subscription;
use super::stream::Streams;
use crate::access::{Base, Grants, Identity, Role};

/// Names a connection. `number` is never reused, so that what was meant for one never reaches another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Counts connections from 1.
    pub number: u64,
    slot: usize,
}

impl ConnectionId {
    /// Where it stands among those who are there now. When it is gone, another may stand there.
    pub fn place(self) -> usize {
        self.slot
    }

    /// One that stands for nobody.
    #[cfg(test)]
    pub(crate) fn of_test(number: u64) -> Self {
        Self { number, slot: 0 }
    }

    /// The one that came as this and stands at the place of that number.
    #[cfg(test)]
    pub(crate) fn at_test_place(number: usize) -> Self {
        Self { number: u64::try_from(number).unwrap_or_default(), slot: number }
    }
}

/// Someone at the door.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Who it is.
    pub identity: Identity,
    /// What it has without a rule, by where it came in.
    pub base: Base,
    /// Why it is turned away, whoever it is.
    pub refusal: Option<Refusal>,
    /// When it has to have said something: who comes from a network may not be silent for as long as it likes.
    pub first_packet_by: Option<Instant>,
}

/// Why someone is turned away at the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It has no right to connect: why.
    Denied(String),
    /// The process has no descriptor left to serve it with.
    NoDescriptor,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) session: ServerSession,
    pub(super) identity: Identity,
    pub(super) base: Base,
    pub(super) grants: Grants,
    pub(super) since_ns: u64,
    pub(super) subscription: Option<Subscription>,
    pub(super) streams: Streams,
    /// The peer sends no more.
    pub(super) ended: bool,
    /// Packets have come that may not be taken yet.
    pub(super) blocked: bool,
    /// It was turned away at the door.
    pub(super) refused: bool,
    /// The connection is to be cut without writing what is unsent.
    pub(super) cut: bool,
    /// What is known of its packets while they are captured.
    pub(super) tapped: Option<Box<Tapped>>,
    /// Bytes that were last counted as held on its behalf.
    held: usize,
    dirty: bool,
}

impl Client {
    /// Whether it may know that somebody is connected: an admin of everybody, others of those who are as they are.
    pub(super) fn knows_of(&self, other: &Self) -> bool {
        self.grants.host() == Role::Admin || self.identity.is_same_as(&other.identity)
    }

    /// The session, and beside it what a packet that was lent out of the session goes into.
    pub(super) fn parts(&mut self) -> (&mut ServerSession, &mut Streams) {
        (&mut self.session, &mut self.streams)
    }
}

/// All connections.
///
/// Invariant: `held` is the sum of the `held` of all clients; `dirty` holds exactly the ids of those whose `dirty` is set,
/// and possibly some that are gone.
#[derive(Debug, Default)]
pub(super) struct Clients {
    slots: Slab<(u64, Box<Client>)>,
    last: u64,
    held: usize,
    dirty: VecDeque<ConnectionId>,
}

impl Clients {
    /// Takes up somebody who came with `identity` where `base` holds, and may do what `grants` says.
    pub(super) fn insert(
        &mut self,
        session: ServerSession,
        (identity, base, grants): (Identity, Base, Grants),
        since_ns: u64,
    ) -> ConnectionId {
        self.last += 1;
        let client = Client {
            session,
            identity,
            base,
            grants,
            since_ns,
            subscription: None,
            streams: Streams::default(),
            ended: false,
            blocked: false,
            refused: false,
            cut: false,
            tapped: None,
            held: 0,
            dirty: false,
        };
        let slot = self.slots.insert((self.last, Box::new(client)));
        ConnectionId { number: self.last, slot }
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Client> {
        let (number, client) = self.slots.get(id.slot)?;
        (*number == id.number).then_some(client)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Client> {
        let (number, client) = self.slots.get_mut(id.slot)?;
        (*number == id.number).then_some(client)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Client> {
        self.get(id)?;
        let (_, client) = self.slots.remove(id.slot);
        self.held -= client.held;
        Some(*client)
    }

    /// Counts anew what is held on behalf of a connection; answers what is held on behalf of all. One that was cut is gone
    /// at the end of the turn and counts no more, or all others would be cut until then.
    pub(super) fn count_held(&mut self, id: ConnectionId) -> usize {
        let Some((_, client)) = self.slots.get_mut(id.slot).filter(|(number, _)| *number == id.number) else {
            return self.held;
        };
        let held = if client.cut { 0 } else { client.session.held_bytes() };
        self.held = self.held - client.held + held;
        client.held = held;
        self.held
    }

    /// The connection on whose behalf most is held.
    pub(super) fn holding_most(&self) -> Option<ConnectionId> {
        let most =
            self.slots.iter().filter(|(_, (_, client))| !client.cut).max_by_key(|(_, (_, client))| client.held)?;
        Some(ConnectionId { number: most.1.0, slot: most.0 })
    }

    /// What was last counted as held on behalf of all.
    pub(super) fn held_bytes(&self) -> usize {
        self.held
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All ids, ascending by number.
    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        let mut ids: Vec<ConnectionId> =
            self.slots.iter().map(|(slot, (number, _))| ConnectionId { number: *number, slot }).collect();
        ids.sort_unstable();
        ids
    }

    /// Notes that a connection has something to write.
    pub(super) fn mark_dirty(&mut self, id: ConnectionId) {
        if let Some(client) = self.get_mut(id)
            && !std::mem::replace(&mut client.dirty, true)
        {
            self.dirty.push_back(id);
        }
    }

    /// Whether somebody may have something to write.
    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(super) fn poll_dirty(&mut self) -> Option<ConnectionId> {
        while let Some(id) = self.dirty.pop_front() {
            if let Some(client) = self.get_mut(id) {
                client.dirty = false;
                return Some(id);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vmwire_protocol::message::role;
    use vmwire_protocol::session::{Peer, ServerConfig};
    use vmwire_protocol::xdr::{Fixed, Text};

    use super::*;

    fn root() -> (Identity, Base, Grants) {
        (Identity::unix(0, 0), Base::Owners, Grants::everywhere(Role::Admin))
    }

    fn session() -> ServerSession {
        let config = ServerConfig { newest_minor: 1, server: Text::default(), epoch: Fixed::default() };
        ServerSession::new(Arc::new(config), Peer::new(Text::default(), role::ADMIN))
    }

    #[test]
    fn an_id_of_the_past_finds_nobody_although_its_slot_is_taken_again() {
        let mut clients = Clients::default();
        let first = clients.insert(session(), root(), 1);
        clients.mark_dirty(first);
        assert!(clients.remove(first).is_some());
        let second = clients.insert(session(), root(), 2);
        assert_eq!((first.slot, first.number, second.number), (second.slot, 1, 2));
        assert!(clients.get(first).is_none() && clients.get(second).is_some());
        assert_eq!(clients.poll_dirty(), None);
    }

    #[test]
    fn a_connection_is_dirty_once_until_it_is_taken() {
        let mut clients = Clients::default();
        let id = clients.insert(session(), root(), 1);
        clients.mark_dirty(id);
        clients.mark_dirty(id);
        assert_eq!((clients.poll_dirty(), clients.poll_dirty()), (Some(id), None));
        clients.mark_dirty(id);
        assert_eq!(clients.poll_dirty(), Some(id));
    }
}
