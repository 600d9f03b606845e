//! The daemon's core: packets become work on the model, and what comes of it becomes packets. Pure: it is shown bytes,
//! readiness and time, and is asked for bytes; sockets are the business of `connection`, waiting that of `server`.
//!
//! ```text
//!   input ─▶ session ─▶ call ─▶ answered at once ─────────────────────────▶ outbox
//!                         │                                                   ▲
//!                         ├─▶ operation ─▶ queue of its VM ─▶ driver ─▶ report ┤
//!                         └─▶ wait for a state or an operation ───────────────┤
//!                                  ring of events, consoles (read by position) ┘
//! ```
//! Nothing is queued per subscriber or reader: both are positions in what is kept once.

mod agent;
mod audit;
mod calls;
mod capture;
mod census;
mod certificate;
mod client;
mod connection;
mod console;
mod convert;
mod define;
mod ending;
mod enrolment;
mod event;
mod host;
#[cfg(test)]
mod in_memory;
mod life;
mod list;
mod operation;
mod page;
mod refusal;
mod report;
mod rights;
mod share;
mod shutdown;
mod store;
mod stream;
mod task;
#[cfg(test)]
mod tests;
mod vm;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use log::{debug, error};
use mio::Token;
use vmwire_protocol::message::{ClientData, Failure, ServerData, code};
use vmwire_protocol::session::{Below, Call, Outbox, ServerConfig, Step};

pub use census::{Census, ConnectionCensus};
pub use certificate::{CertificateChange, CertificateFacts};
pub use client::{Arrival, ConnectionId, Refusal};
pub use enrolment::{EnrolmentId, KeptRegistry};
pub use host::{DaemonFacts, HostFacts};
pub use share::Share;
pub use store::{MemoryStore, Restored, Store};

use self::agent::Agents;
use self::audit::Noted;
use self::calls::{CallKey, Calls, Subject};
use self::capture::Captures;
use self::client::Clients;
use self::console::Consoles;
use self::define::Define;
use self::enrolment::Enrolments;
use self::task::Task;
use crate::access::Access;
use crate::audit::{Audit, Ending, Settings};
use crate::driver::{Driver, FileAnswer, FileTicket, Host};
use crate::event_loop::{Now, Timers};
use crate::model::operation::Operations;
use crate::model::ring::Ring;
use crate::model::{Definition, OperationId, Vm, VmId, Vms};

/// What every entry needs: the time of the turn, and the process around the core.
pub struct Turn<'a> {
    /// The time of the turn.
    pub now: Now,
    /// The loop and the file helper.
    pub host: &'a mut dyn Host,
}

/// What the connection's socket is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Read on.
    Read,
    /// Do not read until what is unsent was written.
    Blocked,
    /// Go on with [`Dispatch::input`] when others had their turn: this one has used up its share of the work.
    PutOff,
    /// Write what is unsent, then close.
    Closing,
}

/// What a daemon is made of.
pub struct Parts {
    /// What all sessions have in common.
    pub session: Arc<ServerConfig>,
    /// The hypervisor.
    pub driver: Box<dyn Driver>,
    /// What outlives the daemon.
    pub store: Box<dyn Store>,
    /// Virtual machines that were defined before.
    pub definitions: Vec<(VmId, Definition)>,
    /// Events that were kept from before.
    pub events: Restored,
    /// Clients that were known before.
    pub registry: KeptRegistry,
    /// What the host is.
    pub host: HostFacts,
    /// What the daemon is.
    pub daemon: DaemonFacts,
    /// Who may do what.
    pub access: Access,
    /// What is written down of what is done, if anything is.
    pub audit: Option<Settings>,
}

/// The daemon's core.
pub struct Dispatch {
    session: Arc<ServerConfig>,
    driver: Box<dyn Driver>,
    store: Box<dyn Store>,
    host: HostFacts,
    daemon: DaemonFacts,
    certificates: Vec<CertificateFacts>,
    access: Access,
    enrolments: Enrolments,
    audit: Audit,
    /// The operation that the call which is being carried out has asked for.
    asked: Option<OperationId>,
    vms: Vms,
    operations: Operations<Failure>,
    /// What the operations that have not ended are about to do.
    tasks: HashMap<OperationId, Task>,
    /// Definitions that wait to be read: one a turn, for they are long and anybody may send many.
    defines: VecDeque<(CallKey, Define)>,
    /// Calls that wait for what the hypervisor can do; some may be gone by now.
    asking: Vec<CallKey>,
    /// Operations that wait for a file to be written or removed.
    files: HashMap<FileTicket, OperationId>,
    /// Numbers of operations that are being reserved.
    reservations: HashSet<FileTicket>,
    ring: Ring,
    clients: Clients,
    calls: Calls,
    consoles: Consoles,
    captures: Captures,
    agents: Agents,
    subscribers: BTreeSet<ConnectionId>,
    /// Whether events came that were not shown to the subscribers yet.
    events_pending: bool,
    /// Shutdowns whose guest has a grace until it has to be down.
    graces: Timers<OperationId>,
    /// Packets that have to become whole: half ones, and first ones from the network.
    halves: Timers<ConnectionId>,
    calls_taken: u64,
    /// The work of the call which is being carried out, as far as it is known.
    worked: usize,
    leaving: bool,
}

/// What comes of a call.
#[expect(clippy::large_enum_variant, reason = "it is moved twice; a box would be an allocation per call")]
enum Reply {
    /// The answer.
    Now(ServerData),
    /// It comes when this has happened.
    Later(Subject),
}

/// A call is answered, at once or later, or fails.
type Outcome = Result<Reply, Failure>;

impl Dispatch {
    /// The core of a daemon that starts.
    pub fn new(parts: Parts, now: Now) -> Self {
        let Parts { session, driver, store, definitions, events, registry, host, daemon, access, audit } = parts;
        let mut vms = Vms::default();
        for (id, definition) in definitions {
            vms.insert(Vm::new(id, definition, now.utc_ns));
        }
        Self {
            session,
            driver,
            store,
            host,
            daemon,
            certificates: Vec::new(),
            access,
            audit: Audit::new(audit),
            asked: None,
            ring: event::restore(events, &vms),
            enrolments: Enrolments::new(registry),
            vms,
            operations: Operations::new(),
            tasks: HashMap::new(),
            defines: VecDeque::new(),
            asking: Vec::new(),
            files: HashMap::new(),
            reservations: HashSet::new(),
            clients: Clients::default(),
            calls: Calls::default(),
            consoles: Consoles::default(),
            captures: Captures::default(),
            agents: Agents::default(),
            subscribers: BTreeSet::new(),
            events_pending: false,
            graces: Timers::new(),
            halves: Timers::new(),
            calls_taken: 0,
            worked: 0,
            leaving: false,
        }
    }

    /// Says that the daemon has started, takes up what the driver found, and starts what starts with the daemon.
    pub fn start(&mut self, turn: &mut Turn<'_>) {
        self.audit.started(turn.now, &self.daemon.release, self.daemon.pid);
        self.emit_daemon_started(turn);
        self.collect(turn);
        self.autostart(turn);
        self.collect(turn);
    }

    /// Shows bytes that a connection received. With none, asks it to go on with those that were kept. It ends early when
    /// its share is used up, but not before a packet was taken.
    pub fn input(&mut self, turn: &mut Turn<'_>, id: ConnectionId, bytes: &[u8], share: &mut Share) -> Flow {
        let mut input = bytes;
        let mut unsent_before = None;
        let flow = loop {
            let Some(client) = self.clients.get_mut(id) else { return Flow::Closing };
            let (session, streams) = client.parts();
            let unsent = session.unsent_bytes();
            if let Some(before) = unsent_before.replace(unsent) {
                share.spend_on_packet(std::mem::take(&mut self.worked), unsent.saturating_sub(before));
                if share.is_spent() && !session.is_closed() {
                    session.put_off(turn.now.monotonic, &mut input);
                    break Flow::PutOff;
                }
            }
            match session.step(turn.now.monotonic, &mut input) {
                Step::Handled => {}
                Step::Refused { number, failure } => self.audit_refused(turn, id, number, &failure),
                Step::Call(call) => {
                    self.worked = self.work(&call.data);
                    self.call(turn, id, call);
                }
                Step::Cancelled(serial) => self.cancelled(turn, CallKey { connection: id, serial }),
                Step::Unsubscribed => self.unsubscribe(id),
                Step::StreamData { stream, data, .. } => {
                    streams.receive(stream, data);
                    self.stream_input(turn, id, stream);
                }
                Step::StreamRoom(stream) => self.stream_output(id, stream),
                Step::StreamEnded(stream) => self.stream_input_ended(turn, id, stream),
                Step::StreamOver { stream, .. } => self.stream_over(turn, id, stream),
                Step::Idle => break Flow::Read,
                Step::Blocked => break Flow::Blocked,
                Step::Closed => break Flow::Closing,
            }
        };
        if let Some(client) = self.clients.get_mut(id) {
            client.blocked = matches!(flow, Flow::Blocked | Flow::PutOff);
        }
        self.settle(turn, id);
        flow
    }

    /// What a call makes us do, as far as it is known before. A page of chosen rows is counted when it was made.
    fn work(&self, call: &ClientData) -> usize {
        let rows = match call {
            ClientData::VmNames(_) | ClientData::HostInfo => self.vms.len(),
            ClientData::OperationList(_) => self.operations.len(),
            ClientData::ConnectionList(_)
            | ClientData::ConnectionKick(_)
            | ClientData::DaemonInfo
            | ClientData::CaptureOpen(_) => self.clients.len(),
            ClientData::ClientList(_) => self.registry().len(),
            _ => 1,
        };
        rows * page::ROW_WORK
    }

    /// Carries out a call.
    fn call(&mut self, turn: &mut Turn<'_>, id: ConnectionId, call: Call) {
        self.calls_taken += 1;
        // What it is about is known now: carried out, it may have taken the name from what it names. One that begins to
        // look on is not shown.
        if !matches!(call.data, ClientData::CaptureOpen(_)) {
            self.fetch_passed(id);
        }
        let key = CallKey { connection: id, serial: call.ticket.serial() };
        debug!("connection {}: call {} {}", id.number, key.serial, call.procedure.name);
        // Calls and answers are large, and moving them from place to place is a good part of what a call costs.
        let object = self.audit.tells(call.procedure).then(|| self.object_of(&call.data));
        self.asked = None;
        match self.may(id, call.procedure, &call.data).and_then(|()| self.carry_out(turn, key, call.data)) {
            Ok(Reply::Later(subject)) => {
                let noted = Noted { since: turn.now.monotonic, object: object.map(Box::new) };
                self.calls.insert(key, (call.ticket, noted), subject, call.deadline);
            }
            Ok(Reply::Now(ref answer)) => {
                if object.is_some() {
                    self.audit_call(turn, id, call.procedure, object.as_ref(), Ending::Done);
                }
                if let Some(client) = self.clients.get_mut(id) {
                    client.session.answer(call.ticket, answer);
                }
            }
            Err(failure) => {
                self.audit_call(turn, id, call.procedure, object.as_ref(), Ending::Failed(&failure));
                if let Some(client) = self.clients.get_mut(id) {
                    client.session.fail(call.ticket, failure);
                }
            }
        }
    }

    /// One arm per procedure. What reaches the last one, the session has dealt with.
    fn carry_out(&mut self, turn: &mut Turn<'_>, key: CallKey, data: ClientData) -> Outcome {
        let now = |answer| Ok(Reply::Now(answer));
        match data {
            ClientData::Subscribe(call) => now(ServerData::Subscribe(self.subscribe(key.connection, call))),
            ClientData::HostInfo => now(ServerData::HostInfo(self.host_info(key.connection))),
            ClientData::HostCapabilities => Ok(self.host_capabilities(key)),
            ClientData::DaemonInfo => now(ServerData::DaemonInfo(self.daemon_info(key.connection))),
            ClientData::HostCertificates => now(ServerData::HostCertificates(self.host_certificates(key.connection))),
            ClientData::ConnectionList(call) => {
                now(ServerData::ConnectionList(self.connection_list(key.connection, &call)?))
            }
            ClientData::ConnectionKick(call) => self.connection_kick(turn, key.connection, call.id),
            ClientData::OperationList(call) => {
                now(ServerData::OperationList(self.operation_list(key.connection, &call)?))
            }
            ClientData::OperationShow(call) => {
                now(ServerData::OperationShow(self.operation_show(key.connection, call.id)?))
            }
            ClientData::OperationWait(call) => self.operation_wait(key.connection, call.id),
            ClientData::ClientList(call) => now(ServerData::ClientList(self.client_list(turn, &call))),
            ClientData::ClientInvite(call) => self.client_invite(key, &call),
            ClientData::ClientAdd(call) => self.client_add(key, &call),
            ClientData::ClientSetRole(call) => self.client_set_role(key, &call),
            ClientData::ClientRemove(call) => self.client_remove(key, &call),
            ClientData::Enroll(_) => {
                Err(Failure::new(code::DENIED, "a token is spent on a connection of its own kind")
                    .hint("TLS with the protocol name vmwire-enroll, as vmwire enroll makes it"))
            }
            ClientData::VmNames(call) => now(ServerData::VmNames(self.vm_names(key.connection, &call))),
            ClientData::VmShow(call) => self.vm_show(&call.vm),
            ClientData::VmDefinition(call) => now(ServerData::VmDefinition(self.vm_definition(&call.vm)?)),
            ClientData::VmDefine(call) => self.vm_define(key, call),
            ClientData::VmUndefine(call) => self.wish(turn, key, &call.vm, Task::Undefine),
            ClientData::VmList(call) => {
                let (answer, work) = self.vm_list(key.connection, &call)?;
                self.worked += work;
                now(ServerData::VmList(answer))
            }
            ClientData::VmStart(call) => self.wish(turn, key, &call.vm, Task::Start { paused: call.paused }),
            ClientData::VmShutdown(call) => {
                // That it is there is said before what is wrong with the rest.
                self.find(&call.vm)?;
                let task = Task::shutdown(&call)?;
                self.wish(turn, key, &call.vm, task)
            }
            ClientData::VmStop(call) => self.stop(turn, key, &call.vm),
            ClientData::VmReboot(call) => self.wish(turn, key, &call.vm, Task::Reboot),
            ClientData::VmReset(call) => self.wish(turn, key, &call.vm, Task::Reset),
            ClientData::VmPause(call) => self.wish(turn, key, &call.vm, Task::Pause),
            ClientData::VmResume(call) => self.wish(turn, key, &call.vm, Task::Resume),
            ClientData::VmWait(call) => self.vm_wait(&call),
            ClientData::ConsoleOpen(call) => {
                self.console_open(turn, key.connection, &call).map(|answer| Reply::Now(ServerData::ConsoleOpen(answer)))
            }
            ClientData::CaptureOpen(call) => {
                self.capture_open(key.connection, &call).map(|answer| Reply::Now(ServerData::CaptureOpen(answer)))
            }
            ClientData::AgentPing(call) => self.agent_ping(turn, &call),
            ClientData::Hello(_)
            | ClientData::Ping
            | ClientData::Cancel(_)
            | ClientData::Unsubscribe
            | ClientData::StreamData(_)
            | ClientData::StreamCredit(_)
            | ClientData::StreamEnd(_) => Err(Failure::new(code::INTERNAL, "the session let this packet through")),
        }
    }

    /// Bytes that a connection has to write.
    pub fn outbox(&mut self, id: ConnectionId) -> Option<&mut Outbox> {
        self.captures.touch(id);
        self.clients.get_mut(id).map(|client| client.session.outbox())
    }

    /// A connection's socket takes no more for now: what waits for it is held in no more memory than it needs.
    pub fn is_stalled(&mut self, id: ConnectionId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.session.outbox().tighten();
        }
        self.clients.count_held(id);
    }

    /// What a connection's socket keeps has changed.
    pub fn keeps_below(&mut self, turn: &mut Turn<'_>, id: ConnectionId, below: Below) {
        let Some(client) = self.clients.get_mut(id) else { return };
        client.session.keeps_below(turn.now.monotonic, below);
        self.settle(turn, id);
    }

    /// A connection has written: fills up with what waited for room. Ask for its outbox again, and if it was blocked, go
    /// on with [`Dispatch::input`].
    pub fn flushed(&mut self, turn: &mut Turn<'_>, id: ConnectionId, share: &mut Share) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let unsent = client.session.unsent_bytes();
        client.session.flushed();
        self.show_events(id);
        self.streams_output(id);
        let filled = self.clients.get(id).map_or(0, |client| client.session.unsent_bytes());
        share.spend(filled.saturating_sub(unsent));
        self.settle(turn, id);
    }

    /// Whether [`Dispatch::poll_dirty`] may have one more.
    pub fn has_dirty(&self) -> bool {
        self.clients.has_dirty()
    }

    /// Takes the next connection that has something to write although it received nothing. Only now is it shown its
    /// events: were all shown theirs before the first one writes, each would need a buffer of its own.
    pub fn poll_dirty(&mut self, turn: &mut Turn<'_>) -> Option<ConnectionId> {
        let id = self.clients.poll_dirty()?;
        if self.show_events(id) {
            self.settle(turn, id);
        }
        Some(id)
    }

    /// A descriptor of the driver may be ready.
    pub fn handle_ready(&mut self, turn: &mut Turn<'_>, token: Token) {
        self.driver.handle_ready(turn.now, turn.host, token);
    }

    /// A file request has been answered.
    pub fn handle_file(&mut self, turn: &mut Turn<'_>, ticket: FileTicket, answer: FileAnswer) {
        if self.audit.answered(ticket, &answer) {
            return;
        }
        if self.reservations.remove(&ticket) {
            if let FileAnswer::Failed(why) = answer {
                error!("numbers for operations could not be reserved: {why}");
                self.store.operation_not_written();
            }
            return;
        }
        if self.registry_written(turn, ticket, &answer) {
            return;
        }
        match self.files.remove(&ticket) {
            Some(operation) => self.file_answered(turn, operation, answer),
            None => self.driver.handle_file(turn.now, turn.host, ticket, answer),
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.monotonic;
        if self.driver.poll_timeout().is_some_and(|at| at <= now) {
            self.driver.handle_timeout(turn.now, turn.host);
        }
        while let Some(key) = self.calls.take_due(now) {
            self.deadline_passed(turn, key);
        }
        self.agents_late(turn);
        while let Some(operation) = self.graces.take_due(now) {
            self.grace_passed(turn, operation);
        }
        while let Some(id) = self.halves.take_due(now) {
            if let Some(client) = self.clients.get_mut(id) {
                client.session.handle_timeout(now);
                self.settle(turn, id);
                self.clients.mark_dirty(id);
            }
        }
    }

    /// When [`Dispatch::handle_timeout`] and [`Dispatch::collect`] are due if nothing else happens.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        // What ends a turn may itself be an event: the writer of a console was removed.
        let pending = (!self.defines.is_empty() || self.enrolments.has_work() || self.events_pending).then_some(now);
        let (driver, calls, audit) =
            (self.driver.poll_timeout(), self.calls.next_deadline(), self.audit.poll_timeout());
        let (graces, halves, agents) = (self.graces.next(), self.halves.next(), self.agents.poll_timeout());
        [pending, driver, calls, audit, graces, halves, agents].into_iter().flatten().min()
    }

    /// Once a turn, after everything that came in: reads the next definition, takes up what the driver reports, hands
    /// consoles what was typed, and finds who is to be shown events.
    pub fn collect(&mut self, turn: &mut Turn<'_>) {
        self.define_next(turn);
        self.change_next(turn);
        if self.take_registry_changed() {
            self.rejudge(turn);
        }
        while let Some(report) = self.driver.poll_report() {
            self.report(turn, report);
        }
        self.agents_closed(turn);
        self.answer_capabilities(turn);
        self.console_inputs(turn);
        if std::mem::take(&mut self.events_pending) {
            let subscribers: Vec<ConnectionId> = self.subscribers.iter().copied().collect();
            for id in subscribers {
                if self.awaits_event(id) {
                    self.clients.mark_dirty(id);
                }
            }
        }
    }

    /// Whether nobody is connected and no guest runs.
    pub fn is_idle(&self) -> bool {
        self.clients.is_empty() && self.tasks.is_empty() && self.vms.iter().all(|vm| vm.pid == 0 && !is_up(vm))
    }

    /// What becomes of the guests when the daemon leaves, in words.
    pub fn fate_of_guests(&self) -> &'static str {
        if self.driver.guests_run_on() { "guests run on" } else { "its guests, kept in memory, go with it" }
    }

    /// The daemon leaves: every connection gets its last packet.
    pub fn leave(&mut self, turn: &mut Turn<'_>) {
        self.leaving = true;
        let message = format!("the daemon is leaving; {}", self.fate_of_guests());
        for id in self.clients.ids() {
            self.close(turn, id, Failure::new(code::GOING_AWAY, &message));
        }
        self.audit.left(turn.now);
        self.driver.detach(turn.host);
    }
}

/// Whether a guest is there, as far as is known.
fn is_up(vm: &Vm) -> bool {
    use crate::model::VmState::{Adopting, Crashed, Paused, Running, Starting};
    matches!(vm.state, Adopting | Starting | Running | Paused | Crashed)
}
