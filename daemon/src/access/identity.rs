//! Who is at the other end of a connection, as far as the transport proves it.

use std::net::SocketAddr;
use std::sync::Arc;

use vmwire_tls::identity::PeerIdentity;

use super::Known;

/// In words, whoever the registry knows by this name. Nobody else is called so.
pub fn client_identity(name: &str) -> String {
    format!("client {name}")
}

/// Who is at the other end of a connection: how it came, and what that proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A unix socket of this host; also whoever comes through SSH.
    Unix {
        /// The user, as the kernel says.
        uid: u32,
        /// The user's group at the time.
        gid: u32,
    },
    /// TCP without TLS: an address, which proves nothing.
    Tcp {
        /// Where from.
        address: SocketAddr,
    },
    /// TLS with a certificate that was verified.
    Tls {
        /// Where from.
        address: SocketAddr,
        /// What the certificate says.
        certificate: Arc<PeerIdentity>,
    },
}

impl Identity {
    /// A user of this host.
    pub fn unix(uid: u32, gid: u32) -> Self {
        Self::Unix { uid, gid }
    }

    /// The user, if it is one of this host.
    pub fn uid(&self) -> Option<u32> {
        match self {
            Self::Unix { uid, .. } => Some(*uid),
            Self::Tcp { .. } | Self::Tls { .. } => None,
        }
    }

    /// Whether this is the same somebody, over whichever connection.
    pub fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix { uid, .. }, Self::Unix { uid: other, .. }) => uid == other,
            (Self::Tls { certificate, .. }, Self::Tls { certificate: other, .. }) => certificate.key == other.key,
            // An address proves nothing: others may come from it too.
            (Self::Tcp { address }, Self::Tcp { address: other }) => address == other,
            (Self::Unix { .. } | Self::Tcp { .. } | Self::Tls { .. }, _) => false,
        }
    }

    /// The transport's name in lists.
    pub fn transport(&self) -> &'static str {
        match self {
            Self::Unix { .. } => "unix",
            Self::Tcp { .. } => "tcp",
            Self::Tls { .. } => "tls",
        }
    }

    /// In words, with the name by which the registry knows it, if it does.
    pub fn text(&self, known: Option<Known<'_>>) -> String {
        match (self, known) {
            (Self::Unix { uid, .. }, _) => format!("uid {uid}"),
            (Self::Tcp { address }, _) => format!("tcp {address}"),
            (Self::Tls { .. }, Some(known)) => client_identity(known.name),
            (Self::Tls { certificate, .. }, None) => {
                // The key first: it is what proves something, and a long subject must not push it out of sight.
                format!("{} {}", certificate.key, certificate.subject).trim_end().to_owned()
            }
        }
    }
}
