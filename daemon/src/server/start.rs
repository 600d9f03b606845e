//! What the core is made of when the daemon starts: the store, the driver, and what is known of host and daemon.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rustix::process::geteuid;
use uuid::Uuid;
use vmwire_protocol::session::ServerConfig;
use vmwire_protocol::xdr::{Fixed, Text};

use super::{OWN_PROGRAM, ServerError};
use crate::access::Access;
use crate::config::{Config, DriverKind};
use crate::dispatch::{DaemonFacts, HostFacts, KeptRegistry, MemoryStore, Parts, Restored, Store};
use crate::driver::{Driver, FileRequest, Host, TestDriver, qemu};
use crate::enrolment::Registry;
use crate::event_loop::Now;
use crate::logging::Log;
use crate::model::{Definition, OperationId, VmId};
use crate::store::{FileStore, Opened, boot_id};

/// Opens the store, makes the driver, and puts together what the core asks for.
pub(super) fn parts(config: &Config, log: Log, now: Now, host: &mut dyn Host) -> Result<Parts, ServerError> {
    let system = |what| move |error| ServerError::System { what, error };
    let Kept { store, definitions, events, registry } = match config.driver {
        DriverKind::Test => Kept {
            store: Box::new(Forgetful { memory: MemoryStore::default(), log }),
            definitions: Vec::new(),
            events: Restored { epoch: Uuid::new_v4().into_bytes(), events: Vec::new() },
            registry: Ok(Registry::default()),
        },
        DriverKind::Qemu => {
            let boot_id = boot_id().map_err(system("asking which boot of the host this is"))?;
            let opened = FileStore::open(&config.state_dir, &config.runtime_dir, boot_id, log);
            let Opened { store, definitions, events, registry } = opened.map_err(ServerError::Store)?;
            Kept { store: Box::new(store), definitions, events, registry }
        }
    };
    let release = concat!("vmwired ", env!("CARGO_PKG_VERSION"));
    let session = ServerConfig {
        newest_minor: config.newest_minor,
        server: Text::clipped(release),
        epoch: Fixed::from(events.epoch),
    };
    Ok(Parts {
        session: Arc::new(session),
        driver: driver(config, now, host)?,
        store,
        definitions,
        events,
        registry,
        host: host_facts(),
        daemon: daemon_facts(config, now),
        access: access(config),
        audit: config.audit.clone(),
    })
}

/// Keeps nothing but the count of lines that were lost.
struct Forgetful {
    memory: MemoryStore,
    log: Log,
}

impl Store for Forgetful {
    fn define(&self, vm: VmId, text: &str) -> Option<FileRequest> {
        self.memory.define(vm, text)
    }

    fn undefine(&self, vm: VmId) -> Option<FileRequest> {
        self.memory.undefine(vm)
    }

    fn registry(&self, registry: &Registry) -> Option<FileRequest> {
        self.memory.registry(registry)
    }

    fn operation(&mut self) -> (OperationId, Option<FileRequest>) {
        self.memory.operation()
    }

    fn operation_not_written(&mut self) {
        self.memory.operation_not_written();
    }

    fn append(&mut self, sequence: u64, encoded: &Bytes) {
        self.memory.append(sequence, encoded);
    }

    fn log_lines_lost(&self) -> u64 {
        self.log.lines_lost()
    }
}

/// What a former daemon left to this one.
struct Kept {
    store: Box<dyn Store>,
    definitions: Vec<(VmId, Definition)>,
    events: Restored,
    registry: KeptRegistry,
}

fn driver(config: &Config, now: Now, host: &mut dyn Host) -> Result<Box<dyn Driver>, ServerError> {
    if config.driver == DriverKind::Test {
        return Ok(Box::new(TestDriver::new()));
    }
    let records = qemu::FoundRecord::read_all(&config.runtime_dir)
        .map_err(|error| ServerError::System { what: "reading the records of running guests", error })?;
    let mut settings = qemu::Config::new(config.runtime_dir.clone());
    settings.qemu.clone_from(&config.qemu);
    settings.program = PathBuf::from(OWN_PROGRAM);
    settings.force_tcg |= config.force_tcg;
    Ok(Box::new(qemu::QemuDriver::new(now, host, settings, records)))
}

fn host_facts() -> HostFacts {
    let name = rustix::system::uname();
    let info = rustix::system::sysinfo();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    HostFacts {
        hostname: text(name.nodename()),
        kernel: text(name.release()),
        architecture: text(name.machine()),
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        memory_bytes: info.totalram.saturating_mul(u64::from(info.mem_unit)),
    }
}

/// Who may do what.
pub(super) fn access(config: &Config) -> Access {
    Access { own_uid: geteuid().as_raw(), rules: config.rules.clone() }
}

fn daemon_facts(config: &Config, now: Now) -> DaemonFacts {
    let keeps = config.driver != DriverKind::Test;
    DaemonFacts {
        release: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_ns: now.utc_ns,
        state_dir: if keeps { config.state_dir.display().to_string() } else { String::new() },
        runtime_dir: config.runtime_dir.display().to_string(),
        // They are known when they are bound.
        sockets: Vec::new(),
        connections_max: config.connections_max,
    }
}
