//! A rule of the configuration: whom it names, and what it grants them.

use std::sync::Arc;

use vmwire_protocol::message::{PATTERN_BYTES_MAX, Pattern};
use vmwire_tls::identity::{AlternativeName, Fingerprint};

use super::{Identity, Known, Role, Scope, Users};

/// Grants a role to whom it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whom.
    pub who: Who,
    /// What.
    pub role: Role,
    /// Over which virtual machines; `None`: over everything.
    pub scope: Option<Arc<Scope>>,
}

/// Whom a rule names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A user of this host.
    User(u32),
    /// A group of this host.
    Group {
        /// Its number.
        gid: u32,
        /// Users who are members although another group is their own.
        members: Vec<u32>,
    },
    /// Clients of the registry, by name.
    Client(Pattern),
    /// A key.
    Key(Fingerprint),
    /// Certificates, by subject.
    Subject(Pattern),
    /// Certificates, by one of the host names in them.
    Dns(Pattern),
}

impl Who {
    /// Reads what stands in the configuration, as in `uid:1000`.
    ///
    /// # Errors
    /// Why it names nobody.
    pub fn parse(text: &str, users: &Users) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or(("", text));
        if rest.is_empty() {
            return Err(format!("{text:?} names nobody; something has to stand behind the colon"));
        }
        let number = || rest.parse::<u32>().ok().filter(|_| rest.bytes().all(|byte| byte.is_ascii_digit()));
        match kind {
            "uid" => number().map(Self::User).ok_or_else(|| format!("{rest:?} is no number of a user")),
            "gid" => match number() {
                Some(gid) => Ok(Self::Group { gid, members: Vec::new() }),
                None => Err(format!("{rest:?} is no number of a group")),
            },
            "user" => users.uid(rest).map(Self::User).ok_or_else(|| {
                format!("there is no user {rest:?} in /etc/passwd; write the number, as in \"uid:1000\"")
            }),
            "group" => match users.gid(rest) {
                Some(gid) => Ok(Self::Group { gid, members: users.members(rest) }),
                None => Err(format!("there is no group {rest:?} in /etc/group; write the number, as in \"gid:100\"")),
            },
            "client" => pattern(rest).map(Self::Client),
            "key" => rest
                .parse()
                .map(Self::Key)
                .map_err(|_| format!("{rest:?} is no fingerprint of a key; write sha256: and 64 hexadecimal digits")),
            "subject" => pattern(rest).map(Self::Subject),
            "dns" => pattern(&rest.to_ascii_lowercase()).map(Self::Dns),
            _ => Err(format!(
                "{text:?} names nobody; write uid:, user:, gid:, group:, client:, key:, subject: or dns: and whom, as in \
                 \"uid:1000\""
            )),
        }
    }

    /// Whether it names this identity, of which the registry knows so much.
    pub fn is(&self, identity: &Identity, known: Option<Known<'_>>) -> bool {
        match (self, identity) {
            (Self::User(named), Identity::Unix { uid, .. }) => named == uid,
            (Self::Group { gid: named, members }, Identity::Unix { uid, gid }) => named == gid || members.contains(uid),
            (Self::Client(pattern), Identity::Tls { .. }) => known.is_some_and(|known| pattern.matches(known.name)),
            (Self::Key(named), Identity::Tls { certificate, .. }) => *named == certificate.key,
            (Self::Subject(pattern), Identity::Tls { certificate, .. }) => pattern.matches(&certificate.subject),
            (Self::Dns(pattern), Identity::Tls { certificate, .. }) => {
                certificate.names.iter().any(|name| match name {
                    AlternativeName::Dns(name) => pattern.matches(&name.to_ascii_lowercase()),
                    AlternativeName::Ip(_) | AlternativeName::Uri(_) | AlternativeName::Email(_) => false,
                })
            }
            (Self::User(_) | Self::Group { .. }, Identity::Tcp { .. } | Identity::Tls { .. })
            | (
                Self::Client(_) | Self::Key(_) | Self::Subject(_) | Self::Dns(_),
                Identity::Unix { .. } | Identity::Tcp { .. },
            ) => false,
        }
    }
}

/// A pattern of names.
///
/// # Errors
/// Why it is none.
pub fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|_| format!("a pattern has at most {PATTERN_BYTES_MAX} bytes"))
}
