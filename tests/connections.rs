//! Connections: who is there, showing them out, and how many there may be.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;

use serde_json::json;
use vmwire_protocol::message::{ClientData, ServerData, code};

use crate::harness::{Setup, Way, by_ways, eventually};

by_ways!(by_unix Unix: without_a_descriptor_left_a_newcomer_is_told_and_others_are_served_when_one_is_free);
by_ways!(by_tcp Tcp: without_a_descriptor_left_a_newcomer_is_told_and_others_are_served_when_one_is_free);

#[test]
fn everybody_who_is_connected_is_listed() {
    let daemon = Setup::test().start();
    let mut stranger = daemon.raw();
    stranger.ping();
    let follower = daemon.begin(&["event", "follow"]);
    let rows = eventually("the follower is there", || {
        let rows = daemon.json(&["connection", "list"]);
        rows.as_array().unwrap().iter().any(|row| row["subscribed"] == true).then_some(rows)
    });
    let rows = rows.as_array().unwrap();
    let own: Vec<_> = rows.iter().filter(|row| row["own"] == true).collect();
    assert_eq!(own.len(), 1);
    assert_eq!((&own[0]["identity"], &own[0]["role"]), (&json!("uid 0"), &json!("admin")));
    assert!(own[0]["name"].as_str().unwrap().starts_with("vmwire/"), "{own:?}");
    let silent: Vec<_> = rows.iter().filter(|row| row["minor"] == 0).collect();
    assert_eq!(silent.len(), 1, "who never said HELLO is served as 1.0: {rows:?}");
    assert_eq!(rows.len(), 3);
    drop(follower);
    eventually("it is gone", || (daemon.json(&["connection", "list"]).as_array()?.len() == 2).then_some(()));
}

#[test]
fn whoever_is_kicked_is_told_why() {
    let daemon = Setup::test().start();
    let mut kicked = daemon.raw();
    kicked.ping();
    let rows = daemon.json(&["connection", "list"]);
    let id = rows.as_array().unwrap().iter().find(|row| row["own"] == false).unwrap()["id"].to_string();
    daemon.ok(&["connection", "kick", &id]);
    let failure = kicked.closing();
    assert_eq!(failure.code, code::GOING_AWAY, "{failure:?}");
    assert!(failure.message.contains("uid 0"), "{failure:?}");
    assert_eq!(daemon.vmwire(&["connection", "kick", &id, "4711"]).code, 5);
}

#[test]
fn admins_are_limited_by_descriptors_alone() {
    let daemon = Setup::test().config("connections_max = 4\n").start();
    assert_eq!(daemon.json(&["daemon", "info"])["connections_max"], 4);
    let mut others: Vec<_> = (0..8).map(|_| daemon.raw()).collect();
    for other in &mut others {
        other.ping();
    }
}

fn without_a_descriptor_left_a_newcomer_is_told_and_others_are_served_when_one_is_free(way: Way) {
    let daemon = way.setup().start_with("ulimit -n 40");
    let mut crowd: Vec<_> = (0..60).map(|_| daemon.raw_by(way)).collect();
    let (mut served, mut told) = (Vec::new(), Vec::new());
    for mut one in crowd.drain(..) {
        let serial = one.call(&ClientData::Ping);
        match one.receive() {
            Some((0, ServerData::Failure(failure))) => told.push(failure),
            answer => {
                assert_eq!(answer, Some((serial, ServerData::Ping)));
                served.push(one);
            }
        }
    }
    assert!(told.len() > 20 && served.len() > 10, "not only the first: {} told, {} served", told.len(), served.len());
    assert!(told.iter().all(|told| told.code == code::OVERLOADED && told.retry_after_ms > 0), "{told:?}");
    served.truncate(10);
    for other in &mut served {
        other.ping();
    }
    eventually("a newcomer is served", || {
        let mut newcomer = daemon.raw_by(way);
        newcomer.call(&ClientData::Ping);
        matches!(newcomer.receive(), Some((_, ServerData::Ping))).then_some(())
    });
    assert!(daemon.log().contains("no descriptor is left"), "{}", daemon.log());
}

#[test]
fn without_a_descriptor_left_a_newcomer_over_tls_is_hung_up_on_and_others_are_served_when_one_is_free() {
    let daemon = Way::Tls.setup().start_with("ulimit -n 40");
    let mut known = daemon.raw_by(Way::Tls);
    known.ping();
    // Fewer than there is room for among those who are not known yet.
    let address = daemon.address(Way::Tls);
    let mut crowd: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(address).unwrap()).collect();
    daemon.logs("no descriptor is left for another connection");
    // Nothing can be said before the handshake.
    eventually("all of them but those who had a place are hung up on", || {
        let hung_up = crowd.iter_mut().filter_map(|one| {
            one.set_nonblocking(true).unwrap();
            match one.read(&mut [0]) {
                Ok(count) => (count == 0).then_some(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                Err(error) => panic!("{error}"),
            }
        });
        (hung_up.count() > 20).then_some(())
    });
    known.ping();
    drop(crowd);
    eventually("a newcomer is served", || (daemon.vmwire_by(Way::Tls, &["ping"]).code == 0).then_some(()));
    assert!(!daemon.log().contains("sent away"), "{}", daemon.log());
}
