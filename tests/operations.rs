//! Operations: what was asked of virtual machines, by whom, and what became of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Daemon, Running, Setup, eventually};

fn operations(daemon: &Daemon) -> Vec<Value> {
    daemon.json(&["op", "list"]).as_array().unwrap().clone()
}

/// Begins something and waits until the daemon knows of it.
fn begin(daemon: &Daemon, arguments: &[&str]) -> Running {
    let before = operations(daemon).len();
    let running = daemon.begin(&[&["-o", "json"], arguments].concat());
    eventually("the operation is known", || (operations(daemon).len() > before).then_some(()));
    running
}

#[test]
fn an_operation_can_be_listed_shown_and_waited_for_by_anybody() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nstart_ms = 6000\n");
    let start = begin(&daemon, &["vm", "start", "web"]);
    let shown = daemon.json(&["op", "show", "2"]);
    assert_eq!((&shown["procedure"], &shown["state"]), (&json!("vm-start"), &json!("running")));
    assert_eq!((&shown["identity"], &shown["ended_ns"]), (&json!("uid 0"), &json!(null)));
    assert_eq!(daemon.json(&["vm", "show", "web"])["operation"], 2);
    let ended = daemon.json(&["op", "wait", "2"]);
    assert_eq!(ended["state"], "done");
    assert!(ended["ended_ns"].as_u64().unwrap() >= ended["begun_ns"].as_u64().unwrap() + 5_900_000_000, "{ended}");
    assert_eq!(start.end().json()[0]["operation"], 2);
    let others = daemon.json(&["op", "list", "--vm", "web"]);
    assert_eq!(others.as_array().unwrap().len(), 2);
    assert_eq!(daemon.json(&["op", "list", "--vm", "other"]), json!([]));
}

#[test]
fn waiting_for_an_operation_that_fails_fails_as_it_did() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nstart_ms = 300\nstart_fails = \"out of luck\"\n");
    let start = begin(&daemon, &["vm", "start", "web"]);
    let waited = daemon.vmwire(&["op", "wait", "2"]);
    assert_eq!(waited.code, 1);
    assert!(waited.err.contains("out of luck") && waited.out.contains("failed"), "{waited:?}");
    assert_eq!(start.end().code, 1);
}

#[test]
fn eight_wait_the_ninth_is_told_who_holds_it_and_a_stop_goes_ahead() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nstart_ms = 60000\n");
    let start = begin(&daemon, &["vm", "start", "web"]);
    let waiting: Vec<Running> = (0..8).map(|_| begin(&daemon, &["vm", "pause", "web"])).collect();
    assert_eq!(daemon.json(&["vm", "show", "web"])["operations_waiting"], 8);
    let ninth = daemon.vmwire(&["-o", "json", "vm", "pause", "web"]);
    assert_eq!(ninth.code, 1, "{ninth:?}");
    let error: Value = serde_json::from_str(&ninth.err).unwrap();
    let details = &error["error"]["details"];
    assert_eq!((&error["error"]["code"], &details["holder"]), (&json!("BUSY"), &json!("uid 0")), "{error}");
    assert_eq!(details["operation"], "2", "{error}");

    daemon.ok(&["vm", "stop", "web"]);
    for (index, waited) in waiting.into_iter().enumerate() {
        let ran = waited.end();
        let error: Value = serde_json::from_str(&ran.err).unwrap();
        assert_eq!(error["error"]["code"], "CANCELLED", "{index}: {error}");
        assert_eq!(error["error"]["details"]["begun"], "no", "{index}: {error}");
    }
    assert_eq!(start.end().code, 1);
    let mut states = BTreeMap::new();
    for operation in operations(&daemon) {
        *states.entry(operation["state"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    let expected = [("done", 2), ("dropped", 8), ("failed", 1)];
    assert_eq!(states, expected.map(|(state, count)| (state.to_owned(), count)).into());
    assert_eq!(daemon.state("web"), "stopped");
}

#[test]
fn a_guest_that_does_not_hear_the_power_button_runs_on_or_is_stopped_as_was_asked() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\ndeaf = true\n");
    daemon.ok(&["vm", "start", "web"]);
    let ran = daemon.vmwire(&["vm", "shutdown", "web", "--grace", "100ms"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.err.contains("vmwire vm stop"), "{ran:?}");
    assert_eq!(daemon.state("web"), "running");
    daemon.ok(&["vm", "shutdown", "web", "--grace", "100ms", "--then", "stop"]);
    assert_eq!(daemon.state("web"), "stopped");
}

#[test]
fn operations_of_a_client_that_has_gone_are_carried_out() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nstart_ms = 8000\n");
    let clients = [begin(&daemon, &["vm", "start", "web"]), begin(&daemon, &["vm", "pause", "web"])];
    let states =
        |wanted: [&str; 2]| operations(&daemon)[1..].iter().zip(wanted).all(|(one, state)| one["state"] == state);
    assert!(states(["running", "queued"]), "{:?}", operations(&daemon));
    drop(clients);
    // The one that had begun, and the one that was waiting for it.
    daemon.wait_for("web", "paused");
    assert!(states(["done", "done"]), "{:?}", operations(&daemon));
}
