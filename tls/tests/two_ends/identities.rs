//! What a certificate says of its owner.

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use vmwire_tls::date::Date;
use vmwire_tls::identity::{AlternativeName, Fingerprint, IdentityError, NameError, PeerIdentity};

use crate::certificates::{Authority, Kind, Wish, key, subject};

fn der(wish: Wish) -> Vec<u8> {
    let owner = Authority::new("CA").issue(wish);
    CertificateDer::from_pem_slice(owner.certificates.as_bytes()).unwrap().to_vec()
}

fn of(wish: Wish) -> Result<PeerIdentity, IdentityError> {
    PeerIdentity::of(&der(wish))
}

fn subject_of(parts: &[(DnType, &str)]) -> String {
    let mut name = DistinguishedName::new();
    for (kind, value) in parts {
        name.push(kind.clone(), DnValue::Utf8String((*value).to_owned()));
    }
    of(Wish { subject: name, ..Wish::client() }).unwrap().subject
}

#[test]
fn it_says_all_that_rules_and_people_ask() {
    let names = vec![
        SanType::DnsName("*.example".try_into().unwrap()),
        SanType::IpAddress("2001:db8::7".parse().unwrap()),
        SanType::URI("spiffe://example/anna".try_into().unwrap()),
        SanType::Rfc822Name("anna@example".try_into().unwrap()),
    ];
    let der = der(Wish { names, ..Wish::client() });
    let identity = PeerIdentity::of(&der).unwrap();
    assert_eq!(identity.subject, "CN=anna");
    assert_eq!(identity.issuer, "CN=CA");
    assert_eq!(identity.serial, "4d");
    assert_eq!(identity.not_before, Date(1_767_225_600));
    assert_eq!(identity.not_after, Date(1_798_761_600));
    assert_eq!(identity.certificate, Fingerprint::of(&der));
    let names: Vec<String> = identity.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["DNS:*.example", "IP:2001:db8::7", "URI:spiffe://example/anna", "email:anna@example"]);
}

#[test]
fn a_renewal_that_keeps_the_key_keeps_its_fingerprint() {
    let key = key(Kind::Ecdsa);
    let authority = Authority::new("CA");
    let issue = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(name);
        PeerIdentity::of(params.signed_by(&key, &authority.issuer).unwrap().der()).unwrap()
    };
    let (old, new) = (issue("anna"), issue("anna the second"));
    assert_eq!(old.key, new.key);
    assert_ne!(old.certificate, new.certificate);
    // As `openssl pkey -pubout -outform der | sha256sum` has it.
    assert_eq!(old.key, Fingerprint::of(&rcgen::PublicKeyData::subject_public_key_info(&key)));
}

#[test]
fn subjects_are_written_as_rfc_4514_wants() {
    let dc = DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 25]);
    let rows: [(&[(DnType, &str)], &str); 7] = [
        (
            &[(DnType::CountryName, "CH"), (DnType::OrganizationName, "Example"), (DnType::CommonName, "anna")],
            "CN=anna,O=Example,C=CH",
        ),
        (&[(dc, "example")], "DC=example"),
        (&[(DnType::CustomDnType(vec![1, 2, 3, 4]), "x")], "1.2.3.4=x"),
        (&[(DnType::CommonName, "a,b+c\"d\\e<f>g;h=i")], "CN=a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h=i"),
        (&[(DnType::CommonName, " anna ")], "CN=\\ anna\\ "),
        (&[(DnType::CommonName, "#1")], "CN=\\#1"),
        (&[(DnType::CommonName, "Ännä")], "CN=Ännä"),
    ];
    for (parts, text) in rows {
        assert_eq!(subject_of(parts), text);
    }
}

#[test]
fn one_name_cannot_be_written_as_another() {
    let tricky = subject_of(&[(DnType::CommonName, "anna,O=Example")]);
    let honest = subject_of(&[(DnType::OrganizationName, "Example"), (DnType::CommonName, "anna")]);
    assert_eq!(tricky, "CN=anna\\,O=Example");
    assert_eq!(honest, "CN=anna,O=Example");
}

#[test]
fn names_that_are_no_plain_text_are_refused() {
    for character in ['\0', '\n', '\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2066}'] {
        let name = format!("an{character}na");
        let found = of(Wish { subject: subject(&name), ..Wish::client() });
        assert_eq!(found, Err(IdentityError::Subject(NameError::Control(character))));
    }
}

#[test]
fn a_name_is_taken_up_to_its_bound() {
    let text = "a".repeat(256 - "CN=".len());
    assert_eq!(of(Wish { subject: subject(&text), ..Wish::client() }).unwrap().subject.len(), 256);
    let longer = of(Wish { subject: subject(&(text + "a")), ..Wish::client() });
    assert_eq!(longer, Err(IdentityError::Subject(NameError::TooLong)));
}

#[test]
fn the_issuer_is_shown_escaped_and_cut() {
    let authority = Authority::new(&format!("CA\u{1b}[2J{}", "é".repeat(300)));
    let owner = authority.client();
    let der = CertificateDer::from_pem_slice(owner.certificates.as_bytes()).unwrap();
    let issuer = PeerIdentity::of(&der).unwrap().issuer;
    assert!(issuer.starts_with("CN=CA\\1B[2Jé"), "{issuer}");
    assert!(issuer.ends_with("é…") && issuer.len() <= 256, "{issuer}");
}

#[test]
fn addresses_of_odd_lengths_are_refused() {
    // subjectAltName: one iPAddress of five bytes.
    let mut params = CertificateParams::default();
    params.custom_extensions =
        vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 7, 0x87, 5, 1, 2, 3, 4, 5])];
    let der = params.self_signed(&key(Kind::Ecdsa)).unwrap().der().to_vec();
    assert_eq!(PeerIdentity::of(&der), Err(IdentityError::AlternativeName(NameError::Unreadable)));
}

#[test]
fn what_is_no_certificate_has_no_identity() {
    let der = der(Wish::client());
    for cut in 0..der.len() {
        assert_eq!(PeerIdentity::of(&der[..cut]), Err(IdentityError::Unreadable));
    }
    let trailing = [der.as_slice(), &[0]].concat();
    assert_eq!(PeerIdentity::of(&trailing), Err(IdentityError::Unreadable));
    // Any one byte changed: an identity or none, and no panic.
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 0x41;
        let _ = PeerIdentity::of(&changed);
    }
}

#[test]
fn alternative_names_show_their_kind() {
    assert_eq!(AlternativeName::Dns("vm1".to_owned()).to_string(), "DNS:vm1");
}
