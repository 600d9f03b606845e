//! Events: encoded once, kept in one ring, shown to each subscriber from its own position.

use std::sync::Arc;

use bytes::Bytes;
use vmwire_protocol::fault::{self, Fault};
use vmwire_protocol::message::{
    Cursor, Event, EventClientChanged, EventDaemonStarted, Gap, ServerData, SubscribeAnswer, SubscribeCall, event_kind,
};
use vmwire_protocol::xdr::{self, Fixed, Opaque, Text, Wire};

use super::client::ConnectionId;
use super::store::Restored;
use super::{Dispatch, Turn, convert};
use crate::access::{Grants, Role, client_identity};
use crate::model::ring::{Audience, Kept, Ring};
use crate::model::{OperationId, VmId, Vms};

/// What a connection asked to be told, and how far it has been told.
#[derive(Debug)]
pub(super) struct Subscription {
    /// The next event to be looked at.
    next: u64,
    /// Its place in the sequence is unknown: GAP 0..0 comes first.
    unknown: bool,
    vm: String,
    /// What `vm` says, read as a uuid.
    vm_id: Option<VmId>,
    kinds: Vec<u32>,
}

impl Subscription {
    fn wants(&self, grants: &Grants, identity: &str, event: &Kept) -> bool {
        let is_for = match &event.audience {
            Audience::Everybody => true,
            Audience::Admins => grants.host() == Role::Admin,
            Audience::Owner(owner) => grants.host() == Role::Admin || owner == identity,
        };
        let kind = self.kinds.is_empty() || self.kinds.contains(&event.kind);
        let vm = self.vm.is_empty()
            || event.vm.as_ref().is_some_and(|(id, name)| *name == self.vm || Some(*id) == self.vm_id);
        let leaks = event.kind == event_kind::VM_STATE && fault::is_planted(Fault::LeakyEvents);
        is_for
            && kind
            && vm
            && (leaks
                || grants.sees_all()
                || event.vm.as_ref().is_none_or(|(_, name)| grants.sees(name, &event.labels)))
    }
}

/// The ring out of the events that were kept from before. One that cannot be read, by a daemon that did not write it, is lost
/// with those before it, for the ring has no holes; its number is not used again, and whoever had not seen it gets GAP.
pub(super) fn restore(restored: Restored, vms: &Vms) -> Ring {
    let mut ring = Ring::starting_at(restored.events.first().map_or(1, |(sequence, _)| *sequence));
    for (sequence, encoded) in restored.events {
        if sequence < ring.next() {
            continue;
        }
        match kept(sequence, encoded, vms) {
            Some(event) if sequence == ring.next() => ring.push(event),
            Some(event) => {
                ring = Ring::starting_at(sequence);
                ring.push(event);
            }
            None => ring = Ring::starting_at(sequence + 1),
        }
    }
    ring
}

fn kept(sequence: u64, encoded: Bytes, vms: &Vms) -> Option<Kept> {
    let (number, body) = encoded.split_first_chunk()?;
    let Some(Ok(ServerData::Event(event))) = ServerData::decode_body(u32::from_be_bytes(*number), body) else {
        return None;
    };
    let vm = event.vm.as_ref().map(|vm| (convert::vm_id(vm), vm.name.to_string()));
    // An event does not tell the labels of its virtual machine. Those of one that is gone are not known any more.
    let known = vm.as_ref().and_then(|(id, _)| vms.get(*id));
    let labels = known.map(|vm| vm.definition.labels.clone()).unwrap_or_default();
    let audience = audience(event.kind, &event.detail);
    (event.sequence == sequence).then_some(Kept { vm, labels, audience, kind: event.kind, encoded })
}

/// Whom an event is for. What becomes of the keys by which clients are known, and of the daemon's own, is a matter of its
/// admins; of a client's key also its own.
fn audience(kind: u32, detail: &[u8]) -> Audience {
    match kind {
        event_kind::CLIENT_CHANGED => match xdr::decode::<EventClientChanged>(detail) {
            Ok(changed) => Audience::Owner(client_identity(&changed.name)),
            Err(_) => Audience::Admins,
        },
        event_kind::CERTIFICATE => Audience::Admins,
        _ => Audience::Everybody,
    }
}

impl Dispatch {
    /// The newest event.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor { epoch: self.session.epoch, sequence: self.ring.newest() }
    }

    /// Something happened: encodes it, keeps it, and lets the subscribers be shown it at the end of the turn.
    pub(super) fn emit<T: Wire>(
        &mut self,
        turn: &Turn<'_>,
        kind: u32,
        vm: Option<(VmId, String)>,
        operation: Option<OperationId>,
        detail: &T,
    ) {
        let mut bytes = Vec::new();
        // A detail is made of bounded types whose bounds add up to less than the bound of `detail`.
        let encoded = xdr::encode(&mut bytes, detail);
        debug_assert!(encoded.is_ok() && bytes.len() <= 16384, "{encoded:?}");
        let sequence = self.ring.next();
        let audience = audience(kind, &bytes);
        let event = Event {
            epoch: self.session.epoch,
            sequence,
            time_ns: turn.now.utc_ns,
            operation: operation.map_or(0, |operation| operation.0),
            vm: vm.as_ref().map(|(id, name)| convert::vm_ref(*id, name)),
            kind,
            detail: Opaque::new(bytes).unwrap_or_default(),
        };
        let mut encoded = Vec::new();
        let outcome = ServerData::Event(event).encode(&mut encoded);
        debug_assert!(outcome.is_ok(), "{outcome:?}");
        let encoded = Bytes::from(encoded);
        self.store.append(sequence, &encoded);
        let labels = self.labels(vm.as_ref().map(|(id, _)| *id), operation);
        self.ring.push(Kept { vm, labels, audience, kind, encoded });
        self.events_pending = true;
    }

    /// The labels of a virtual machine, which an operation may be about to make or has removed.
    fn labels(&self, vm: Option<VmId>, operation: Option<OperationId>) -> Arc<[String]> {
        match (vm.and_then(|id| self.vms.get(id)), operation.and_then(|operation| self.operations.get(operation))) {
            (Some(vm), _) => vm.definition.labels.clone(),
            (None, Some(operation)) => operation.labels.clone(),
            (None, None) => Arc::default(),
        }
    }

    pub(super) fn emit_daemon_started(&mut self, turn: &Turn<'_>) {
        let release = Text::clipped(&self.daemon.release);
        self.emit(turn, event_kind::DAEMON_STARTED, None, None, &EventDaemonStarted { release });
    }

    pub(super) fn subscribe(&mut self, id: ConnectionId, call: SubscribeCall) -> SubscribeAnswer {
        let newest = self.ring.newest();
        let (next, unknown) = match call.after {
            None => (newest + 1, false),
            // A place beyond the newest is of a sequence that we do not know, whatever it calls itself.
            Some(after) if after.epoch == self.session.epoch && after.sequence <= newest => (after.sequence + 1, false),
            Some(_) => (self.ring.first(), true),
        };
        if let Some(client) = self.clients.get_mut(id) {
            let (vm, kinds) = (call.vm.into_string(), call.kinds.into_vec());
            let vm_id = VmId::canonical(&vm);
            client.subscription = Some(Subscription { next, unknown, vm, vm_id, kinds });
            self.subscribers.insert(id);
            self.events_pending = true;
        }
        let sequence = next.max(self.ring.first());
        SubscribeAnswer { first: Cursor { epoch: self.session.epoch, sequence } }
    }

    pub(super) fn unsubscribe(&mut self, id: ConnectionId) {
        self.subscribers.remove(&id);
        if let Some(client) = self.clients.get_mut(id) {
            client.subscription = None;
        }
    }

    /// Passes over what a subscriber does not want. Says whether there is something else, and room for it.
    pub(super) fn awaits_event(&mut self, id: ConnectionId) -> bool {
        let Some(client) = self.clients.get_mut(id) else { return false };
        let Some(subscription) = client.subscription.as_mut() else { return false };
        if !client.session.event_room() {
            return false;
        }
        if subscription.unknown || subscription.next < self.ring.first() {
            return true;
        }
        while let Some(event) = self.ring.at(subscription.next) {
            if subscription.wants(&client.grants, &client.session.peer().identity, event) {
                return true;
            }
            subscription.next += 1;
        }
        false
    }

    /// Shows a subscriber what it has not seen, as far as there is room. Says whether anything was shown.
    pub(super) fn show_events(&mut self, id: ConnectionId) -> bool {
        let Some(client) = self.clients.get_mut(id) else { return false };
        let Some(subscription) = client.subscription.as_mut() else { return false };
        let session = &mut client.session;
        let identity = session.peer().identity.clone();
        let mut shown = false;
        while session.event_room() {
            let gap = if subscription.unknown {
                Some((0, 0))
            } else if subscription.next < self.ring.first() {
                Some((subscription.next, self.ring.first() - 1))
            } else {
                None
            };
            if let Some((first, last)) = gap {
                session.event(&encode_gap(self.session.epoch, first, last));
                // What fell off since the answer named the first event to come is a gap of its own.
                if !std::mem::take(&mut subscription.unknown) {
                    subscription.next = self.ring.first();
                }
                shown = true;
                continue;
            }
            let Some(event) = self.ring.at(subscription.next) else { break };
            subscription.next += 1;
            if subscription.wants(&client.grants, &identity, event) {
                session.event(&event.encoded);
                shown = true;
            }
        }
        shown
    }
}

fn encode_gap(epoch: Fixed<16>, first: u64, last: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let outcome = ServerData::Gap(Gap { epoch, first, last }).encode(&mut bytes);
    debug_assert!(outcome.is_ok(), "{outcome:?}");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: u64) -> (u64, Bytes) {
        let event = Event {
            epoch: Fixed::default(),
            sequence,
            time_ns: 1,
            operation: 0,
            vm: None,
            kind: event_kind::VM_UNDEFINED,
            detail: Opaque::default(),
        };
        let mut bytes = Vec::new();
        ServerData::Event(event).encode(&mut bytes).unwrap();
        (sequence, Bytes::from(bytes))
    }

    #[test]
    fn a_number_is_never_used_again_although_its_event_cannot_be_read() {
        let unreadable = (4, Bytes::from_static(b"of a daemon to come"));
        let events = vec![event(2), event(3), unreadable.clone(), event(5), event(6)];
        let ring = restore(Restored { epoch: [0; 16], events }, &Vms::default());
        assert_eq!((ring.first(), ring.newest()), (5, 6));
        let ring = restore(Restored { epoch: [0; 16], events: vec![event(3), unreadable] }, &Vms::default());
        assert_eq!((ring.first(), ring.next()), (5, 5));
    }
}
