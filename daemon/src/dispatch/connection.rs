//! Connections come, are counted, are shown out, and go.

use log::{info, warn};
use vmwire_protocol::limits::TOTAL_BYTES_MAX;
use vmwire_protocol::message::{ConnectionInfo, ConnectionListAnswer, Failure, ListCall, ServerData, code, role};
use vmwire_protocol::session::{Peer, ServerSession};
use vmwire_protocol::xdr::{Text, Wire};

use super::calls::Subject;
use super::client::{Arrival, ConnectionId, Refusal};
use super::convert::count;
use super::page::{self, Page};
use super::refusal;
use super::{Dispatch, Outcome, Reply, Turn};
use crate::access::{Grants, Role};
use crate::audit::Ending;

/// When somebody who found no room may try again, in milliseconds.
const RETRY_AFTER_MS: u32 = 1000;

impl Dispatch {
    /// Takes in a connection. It is always taken in, and told if it may not stay. Admins are limited by descriptors alone:
    /// they have to get in to show others out.
    pub fn accept(&mut self, turn: &mut Turn<'_>, arrival: Arrival) -> ConnectionId {
        let Arrival { identity, base, refusal, first_packet_by } = arrival;
        let judged = self.judge(&identity, base);
        let refusal = match (&judged, refusal) {
            (_, Some(Refusal::Denied(why))) => Some(Failure::new(code::DENIED, &why)),
            (_, Some(Refusal::NoDescriptor)) => Some(no_descriptor()),
            (Err(stranger), None) => Some(refusal::stranger(stranger)),
            (Ok(_), None) if self.leaving => Some(Failure::new(code::GOING_AWAY, "the daemon is leaving")),
            (Ok((peer, _)), None)
                if peer.host_role != role::ADMIN && count(self.clients.len()) >= self.daemon.connections_max =>
            {
                Some(self.too_many_connections())
            }
            (Ok(_), None) => None,
        };
        // Who is turned away is never asked what it may do.
        let nobody = || (Peer::new(Text::default(), role::OBSERVER), Grants::everywhere(Role::Observer));
        let (peer, grants) = judged.unwrap_or_else(|_| nobody());
        let mut session = ServerSession::new(self.session.clone(), peer);
        if let Some(until) = first_packet_by {
            session.expect_packet_by(until);
        }
        let transport = identity.transport();
        let id = self.clients.insert(session, (identity, base, grants), turn.now.utc_ns);
        if self.is_capturing() {
            self.tap_one(id);
        }
        self.audit_came(turn, id, refusal.as_ref());
        match refusal {
            Some(failure) => {
                warn!("connection {}: refused: {}", id.number, failure.message);
                self.close(turn, id, failure);
                if let Some(client) = self.clients.get_mut(id) {
                    client.refused = true;
                }
            }
            None => {
                info!("connection {}: {transport}, {}", id.number, self.identity(id));
                self.settle(turn, id);
            }
        }
        id
    }

    fn too_many_connections(&self) -> Failure {
        let mut failure = Failure::new(code::OVERLOADED, "there are as many connections as there may be")
            .detail("limit", &self.daemon.connections_max.to_string());
        failure.retry_after_ms = RETRY_AFTER_MS;
        failure
    }

    /// The peer sends no more: whole packets are carried out, open calls answered, then the connection closes.
    pub fn input_ended(&mut self, id: ConnectionId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.ended = true;
        }
    }

    /// Whether a connection is to be closed as soon as its outbox is empty.
    pub fn is_closing(&self, id: ConnectionId) -> bool {
        self.clients.get(id).is_none_or(|client| {
            client.session.is_closed() || client.ended && !client.blocked && !client.session.has_open_calls()
        })
    }

    /// Whether a connection is to be closed now, whatever is unsent.
    pub fn is_cut(&self, id: ConnectionId) -> bool {
        self.clients.get(id).is_none_or(|client| client.cut)
    }

    /// A connection is gone. Its waits, subscription and streams end; operations that were received whole go on.
    pub fn gone(&mut self, turn: &mut Turn<'_>, id: ConnectionId) {
        self.release(turn, id);
        self.fetch_passed(id);
        if let Some(client) = self.clients.remove(id) {
            info!("connection {}: gone", id.number);
            if !client.refused {
                self.audit_gone(turn, id, &client);
            }
        }
    }

    /// Sends a connection its last packet and lets go of what it waits for.
    pub(super) fn close(&mut self, turn: &mut Turn<'_>, id: ConnectionId, failure: Failure) {
        self.release(turn, id);
        if let Some(client) = self.clients.get_mut(id) {
            client.session.close(failure);
            self.clients.mark_dirty(id);
        }
    }

    /// Lets go of what is done on behalf of a connection.
    fn release(&mut self, turn: &mut Turn<'_>, id: ConnectionId) {
        self.unsubscribe(id);
        self.halves.cancel(id);
        for key in self.calls.of_connection(id) {
            if let Some(waiting) = self.calls.take(key) {
                if let Subject::Agent { vm, .. } = waiting.subject {
                    self.agent_left(vm);
                }
                self.audit_waited(turn, id, &waiting, Ending::Unanswered);
            }
        }
        for (stream, _) in self.streams_of(id) {
            self.stream_over(turn, id, stream);
        }
    }

    /// After anything that changed what is held for a connection: keeps the books and the bounds.
    pub(super) fn settle(&mut self, turn: &mut Turn<'_>, id: ConnectionId) {
        self.fetch_passed(id);
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.session.is_closed() {
            self.release(turn, id);
        } else {
            match client.session.poll_timeout() {
                Some(at) => self.halves.set(at, id),
                None => {
                    self.halves.cancel(id);
                }
            }
        }
        if self.clients.count_held(id) > TOTAL_BYTES_MAX {
            self.relieve(turn);
        }
    }

    /// Cuts the connection on whose behalf most is held.
    fn relieve(&mut self, turn: &mut Turn<'_>) {
        let Some(id) = self.clients.holding_most() else { return };
        warn!("connection {}: cut, for it holds the most of more than {TOTAL_BYTES_MAX} bytes", id.number);
        self.close(turn, id, Failure::new(code::OVERLOADED, "too much is held for all connections together"));
        if let Some(client) = self.clients.get_mut(id) {
            client.cut = true;
            client.session.outbox().discard();
        }
        self.clients.count_held(id);
    }

    /// Who a connection is.
    pub(super) fn identity(&self, id: ConnectionId) -> String {
        self.clients.get(id).map(|client| client.session.peer().identity.to_string()).unwrap_or_default()
    }

    pub(super) fn connection_list(&self, own: ConnectionId, call: &ListCall) -> Result<ConnectionListAnswer, Failure> {
        let after = page::number_after(&call.after)?;
        let asker = self.clients.get(own);
        let ids = self.clients.ids().into_iter().filter(|id| id.number > after);
        let ids = ids.filter(|id| asker.zip(self.clients.get(*id)).is_some_and(|(asker, other)| asker.knows_of(other)));
        let candidates = ids.map(|id| (id.number, id));
        let look = |id, _: &mut usize| self.connection_info(own, id);
        let Page { rows, next, .. } = Page::of(candidates, call.rows_max, look, |_| ConnectionInfo::BYTES_MAX);
        Ok(ConnectionListAnswer { rows, next })
    }

    fn connection_info(&self, own: ConnectionId, id: ConnectionId) -> Option<ConnectionInfo> {
        let client = self.clients.get(id)?;
        let session = &client.session;
        Some(ConnectionInfo {
            id: id.number,
            transport: Text::constant(client.identity.transport()),
            identity: session.peer().identity.clone(),
            role: session.peer().role,
            name: Text::clipped(session.client_name()),
            minor: session.minor(),
            since_ns: client.since_ns,
            calls: session.calls(),
            calls_open: session.calls_open(),
            streams: session.streams_open(),
            subscribed: client.subscription.is_some(),
            unsent_bytes: count(session.unsent_bytes()),
            own: id == own,
        })
    }

    pub(super) fn connection_kick(&mut self, turn: &mut Turn<'_>, by: ConnectionId, number: u64) -> Outcome {
        let by = self.identity(by);
        let id = self.clients.ids().into_iter().find(|id| id.number == number).ok_or_else(|| {
            Failure::new(code::NOT_FOUND, "there is no such connection")
                .about("connection", &number.to_string())
                .hint("vmwire connection list shows those that are there")
        })?;
        info!("connection {number}: closed by {by}");
        self.close(turn, id, Failure::new(code::GOING_AWAY, &format!("the connection was closed by {by}")));
        Ok(Reply::Now(ServerData::ConnectionKick))
    }
}

fn no_descriptor() -> Failure {
    let mut failure = Failure::new(code::OVERLOADED, "the daemon has no descriptor left for another connection")
        .hint("raise its limit of open files, or close connections that are not needed");
    failure.retry_after_ms = RETRY_AFTER_MS;
    failure
}
