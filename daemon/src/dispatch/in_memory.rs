//! A core without a host, for tests.

use std::sync::Arc;

use vmwire_protocol::session::ServerConfig;
use vmwire_protocol::version::NEWEST_MINOR;
use vmwire_protocol::xdr::{Fixed, Text};

use super::{DaemonFacts, HostFacts, MemoryStore, Parts, Restored};
use crate::access::Access;
use crate::driver::TestDriver;

impl Parts {
    /// The test hypervisor and a store in memory, which remember nothing.
    pub(crate) fn in_memory(access: Access) -> Self {
        let session = ServerConfig {
            newest_minor: NEWEST_MINOR,
            server: Text::clipped("vmwired test"),
            epoch: Fixed::from([7; 16]),
        };
        Self {
            session: Arc::new(session),
            driver: Box::new(TestDriver::new()),
            store: Box::new(MemoryStore::default()),
            definitions: Vec::new(),
            events: Restored { epoch: [7; 16], events: Vec::new() },
            registry: Ok(Default::default()),
            host: HostFacts::default(),
            daemon: DaemonFacts { connections_max: 100, ..DaemonFacts::default() },
            access,
            audit: None,
        }
    }
}
