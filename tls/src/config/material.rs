//! PEM bytes to certificates, keys and revocation lists, with words for what is wrong with them.
//!
//! Who read the files puts their paths in front of these words.

use std::fmt;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::{Error, RootCertStore};

use crate::identity::IdentityError;

/// How many certificates a file may hold.
pub const CERTIFICATES_MAX: usize = 256;

/// What a file was to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A certificate and those that lead from it to its authority.
    Certificate,
    /// A private key.
    Key,
    /// Certificates of authorities.
    Authorities,
    /// A certificate revocation list.
    RevocationList,
}

/// Why bytes are no material for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaterialError {
    /// There is nothing of the kind in it.
    Missing(Part),
    /// It is no PEM.
    NoPem {
        /// What it was to be.
        part: Part,
        /// In the words of the library.
        reason: String,
    },
    /// More than [`CERTIFICATES_MAX`] of them.
    TooMany(Part),
    /// The PEM holds something that cannot be read.
    Unreadable {
        /// What it was to be.
        part: Part,
        /// In the words of the library.
        reason: String,
    },
    /// The key asks for a passphrase.
    EncryptedKey,
    /// The certificate is for another key.
    Mismatch,
    /// Our own certificate tells no identity.
    Identity(IdentityError),
    /// The library refuses to work with it.
    Refused(String),
}

pub(super) fn certificates(pem: &[u8], part: Part) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    collect(CertificateDer::pem_slice_iter(pem), part)
}

pub(super) fn revocation_lists(pems: &[&[u8]]) -> Result<Vec<CertificateRevocationListDer<'static>>, MaterialError> {
    let mut lists = Vec::new();
    for pem in pems {
        lists.extend(collect(CertificateRevocationListDer::pem_slice_iter(pem), Part::RevocationList)?);
    }
    Ok(lists)
}

fn collect<T>(items: impl Iterator<Item = Result<T, pem::Error>>, part: Part) -> Result<Vec<T>, MaterialError> {
    let mut found = Vec::new();
    for item in items {
        found.push(item.map_err(|error| no_pem(part, &error))?);
        if found.len() > CERTIFICATES_MAX {
            return Err(MaterialError::TooMany(part));
        }
    }
    if found.is_empty() { Err(MaterialError::Missing(part)) } else { Ok(found) }
}

pub(super) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, MaterialError> {
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            let encrypted = b"BEGIN ENCRYPTED PRIVATE KEY";
            if pem.windows(encrypted.len()).any(|window| window == encrypted) {
                Err(MaterialError::EncryptedKey)
            } else {
                Err(MaterialError::Missing(Part::Key))
            }
        }
        // Nothing of the key itself may get into a log.
        Err(_) => Err(MaterialError::NoPem { part: Part::Key, reason: "its PEM is damaged".to_owned() }),
    }
}

pub(super) fn roots(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, MaterialError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| {
            let reason = match error {
                Error::InvalidCertificate(error) => error.to_string(),
                other => other.to_string(),
            };
            MaterialError::Unreadable { part: Part::Authorities, reason }
        })?;
    }
    Ok(roots)
}

fn no_pem(part: Part, error: &pem::Error) -> MaterialError {
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "the first line of a section is damaged",
        pem::Error::Base64Decode(_) => "a section is no base64",
        _ => "it cannot be read",
    };
    MaterialError::NoPem { part, reason: reason.to_owned() }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Key => "private key",
            Self::Authorities => "CA certificate",
            Self::RevocationList => "revocation list",
        })
    }
}

impl fmt::Display for MaterialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(part) => write!(f, "holds no {part} in PEM form"),
            Self::NoPem { part, reason } => write!(f, "is no {part} in PEM form: {reason}"),
            Self::TooMany(part) => write!(f, "holds more than {CERTIFICATES_MAX} times a {part}"),
            Self::Unreadable { part, reason } => write!(f, "holds a {part} that cannot be used: {reason}"),
            Self::EncryptedKey => f.write_str(
                "holds a private key that asks for a passphrase: nobody is there to type it, so take it off with \
                 \"openssl pkey\" and keep the file at mode 0600",
            ),
            Self::Mismatch => {
                f.write_str("the private key does not belong to the certificate: were both replaced, or only one?")
            }
            Self::Identity(error) => error.fmt(f),
            Self::Refused(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for MaterialError {}
