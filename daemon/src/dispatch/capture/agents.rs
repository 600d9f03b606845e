//! What passes between the daemon and the agents of guests, for captures that asked for it: bytes as they are on the
//! channel, each with its place on its lane.
//!
//! What is said to an agent is always shown. What a guest says, and it may say without end what nobody asked for, is shown
//! up to so much a second: beyond that it is lost to captures, which its position tells, and pushes out nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::stream::StreamKey;
use super::super::{Dispatch, Turn};
use crate::model::VmId;
use crate::model::capture::{About, Captured, Peer};

/// How much of what a guest says is shown in a second.
const BYTES_A_SECOND: usize = 64 * 1024;
/// What each piece counts for beside its bytes.
const PIECE_COST: usize = 256;
/// How a capture names the channel.
const TRANSPORT: &str = "agent";

/// Who looks on at lanes, and at which.
///
/// Invariant: where nobody looks on, nothing is known of any lane, and nothing kept.
#[derive(Debug, Default)]
pub(super) struct AgentCaptures {
    readers: BTreeMap<StreamKey, Option<VmId>>,
    lanes: BTreeMap<VmId, TappedLane>,
}

/// What has to be known of a lane to say where its bytes belong.
#[derive(Debug)]
struct TappedLane {
    peer: Arc<Peer>,
    received: u64,
    sent: u64,
    /// Since when what is shown is counted, and how much more may be.
    second: Instant,
    left: usize,
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
            self.lanes = BTreeMap::new();
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
        Self { peer: Arc::new(peer), received: 0, sent: 0, second: now, left: BYTES_A_SECOND }
    }

    /// How many of so many bytes that a guest said are shown.
    fn afford(&mut self, now: Instant, bytes: usize) -> usize {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.left) = (now, BYTES_A_SECOND);
        }
        let shown = bytes.min(self.left.saturating_sub(PIECE_COST));
        self.left = self.left.saturating_sub(shown + PIECE_COST);
        shown
    }
}

impl Dispatch {
    /// Something passed on the lane to a guest's agent.
    pub(in crate::dispatch) fn agent_passed(&mut self, turn: &Turn<'_>, vm: VmId, sent: bool, bytes: &[u8]) {
        if !self.captures.agents.are_of(vm) {
            return;
        }
        let Some(known) = self.vms.get(vm) else { return };
        let (number, name, now) = (self.agents.number(vm), known.name().as_str(), turn.now.monotonic);
        let lane = self.captures.agents.lanes.entry(vm).or_insert_with(|| TappedLane::of(number, name, now));
        if lane.peer.identity != name {
            lane.peer = TappedLane::of(number, name, now).peer;
        }
        let shown = if sent { bytes.len() } else { lane.afford(now, bytes.len()) };
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
