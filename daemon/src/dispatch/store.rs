//! What outlives the daemon, as far as the core has to know: which files to ask for, and where events are appended.

use bytes::Bytes;

use crate::driver::FileRequest;
use crate::enrolment::Registry;
use crate::model::{OperationId, VmId};

/// Events from before the daemon started.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The epoch of the sequence.
    pub epoch: [u8; 16],
    /// Events without a hole, oldest first: number and encoding, type and body.
    pub events: Vec<(u64, Bytes)>,
}

/// What outlives the daemon.
pub trait Store {
    /// What has to be written so that a definition is durable; `None` if nothing has to be.
    fn define(&self, vm: VmId, text: &str) -> Option<FileRequest>;

    /// What has to be removed so that a definition is gone for good; `None` if nothing has to be.
    fn undefine(&self, vm: VmId) -> Option<FileRequest>;

    /// What has to be written so that a registry of clients is durable; `None` if nothing has to be.
    fn registry(&self, registry: &Registry) -> Option<FileRequest>;

    /// The number of a new operation, never given before, and what has to be written so that it stays so.
    fn operation(&mut self) -> (OperationId, Option<FileRequest>);

    /// What had to be written for a number could not be.
    fn operation_not_written(&mut self);

    /// Appends an event to those that the next daemon finds. Called before it is sent to anybody.
    fn append(&mut self, sequence: u64, encoded: &Bytes);

    /// Log lines that found no room, for daemon info.
    fn log_lines_lost(&self) -> u64;
}

/// A store that forgets: for the test hypervisor.
#[derive(Debug, Default)]
pub struct MemoryStore {
    last: u64,
}

impl Store for MemoryStore {
    fn define(&self, _vm: VmId, _text: &str) -> Option<FileRequest> {
        None
    }

    fn undefine(&self, _vm: VmId) -> Option<FileRequest> {
        None
    }

    fn registry(&self, _registry: &Registry) -> Option<FileRequest> {
        None
    }

    fn operation(&mut self) -> (OperationId, Option<FileRequest>) {
        self.last += 1;
        (OperationId(self.last), None)
    }

    fn operation_not_written(&mut self) {}

    fn append(&mut self, _sequence: u64, _encoded: &Bytes) {}

    fn log_lines_lost(&self) -> u64 {
        0
    }
}
