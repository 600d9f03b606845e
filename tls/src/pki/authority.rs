//! The authority: a certificate that may sign others, and its key.

use std::fmt;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::names::check_authority_name;
use super::request::{failed, new_key, proven_key};
use super::validity::{Validity, for_rcgen};
use super::{ClientName, HostName, HostNames, PkiError, Purpose, Serial, describe, pem};
use crate::date::Date;
use crate::identity::{Fingerprint, for_people};

/// Somebody who signs certificates and revokes them.
pub struct Authority {
    der: Vec<u8>,
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) key_identifier: Vec<u8>,
    pub(super) validity: Validity,
    root: bool,
}

/// An authority that was just made, with what has to be kept of it.
pub struct NewAuthority {
    /// Itself, ready to sign.
    pub authority: Authority,
    /// Its private key in PEM, as [`Authority::from_pem`] takes it. Whoever has it is the authority.
    pub key_pem: String,
}

/// A certificate that was just signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub der: Vec<u8>,
    /// The same in PEM; behind it the authority's own, when peers who trust its root would not know that one.
    pub pem: String,
    /// Its number, to revoke it by.
    pub serial: Serial,
    /// The fingerprint of its key, to give a role to.
    pub key: Fingerprint,
    /// First moment at which it is valid.
    pub not_before: Date,
    /// Last moment at which it is valid.
    pub not_after: Date,
}

/// What a certificate is to say.
struct Wanted {
    purpose: Purpose,
    common_name: Option<String>,
    names: Vec<SanType>,
}

impl Authority {
    /// Makes an authority (ECDSA P-256, ten years) that is called `name`.
    ///
    /// # Errors
    /// When it cannot be called so, or this machine's clock cannot be right.
    pub fn create(name: &str, now: Date) -> Result<NewAuthority, PkiError> {
        check_authority_name(name)?;
        let validity = Validity::of_authority(now)?;
        let key = new_key()?;
        let mut parameters = parameters(validity, &Serial::random()?)?;
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters.self_signed(&key).map_err(failed)?;
        let key_pem = key.serialize_pem();
        Ok(NewAuthority { authority: Self::of(certificate.der(), key)?, key_pem })
    }

    /// Takes an authority up again from its certificate and its key, of our make or another's.
    ///
    /// # Errors
    /// When they do not belong together, or are not those of an authority.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, PkiError> {
        let certificate = pem::certificates(certificate)?.swap_remove(0);
        // ring signs with PKCS#8 alone.
        let PrivateKeyDer::Pkcs8(key) = pem::private_key(key)? else { return Err(PkiError::UnusableKey) };
        let key = KeyPair::try_from(key.secret_pkcs8_der()).map_err(|_| PkiError::UnusableKey)?;
        Self::of(&certificate, key)
    }

    fn of(der: &[u8], key: KeyPair) -> Result<Self, PkiError> {
        let Ok(([], certificate)) = X509Certificate::from_der(der) else {
            return Err(PkiError::UnreadableCertificate);
        };
        if certificate.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(PkiError::KeyMismatch);
        }
        let usage = certificate.key_usage().ok().flatten();
        let signs = usage.is_none_or(|usage| usage.value.key_cert_sign() && usage.value.crl_sign());
        if !certificate.is_ca() || !signs {
            return Err(PkiError::NotAnAuthority { subject: for_people(certificate.subject().as_raw()) });
        }
        let validity = Validity {
            from: Date(certificate.validity().not_before.timestamp()),
            until: Date(certificate.validity().not_after.timestamp()),
        };
        let root = certificate.subject().as_raw() == certificate.issuer().as_raw();
        let key_identifier = describe::key_identifier(&certificate);
        let issuer =
            Issuer::from_ca_cert_der(&CertificateDer::from(der), key).map_err(|_| PkiError::UnreadableCertificate)?;
        let key_identifier = key_identifier.unwrap_or_else(|| {
            // The same as rcgen derives for a certificate that has none.
            Fingerprint::of(&issuer.key().subject_public_key_info()).bytes()[..20].to_vec()
        });
        Ok(Self { der: der.to_vec(), issuer, key_identifier, validity, root })
    }

    /// Its own certificate.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its own certificate in PEM.
    pub fn pem(&self) -> String {
        pem::write("CERTIFICATE", &self.der)
    }

    /// The fingerprint of its key, by which an invitation names it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.issuer.key().subject_public_key_info())
    }

    /// The last moment at which it is valid.
    pub fn not_after(&self) -> Date {
        self.validity.until
    }

    /// Signs the certificate of a client for the key in `csr` (DER, at most [`super::CSR_BYTES_MAX`] bytes). Of the
    /// request nothing but the key goes into it; the client is called `name`.
    ///
    /// # Errors
    /// When the request proves nothing or its key is not taken, or the authority may not sign now.
    pub fn sign_client(&self, csr: &[u8], name: &ClientName, now: Date) -> Result<Issued, PkiError> {
        self.sign(&proven_key(csr)?, Wanted::client(name), now)
    }

    /// The same for a server.
    ///
    /// # Errors
    /// As [`Authority::sign_client`].
    pub fn sign_server(&self, csr: &[u8], names: &HostNames, now: Date) -> Result<Issued, PkiError> {
        self.sign(&proven_key(csr)?, Wanted::server(names)?, now)
    }

    /// Makes a key and the certificate of a client; the key comes first, in PEM.
    ///
    /// # Errors
    /// When the authority may not sign now.
    pub fn issue_client(&self, name: &ClientName, now: Date) -> Result<(String, Issued), PkiError> {
        self.issue(Wanted::client(name), now)
    }

    /// Makes a key and the certificate of a server; the key comes first, in PEM.
    ///
    /// # Errors
    /// When the authority may not sign now.
    pub fn issue_server(&self, names: &HostNames, now: Date) -> Result<(String, Issued), PkiError> {
        self.issue(Wanted::server(names)?, now)
    }

    /// Signs anew what the certificate `old` (DER) says, for the same key and another while.
    ///
    /// # Errors
    /// When this authority did not sign it, or may not sign now.
    pub fn renew(&self, old: &[u8], now: Date) -> Result<Issued, PkiError> {
        let old = self.signed_here(old)?;
        let key = SubjectPublicKeyInfo::from_der(old.public_key().raw).map_err(|_| PkiError::UnreadableCertificate)?;
        self.sign(&key, Wanted::again(&old)?, now)
    }

    /// The same for a new key, which comes first, in PEM.
    ///
    /// # Errors
    /// As [`Authority::renew`].
    pub fn renew_with_new_key(&self, old: &[u8], now: Date) -> Result<(String, Issued), PkiError> {
        self.issue(Wanted::again(&self.signed_here(old)?)?, now)
    }

    fn signed_here<'a>(&self, der: &'a [u8]) -> Result<X509Certificate<'a>, PkiError> {
        describe::check_signature(der, &self.der)?;
        X509Certificate::from_der(der).map(|(_, certificate)| certificate).map_err(|_| PkiError::UnreadableCertificate)
    }

    fn issue(&self, wanted: Wanted, now: Date) -> Result<(String, Issued), PkiError> {
        let key = new_key()?;
        let issued = self.sign(&key, wanted, now)?;
        Ok((key.serialize_pem(), issued))
    }

    fn sign(&self, key: &impl PublicKeyData, wanted: Wanted, now: Date) -> Result<Issued, PkiError> {
        let validity = Validity::of_certificate(now, self.validity)?;
        let serial = Serial::random()?;
        let mut parameters = parameters(validity, &serial)?;
        if let Some(name) = wanted.common_name {
            parameters.distinguished_name.push(DnType::CommonName, name);
        }
        parameters.subject_alt_names = wanted.names;
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = wanted.purpose.usages();
        let certificate = parameters.signed_by(key, &self.issuer).map_err(failed)?;
        self.issued(&certificate, serial, validity)
    }

    fn issued(&self, certificate: &Certificate, serial: Serial, validity: Validity) -> Result<Issued, PkiError> {
        let der = certificate.der().to_vec();
        let mut text = pem::write("CERTIFICATE", &der);
        if !self.root {
            text.push_str(&self.pem());
        }
        let Ok((_, read)) = X509Certificate::from_der(&der) else { return Err(PkiError::UnreadableCertificate) };
        let Ok((_, own)) = X509Certificate::from_der(&self.der) else { return Err(PkiError::UnreadableCertificate) };
        // rcgen writes the issuer's name anew. Were a byte of it another, nobody would find the issuer by it.
        if read.issuer().as_raw() != own.subject().as_raw() {
            return Err(PkiError::Failed("the authority's name cannot be written as it is".to_owned()));
        }
        let key = Fingerprint::of(read.public_key().raw);
        Ok(Issued { pem: text, serial, key, not_before: validity.from, not_after: validity.until, der })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.fingerprint())
    }
}

/// Its key is nobody's to read.
impl fmt::Debug for NewAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.authority, f)
    }
}

impl Wanted {
    fn client(name: &ClientName) -> Self {
        Self { purpose: Purpose::Client, common_name: Some(name.as_str().to_owned()), names: Vec::new() }
    }

    fn server(names: &HostNames) -> Result<Self, PkiError> {
        let alternative = names.all().iter().map(|name| match name {
            HostName::Dns(name) => name.as_str().try_into().map(SanType::DnsName).map_err(failed),
            HostName::Ip(address) => Ok(SanType::IpAddress(*address)),
        });
        let names_in = alternative.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { purpose: Purpose::Server, common_name: names.common_name(), names: names_in })
    }

    /// What a certificate of ours says already. It passes the same checks as what is new.
    fn again(old: &X509Certificate<'_>) -> Result<Self, PkiError> {
        match describe::purpose(old) {
            Purpose::Server => {
                let names = describe::host_names(old);
                Self::server(&HostNames::new(names.iter().map(|name| name.parse()).collect::<Result<Vec<_>, _>>()?)?)
            }
            Purpose::Client => {
                let name = old.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
                Ok(Self::client(&name.unwrap_or_default().parse()?))
            }
            Purpose::Authority | Purpose::Both | Purpose::Other => Err(PkiError::NoPurpose),
        }
    }
}

impl Purpose {
    fn usages(self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Self::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Self::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            Self::Authority | Self::Other => Vec::new(),
        }
    }
}

fn parameters(validity: Validity, serial: &Serial) -> Result<CertificateParams, PkiError> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.key_identifier_method = KeyIdMethod::Sha256;
    parameters.serial_number = Some(SerialNumber::from_slice(serial.bytes()));
    parameters.not_before = for_rcgen(validity.from)?;
    parameters.not_after = for_rcgen(validity.until)?;
    Ok(parameters)
}
