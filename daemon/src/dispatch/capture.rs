//! Captures: what passes is kept once while anybody looks on, and each who does is a position in it.
//!
//! ```text
//!   sessions ─▶ what passed ─▶ once a turn: what it is about, when ─▶ ring ◀─ position of each capture ─▶ its stream
//! ```
//! Connections with a capture open are left out: what they are sent would be captured again, for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use log::info;
use vmwire_protocol::limits::CAPTURED_BYTES_MAX;
use vmwire_protocol::message::{
    CaptureOpenAnswer, CaptureOpenCall, CaptureRecord, ClientData, Failure, ServerData, code, number, role, stream_flag,
};
use vmwire_protocol::session::{Passed, Said};
use vmwire_protocol::xdr::{self, Opaque, Text};

use super::client::ConnectionId;
use super::convert;
use super::refusal::too_many_streams;
use super::rights::vm_of;
use super::{Dispatch, Turn};
use crate::access::Role;
use crate::model::capture::{About, Captured, Peer};
use crate::model::ring::Ring;
use crate::model::{VmId, Vms};

/// Captures that may run at once: each walks along everything that passes.
const CAPTURES_MAX: usize = 8;

/// Names a stream of a connection.
type StreamKey = (ConnectionId, u32);

/// Who looks on, and at what.
///
/// Invariant: where nobody looks on, nothing is kept and no session is tapped.
#[derive(Debug)]
pub(super) struct Captures {
    ring: Ring<Captured>,
    /// What passed in this turn and has no time yet: of no connection more than one of its turns, and in all no more than is
    /// kept anyway. The rest is lost.
    fresh: Ring<Captured>,
    readers: BTreeMap<StreamKey, Reader>,
    /// Connections that may have something passed; some of them more than once, some gone.
    touched: Vec<ConnectionId>,
}

/// Somebody who looks on.
#[derive(Debug)]
struct Reader {
    /// The packet to be shown next.
    next: u64,
    /// How much of it was shown.
    shown: usize,
    vm: Option<VmId>,
    payload: bool,
    /// Bytes sent on the stream.
    offset: u64,
}

impl Reader {
    fn wants(&self, about: About) -> bool {
        self.vm.is_none_or(|vm| matches!(about, About::Connection) || about == About::Vm(vm))
    }
}

/// What has to be known of a connection to say what its packets are about.
#[derive(Debug)]
pub(super) struct Tapped {
    peer: Arc<Peer>,
    received: u64,
    sent: u64,
    calls: BTreeMap<u32, About>,
    streams: BTreeMap<u32, About>,
}

impl Default for Captures {
    fn default() -> Self {
        Self { ring: Ring::starting_at(1), fresh: Ring::starting_at(1), readers: BTreeMap::new(), touched: Vec::new() }
    }
}

impl Captures {
    /// How many look on.
    pub(super) fn len(&self) -> usize {
        self.readers.len()
    }

    /// The streams of a connection that are captures.
    pub(super) fn of(&self, id: ConnectionId) -> Vec<u32> {
        self.readers.range((id, 0)..=(id, u32::MAX)).map(|((_, stream), _)| *stream).collect()
    }

    /// How many bytes of what passed were not shown.
    #[cfg(test)]
    pub(super) fn fresh_bytes(&self) -> usize {
        self.fresh.bytes()
    }

    /// Something may pass on a connection.
    pub(super) fn touch(&mut self, id: ConnectionId) {
        if !self.readers.is_empty() {
            self.touched.push(id);
        }
    }
}

impl Tapped {
    /// What a packet is about, and what follows from it for later ones.
    fn about(&mut self, passed: &Passed, vms: &Vms) -> About {
        match &passed.said {
            // Also one of a major that is not ours, which says why nothing else works.
            Said::Client(_) if passed.number == number::HELLO => {
                self.calls.insert(passed.serial, About::Connection);
                About::Connection
            }
            Said::Client(Some(data)) => {
                let about = match data {
                    ClientData::Cancel(call) => self.call(call.serial),
                    ClientData::StreamCredit(credit) => self.stream(credit.stream),
                    ClientData::StreamEnd(end) if end.why.is_some() => {
                        self.streams.remove(&end.stream).unwrap_or(About::Other)
                    }
                    ClientData::StreamEnd(end) => self.stream(end.stream),
                    ClientData::Subscribe(call) => about_vm(&call.vm, vms),
                    other => vm_of(other).map_or(About::Other, |vm| about_vm(vm, vms)),
                };
                if data.number() < number::UNANSWERED && about != About::Other {
                    self.calls.insert(passed.serial, about);
                }
                about
            }
            Said::Server(0, _) if passed.number == number::FAILURE => About::Connection,
            Said::Server(reply_to, _) if passed.number == number::PROGRESS => self.call(*reply_to),
            Said::Client(None) | Said::Server(_, None) if passed.number == number::STREAM_DATA => {
                self.stream_of_data(passed)
            }
            Said::Client(None) => About::Other,
            Said::Server(reply_to, None) => self.calls.remove(reply_to).unwrap_or(About::Other),
            Said::Server(reply_to, Some(data)) => match data {
                ServerData::Event(event) => event.vm.as_ref().map_or(About::Other, |vm| About::Vm(convert::vm_id(vm))),
                ServerData::StreamCredit(credit) => self.stream(credit.stream),
                ServerData::StreamEnd(end) => self.streams.remove(&end.stream).unwrap_or(About::Other),
                ServerData::VmDefine(answer) => About::Vm(convert::vm_id(&answer.vm)),
                answer => {
                    let about = self.calls.remove(reply_to).unwrap_or(About::Other);
                    if let ServerData::ConsoleOpen(console) = answer {
                        self.streams.insert(console.stream, about);
                    }
                    about
                }
            },
        }
    }

    fn call(&self, serial: u32) -> About {
        self.calls.get(&serial).copied().unwrap_or(About::Other)
    }

    fn stream(&self, stream: u32) -> About {
        self.streams.get(&stream).copied().unwrap_or(About::Other)
    }

    /// The data of a stream, whose number stands before them.
    fn stream_of_data(&self, passed: &Passed) -> About {
        let before = passed.bytes.get(..passed.payload.start).unwrap_or_default();
        before
            .get(20..24)
            .and_then(|word| word.try_into().ok())
            .map_or(About::Other, |word| self.stream(u32::from_be_bytes(word)))
    }
}

fn about_vm(text: &str, vms: &Vms) -> About {
    vms.find(text).map_or(About::Other, |vm| About::Vm(vm.id))
}

impl Dispatch {
    /// Whether anybody looks on.
    pub fn is_capturing(&self) -> bool {
        self.captures.len() > 0
    }

    /// Whether something passed that [`Dispatch::capture`] was not asked to show: somebody went after it.
    pub fn has_uncaptured(&self) -> bool {
        self.is_capturing() && self.captures.fresh.first() < self.captures.fresh.next()
    }

    pub(super) fn capture_open(
        &mut self,
        id: ConnectionId,
        call: &CaptureOpenCall,
    ) -> Result<CaptureOpenAnswer, Failure> {
        let vm = if call.vm.is_empty() { None } else { Some(self.find(&call.vm)?.id) };
        if self.captures.len() >= CAPTURES_MAX {
            return Err(Failure::new(code::OVERLOADED, "too many captures run")
                .detail("limit", &CAPTURES_MAX.to_string())
                .hint("end one of them; vmwire connection list shows who is connected"));
        }
        let Some(client) = self.clients.get_mut(id) else {
            return Err(Failure::new(code::INTERNAL, "the connection is gone"));
        };
        let stream = client.session.stream_open().map_err(|_| too_many_streams())?;
        let what = if call.vm.is_empty() { "everything" } else { &call.vm };
        info!("connection {}: {} captures {what}", id.number, client.session.peer().identity);
        let next = self.captures.ring.next();
        let reader = Reader { next, shown: 0, vm, payload: call.payload, offset: 0 };
        self.captures.readers.insert((id, stream), reader);
        self.tap();
        Ok(CaptureOpenAnswer { stream })
    }

    /// Has the sessions keep what passes, or not, as somebody looks on or nobody does.
    fn tap(&mut self) {
        for id in self.clients.ids() {
            self.tap_one(id);
        }
        if self.captures.readers.is_empty() {
            // Its numbers go on, so that no position of a capture that ended means anything in the next one.
            self.captures.ring = Ring::starting_at(self.captures.ring.next());
            self.captures.fresh = Ring::starting_at(1);
            self.captures.touched = Vec::new();
        }
    }

    /// The same for one of them.
    pub(super) fn tap_one(&mut self, id: ConnectionId) {
        let capturing = self.is_capturing();
        let tapped = capturing && self.captures.of(id).is_empty();
        let Some(client) = self.clients.get_mut(id) else { return };
        client.session.set_tapped(tapped);
        if !capturing {
            client.tapped = None;
        } else if !tapped {
            // Its positions go on when it captures no more: to others they would else begin anew.
            if let Some(known) = &mut client.tapped {
                (known.calls, known.streams) = (BTreeMap::new(), BTreeMap::new());
            }
        } else if let Some(known) = client.tapped.as_mut() {
            known.streams.extend(client.streams.vms().map(|(stream, vm)| (stream, About::Vm(vm))));
        } else {
            let peer = Peer {
                connection: id.number,
                identity: client.session.peer().identity.to_string(),
                transport: client.identity.transport(),
            };
            client.tapped = Some(Box::new(Tapped {
                peer: Arc::new(peer),
                received: 0,
                sent: 0,
                calls: BTreeMap::new(),
                streams: client.streams.vms().map(|(stream, vm)| (stream, About::Vm(vm))).collect(),
            }));
        }
    }

    /// Once a turn, when everything was written: shows what passed in it to those who look on. What was received is dated by
    /// the turn, what was sent by `sent_ns`.
    pub fn capture(&mut self, turn: &mut Turn<'_>, sent_ns: u64) {
        let mut touched = std::mem::take(&mut self.captures.touched);
        touched.sort_unstable();
        touched.dedup();
        for id in touched {
            self.fetch_passed(id);
        }
        let mut all = self.captures.fresh.take();
        if all.is_empty() {
            return;
        }
        for captured in &mut all {
            captured.time_ns = if captured.sent { sent_ns } else { turn.now.utc_ns };
        }
        all.make_contiguous().sort_by_key(|captured| captured.time_ns);
        all.into_iter().for_each(|captured| self.captures.ring.push(captured));
        let readers: Vec<StreamKey> = self.captures.readers.keys().copied().collect();
        for (id, stream) in readers {
            self.capture_output(id, stream);
            self.settle(turn, id);
            self.clients.mark_dirty(id);
        }
    }

    /// Fetches what has passed on a connection, before others are served or it goes: were it left where it is until all
    /// have been, it would be as much as all of them are sent in a turn.
    pub(super) fn fetch_passed(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some(tapped) = client.tapped.as_deref_mut() else { return };
        for passed in client.session.take_passed() {
            let about = tapped.about(&passed, &self.vms);
            let Passed { said, bytes, payload, .. } = passed;
            let sent = matches!(said, Said::Server(..));
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let passed = if sent { &mut tapped.sent } else { &mut tapped.received };
            let position = std::mem::replace(passed, *passed + length);
            let peer = tapped.peer.clone();
            self.captures.fresh.push(Captured { time_ns: 0, peer, sent, about, position, bytes, payload });
        }
    }

    /// Sends somebody who looks on what was not shown yet, within the stream's credit and while the connection has little
    /// unsent. Who was too slow for what is kept jumps; the positions tell it.
    pub(super) fn capture_output(&mut self, id: ConnectionId, stream: u32) {
        let Captures { ring, readers, .. } = &mut self.captures;
        let Some(reader) = readers.get_mut(&(id, stream)) else { return };
        let Some(client) = self.clients.get_mut(id) else { return };
        if reader.next < ring.first() {
            (reader.next, reader.shown) = (ring.first(), 0);
        }
        while let Some(captured) = ring.at(reader.next) {
            // What it said itself in the turn in which it asked for the capture is there as well.
            let own = captured.peer.connection == id.number;
            if own || reader.shown >= captured.bytes.len() || !reader.wants(captured.about) {
                (reader.next, reader.shown) = (reader.next + 1, 0);
                continue;
            }
            // Not to be made in vain for one who does not read.
            if client.session.stream_room(stream) < CAPTURED_BYTES_MAX.min(captured.bytes.len() - reader.shown) {
                return;
            }
            let piece = captured.piece(reader.shown, CAPTURED_BYTES_MAX, reader.payload);
            let (length, record) = (piece.len(), record(captured, reader.shown, piece));
            if client.session.stream_room(stream) < record.len()
                || client.session.stream_send(stream, stream_flag::MESSAGE_END, reader.offset, &record).is_err()
            {
                return;
            }
            reader.shown += length;
            reader.offset += u64::try_from(record.len()).unwrap_or(u64::MAX);
        }
    }

    /// The same for all captures of a connection.
    pub(super) fn captures_output(&mut self, id: ConnectionId) {
        for stream in self.captures.of(id) {
            self.capture_output(id, stream);
        }
    }

    /// Data came for a capture, which takes none.
    pub(super) fn capture_input(&mut self, id: ConnectionId, stream: u32) {
        self.capture_end(id, stream, Failure::new(code::INVALID, "a capture is only read"));
    }

    /// The role of somebody is another: captures are for admins of the host.
    pub(super) fn captures_denied(&mut self, id: ConnectionId) {
        if self.grants(id).is_some_and(|grants| grants.host() == Role::Admin) {
            return;
        }
        for stream in self.captures.of(id) {
            let why = Failure::new(code::DENIED, "captures are for admins")
                .detail("role", role::name(role::ADMIN).unwrap_or_default());
            self.capture_end(id, stream, why);
        }
    }

    fn capture_end(&mut self, id: ConnectionId, stream: u32, why: Failure) {
        if !self.captures.readers.contains_key(&(id, stream)) {
            return;
        }
        if let Some(client) = self.clients.get_mut(id) {
            client.session.stream_end(stream, Some(why));
            self.clients.mark_dirty(id);
        }
        self.capture_over(id, stream);
    }

    /// A capture is over, or its connection is.
    pub(super) fn capture_over(&mut self, id: ConnectionId, stream: u32) {
        if self.captures.readers.remove(&(id, stream)).is_some() {
            info!("connection {}: its capture has ended", id.number);
            self.tap();
        }
    }
}

/// A piece of a packet as the stream carries it.
fn record(captured: &Captured, begin: usize, piece: Vec<u8>) -> Vec<u8> {
    let record = CaptureRecord {
        time_ns: captured.time_ns,
        connection: captured.peer.connection,
        sent: captured.sent,
        peer: Text::clipped(&captured.peer.identity),
        transport: Text::constant(captured.peer.transport),
        position: captured.position + u64::try_from(begin).unwrap_or(u64::MAX),
        bytes: Opaque::new(piece).unwrap_or_default(),
    };
    let mut bytes = Vec::new();
    let outcome = xdr::encode(&mut bytes, &record);
    debug_assert!(outcome.is_ok(), "{outcome:?}");
    bytes
}
