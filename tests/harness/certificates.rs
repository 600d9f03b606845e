//! Certificates that `vmwire pki` would not make, signed by the authority in `pki` of a place.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::Place;

/// What is signed with, and the certificates that lead from there to the root.
pub(crate) struct Signer {
    issuer: Issuer<'static, KeyPair>,
    chain: String,
}

/// A certificate with its chain, and its key.
pub(crate) struct Owner {
    pub(crate) certificates: String,
    pub(crate) key: String,
}

/// For a client of this name, valid in our time.
pub(crate) fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(name.to_owned()));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2200, 1, 1));
    params
}

/// The same, until the end of a whole second that is so far away.
pub(crate) fn ending_in(mut params: CertificateParams, seconds: u64) -> CertificateParams {
    params.not_after = date_time_ymd(1970, 1, 1) + since_1970(seconds);
    params
}

/// From 1970 to the whole second that is so far away.
fn since_1970(seconds: u64) -> Duration {
    Duration::from_secs(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds)
}

impl Signer {
    /// The authority of a place.
    pub(crate) fn of(place: &Place) -> Self {
        let read = |name: &str| std::fs::read_to_string(place.join("pki").join(name)).unwrap();
        let key = KeyPair::from_pem(&read("ca.key")).unwrap();
        Self { issuer: Issuer::from_ca_cert_pem(&read("ca.crt"), key).unwrap(), chain: String::new() }
    }

    /// One that nobody knows.
    pub(crate) fn unknown(name: &str) -> Self {
        Self { issuer: Issuer::new(authority(name), KeyPair::generate().unwrap()), chain: String::new() }
    }

    /// One of its own, and its certificate.
    pub(crate) fn root(name: &str) -> (Self, String) {
        let (params, key) = (authority(name), KeyPair::generate().unwrap());
        let certificate = params.self_signed(&key).unwrap().pem();
        (Self { issuer: Issuer::new(params, key), chain: String::new() }, certificate)
    }

    /// One below this one.
    pub(crate) fn below(&self, name: &str) -> Self {
        self.below_with(&authority(name))
    }

    /// One below this one, for so many seconds.
    pub(crate) fn below_for(&self, name: &str, seconds: u64) -> Self {
        self.below_with(&ending_in(authority(name), seconds))
    }

    fn below_with(&self, params: &CertificateParams) -> Self {
        let (params, key) = (params.clone(), KeyPair::generate().unwrap());
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem() + &self.chain;
        Self { issuer: Issuer::new(params, key), chain }
    }

    /// The certificates that lead from here to the root.
    pub(crate) fn chain(&self) -> &str {
        &self.chain
    }

    /// A list of revoked certificates, with none on it, that is to be replaced in so many seconds.
    pub(crate) fn list_for(&self, seconds: u64) -> String {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(1970, 1, 1) + since_1970(seconds),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    pub(crate) fn issue(&self, params: &CertificateParams) -> Owner {
        let key = KeyPair::generate().unwrap();
        let certificates = params.signed_by(&key, &self.issuer).unwrap().pem() + &self.chain;
        Owner { certificates, key: key.serialize_pem() }
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.extended_key_usages.clear();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Owner {
    /// Puts it where `vmwire pki issue` would have put a client's.
    pub(crate) fn install(&self, place: &Place, name: &str) -> PathBuf {
        let dir = place.join("pki/issued").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::copy(place.join("pki/ca.crt"), dir.join("ca.crt")).unwrap();
        std::fs::write(dir.join("client.crt"), &self.certificates).unwrap();
        std::fs::write(dir.join("client.key"), &self.key).unwrap();
        std::fs::set_permissions(dir.join("client.key"), Permissions::from_mode(0o600)).unwrap();
        dir
    }
}
