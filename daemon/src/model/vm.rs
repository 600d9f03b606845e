//! Virtual machines as the daemon knows them, by name and by identity.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::agent::Port;
use super::console::Console;
use super::{Definition, OperationId, StateReason, VmId, VmName, VmState};

/// A virtual machine.
#[derive(Debug)]
pub struct Vm {
    /// Who it is.
    pub id: VmId,
    /// What it is, as defined now; a running guest may have been started from an older one.
    pub definition: Arc<Definition>,
    /// Where it is in its life.
    pub state: VmState,
    /// Why.
    pub reason: StateReason,
    /// Since when, in nanoseconds since 1970-01-01 UTC.
    pub since_ns: u64,
    /// Why, in words.
    pub message: String,
    /// The hypervisor's process; 0 for none.
    pub pid: u32,
    /// The accelerator in force; empty for none.
    pub accelerator: &'static str,
    /// Whether the hypervisor can be asked.
    pub monitor: bool,
    /// The operation under way.
    pub current: Option<OperationId>,
    /// Operations that wait behind it, in order.
    pub waiting: VecDeque<OperationId>,
    /// Whether somebody in the guest listens on the channel of its agent.
    pub agent: Port,
    /// What its console said.
    pub console: Console,
}

impl Vm {
    /// A virtual machine that does not run.
    pub fn new(id: VmId, definition: Definition, utc_ns: u64) -> Self {
        Self {
            id,
            definition: Arc::new(definition),
            state: VmState::Stopped,
            reason: StateReason::Unknown,
            since_ns: utc_ns,
            message: String::new(),
            pid: 0,
            accelerator: "",
            monitor: false,
            current: None,
            waiting: VecDeque::new(),
            agent: Port::Unknown,
            console: Console::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &VmName {
        &self.definition.name
    }
}

/// All virtual machines.
///
/// Both are trees: identities may be chosen by users, so that a hash would have to be a slow one.
///
/// Invariant: `by_name` holds exactly one entry per virtual machine, under its definition's name.
#[derive(Debug, Default)]
pub struct Vms {
    by_id: BTreeMap<VmId, Vm>,
    by_name: BTreeMap<VmName, VmId>,
}

impl Vms {
    /// Adds one, or puts it in the place of the one with the same identity.
    pub fn insert(&mut self, vm: Vm) {
        self.remove(vm.id);
        let former = self.by_name.insert(vm.name().clone(), vm.id);
        debug_assert!(former.is_none(), "two virtual machines of one name");
        self.by_id.insert(vm.id, vm);
    }

    /// Puts another definition in the place of the present one.
    pub fn redefine(&mut self, id: VmId, definition: Definition) {
        if let Some(vm) = self.by_id.get_mut(&id) {
            self.by_name.remove(vm.name());
            vm.definition = Arc::new(definition);
            self.by_name.insert(vm.name().clone(), id);
        }
    }

    /// Forgets one.
    pub fn remove(&mut self, id: VmId) -> Option<Vm> {
        let vm = self.by_id.remove(&id)?;
        self.by_name.remove(vm.name());
        Some(vm)
    }

    /// The one with this identity.
    pub fn get(&self, id: VmId) -> Option<&Vm> {
        self.by_id.get(&id)
    }

    /// The same, to change it. Its name must not be changed this way.
    pub fn get_mut(&mut self, id: VmId) -> Option<&mut Vm> {
        self.by_id.get_mut(&id)
    }

    /// The one that a person means: by name, or by canonical uuid.
    pub fn find(&self, text: &str) -> Option<&Vm> {
        if let Some(id) = self.by_name.get(text) {
            return self.by_id.get(id);
        }
        // A name never reads as a uuid, so there is no doubt.
        self.by_id.get(&VmId::canonical(text)?)
    }

    /// Those behind `after` in the order of their names.
    pub fn after<'a>(&'a self, after: &str) -> impl Iterator<Item = &'a Vm> {
        let from = if after.is_empty() { Bound::Unbounded } else { Bound::Excluded(after) };
        self.by_name.range::<str, _>((from, Bound::Unbounded)).filter_map(|(_, id)| self.by_id.get(id))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All, in the order of their identities.
    pub fn iter(&self) -> impl Iterator<Item = &Vm> {
        self.by_id.values()
    }
}
