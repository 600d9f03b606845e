//! What really happened, noted where it cannot be mistaken: at the seams of the core, by the doubles that stand there.
//! Clients are held against it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Instant;

use vmwire_daemon::access::Role;
use vmwire_daemon::event_loop::Now;
use vmwire_daemon::model::VmId;
use vmwire_protocol::message::{
    Event, EventOperation, EventVmDefined, EventVmState, ServerData, event_kind, number, operation_state, vm_state,
};
use vmwire_protocol::xdr;

use crate::agents::Agents;
use crate::rights::{Group, Rights};

/// Bounds of the ring and of a console, as the design has them.
const RING_EVENTS_MAX: u64 = 4096;
const RING_BYTES_MAX: usize = 4 << 20;
const CONSOLE_BYTES_MAX: u64 = 128 << 10;

pub(crate) type Shared = Rc<RefCell<Truth>>;

/// Who is defined, and by what they belong to scopes.
pub(crate) type Groups = BTreeMap<VmId, Group>;

/// What really happened.
#[derive(Debug)]
pub(crate) struct Truth {
    /// The virtual clock.
    pub(crate) now: Now,
    pub(crate) epoch: [u8; 16],
    /// No more faults from now on.
    pub(crate) calm: bool,
    /// Since when; from then on, too, nothing is done later than it is due.
    pub(crate) calm_since: Option<Instant>,
    /// Every event is said as it comes.
    aloud: bool,
    /// Every event since the number `first`.
    events: Vec<Told>,
    first: u64,
    ring_first: u64,
    ring_bytes: usize,
    /// Who is defined since which event.
    groups: Vec<(u64, Groups)>,
    /// What is being written.
    defining: Groups,
    /// A virtual machine has another name or other labels since this was last asked.
    pub(crate) regrouped: bool,
    /// What each client may do now.
    pub(crate) rights: Vec<Rights>,
    /// The states of each virtual machine, each with the event that told it.
    states: BTreeMap<VmId, Vec<(u64, u32)>>,
    pub(crate) operations: BTreeMap<u64, Operation>,
    consoles: BTreeMap<VmId, Console>,
    pub(crate) agents: Agents,
    /// How often each was undefined: one that is defined again has a new console.
    undefined: BTreeMap<VmId, u64>,
    /// What the doubles saw that must not be.
    pub(crate) wrong: Vec<String>,
}

/// An event that happened.
#[derive(Debug)]
struct Told {
    event: Event,
    /// Its length.
    bytes: usize,
    /// The labels of its virtual machine, if that was there.
    labels: Option<Vec<String>>,
}

/// What events told of an operation.
#[derive(Debug)]
pub(crate) struct Operation {
    /// The labels that its virtual machine had last, or will have.
    labels: Vec<String>,
    pub(crate) procedure: u32,
    pub(crate) state: u32,
    pub(crate) vm: Option<VmId>,
    /// It put a definition in the place of another.
    pub(crate) replaced: bool,
}

/// What a guest said and was told.
#[derive(Debug, Default)]
struct Console {
    said: Vec<u8>,
    /// How much it had said whenever it was not up.
    ends: BTreeSet<u64>,
    /// The last mark that each client typed.
    typed: BTreeMap<u8, u8>,
}

impl Truth {
    pub(crate) fn new(
        now: Now,
        epoch: [u8; 16],
        defined: Groups,
        rights: Vec<Rights>,
        restored: Vec<(Event, usize)>,
        aloud: bool,
    ) -> Self {
        let first = restored.first().map_or(1, |(event, _)| event.sequence);
        let ring_bytes = restored.iter().map(|(_, bytes)| bytes).sum();
        let restored = restored.into_iter().map(|(event, bytes)| Told { event, bytes, labels: None });
        Self {
            now,
            epoch,
            calm: false,
            calm_since: None,
            aloud,
            events: restored.collect(),
            first,
            ring_first: first,
            ring_bytes,
            states: defined.keys().map(|vm| (*vm, vec![(0, vm_state::STOPPED)])).collect(),
            groups: vec![(0, defined)],
            defining: Groups::new(),
            regrouped: false,
            rights,
            operations: BTreeMap::new(),
            consoles: BTreeMap::new(),
            agents: Agents::default(),
            undefined: BTreeMap::new(),
            wrong: Vec::new(),
        }
    }

    /// An event was appended.
    pub(crate) fn happened(&mut self, sequence: u64, encoded: &[u8]) {
        let Some(Ok(ServerData::Event(event))) = ServerData::decode_body(0x1001, &encoded[4..]) else {
            return self.wrong.push(format!("event {sequence} cannot be decoded"));
        };
        if sequence != self.next() || event.sequence != sequence || event.epoch.0 != self.epoch {
            self.wrong.push(format!("event {sequence} came where {} was due", self.next()));
        }
        if let Err(why) = self.follow(&event) {
            self.wrong.push(format!("event {sequence}: {why}"));
        }
        if self.aloud {
            println!("    {}", self.told(&event));
        }
        let vm = event.vm.as_ref().map(|vm| VmId(uuid::Uuid::from_bytes(vm.uuid.0)));
        let labels = vm.and_then(|vm| self.groups_now().get(&vm)).map(|group| group.labels.clone());
        if let (Some(labels), Some(operation)) = (&labels, self.operations.get_mut(&event.operation)) {
            operation.labels.clone_from(labels);
        }
        self.events.push(Told { event, bytes: encoded.len(), labels });
        self.ring_bytes += encoded.len();
        while self.next() - self.ring_first > RING_EVENTS_MAX || self.ring_bytes > RING_BYTES_MAX {
            self.ring_bytes -= self.at(self.ring_first).map_or(0, |told| told.bytes);
            self.ring_first += 1;
        }
    }

    /// An event in a line.
    fn told(&self, event: &Event) -> String {
        let kind = event_kind::name(event.kind).unwrap_or("?");
        let vm = event.vm.as_ref().map_or("", |vm| vm.name.as_str());
        let now = match event.kind {
            event_kind::VM_STATE => {
                let id = event.vm.as_ref().map(|vm| VmId(uuid::Uuid::from_bytes(vm.uuid.0)));
                id.and_then(|id| self.state(id)).and_then(vm_state::name)
            }
            event_kind::OPERATION => {
                let operation = self.operations.get(&event.operation);
                operation.and_then(|operation| operation_state::name(operation.state))
            }
            _ => None,
        };
        format!("event {}: {kind} {vm} {} (operation {})", event.sequence, now.unwrap_or_default(), event.operation)
    }

    /// Follows the states that events tell of.
    fn follow(&mut self, event: &Event) -> Result<(), String> {
        let vm = event.vm.as_ref().map(|vm| VmId(uuid::Uuid::from_bytes(vm.uuid.0)));
        match (event.kind, vm) {
            (event_kind::VM_STATE, Some(vm)) => {
                let detail: EventVmState = xdr::decode(&event.detail).map_err(|error| error.to_string())?;
                let states = self.states.entry(vm).or_default();
                let before = states.last().map_or(0, |(_, state)| *state);
                if detail.previous != before || detail.state == before {
                    return Err(format!("state {} behind {}, but it was {before}", detail.state, detail.previous));
                }
                states.push((event.sequence, detail.state));
            }
            (event_kind::VM_DEFINED, Some(vm)) => {
                let detail: EventVmDefined = xdr::decode(&event.detail).map_err(|error| error.to_string())?;
                if let Some(operation) = self.operations.get_mut(&event.operation) {
                    operation.replaced = detail.replaced;
                }
                let group = self.defining.remove(&vm).ok_or("it was never written")?;
                self.regrouped |= self.groups_now().get(&vm).is_some_and(|former| *former != group);
                let mut groups = self.groups_now().clone();
                groups.insert(vm, group);
                self.groups.push((event.sequence, groups));
                let states = self.states.entry(vm).or_default();
                if states.last().is_none_or(|(_, state)| *state == 0) {
                    states.push((event.sequence, vm_state::STOPPED));
                }
            }
            (event_kind::VM_UNDEFINED, Some(vm)) => {
                self.states.entry(vm).or_default().push((event.sequence, 0));
                let mut groups = self.groups_now().clone();
                groups.remove(&vm);
                self.groups.push((event.sequence, groups));
                self.consoles.remove(&vm);
                *self.undefined.entry(vm).or_default() += 1;
            }
            (event_kind::OPERATION, _) => {
                use operation_state::{DONE, DROPPED, FAILED, QUEUED, RUNNING};
                let detail: EventOperation = xdr::decode(&event.detail).map_err(|error| error.to_string())?;
                let before = self.operations.get(&event.operation).map(|operation| operation.state);
                let (procedure, state) = (detail.procedure, detail.state);
                let fresh = Operation { procedure, state, vm, replaced: false, labels: Vec::new() };
                self.operations.entry(event.operation).or_insert(fresh).state = state;
                match (before, state) {
                    (None, QUEUED | RUNNING)
                    | (Some(QUEUED), RUNNING | DROPPED | DONE)
                    | (Some(RUNNING), DONE | FAILED) => {}
                    (before, after) => {
                        return Err(format!("operation {} is {after} behind {before:?}", event.operation));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The number of the next event.
    pub(crate) fn next(&self) -> u64 {
        self.first + u64::try_from(self.events.len()).unwrap()
    }

    /// The oldest event that the daemon still has.
    pub(crate) fn ring_first(&self) -> u64 {
        self.ring_first
    }

    fn at(&self, sequence: u64) -> Option<&Told> {
        self.events.get(usize::try_from(sequence.checked_sub(self.first)?).unwrap())
    }

    pub(crate) fn event(&self, sequence: u64) -> Option<&Event> {
        self.at(sequence).map(|told| &told.event)
    }

    /// The state of a virtual machine as of an event; `None` while it is not defined.
    pub(crate) fn state_as_of(&self, vm: VmId, sequence: u64) -> Option<u32> {
        let states = self.states.get(&vm)?;
        states.iter().rev().find(|(since, _)| *since <= sequence).map(|(_, state)| *state).filter(|state| *state != 0)
    }

    pub(crate) fn state(&self, vm: VmId) -> Option<u32> {
        self.state_as_of(vm, u64::MAX)
    }

    /// Whether a virtual machine has run all the time since an event.
    pub(crate) fn has_run_since(&self, vm: VmId, sequence: u64) -> bool {
        let later = self.states.get(&vm).and_then(|states| states.last()).is_some_and(|(since, _)| *since > sequence);
        !later && self.state(vm) == Some(vm_state::RUNNING)
    }

    /// The core says something to the agent of a guest.
    pub(crate) fn asks_agent(&mut self, vm: VmId, data: &[u8]) {
        let outcome = self.agents.asked(vm, self.now.monotonic, data);
        if let Err(why) = outcome {
            self.wrong.push(format!("the agent of {vm} is asked {why}"));
        }
        if self.state(vm) != Some(vm_state::RUNNING) {
            self.wrong.push(format!("the agent of {vm} is asked while it is {:?}", self.state(vm)));
        }
    }

    /// The virtual machines that a name or uuid has meant since an event.
    pub(crate) fn meant_since(&self, sequence: u64, text: &str) -> impl Iterator<Item = VmId> {
        let all = self.groups_since(sequence).flat_map(|(_, groups)| groups);
        all.filter(move |(vm, group)| group.name == text || vm.to_string() == text).map(|(vm, _)| *vm)
    }

    /// Nothing is under way that has come true already.
    pub(crate) fn settled(&self) -> Result<(), String> {
        let lags = |operation: &Operation| {
            let down = operation.vm.and_then(|vm| self.state(vm)) == Some(vm_state::STOPPED);
            operation.procedure == number::VM_SHUTDOWN && operation.state == operation_state::RUNNING && down
        };
        match self.operations.iter().find(|(_, operation)| lags(operation)) {
            None => Ok(()),
            Some((id, operation)) => Err(format!("operation {id} waits for what has come true: {operation:?}")),
        }
    }

    /// Who is defined as of an event.
    pub(crate) fn groups_as_of(&self, sequence: u64) -> &Groups {
        let (_, groups) = self.groups.iter().rev().find(|(since, _)| *since <= sequence).unwrap_or(&self.groups[0]);
        groups
    }

    fn groups_now(&self) -> &Groups {
        self.groups_as_of(u64::MAX)
    }

    /// Who was defined as of an event, and whenever that changed after it.
    pub(crate) fn groups_since(&self, sequence: u64) -> impl Iterator<Item = &(u64, Groups)> {
        let first = self.groups.iter().rposition(|(since, _)| *since <= sequence).unwrap_or_default();
        self.groups[first..].iter()
    }

    /// The virtual machine of a name or uuid.
    pub(crate) fn find_in<'a>(groups: &'a Groups, text: &str) -> Option<&'a Group> {
        groups.iter().find(|(vm, group)| group.name == text || vm.to_string() == text).map(|(_, group)| group)
    }

    /// The least and the highest role over a virtual machine since an event; none while it was not there.
    pub(crate) fn roles_since<'a>(
        &'a self,
        sequence: u64,
        rights: &Rights,
        find: impl Fn(&'a Groups) -> Option<&'a Group>,
    ) -> (Option<Role>, Option<Role>) {
        let roles = || self.groups_since(sequence).map(|(_, groups)| find(groups).and_then(|group| rights.over(group)));
        (roles().min().flatten(), roles().max().flatten())
    }

    pub(crate) fn group_as_of(&self, vm: VmId, sequence: u64) -> Option<&Group> {
        self.groups_as_of(sequence).get(&vm)
    }

    /// What stood in the place of a definition before an operation put it there.
    pub(crate) fn before_definition(&self, operation: u64, vm: VmId) -> Option<&Group> {
        let is_it = |told: &&Told| told.event.operation == operation && told.event.kind == event_kind::VM_DEFINED;
        let defined = self.events.iter().rev().find(is_it)?;
        self.group_as_of(vm, defined.event.sequence - 1)
    }

    /// Whether an event may be told to somebody. One of a virtual machine that was not there yet or no more has the labels
    /// that its operation knows.
    pub(crate) fn is_told_of(&self, sequence: u64, rights: &Rights) -> bool {
        let Some(Told { event, labels, .. }) = self.at(sequence) else { return false };
        // Those about keys are for admins; nobody here is known by a key.
        let of_keys = matches!(event.kind, event_kind::CLIENT_CHANGED | event_kind::CERTIFICATE);
        let Some(vm) = &event.vm else { return !of_keys || rights.host() == Role::Admin };
        let group = match labels {
            Some(labels) => Some(Group { name: vm.name.to_string(), labels: labels.clone() }),
            None => self.operation_group(event.operation, &vm.name),
        };
        rights.sees_all() || group.is_some_and(|group| rights.over(&group).is_some())
    }

    /// The virtual machine of an operation, with the labels that it had last.
    pub(crate) fn operation_group(&self, operation: u64, name: &str) -> Option<Group> {
        let labels = self.operations.get(&operation)?.labels.clone();
        Some(Group { name: name.to_owned(), labels })
    }

    /// A definition is about to be written.
    pub(crate) fn writes(&mut self, vm: VmId, group: Group) {
        let running = |operation: &&mut Operation| {
            operation.vm == Some(vm)
                && operation.procedure == number::VM_DEFINE
                && operation.state == operation_state::RUNNING
        };
        if let Some(operation) = self.operations.values_mut().rev().find(running)
            && !self.groups.last().is_some_and(|(_, groups)| groups.contains_key(&vm))
        {
            operation.labels.clone_from(&group.labels);
        }
        self.defining.insert(vm, group);
    }

    /// Who is defined as of an event, and by what name.
    pub(crate) fn names_as_of(&self, sequence: u64) -> BTreeMap<VmId, String> {
        self.groups_as_of(sequence).iter().map(|(vm, group)| (*vm, group.name.clone())).collect()
    }

    /// Which console of a virtual machine is the present one.
    pub(crate) fn generation(&self, vm: VmId) -> u64 {
        self.undefined.get(&vm).copied().unwrap_or_default()
    }

    /// A guest said something.
    pub(crate) fn said(&mut self, vm: VmId, data: &[u8]) {
        self.consoles.entry(vm).or_default().said.extend_from_slice(data);
    }

    /// A guest went down.
    pub(crate) fn went_down(&mut self, vm: VmId) {
        let console = self.consoles.entry(vm).or_default();
        console.ends.insert(u64::try_from(console.said.len()).unwrap());
    }

    /// How much a guest has said.
    pub(crate) fn said_bytes(&self, vm: VmId) -> u64 {
        self.consoles.get(&vm).map_or(0, |console| u64::try_from(console.said.len()).unwrap())
    }

    /// The oldest position of a console that the daemon still has.
    pub(crate) fn console_first(&self, vm: VmId) -> u64 {
        self.said_bytes(vm).saturating_sub(CONSOLE_BYTES_MAX)
    }

    /// Whether a guest said exactly this at that position.
    pub(crate) fn did_say(&self, vm: VmId, offset: u64, data: &[u8]) -> bool {
        let Some(console) = self.consoles.get(&vm) else { return data.is_empty() };
        let from = usize::try_from(offset).unwrap();
        console.said.get(from..from + data.len()) == Some(data)
    }

    /// Whether a reader that was told of the end at that position has missed nothing.
    pub(crate) fn may_end(&self, vm: VmId, position: u64) -> bool {
        let ends = self.consoles.get(&vm).is_some_and(|console| console.ends.contains(&position));
        // What was lost at the very end shows in nothing.
        position == 0 || ends || position < self.console_first(vm)
    }

    /// The daemon handed a guest what somebody typed. Marks are `0x80 | client << 4 | count`, so that a hole shows.
    pub(crate) fn typed(&mut self, vm: VmId, data: &[u8]) {
        let group = self.groups_now().get(&vm).cloned();
        for client in data.iter().filter(|byte| **byte & 0x80 != 0).map(|mark| usize::from((mark >> 4) & 7)) {
            let role = group.as_ref().and_then(|group| self.rights.get(client)?.over(group));
            if role < Some(Role::Operator) {
                self.wrong.push(format!("client {client} typed into {vm}, over which it is {role:?}"));
            }
        }
        let console = self.consoles.entry(vm).or_default();
        for mark in data.iter().filter(|byte| **byte & 0x80 != 0) {
            let (client, count) = ((mark >> 4) & 7, mark & 15);
            let before = console.typed.insert(client, count);
            if count != 0 && before != Some(count - 1) {
                self.wrong.push(format!("client {client} typed {count} into {vm}, and before it {before:?}"));
            }
        }
    }

    /// The last mark of a client that reached a guest.
    pub(crate) fn last_typed(&self, vm: VmId, client: u8) -> Option<u8> {
        self.consoles.get(&vm)?.typed.get(&client).copied()
    }
}
