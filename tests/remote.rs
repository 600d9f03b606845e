//! From afar: a daemon that listens over TLS and over plain TCP, and the command line against it.

use crate::harness::{Daemon, Ran, Running, Setup, Way, eventually, pki, vmwire};

/// A daemon that listens everywhere, with an authority beside it; alice is an operator.
pub(crate) struct Remote {
    pub(crate) daemon: Daemon,
    pub(crate) tls: String,
    tcp: String,
}

impl Remote {
    pub(crate) fn start() -> Self {
        let setup = Setup::test();
        pki(&setup.place, &["init", "--name", "Example Ltd", "--server", "127.0.0.1"]).ok();
        pki(&setup.place, &["issue", "client", "alice"]).ok();
        pki(&setup.place, &["issue", "client", "mallory"]).ok();
        let rule = "[[rule]]\nidentity = \"subject:CN=alice\"\nrole = \"operator\"\n";
        let config = setup.listeners() + rule;
        let daemon = setup.config(&config).start();
        let [tls, tcp] = [Way::Tls, Way::Tcp].map(|way| daemon.address(way).to_string());
        Self { daemon, tls, tcp }
    }

    /// The URI by which somebody comes who was issued a certificate.
    fn uri(&self, name: &str) -> String {
        self.daemon.uri_as(name)
    }

    /// Runs the command line with such a URI.
    pub(crate) fn vmwire(&self, uri: &str, words: &[&str]) -> Ran {
        let mut command = vmwire();
        command.args(["-o", "json", "-c", uri]).args(words);
        command.env("SSLKEYLOGFILE", self.daemon.place().join("keys"));
        Running::start(command).end()
    }
}

#[test]
fn who_has_a_certificate_is_served_and_the_transport_is_shown() {
    let remote = Remote::start();
    let alice = remote.uri("alice");
    let version = remote.vmwire(&alice, &["version"]).json()["daemon"].clone();
    assert_eq!((&version["transport"], &version["role"]), (&"tls".into(), &"operator".into()), "{version}");
    assert!(version["tls"].as_str().unwrap().starts_with("TLSv1"), "{version}");
    assert!(version["identity"].as_str().unwrap().contains("CN=alice"), "{version}");
    let connection = remote.vmwire(&alice, &["connection", "list"]).json()[0].clone();
    assert_eq!(connection["transport"], "tls", "{connection}");
    assert_eq!(remote.vmwire(&alice, &["ping"]).json()["transport"], "tls");

    remote.daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    remote.vmwire(&alice, &["vm", "start", "web"]).json();
    assert_eq!(remote.daemon.state("web"), "running");
    assert_eq!(remote.vmwire(&alice, &["vm", "undefine", "web"]).none_done(4)["code"], "DENIED");

    // What Wireshark and tshark read: a label, the client's random bytes, a secret.
    let keys = std::fs::read_to_string(remote.daemon.place().join("keys")).unwrap();
    let labels: Vec<&str> = keys.lines().filter_map(|line| line.split(' ').next()).collect();
    for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0", "CLIENT_TRAFFIC_SECRET_0"] {
        assert!(labels.contains(&label), "{label}: {labels:?}");
    }
    let whole = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        words.len() == 3 && words[1].len() == 64 && hex(words[1]) && hex(words[2])
    };
    assert!(keys.lines().all(whole), "{keys}");
}

#[test]
fn who_has_no_right_or_the_wrong_door_is_told_so() {
    let remote = Remote::start();
    let denied = remote.vmwire(&remote.uri("mallory"), &["vm", "list"]).error(4);
    assert!(!denied["hint"].as_str().unwrap_or_default().is_empty(), "{denied}");

    // Plain where TLS is spoken, and the other way round.
    let plain = format!("test+tcp://{}/default", remote.tls);
    let refused = remote.vmwire(&plain, &["vm", "list"]).error(3);
    assert_eq!(refused["message"], "the server speaks TLS on this port", "{refused}");
    let alice = remote.uri("alice").replace(&remote.tls, &remote.tcp);
    let refused = remote.vmwire(&alice, &["vm", "list"]).error(3);
    assert!(refused["causes"][0].as_str().unwrap().contains("an unencrypted vmwire packet"), "{refused}");
    assert!(refused["hint"].as_str().unwrap().contains("qemu+tcp://"), "{refused}");

    // Whoever comes plainly may look and no more.
    let plain = format!("test+tcp://{}/default", remote.tcp);
    assert_eq!(remote.vmwire(&plain, &["version"]).json()["daemon"]["role"], "observer");
    remote.daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    assert_eq!(remote.vmwire(&plain, &["vm", "start", "web"]).none_done(4)["code"], "DENIED");
}

#[test]
fn whoever_is_refused_is_told_a_command_that_lets_them_in() {
    let remote = Remote::start();
    let mallory = remote.uri("mallory");
    let refused = remote.vmwire(&mallory, &["vm", "list"]).error(4);
    let hint = refused["hint"].as_str().unwrap();
    let (_, command) = hint.split_once(": vmwire ").unwrap_or_else(|| panic!("{refused}"));
    remote.daemon.ok(&command.replace("NAME", "mallory").split(' ').collect::<Vec<_>>());
    assert_eq!(remote.vmwire(&mallory, &["vm", "list"]).json(), serde_json::json!([]));

    // And what they may not do yet.
    let refused = remote.vmwire(&mallory, &["client", "list"]).error(4);
    assert!(refused["hint"].as_str().unwrap().contains("with vmwire client role"), "{refused}");
    remote.daemon.ok(&["client", "role", "mallory", "admin"]);
    remote.vmwire(&mallory, &["client", "list"]).json();
}

#[test]
fn who_was_revoked_is_denied() {
    let remote = Remote::start();
    let alice = remote.uri("alice");
    remote.vmwire(&alice, &["ping"]).json();
    pki(remote.daemon.place(), &["revoke", "pki/issued/alice/client.crt"]).ok();
    let refused = eventually("the list is taken up", || {
        let ran = remote.vmwire(&alice, &["ping"]);
        (ran.code != 0).then_some(ran)
    });
    let error = refused.error(4);
    // In the handshake, or when the list was taken up while one was under way.
    let words = ["your certificate was revoked", "certificate (CN=alice) was revoked"];
    assert!(words.iter().any(|words| error.to_string().contains(words)), "{error}");
}
