//! What is wrong with files, in words.

use vmwire_tls::config::{
    ClientContext, ClientMaterial, HostName, KeyPair, MaterialError, Part, ServerContext, ServerMaterial,
    ServerOptions, key_mode_verdict, notice,
};
use vmwire_tls::date::Date;

use crate::certificates::{Authority, NOW, Owner, clock, server_at};

fn build(owner: &Owner, authorities: &str, lists: &[&[u8]]) -> Result<ServerContext, String> {
    let material = ServerMaterial { pair: owner.pair(), authorities: authorities.as_bytes(), revocation_lists: lists };
    ServerContext::build(&material, clock(NOW), ServerOptions::default()).map_err(|error| error.to_string())
}

#[test]
fn each_fault_has_its_words() {
    let authority = Authority::new("CA");
    let good = authority.server();
    let other = authority.server();
    let with_key = |key: &str| Owner { certificates: good.certificates.clone(), key: key.to_owned() };
    let with_certificates = |pem: &str| Owner { certificates: pem.to_owned(), key: good.key.clone() };
    let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let list = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    let rows: [(Result<ServerContext, String>, &str); 12] = [
        (
            build(&with_key(&other.key), &authority.pem, &[]),
            "the private key does not belong to the certificate: were both replaced, or only one?",
        ),
        (build(&with_key(""), &authority.pem, &[]), "holds no private key in PEM form"),
        (build(&with_key(&good.certificates), &authority.pem, &[]), "holds no private key in PEM form"),
        (
            build(&with_key(encrypted), &authority.pem, &[]),
            "holds a private key that asks for a passphrase: nobody is there to type it, so take it off with \
             \"openssl pkey\" and keep the file at mode 0600",
        ),
        (
            build(&with_key("-----BEGIN PRIVATE KEY-----\nAAAA\n"), &authority.pem, &[]),
            "is no private key in PEM form: its PEM is damaged",
        ),
        (build(&with_certificates(""), &authority.pem, &[]), "holds no certificate in PEM form"),
        (
            build(&with_certificates(broken), &authority.pem, &[]),
            "is no certificate in PEM form: a section is no base64",
        ),
        (build(&with_certificates(empty), &authority.pem, &[]), "the certificate cannot be read"),
        (build(&good, "", &[]), "holds no CA certificate in PEM form"),
        (build(&good, empty, &[]), "holds a CA certificate that cannot be used: BadEncoding"),
        (build(&good, &authority.pem, &[b"nothing"]), "holds no revocation list in PEM form"),
        (
            build(&good, &authority.pem, &[list.as_bytes()]),
            "holds a revocation list that cannot be used: TrailingData(CertRevocationList)",
        ),
    ];
    for (found, words) in rows {
        assert_eq!(found.map(|_| ()), Err(words.to_owned()));
    }
    assert!(build(&good, &authority.pem, &[]).is_ok());
}

#[test]
fn a_client_s_pair_is_looked_at_as_closely() {
    let authority = Authority::new("CA");
    let (one, other) = (authority.client(), authority.client());
    let pair = KeyPair { certificates: one.certificates.as_bytes(), key: other.key.as_bytes() };
    let material = ClientMaterial { authorities: authority.pem.as_bytes(), pair: Some(pair), revocation_lists: &[] };
    assert_eq!(ClientContext::build(&material, clock(NOW)).map(|_| ()), Err(MaterialError::Mismatch));
}

#[test]
fn a_bundle_has_a_bound() {
    let authority = Authority::new("CA");
    let bundle = authority.pem.repeat(257);
    let found = build(&authority.server(), &bundle, &[]);
    assert_eq!(found.map(|_| ()), Err("holds more than 256 times a CA certificate".to_owned()));
}

#[test]
fn what_ends_is_told_with_its_dates() {
    let authority = Authority::new("CA");
    let context = server_at(NOW, &authority.server(), &authority.pem, &[&authority.revoke(&[1], 2027)]);
    let told: Vec<String> = context.expiries().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "certificate (CN=vm1) until 2027-01-01 00:00:00 UTC",
            "CA certificate (CN=CA) until 2040-01-01 00:00:00 UTC",
            "revocation list (CN=CA) until 2027-01-01 00:00:00 UTC",
        ]
    );
    assert_eq!(context.expiries()[0].part, Part::Certificate);
    let days = context.expiries()[0].days_left(Date(1_780_272_000));
    assert_eq!((days, notice(days)), (214, None));
}

#[test]
fn a_key_that_others_can_read_is_told() {
    for mode in [0o100_600, 0o600, 0o400, 0o700] {
        assert_eq!(key_mode_verdict(mode), Ok(()));
    }
    for mode in [0o100_644, 0o640, 0o604, 0o620, 0o602, 0o660] {
        let words = key_mode_verdict(mode).unwrap_err();
        let shown = mode & 0o7777;
        assert_eq!(
            words,
            format!(
                "can be read or written by others (mode {shown:04o}): \"chmod 600\" it, and make a new key if it was"
            )
        );
    }
}

#[test]
fn hosts_are_names_or_addresses() {
    for text in ["vm1.example", "192.0.2.7", "2001:db8::7", "localhost"] {
        assert_eq!(text.parse::<HostName>().map(|host| host.to_string()), Ok(text.to_owned()));
    }
    for text in ["", "[::1]", "a b", "vm1.example:16509", "é", "a\0"] {
        assert!(text.parse::<HostName>().is_err(), "{text}");
    }
}

#[test]
fn nothing_of_a_key_is_shown() {
    let authority = Authority::new("CA");
    let owner = authority.server();
    let secret = owner.key.lines().nth(1).unwrap();
    let context = server_at(NOW, &owner, &authority.pem, &[]);
    assert!(!format!("{context:?} {:?}", owner.pair()).contains(secret));
    let damaged = Owner { key: owner.key.replace("-----END", "+++"), ..owner.clone() };
    let words = build(&damaged, &authority.pem, &[]).unwrap_err();
    assert!(!words.contains(&secret[..8]), "{words}");
}
