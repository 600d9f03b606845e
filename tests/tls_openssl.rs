//! The daemon's TLS in the hands of the openssl program: versions, kinds of keys, names of protocols, sessions that are
//! resumed, and certificates that our own client would not show.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use rcgen::{DnType, DnValue};
use vmwire_protocol::message::number;

use crate::harness::{Daemon, Setup, Signer, Way, eventually, packet, params, skip};

/// Whether there is such a program; says so if there is none.
fn there(test: &str) -> bool {
    let there = Command::new("openssl").arg("version").output().is_ok();
    if !there {
        skip(test, "openssl is not installed");
    }
    there
}

/// Runs openssl in a directory, which has to succeed.
#[track_caller]
fn openssl(dir: &Path, words: &str) {
    let output = Command::new("openssl").args(words.split_whitespace()).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What came of a visit.
#[derive(Debug)]
struct Visit {
    ok: bool,
    /// What it said of the handshakes, and what the daemon said.
    text: String,
    /// The PING was answered.
    answered: bool,
}

/// `openssl s_client` with the certificate of a client, that says PING in the end.
fn visit(daemon: &Daemon, client: Option<&str>, words: &str) -> Visit {
    let mut command = Command::new("openssl");
    let address = daemon.address(Way::Tls).to_string();
    command.args(["s_client", "-connect", &address, "-CAfile", "ca.crt", "-verify_return_error"]);
    command.args(["-ign_eof", "-servername", "localhost"]).args(words.split_whitespace());
    let dir = daemon.place().join("pki/issued").join(client.unwrap_or("alice"));
    if client.is_some() {
        command.args(["-cert", "client.crt", "-cert_chain", "client.crt", "-key", "client.key"]);
    }
    let streams = [Stdio::piped(), Stdio::piped(), Stdio::piped()];
    let [input, output, errors] = streams;
    let mut child = command.current_dir(dir).stdin(input).stdout(output).stderr(errors).spawn().unwrap();
    let ping = packet(1, 0, number::PING, b"");
    // What is no packet ends the conversation, so that nobody has to wait for it. Whoever is refused may be gone already.
    let _ = child.stdin.take().unwrap().write_all(&[ping.as_slice(), b"that is all"].concat());
    let output = child.wait_with_output().unwrap();
    let answer =
        [&b"\x89VMW\x00\x00\x00\x0c\x00\x00\x00\x01\x00\x00\x00\x01"[..], &number::PING.to_be_bytes()].concat();
    let answered = output.stdout.windows(answer.len()).any(|window| window == answer);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Visit { ok: output.status.success(), text, answered }
}

/// The same with the certificate of alice; answers what was said.
#[track_caller]
fn served(daemon: &Daemon, words: &str) -> String {
    let visit = visit(daemon, Some("alice"), words);
    assert!(visit.ok && visit.answered, "{words}: {visit:?}");
    visit.text
}

#[test]
fn both_versions_and_all_kinds_of_keys_are_served() {
    if !there("both_versions_and_all_kinds_of_keys_are_served") {
        return;
    }
    let rule = "[[rule]]\nidentity = \"subject:CN=key-*\"\nrole = \"observer\"\n";
    let daemon = Way::Tls.setup().config(rule).start();
    let issued = daemon.place().join("pki/issued");
    daemon.place().write("pki/issued/v3", "basicConstraints = CA:FALSE\nextendedKeyUsage = clientAuth\n");
    for (name, kind) in [
        ("key-rsa", "rsa:2048"),
        ("key-p256", "ec -pkeyopt ec_paramgen_curve:P-256"),
        ("key-p384", "ec -pkeyopt ec_paramgen_curve:P-384"),
        ("key-ed25519", "ed25519"),
    ] {
        std::fs::create_dir(issued.join(name)).unwrap();
        std::fs::copy(issued.join("alice/ca.crt"), issued.join(name).join("ca.crt")).unwrap();
        let words =
            format!("req -new -newkey {kind} -nodes -keyout {name}/client.key -subj /CN={name} -out {name}/csr");
        openssl(&issued, &words);
        openssl(
            &issued,
            &format!(
                "x509 -req -in {name}/csr -CA ../ca.crt -CAkey ../ca.key -CAcreateserial -extfile v3 -out {name}/client.crt"
            ),
        );
        for (option, version) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
            let visit = visit(&daemon, Some(name), option);
            assert!(visit.ok && visit.answered, "{name} {option}: {visit:?}");
            assert!(visit.text.contains(&format!("{version}, Cipher is ")), "{name}: {visit:?}");
            assert!(visit.text.contains("Verify return code: 0 (ok)"), "{name}: {visit:?}");
        }
    }
    for old in ["-tls1_1 -cipher ALL:@SECLEVEL=0", "-tls1 -cipher ALL:@SECLEVEL=0"] {
        let visit = visit(&daemon, Some("alice"), old);
        assert!(!visit.ok && !visit.answered && visit.text.contains("alert handshake failure"), "{visit:?}");
    }
    daemon.logs("refused: the two ends have no version of TLS or no cipher in common");
}

#[test]
fn whoever_names_no_protocol_or_ours_is_served_and_whoever_names_another_is_not() {
    if !there("whoever_names_no_protocol_or_ours_is_served_and_whoever_names_another_is_not") {
        return;
    }
    let daemon = Way::Tls.setup().start();
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(served(&daemon, version).contains("No ALPN negotiated"));
        assert!(served(&daemon, &format!("{version} -alpn vmwire")).contains("ALPN protocol: vmwire"));
        assert!(served(&daemon, &format!("{version} -alpn h2,vmwire")).contains("ALPN protocol: vmwire"));
        let visit = visit(&daemon, Some("alice"), &format!("{version} -alpn h2,http/1.1"));
        assert!(!visit.ok && !visit.answered && visit.text.contains("alert no application protocol"), "{visit:?}");
    }
    daemon.logs("refused: the client wants to speak h2, http/1.1, and only vmwire is served here");
}

#[test]
fn sessions_are_resumed_and_their_owner_is_known_as_before() {
    if !there("sessions_are_resumed_and_their_owner_is_known_as_before") {
        return;
    }
    let daemon = Way::Tls.setup().start();
    // In 1.3 the ticket comes after the handshake, and a second visit shows it.
    let dir = daemon.place().join("pki/issued/alice");
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(served(&daemon, &format!("{version} -sess_out session")).contains("New, TLSv1"));
        let text = served(&daemon, &format!("{version} -sess_in session"));
        assert!(text.contains("Reused, TLSv1"), "{version}: {text}");
        if version == "-tls1_3" {
            // Whoever overhears data that come before the end of the handshake can say them once more: none are taken.
            std::fs::write(dir.join("early"), packet(1, 0, number::PING, b"")).unwrap();
            assert!(text.contains("Max Early Data: 0"), "{text}");
            let text = served(&daemon, &format!("{version} -sess_in session -early_data early"));
            assert!(text.contains("Early data was not sent"), "{text}");
        }
        std::fs::remove_file(dir.join("session")).unwrap();
    }
    eventually("all visits are logged", || {
        (daemon.log().lines().filter(|line| line.contains("CN=alice")).count() >= 4).then_some(())
    });
}

#[test]
fn no_certificate_is_no_entry() {
    if !there("no_certificate_is_no_entry") {
        return;
    }
    let daemon = Way::Tls.setup().start();
    for version in ["-tls1_2", "-tls1_3"] {
        let visit = visit(&daemon, None, version);
        assert!(!visit.answered && visit.text.contains("alert certificate required"), "{version}: {visit:?}");
    }
    daemon.logs("refused: the client sent no certificate: it gets one with \"vmwire enroll\" or \"vmwire pki issue\"");
}

/// What becomes of a certificate with these words for its organisation.
fn odd(daemon: &Daemon, name: &str, organisation: String) -> Visit {
    let mut odd = params(name);
    odd.distinguished_name.push(DnType::OrganizationName, DnValue::Utf8String(organisation));
    Signer::of(daemon.place()).issue(&odd).install(daemon.place(), name);
    visit(daemon, Some(name), "-tls1_3")
}

#[test]
fn a_name_with_a_nul_and_one_of_64_kib_are_no_names() {
    if !there("a_name_with_a_nul_and_one_of_64_kib_are_no_names") {
        return;
    }
    let rules = "[[rule]]\nidentity = \"subject:*\"\nrole = \"admin\"\n";
    let daemon = Setup::test().networked().config(rules).start();
    for (name, organisation, log) in [
        ("nul", "Exam\0ple".to_owned(), "has the control character U+0000 in it"),
        ("long", "x".repeat(30_000), "is longer than 256 bytes"),
        ("huge", "x".repeat(65_536), "the client's certificates are longer than 64 KiB together"),
    ] {
        let visit = odd(&daemon, name, organisation);
        assert!(!visit.answered, "{name}: {visit:?}");
        let line = daemon.logs(log);
        assert!(line.contains(" refused: ") && line.len() < 600, "{line}");
    }
    served(&daemon, "-tls1_3");
}
