//! Pings to the agents of guests: who asks, what is waited for, and what happens to the guest meanwhile.
//!
//! What is said on a lane is `model::agent`'s. A lane is made when it is first needed and goes when its virtual machine is
//! undefined; until then it keeps its number, by which captures know it. Whatever ends what is waited for (an answer, a
//! guest that ends or stands still, a deadline) ends the call, and the last call that ends, the waiting.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Instant;

use vmwire_protocol::fault::{self, Fault};
use vmwire_protocol::message::{Failure, ServerData, VmCall};

use super::calls::Subject;
use super::refusal;
use super::{Dispatch, Outcome, Reply, Turn};
use crate::event_loop::Timers;
use crate::model::agent::{Lane, Port};
use crate::model::{AGENT_CHANNEL, Vm, VmId, VmState};

/// The lanes to the agents of guests.
///
/// Invariant: `late` holds exactly the lanes whose answer is waited for by somebody.
#[derive(Debug, Default)]
pub(super) struct Agents {
    lanes: BTreeMap<VmId, Known>,
    /// The number of the newest lane.
    last: u64,
    /// When the answers that are waited for are late.
    late: Timers<VmId>,
    /// Lanes whose channel was closed or lost in this turn: why may be told by what follows. With each, whether anybody
    /// had it open.
    closed: BTreeMap<VmId, bool>,
}

#[derive(Debug)]
struct Known {
    number: u64,
    lane: Lane,
}

impl Agents {
    fn known(&mut self, vm: VmId) -> &mut Known {
        self.lanes.entry(vm).or_insert_with(|| {
            self.last += 1;
            Known { number: self.last, lane: Lane::new() }
        })
    }

    /// The number of a lane, from 1 and never used for another.
    pub(super) fn number(&mut self, vm: VmId) -> u64 {
        self.known(vm).number
    }

    /// Whose agents there are lanes to.
    pub(super) fn vms(&self) -> Vec<VmId> {
        self.lanes.keys().copied().collect()
    }

    /// How many lanes there are, and of how many an answer is waited for.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.lanes.len(), self.late.len())
    }

    /// When [`Dispatch::agents_late`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.late.next()
    }
}

/// A number that no agent was sent before: what std keys its hashes with is drawn from the system, and never fails.
fn draw() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl Dispatch {
    /// Somebody asks whether a guest's agent is there. All who ask while a request is under way share the next one.
    pub(super) fn agent_ping(&mut self, turn: &mut Turn<'_>, call: &VmCall) -> Outcome {
        let vm = self.find(&call.vm)?;
        may_be_asked(vm)?;
        let (id, name) = (vm.id, vm.name().to_string());
        let request = self.agents.known(id).lane.ask(turn.now.monotonic, &mut draw);
        if !self.agent_send(turn, id) {
            let failure = refusal::agent_not_reached(&name);
            self.agent_interrupted(turn, id, &failure);
            return Err(failure);
        }
        Ok(Reply::Later(Subject::Agent { vm: id, request }))
    }

    /// The guest wrote to the channel of its agent.
    pub(super) fn agent_said(&mut self, turn: &mut Turn<'_>, vm: VmId, data: &[u8]) {
        self.agent_passed(turn, vm, false, data);
        self.on_lane(turn, vm, |lane, turn| lane.handle_bytes(data, turn.now.monotonic, &mut draw));
    }

    /// Somebody in the guest opened or closed the channel, or nobody knows.
    pub(super) fn agent_port(&mut self, turn: &mut Turn<'_>, id: VmId, open: Option<bool>) {
        let Some(vm) = self.vms.get_mut(id) else { return };
        let now = open.map_or(Port::Unknown, |open| if open { Port::Open } else { Port::Closed });
        let former = std::mem::replace(&mut vm.agent, now);
        if open == Some(true) {
            self.on_lane(turn, id, |lane, turn| lane.begin_anew(turn.now.monotonic, &mut draw));
        } else if let Some(known) = self.agents.lanes.get_mut(&id) {
            known.lane.fall_out();
            *self.agents.closed.entry(id).or_default() |= former == Port::Open;
        }
    }

    /// The monitor went: who opens or closes the channel until it comes again is not told.
    pub(super) fn agent_port_unknown(&mut self, turn: &mut Turn<'_>, id: VmId) {
        let Some(vm) = self.vms.get_mut(id) else { return };
        vm.agent = Port::Unknown;
        self.on_lane(turn, id, |lane, turn| lane.begin_anew(turn.now.monotonic, &mut draw));
    }

    /// A guest entered a state. Of one that has just been launched it is known that nobody listens yet.
    pub(super) fn agent_entered(&mut self, turn: &mut Turn<'_>, id: VmId) {
        let Some(vm) = self.vms.get_mut(id) else { return };
        match vm.state {
            VmState::Running => return,
            VmState::Starting => vm.agent = Port::Closed,
            VmState::Stopped | VmState::Lost | VmState::Adopting => vm.agent = Port::Unknown,
            VmState::Paused | VmState::Crashed => {}
        }
        if self.agents.lanes.contains_key(&id) {
            let failure = refusal::agent_interrupted(vm);
            self.agent_interrupted(turn, id, &failure);
        }
    }

    /// A guest began from its firmware again.
    pub(super) fn agent_reset(&mut self, turn: &mut Turn<'_>, id: VmId, name: &str) {
        if self.agents.lanes.contains_key(&id) {
            self.agent_interrupted(turn, id, &refusal::agent_gone(name, "the guest was reset meanwhile"));
        }
    }

    /// Once a turn, behind all that was reported: of lanes whose channel is closed and nobody knows why, nothing comes.
    /// Of those that were lost, the driver says whether they can be written to again.
    pub(super) fn agents_closed(&mut self, turn: &mut Turn<'_>) {
        for (id, was_open) in std::mem::take(&mut self.agents.closed) {
            let Some(vm) = self.vms.get(id) else { continue };
            match vm.agent {
                Port::Closed => {
                    let failure = if was_open {
                        refusal::agent_gone(vm.name().as_str(), "the agent has closed its channel meanwhile")
                    } else {
                        refusal::nobody_listens(vm)
                    };
                    self.agent_interrupted(turn, id, &failure);
                }
                Port::Unknown => self.on_lane(turn, id, |lane, turn| lane.begin_anew(turn.now.monotonic, &mut draw)),
                Port::Open => {}
            }
        }
    }

    /// Asks those again that have not answered.
    pub(super) fn agents_late(&mut self, turn: &mut Turn<'_>) {
        while let Some(vm) = self.agents.late.take_due(turn.now.monotonic) {
            self.on_lane(turn, vm, |lane, turn| lane.handle_timeout(turn.now.monotonic, &mut draw));
        }
    }

    /// A call waits no more. Where it was the last one, nothing is waited for.
    pub(super) fn agent_left(&mut self, vm: VmId) {
        if !self.calls.await_agent(vm)
            && let Some(known) = self.agents.lanes.get_mut(&vm)
        {
            known.lane.nobody_waits();
            self.agents.late.cancel(vm);
        }
    }

    /// A virtual machine is undefined.
    pub(super) fn agent_forgotten(&mut self, turn: &mut Turn<'_>, vm: VmId, gone: &Failure) {
        self.agent_interrupted(turn, vm, gone);
        self.agents.lanes.remove(&vm);
        self.captures.forget_agent(vm);
    }

    /// Has something happen on a lane, if there is one, and does what follows.
    fn on_lane(&mut self, turn: &mut Turn<'_>, id: VmId, happens: impl FnOnce(&mut Lane, &Turn<'_>)) {
        let Some(known) = self.agents.lanes.get_mut(&id) else { return };
        happens(&mut known.lane, turn);
        while let Some(answer) = self.agents.lanes.get_mut(&id).and_then(|known| known.lane.poll_answer()) {
            let outcome = answer.result.map(|()| ServerData::AgentPing);
            let outcome = outcome.map_err(|error| refusal::agent(&error, &self.vm_name(id)));
            for key in self.calls.of_agent(id, answer.request) {
                self.conclude(turn, key, outcome.clone());
            }
        }
        if !self.agent_send(turn, id) {
            let failure = refusal::agent_not_reached(&self.vm_name(id));
            self.agent_interrupted(turn, id, &failure);
        }
    }

    /// Sends what is to be said on a lane. Answers whether it was taken.
    fn agent_send(&mut self, turn: &mut Turn<'_>, id: VmId) -> bool {
        let Some(known) = self.agents.lanes.get_mut(&id) else { return true };
        let outgoing = known.lane.take_outgoing();
        if !outgoing.is_empty() {
            if !self.driver.agent_write(turn.now, turn.host, id, &outgoing) {
                return false;
            }
            self.agent_passed(turn, id, true, &outgoing);
        }
        self.agent_settle(id);
        true
    }

    /// Notes when the answer that is waited for is late.
    fn agent_settle(&mut self, id: VmId) {
        match self.agents.lanes.get(&id).and_then(|known| known.lane.poll_timeout()) {
            Some(at) => self.agents.late.set(at, id),
            None => {
                self.agents.late.cancel(id);
            }
        }
    }

    /// No answer comes to what was asked: whoever waits is told why.
    fn agent_interrupted(&mut self, turn: &mut Turn<'_>, id: VmId, failure: &Failure) {
        if let Some(known) = self.agents.lanes.get_mut(&id) {
            known.lane.fall_out();
        }
        for key in self.calls.of_agent(id, u64::MAX) {
            self.conclude(turn, key, Err(failure.clone()));
        }
        self.agent_left(id);
    }
}

/// Whether anybody could answer.
fn may_be_asked(vm: &Vm) -> Result<(), Failure> {
    if !vm.definition.channels.iter().any(|name| name == AGENT_CHANNEL) {
        return Err(refusal::no_agent_channel(vm));
    }
    match (vm.state, vm.agent) {
        (VmState::Adopting, _) => Err(refusal::adopting(vm)),
        (VmState::Running, Port::Open) if fault::is_planted(Fault::OverheardAgent) => Err(refusal::nobody_listens(vm)),
        (VmState::Running, Port::Closed) => Err(refusal::nobody_listens(vm)),
        (VmState::Running, Port::Open | Port::Unknown) => Ok(()),
        _ => Err(refusal::no_agent_runs(vm)),
    }
}
