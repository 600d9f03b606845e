//! What a connection is made with: our certificate and key, whom we trust, whom no longer, and what we speak.
//!
//! A context never changes. When a file did, a new context is built, and nothing of the old one is carried over: the keys
//! of its session tickets least of all, for a client that was revoked meanwhile would resume with them and never be
//! verified.
//!
//! Sessions are resumed by tickets that the client keeps, so that a server keeps nothing per client. Each context makes
//! keys of its own for them.

mod client;
mod expiry;
mod material;
mod server;
mod signatures;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::VerifierBuilderError;
use rustls::{Error, InconsistentKeys, KeyLog, KeyLogFile};
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::date::Date;
use crate::identity::for_people;

pub use self::client::{ClientContext, ClientMaterial, HostName, NoHostName};
pub use self::expiry::{Expiry, NOTICE_DAYS, notice};
pub use self::material::{CERTIFICATES_MAX, MaterialError, Part};
pub use self::server::{ServerContext, ServerMaterial, ServerOptions};

/// What is spoken inside, as ALPN (RFC 7301) calls it. It has no version: that is HELLO's matter.
pub const ALPN: &[u8] = b"vmwire";

/// What is spoken by who has no certificate yet and an invitation to get one.
pub const ALPN_ENROLL: &[u8] = b"vmwire-enroll";

/// What is spoken inside a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The protocol, by a client that showed its certificate.
    Vmwire,
    /// Enrolment, by somebody without one.
    Enroll,
}

/// A certificate with its chain, and the key to it, both in PEM form.
#[derive(Clone, Copy)]
pub struct KeyPair<'a> {
    /// Certificates: our own first, then those that lead from it to its authority.
    pub certificates: &'a [u8],
    /// The private key.
    pub key: &'a [u8],
}

/// The one place where the cryptography is chosen.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Writes session keys where SSLKEYLOGFILE says, if it says so.
fn key_log() -> Arc<dyn KeyLog> {
    Arc::new(KeyLogFile::new())
}

/// The verifier's own copies of the lists, to look revocation dates up in.
fn parsed_lists(
    lists: &[CertificateRevocationListDer<'static>],
) -> Result<Vec<CertRevocationList<'static>>, MaterialError> {
    lists
        .iter()
        .map(|list| OwnedCertRevocationList::from_der(list).map(Into::into))
        .collect::<Result<_, _>>()
        .map_err(|error| MaterialError::Unreadable { part: Part::RevocationList, reason: error.to_string() })
}

fn verifier_error(error: &VerifierBuilderError) -> MaterialError {
    match error {
        VerifierBuilderError::NoRootAnchors => MaterialError::Missing(Part::Authorities),
        VerifierBuilderError::InvalidCrl(error) => {
            MaterialError::Unreadable { part: Part::RevocationList, reason: Error::from(error.clone()).to_string() }
        }
        other => MaterialError::Refused(other.to_string()),
    }
}

fn pair_error(error: &Error) -> MaterialError {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => MaterialError::Mismatch,
        Error::InvalidCertificate(error) => {
            MaterialError::Unreadable { part: Part::Certificate, reason: error.to_string() }
        }
        Error::General(reason) => MaterialError::Unreadable { part: Part::Key, reason: reason.clone() },
        other => MaterialError::Refused(other.to_string()),
    }
}

fn certificate_expiry(part: Part, certificate: &CertificateDer<'_>) -> Option<Expiry> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let not_after = Date(parsed.validity().not_after.timestamp());
    Some(Expiry { part, subject: for_people(parsed.subject().as_raw()), not_after })
}

/// A list without a date for the next one never ends.
fn list_expiry(list: &CertificateRevocationListDer<'_>) -> Option<Expiry> {
    let (_, parsed) = CertificateRevocationList::from_der(list).ok()?;
    let not_after = Date(parsed.next_update()?.timestamp());
    Some(Expiry { part: Part::RevocationList, subject: for_people(parsed.issuer().as_raw()), not_after })
}

impl std::fmt::Debug for KeyPair<'_> {
    /// Nothing of the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair")
    }
}

/// Whether others than its owner can get at a private key.
///
/// # Errors
/// What is wrong with the file's mode, in words that follow its path.
pub fn key_mode_verdict(mode: u32) -> Result<(), String> {
    // Reading, writing or replacing it by group or others; execution is of no use to anybody.
    if mode & 0o066 == 0 {
        return Ok(());
    }
    Err(format!(
        "can be read or written by others (mode {:04o}): \"chmod 600\" it, and make a new key if it was",
        mode & 0o7777
    ))
}
