//! Who may do what to which virtual machine, asked for each call, and again for everybody when the answer may have changed.
//!
//! The session has compared the call with the most that its peer may do anywhere. Whoever has the same role over every
//! virtual machine is done with that; for the others the one that the call means is looked at here, before the call is
//! carried out. One over which they have no role at all is for them as if it did not exist, in every word.

use log::info;
use vmwire_protocol::fault::{self, Fault};
use vmwire_protocol::message::{ClientData, Failure, Procedure, code, number};
use vmwire_protocol::session::Peer;
use vmwire_protocol::xdr::Text;

use super::calls::Subject;
use super::client::ConnectionId;
use super::refusal::{self, no_operation, no_vm};
use super::stream::Kind;
use super::{Dispatch, Turn, convert};
use crate::access::{Access, Base, Grants, Identity, Known, Stranger};
use crate::model::operation::Operation;
use crate::model::{OperationId, Vm, VmId};

/// The virtual machine that a call means and that has to be there for it.
pub(super) fn vm_of(call: &ClientData) -> Option<&str> {
    match call {
        ClientData::VmShow(call)
        | ClientData::VmDefinition(call)
        | ClientData::VmUndefine(call)
        | ClientData::VmStop(call)
        | ClientData::VmReboot(call)
        | ClientData::VmReset(call)
        | ClientData::VmPause(call)
        | ClientData::VmResume(call) => Some(&call.vm),
        ClientData::VmStart(call) => Some(&call.vm),
        ClientData::VmShutdown(call) => Some(&call.vm),
        ClientData::VmWait(call) => Some(&call.vm),
        ClientData::ConsoleOpen(call) => Some(&call.vm),
        ClientData::AgentPing(call) => Some(&call.vm),
        // What a define means is in its text, which is read later. A filter that names what is not there finds nothing.
        ClientData::VmDefine(_)
        | ClientData::VmNames(_)
        | ClientData::VmList(_)
        | ClientData::Subscribe(_)
        | ClientData::OperationList(_)
        | ClientData::OperationShow(_)
        | ClientData::OperationWait(_)
        | ClientData::HostInfo
        | ClientData::HostCapabilities
        | ClientData::DaemonInfo
        | ClientData::HostCertificates
        | ClientData::ClientList(_)
        | ClientData::ClientInvite(_)
        | ClientData::ClientAdd(_)
        | ClientData::ClientSetRole(_)
        | ClientData::ClientRemove(_)
        | ClientData::Enroll(_)
        | ClientData::ConnectionList(_)
        | ClientData::ConnectionKick(_)
        | ClientData::CaptureOpen(_)
        | ClientData::Hello(_)
        | ClientData::Ping
        | ClientData::Cancel(_)
        | ClientData::Unsubscribe
        | ClientData::StreamData(_)
        | ClientData::StreamCredit(_)
        | ClientData::StreamEnd(_) => None,
    }
}

impl Dispatch {
    /// Whether a connection may make this call about the virtual machine that it means.
    pub(super) fn may(&self, id: ConnectionId, procedure: &Procedure, call: &ClientData) -> Result<(), Failure> {
        let Some(grants) = self.grants(id).filter(|grants| !grants.is_even()) else { return Ok(()) };
        let Some(text) = vm_of(call) else { return Ok(()) };
        let vm = self.vms.find(text).ok_or_else(|| no_vm(text))?;
        match grants.over(vm.name().as_str(), &vm.definition.labels) {
            None if fault::is_planted(Fault::LoudRefusal) => Err(Failure::new(code::DENIED, "it is not for you")),
            None => Err(no_vm(text)),
            Some(role) if convert::role(role) < procedure.right.role => {
                Err(refusal::denied_over(procedure.name, procedure.right.role, role, vm))
            }
            Some(_) => Ok(()),
        }
    }

    /// What a connection may do.
    pub(super) fn grants(&self, id: ConnectionId) -> Option<&Grants> {
        self.clients.get(id).map(|client| &client.grants)
    }

    /// Whether a connection may see a virtual machine.
    pub(super) fn sees(&self, id: ConnectionId, vm: &Vm) -> bool {
        self.grants(id).is_some_and(|grants| grants.sees(vm.name().as_str(), &vm.definition.labels))
    }

    /// Whether a connection may see an operation: as it sees the virtual machine, or would if that were still there.
    pub(super) fn sees_operation(&self, id: ConnectionId, operation: &Operation<Failure>) -> bool {
        let Some(grants) = self.grants(id) else { return false };
        grants.sees_all()
            || match self.vms.get(operation.vm.0) {
                Some(vm) => grants.sees(vm.name().as_str(), &vm.definition.labels),
                None => grants.sees(&operation.vm.1, &operation.labels),
            }
    }

    /// The operation of a number, if the connection may know of it.
    pub(super) fn operation_seen(&self, id: ConnectionId, number: u64) -> Result<&Operation<Failure>, Failure> {
        let operation = self.operations.get(OperationId(number));
        operation.filter(|operation| self.sees_operation(id, operation)).ok_or_else(|| no_operation(number))
    }

    /// Who somebody is to the sessions, and what they may do.
    pub(super) fn judge(&self, identity: &Identity, base: Base) -> Result<(Peer, Grants), Stranger> {
        let known = self.known(identity);
        let grants = self.access.judge(identity, base, known)?;
        let peer = Peer {
            identity: Text::clipped(&identity.text(known)),
            role: convert::role(grants.most()),
            host_role: convert::role(grants.host()),
        };
        Ok((peer, grants))
    }

    /// Whom the registry knows by this key.
    fn known(&self, identity: &Identity) -> Option<Known<'_>> {
        let Identity::Tls { certificate, .. } = identity else { return None };
        let (name, client) = self.client_of(certificate.key.bytes())?;
        Some(Known { name: name.as_str(), role: convert::role_of(client.role)? })
    }

    /// The rules are others from now on: everybody is judged by them again.
    pub fn set_access(&mut self, turn: &mut Turn<'_>, access: Access) {
        self.access = access;
        self.rejudge(turn);
    }

    /// Judges every connection again. Those that have no right left get their last packet; those that may do less lose what
    /// they could not open any more.
    pub fn rejudge(&mut self, turn: &mut Turn<'_>) {
        for id in self.clients.ids() {
            let Some(client) = self.clients.get(id).filter(|client| !client.session.is_closed()) else { continue };
            match self.judge(&client.identity, client.base) {
                Err(stranger) => {
                    info!("connection {}: closed: {}", id.number, stranger.message);
                    self.close(turn, id, refusal::stranger(&stranger));
                }
                Ok((peer, grants)) if *client.session.peer() == peer && client.grants == grants => {}
                Ok((peer, grants)) => {
                    info!("connection {}: {} has other rights now", id.number, peer.identity);
                    if let Some(client) = self.clients.get_mut(id) {
                        client.session.judge(peer);
                        client.grants = grants;
                    }
                    self.take_away(turn, id, None);
                }
            }
        }
    }

    /// A virtual machine has another name or other labels: some may see it no more, and are not told its new name either.
    /// What waits for it is about the one that it is now.
    pub(super) fn vm_regrouped(&mut self, turn: &mut Turn<'_>, vm: VmId, former: &str) {
        if let Some(known) = self.vms.get(vm) {
            for waiting in &known.waiting {
                self.operations.regroup(*waiting, known.name().as_str(), &known.definition.labels);
            }
        }
        for id in self.clients.ids() {
            if self.grants(id).is_some_and(|grants| !grants.is_even()) {
                self.take_away(turn, id, Some((vm, former)));
            }
        }
    }

    /// Ends what a connection has open and may have open no more. `former` is the name by which it knew a virtual machine
    /// that has another one now.
    pub(super) fn take_away(&mut self, turn: &mut Turn<'_>, id: ConnectionId, former: Option<(VmId, &str)>) {
        let known_as = |vm: &Vm| {
            let former = former.filter(|(renamed, _)| *renamed == vm.id).map(|(_, name)| name);
            no_vm(former.unwrap_or_else(|| vm.name().as_str()))
        };
        for (stream, kind) in self.streams_of(id) {
            let why = match kind {
                Kind::Console if fault::is_planted(Fault::ForgottenConsole) => None,
                Kind::Console => {
                    let vm =
                        self.clients.get(id).and_then(|client| client.streams.console(stream)).map(|known| known.vm);
                    vm.and_then(|vm| self.denied_now(id, vm, number::CONSOLE_OPEN, known_as))
                }
                Kind::Capture => self.capture_denied(id),
            };
            if let Some(why) = why {
                if let Some(client) = self.clients.get_mut(id) {
                    client.session.stream_end(stream, Some(why));
                }
                self.stream_over(turn, id, stream);
                self.clients.mark_dirty(id);
            }
        }
        for key in self.calls.of_connection(id).into_iter().filter(|_| !fault::is_planted(Fault::ForgottenWait)) {
            let why = match self.calls.subject(key) {
                Some(Subject::VmState { vm, .. }) => self.vms.get(*vm).filter(|vm| !self.sees(id, vm)).map(known_as),
                Some(Subject::Agent { vm, .. }) => self.denied_now(id, *vm, number::AGENT_PING, known_as),
                Some(Subject::OperationEnd(operation)) => self.operation_seen(id, operation.0).err(),
                // What was asked for is done, for it was within the rights of its time; what becomes of it is told no more.
                Some(Subject::Operation(operation)) => {
                    let unseen = self.operations.get(*operation).filter(|known| !self.sees_operation(id, known));
                    let why = unseen.map(|known| self.vms.get(known.vm.0).map_or_else(|| no_vm(&known.vm.1), known_as));
                    why.map(|why| why.detail("operation", &operation.to_string()))
                }
                Some(Subject::Definition | Subject::Capabilities | Subject::Registry) | None => None,
            };
            if let Some(why) = why {
                self.conclude(turn, key, Err(why));
            }
        }
    }

    /// Why what a connection has under way over a virtual machine may not go on: it might not begin it any more.
    fn denied_now(&self, id: ConnectionId, vm: VmId, number: u32, no_vm: impl Fn(&Vm) -> Failure) -> Option<Failure> {
        let (vm, procedure) = (self.vms.get(vm)?, Procedure::of(number)?);
        let needed = procedure.right.role;
        match self.grants(id)?.over(vm.name().as_str(), &vm.definition.labels) {
            None => Some(no_vm(vm)),
            Some(role) => {
                (convert::role(role) < needed).then(|| refusal::denied_over(procedure.name, needed, role, vm))
            }
        }
    }
}
