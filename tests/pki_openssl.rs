//! What `vmwire pki` makes, in the eyes of the openssl program, and the other way round.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Place, pki, skip};
use crate::pki::with_authority;

/// Runs openssl in the place; answers whether it succeeded, and all that it said.
fn openssl(place: &Place, words: &str) -> (bool, String) {
    let output = Command::new("openssl").args(words.split_whitespace()).current_dir(place.path()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// The same, and it has to succeed.
#[track_caller]
fn openssl_ok(place: &Place, words: &str) -> String {
    let (ok, text) = openssl(place, words);
    assert!(ok, "openssl {words}: {text}");
    text
}

/// Whether there is such a program; says so if there is none.
fn there(test: &str) -> bool {
    let there = Command::new("openssl").arg("version").output().is_ok();
    if !there {
        skip(test, "openssl is not installed");
    }
    there
}

const VERIFY: &str = "verify -x509_strict -check_ss_sig -crl_check -CAfile pki/ca.crt -CRLfile pki/crl.pem";

#[test]
fn openssl_takes_what_was_issued_for_what_it_is_for() {
    if !there("openssl_takes_what_was_issued_for_what_it_is_for") {
        return;
    }
    let place = with_authority();
    pki(&place, &["issue", "client", "alice"]).ok();
    pki(&place, &["issue", "server", "*.example.org", "--host", "fd00::7", "--to", "s"]).ok();
    openssl_ok(&place, &format!("{VERIFY} -purpose sslclient pki/issued/alice/client.crt"));
    openssl_ok(&place, &format!("{VERIFY} -purpose sslserver -verify_hostname vm1.example.org pki/server.crt"));
    openssl_ok(&place, &format!("{VERIFY} -purpose sslserver -verify_hostname vm9.example.org s/server.crt"));
    openssl_ok(&place, &format!("{VERIFY} -purpose sslserver -verify_ip fd00::7 s/server.crt"));
    let rows = [
        ("-purpose sslserver pki/issued/alice/client.crt", "unsuitable certificate purpose"),
        ("-purpose sslclient pki/server.crt", "unsuitable certificate purpose"),
        ("-verify_hostname vm2.example.org pki/server.crt", "hostname mismatch"),
        ("-verify_hostname a.b.example.org s/server.crt", "hostname mismatch"),
    ];
    for (words, why) in rows {
        let (ok, text) = openssl(&place, &format!("{VERIFY} {words}"));
        assert!(!ok && text.contains(why), "{words}: {text}");
    }
    let text = openssl_ok(&place, "x509 -noout -text -in pki/ca.crt");
    for part in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "prime256v1", "X509v3 Subject Key Identifier"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Nobody whom the authority signed for can sign for others.
    openssl_ok(
        &place,
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout m.key -subj /CN=m -out m.csr",
    );
    openssl_ok(&place, "x509 -req -in m.csr -CA pki/server.crt -CAkey pki/server.key -out m.crt");
    let (ok, text) = openssl(&place, "verify -CAfile pki/ca.crt -untrusted pki/server.crt m.crt");
    assert!(!ok && text.contains("invalid CA certificate"), "{text}");
}

#[test]
fn openssl_refuses_what_was_revoked() {
    if !there("openssl_refuses_what_was_revoked") {
        return;
    }
    let place = with_authority();
    for name in ["alice", "bob"] {
        pki(&place, &["issue", "client", name]).ok();
    }
    pki(&place, &["revoke", "pki/issued/alice/client.crt", "--reason", "key-compromise"]).ok();
    let (ok, text) = openssl(&place, &format!("{VERIFY} pki/issued/alice/client.crt"));
    assert!(!ok && text.contains("certificate revoked"), "{text}");
    openssl_ok(&place, &format!("{VERIFY} pki/issued/bob/client.crt"));
    let text = openssl_ok(&place, "crl -noout -text -CAfile pki/ca.crt -in pki/crl.pem");
    assert!(text.contains("verify OK") && text.contains("Key Compromise"), "{text}");
    let number = openssl_ok(&place, "crl -noout -crlnumber -in pki/crl.pem");
    assert!(number.trim_end().ends_with("02") || number.trim_end().ends_with("0x2"), "{number}");
    let shown = pki(&place, &["show", "pki/issued/alice/client.crt"]).json();
    assert!(shown[0]["problems"][0].as_str().unwrap().starts_with("revoked since "), "{shown}");
    // Ten years on the list is still good: a date that is forgotten locks nobody out.
    let late = "-attime 2000000000";
    let (_, text) = openssl(&place, &format!("{VERIFY} {late} pki/issued/bob/client.crt"));
    assert!(!text.contains("CRL has expired"), "{text}");
}

#[test]
fn requests_of_every_kind_of_key_are_signed_and_weak_ones_are_not() {
    if !there("requests_of_every_kind_of_key_are_signed_and_weak_ones_are_not") {
        return;
    }
    let place = with_authority();
    let kinds = [
        ("rsa:2048", Ok(())),
        ("ec -pkeyopt ec_paramgen_curve:P-256", Ok(())),
        ("ec -pkeyopt ec_paramgen_curve:P-384", Ok(())),
        ("ed25519", Ok(())),
        ("rsa:1024", Err("the key in the certificate request is not taken: RSA of 1024 bits")),
        (
            "ec -pkeyopt ec_paramgen_curve:P-521",
            Err("the key in the certificate request is not taken: 1.2.840.10045.2.1"),
        ),
        (
            "ec -pkeyopt ec_paramgen_curve:secp256k1",
            Err("the key in the certificate request is not taken: 1.2.840.10045.2.1"),
        ),
        ("ed448", Err("the key in the certificate request is not taken: 1.3.101.113")),
    ];
    for (kind, wanted) in kinds {
        let extensions = "-addext basicConstraints=critical,CA:TRUE -addext subjectAltName=DNS:evil.example";
        openssl_ok(
            &place,
            &format!("req -new -newkey {kind} -nodes -keyout k.key -subj /O=x/CN=root {extensions} -out k.csr"),
        );
        openssl_ok(&place, "req -in k.csr -outform DER -out k.der");
        for file in ["k.csr", "k.der"] {
            let ran = pki(&place, &["sign", file, "--client", "carol"]);
            match wanted {
                Err(message) => assert_eq!(ran.error(1)["message"], message, "{kind}"),
                Ok(()) => {
                    let signed: Value = ran.json();
                    assert_eq!(signed["subject"], "CN=carol");
                    place.write("k.crt", signed["certificate_pem"].as_str().unwrap());
                    openssl_ok(&place, &format!("{VERIFY} -purpose sslclient k.crt"));
                    let text = openssl_ok(&place, "x509 -noout -text -in k.crt");
                    assert!(!text.contains("evil") && !text.contains("root") && text.contains("CA:FALSE"), "{text}");
                    let keys = ["pkey -in k.key -pubout", "x509 -noout -pubkey -in k.crt"]
                        .map(|words| openssl_ok(&place, words));
                    assert_eq!(keys[0], keys[1]);
                }
            }
        }
    }
    openssl_ok(&place, "req -new -newkey rsa:2048 -sha1 -nodes -keyout k.key -subj /CN=a -out sha1.csr");
    let error = pki(&place, &["sign", "sha1.csr", "--client", "carol"]).error(1);
    assert_eq!(error["message"], "the certificate request is not signed with its own key");
}

#[test]
fn an_authority_that_openssl_made_is_as_good() {
    if !there("an_authority_that_openssl_made_is_as_good") {
        return;
    }
    for kind in ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-384", "ed25519"] {
        let place = Place::new();
        std::fs::create_dir(place.join("pki")).unwrap();
        let usage = "-addext keyUsage=critical,keyCertSign,cRLSign -subj /C=DE/O=Example/CN=Root -days 100";
        openssl_ok(&place, &format!("req -x509 -new -newkey {kind} -nodes -keyout pki/ca.key -out pki/ca.crt {usage}"));
        let issued = pki(&place, &["issue", "client", "alice"]).json();
        // Not longer than the authority itself.
        let authority = pki(&place, &["show", "pki/ca.crt"]).json();
        assert_eq!(issued["not_after_ns"], authority[0]["not_after_ns"], "{kind}");
        pki(&place, &["issue", "client", "bob"]).ok();
        pki(&place, &["revoke", "pki/issued/bob/client.crt"]).ok();
        openssl_ok(&place, &format!("{VERIFY} -purpose sslclient pki/issued/alice/client.crt"));
        let (ok, text) = openssl(&place, &format!("{VERIFY} pki/issued/bob/client.crt"));
        assert!(!ok && text.contains("certificate revoked"), "{kind}: {text}");
    }
}

#[test]
fn keys_that_are_not_taken_are_told_how_to_become_so() {
    if !there("keys_that_are_not_taken_are_told_how_to_become_so") {
        return;
    }
    let place = Place::new();
    std::fs::create_dir(place.join("pki")).unwrap();
    openssl_ok(&place, "ecparam -name prime256v1 -genkey -noout -out pki/ca.key");
    openssl_ok(&place, "req -x509 -new -key pki/ca.key -out pki/ca.crt -subj /CN=Root");
    let error = pki(&place, &["issue", "client", "alice"]).error(1);
    assert_eq!(error["message"], "the private key is of a kind or a form that is not taken");
    assert!(error["hint"].as_str().unwrap().ends_with("openssl pkcs8 -in OLD -out NEW -topk8 -nocrypt"), "{error}");
    openssl_ok(&place, "pkcs8 -in pki/ca.key -out locked.key -topk8 -passout pass:x");
    let error = pki(&place, &["issue", "client", "alice", "--ca-key", "locked.key"]).error(1);
    assert_eq!(error["message"], "the private key has a passphrase");
    openssl_ok(&place, "pkcs8 -in pki/ca.key -out new.key -topk8 -nocrypt");
    pki(&place, &["issue", "client", "alice", "--ca-key", "new.key"]).ok();
}
