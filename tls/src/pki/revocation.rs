//! The list of revoked certificates (CRL, RFC 5280 section 5) of an authority of ours.
//!
//! It is valid for as long as the authority is. A date by which the next one must have come protects those who fetch
//! the list from somewhere against being handed an old one. Ours is a file beside the authority's certificate, and
//! whoever could put an old one there could as well replace that certificate; but a date that is forgotten locks
//! everybody out.

use std::collections::HashMap;
use std::str::FromStr;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use super::request::failed;
use super::validity::{SKEW_SECONDS, for_rcgen};
use super::{Authority, PkiError, Serial, pem};
use crate::date::Date;

/// How many certificates one list revokes: some 5 MB, read at every start.
pub const CRL_ENTRIES_MAX: usize = 100_000;

/// Why a certificate is revoked (RFC 5280 section 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing was said.
    Unspecified,
    /// Somebody else has, or may have, its key.
    KeyCompromise,
    /// Its owner has changed places.
    AffiliationChanged,
    /// Another one has taken its place.
    Superseded,
    /// It is no longer needed.
    CessationOfOperation,
    /// Its owner may no longer do what it was for.
    PrivilegeWithdrawn,
}

/// A revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Its number.
    pub serial: Serial,
    /// Since when.
    pub since: Date,
    /// Why.
    pub reason: Reason,
}

/// What a list says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevocationList {
    /// Counts the lists of an authority, from 1.
    pub number: u64,
    /// What it revokes, in the order in which that happened.
    pub revoked: Vec<Revoked>,
}

impl RevocationList {
    /// Reads the list in `pem`, which the authority with the certificate `authority` (DER) has signed.
    ///
    /// # Errors
    /// When it cannot be read, or somebody else signed it.
    pub fn read(pem: &[u8], authority: &[u8]) -> Result<Self, PkiError> {
        let der = pem::revocation_list(pem)?;
        let Ok((_, own)) = X509Certificate::from_der(authority) else { return Err(PkiError::UnreadableCertificate) };
        let Ok(([], list)) = CertificateRevocationList::from_der(&der) else {
            return Err(PkiError::UnreadableRevocationList);
        };
        if list.issuer().as_raw() != own.subject().as_raw() || list.verify_signature(own.public_key()).is_err() {
            return Err(PkiError::UnreadableRevocationList);
        }
        let number = list.crl_number().and_then(|number| u64::try_from(number).ok());
        let revoked = list.iter_revoked_certificates().map(|entry| Revoked {
            serial: Serial::of(entry.raw_serial()),
            since: Date(entry.revocation_date.timestamp()),
            reason: entry.reason_code().map_or(Reason::Unspecified, |(_, code)| Reason::of_code(code.0)),
        });
        Ok(Self { number: number.ok_or(PkiError::UnreadableRevocationList)?, revoked: revoked.collect() })
    }

    /// What it says of one certificate.
    pub fn find(&self, serial: &Serial) -> Option<&Revoked> {
        self.revoked.iter().find(|revoked| revoked.serial == *serial)
    }
}

impl Authority {
    /// Signs the list that follows `list`: the same with `more` revoked, numbered one higher; in PEM.
    ///
    /// # Errors
    /// When one of them is revoked already, the list is full, or the authority may not sign now.
    pub fn sign_revocations(&self, list: &RevocationList, more: &[Revoked], now: Date) -> Result<String, PkiError> {
        self.validity.holds(now)?;
        let all = || list.revoked.iter().chain(more);
        if all().count() > CRL_ENTRIES_MAX {
            return Err(PkiError::TooManyRevoked);
        }
        let mut known = HashMap::new();
        for revoked in all() {
            if let Some(since) = known.insert(&revoked.serial, revoked.since) {
                return Err(PkiError::AlreadyRevoked { serial: revoked.serial.to_string(), since });
            }
        }
        let entries = all().map(|revoked| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(revoked.serial.bytes()),
                revocation_time: for_rcgen(revoked.since)?,
                reason_code: Some(revoked.reason.for_rcgen()),
                invalidity_date: None,
            })
        });
        let from = Date((now.0 - SKEW_SECONDS).max(self.validity.from.0));
        let parameters = CertificateRevocationListParams {
            this_update: for_rcgen(from)?,
            next_update: for_rcgen(self.validity.until)?,
            crl_number: SerialNumber::from(list.number.saturating_add(1)),
            issuing_distribution_point: None,
            revoked_certs: entries.collect::<Result<_, PkiError>>()?,
            key_identifier_method: KeyIdMethod::PreSpecified(self.key_identifier.clone()),
        };
        parameters.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(failed)
    }
}

impl Reason {
    /// Every reason, with the word that people say for it.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Unspecified, "unspecified"),
        (Self::KeyCompromise, "key-compromise"),
        (Self::AffiliationChanged, "affiliation-changed"),
        (Self::Superseded, "superseded"),
        (Self::CessationOfOperation, "cessation-of-operation"),
        (Self::PrivilegeWithdrawn, "privilege-withdrawn"),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(reason, _)| *reason == self).map_or("unspecified", |(_, word)| word)
    }

    /// Reasons that we never give are kept as no reason.
    fn of_code(code: u8) -> Self {
        match code {
            1 => Self::KeyCompromise,
            3 => Self::AffiliationChanged,
            4 => Self::Superseded,
            5 => Self::CessationOfOperation,
            9 => Self::PrivilegeWithdrawn,
            _ => Self::Unspecified,
        }
    }

    fn for_rcgen(self) -> RevocationReason {
        match self {
            Self::Unspecified => RevocationReason::Unspecified,
            Self::KeyCompromise => RevocationReason::KeyCompromise,
            Self::AffiliationChanged => RevocationReason::AffiliationChanged,
            Self::Superseded => RevocationReason::Superseded,
            Self::CessationOfOperation => RevocationReason::CessationOfOperation,
            Self::PrivilegeWithdrawn => RevocationReason::PrivilegeWithdrawn,
        }
    }
}

impl FromStr for Reason {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let found = Self::ALL.iter().find(|(_, word)| *word == text);
        found.map(|(reason, _)| *reason).ok_or_else(|| PkiError::UnknownReason(text.chars().take(80).collect()))
    }
}
