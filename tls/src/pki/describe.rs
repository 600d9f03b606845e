//! What a certificate says, for a person who looks at it.

use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{PkiError, Serial};
use crate::date::Date;
use crate::identity::{Fingerprint, PeerIdentity, for_people};

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To sign others.
    Authority,
    /// To be a server.
    Server,
    /// To be a client.
    Client,
    /// To be either; of ours none is.
    Both,
    /// Something that vmwire has no use for.
    Other,
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// What it is for.
    pub purpose: Purpose,
    /// Whose it is; cut, with control characters escaped.
    pub subject: String,
    /// Who is said to have signed it; likewise.
    pub issuer: String,
    /// What else it calls its owner, with the kind in front; likewise.
    pub names: Vec<String>,
    /// Its number.
    pub serial: Serial,
    /// The fingerprint of its key.
    pub key: Fingerprint,
    /// Its own fingerprint.
    pub certificate: Fingerprint,
    /// First moment at which it is valid.
    pub not_before: Date,
    /// Last moment at which it is valid.
    pub not_after: Date,
    /// Why neither end would take it, when what it says is not plain.
    pub refused: Option<String>,
}

/// Describes a certificate (DER). Nothing is verified.
///
/// # Errors
/// When it cannot be read.
pub fn describe(der: &[u8]) -> Result<Description, PkiError> {
    let Ok(([], certificate)) = X509Certificate::from_der(der) else { return Err(PkiError::UnreadableCertificate) };
    let identity = PeerIdentity::of(der);
    let names = identity.as_ref().map(|identity| identity.names.iter().map(ToString::to_string).collect());
    Ok(Description {
        purpose: purpose(&certificate),
        subject: for_people(certificate.subject().as_raw()),
        issuer: for_people(certificate.issuer().as_raw()),
        names: names.unwrap_or_default(),
        serial: Serial::of(certificate.raw_serial()),
        key: Fingerprint::of(certificate.public_key().raw),
        certificate: Fingerprint::of(der),
        not_before: Date(certificate.validity().not_before.timestamp()),
        not_after: Date(certificate.validity().not_after.timestamp()),
        refused: identity.err().map(|error| error.to_string()),
    })
}

impl Purpose {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Server => "server",
            Self::Client => "client",
            Self::Both => "server, client",
            Self::Other => "other",
        }
    }
}

pub(super) fn purpose(certificate: &X509Certificate<'_>) -> Purpose {
    if certificate.is_ca() {
        return Purpose::Authority;
    }
    match certificate
        .extended_key_usage()
        .ok()
        .flatten()
        .map(|usage| (usage.value.server_auth, usage.value.client_auth))
    {
        Some((true, false)) => Purpose::Server,
        Some((false, true)) => Purpose::Client,
        // Without the extension a certificate is for anything (RFC 5280 section 4.2.1.12).
        Some((true, true)) | None => Purpose::Both,
        Some((false, false)) => Purpose::Other,
    }
}

/// The names of a server as they would be typed.
pub(super) fn host_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let entries = extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let names = entries.iter().filter_map(|entry| match entry {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => crate::identity::address(bytes).map(|address| address.to_string()),
        _ => None,
    });
    names.collect()
}

/// What the certificate calls its own key.
pub(super) fn key_identifier(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    })
}

/// Whether the authority with the certificate `authority` has signed `certificate`, both in DER. Dates are not looked
/// at.
///
/// # Errors
/// When it has not, or one of them cannot be read.
pub fn check_signature(certificate: &[u8], authority: &[u8]) -> Result<(), PkiError> {
    let read = |der| match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(PkiError::UnreadableCertificate),
    };
    let (certificate, authority) = (read(certificate)?, read(authority)?);
    certificate
        .verify_signature(Some(authority.public_key()))
        .map_err(|_| PkiError::NotOurs { issuer: for_people(certificate.issuer().as_raw()) })
}
