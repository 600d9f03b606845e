//! Who is not let in over TLS: what they are told, and what the daemon's log says, word for word.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{DnType, DnValue, ExtendedKeyUsagePurpose, date_time_ymd};
use serde_json::Value;

use crate::harness::{Daemon, Running, Signer, Way, params, pki};

/// What a client with the files of a directory is told.
fn told(daemon: &Daemon, name: &str, exit: i32) -> Value {
    daemon.vmwire_as(name, &["vm", "list"]).error(exit)
}

/// The daemon does not let it in, and says so to it and to itself.
#[track_caller]
fn denied(daemon: &Daemon, name: &str, client: &str, log: &str) {
    let error = told(daemon, name, 4);
    let address = daemon.address(Way::Tls);
    assert_eq!(error["code"], "DENIED", "{error}");
    assert_eq!(error["message"], format!("{address} does not let this client in"), "{error}");
    assert_eq!(error["causes"], serde_json::json!([format!("the server refused: {client}")]), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("vmwire enroll"), "{error}");
    let line = daemon.logs(&format!("refused: {log}"));
    assert!(line.contains("tls 127.0.0.1:"), "{line}");
    daemon.vmwire_by(Way::Tls, &["ping"]).ok();
}

const UNKNOWN_CA: &str =
    "it does not trust the authority that issued your certificate (alert unknown ca): is it the CA of this daemon?";
const BAD_DATES: &str = "your certificate has expired or is not valid yet by its clock (alert certificate expired): compare its dates with both clocks";
const ASK_ITS_LOG: &str = "your certificate is not taken (alert certificate unknown): its own log says why";

#[test]
fn whom_the_authority_does_not_stand_for_is_told_why() {
    let daemon = Way::Tls.setup().start();
    let (place, signer) = (daemon.place(), Signer::of(daemon.place()));
    Signer::unknown("another CA").issue(&params("mallory")).install(place, "other");
    denied(
        &daemon,
        "other",
        UNKNOWN_CA,
        "the client's certificate (CN=mallory) was issued by an authority that is not trusted here (CN=another CA): \
         compare with \"vmwire pki show\" of the CA certificate",
    );

    let mut expired = params("expired");
    (expired.not_before, expired.not_after) = (date_time_ymd(2024, 1, 1), date_time_ymd(2025, 1, 1));
    signer.issue(&expired).install(place, "expired");
    let log = "the client's certificate (CN=expired) expired on 2025-01-01 00:00:00 UTC, and this clock says 2";
    denied(&daemon, "expired", BAD_DATES, log);

    let mut early = params("early");
    early.not_before = date_time_ymd(2100, 1, 1);
    signer.issue(&early).install(place, "early");
    let log = "the client's certificate (CN=early) is valid from 2100-01-01 00:00:00 UTC on, and this clock says 2";
    denied(&daemon, "early", BAD_DATES, log);

    let mut server = params("vm1");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    signer.issue(&server).install(place, "server");
    denied(
        &daemon,
        "server",
        "your certificate was not issued for this use (alert unsupported certificate)",
        "the client's certificate (CN=vm1) was not issued for a client: it needs a client's one",
    );
}

#[test]
fn a_revoked_certificate_is_of_no_use_any_more() {
    let setup = Way::Tls.setup();
    pki(&setup.place, &["issue", "client", "bob"]).ok();
    pki(&setup.place, &["revoke", "pki/issued/bob/client.crt"]).ok();
    let daemon = setup.start();
    denied(
        &daemon,
        "bob",
        "your certificate was revoked (alert certificate revoked): get a new one, with a new key",
        "the client's certificate (CN=bob) was revoked on 2",
    );
}

#[test]
fn odd_certificates_of_our_own_authority_are_refused() {
    let daemon = Way::Tls.setup().start();
    let (place, signer) = (daemon.place(), Signer::of(daemon.place()));
    let named = |name: &str, value: String| {
        let mut odd = params(name);
        odd.distinguished_name.push(DnType::OrganizationName, DnValue::Utf8String(value));
        signer.issue(&odd).install(place, name);
        told(&daemon, name, 3)
    };
    // Our own client does not even show these; what the daemon makes of them is told in `tls_openssl`.
    for (name, value, words) in [
        ("nul", "Exam\0ple".to_owned(), "has the control character U+0000 in it"),
        ("long", "x".repeat(65_536), "is longer than 256 bytes"),
    ] {
        let error = named(name, value);
        assert_eq!(error["code"], "NO_CREDENTIALS", "{error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }

    let mut deep = signer.below("0");
    for depth in 1..12 {
        deep = deep.below(&depth.to_string());
    }
    deep.issue(&params("deep")).install(place, "deep");
    let log = "the client's certificate chain is longer than is followed: at most 4 authorities";
    denied(&daemon, "deep", ASK_ITS_LOG, log);
}

#[test]
fn a_certificate_that_is_right_and_known_to_no_rule_opens_no_door() {
    let setup = Way::Tls.setup();
    pki(&setup.place, &["issue", "client", "carol"]).ok();
    let daemon = setup.start();
    let error = told(&daemon, "carol", 4);
    let shown = pki(daemon.place(), &["show", "pki/issued/carol/client.crt"]).json();
    let key = shown[0]["key"].as_str().unwrap();
    let message = format!("the key {key} has no right to connect");
    assert_eq!((&error["code"], &error["message"]), (&"DENIED".into(), &message.as_str().into()), "{error}");
    let hint = format!("vmwire client add NAME --role operator --key {key}");
    assert!(error["hint"].as_str().unwrap().ends_with(&hint), "{error}");
    daemon.logs(&format!("refused: {message}"));
}

#[test]
fn a_daemon_that_is_not_the_one_that_is_meant_is_not_spoken_to() {
    let setup = Way::Tls.setup();
    pki(&setup.place, &["issue", "server", "localhost", "--host", "vm1.example.org", "--to", "only"]).ok();
    for name in ["server.crt", "server.key"] {
        std::fs::copy(setup.place.join("only").join(name), setup.place.join("pki").join(name)).unwrap();
    }
    let daemon = setup.start();
    let place = daemon.place();

    // Its certificate is for another name.
    let port = daemon.address(Way::Tls).port();
    let files = place.join("pki/issued/alice");
    let at = |host: &str, files: &Path| {
        let uri = format!("test+tls://{host}:{port}/default?pkipath={}", files.display());
        daemon.begin_at(&uri, &["-o", "json", "ping"]).end()
    };
    at("localhost", &files).ok();
    let error = at("127.0.0.1", &files).error(3);
    assert_eq!(error["message"], format!("no TLS with 127.0.0.1:{port}"));
    let wanted = "the server's certificate is not for 127.0.0.1, but for DNS:localhost, DNS:vm1.example.org: connect to a name it \
                  is for, or have it issued for this one";
    assert_eq!(error["causes"], serde_json::json!([wanted]));
    assert!(error["hint"].as_str().unwrap().starts_with("for example -c qemu+tls://localhost:"), "{error}");

    // It is of another authority.
    let other = crate::pki::with_authority();
    pki(&other, &["issue", "client", "alice"]).ok();
    let error = at("localhost", &other.join("pki/issued/alice")).error(3);
    let cause = error["causes"][0].as_str().unwrap();
    assert!(cause.contains("is not signed with the key of the authority trusted here"), "{error}");
    daemon.logs("refused: the client refused: ");
}

#[test]
fn a_client_says_which_of_its_files_is_missing_broken_or_open_to_others() {
    let daemon = Way::Tls.setup().start();
    let files = daemon.place().join("pki/issued/alice");
    let run = || daemon.vmwire_as("alice", &["ping"]);
    let broken = |name: &str, content: &str, blamed: &str, words: &str| {
        let kept = std::fs::read(files.join(name)).unwrap();
        std::fs::write(files.join(name), content).unwrap();
        let error = run().error(3);
        assert_eq!(error["message"], format!("{}{words}", files.join(blamed).display()), "{error}");
        std::fs::write(files.join(name), kept).unwrap();
    };
    let other = crate::pki::with_authority();
    pki(&other, &["issue", "client", "alice"]).ok();
    let key = std::fs::read_to_string(other.join("pki/issued/alice/client.key")).unwrap();
    broken("ca.crt", "garbage", "ca.crt", " holds no CA certificate in PEM form");
    broken(
        "client.crt",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "client.crt",
        ": the certificate cannot be read",
    );
    broken(
        "client.key",
        &key,
        "client.crt",
        ": the private key does not belong to the certificate: were both replaced, or only one?",
    );

    std::fs::set_permissions(files.join("client.key"), Permissions::from_mode(0o644)).unwrap();
    let error = run().error(3);
    let words = "can be read or written by others (mode 0644): \"chmod 600\" it, and make a new key if it was";
    assert_eq!(error["message"], format!("{} {words}", files.join("client.key").display()), "{error}");
    assert_eq!(error["hint"], "a key that others have read is no proof of anything any more", "{error}");
    std::fs::set_permissions(files.join("client.key"), Permissions::from_mode(0o600)).unwrap();
    run().ok();
    std::fs::remove_file(files.join("client.crt")).unwrap();
    let error = run().error(3);
    assert_eq!(error["message"], format!("there is no certificate at {}", files.join("client.crt").display()));
    assert!(error["hint"].as_str().unwrap().contains("vmwire enroll"), "{error}");
}

/// Starts a daemon that has to give up; answers what it said.
fn fails(setup: &crate::harness::Setup) -> String {
    Running::start(setup.command()).end().fails(1)
}

#[test]
fn a_daemon_with_files_that_are_of_no_use_does_not_start() {
    let setup = Way::Tls.setup();
    let file = |name: &str| setup.place.join("pki").join(name);
    let broken = |name: &str, content: Option<&str>, words: &[&str]| {
        let kept = std::fs::read(file(name)).unwrap();
        match content {
            Some(content) => std::fs::write(file(name), content).unwrap(),
            None => std::fs::remove_file(file(name)).unwrap(),
        }
        let told = fails(&setup);
        for words in words {
            assert!(told.contains(words), "{name}: {words:?} is not in {told}");
        }
        assert!(told.contains(file(name).to_str().unwrap()), "{told}");
        std::fs::write(file(name), kept).unwrap();
    };
    let other = crate::pki::with_authority();
    let others = std::fs::read_to_string(other.join("pki/server.key")).unwrap();
    broken("ca.crt", None, &["no TLS: ", "`vmwire pki init --server NAME` makes what is needed"]);
    broken("ca.crt", Some("garbage"), &["no TLS: "]);
    broken("server.crt", Some("-----BEGIN CERTIFICATE-----\n!!!\n"), &["no TLS: "]);
    broken("server.key", Some(""), &["no TLS: "]);
    broken("server.key", Some(&others), &["no TLS: the private key does not belong to the certificate"]);
    broken("crl.pem", Some("garbage"), &["no TLS: "]);
    for mode in [0o644, 0o640, 0o604] {
        std::fs::set_permissions(file("server.key"), Permissions::from_mode(mode)).unwrap();
        let told = fails(&setup);
        let words = "can be read or written by others";
        let words = format!(
            "{}: {words} (mode {mode:04o}): \"chmod 600\" it, and make a new key if it was",
            file("server.key").display()
        );
        assert!(told.contains(&words), "{words:?} is not in {told}");
        assert!(!told.contains("pki init"), "nothing is missing: {told}");
    }
    std::fs::set_permissions(file("server.key"), Permissions::from_mode(0o600)).unwrap();
    setup.start().vmwire_by(Way::Tls, &["ping"]).ok();
}
