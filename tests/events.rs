//! Events: in order, from any point on, across a lost connection, and with every loss told.

use serde_json::Value;
use vmwire_client::connection::{Notice, Subscription};
use vmwire_client::request;
use vmwire_protocol::message::{ClientData, ServerData, SubscribeCall, VmCall};
use vmwire_protocol::xdr::{List, Text};

use crate::harness::{Daemon, Running, Setup, eventually};

fn follow(daemon: &Daemon, arguments: &[&str]) -> Running {
    daemon.begin(&[&["-o", "json", "event", "follow"], arguments].concat())
}

/// What an event says about a state, in short.
fn state(event: &Value) -> String {
    assert_eq!(event["kind"], "vm-state", "{event}");
    format!("{} {}", event["vm"]["name"].as_str().unwrap(), event["detail"]["state"].as_str().unwrap())
}

#[test]
fn events_go_on_behind_the_last_one_after_a_lost_connection() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    let cursor = &daemon.json(&["vm", "show", "web"])["cursor"];
    let since = format!("{}:{}", cursor["epoch"].as_str().unwrap(), cursor["sequence"]);
    let mut events = follow(&daemon, &["--since", &since]);
    daemon.ok(&["vm", "start", "web"]);
    let mut sequence = cursor["sequence"].as_u64().unwrap();
    let mut next = |events: &mut Running| {
        let event = events.json_line();
        sequence += 1;
        assert_eq!(event["sequence"], sequence, "none is missing and none comes twice: {event}");
        event
    };
    let kinds: Vec<Value> = (0..4).map(|_| next(&mut events)["kind"].clone()).collect();
    assert_eq!(kinds, ["operation", "vm-state", "vm-state", "operation"]);

    for round in 0..3 {
        let connections = daemon.json(&["connection", "list"]);
        let follower = connections.as_array().unwrap().iter().find(|one| one["subscribed"] == true).unwrap();
        daemon.ok(&["connection", "kick", &follower["id"].to_string()]);
        // Whether the follower is back by then or not, it misses nothing.
        daemon.ok(&["vm", "pause", "web"]);
        daemon.ok(&["vm", "resume", "web"]);
        let states: Vec<String> =
            (0..6).map(|_| next(&mut events)).filter(|event| event["kind"] == "vm-state").map(|e| state(&e)).collect();
        assert_eq!(states, ["web paused", "web running"], "round {round}");
    }
}

#[test]
fn a_follower_gets_the_machines_and_kinds_it_asked_for_and_no_more_than_it_asked_for() {
    let daemon = Setup::test().start();
    for name in ["a", "b"] {
        daemon.define(&format!("name = \"{name}\"\nmemory = \"64 MiB\"\n"));
        daemon.ok(&["vm", "start", name]);
        daemon.ok(&["vm", "stop", name]);
    }
    let events = follow(&daemon, &["--since", "0", "--vm", "b", "--kind", "vm-state", "--count", "3"]).end().ok();
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.iter().map(state).collect::<Vec<_>>(), ["b starting", "b running", "b stopped"]);
    let told = daemon.ok(&["event", "follow", "--since", "0", "--vm", "b", "--kind", "vm-state", "--count", "1"]);
    assert!(told.contains(" b vm-state: stopped -> starting (requested) [operation 5]"), "{told}");
    let told = daemon.vmwire(&["event", "follow", "--kind", "vm-stat"]).fails(2);
    assert!(told.contains("vm-state"), "{told}");
}

#[test]
fn whoever_asks_behind_an_event_of_another_daemon_gets_all_there_is_behind_a_gap() {
    let daemon = Setup::test().start();
    let unknown = format!("{}:17", "0123456789abcdef".repeat(2));
    let mut events = follow(&daemon, &["--since", &unknown, "--count", "1"]);
    let gap = events.json_line();
    assert_eq!((&gap["gap"]["first"], &gap["gap"]["last"]), (&Value::from(0), &Value::from(0)), "{gap}");
    assert_eq!(events.json_line()["kind"], "daemon-started");
    events.end();
}

#[test]
fn a_follower_outlives_the_daemon_and_is_told_of_the_gap() {
    let daemon = Setup::test().start();
    let mut events = follow(&daemon, &["--since", "0"]);
    let first = events.json_line();
    let daemon = daemon.stopped().start();
    let gap = events.json_line();
    assert!(gap["gap"].is_object(), "another daemon of the test driver remembers nothing: {gap}");
    let again = events.json_line();
    assert_eq!(again["kind"], "daemon-started");
    assert_ne!(first["epoch"], again["epoch"]);
    drop(daemon);
}

#[test]
fn a_subscriber_that_does_not_read_costs_little_and_is_told_what_it_lost() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    let mut slow = daemon.raw();
    let subscribe = SubscribeCall { after: None, vm: Text::default(), kinds: List::default() };
    let serial = slow.call(&ClientData::Subscribe(subscribe));
    let ServerData::Subscribe(first) = slow.answer(serial) else { panic!("not subscribed") };

    let mut busy = daemon.connect();
    let vm = || VmCall { vm: Text::clipped("web") };
    busy.call(request::VmStart(vmwire_protocol::message::VmStartCall { vm: vm().vm, paused: false }), None).unwrap();
    for _ in 0..1500 {
        busy.call(request::VmPause(vm()), None).unwrap();
        busy.call(request::VmResume(vm()), None).unwrap();
    }
    let last = busy.call(request::DaemonInfo, None).unwrap().events.sequence;
    assert!(last > 4096 + 3000, "{last}");

    let mut expected = first.first.sequence;
    let mut lost = 0;
    while expected <= last {
        match slow.receive().unwrap().1 {
            ServerData::Event(event) => assert_eq!(event.sequence, expected),
            ServerData::Gap(gap) => {
                assert_eq!(gap.first, expected, "the loss begins behind the last event");
                lost += gap.last - gap.first + 1;
                expected = gap.last;
            }
            other => panic!("{other:?}"),
        }
        expected += 1;
    }
    assert!(lost > 0, "it read too fast to lose anything");
    slow.ping();
}

#[test]
fn a_subscription_of_the_library_resumes_by_sequence() {
    let daemon = Setup::test().start();
    let mut connection = daemon.connect();
    connection.subscribe(Subscription::default()).unwrap();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    let mut sequences = Vec::new();
    let read = |connection: &mut vmwire_client::connection::Connection, sequences: &mut Vec<u64>, until: usize| {
        eventually("the events come", || {
            if let Some(Notice::Event(event)) = connection.next_notice(Some(crate::harness::ENOUGH)).unwrap() {
                sequences.push(event.sequence);
            }
            (sequences.len() >= until).then_some(())
        });
    };
    read(&mut connection, &mut sequences, 3);
    let connections = daemon.json(&["connection", "list"]);
    let own = connections.as_array().unwrap().iter().find(|one| one["subscribed"] == true).unwrap();
    daemon.ok(&["connection", "kick", &own["id"].to_string()]);
    daemon.ok(&["vm", "start", "web"]);
    read(&mut connection, &mut sequences, 7);
    let first = sequences[0];
    assert_eq!(sequences, (first..first + 7).collect::<Vec<_>>());
    assert_eq!(connection.call(request::Ping, None).ok(), Some(()), "it lives on the new link");
}
