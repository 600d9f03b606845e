//! The registry: who is known, who was invited, and what each change makes of it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Bound;

use vmwire_tls::identity::Fingerprint;

use super::signer::{Signed, Signer};
use crate::model::VmName;

/// Clients at most.
pub const CLIENTS_MAX: usize = 4096;

/// Invitations that may be open at once.
pub const INVITATIONS_MAX: usize = 64;

/// How long an invitation is good for.
const INVITATION_NS: u64 = 3600 * 1_000_000_000;

/// Invitations whose ends are remembered, to tell who comes too late.
pub(super) const PAST_MAX: usize = 64;

/// Certificates that may be asked for again.
pub(super) const BOUGHT_MAX: usize = 64;

/// The most that one of them may take, with all that leads to its root: what is longer is told once.
pub(super) const BOUGHT_BYTES_MAX: usize = 8 * 1024;

/// What shows that somebody was invited. Never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The SHA-256 of a secret, which is all that is kept of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest(pub(super) [u8; 32]);

impl Digest {
    fn of(secret: Secret) -> Self {
        Self(*Fingerprint::of(&secret.0).bytes())
    }

    /// Looks at every byte, whatever the first ones are.
    fn is(self, other: Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
    }
}

/// How a client came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It spent a token.
    Enrolled,
    /// Its key was told by hand.
    Added,
}

/// A client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// What it may do, of the protocol's `role`.
    pub role: u32,
    /// The SHA-256 of its public key.
    pub key: [u8; 32],
    /// The serial number of the certificate made for it, in hexadecimal; empty when another made it.
    pub serial: String,
    /// When that expires, in seconds since 1970-01-01 UTC; 0 when that is not known.
    pub not_after_s: u64,
    /// Since when it is known, in nanoseconds since 1970-01-01 UTC.
    pub since_ns: u64,
    /// How it came to be known.
    pub origin: Origin,
}

/// An invitation that was not spent yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// What the client will be.
    pub role: u32,
    /// When it was made, in nanoseconds since 1970-01-01 UTC.
    pub invited_ns: u64,
    /// When it expires, in the same way.
    pub expires_ns: u64,
    pub(super) digest: Digest,
}

/// What became of an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Spent,
    Expired,
    Void,
}

/// A certificate that a token has bought. Whoever spends the same token with the same key within its hour gets it again: the
/// answer may have been lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bought {
    pub(super) digest: Digest,
    /// The client's name.
    pub(super) name: VmName,
    pub(super) key: [u8; 32],
    /// Until when, in nanoseconds since 1970-01-01 UTC.
    pub(super) until_ns: u64,
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) ca: Vec<u8>,
}

/// Everybody who is known or was invited. Of each name and each key there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    pub(super) clients: BTreeMap<VmName, Client>,
    pub(super) invitations: BTreeMap<VmName, Invitation>,
    /// The newest invitations that have ended, oldest first.
    pub(super) past: VecDeque<(Digest, End)>,
    /// The newest certificates that may be asked for again, oldest first.
    pub(super) bought: VecDeque<Bought>,
}

/// What is to change.
#[derive(Debug, Clone)]
pub enum Change {
    /// Invite a client, in the place of an earlier invitation of that name.
    Invite {
        /// Its name.
        name: VmName,
        /// What it will be.
        role: u32,
        /// What will be in its token.
        secret: Secret,
    },
    /// Make a client known.
    Add {
        /// Its name.
        name: VmName,
        /// What it will be.
        role: u32,
        /// The SHA-256 of its public key.
        key: [u8; 32],
    },
    /// Give a client, or one that was invited, another role.
    SetRole {
        /// Its name.
        name: VmName,
        /// What it will be.
        role: u32,
    },
    /// Know a client no more, or take an invitation back.
    Remove {
        /// Its name.
        name: VmName,
    },
    /// Make a client of an invitation.
    Enroll {
        /// What was in the token.
        secret: Secret,
        /// The name that it wants; empty for whatever the invitation says.
        name: String,
        /// PKCS #10 in DER.
        request: Vec<u8>,
    },
}

/// What a change came to, besides the new registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Whom it is about.
    pub name: VmName,
    /// What the client is now, or was.
    pub role: u32,
    /// The certificate that was made.
    pub certificate: Option<Certificate>,
    /// It was made before, and is only told again: nothing has changed.
    pub again: bool,
}

/// A certificate, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate and those between it and the root, in DER.
    pub chain: Vec<Vec<u8>>,
    /// The root, in DER.
    pub ca: Vec<u8>,
    /// The line by which its authority remembers it, if it was just made.
    pub line: String,
}

/// Why a change is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A client of that name is known.
    NameTaken(VmName),
    /// Somebody of that name was invited.
    NameInvited(VmName),
    /// That key is a client's.
    KeyTaken(VmName),
    /// There is no such client.
    NoClient(VmName),
    /// There are as many clients as there may be.
    TooManyClients,
    /// There are as many invitations as there may be.
    TooManyInvitations,
    /// No invitation has that secret.
    UnknownSecret,
    /// The token was spent.
    Spent,
    /// The token is too old.
    Expired,
    /// The invitation was taken back, or another took its place.
    Void,
    /// The token is for another name.
    OtherName(VmName),
    /// The request is none for a certificate: why.
    Request(String),
    /// Nobody here makes certificates.
    NoAuthority,
}

impl Registry {
    /// The client with this key.
    pub fn client_of(&self, key: &[u8; 32]) -> Option<(&VmName, &Client)> {
        self.clients.iter().find(|(_, client)| client.key == *key)
    }

    /// All clients, by name.
    pub fn clients(&self) -> impl Iterator<Item = (&VmName, &Client)> {
        self.clients.iter()
    }

    /// The client of this name.
    pub fn client(&self, name: &str) -> Option<&Client> {
        self.clients.get(name)
    }

    /// The invitation of this name, if it is still good.
    pub fn invitation(&self, name: &str, now_utc_ns: u64) -> Option<&Invitation> {
        self.invitations.get(name).filter(|invitation| now_utc_ns < invitation.expires_ns)
    }

    /// How many are known or invited.
    pub fn len(&self) -> usize {
        self.clients.len() + self.invitations.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of all that are known or invited and come behind `after`, in order.
    pub fn names_after(&self, after: &str) -> Vec<&VmName> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        let clients = self.clients.range::<str, _>(behind).map(|(name, _)| name);
        let mut names: Vec<&VmName> = clients.chain(self.invitations.range::<str, _>(behind).map(|(n, _)| n)).collect();
        names.sort_unstable();
        names
    }

    fn forget_invitation(&mut self, name: &str, end: End) -> Option<Invitation> {
        let invitation = self.invitations.remove(name)?;
        self.past.push_back((invitation.digest, end));
        if self.past.len() > PAST_MAX {
            self.past.pop_front();
        }
        Some(invitation)
    }

    fn expire(&mut self, now_utc_ns: u64) {
        let expired = |invitation: &Invitation| invitation.expires_ns <= now_utc_ns;
        let names: Vec<VmName> =
            self.invitations.iter().filter(|(_, i)| expired(i)).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.forget_invitation(name.as_str(), End::Expired);
        }
        self.bought.retain(|bought| now_utc_ns < bought.until_ns);
    }

    /// What was bought with a secret and may be asked for again. Every digest is looked at.
    fn bought_with(&self, secret: Secret, now_utc_ns: u64) -> Option<&Bought> {
        let digest = Digest::of(secret);
        let bought =
            self.bought.iter().fold(None, |found, bought| if digest.is(bought.digest) { Some(bought) } else { found });
        bought.filter(|bought| now_utc_ns < bought.until_ns)
    }

    fn remember_bought(&mut self, bought: Bought) {
        let bytes: usize = bought.chain.iter().map(Vec::len).sum();
        if bytes + bought.ca.len() > BOUGHT_BYTES_MAX {
            return;
        }
        self.bought.push_back(bought);
        if self.bought.len() > BOUGHT_MAX {
            self.bought.pop_front();
        }
    }

    /// The same once more, for the key that it was made for while its owner is known by it. Everybody else is too late.
    fn tell_again(
        &self,
        bought: &Bought,
        signer: Option<&dyn Signer>,
        wanted: &str,
        request: &[u8],
    ) -> Result<Done, Refused> {
        if !wanted.is_empty() && wanted != bought.name.as_str() {
            return Err(Refused::OtherName(bought.name.clone()));
        }
        let key = signer.ok_or(Refused::NoAuthority)?.key(request).map_err(Refused::Request)?;
        let client = self.clients.get(&bought.name).filter(|client| client.key == key && key == bought.key);
        let role = client.ok_or(Refused::Spent)?.role;
        let Bought { name, chain, ca, .. } = bought;
        let certificate = Certificate { chain: chain.clone(), ca: ca.clone(), line: String::new() };
        Ok(Done { name: name.clone(), role, certificate: Some(certificate), again: true })
    }

    /// Whom a secret belongs to. Every digest is looked at, so that the time it takes tells nothing.
    fn invited_by(&self, secret: Secret) -> Result<VmName, Refused> {
        let digest = Digest::of(secret);
        let open = self.invitations.iter().fold(
            None,
            |found, (name, invitation)| {
                if digest.is(invitation.digest) { Some(name) } else { found }
            },
        );
        let past = self.past.iter().fold(None, |found, (past, end)| if digest.is(*past) { Some(*end) } else { found });
        match (open, past) {
            (Some(name), _) => Ok(name.clone()),
            (None, Some(End::Spent)) => Err(Refused::Spent),
            (None, Some(End::Expired)) => Err(Refused::Expired),
            (None, Some(End::Void)) => Err(Refused::Void),
            (None, None) => Err(Refused::UnknownSecret),
        }
    }

    fn admit(&mut self, name: VmName, client: Client) -> Result<(), Refused> {
        if let Some((known, _)) = self.client_of(&client.key) {
            return Err(Refused::KeyTaken(known.clone()));
        }
        if self.clients.contains_key(&name) {
            return Err(Refused::NameTaken(name));
        }
        if self.clients.len() >= CLIENTS_MAX {
            return Err(Refused::TooManyClients);
        }
        self.clients.insert(name, client);
        Ok(())
    }
}

impl Change {
    /// The registry as it is after this change, and what else came of it. The old one stays as it is: whoever makes the new
    /// one durable puts it in its place.
    ///
    /// # Errors
    /// Says why it is not made.
    pub fn apply(
        &self,
        old: &Registry,
        signer: Option<&dyn Signer>,
        now_utc_ns: u64,
    ) -> Result<(Registry, Done), Refused> {
        if let Self::Enroll { secret, name, request } = self {
            if let Some(bought) = old.bought_with(*secret, now_utc_ns) {
                return Ok((old.clone(), old.tell_again(bought, signer, name, request)?));
            }
            // Whoever guesses is turned away before a registry is copied.
            old.invited_by(*secret)?;
        }
        let mut new = old.clone();
        new.expire(now_utc_ns);
        let done = |name: &VmName, role| Done { name: name.clone(), role, certificate: None, again: false };
        let done = match self {
            Self::Invite { name, role, secret } => {
                if new.clients.contains_key(name) {
                    return Err(Refused::NameTaken(name.clone()));
                }
                new.forget_invitation(name.as_str(), End::Void);
                if new.invitations.len() >= INVITATIONS_MAX {
                    return Err(Refused::TooManyInvitations);
                }
                if new.clients.len() >= CLIENTS_MAX {
                    return Err(Refused::TooManyClients);
                }
                let expires_ns = now_utc_ns.saturating_add(INVITATION_NS);
                let digest = Digest::of(*secret);
                let invitation = Invitation { role: *role, invited_ns: now_utc_ns, expires_ns, digest };
                new.invitations.insert(name.clone(), invitation);
                done(name, *role)
            }
            Self::Add { name, role, key } => {
                if new.invitations.contains_key(name) {
                    return Err(Refused::NameInvited(name.clone()));
                }
                let client = Client {
                    role: *role,
                    key: *key,
                    serial: String::new(),
                    not_after_s: 0,
                    since_ns: now_utc_ns,
                    origin: Origin::Added,
                };
                new.admit(name.clone(), client)?;
                done(name, *role)
            }
            Self::SetRole { name, role } => {
                let known = new.clients.get_mut(name).map(|client| &mut client.role);
                let known = known.or_else(|| new.invitations.get_mut(name).map(|invitation| &mut invitation.role));
                *known.ok_or_else(|| Refused::NoClient(name.clone()))? = *role;
                done(name, *role)
            }
            Self::Remove { name } => {
                new.bought.retain(|bought| bought.name != *name);
                let client = new.clients.remove(name).map(|client| client.role);
                let role = client.or_else(|| new.forget_invitation(name.as_str(), End::Void).map(|i| i.role));
                done(name, role.ok_or_else(|| Refused::NoClient(name.clone()))?)
            }
            Self::Enroll { secret, name: wanted, request } => {
                let name = new.invited_by(*secret)?;
                if !wanted.is_empty() && wanted != name.as_str() {
                    return Err(Refused::OtherName(name));
                }
                let signer = signer.ok_or(Refused::NoAuthority)?;
                let signed = signer.sign(name.as_str(), request, now_utc_ns).map_err(Refused::Request)?;
                let invitation = new.forget_invitation(name.as_str(), End::Spent).ok_or(Refused::UnknownSecret)?;
                let Invitation { role, expires_ns: until_ns, digest, .. } = invitation;
                let Signed { key, serial, not_after_s, chain, ca, line } = signed;
                let since_ns = now_utc_ns;
                let client = Client { role, key, serial, not_after_s, since_ns, origin: Origin::Enrolled };
                new.admit(name.clone(), client)?;
                let (own, root) = (chain.clone(), ca.clone());
                new.remember_bought(Bought { digest, name: name.clone(), key, until_ns, chain: own, ca: root });
                Done { name, role, certificate: Some(Certificate { chain, ca, line }), again: false }
            }
        };
        Ok((new, done))
    }
}

#[cfg(test)]
mod tests;
