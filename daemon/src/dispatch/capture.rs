//! Captures: what passes is kept once while anybody looks on, and each who does is a position in it.
//!
//! ```text
//!   sessions ─▶ what passed ─▶ once a turn: what it is about, when ─▶ ring ◀─ position of each capture ─▶ its stream
//! ```
//! Connections with a capture open are left out: what they are sent would be captured again, for ever. What passes between the
//! daemon and agents goes into the same ring, by `agents`.

mod agents;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use log::info;
use vmwire_protocol::limits::CAPTURED_BYTES_MAX;
use vmwire_protocol::message::{
    CaptureOpenAnswer, CaptureOpenCall, CaptureRecord, ClientData, Failure, ServerData, StreamEnd, code, number, role,
    stream_flag,
};
use vmwire_protocol::session::{Passed, Said};
use vmwire_protocol::xdr::{self, Opaque, Text};

use self::agents::AgentCaptures;
use super::client::ConnectionId;
use super::convert;
use super::refusal::too_many_streams;
use super::rights::vm_of;
use super::stream::{CaptureStream, Open, StreamKey, Streams};
use super::{Dispatch, Share, Turn};
use crate::access::Role;
use crate::model::capture::{About, Captured, Peer};
use crate::model::ring::Ring;
use crate::model::{VmId, Vms};

/// Captures that may run at once: each walks along everything that passes.
const CAPTURES_MAX: usize = 8;

/// Who looks on, and at what.
///
/// Invariant: where nobody looks on, nothing is kept and no session is tapped.
#[derive(Debug)]
pub(super) struct Captures {
    ring: Ring<Captured>,
    /// What passed in this turn and has no time yet: of no connection more than one of its turns, and in all no more than is
    /// kept anyway. The rest is lost.
    fresh: Ring<Captured>,
    readers: BTreeSet<StreamKey>,
    /// Those of them that look on at lanes to agents too.
    agents: AgentCaptures,
    /// Connections that may have something passed; some of them more than once, some gone.
    touched: Vec<ConnectionId>,
}

impl CaptureStream {
    fn wants(&self, about: About) -> bool {
        match about {
            About::Agent(of) => self.agents && self.vm.is_none_or(|vm| vm == of),
            About::Connection => true,
            About::Vm(_) | About::Other => self.vm.is_none_or(|vm| about == About::Vm(vm)),
        }
    }
}

/// What has to be known of a connection to say what its packets are about.
#[derive(Debug)]
pub(super) struct Tapped {
    peer: Arc<Peer>,
    received: u64,
    sent: u64,
    calls: BTreeMap<u32, About>,
    streams: BTreeMap<u32, TappedStream>,
}

/// What has to be known of a stream for that.
#[derive(Debug)]
struct TappedStream {
    about: About,
    client_ended: bool,
    daemon_ended: bool,
}

impl TappedStream {
    fn of(about: About) -> Self {
        Self { about, client_ended: false, daemon_ended: false }
    }
}

impl Default for Captures {
    fn default() -> Self {
        Self {
            ring: Ring::starting_at(1),
            fresh: Ring::starting_at(1),
            readers: BTreeSet::new(),
            agents: AgentCaptures::default(),
            touched: Vec::new(),
        }
    }
}

impl Captures {
    /// How many look on.
    pub(super) fn len(&self) -> usize {
        self.readers.len()
    }

    /// How many bytes of what passed were not shown.
    #[cfg(test)]
    pub(super) fn fresh_bytes(&self) -> usize {
        self.fresh.bytes()
    }

    /// Of how many lanes something is known.
    #[cfg(test)]
    pub(super) fn agents_known(&self) -> usize {
        self.agents.len()
    }

    /// A virtual machine is no more.
    pub(super) fn forget_agent(&mut self, vm: VmId) {
        self.agents.forget(vm);
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
                    ClientData::StreamEnd(end) => self.end(end, false),
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
                ServerData::StreamEnd(end) => self.end(end, true),
                ServerData::VmDefine(answer) => About::Vm(convert::vm_id(&answer.vm)),
                answer => {
                    let about = self.calls.remove(reply_to).unwrap_or(About::Other);
                    if let ServerData::ConsoleOpen(console) = answer {
                        self.streams.insert(console.stream, TappedStream::of(about));
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
        self.streams.get(&stream).map_or(About::Other, |known| known.about)
    }

    /// The end of a stream, or of one direction of it. What comes in the other one is about the same, until it ends as well.
    fn end(&mut self, end: &StreamEnd, sent: bool) -> About {
        let Some(known) = self.streams.get_mut(&end.stream) else { return About::Other };
        let about = known.about;
        *(if sent { &mut known.daemon_ended } else { &mut known.client_ended }) = true;
        if end.why.is_some() || known.daemon_ended && known.client_ended {
            self.streams.remove(&end.stream);
        }
        about
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

/// The consoles that were open when somebody began to look on.
fn consoles(streams: &Streams) -> impl Iterator<Item = (u32, TappedStream)> {
    streams.vms().map(|(stream, vm)| (stream, TappedStream::of(About::Vm(vm))))
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
            return Err(self.too_many_captures());
        }
        let Some(client) = self.clients.get_mut(id) else {
            return Err(Failure::new(code::INTERNAL, "the connection is gone"));
        };
        let stream = client.session.stream_open().map_err(|_| too_many_streams())?;
        let what = if call.vm.is_empty() { "everything" } else { &call.vm };
        let payload = if call.payload { ", with what streams carry" } else { "" };
        let agents = if call.agents { ", with what agents are asked and say" } else { "" };
        info!("connection {}: {} captures {what}{payload}{agents}", id.number, client.session.peer().identity);
        let next = self.captures.ring.next();
        let open = CaptureStream { next, shown: 0, vm, payload: call.payload, agents: call.agents, offset: 0 };
        client.streams.insert(stream, Open::Capture(open));
        self.captures.readers.insert((id, stream));
        if call.agents {
            self.captures.agents.add((id, stream), vm);
        }
        self.tap();
        Ok(CaptureOpenAnswer { stream })
    }

    /// Names those who capture, for one of them has to end.
    fn too_many_captures(&self) -> Failure {
        let mut numbers: Vec<u64> = self.captures.readers.iter().map(|(id, _)| id.number).collect();
        numbers.dedup();
        let named = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let oldest = numbers.first().copied().unwrap_or_default();
        Failure::new(code::OVERLOADED, "too many captures run").detail("limit", &CAPTURES_MAX.to_string()).hint(&format!(
            "they run on connections {named}: end one of them, there with ^C or from here with vmwire connection kick {oldest}"
        ))
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
        let Some(client) = self.clients.get_mut(id) else { return };
        let tapped = capturing && !client.streams.capture();
        client.session.set_tapped(tapped);
        if !capturing {
            client.tapped = None;
        } else if !tapped {
            // Its positions go on when it captures no more: to others they would else begin anew.
            if let Some(known) = &mut client.tapped {
                (known.calls, known.streams) = (BTreeMap::new(), BTreeMap::new());
            }
        } else if let Some(known) = client.tapped.as_mut() {
            known.streams.extend(consoles(&client.streams));
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
                streams: consoles(&client.streams).collect(),
            }));
        }
    }

    /// Once a turn, when everything was written: shows what passed in it to those who look on. What was received is dated by
    /// the turn, what was sent by `sent_ns`; but what was said to agents was given to their channels in the turn, and an
    /// answer may have come in the same one.
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
            let later = captured.sent && !matches!(captured.about, About::Agent(_));
            captured.time_ns = if later { sent_ns } else { turn.now.utc_ns };
        }
        all.make_contiguous().sort_by_key(|captured| captured.time_ns);
        all.into_iter().for_each(|captured| self.captures.ring.push(captured));
        let readers: Vec<StreamKey> = self.captures.readers.iter().copied().collect();
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
    /// unsent, but not more than a share of the work: others look on as well, and some do not. When that was written it goes
    /// on. Who was too slow for what is kept jumps; the positions tell it.
    pub(super) fn capture_output(&mut self, id: ConnectionId, stream: u32) {
        let ring = &self.captures.ring;
        let Some(client) = self.clients.get_mut(id) else { return };
        let (session, streams) = client.parts();
        let Some(reader) = streams.capture_mut(stream) else { return };
        if reader.next < ring.first() {
            (reader.next, reader.shown) = (ring.first(), 0);
        }
        let mut share = Share::whole();
        while let Some(captured) = ring.at(reader.next).filter(|_| !share.is_spent()) {
            // What it said itself in the turn in which it asked for the capture is there as well.
            let own = captured.peer.connection == id.number && !matches!(captured.about, About::Agent(_));
            if own || reader.shown >= captured.bytes.len() || !reader.wants(captured.about) {
                (reader.next, reader.shown) = (reader.next + 1, 0);
                continue;
            }
            // Not to be made in vain for one who does not read.
            if session.stream_room(stream) < CAPTURED_BYTES_MAX.min(captured.bytes.len() - reader.shown) {
                return;
            }
            let piece = captured.piece(reader.shown, CAPTURED_BYTES_MAX, reader.payload);
            let (length, record) = (piece.len(), record(captured, reader.shown, piece));
            if session.stream_room(stream) < record.len()
                || session.stream_send(stream, stream_flag::MESSAGE_END, reader.offset, &record).is_err()
            {
                return;
            }
            reader.shown += length;
            reader.offset += u64::try_from(record.len()).unwrap_or(u64::MAX);
            share.spend_on_packet(0, record.len());
        }
    }

    /// Data came for a capture, which takes none.
    pub(super) fn capture_input(&mut self, id: ConnectionId, stream: u32) {
        if let Some(client) = self.clients.get_mut(id) {
            client.session.stream_end(stream, Some(Failure::new(code::INVALID, "a capture is only read")));
            self.clients.mark_dirty(id);
        }
        self.capture_over(id, stream);
    }

    /// Why a capture may be open no more: it is for admins of the host.
    pub(super) fn capture_denied(&self, id: ConnectionId) -> Option<Failure> {
        let is_admin = self.grants(id).is_some_and(|grants| grants.host() == Role::Admin);
        (!is_admin).then(|| {
            Failure::new(code::DENIED, "captures are for admins")
                .detail("role", role::name(role::ADMIN).unwrap_or_default())
        })
    }

    /// The stream of a capture is over, or its connection is.
    pub(super) fn capture_over(&mut self, id: ConnectionId, stream: u32) {
        if self.captures.readers.remove(&(id, stream)) {
            self.captures.agents.remove((id, stream));
            if let Some(client) = self.clients.get_mut(id) {
                client.streams.remove(stream);
            }
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
