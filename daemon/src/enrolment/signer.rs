//! What makes certificates, as far as the registry has to know.

use std::fmt::Debug;

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
}

/// Makes certificates.
pub trait Signer: Debug {
    /// Makes one for the key of a request (PKCS #10, DER) and for this name; what else the request asks for counts for
    /// nothing.
    ///
    /// # Errors
    /// What is wrong with the request, in words.
    fn sign(&self, name: &str, request: &[u8], now_utc_ns: u64) -> Result<Signed, String>;
}

/// What invitations need: somebody who makes certificates, and what a token says of the daemon.
#[derive(Debug)]
pub struct Authority {
    /// Where clients reach the daemon, as in `host:port`, if nobody says otherwise.
    pub address: String,
    /// The SHA-256 of the root's public key (SubjectPublicKeyInfo).
    pub ca: [u8; 32],
    /// Makes the certificates.
    pub signer: Box<dyn Signer>,
}
