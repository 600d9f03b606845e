//! Operations: numbered work on a virtual machine, and the memory of what became of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{OperationId, VmId};

/// How many operations that ended are remembered.
pub const ENDED_MAX: usize = 1000;

/// Where an operation is. The discriminants are the numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum OperationState {
    /// It waits for its turn.
    Queued = 1,
    /// It is being done.
    Running = 2,
    /// It was done.
    Done = 3,
    /// It was begun and failed.
    Failed = 4,
    /// It was never begun.
    Dropped = 5,
}

impl OperationState {
    /// Whether it has ended.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Dropped)
    }
}

/// What was asked of a virtual machine, by whom, and what became of it. `F` is how a failure is told.
#[derive(Debug, Clone)]
pub struct Operation<F> {
    /// Its number.
    pub id: OperationId,
    /// The call's number on the wire.
    pub procedure: u32,
    /// Whom it is done to, with the name it had when it was begun.
    pub vm: (VmId, String),
    /// The labels that it had.
    pub labels: Arc<[String]>,
    /// Who asked for it.
    pub identity: String,
    /// Where it is.
    pub state: OperationState,
    /// When it was asked for, in nanoseconds since 1970-01-01 UTC.
    pub queued_ns: u64,
    /// When it was begun; 0 if it was not.
    pub begun_ns: u64,
    /// When it ended; 0 if it has not.
    pub ended_ns: u64,
    /// How it failed.
    pub failure: Option<F>,
}

/// Every operation that has not ended, and the newest that have.
///
/// Invariant: `ended` holds, oldest first, exactly the numbers of `all` whose state is over.
#[derive(Debug)]
pub struct Operations<F> {
    all: BTreeMap<OperationId, Operation<F>>,
    ended: VecDeque<OperationId>,
}

impl<F> Operations<F> {
    /// None yet.
    pub fn new() -> Self {
        Self { all: BTreeMap::new(), ended: VecDeque::new() }
    }

    /// Takes up a new operation.
    pub fn insert(&mut self, operation: Operation<F>) {
        debug_assert!(!operation.state.is_over(), "an operation begins before it ends");
        self.all.insert(operation.id, operation);
    }

    /// The operation of a number, if it is remembered.
    pub fn get(&self, id: OperationId) -> Option<&Operation<F>> {
        self.all.get(&id)
    }

    /// Notes that an operation was begun.
    pub fn begin(&mut self, id: OperationId, utc_ns: u64) {
        if let Some(operation) = self.all.get_mut(&id) {
            operation.state = OperationState::Running;
            operation.begun_ns = utc_ns;
        }
    }

    /// The virtual machine of an operation that waits has another name or other labels now.
    pub fn regroup(&mut self, id: OperationId, name: &str, labels: &Arc<[String]>) {
        if let Some(operation) = self.all.get_mut(&id) {
            name.clone_into(&mut operation.vm.1);
            operation.labels = labels.clone();
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Notes how an operation ended, once. The oldest of those that ended are forgotten.
    pub fn end(&mut self, id: OperationId, state: OperationState, utc_ns: u64, failure: Option<F>) {
        debug_assert!(state.is_over());
        let Some(operation) = self.all.get_mut(&id).filter(|operation| !operation.state.is_over()) else { return };
        operation.state = state;
        operation.ended_ns = utc_ns;
        operation.failure = failure;
        self.ended.push_back(id);
        if self.ended.len() > ENDED_MAX
            && let Some(oldest) = self.ended.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    /// Operations behind `after`, by number.
    pub fn after(&self, after: OperationId) -> impl Iterator<Item = &Operation<F>> {
        let from = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        self.all.range(from).map(|(_, operation)| operation)
    }
}

impl<F> Default for Operations<F> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn queued(id: u64) -> Operation<()> {
        Operation {
            id: OperationId(id),
            procedure: 0x110,
            vm: (VmId(Uuid::nil()), "a".to_owned()),
            labels: Arc::default(),
            identity: "uid 0".to_owned(),
            state: OperationState::Queued,
            queued_ns: 1,
            begun_ns: 0,
            ended_ns: 0,
            failure: None,
        }
    }

    #[test]
    fn remembers_the_newest_that_ended_and_all_that_have_not() {
        let mut operations = Operations::new();
        operations.insert(queued(1));
        for id in 2..=1002 {
            operations.insert(queued(id));
            operations.begin(OperationId(id), 5);
            operations.end(OperationId(id), OperationState::Done, 6, None);
        }
        assert!(operations.get(OperationId(1)).is_some(), "it has not ended");
        assert!(operations.get(OperationId(2)).is_none(), "the oldest of 1,001");
        assert_eq!(operations.after(OperationId(0)).count(), 1001);
        assert_eq!(operations.after(OperationId(1001)).map(|o| o.id).collect::<Vec<_>>(), [OperationId(1002)]);
    }

    #[test]
    fn ends_once() {
        let mut operations = Operations::new();
        operations.insert(queued(1));
        operations.end(OperationId(1), OperationState::Dropped, 7, None);
        operations.end(OperationId(1), OperationState::Done, 8, None);
        let operation = operations.get(OperationId(1)).unwrap();
        assert_eq!((operation.state, operation.ended_ns), (OperationState::Dropped, 7));
    }
}
