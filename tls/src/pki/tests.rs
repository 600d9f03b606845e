//! The authority as a whole: what it signs, what it refuses to sign, and in which words.

use rcgen::{CertificateParams, CustomExtension, KeyPair, SanType};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::date::Date;
use crate::identity::{Fingerprint, PeerIdentity};

const NOW: Date = Date(1_795_313_706);
const DAY: i64 = 86_400;

fn authority() -> Authority {
    Authority::create("Example Ltd", NOW).unwrap().authority
}

fn alice() -> ClientName {
    "alice".parse().unwrap()
}

fn hosts(names: &[&str]) -> HostNames {
    HostNames::new(names.iter().map(|name| name.parse().unwrap())).unwrap()
}

/// One that does not belong to [`authority`].
fn stranger() -> Authority {
    Authority::create("Somebody Else", NOW).unwrap().authority
}

#[test]
fn an_authority_may_sign_certificates_and_lists_and_nothing_below_it_may() {
    let made = Authority::create("Example Ltd", NOW).unwrap();
    let (_, certificate) = X509Certificate::from_der(made.authority.der()).unwrap();
    let constraints = certificate.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = certificate.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
    assert_eq!(usage.value.flags.count_ones(), 2);
    assert!(describe::key_identifier(&certificate).is_some());
    let described = describe(made.authority.der()).unwrap();
    assert_eq!((described.purpose, described.subject.as_str()), (Purpose::Authority, "CN=Example Ltd"));
    assert_eq!(described.not_after.days_left(NOW), AUTHORITY_DAYS);
    assert_eq!(described.key, made.authority.fingerprint());
}

#[test]
fn the_key_of_an_authority_is_not_printed_with_it() {
    let made = Authority::create("Example Ltd", NOW).unwrap();
    let line = made.key_pem.lines().nth(1).unwrap();
    let printed = format!("{made:?}");
    assert!(printed.starts_with("Authority(sha256:") && !printed.contains(line), "{printed}");
}

#[test]
fn a_client_gets_what_it_is_called_by_the_authority_and_nothing_it_asked_for() {
    let key = KeyPair::generate().unwrap();
    let mut wishes = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    wishes.distinguished_name.push(rcgen::DnType::CommonName, "root");
    wishes.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    wishes.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    wishes.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0])];
    wishes.subject_alt_names.push(SanType::URI("spiffe://evil".try_into().unwrap()));
    let csr = wishes.serialize_request(&key).unwrap();

    let issued = authority().sign_client(csr.der(), &alice(), NOW).unwrap();
    let (_, certificate) = X509Certificate::from_der(&issued.der).unwrap();
    let described = describe(&issued.der).unwrap();
    assert_eq!((described.purpose, described.subject.as_str()), (Purpose::Client, "CN=alice"));
    assert_eq!((described.names.len(), described.refused), (0, None));
    assert!(!certificate.is_ca());
    assert_eq!(certificate.key_usage().unwrap().unwrap().value.flags, 1, "digitalSignature alone");
    assert_eq!(
        certificate.extensions().len(),
        5,
        "subjectKeyIdentifier, basicConstraints, keyUsage, extendedKeyUsage, authorityKeyIdentifier"
    );
    assert_eq!(issued.key, Fingerprint::of(certificate.public_key().raw));
    assert_eq!(issued.serial.to_string(), PeerIdentity::of(&issued.der).unwrap().serial);
    assert_eq!((issued.not_before, issued.not_after), (Date(NOW.0 - 300), Date(NOW.0 + 397 * DAY)));
}

#[test]
fn a_request_of_ours_is_signed() {
    let request = Request::new(&alice()).unwrap();
    let issued = authority().sign_client(&request.csr_der, &alice(), NOW).unwrap();
    assert_eq!(key_fingerprint(request.key_pem.as_bytes()), Ok(issued.key));
    assert_eq!(super::request(request.csr_pem.as_bytes()).unwrap(), request.csr_der);
    assert_eq!(super::request(&request.csr_der).unwrap(), request.csr_der);
    assert!(!format!("{request:?}").contains("PRIVATE"));
}

#[test]
fn a_server_is_called_by_all_its_names() {
    let names = hosts(&["vm1.example.org", "*.cluster.example.org", "10.0.0.7", "fd00::7"]);
    let (key, issued) = authority().issue_server(&names, NOW).unwrap();
    let described = describe(&issued.der).unwrap();
    assert_eq!((described.purpose, described.subject.as_str()), (Purpose::Server, "CN=vm1.example.org"));
    assert_eq!(described.names, ["DNS:vm1.example.org", "DNS:*.cluster.example.org", "IP:10.0.0.7", "IP:fd00::7"]);
    assert_eq!(key_fingerprint(key.as_bytes()), Ok(issued.key));
    let long = format!("{}.example.org", "x".repeat(63));
    let (_, issued) = authority().issue_server(&hosts(&[&long]), NOW).unwrap();
    assert_eq!(describe(&issued.der).unwrap().subject, "no name");
}

#[test]
fn an_authority_is_taken_up_again_from_its_files() {
    let made = Authority::create("Büro 7, Amt", NOW).unwrap();
    let again = Authority::from_pem(made.authority.pem().as_bytes(), made.key_pem.as_bytes()).unwrap();
    assert_eq!(again.fingerprint(), made.authority.fingerprint());
    let (_, issued) = again.issue_client(&alice(), NOW).unwrap();
    assert!(check_signature(&issued.der, made.authority.der()).is_ok());
    assert_eq!(issued.pem.matches("BEGIN CERTIFICATE").count(), 1);
}

#[test]
fn an_authority_that_is_none_is_refused() {
    let made = Authority::create("Example Ltd", NOW).unwrap();
    let (ca, key) = (made.authority.pem(), made.key_pem);
    let (client_key, client) = made.authority.issue_client(&alice(), NOW).unwrap();
    let other = Authority::create("Example Ltd", NOW).unwrap().key_pem;
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let sec1 = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let rows = [
        ("", key.as_str(), "there is no certificate in it"),
        (&key, &key, "there is no certificate in it"),
        (broken, &key, "the certificate cannot be read"),
        (&ca, "", "there is no private key in it"),
        (&ca, &ca, "there is no private key in it"),
        (&ca, encrypted, "the private key has a passphrase"),
        (&ca, sec1, "the private key is of a kind or a form that is not taken"),
        (&ca, &other, "the private key does not belong to the certificate"),
        (&client.pem, &client_key, "the certificate of CN=alice is not that of an authority"),
    ];
    for (certificate, key, words) in rows {
        let error = Authority::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), words);
        assert!(!error.hint().is_empty(), "{words}");
    }
}

#[test]
fn a_request_that_proves_nothing_is_refused() {
    let good = Request::new(&alice()).unwrap().csr_der;
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut renamed = good.clone();
    let at = renamed.windows(5).position(|window| window == b"alice").unwrap();
    renamed[at] = b'b';
    let mut longer = good.clone();
    longer.push(0);
    let rows: [(&[u8], &str); 6] = [
        (&[], "the certificate request cannot be read"),
        (&good[..good.len() - 1], "the certificate request cannot be read"),
        (&longer, "the certificate request cannot be read"),
        (&flipped, "the certificate request is not signed with its own key"),
        (&renamed, "the certificate request is not signed with its own key"),
        (&[0x30; CSR_BYTES_MAX + 1], "the certificate request has 8193 bytes: at most 8192 are taken"),
    ];
    for (csr, words) in rows {
        let error = authority().sign_client(csr, &alice(), NOW).unwrap_err();
        assert_eq!(error.to_string(), words);
        assert!(!error.hint().is_empty(), "{words}");
    }
}

#[test]
fn no_cut_request_is_signed_and_a_changed_one_never_for_another_key() {
    let (authority, request) = (authority(), Request::new(&alice()).unwrap());
    let (good, key) = (request.csr_der, key_fingerprint(request.key_pem.as_bytes()).unwrap());
    for at in 0..good.len() {
        assert!(authority.sign_client(&good[..at], &alice(), NOW).is_err(), "{at}");
        let mut changed = good.clone();
        changed[at] ^= 0x55;
        // The tag of the name of the algorithm is not covered by the signature, and x509-parser is not strict about it.
        if let Ok(issued) = authority.sign_client(&changed, &alice(), NOW) {
            assert_eq!(issued.key, key, "{at}");
        }
    }
}

#[test]
fn nothing_outlives_the_authority_or_is_signed_after_it() {
    let authority = authority();
    let end = authority.not_after();
    let (_, late) = authority.issue_client(&alice(), Date(end.0 - DAY)).unwrap();
    assert_eq!(late.not_after, end);
    assert_eq!(
        authority.issue_client(&alice(), end).unwrap_err().to_string(),
        "the authority has expired on 2036-11-22 02:15:06 UTC; this machine's clock says 2036-11-22 02:15:06 UTC"
    );
    assert_eq!(
        authority.issue_client(&alice(), Date(NOW.0 - DAY)).unwrap_err().to_string(),
        "the authority is valid from 2026-11-22 02:10:06 UTC; this machine's clock says 2026-11-21 02:15:06 UTC"
    );
    assert_eq!(
        Authority::create("x", Date(5)).unwrap_err().to_string(),
        "this machine's clock says 1970-01-01 00:00:05 UTC, which cannot be"
    );
}

#[test]
fn a_renewal_says_the_same_for_the_same_key_or_a_new_one() {
    let authority = authority();
    let (_, old) = authority.issue_server(&hosts(&["vm1", "::1"]), NOW).unwrap();
    let later = Date(NOW.0 + 300 * DAY);
    let new = authority.renew(&old.der, later).unwrap();
    assert_eq!((new.key, new.not_after), (old.key, Date(later.0 + 397 * DAY)));
    assert_ne!(new.serial, old.serial);
    assert_eq!(describe(&new.der).unwrap().names, ["DNS:vm1", "IP:::1"]);
    let (key, rekeyed) = authority.renew_with_new_key(&new.der, later).unwrap();
    assert_eq!(key_fingerprint(key.as_bytes()), Ok(rekeyed.key));
    assert_ne!(rekeyed.key, old.key);
    assert_eq!(describe(&rekeyed.der).unwrap().names, ["DNS:vm1", "IP:::1"]);

    let (_, client) = authority.issue_client(&alice(), NOW).unwrap();
    assert_eq!(describe(&authority.renew(&client.der, later).unwrap().der).unwrap().subject, "CN=alice");
    assert_eq!(authority.renew(authority.der(), later), Err(PkiError::NoPurpose));
    let error = stranger().renew(&client.der, later).unwrap_err();
    assert_eq!(error.to_string(), "the certificate was not signed by this authority, but by CN=Example Ltd");
}

#[test]
fn what_is_revoked_is_listed_with_its_date_and_reason() {
    let authority = authority();
    let (_, client) = authority.issue_client(&alice(), NOW).unwrap();
    let first = authority.sign_revocations(&RevocationList::default(), &[], NOW).unwrap();
    let empty = RevocationList::read(first.as_bytes(), authority.der()).unwrap();
    assert_eq!(empty, RevocationList { number: 1, revoked: Vec::new() });

    let since = Date(NOW.0 + DAY);
    let serial = client.serial.clone();
    let more: Vec<Revoked> = Reason::ALL
        .iter()
        .enumerate()
        .map(|(index, &(reason, _))| {
            let serial = if index == 0 { serial.clone() } else { Serial::random().unwrap() };
            Revoked { serial, since, reason }
        })
        .collect();
    let second = authority.sign_revocations(&empty, &more, since).unwrap();
    let read = RevocationList::read(second.as_bytes(), authority.der()).unwrap();
    assert_eq!(read, RevocationList { number: 2, revoked: more.clone() });

    let error = authority.sign_revocations(&read, &more[..1], since).unwrap_err();
    assert_eq!(error.to_string(), format!("the certificate {serial} is revoked since 2026-11-23 02:15:06 UTC"));
}

#[test]
fn a_list_is_valid_for_as_long_as_its_authority() {
    let authority = authority();
    let pem = authority.sign_revocations(&RevocationList::default(), &[], NOW).unwrap();
    let der = pem::revocation_list(pem.as_bytes()).unwrap();
    let (_, list) = x509_parser::revocation_list::CertificateRevocationList::from_der(&der).unwrap();
    assert_eq!(list.next_update().map(|date| Date(date.timestamp())), Some(authority.not_after()));
    assert_eq!(Date(list.last_update().timestamp()), Date(NOW.0 - SKEW_SECONDS));
    assert!(authority.sign_revocations(&RevocationList::default(), &[], authority.not_after()).is_err());
}

#[test]
fn a_list_of_somebody_else_is_not_gone_on_with() {
    // The name is the same, the key is not.
    let (ours, theirs) = (authority(), authority());
    let list = theirs.sign_revocations(&RevocationList::default(), &[], NOW).unwrap();
    assert_eq!(RevocationList::read(list.as_bytes(), ours.der()), Err(PkiError::UnreadableRevocationList));
    assert_eq!(RevocationList::read(b"", ours.der()), Err(PkiError::NoRevocationList));
    assert_eq!(RevocationList::read(ours.pem().as_bytes(), ours.der()), Err(PkiError::NoRevocationList));
}

#[test]
fn reasons_are_said_in_words() {
    for (reason, word) in Reason::ALL {
        assert_eq!((word.parse(), reason.word()), (Ok(reason), word));
    }
    assert_eq!("boredom".parse::<Reason>(), Err(PkiError::UnknownReason("boredom".to_owned())));
}

#[test]
fn a_certificate_with_a_nul_in_its_name_is_described_and_called_refused() {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "vm1.example.org\0.evil.example");
    let described = describe(parameters.self_signed(&key).unwrap().der()).unwrap();
    assert_eq!(described.subject, "CN=vm1.example.org\\00.evil.example");
    assert_eq!(described.refused.unwrap(), "the certificate's subject has the control character U+0000 in it");
    assert_eq!(describe(b""), Err(PkiError::UnreadableCertificate));
}
