//! Who may do what: the rules of a simulation and what follows from them, thought out once more without the help of the
//! code under test; and whether a packet tells somebody what it may not know.
//!
//! What a client may know is asked per era. An era begins where its rights become others, or a virtual machine gets another
//! name or other labels: every packet whose bytes took their place behind that is judged by the new rights, however long it
//! was on its way.

use std::sync::Arc;

use vmwire_daemon::access::{Role, Rule, Scope, Who, pattern};
use vmwire_daemon::model::Definition;
use vmwire_protocol::message::{ClientData, Failure, Over, Procedure, code, role};

use crate::random::Random;

/// Patterns of names, each with one asterisk, and labels: what scopes are made of.
const PATTERNS: [&str; 4] = ["red-*", "blue-*", "*-a", "huge*"];
pub(crate) const LABELS: [&str; 2] = ["lab", "prod"];

/// By what a virtual machine belongs to a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) labels: Vec<String>,
}

impl Group {
    pub(crate) fn of(definition: &Definition) -> Self {
        Self { name: definition.name.to_string(), labels: definition.labels.to_vec() }
    }
}

/// A role, over everything or over what matches.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    role: Role,
    name: Option<&'static str>,
    label: Option<&'static str>,
}

impl Grant {
    fn is_everywhere(&self) -> bool {
        self.name.is_none() && self.label.is_none()
    }

    fn holds(&self, group: &Group) -> bool {
        let name = self.name.is_none_or(|pattern| {
            let (start, end) = pattern.split_once('*').unwrap();
            group.name.len() >= start.len() + end.len() && group.name.starts_with(start) && group.name.ends_with(end)
        });
        name && self.label.is_none_or(|label| group.labels.iter().any(|known| known == label))
    }
}

/// What somebody may do; nothing at all without a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rights(Vec<Grant>);

impl Rights {
    pub(crate) fn everywhere(role: Role) -> Self {
        Self(vec![Grant { role, name: None, label: None }])
    }

    /// Up to three grants; now and then none.
    pub(crate) fn any(random: &mut Random) -> Self {
        let count = if random.chance(6) { 0 } else { 1 + random.below(3) };
        let grants = (0..count).map(|_| {
            let name = random.pick(&PATTERNS).copied().filter(|_| random.chance(75));
            let label = random.pick(&LABELS).copied().filter(|_| random.chance(40));
            Grant {
                role: *random.pick(&[Role::Observer, Role::Operator, Role::Operator, Role::Admin]).unwrap(),
                name,
                label,
            }
        });
        Self(grants.collect())
    }

    /// The rules that grant this to a user.
    pub(crate) fn rules(&self, uid: u32) -> impl Iterator<Item = Rule> {
        self.0.iter().map(move |grant| {
            let names = grant.name.iter().map(|name| pattern(name).unwrap()).collect();
            let labels = grant.label.iter().map(|label| (*label).to_owned()).collect();
            Rule { who: Who::User(uid), role: grant.role, scope: Scope::new(names, labels).map(Arc::new) }
        })
    }

    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The role over a virtual machine.
    pub(crate) fn over(&self, group: &Group) -> Option<Role> {
        self.0.iter().filter(|grant| grant.holds(group)).map(|grant| grant.role).max()
    }

    pub(crate) fn sees_all(&self) -> bool {
        self.0.iter().any(Grant::is_everywhere)
    }

    /// The role over the host.
    pub(crate) fn host(&self) -> Role {
        let everywhere = self.0.iter().filter(|grant| grant.is_everywhere());
        everywhere.map(|grant| grant.role).max().unwrap_or(Role::Observer)
    }

    /// Whether the role reaches for a procedure, wherever it may be held.
    pub(crate) fn suffice(&self, procedure: &Procedure) -> bool {
        let most = self.0.iter().map(|grant| grant.role).max().unwrap_or(Role::Observer);
        let held = match procedure.right.over {
            Over::Host => self.host(),
            Over::Vms => most,
        };
        number(held) >= procedure.right.role
    }
}

pub(crate) fn number(role: Role) -> u32 {
    role::number(role.name()).unwrap()
}

/// A time in which the rights of a connection and the groups of virtual machines do not change to anybody's loss.
#[derive(Debug)]
pub(crate) struct Era {
    /// What ends behind this byte may have been said when the rights became these: that something is taken away.
    pub(crate) change_byte: u64,
    /// Packets that end behind this byte are of this era, or a later one.
    pub(crate) from_byte: u64,
    /// The newest event when it began.
    pub(crate) from_event: u64,
    pub(crate) rights: Rights,
}

/// The virtual machine that has to be there for a call.
pub(crate) fn vm_of(call: &ClientData) -> Option<&str> {
    match call {
        ClientData::VmShow(call)
        | ClientData::VmDefinition(call)
        | ClientData::VmUndefine(call)
        | ClientData::VmStop(call)
        | ClientData::VmReboot(call)
        | ClientData::VmReset(call)
        | ClientData::VmPause(call)
        | ClientData::VmResume(call)
        | ClientData::AgentPing(call) => Some(&call.vm),
        ClientData::VmStart(call) => Some(&call.vm),
        ClientData::VmShutdown(call) => Some(&call.vm),
        ClientData::VmWait(call) => Some(&call.vm),
        ClientData::ConsoleOpen(call) => Some(&call.vm),
        _ => None,
    }
}

/// What is said of a virtual machine that is not there, and of one that may not be seen.
pub(crate) fn missing(text: &str) -> Failure {
    Failure::new(code::NOT_FOUND, "there is no virtual machine of that name or uuid")
        .about("vm", text)
        .hint("vmwire vm list shows those that are defined")
}
