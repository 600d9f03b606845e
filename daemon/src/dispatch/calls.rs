//! Calls that wait for something to happen, each with its ticket and its deadline.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Instant;

use vmwire_protocol::session::Ticket;

use super::audit::Noted;
use super::client::ConnectionId;
use crate::event_loop::Timers;
use crate::model::{OperationId, VmId};

/// Names a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CallKey {
    pub(super) connection: ConnectionId,
    pub(super) serial: u32,
}

/// What a call waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// Its definition waits to be read.
    Definition,
    /// What the hypervisor can do is being found out.
    Capabilities,
    /// Its change of the registry of clients.
    Registry,
    /// The end of the operation that it asked for.
    Operation(OperationId),
    /// The end of somebody's operation.
    OperationEnd(OperationId),
    /// The answer of a guest's agent.
    Agent {
        /// Whose.
        vm: VmId,
        /// To this request on its lane, or a later one.
        request: u64,
    },
    /// A virtual machine in one of these states.
    VmState {
        /// Which one.
        vm: VmId,
        /// Numbers of states.
        states: Vec<u32>,
    },
}

/// A call that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) subject: Subject,
    pub(super) noted: Noted,
}

/// All calls that wait.
///
/// Invariant: `by_operation`, `by_vm`, `by_agent` and `deadlines` hold exactly the keys of `open` that belong there.
#[derive(Debug, Default)]
pub(super) struct Calls {
    open: BTreeMap<CallKey, Waiting>,
    by_operation: HashMap<OperationId, Vec<CallKey>>,
    by_vm: HashMap<VmId, Vec<CallKey>>,
    /// In the order of the requests. Many may wait for one, and all end at once.
    by_agent: BTreeMap<VmId, BTreeSet<(u64, CallKey)>>,
    deadlines: Timers<CallKey>,
}

impl Calls {
    pub(super) fn insert(
        &mut self,
        key: CallKey,
        (ticket, noted): (Ticket, Noted),
        subject: Subject,
        deadline: Instant,
    ) {
        self.enter(key, &subject);
        self.deadlines.set(deadline, key);
        self.open.insert(key, Waiting { ticket, subject, noted });
    }

    /// The call waits for something else now.
    pub(super) fn change(&mut self, key: CallKey, subject: Subject) {
        if !self.open.contains_key(&key) {
            return;
        }
        self.enter(key, &subject);
        let former = self.open.get_mut(&key).map(|waiting| std::mem::replace(&mut waiting.subject, subject));
        if let Some(former) = former {
            self.leave(key, &former);
        }
    }

    /// Takes a call that waits, to answer it.
    pub(super) fn take(&mut self, key: CallKey) -> Option<Waiting> {
        let waiting = self.open.remove(&key)?;
        self.leave(key, &waiting.subject);
        self.deadlines.cancel(key);
        Some(waiting)
    }

    /// How many wait, and how many deadlines there are.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.open.len(), self.deadlines.len())
    }

    /// What a call waits for.
    pub(super) fn subject(&self, key: CallKey) -> Option<&Subject> {
        self.open.get(&key).map(|waiting| &waiting.subject)
    }

    /// The next call whose deadline has passed. It still waits.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<CallKey> {
        self.deadlines.take_due(now)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    pub(super) fn of_operation(&self, operation: OperationId) -> Vec<CallKey> {
        self.by_operation.get(&operation).cloned().unwrap_or_default()
    }

    pub(super) fn of_vm(&self, vm: VmId) -> Vec<CallKey> {
        self.by_vm.get(&vm).cloned().unwrap_or_default()
    }

    /// Those that wait for this request to a guest's agent or a former one, in the order of the requests.
    pub(super) fn of_agent(&self, vm: VmId, request: u64) -> Vec<CallKey> {
        let waiting = self.by_agent.get(&vm).into_iter().flatten();
        waiting.take_while(|(wanted, _)| *wanted <= request).map(|(_, key)| *key).collect()
    }

    /// How many agents somebody waits for.
    pub(super) fn lanes(&self) -> usize {
        self.by_agent.len()
    }

    /// Whether anybody waits for a guest's agent.
    pub(super) fn await_agent(&self, vm: VmId) -> bool {
        self.by_agent.contains_key(&vm)
    }

    pub(super) fn of_connection(&self, connection: ConnectionId) -> Vec<CallKey> {
        let first = CallKey { connection, serial: 0 };
        let last = CallKey { connection, serial: u32::MAX };
        self.open.range(first..=last).map(|(key, _)| *key).collect()
    }

    fn enter(&mut self, key: CallKey, subject: &Subject) {
        match subject {
            Subject::Operation(id) | Subject::OperationEnd(id) => self.by_operation.entry(*id).or_default().push(key),
            Subject::VmState { vm, .. } => self.by_vm.entry(*vm).or_default().push(key),
            Subject::Agent { vm, request } => {
                self.by_agent.entry(*vm).or_default().insert((*request, key));
            }
            Subject::Definition | Subject::Capabilities | Subject::Registry => {}
        }
    }

    fn leave(&mut self, key: CallKey, subject: &Subject) {
        match subject {
            Subject::Operation(id) | Subject::OperationEnd(id) => forget(&mut self.by_operation, id, key),
            Subject::VmState { vm, .. } => forget(&mut self.by_vm, vm, key),
            Subject::Agent { vm, request } => {
                if let Some(waiting) = self.by_agent.get_mut(vm) {
                    waiting.remove(&(*request, key));
                    if waiting.is_empty() {
                        self.by_agent.remove(vm);
                    }
                }
            }
            Subject::Definition | Subject::Capabilities | Subject::Registry => {}
        }
    }
}

fn forget<K: Hash + Eq>(index: &mut HashMap<K, Vec<CallKey>>, of: &K, key: CallKey) {
    if let Some(keys) = index.get_mut(of) {
        keys.retain(|known| *known != key);
        if keys.is_empty() {
            index.remove(of);
        }
    }
}
