//! What somebody may do: roles, each over everything or over some virtual machines.

use std::sync::Arc;

use super::{Role, Rule, Scope};

/// What somebody may do.
///
/// Invariant: there is a role in it; no role of `scoped` is as little as `everywhere`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// Over everything.
    everywhere: Option<Role>,
    /// Over some virtual machines.
    scoped: Box<[(Role, Arc<Scope>)]>,
}

impl Grants {
    /// One role over everything.
    pub fn everywhere(role: Role) -> Self {
        Self { everywhere: Some(role), scoped: Box::default() }
    }

    /// What rules grant together; `None` if there is none.
    pub(super) fn of_rules<'a>(rules: impl Iterator<Item = &'a Rule> + Clone) -> Option<Self> {
        rules.clone().next()?;
        let everywhere = rules.clone().filter(|rule| rule.scope.is_none()).map(|rule| rule.role).max();
        let scoped = rules.filter_map(|rule| Some((rule.role, rule.scope.clone()?)));
        let scoped = scoped.filter(|(role, _)| Some(*role) > everywhere).collect();
        Some(Self { everywhere, scoped })
    }

    /// The role over the daemon and its host.
    pub fn host(&self) -> Role {
        self.everywhere.unwrap_or(Role::Observer)
    }

    /// The most that is held anywhere.
    pub fn most(&self) -> Role {
        self.scoped.iter().map(|(role, _)| *role).max().max(self.everywhere).unwrap_or(Role::Observer)
    }

    /// The role over a virtual machine; `None` if it is not even to be seen.
    pub fn over(&self, name: &str, labels: &[String]) -> Option<Role> {
        let scoped = self.scoped.iter().filter(|(_, scope)| scope.holds(name, labels)).map(|(role, _)| *role);
        scoped.max().max(self.everywhere)
    }

    /// Whether the role is the same over every virtual machine, so that none has to be looked at.
    pub fn is_even(&self) -> bool {
        self.scoped.is_empty()
    }

    /// Whether every virtual machine is to be seen.
    pub fn sees_all(&self) -> bool {
        self.everywhere.is_some()
    }

    /// Whether a virtual machine is to be seen.
    pub fn sees(&self, name: &str, labels: &[String]) -> bool {
        self.everywhere.is_some() || self.over(name, labels).is_some()
    }
}
