//! Clients that are known by their keys, over the unix socket: added, changed, removed; kept over a restart.

use serde_json::json;
use vmwire_protocol::message::{ClientData, EnrollCall, HelloCall, ServerData, code};
use vmwire_protocol::xdr::{Fixed, List, Opaque, Secret, Text};

use crate::harness::{Daemon, Setup};

fn key(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

fn add(daemon: &Daemon, name: &str, role: &str, digit: &str) {
    daemon.ok(&["client", "add", name, "--role", role, "--key", &key(digit)]);
}

#[test]
fn clients_are_added_given_another_role_and_removed() {
    let daemon = Setup::test().start();
    let follower = daemon.begin(&["event", "follow", "--kind", "client-changed", "--count", "3"]);
    crate::harness::eventually("the follower is there", || {
        let rows = daemon.json(&["connection", "list"]);
        rows.as_array()?.iter().any(|row| row["subscribed"] == true).then_some(())
    });
    assert_eq!(daemon.json(&["client", "list"]), json!([]));
    add(&daemon, "backup", "observer", "a");
    let bob = daemon.json(&["client", "add", "bob", "--role", "operator", "--key", &key("b")]);
    assert_eq!(
        (&bob["name"], &bob["role"], &bob["state"], &bob["key"], &bob["serial"], &bob["expires_ns"]),
        (&json!("bob"), &json!("operator"), &json!("added"), &json!(key("b")), &json!(null), &json!(null))
    );
    daemon.ok(&["client", "role", "bob", "admin"]);
    let rows = daemon.json(&["client", "list"]);
    let names: Vec<_> = rows.as_array().unwrap().iter().map(|row| (&row["name"], &row["role"])).collect();
    assert_eq!(names, [(&json!("backup"), &json!("observer")), (&json!("bob"), &json!("admin"))]);
    let told = follower.wait();
    assert_eq!(told.code, 0, "{told:?}");
    for line in ["backup (observer) added", "bob (operator) added", "bob (admin) has this role from now on"] {
        assert!(told.out.contains(line), "{told:?}");
    }
    let removed = daemon.vmwire(&["client", "remove", "bob", "nobody"]);
    assert_eq!(removed.code, 8, "{removed:?}");
    assert!(removed.err.contains("there is no client of that name"), "{removed:?}");
    assert_eq!(daemon.json(&["client", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_added_is_told_with_what_stands_in_its_way() {
    let daemon = Setup::test().start();
    add(&daemon, "bob", "operator", "b");
    for (arguments, exit, words) in [
        (&["client", "add", "bob", "--role", "observer", "--key", &key("c")][..], 1, "a client of that name is known"),
        (&["client", "add", "eve", "--role", "observer", "--key", &key("b")], 1, "that key is known as bob"),
        (&["client", "add", "eve", "--role", "root", "--key", &key("c")], 2, "there are observer, operator, admin"),
        (&["client", "add", "eve", "--role", "admin", "--key", "b0b"], 2, "64 hexadecimal digits"),
        (&["client", "add", "../eve", "--role", "admin", "--key", &key("c")], 1, "that is no name for a client"),
        (&["client", "role", "eve", "admin"], 5, "there is no client of that name"),
        (&["client", "invite", "eve", "--role", "admin"], 1, "this daemon cannot make certificates"),
    ] {
        let ran = daemon.vmwire(arguments);
        assert!(ran.code == exit && ran.err.contains(words), "{arguments:?}: {ran:?}");
    }
    assert_eq!(daemon.json(&["client", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn who_is_known_is_known_after_a_restart_and_a_damaged_registry_is_left_alone() {
    let setup = Setup::qemu();
    let daemon = setup.start();
    add(&daemon, "bob", "operator", "b");
    let before = daemon.json(&["client", "list"]);
    daemon.stopped();
    let daemon = setup.start();
    assert_eq!(daemon.json(&["client", "list"]), before);
    daemon.stopped();
    let file = setup.place.join("state").join("clients.json");
    let damaged = std::fs::read_to_string(&file).unwrap().replace("operator", "root");
    std::fs::write(&file, &damaged).unwrap();
    let daemon = setup.start();
    assert_eq!(daemon.json(&["client", "list"]), json!([]), "nobody gets in by a registry that is not right");
    let refused = daemon.vmwire(&["client", "add", "eve", "--role", "admin", "--key", &key("c")]);
    assert!(refused.code == 1 && refused.err.contains("there is no role \"root\""), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), damaged);
    assert!(daemon.log().contains("no client is known by its key"), "{}", daemon.log());
}

#[test]
fn an_older_daemon_is_told_apart_from_one_that_refuses() {
    let daemon = Setup::test().argument("--newest-minor").argument("1").start();
    for arguments in [&["client", "list"][..], &["host", "certificates"], &["client", "remove", "bob"]] {
        let ran = daemon.vmwire(arguments);
        assert!(ran.code == 1 && ran.err.contains("the daemon is too old for this"), "{arguments:?}: {ran:?}");
    }
    daemon.ok(&["host", "info"]);
}

#[test]
fn without_tls_there_are_no_certificates_and_no_token_is_spent() {
    let daemon = Setup::test().start();
    assert_eq!(daemon.json(&["host", "certificates"]), json!([]));
    let ran = daemon.vmwire(&["host", "certificates"]);
    assert!(ran.code == 0 && ran.err.contains("it does not listen with TLS"), "{ran:?}");
    let mut raw = daemon.raw();
    let hello = HelloCall { major: 1, minor: 2, capabilities: List::default(), name: Text::default() };
    raw.call(&ClientData::Hello(hello));
    assert!(matches!(raw.receive(), Some((_, ServerData::Hello(_)))));
    let call = EnrollCall { secret: Secret::new(Fixed([7; 16])), name: Text::default(), request: Opaque::default() };
    let serial = raw.call(&ClientData::Enroll(call));
    assert_eq!(raw.failure(serial).code, code::DENIED);
}
