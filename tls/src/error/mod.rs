//! Why there is no conversation, in the words of a person's trouble rather than of the library's.
//!
//! A server logs and audits a [`Refusal`]; a client shows it. Each says what was wanted, what was found, and what to do.
//! Everything in it that a peer wrote has been escaped and cut.

mod alert;
mod looks;

use std::fmt;

use crate::date::Date;
use crate::identity::IdentityError;
use crate::peer::INTERMEDIATES_MAX;

pub use self::alert::Alert;
pub use self::looks::Looks;

/// How many authorities of a server are followed by rustls, in a row.
const SERVER_INTERMEDIATES_MAX: usize = 6;

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who connects.
    Client,
    /// Who is connected to.
    Server,
}

/// Why a handshake failed, or a connection broke later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The client has no certificate, and one is wanted.
    NoCertificate,
    /// Nobody we trust has issued the certificate.
    UnknownIssuer {
        /// Whose certificate.
        whose: Side,
        /// Its subject.
        subject: String,
        /// Who issued the topmost certificate that was shown.
        issuer: String,
    },
    /// A certificate has expired.
    Expired {
        /// Whose chain it is in.
        whose: Side,
        /// Its subject.
        subject: String,
        /// Its last moment.
        not_after: Date,
        /// What our clock says.
        now: Date,
    },
    /// A certificate is not valid yet.
    NotYetValid {
        /// Whose chain it is in.
        whose: Side,
        /// Its subject.
        subject: String,
        /// Its first moment.
        not_before: Date,
        /// What our clock says.
        now: Date,
    },
    /// A certificate was revoked.
    Revoked {
        /// Whose chain it is in.
        whose: Side,
        /// Its subject.
        subject: String,
        /// Since when, if the list could be asked.
        since: Option<Date>,
    },
    /// A revocation list that has to be asked is too old.
    ListExpired {
        /// When it was to be replaced.
        next_update: Date,
        /// What our clock says.
        now: Date,
    },
    /// A revocation list that has to be asked is not signed as it should be.
    ListUnusable,
    /// The server has a certificate for other names.
    WrongName {
        /// What was connected to.
        wanted: String,
        /// What the certificate is for.
        offered: Vec<String>,
    },
    /// More certificates, or more ways through them, than are followed.
    ChainTooLong {
        /// Whose.
        whose: Side,
    },
    /// The certificates take more room than is given to them.
    CertificatesTooLong {
        /// Whose.
        whose: Side,
    },
    /// The certificate is for the other end, or for something else altogether.
    WrongPurpose {
        /// Whose.
        whose: Side,
        /// Its subject.
        subject: String,
    },
    /// A certificate is not signed with the key of the authority it names.
    BadSignature {
        /// Whose chain it is in.
        whose: Side,
        /// Its subject.
        subject: String,
    },
    /// The certificate does not tell an identity.
    Identity {
        /// Whose.
        whose: Side,
        /// Why not.
        error: IdentityError,
    },
    /// The certificate is wrong in some other way.
    BadCertificate {
        /// Whose.
        whose: Side,
        /// In the words of the library.
        reason: String,
    },
    /// The authority's certificate that an invitation names is not among those that the server shows.
    AuthorityNotShown,
    /// Something else than TLS is spoken.
    WrongProtocol {
        /// Who speaks it.
        speaker: Side,
        /// What it looks like.
        looks: Looks,
    },
    /// The client offers only protocols that are not served.
    NoCommonProtocol {
        /// What it offers, as far as it is shown.
        offered: Vec<String>,
    },
    /// The two ends have no version, cipher or key exchange in common.
    Incompatible {
        /// In the words of the library.
        reason: String,
    },
    /// The other end refused us.
    Alert {
        /// Who.
        from: Side,
        /// Its reason.
        alert: Alert,
    },
    /// The client's first message is longer than is read.
    HelloTooLong,
    /// The connection ended in the middle of the handshake.
    Cut {
        /// Who ended it.
        by: Side,
    },
    /// What came is no sound TLS.
    Broken {
        /// In the words of the library.
        reason: String,
    },
}

impl Refusal {
    /// A word for audit lines and counters; it does not change.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::UnknownIssuer { .. } => "unknown-issuer",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not-yet-valid",
            Self::Revoked { .. } => "revoked",
            Self::ListExpired { .. } => "crl-expired",
            Self::ListUnusable => "crl-unusable",
            Self::WrongName { .. } => "wrong-name",
            Self::ChainTooLong { .. } => "chain-too-long",
            Self::CertificatesTooLong { .. } => "certificates-too-long",
            Self::WrongPurpose { .. } => "wrong-purpose",
            Self::BadSignature { .. } => "bad-signature",
            Self::Identity { .. } => "identity",
            Self::BadCertificate { .. } => "bad-certificate",
            Self::AuthorityNotShown => "authority-not-shown",
            Self::WrongProtocol { .. } => "wrong-protocol",
            Self::NoCommonProtocol { .. } => "no-common-protocol",
            Self::Incompatible { .. } => "incompatible",
            Self::Alert { .. } => "alert",
            Self::HelloTooLong => "hello-too-long",
            Self::Cut { .. } => "cut",
            Self::Broken { .. } => "broken",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str(
                "the client sent no certificate: it gets one with \"vmwire enroll\" or \"vmwire pki issue\"",
            ),
            Self::UnknownIssuer { whose, subject, issuer } => write!(
                f,
                "the {whose}'s certificate ({subject}) was issued by an authority that is not trusted here ({issuer}): \
                 compare with \"vmwire pki show\" of the CA certificate"
            ),
            Self::Expired { whose, subject, not_after, now } => write!(
                f,
                "the {whose}'s certificate ({subject}) expired on {not_after}, and this clock says {now}: \
                 renew it with \"vmwire pki renew\""
            ),
            Self::NotYetValid { whose, subject, not_before, now } => write!(
                f,
                "the {whose}'s certificate ({subject}) is valid from {not_before} on, and this clock says {now}: \
                 is the clock right?"
            ),
            Self::Revoked { whose, subject, since } => {
                write!(f, "the {whose}'s certificate ({subject}) was revoked")?;
                if let Some(since) = since {
                    write!(f, " on {since}")?;
                }
                f.write_str(": it needs a new one, with a new key")
            }
            Self::ListExpired { next_update, now } => write!(
                f,
                "the revocation list of the authority was to be replaced by {next_update}, and this clock says {now}: \
                 put a new one in its place"
            ),
            Self::ListUnusable => f.write_str(
                "the revocation list of the authority is not signed by it: put the one in its place that it issued",
            ),
            Self::WrongName { wanted, offered } => {
                write!(f, "the server's certificate is not for {wanted}, but for ")?;
                if offered.is_empty() {
                    f.write_str("no host at all")?;
                } else {
                    f.write_str(&offered.join(", "))?;
                }
                f.write_str(": connect to a name it is for, or have it issued for this one")
            }
            Self::ChainTooLong { whose } => {
                let most = match whose {
                    Side::Client => INTERMEDIATES_MAX,
                    Side::Server => SERVER_INTERMEDIATES_MAX,
                };
                write!(f, "the {whose}'s certificate chain is longer than is followed: at most {most} authorities")
            }
            Self::CertificatesTooLong { whose } => {
                write!(f, "the {whose}'s certificates are longer than 64 KiB together")
            }
            Self::WrongPurpose { whose, subject } => {
                write!(
                    f,
                    "the {whose}'s certificate ({subject}) was not issued for a {whose}: it needs a {whose}'s one"
                )
            }
            Self::BadSignature { whose, subject } => write!(
                f,
                "the {whose}'s certificate ({subject}) is not signed with the key of the authority trusted here: \
                 was the authority made anew under its old name?"
            ),
            Self::Identity { whose, error } => write!(f, "the {whose} is not told from its certificate: {error}"),
            Self::BadCertificate { whose, reason } => write!(f, "the {whose}'s certificate is not sound: {reason}"),
            Self::AuthorityNotShown => f.write_str(
                "the server's certificate is not issued by the authority that the invitation names: \
                 is this the daemon that invited?",
            ),
            Self::WrongProtocol { speaker: Side::Client, looks } => {
                write!(f, "the client does not speak TLS: what it sent looks like {looks}")
            }
            Self::WrongProtocol { speaker: Side::Server, looks } => write!(
                f,
                "there is no TLS on this port: what the server sent looks like {looks}; is it the port of the \
                 daemon's tls listener?"
            ),
            Self::NoCommonProtocol { offered } => write!(
                f,
                "the client wants to speak {}, and only vmwire is served here",
                if offered.is_empty() { "something else".to_owned() } else { offered.join(", ") }
            ),
            Self::Incompatible { reason } => {
                write!(
                    f,
                    "the two ends have no version of TLS or no cipher in common ({reason}): TLS 1.2 is the oldest"
                )
            }
            Self::Alert { from, alert } => write!(f, "the {from} refused: {}", alert.words(*from)),
            Self::HelloTooLong => f.write_str("the client's first message is longer than 16 KiB"),
            Self::Cut { by } => write!(f, "the {by} closed the connection in the middle of the handshake"),
            Self::Broken { reason } => write!(f, "what came is no sound TLS: {reason}"),
        }
    }
}

impl std::error::Error for Refusal {}
