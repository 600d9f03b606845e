//! What the audit is told: who it was, what the call is about, and how it ended. Calls come to their end in two places, at
//! once or after a wait, and those here are asked from both, so that a new procedure is told of by itself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vmwire_protocol::message::{ClientData, Failure, Procedure};

use super::calls::{Subject, Waiting};
use super::client::{Client, ConnectionId};
use super::{Dispatch, Turn};
use crate::access::Identity;
use crate::audit::{Deed, Ending, Object, Origin, Settings, Shows, Who};
use crate::event_loop::Now;
use crate::model::OperationId;

/// When a call that waits was taken, and what it is about if it is told of however it ends.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) since: Instant,
    pub(super) object: Option<Box<Object>>,
}

impl Dispatch {
    /// Somebody could not show who they are, and never came to be a connection: why, as a word that does not change and in
    /// words.
    pub fn handshake_refused(&mut self, turn: &Turn<'_>, address: SocketAddr, why: &str, message: &str) {
        self.audit.handshake_refused(turn.now, address, why, message);
    }

    /// What is told is told otherwise from now on, or elsewhere.
    pub fn set_audit(&mut self, now: Now, settings: Option<&Settings>) {
        self.audit.set(now, settings);
    }

    /// Once a turn, after everything else: hands over to the file helper what the audit has to write.
    pub fn hand_over_audit(&mut self, turn: &mut Turn<'_>) {
        if let Some((request, records)) = self.audit.poll_request(turn.now) {
            self.audit.handed_over(turn.host.file(request), records);
        }
    }

    /// The daemon ends: tells the log of what the audit will never have.
    pub fn give_up_audit(&self) {
        let unwritten = self.audit.unwritten();
        if unwritten > 0 {
            log::error!("lines of the audit are lost: the last {unwritten} could not be written in time");
        }
    }

    /// What a call is about. What is secret in a body is nobody's name, and stays where it is.
    pub(super) fn object_of(&self, call: &ClientData) -> Object {
        match call {
            ClientData::VmShow(call)
            | ClientData::VmDefinition(call)
            | ClientData::VmUndefine(call)
            | ClientData::VmStop(call)
            | ClientData::VmReboot(call)
            | ClientData::VmReset(call)
            | ClientData::VmPause(call)
            | ClientData::VmResume(call)
            | ClientData::AgentPing(call) => self.vm_object(&call.vm),
            ClientData::VmStart(call) => self.vm_object(&call.vm),
            ClientData::VmShutdown(call) => self.vm_object(&call.vm),
            ClientData::VmWait(call) => self.vm_object(&call.vm),
            ClientData::ConsoleOpen(call) => self.vm_object(&call.vm),
            ClientData::CaptureOpen(call) => {
                let about = if call.vm.is_empty() { Object::default() } else { self.vm_object(&call.vm) };
                Object { shows: Some(Shows { payload: call.payload, agents: call.agents }), ..about }
            }
            ClientData::OperationShow(call) | ClientData::OperationWait(call) => {
                named("operation", call.id.to_string())
            }
            ClientData::ConnectionKick(call) => named("connection", call.id.to_string()),
            ClientData::ClientInvite(call) => granted(&call.name, call.role),
            ClientData::ClientAdd(call) => granted(&call.name, call.role),
            ClientData::ClientSetRole(call) => granted(&call.name, call.role),
            ClientData::ClientRemove(call) => named("client", call.name.to_string()),
            ClientData::Enroll(call) => named("client", call.name.to_string()),
            // What a define is about is in its text, which is read later: then its operation says it, or its failure.
            ClientData::VmDefine(_)
            | ClientData::VmNames(_)
            | ClientData::VmList(_)
            | ClientData::Subscribe(_)
            | ClientData::OperationList(_)
            | ClientData::HostInfo
            | ClientData::HostCapabilities
            | ClientData::HostCertificates
            | ClientData::DaemonInfo
            | ClientData::ConnectionList(_)
            | ClientData::ClientList(_)
            | ClientData::Hello(_)
            | ClientData::Ping
            | ClientData::Cancel(_)
            | ClientData::Unsubscribe
            | ClientData::StreamData(_)
            | ClientData::StreamCredit(_)
            | ClientData::StreamEnd(_) => Object::default(),
        }
    }

    fn vm_object(&self, text: &str) -> Object {
        match self.vms.find(text) {
            Some(vm) => Object { uuid: Some(vm.id.0), ..named("vm", vm.name().to_string()) },
            None => named("vm", text.to_owned()),
        }
    }

    /// A connection came, and was let in or not.
    pub(super) fn audit_came(&mut self, turn: &Turn<'_>, id: ConnectionId, refused: Option<&Failure>) {
        let Some(client) = self.clients.get(id) else { return };
        // Who has no right has no identity in its session.
        let identity = client.identity.text(None);
        let known = &client.session.peer().identity;
        let who = Who { identity: if known.is_empty() { &identity } else { known }, ..who(id, client) };
        let key = match &client.identity {
            Identity::Tls { certificate, .. } => certificate.key.to_string(),
            Identity::Unix { .. } | Identity::Tcp { .. } => String::new(),
        };
        self.audit.came(turn.now, who, client.session.peer().role, &key, refused);
    }

    /// A connection that was let in is gone.
    pub(super) fn audit_gone(&mut self, turn: &Turn<'_>, id: ConnectionId, client: &Client) {
        let session = &client.session;
        self.audit.gone(turn.now, who(id, client), session.calls(), session.closed_with(), client.since_ns);
    }

    /// A packet was refused before it became a call.
    pub(super) fn audit_refused(&mut self, turn: &Turn<'_>, id: ConnectionId, number: u32, failure: &Failure) {
        let Some(client) = self.clients.get(id) else { return };
        let peer = client.session.peer();
        let role = Procedure::of(number).map_or(peer.role, |procedure| peer.role_over(procedure.right.over));
        self.audit.call_refused(turn.now, who(id, client), role, number, failure);
    }

    /// A call came to its end in the turn in which it was taken.
    pub(super) fn audit_call(
        &mut self,
        turn: &Turn<'_>,
        id: ConnectionId,
        procedure: &'static Procedure,
        object: Option<&Object>,
        ending: Ending<'_>,
    ) {
        let operation = self.asked;
        self.tell_call(turn, id, procedure, object, ending, operation, Duration::ZERO);
    }

    /// A call came to its end that had to wait.
    pub(super) fn audit_waited(&mut self, turn: &Turn<'_>, id: ConnectionId, waited: &Waiting, ending: Ending<'_>) {
        let Some(procedure) = Procedure::of(waited.ticket.number()) else { return };
        let operation = match waited.subject {
            Subject::Operation(operation) => Some(operation),
            Subject::Definition
            | Subject::Capabilities
            | Subject::Registry
            | Subject::OperationEnd(_)
            | Subject::Agent { .. }
            | Subject::VmState { .. } => None,
        };
        let took = turn.now.monotonic.saturating_duration_since(waited.noted.since);
        self.tell_call(turn, id, procedure, waited.noted.object.as_deref(), ending, operation, took);
    }

    #[expect(clippy::too_many_arguments, reason = "what a line has, on its way from the two places where calls end")]
    fn tell_call(
        &mut self,
        turn: &Turn<'_>,
        id: ConnectionId,
        procedure: &'static Procedure,
        object: Option<&Object>,
        ending: Ending<'_>,
        operation: Option<OperationId>,
        duration: Duration,
    ) {
        let Some(client) = self.clients.get(id) else { return };
        let about = operation.and_then(|operation| self.operations.get(operation)).map(|operation| {
            let (id, name) = &operation.vm;
            Object { uuid: Some(id.0), ..named("vm", name.clone()) }
        });
        let deed = Deed {
            procedure,
            role: client.session.peer().role_over(procedure.right.over),
            object: object.filter(|object| !object.is_empty()).or(about.as_ref()),
            ending,
            operation: operation.map(|operation| operation.0),
            duration,
        };
        self.audit.call(turn.now, who(id, client), &deed);
    }
}

/// Who a connection is.
fn who(id: ConnectionId, client: &Client) -> Who<'_> {
    Who {
        connection: id.number,
        transport: client.identity.transport(),
        identity: &client.session.peer().identity,
        address: match &client.identity {
            Identity::Tls { address, .. } => Some(*address),
            Identity::Unix { .. } | Identity::Tcp { .. } => None,
        },
        origin: match &client.identity {
            Identity::Unix { uid, .. } => Origin::User(*uid),
            Identity::Tcp { address } => Origin::address(address.ip()),
            Identity::Tls { certificate, .. } => Origin::Key(certificate.key),
        },
    }
}

fn named(kind: &'static str, name: String) -> Object {
    Object { kind, name, ..Object::default() }
}

fn granted(name: &str, role: u32) -> Object {
    Object { granted: role, ..named("client", name.to_owned()) }
}
