//! Certificate requests (PKCS#10, RFC 2986): made where the key stays, read where it is signed.
//!
//! A request proves that who made it holds the key, and that is all that is believed of it. What the certificate says
//! is for the authority to say: the subject and the extensions that are asked for are not looked at.

use std::fmt;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SubjectPublicKeyInfo,
};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use super::{ClientName, PkiError};
use crate::identity::Fingerprint;

/// The longest request that is read, in bytes of its DER; an RSA key of 8192 bits needs a quarter.
pub const CSR_BYTES_MAX: usize = 8 * 1024;

/// RSA keys that are taken, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// `sha1WithRSAEncryption` and its twin: nobody can be sure who made such a signature.
const SHA1_SIGNATURES: [&str; 2] = ["1.2.840.113549.1.1.5", "1.3.14.3.2.29"];

/// A new key and the request that goes with it.
pub struct Request {
    /// The private key (ECDSA P-256, PKCS#8 in PEM), which stays where it was made.
    pub key_pem: String,
    /// The request, which is sent, in DER.
    pub csr_der: Vec<u8>,
    /// The same in PEM.
    pub csr_pem: String,
}

impl Request {
    /// Makes a key, and a request with `name` as its subject for people who look at it on the way.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn new(name: &ClientName) -> Result<Self, PkiError> {
        Self::of(name, &new_key()?)
    }

    /// The same for a key that one of us has made before.
    ///
    /// # Errors
    /// When it is no key that we sign with.
    pub fn again(name: &ClientName, key_pem: &str) -> Result<Self, PkiError> {
        Self::of(name, &KeyPair::from_pem(key_pem).map_err(|_| PkiError::UnusableKey)?)
    }

    fn of(name: &ClientName, key: &KeyPair) -> Result<Self, PkiError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name.as_str());
        let request = parameters.serialize_request(key).map_err(failed)?;
        let csr_pem = request.pem().map_err(failed)?;
        Ok(Self { key_pem: key.serialize_pem(), csr_der: request.der().to_vec(), csr_pem })
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("csr_bytes", &self.csr_der.len()).finish_non_exhaustive()
    }
}

/// A new private key of the kind that we make.
pub(super) fn new_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| PkiError::NoRandomness)
}

/// What a library says that failed at something it was given rightly.
#[expect(clippy::needless_pass_by_value, reason = "called by map_err")]
pub(super) fn failed(error: rcgen::Error) -> PkiError {
    PkiError::Failed(error.to_string())
}

/// The fingerprint of the key of a request (DER) that is signed with it.
///
/// # Errors
/// When the request proves nothing, or its key is not taken.
pub fn request_key(csr: &[u8]) -> Result<Fingerprint, PkiError> {
    Ok(Fingerprint::of(&proven_key(csr)?.subject_public_key_info()))
}

/// The public key of a request that is signed with the private one.
pub(super) fn proven_key(csr: &[u8]) -> Result<SubjectPublicKeyInfo, PkiError> {
    if csr.len() > CSR_BYTES_MAX {
        return Err(PkiError::RequestTooLong(csr.len()));
    }
    let Ok(([], request)) = X509CertificationRequest::from_der(csr) else { return Err(PkiError::UnreadableRequest) };
    let public = &request.certification_request_info.subject_pki;
    let kind = public.algorithm.algorithm.to_id_string();
    match public.parsed() {
        Ok(PublicKey::RSA(key)) if !RSA_BITS.contains(&key.key_size()) => {
            return Err(PkiError::RequestKey(format!("RSA of {} bits", key.key_size())));
        }
        Ok(PublicKey::RSA(_) | PublicKey::EC(_)) => {}
        // Ed25519, which x509-parser does not tell from others; rcgen does below.
        Ok(PublicKey::Unknown(_)) => {}
        Ok(_) => return Err(PkiError::RequestKey(kind)),
        Err(_) => return Err(PkiError::UnreadableRequest),
    }
    let key = SubjectPublicKeyInfo::from_der(public.raw).map_err(|_| PkiError::RequestKey(kind))?;
    if SHA1_SIGNATURES.contains(&request.signature_algorithm.algorithm.to_id_string().as_str()) {
        return Err(PkiError::RequestSignature);
    }
    request.verify_signature().map_err(|_| PkiError::RequestSignature)?;
    Ok(key)
}
