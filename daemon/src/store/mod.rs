//! What outlives the daemon: definitions, numbers of operations, and the ring of events.
//!
//! | where | what | must outlive |
//! | --- | --- | --- |
//! | state directory: `lock` | who uses the directory | nothing |
//! | `vms/UUID.toml` | definitions, byte for byte | the host |
//! | `clients.json` | clients that are known by their keys | the host |
//! | `operations` | the first operation number that is not reserved | the host |
//! | runtime directory: `events.0`, `events.1` | the ring of events | the daemon |
//!
//! At start-up everything is opened and read here. From then on this room only says which file is to be written or
//! removed, and the file helper does it; the ring alone is written directly, for it is never synced.

#![cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "at start-up there is nobody yet to keep waiting"))]

mod clients;
mod definitions;
mod events;
mod lock;
mod operations;

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use uuid::Uuid;

pub use self::lock::{Lock, LockError};

use self::events::EventFiles;
use self::operations::OperationNumbers;
use crate::dispatch::{KeptRegistry, Restored, Store};
use crate::driver::FileRequest;
use crate::enrolment::Registry;
use crate::logging::Log;
use crate::model::{Definition, OperationId, VmId};

/// What a store found when it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: FileStore,
    /// What was defined before.
    pub definitions: Vec<(VmId, Definition)>,
    /// What happened before.
    pub events: Restored,
    /// Who was known before.
    pub registry: KeptRegistry,
}

/// A store in files.
#[derive(Debug)]
pub struct FileStore {
    vms: PathBuf,
    clients: PathBuf,
    operations: OperationNumbers,
    events: EventFiles,
    log: Log,
}

/// Why a store cannot be opened.
#[derive(Debug)]
pub struct StoreError {
    path: PathBuf,
    error: io::Error,
}

impl FileStore {
    /// Opens or makes the store in the two directories, which have to be there and locked.
    ///
    /// # Errors
    /// Something cannot be read or written that must be. A damaged definition is no error.
    pub fn open(state_dir: &Path, runtime_dir: &Path, boot_id: Uuid, log: Log) -> Result<Opened, StoreError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| StoreError { path, error }
        };
        let vms = state_dir.join("vms");
        DirBuilder::new().recursive(true).mode(0o700).create(&vms).map_err(at(&vms))?;
        let definitions = definitions::load(&vms).map_err(at(&vms))?;
        let counter = state_dir.join("operations");
        let operations = OperationNumbers::open(&counter).map_err(at(&counter))?;
        let (events, restored) = EventFiles::open(runtime_dir, boot_id.into_bytes()).map_err(at(runtime_dir))?;
        let clients = state_dir.join("clients.json");
        let registry = clients::load(&clients);
        let store = Self { vms, clients, operations, events, log };
        Ok(Opened { store, definitions, events: restored, registry })
    }
}

impl Store for FileStore {
    fn define(&self, vm: VmId, text: &str) -> Option<FileRequest> {
        let path = definitions::path(&self.vms, vm);
        Some(FileRequest::Write { path, data: text.as_bytes().to_vec(), durable: true })
    }

    fn undefine(&self, vm: VmId) -> Option<FileRequest> {
        Some(FileRequest::Remove { path: definitions::path(&self.vms, vm), durable: true })
    }

    fn registry(&self, registry: &Registry) -> Option<FileRequest> {
        let data = registry.to_text().into_bytes();
        Some(FileRequest::Write { path: self.clients.clone(), data, durable: true })
    }

    fn operation(&mut self) -> (OperationId, Option<FileRequest>) {
        self.operations.take()
    }

    fn operation_not_written(&mut self) {
        self.operations.not_reserved();
    }

    fn append(&mut self, sequence: u64, encoded: &Bytes) {
        self.events.append(sequence, encoded);
    }

    fn log_lines_lost(&self) -> u64 {
        self.log.lines_lost()
    }
}

/// Which run of the host's kernel this is.
///
/// # Errors
/// The kernel does not say.
pub fn boot_id() -> io::Result<Uuid> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Uuid::try_parse(text.trim()).map_err(io::Error::other)
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot open what is kept in {}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for StoreError {}
