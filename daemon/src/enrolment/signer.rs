//! What makes certificates, as far as the registry has to know.

use std::fmt::Debug;
use std::path::PathBuf;

/// A certificate that was made, and what the registry keeps of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The SHA-256 of its public key.
    pub key: [u8; 32],
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// When it expires, in seconds since 1970-01-01 UTC.
    pub not_after_s: u64,
    /// The certificate and those between it and the root, in DER.
    pub chain: Vec<Vec<u8>>,
    /// The root, in DER.
    pub ca: Vec<u8>,
    /// The line by which its authority remembers it.
    pub line: String,
}

/// Makes certificates.
pub trait Signer: Debug {
    /// Makes one for the key of a request (PKCS #10, DER) and for this name; what else the request asks for counts for
    /// nothing.
    ///
    /// # Errors
    /// What is wrong with the request, in words.
    fn sign(&self, name: &str, request: &[u8], now_utc_ns: u64) -> Result<Signed, String>;

    /// The SHA-256 of the public key of a request that proves to be its owner's.
    ///
    /// # Errors
    /// What is wrong with the request, in words.
    fn key(&self, request: &[u8]) -> Result<[u8; 32], String>;
}

/// What invitations need: somebody who makes certificates, and what a token says of the daemon.
#[derive(Debug)]
pub struct Authority {
    /// The host by which clients reach the daemon, if nobody says otherwise; with brackets around an IPv6 address. Empty if
    /// the daemon does not know any.
    pub host: String,
    /// The port where it listens with TLS.
    pub port: u16,
    /// Where the authority remembers what it has signed: a line for each certificate, written before that is sent.
    pub index: PathBuf,
    /// The SHA-256 of the root's public key (SubjectPublicKeyInfo).
    pub ca: [u8; 32],
    /// Makes the certificates.
    pub signer: Box<dyn Signer>,
}
