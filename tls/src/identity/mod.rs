//! Who a certificate says its owner is, for the registry of roles, for rules and for people.
//!
//! Everything here was written by a stranger. An authority we trust has signed it, but authorities sign what they are
//! shown. So what may decide about rights is refused when it is not one plain text: see [`NameError`].

mod fingerprint;
mod name;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::date::Date;

pub use self::fingerprint::{Fingerprint, NoFingerprint};
pub use self::name::{NAME_BYTES_MAX, NameError};
pub(crate) use self::name::{for_people, is_hidden, shorten};

/// How many alternative names a certificate may have.
pub const ALTERNATIVE_NAMES_MAX: usize = 64;

/// What a certificate says, and what it is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Of the public key: what roles are given to. It outlives a renewal that keeps the key.
    pub key: Fingerprint,
    /// Of the whole certificate.
    pub certificate: Fingerprint,
    /// RFC 4514 text, at most 256 bytes, without control characters; empty when the certificate has no subject.
    pub subject: String,
    /// Who issued it, for people: cut when it is long.
    pub issuer: String,
    /// Hexadecimal digits of the serial number, at most 64 of them.
    pub serial: String,
    /// What else it calls its owner.
    pub names: Vec<AlternativeName>,
    /// First moment at which it is valid.
    pub not_before: Date,
    /// Last moment at which it is valid.
    pub not_after: Date,
}

/// One entry of the subjectAltName extension; other kinds of entries are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlternativeName {
    /// A host, perhaps with a `*` in front.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A URI, such as a SPIFFE identity.
    Uri(String),
    /// A mailbox.
    Email(String),
}

/// Why a certificate tells nobody's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityError {
    /// It cannot be read.
    Unreadable,
    /// Its subject is not taken.
    Subject(NameError),
    /// One of its alternative names is not taken.
    AlternativeName(NameError),
    /// It has more than [`ALTERNATIVE_NAMES_MAX`] of them.
    TooManyNames(usize),
}

impl PeerIdentity {
    /// Reads the DER of a certificate. Nothing is verified: that is the handshake's matter.
    ///
    /// # Errors
    /// When it cannot be read, or holds a name that is too long or has a control character in it.
    pub fn of(der: &[u8]) -> Result<Self, IdentityError> {
        let Ok(([], certificate)) = X509Certificate::from_der(der) else { return Err(IdentityError::Unreadable) };
        let serial: String = certificate.raw_serial().iter().take(32).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            key: Fingerprint::of(certificate.public_key().raw),
            certificate: Fingerprint::of(der),
            subject: name::identity(certificate.subject()).map_err(IdentityError::Subject)?,
            issuer: for_people(certificate.issuer().as_raw()),
            serial,
            names: alternative_names(&certificate)?,
            not_before: Date(certificate.validity().not_before.timestamp()),
            not_after: Date(certificate.validity().not_after.timestamp()),
        })
    }
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Result<Vec<AlternativeName>, IdentityError> {
    let mut names = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(entries) = extension.parsed_extension() else { continue };
        let count = entries.general_names.len();
        if count > ALTERNATIVE_NAMES_MAX {
            return Err(IdentityError::TooManyNames(count));
        }
        for entry in &entries.general_names {
            let text = |text: &str| match name::check(text) {
                Ok(()) => Ok(text.to_owned()),
                Err(error) => Err(IdentityError::AlternativeName(error)),
            };
            names.push(match entry {
                GeneralName::DNSName(name) => AlternativeName::Dns(text(name)?),
                GeneralName::URI(name) => AlternativeName::Uri(text(name)?),
                GeneralName::RFC822Name(name) => AlternativeName::Email(text(name)?),
                GeneralName::IPAddress(bytes) => match address(bytes) {
                    Some(address) => AlternativeName::Ip(address),
                    None => return Err(IdentityError::AlternativeName(NameError::Unreadable)),
                },
                GeneralName::Invalid(..) => return Err(IdentityError::AlternativeName(NameError::Unreadable)),
                _ => continue,
            });
        }
    }
    Ok(names)
}

/// The address in the bytes of an alternative name.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(|bytes| Ipv4Addr::from(bytes).into())
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into()))
        .ok()
}

impl fmt::Display for AlternativeName {
    /// With its kind in front, as `openssl x509 -text` shows it and as rules name it: `DNS:vm1.example`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS:{name}"),
            Self::Ip(address) => write!(f, "IP:{address}"),
            Self::Uri(name) => write!(f, "URI:{name}"),
            Self::Email(name) => write!(f, "email:{name}"),
        }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "is longer than {NAME_BYTES_MAX} bytes"),
            Self::Control(character) => write!(f, "has the control character U+{:04X} in it", u32::from(*character)),
            Self::Unreadable => f.write_str("cannot be read"),
        }
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("the certificate cannot be read"),
            Self::Subject(error) => write!(f, "the certificate's subject {error}"),
            Self::AlternativeName(error) => write!(f, "an alternative name of the certificate {error}"),
            Self::TooManyNames(count) => {
                write!(f, "the certificate has {count} alternative names: at most {ALTERNATIVE_NAMES_MAX} are taken")
            }
        }
    }
}

impl std::error::Error for IdentityError {}
