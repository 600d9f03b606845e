//! Certificates for these stories. All dates are around [`NOW`], which is what the clocks here say.

use std::time::{Duration, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use vmwire_tls::config::{
    ClientContext, ClientMaterial, KeyPair as PemPair, ServerContext, ServerMaterial, ServerOptions,
};
use vmwire_tls::date::Clock;

/// 2026-06-01 00:00:00 UTC.
pub(crate) const NOW: u64 = 1_780_272_000;

/// ring makes no RSA keys, so that this one was made before; nothing but these tests uses it.
const RSA_KEY: &str = include_str!("rsa.key.pem");

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Rsa,
    Ecdsa,
    Ed25519,
}

pub(crate) struct Authority {
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate with its chain, and its key.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) certificates: String,
    pub(crate) key: String,
}

/// What a certificate is to say.
pub(crate) struct Wish {
    pub(crate) kind: Kind,
    pub(crate) subject: DistinguishedName,
    pub(crate) names: Vec<SanType>,
    pub(crate) usage: ExtendedKeyUsagePurpose,
    /// Years of its first and its last new year.
    pub(crate) years: (i32, i32),
    pub(crate) serial: u64,
}

pub(crate) fn clock(seconds: u64) -> Clock {
    Clock::new(move || UNIX_EPOCH + Duration::from_secs(seconds))
}

pub(crate) fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, DnValue::Utf8String(name.to_owned()));
    subject
}

pub(crate) fn key(kind: Kind) -> KeyPair {
    let algorithm: &'static SignatureAlgorithm = match kind {
        Kind::Rsa => return KeyPair::from_pem(RSA_KEY).unwrap(),
        Kind::Ecdsa => &rcgen::PKCS_ECDSA_P256_SHA256,
        Kind::Ed25519 => &rcgen::PKCS_ED25519,
    };
    KeyPair::generate_for(algorithm).unwrap()
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    params
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::with_key(name, Kind::Ecdsa)
    }

    pub(crate) fn with_key(name: &str, kind: Kind) -> Self {
        let (params, key) = (authority_params(name), key(kind));
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// An authority below this one; `pem` is its certificate alone.
    pub(crate) fn below(&self, name: &str) -> Self {
        self.below_until(name, 2040)
    }

    pub(crate) fn below_until(&self, name: &str, year: i32) -> Self {
        let (mut params, key) = (authority_params(name), key(Kind::Ecdsa));
        params.not_after = date_time_ymd(year, 1, 1);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn issue(&self, wish: Wish) -> Owner {
        let mut params = CertificateParams::default();
        params.distinguished_name = wish.subject;
        params.subject_alt_names = wish.names;
        params.extended_key_usages = vec![wish.usage];
        params.serial_number = Some(wish.serial.into());
        params.not_before = date_time_ymd(wish.years.0, 1, 1);
        params.not_after = date_time_ymd(wish.years.1, 1, 1);
        let key = key(wish.kind);
        let certificates = params.signed_by(&key, &self.issuer).unwrap().pem();
        Owner { certificates, key: key.serialize_pem() }
    }

    pub(crate) fn server(&self) -> Owner {
        self.issue(Wish::server())
    }

    pub(crate) fn client(&self) -> Owner {
        self.issue(Wish::client())
    }

    /// A revocation list with these serial numbers, revoked on 2026-03-01, to be replaced on the first day of a year.
    pub(crate) fn revoke(&self, serials: &[u64], next_year: i32) -> String {
        self.list(serials.iter().map(|serial| SerialNumber::from(*serial)), next_year)
    }

    pub(crate) fn revoke_bytes(&self, serial: &[u8], next_year: i32) -> String {
        self.list(std::iter::once(SerialNumber::from_slice(serial)), next_year)
    }

    fn list(&self, serials: impl Iterator<Item = SerialNumber>, next_year: i32) -> String {
        let revoked_certs = serials.map(|serial_number| RevokedCertParams {
            serial_number,
            revocation_time: date_time_ymd(2026, 3, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 3, 1),
            next_update: date_time_ymd(next_year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

impl Wish {
    pub(crate) fn server() -> Self {
        let names =
            vec![SanType::DnsName("vm1.example".try_into().unwrap()), SanType::IpAddress("192.0.2.7".parse().unwrap())];
        Self { subject: subject("vm1"), names, usage: ExtendedKeyUsagePurpose::ServerAuth, ..Self::client() }
    }

    pub(crate) fn client() -> Self {
        Self {
            kind: Kind::Ecdsa,
            subject: subject("anna"),
            names: Vec::new(),
            usage: ExtendedKeyUsagePurpose::ClientAuth,
            years: (2026, 2027),
            serial: 77,
        }
    }
}

impl Owner {
    /// The same, with more certificates behind.
    pub(crate) fn followed_by(&self, more: &[&str]) -> Self {
        Self { certificates: self.certificates.clone() + &more.concat(), key: self.key.clone() }
    }

    pub(crate) fn pair(&self) -> PemPair<'_> {
        PemPair { certificates: self.certificates.as_bytes(), key: self.key.as_bytes() }
    }
}

pub(crate) fn server_at(now: u64, owner: &Owner, authorities: &str, lists: &[&str]) -> ServerContext {
    let lists: Vec<&[u8]> = lists.iter().map(|list| list.as_bytes()).collect();
    let material = ServerMaterial { pair: owner.pair(), authorities: authorities.as_bytes(), revocation_lists: &lists };
    ServerContext::build(&material, clock(now), ServerOptions { enroll: true, key_log: false }).unwrap()
}

pub(crate) fn server(owner: &Owner, authorities: &str) -> ServerContext {
    server_at(NOW, owner, authorities, &[])
}

pub(crate) fn client_at(now: u64, owner: Option<&Owner>, authorities: &str) -> ClientContext {
    let material =
        ClientMaterial { authorities: authorities.as_bytes(), pair: owner.map(Owner::pair), revocation_lists: &[] };
    ClientContext::build(&material, clock(now)).unwrap()
}

pub(crate) fn client(owner: &Owner, authorities: &str) -> ClientContext {
    client_at(NOW, Some(owner), authorities)
}
