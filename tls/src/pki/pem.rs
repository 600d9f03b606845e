//! What lies in PEM files, told apart by what it is, so that the wrong file gets the right word.

use std::borrow::Cow;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, CertificateSigningRequestDer, PrivateKeyDer};

use super::PkiError;
use crate::identity::Fingerprint;

/// Every certificate in `pem`, in its order, as DER.
///
/// # Errors
/// When there is none, or one of them is no PEM.
pub fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, PkiError> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|_| PkiError::UnreadableCertificate)?;
    if all.is_empty() {
        return Err(PkiError::NoCertificate);
    }
    Ok(all.iter().map(|der| der.to_vec()).collect())
}

/// The certificate request in `bytes`, which are PEM or DER, as DER. It is not looked at yet.
///
/// # Errors
/// When there is none.
pub fn request(bytes: &[u8]) -> Result<Cow<'_, [u8]>, PkiError> {
    // A SEQUENCE with its length in two bytes: no text begins so.
    if bytes.starts_with(&[0x30, 0x82]) || bytes.starts_with(&[0x30, 0x81]) {
        return Ok(Cow::Borrowed(bytes));
    }
    let found = CertificateSigningRequestDer::pem_slice_iter(bytes).next();
    let found = found.ok_or(PkiError::NoRequest)?.map_err(|_| PkiError::UnreadableRequest)?;
    Ok(Cow::Owned(found.to_vec()))
}

/// The fingerprint of the public half of the private key in `pem`, which may be in any form that rustls takes: the same
/// as that of the certificate it belongs to.
///
/// # Errors
/// When there is no key, it has a passphrase, or it is of no kind that is taken.
pub fn key_fingerprint(pem: &[u8]) -> Result<Fingerprint, PkiError> {
    let key = any_supported_type(&private_key(pem)?).map_err(|_| PkiError::UnusableKey)?;
    key.public_key().map(|public| Fingerprint::of(&public)).ok_or(PkiError::UnusableKey)
}

/// The private key in `pem`.
pub(super) fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PkiError> {
    if contains(pem, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || contains(pem, b"Proc-Type: 4,ENCRYPTED") {
        return Err(PkiError::EncryptedKey);
    }
    match PrivateKeyDer::pem_slice_iter(pem).next() {
        Some(Ok(key)) => Ok(key),
        Some(Err(_)) => Err(PkiError::UnusableKey),
        None => Err(PkiError::NoKey),
    }
}

/// The list of revoked certificates in `pem`.
pub(super) fn revocation_list(pem: &[u8]) -> Result<CertificateRevocationListDer<'static>, PkiError> {
    let found = CertificateRevocationListDer::pem_slice_iter(pem).next();
    found.ok_or(PkiError::NoRevocationList)?.map_err(|_| PkiError::UnreadableRevocationList)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Certificates (DER) in PEM, one behind the other.
pub fn certificates_pem<T: AsRef<[u8]>>(ders: impl IntoIterator<Item = T>) -> String {
    ders.into_iter().map(|der| write("CERTIFICATE", der.as_ref())).collect()
}

/// DER in PEM.
pub(super) fn write(label: &str, der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), config)
}
