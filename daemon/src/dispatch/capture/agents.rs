//! What passes between the daemon and the agents of guests, for captures that asked for it: bytes as they are on the
//! channel, each with its place on its lane.
//!
//! What is said to an agent is always shown. What a guest says, and it may say without end what nobody asked for, is shown
//! up to so much a second, and what all of them say up to so much more: beyond that it is lost to captures, which its
//! position tells. So however many guests flood, it takes them seconds to turn over what is kept, in which whoever looks
//! on has read the rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::stream::StreamKey;
use super::super::{Dispatch, Turn};
use crate::model::VmId;
use crate::model::capture::{About, Captured, Peer};

/// Of what a guest says is shown: 256 pieces a second at the most.
const OF_EACH: Allowance = Allowance { a_second: 64 * 1024, piece: 256 };
/// Of what all guests say: 1024 pieces a second at the most, of the 4096 that are kept.
const OF_ALL: Allowance = Allowance { a_second: 1024 * 1024, piece: 1024 };
/// How a capture names the channel.
const TRANSPORT: &str = "agent";

/// Who looks on at lanes, and at which.
///
/// Invariant: where nobody looks on, nothing is known of any lane, and nothing kept.
#[derive(Debug, Default)]
pub(super) struct AgentCaptures {
    readers: BTreeMap<StreamKey, Option<VmId>>,
    lanes: BTreeMap<VmId, TappedLane>,
    /// Of all lanes. `None` while nobody looks on.
    shown: Option<Budget>,
}

/// How much may be shown.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    /// So many bytes in a second.
    a_second: usize,
    /// What each piece counts for beside its bytes.
    piece: usize,
}

/// How much was shown of it.
#[derive(Debug)]
struct Budget {
    of: Allowance,
    /// Since when what is shown is counted, and how much more may be.
    second: Instant,
    left: usize,
}

/// What has to be known of a lane to say where its bytes belong.
#[derive(Debug)]
struct TappedLane {
    peer: Arc<Peer>,
    received: u64,
    sent: u64,
    shown: Budget,
}

impl AgentCaptures {
    /// Somebody looks on: at the agent of one guest, or at all.
    pub(super) fn add(&mut self, reader: StreamKey, vm: Option<VmId>) {
        self.readers.insert(reader, vm);
    }

    /// Somebody looks on no more.
    pub(super) fn remove(&mut self, reader: StreamKey) {
        self.readers.remove(&reader);
        if self.readers.is_empty() {
            (self.lanes, self.shown) = (BTreeMap::new(), None);
        }
    }

    /// Of how many lanes something is known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    /// A virtual machine is no more.
    pub(super) fn forget(&mut self, vm: VmId) {
        self.lanes.remove(&vm);
    }

    fn are_of(&self, vm: VmId) -> bool {
        self.readers.values().any(|wanted| wanted.is_none_or(|wanted| wanted == vm))
    }
}

impl TappedLane {
    fn of(number: u64, name: &str, now: Instant) -> Self {
        let peer = Peer { connection: number, identity: name.to_owned(), transport: TRANSPORT };
        Self { peer: Arc::new(peer), received: 0, sent: 0, shown: Budget::new(OF_EACH, now) }
    }
}

impl Budget {
    fn new(of: Allowance, now: Instant) -> Self {
        Self { of, second: now, left: of.a_second }
    }

    /// How many bytes the next piece may have.
    fn room(&mut self, now: Instant) -> usize {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.left) = (now, self.of.a_second);
        }
        self.left.saturating_sub(self.of.piece)
    }

    /// A piece of so many bytes is shown, for which there is room.
    fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes + self.of.piece);
    }
}

/// How many of so many bytes that a guest said are shown.
fn afford(of_each: &mut Budget, of_all: &mut Budget, now: Instant, bytes: usize) -> usize {
    let shown = bytes.min(of_each.room(now)).min(of_all.room(now));
    if shown > 0 {
        of_each.spend(shown);
        of_all.spend(shown);
    }
    shown
}

impl Dispatch {
    /// Something passed on the lane to a guest's agent.
    pub(in crate::dispatch) fn agent_passed(&mut self, turn: &Turn<'_>, vm: VmId, sent: bool, bytes: &[u8]) {
        if !self.captures.agents.are_of(vm) {
            return;
        }
        let Some(known) = self.vms.get(vm) else { return };
        let (number, name, now) = (self.agents.number(vm), known.name().as_str(), turn.now.monotonic);
        let all = self.captures.agents.shown.get_or_insert_with(|| Budget::new(OF_ALL, now));
        let lane = self.captures.agents.lanes.entry(vm).or_insert_with(|| TappedLane::of(number, name, now));
        if lane.peer.identity != name {
            lane.peer = TappedLane::of(number, name, now).peer;
        }
        let shown = if sent { bytes.len() } else { afford(&mut lane.shown, all, now, bytes.len()) };
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let passed = if sent { &mut lane.sent } else { &mut lane.received };
        let position = std::mem::replace(passed, *passed + length);
        if shown > 0 {
            let (peer, bytes) = (lane.peer.clone(), bytes[..shown].to_vec());
            let captured = Captured { time_ns: 0, peer, sent, about: About::Agent(vm), position, bytes, payload: 0..0 };
            self.captures.fresh.push(captured);
        }
    }
}
