//! What an authority refuses, and why it fails.

use std::fmt;

use super::names::{AUTHORITY_NAME_CHARACTERS_MAX, CLIENT_NAME_BYTES_MAX};
use super::request::CSR_BYTES_MAX;
use super::revocation::CRL_ENTRIES_MAX;
use crate::date::Date;

/// Why something was not made, read or signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PkiError {
    /// This machine's clock says a time that cannot be.
    Clock(Date),
    /// The authority cannot sign yet.
    AuthorityNotYetValid {
        /// From when it can.
        from: Date,
        /// What this machine's clock says.
        now: Date,
    },
    /// The authority can sign no more.
    AuthorityExpired {
        /// Since when.
        until: Date,
        /// What this machine's clock says.
        now: Date,
    },
    /// No name for an authority.
    AuthorityName(String),
    /// No name for a client.
    ClientName(String),
    /// No name for a server.
    HostName(String),
    /// A name with letters that the DNS does not have.
    HostNameNotAscii(String),
    /// A server without a name.
    NoHostName,
    /// More names than a certificate may have.
    TooManyHostNames {
        /// How many there are.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// No serial number.
    Serial,
    /// No certificate where one was expected.
    NoCertificate,
    /// A certificate that cannot be read.
    UnreadableCertificate,
    /// No private key where one was expected.
    NoKey,
    /// A private key behind a passphrase.
    EncryptedKey,
    /// A private key in a form, or of a kind, that cannot sign here.
    UnusableKey,
    /// The key is not the one in the certificate.
    KeyMismatch,
    /// The certificate is not one that may sign others.
    NotAnAuthority {
        /// Whose it is.
        subject: String,
    },
    /// The certificate was signed by somebody else.
    NotOurs {
        /// Who is said to have signed it.
        issuer: String,
    },
    /// The certificate is neither a server's nor a client's.
    NoPurpose,
    /// No request where one was expected.
    NoRequest,
    /// A request longer than is read.
    RequestTooLong(usize),
    /// A request that cannot be read.
    UnreadableRequest,
    /// The request is not signed with the key that is in it.
    RequestSignature,
    /// The key in the request is not strong enough, or of a kind that is not taken.
    RequestKey(String),
    /// No list of revoked certificates where one was expected.
    NoRevocationList,
    /// A list that cannot be read, or that another authority signed.
    UnreadableRevocationList,
    /// The list is full.
    TooManyRevoked,
    /// The certificate is on the list already.
    AlreadyRevoked {
        /// Its serial number.
        serial: String,
        /// Since when.
        since: Date,
    },
    /// No reason known by this word.
    UnknownReason(String),
    /// The system gave no random bytes.
    NoRandomness,
    /// Something could not be signed or written; the text is of the library that tried.
    Failed(String),
}

impl PkiError {
    /// What the person could do; may be empty.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Clock(_) => "set this machine's clock: date -s, or timedatectl set-ntp true",
            Self::AuthorityNotYetValid { .. } => "is this machine's clock right?",
            Self::AuthorityExpired { .. } => {
                "make a new authority in a directory of its own: vmwire pki init --dir DIR; if the clock is right"
            }
            Self::AuthorityName(_) => "1 to 64 characters that can be seen, as in \"Example Ltd\"",
            Self::ClientName(_) => "1 to 64 of letters, digits and . _ - @, a letter or a digit first, as in alice",
            Self::HostName(_) => {
                "a name or an address without port, as in vm1.example.org, *.example.org, 10.0.0.7 or fd00::7"
            }
            Self::HostNameNotAscii(_) => "write it as the DNS has it: idn2 NAME shows it, beginning with xn--",
            Self::NoHostName => "say how clients call this server: --host NAME or ADDRESS",
            Self::TooManyHostNames { .. } => {
                "a wildcard such as *.example.org stands for many, or make several certificates"
            }
            Self::Serial => "hexadecimal digits, at most 40, as vmwire pki show shows them",
            Self::NoCertificate | Self::UnreadableCertificate => {
                "a certificate in PEM begins with -----BEGIN CERTIFICATE-----"
            }
            Self::NoKey => "a key in PEM begins with -----BEGIN PRIVATE KEY-----",
            Self::EncryptedKey => "take off its passphrase: openssl pkcs8 -in OLD -out NEW -topk8 -nocrypt",
            Self::UnusableKey => {
                "RSA, ECDSA P-256, P-384 or Ed25519 in PKCS#8: openssl pkcs8 -in OLD -out NEW -topk8 -nocrypt"
            }
            Self::KeyMismatch => "do both files belong together? vmwire pki show tells the key of each",
            Self::NotAnAuthority { .. } => {
                "it needs basicConstraints CA:TRUE, and keyCertSign and cRLSign among its key usages"
            }
            Self::NotOurs { .. } => "--dir says which authority is meant",
            Self::NoPurpose => "it needs serverAuth or clientAuth among its extended key usages",
            Self::NoRequest | Self::UnreadableRequest => {
                "a request in PEM begins with -----BEGIN CERTIFICATE REQUEST-----"
            }
            Self::RequestTooLong(_) => "make one that has a key and a name in it and no more",
            Self::RequestSignature => "it was changed or cut on the way: have it made and sent again",
            Self::RequestKey(_) => "RSA from 2048 bits, ECDSA P-256 or P-384, or Ed25519",
            Self::NoRevocationList | Self::UnreadableRevocationList => {
                "put the file back from a copy, as on the daemon's host; without it what was revoked is valid again"
            }
            Self::TooManyRevoked => "make a new authority: vmwire pki init --dir DIR",
            Self::AlreadyRevoked { .. } => "",
            Self::UnknownReason(_) => "vmwire pki revoke --help lists them",
            Self::NoRandomness | Self::Failed(_) => "",
        }
    }
}

impl fmt::Display for PkiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock(now) => write!(f, "this machine's clock says {now}, which cannot be"),
            Self::AuthorityNotYetValid { from, now } => {
                write!(f, "the authority is valid from {from}; this machine's clock says {now}")
            }
            Self::AuthorityExpired { until, now } => {
                write!(f, "the authority has expired on {until}; this machine's clock says {now}")
            }
            Self::AuthorityName(name) => {
                write!(f, "no name for an authority: {name:?} (1 to {AUTHORITY_NAME_CHARACTERS_MAX} characters)")
            }
            Self::ClientName(name) => {
                write!(f, "no name for a client: {name:?} (1 to {CLIENT_NAME_BYTES_MAX} plain characters)")
            }
            Self::HostName(name) => write!(f, "neither a host's name nor an address: {name:?}"),
            Self::HostNameNotAscii(name) => write!(f, "the name {name:?} has letters that the DNS does not have"),
            Self::NoHostName => f.write_str("a server needs at least one name"),
            Self::TooManyHostNames { count, limit } => {
                write!(f, "{count} names for one server: at most {limit} are taken")
            }
            Self::Serial => f.write_str("no serial number of a certificate"),
            Self::NoCertificate => f.write_str("there is no certificate in it"),
            Self::UnreadableCertificate => f.write_str("the certificate cannot be read"),
            Self::NoKey => f.write_str("there is no private key in it"),
            Self::EncryptedKey => f.write_str("the private key has a passphrase"),
            Self::UnusableKey => f.write_str("the private key is of a kind or a form that is not taken"),
            Self::KeyMismatch => f.write_str("the private key does not belong to the certificate"),
            Self::NotAnAuthority { subject } => write!(f, "the certificate of {subject} is not that of an authority"),
            Self::NotOurs { issuer } => write!(f, "the certificate was not signed by this authority, but by {issuer}"),
            Self::NoPurpose => f.write_str("the certificate is neither a server's nor a client's"),
            Self::NoRequest => f.write_str("there is no certificate request in it"),
            Self::RequestTooLong(bytes) => {
                write!(f, "the certificate request has {bytes} bytes: at most {CSR_BYTES_MAX} are taken")
            }
            Self::UnreadableRequest => f.write_str("the certificate request cannot be read"),
            Self::RequestSignature => f.write_str("the certificate request is not signed with its own key"),
            Self::RequestKey(kind) => write!(f, "the key in the certificate request is not taken: {kind}"),
            Self::NoRevocationList => f.write_str("there is no list of revoked certificates in it"),
            Self::UnreadableRevocationList => {
                f.write_str("the list of revoked certificates cannot be read, or was not signed by this authority")
            }
            Self::TooManyRevoked => write!(f, "{CRL_ENTRIES_MAX} certificates are revoked: the list is full"),
            Self::AlreadyRevoked { serial, since } => write!(f, "the certificate {serial} is revoked since {since}"),
            Self::UnknownReason(word) => write!(f, "no reason to revoke is called {word:?}"),
            Self::NoRandomness => f.write_str("the system gave no random bytes"),
            Self::Failed(text) => write!(f, "it could not be made: {text}"),
        }
    }
}

impl std::error::Error for PkiError {}
