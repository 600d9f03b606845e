//! Host info, host capabilities and daemon info: from memory, never from a disk or a monitor.

use vmwire_protocol::message::{AcceleratorInfo, DaemonInfoAnswer, HostCapabilitiesAnswer, HostInfoAnswer, ServerData};
use vmwire_protocol::xdr::{List, Text};

use super::calls::{CallKey, Subject};
use super::client::ConnectionId;
use super::convert::count;
use super::{Dispatch, Reply, Turn, is_up};
use crate::access::Role;

/// What the host is, read once at the start.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// Its name.
    pub hostname: String,
    /// Its kernel's release.
    pub kernel: String,
    /// Its machine, as in `x86_64`.
    pub architecture: String,
    /// Processors that the daemon may use.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// What the daemon is.
#[derive(Debug, Clone, Default)]
pub struct DaemonFacts {
    /// Its release.
    pub release: String,
    /// Its process.
    pub pid: u32,
    /// When it started, in nanoseconds since 1970-01-01 UTC.
    pub started_ns: u64,
    /// Where definitions lie; empty where they are not kept.
    pub state_dir: String,
    /// Where sockets and run records lie.
    pub runtime_dir: String,
    /// Where it listens.
    pub sockets: Vec<String>,
    /// Connections at most.
    pub connections_max: u32,
}

impl Dispatch {
    /// So many connections may there be from now on. Those that are there stay.
    pub fn set_connections_max(&mut self, connections_max: u32) {
        self.daemon.connections_max = connections_max;
    }

    pub(super) fn host_info(&self, asker: ConnectionId) -> HostInfoAnswer {
        let seen = self.vms.iter().filter(|vm| self.sees(asker, vm));
        let (defined, running) = seen.fold((0, 0), |(all, up), vm| (all + 1, up + usize::from(is_up(vm))));
        HostInfoAnswer {
            hostname: Text::clipped(&self.host.hostname),
            kernel: Text::clipped(&self.host.kernel),
            architecture: Text::clipped(&self.host.architecture),
            cpus: self.host.cpus,
            memory_bytes: self.host.memory_bytes,
            driver: Text::clipped(self.driver.name()),
            hypervisor: Text::clipped(&self.driver.capabilities().hypervisor),
            vms_defined: count(defined),
            vms_running: count(running),
        }
    }

    /// What a definition may ask for: at once when it is known, else as soon as it is, which is shortly after the start.
    pub(super) fn host_capabilities(&mut self, key: CallKey) -> Reply {
        if self.driver.capabilities_are_known() {
            return Reply::Now(ServerData::HostCapabilities(self.capabilities()));
        }
        self.asking.push(key);
        Reply::Later(Subject::Capabilities)
    }

    /// Answers those who wait for what the hypervisor can do.
    pub(super) fn answer_capabilities(&mut self, turn: &mut Turn<'_>) {
        if self.asking.is_empty() || !self.driver.capabilities_are_known() {
            return;
        }
        for key in std::mem::take(&mut self.asking) {
            let answer = ServerData::HostCapabilities(self.capabilities());
            self.conclude(turn, key, Ok(answer));
        }
    }

    fn capabilities(&self) -> HostCapabilitiesAnswer {
        let capabilities = self.driver.capabilities();
        HostCapabilitiesAnswer {
            hypervisor: Text::clipped(&capabilities.hypervisor),
            machines: List::clipped(capabilities.machines.iter().map(|name| Text::clipped(name))),
            cpu_models: List::clipped(capabilities.cpu_models.iter().map(|name| Text::clipped(name))),
            accelerators: List::clipped(capabilities.accelerators.iter().map(|accelerator| AcceleratorInfo {
                name: Text::clipped(&accelerator.name),
                usable: accelerator.usable,
                why_not: Text::clipped(&accelerator.why_not),
            })),
        }
    }

    /// Where it listens, with the ports that the system has picked.
    pub fn set_sockets(&mut self, sockets: Vec<String>) {
        self.daemon.sockets = sockets;
    }

    /// What the daemon is. Where it keeps things and how much others make it do is told to admins of the host; the others see
    /// their own connections here as everywhere.
    pub(super) fn daemon_info(&self, asker: ConnectionId) -> DaemonInfoAnswer {
        let whole = self.whole_daemon_info();
        let Some(client) = self.clients.get(asker) else { return whole };
        if client.grants.host() == Role::Admin {
            return whole;
        }
        let ids = self.clients.ids();
        let own = ids.iter().filter_map(|id| self.clients.get(*id)).filter(|other| client.knows_of(other));
        let (connections, calls) = own.fold((0, 0), |(all, calls), own| (all + 1, calls + own.session.calls()));
        DaemonInfoAnswer {
            pid: 0,
            state_dir: Text::default(),
            runtime_dir: Text::default(),
            sockets: List::default(),
            connections: count(connections),
            calls,
            log_lines_lost: 0,
            ..whole
        }
    }

    fn whole_daemon_info(&self) -> DaemonInfoAnswer {
        DaemonInfoAnswer {
            release: Text::clipped(&self.daemon.release),
            pid: self.daemon.pid,
            started_ns: self.daemon.started_ns,
            driver: Text::clipped(self.driver.name()),
            state_dir: Text::clipped(&self.daemon.state_dir),
            runtime_dir: Text::clipped(&self.daemon.runtime_dir),
            sockets: List::clipped(self.daemon.sockets.iter().map(|path| Text::clipped(path))),
            connections: count(self.clients.len()),
            connections_max: self.daemon.connections_max,
            calls: self.calls_taken,
            events: self.cursor(),
            log_lines_lost: self.store.log_lines_lost(),
        }
    }
}
