//! Clients that are known by their keys: listing, inviting, adding, removing them, and making one of an invitation. One change
//! is made at a time and is durable before anybody is answered; the others wait for their turn.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use log::{error, info};
use rustix::rand::{GetRandomFlags, getrandom};
use vmwire_protocol::message::{
    ClientAddCall, ClientCall, ClientInfo, ClientInviteAnswer, ClientInviteCall, ClientListAnswer, ClientSetRoleCall,
    EnrollAnswer, EnrollCall, EventClientChanged, Failure, ListCall, ServerData, client_change, client_state, code,
    event_kind, role,
};
use vmwire_protocol::token::Token;
use vmwire_protocol::xdr::{Fixed, List, Opaque, Text, Wire};

use super::calls::{CallKey, Subject};
use super::page::Page;
use super::refusal::invalid;
use super::{Dispatch, Outcome, Reply, Turn};
use crate::driver::{FileAnswer, FileRequest, FileTicket};
use crate::enrolment::{
    Authority, CLIENTS_MAX, Change, Client, Done, INVITATIONS_MAX, Origin, Refused, Registry, Secret, Tries, address,
};
use crate::model::VmName;

/// How many changes may wait for their turn.
const CHANGES_MAX: usize = 64;

/// When to try again where too many wait, in milliseconds.
const RETRY_AFTER_MS: u32 = 100;

/// Names somebody who spends a token. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnrolmentId(pub u64);

/// The registry that an earlier daemon left, or why it cannot be read. Then nobody is known by a key, nothing is changed, and
/// the file stays as it is: an admin who comes another way can mend it, and guests are looked after meanwhile.
pub type KeptRegistry = Result<Registry, String>;

/// Who asked for a change.
#[derive(Debug)]
enum Asker {
    Call(CallKey),
    /// Whoever shows a token, and where they are.
    Enrolment(EnrolmentId, IpAddr),
}

/// A change that waits for its turn.
#[derive(Debug)]
struct Asked {
    by: Asker,
    identity: String,
    change: Change,
    /// Of an invitation: the address that goes into the token.
    address: Text<256>,
}

/// A change that is being made durable, and the registry as it will be then.
#[derive(Debug)]
struct Making {
    asked: Asked,
    registry: Registry,
    done: Done,
    /// What still has to be written, one after the other, each with what is said when it cannot be. What was signed comes first:
    /// a certificate that the authority does not know of must be no client's.
    to_write: VecDeque<(FileRequest, &'static str)>,
    /// What is said of the one that is being written.
    failing: &'static str,
}

/// The registry and what is to become of it.
#[derive(Debug)]
pub(super) struct Enrolments {
    registry: Registry,
    /// Of each key of the registry, whose it is: every connection is asked for again whenever somebody is invited.
    names: HashMap<[u8; 32], VmName>,
    unreadable: Option<String>,
    authority: Option<Authority>,
    tries: Tries,
    asked: VecDeque<Asked>,
    making: Option<(FileTicket, Box<Making>)>,
    last: u64,
    enrolled: VecDeque<(EnrolmentId, Result<EnrollAnswer, Failure>)>,
    changed: bool,
}

impl Enrolments {
    pub(super) fn new(kept: KeptRegistry) -> Self {
        let (registry, unreadable) = match kept {
            Ok(registry) => (registry, None),
            Err(why) => (Registry::default(), Some(why)),
        };
        Self {
            names: names(&registry),
            registry,
            unreadable,
            authority: None,
            tries: Tries::default(),
            asked: VecDeque::new(),
            making: None,
            last: 0,
            enrolled: VecDeque::new(),
            changed: false,
        }
    }

    /// Whether a change could be begun now.
    pub(super) fn has_work(&self) -> bool {
        self.making.is_none() && !self.asked.is_empty()
    }
}

impl Dispatch {
    /// Everybody who is known by a key or was invited.
    pub fn registry(&self) -> &Registry {
        &self.enrolments.registry
    }

    /// Who is known by this key.
    pub(super) fn client_of(&self, key: &[u8; 32]) -> Option<(&VmName, &Client)> {
        let name = self.enrolments.names.get(key)?;
        Some((name, self.enrolments.registry.client(name.as_str())?))
    }

    /// Whether the registry has changed since this was last asked: then live connections are to be judged again.
    pub(super) fn take_registry_changed(&mut self) -> bool {
        std::mem::take(&mut self.enrolments.changed)
    }

    /// Who makes certificates from now on; `None`: nobody.
    pub fn set_authority(&mut self, authority: Option<Authority>) {
        self.enrolments.authority = authority;
    }

    /// Somebody at this address wants to spend a token. What comes of it comes out of [`Dispatch::poll_enrolled`].
    pub fn enroll(&mut self, turn: &mut Turn<'_>, from: IpAddr, call: &EnrollCall) -> EnrolmentId {
        self.enrolments.last += 1;
        let id = EnrolmentId(self.enrolments.last);
        let asked = Asked {
            by: Asker::Enrolment(id, from),
            identity: from.to_string(),
            change: Change::Enroll {
                secret: Secret(call.secret.reveal().0),
                name: call.name.to_string(),
                request: call.request.to_vec(),
            },
            address: Text::default(),
        };
        let refused = self.enrolments.tries.take(from, turn.now.monotonic).err().map(|wait| {
            let mut failure =
                Failure::new(code::OVERLOADED, "too many tokens were tried from this address, or from too many others")
                    .hint("wait a minute, and copy the token again, the whole line");
            failure.retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
            failure
        });
        let outcome = refused.map_or(Ok(()), Err).and_then(|()| self.ask_for_change(asked));
        if let Err(failure) = outcome {
            self.audit.enrolled(turn.now, from, Err(&failure));
            self.enrolments.enrolled.push_back((id, Err(failure)));
        }
        id
    }

    /// Takes what came of a token that was to be spent.
    pub fn poll_enrolled(&mut self) -> Option<(EnrolmentId, Result<EnrollAnswer, Failure>)> {
        self.enrolments.enrolled.pop_front()
    }

    pub(super) fn client_list(&self, turn: &Turn<'_>, call: &ListCall) -> ClientListAnswer {
        let candidates = self.enrolments.registry.names_after(&call.after).into_iter().map(|name| (name, name));
        let look = |name: &VmName, _: &mut usize| self.client_info(name, turn.now.utc_ns);
        let page = Page::of(candidates, call.rows_max, look, |_| ClientInfo::BYTES_MAX);
        ClientListAnswer { rows: page.rows, next: page.next }
    }

    fn client_info(&self, name: &VmName, now_utc_ns: u64) -> Option<ClientInfo> {
        let registry = &self.enrolments.registry;
        let info = ClientInfo {
            name: Text::clipped(name.as_str()),
            role: 0,
            state: client_state::INVITED,
            key: Fixed::default(),
            serial: Text::default(),
            not_after_s: 0,
            since_ns: 0,
            expires_ns: 0,
        };
        if let Some(client) = registry.client(name.as_str()) {
            return Some(ClientInfo {
                role: client.role,
                state: match client.origin {
                    Origin::Enrolled => client_state::ENROLLED,
                    Origin::Added => client_state::ADDED,
                },
                key: Fixed(client.key),
                serial: Text::clipped(&client.serial),
                not_after_s: client.not_after_s,
                since_ns: client.since_ns,
                ..info
            });
        }
        let invitation = registry.invitation(name.as_str(), now_utc_ns)?;
        let (since_ns, expires_ns) = (invitation.invited_ns, invitation.expires_ns);
        Some(ClientInfo { role: invitation.role, since_ns, expires_ns, ..info })
    }

    pub(super) fn client_invite(&mut self, key: CallKey, call: &ClientInviteCall) -> Outcome {
        let (name, role) = (client_name(&call.name)?, known_role(call.role)?);
        let Some(authority) = &self.enrolments.authority else { return Err(no_authority()) };
        let host = if call.address.is_empty() { &authority.host } else { call.address.as_str() };
        if host.is_empty() {
            return Err(Failure::new(
                code::INVALID,
                "there is no name in the daemon's certificate that a token could carry",
            )
            .hint("say by which one the client reaches the daemon: --address HOST")
            .detail("field", "address"));
        }
        let address = address(host, authority.port).map_err(|why| {
            Failure::new(code::INVALID, "a token needs the address of the daemon")
                .cause(&why)
                .detail("field", "address")
        })?;
        let address = Text::clipped(&address);
        let mut secret = [0; 16];
        getrandom(&mut secret, GetRandomFlags::empty())
            .map_err(|error| Failure::new(code::DRIVER, "the host has no random numbers").cause(&error.to_string()))?;
        self.ask(key, Change::Invite { name, role, secret: Secret(secret) }, address)
    }

    pub(super) fn client_add(&mut self, key: CallKey, call: &ClientAddCall) -> Outcome {
        let (name, role) = (client_name(&call.name)?, known_role(call.role)?);
        if call.key == Fixed::default() {
            return Err(Failure::new(code::INVALID, "no key has that fingerprint").detail("field", "key"));
        }
        self.ask(key, Change::Add { name, role, key: call.key.0 }, Text::default())
    }

    pub(super) fn client_set_role(&mut self, key: CallKey, call: &ClientSetRoleCall) -> Outcome {
        let (name, role) = (client_name(&call.name)?, known_role(call.role)?);
        self.ask(key, Change::SetRole { name, role }, Text::default())
    }

    pub(super) fn client_remove(&mut self, key: CallKey, call: &ClientCall) -> Outcome {
        let name = client_name(&call.name)?;
        self.ask(key, Change::Remove { name }, Text::default())
    }

    fn ask(&mut self, key: CallKey, change: Change, address: Text<256>) -> Outcome {
        let identity = self.identity(key.connection);
        self.ask_for_change(Asked { by: Asker::Call(key), identity, change, address })?;
        Ok(Reply::Later(Subject::Registry))
    }

    fn ask_for_change(&mut self, asked: Asked) -> Result<(), Failure> {
        if let Some(why) = &self.enrolments.unreadable {
            return Err(Failure::new(
                code::DRIVER,
                "the registry of clients could not be read when the daemon started",
            )
            .cause(why)
            .hint("mend or move the file away, and start the daemon anew"));
        }
        if self.enrolments.asked.len() >= CHANGES_MAX {
            let mut failure = Failure::new(code::OVERLOADED, "too many changes of the registry wait already")
                .detail("limit", &CHANGES_MAX.to_string());
            failure.retry_after_ms = RETRY_AFTER_MS;
            return Err(failure);
        }
        self.enrolments.asked.push_back(asked);
        Ok(())
    }

    /// A call that waits for its change is given up. Says whether the change was begun.
    pub(super) fn change_dropped(&mut self, key: CallKey) -> bool {
        let before = self.enrolments.asked.len();
        self.enrolments.asked.retain(|asked| !matches!(asked.by, Asker::Call(by) if by == key));
        self.enrolments.asked.len() == before
    }

    /// Begins the next change, unless one is being made durable. One a turn is begun, for a signature takes its time.
    pub(super) fn change_next(&mut self, turn: &mut Turn<'_>) {
        if !self.enrolments.has_work() {
            return;
        }
        let Some(asked) = self.enrolments.asked.pop_front() else { return };
        let signer = self.enrolments.authority.as_ref().map(|authority| &*authority.signer);
        match asked.change.apply(&self.enrolments.registry, signer, turn.now.utc_ns) {
            Err(refused) => {
                info!("clients: refused {}: {}", asked.identity, refusal(&refused).message);
                self.changed(turn, &asked, Err(refusal(&refused)));
            }
            Ok((_, done)) if done.again => {
                info!("client {}: told its certificate once more, at {}", done.name, asked.identity);
                self.changed(turn, &asked, Ok(done));
            }
            Ok((registry, done)) => {
                let line = self.line_of(&done).map(|line| (line, "the certificate could not be noted down"));
                let kept =
                    self.store.registry(&registry).map(|file| (file, "the registry of clients could not be kept"));
                let to_write = line.into_iter().chain(kept).collect();
                self.write_change(turn, Box::new(Making { asked, registry, done, to_write, failing: "" }));
            }
        }
    }

    /// What has to be written so that the authority knows what it has signed.
    fn line_of(&self, done: &Done) -> Option<FileRequest> {
        let path = self.enrolments.authority.as_ref()?.index.clone();
        let line = done.certificate.as_ref()?.line.clone().into_bytes();
        Some(FileRequest::AddLine { path, line })
    }

    /// Writes what is next of a change; when nothing is left, it is in force.
    fn write_change(&mut self, turn: &mut Turn<'_>, mut making: Box<Making>) {
        match making.to_write.pop_front() {
            Some((request, failing)) => {
                making.failing = failing;
                self.enrolments.making = Some((turn.host.file(request), making));
            }
            None => self.change_made(turn, *making),
        }
    }

    /// A file request was answered: if it was that of the change being made, says that it was.
    pub(super) fn registry_written(&mut self, turn: &mut Turn<'_>, ticket: FileTicket, answer: &FileAnswer) -> bool {
        let Some((_, making)) = self.enrolments.making.take_if(|(writing, _)| *writing == ticket) else { return false };
        match answer {
            FileAnswer::Failed(why) => {
                error!("{}: {why}", making.failing);
                let failure = Failure::new(code::DRIVER, making.failing).cause(why);
                self.changed(turn, &making.asked, Err(failure));
            }
            _ => self.write_change(turn, making),
        }
        true
    }

    /// A change is durable: from here on it is in force.
    fn change_made(&mut self, turn: &mut Turn<'_>, making: Making) {
        let Making { asked, registry, done, .. } = making;
        self.enrolments.names = names(&registry);
        self.enrolments.registry = registry;
        self.enrolments.changed = true;
        let change = match &asked.change {
            Change::Invite { .. } => client_change::INVITED,
            Change::Add { .. } => client_change::ADDED,
            Change::SetRole { .. } => client_change::ROLE,
            Change::Remove { .. } => client_change::REMOVED,
            Change::Enroll { .. } => client_change::ENROLLED,
        };
        let (name, role) = (Text::clipped(done.name.as_str()), done.role);
        let what = client_change::name(change).unwrap_or_default();
        info!("client {name}: {what} ({}) by {}", role::name(role).unwrap_or_default(), asked.identity);
        self.emit(turn, event_kind::CLIENT_CHANGED, None, None, &EventClientChanged { name, role, change });
        self.changed(turn, &asked, Ok(done));
    }

    /// Answers whoever asked for a change.
    fn changed(&mut self, turn: &mut Turn<'_>, asked: &Asked, result: Result<Done, Failure>) {
        match &asked.by {
            Asker::Enrolment(id, from) => {
                let answer = result.and_then(|done| enrolled(&done));
                let told = answer.as_ref().map(|answer| (answer.name.as_str(), answer.role));
                self.audit.enrolled(turn.now, *from, told);
                self.enrolments.enrolled.push_back((*id, answer));
            }
            Asker::Call(key) => {
                let answer = result.and_then(|done| self.changed_answer(turn, asked, &done));
                self.conclude(turn, *key, answer);
            }
        }
    }

    fn changed_answer(&self, turn: &Turn<'_>, asked: &Asked, done: &Done) -> Result<ServerData, Failure> {
        let gone = || refusal(&Refused::NoClient(done.name.clone()));
        let info = || self.client_info(&done.name, turn.now.utc_ns).ok_or_else(gone);
        Ok(match &asked.change {
            Change::Invite { secret, .. } => {
                let authority = self.enrolments.authority.as_ref().ok_or_else(no_authority)?;
                let address = asked.address.clone();
                let secret = vmwire_protocol::xdr::Secret::new(Fixed(secret.0));
                let token = Token { address: address.clone(), ca: Fixed(authority.ca), secret }.to_text();
                ServerData::ClientInvite(ClientInviteAnswer { token, expires_ns: info()?.expires_ns, address })
            }
            Change::Add { .. } => ServerData::ClientAdd(info()?),
            Change::SetRole { .. } => ServerData::ClientSetRole(info()?),
            Change::Remove { .. } => ServerData::ClientRemove,
            Change::Enroll { .. } => ServerData::Enroll(enrolled(done)?),
        })
    }
}

fn names(registry: &Registry) -> HashMap<[u8; 32], VmName> {
    registry.clients().map(|(name, client)| (client.key, name.clone())).collect()
}

/// What a token bought, as it goes on the wire.
fn enrolled(done: &Done) -> Result<EnrollAnswer, Failure> {
    let too_long = |_| Failure::new(code::DRIVER, "the certificate that was made is too long");
    let made = done.certificate.as_ref().ok_or_else(|| Failure::new(code::INTERNAL, "no certificate was made"))?;
    let chain = made.chain.iter().map(|der| Opaque::new(der.clone()).map_err(too_long));
    Ok(EnrollAnswer {
        name: Text::clipped(done.name.as_str()),
        role: done.role,
        chain: List::new(chain.collect::<Result<Vec<_>, _>>()?).map_err(too_long)?,
        ca: Opaque::new(made.ca.clone()).map_err(too_long)?,
    })
}

fn client_name(text: &str) -> Result<VmName, Failure> {
    text.parse().map_err(|error: crate::model::NameError| {
        Failure::new(code::INVALID, "that is no name for a client").cause(&error.to_string()).detail("field", "name")
    })
}

fn known_role(number: u32) -> Result<u32, Failure> {
    role::name(number).map(|_| number).ok_or_else(|| invalid("role", number, "there is no such role"))
}

fn no_authority() -> Failure {
    Failure::new(code::INVALID, "this daemon cannot make certificates")
        .cause("it has no key of an authority, or nothing listens with TLS")
        .hint(
            "give it a [[listen]] table with tls and start it again; where the authority's key is kept elsewhere, sign \
             there with vmwire pki sign, and tell the daemon the client's key with vmwire client add",
        )
}

/// Why a change is not made, as whoever asked for it is told.
fn refusal(refused: &Refused) -> Failure {
    let about = |failure: Failure, name: &VmName| failure.about("client", name.as_str());
    let exists =
        |name: &VmName, text: &str| about(Failure::new(code::EXISTS, text), name).detail("name", name.as_str());
    let denied = |text: &str| Failure::new(code::DENIED, text).hint("ask for another: vmwire client invite");
    let limit = |text: &str, limit: usize| Failure::new(code::OVERLOADED, text).detail("limit", &limit.to_string());
    match refused {
        Refused::NameTaken(name) => {
            exists(name, "a client of that name is known").hint("another name, or vmwire client remove first")
        }
        Refused::NameInvited(name) => {
            exists(name, "somebody was invited by that name").hint("another name, or vmwire client remove first")
        }
        Refused::KeyTaken(name) => exists(name, &format!("that key is known as {name}")),
        Refused::NoClient(name) => about(Failure::new(code::NOT_FOUND, "there is no client of that name"), name)
            .hint("vmwire client list shows those that are known or invited"),
        Refused::TooManyClients => {
            limit("as many clients are known as there may be", CLIENTS_MAX).hint("vmwire client remove makes room")
        }
        Refused::TooManyInvitations => limit("as many invitations are open as there may be", INVITATIONS_MAX)
            .hint("vmwire client remove takes one back; each ends after an hour"),
        Refused::UnknownSecret => denied("this token is not known here"),
        Refused::Spent => denied("this token was spent already"),
        Refused::Expired => denied("this token has expired"),
        Refused::Void => denied("this token was taken back, or a newer one took its place"),
        Refused::OtherName(name) => Failure::new(code::DENIED, &format!("this token is for {name}"))
            .hint("leave the name out, or ask for a token of that name"),
        Refused::Request(why) => Failure::new(code::INVALID, "no certificate can be made for this request")
            .cause(why)
            .detail("field", "request"),
        Refused::NoAuthority => no_authority(),
    }
}
