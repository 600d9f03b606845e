//! Who may do what: identities, rules, and the roles that follow from both. Pure; nothing of the wire is known here.
//!
//! ```text
//!   identity ──▶ owner of the daemon on its own socket ──▶ admin, whatever the rules say
//!            ──▶ rules that name it ─────────────────────▶ what they grant, and nothing else
//!            ──▶ the base of the listener ───────────────▶ one role over everything, or none
//! ```
//! A role is held over everything or over some virtual machines, told by the patterns of their names, by their labels, or
//! by both. Over the host it is what is held over everything; whoever has a role over some virtual machines is an observer
//! of the host.

mod grants;
mod identity;
mod role;
mod rule;
mod scope;
mod users;

pub use self::grants::Grants;
pub use self::identity::{Identity, client_identity};
pub use self::role::Role;
pub use self::rule::{Rule, Who, pattern};
pub use self::scope::Scope;
pub use self::users::Users;

/// What an identity has without a rule, by where it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Root and the daemon's own user are admins, and no rule takes that away; others have nothing.
    Owners,
    /// Everybody who can connect has this role.
    Everybody(Role),
    /// What the registry says of the key.
    Registry,
}

/// What the registry knows of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known<'a> {
    /// The client's name.
    pub name: &'a str,
    /// Its role.
    pub role: Role,
}

/// Why somebody has no right to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// Who has none, and who has.
    pub message: String,
    /// What an admin of the host could do about it. May be empty.
    pub hint: String,
}

/// What the configuration says of rights.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The daemon's own user.
    pub own_uid: u32,
    /// All rules, in no order: none is before another.
    pub rules: Vec<Rule>,
}

impl Access {
    /// What somebody may do who came in where `base` holds.
    ///
    /// # Errors
    /// Nothing at all: why.
    pub fn judge(&self, identity: &Identity, base: Base, known: Option<Known<'_>>) -> Result<Grants, Stranger> {
        if base == Base::Owners && identity.uid().is_some_and(|uid| self.is_owner(uid)) {
            return Ok(Grants::everywhere(Role::Admin));
        }
        let named = self.rules.iter().filter(|rule| rule.who.is(identity, known));
        if let Some(grants) = Grants::of_rules(named) {
            return Ok(grants);
        }
        match (base, known) {
            (Base::Everybody(role), _) => Ok(Grants::everywhere(role)),
            (Base::Registry, Some(known)) => Ok(Grants::everywhere(known.role)),
            (Base::Owners | Base::Registry, _) => Err(self.stranger(identity)),
        }
    }

    fn is_owner(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own_uid
    }

    fn stranger(&self, identity: &Identity) -> Stranger {
        match identity {
            Identity::Unix { uid, .. } => Stranger {
                message: format!("user {uid} may not connect here; only root and user {} may", self.own_uid),
                hint: format!(
                    "an admin of the host can give the user a role with a [[rule]] for \"uid:{uid}\", or a socket with a \
                     role of its own to connect to"
                ),
            },
            Identity::Tcp { address } => {
                Stranger { message: format!("{address} has no right to connect"), hint: String::new() }
            }
            Identity::Tls { certificate, .. } => Stranger {
                message: format!("the key {} has no right to connect", certificate.key),
                hint: format!(
                    "an admin of the host can give it a role: vmwire client add NAME --role operator --key {}",
                    certificate.key
                ),
            },
        }
    }
}

#[cfg(test)]
mod tests;
