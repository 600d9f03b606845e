//! Clients that come and go, politely or not.

use std::net::Shutdown;

use serde_json::json;

use crate::harness::{Agent, eventually};

#[test]
fn answers_what_qemu_ga_answers() {
    let agent = Agent::start();
    let mut client = agent.connect();
    client.send("\u{1}");
    let stray = json!({"error": {"class": "GenericError", "desc": "JSON parse error, stray '\u{1}'"}});
    assert_eq!(client.answer(), stray);
    client.send(b"\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":4711}}\n");
    let stray = json!({"error": {"class": "GenericError", "desc": "JSON parse error, stray '\u{fffd}'"}});
    assert_eq!(client.answer(), stray);
    assert_eq!(client.line(), b"\xff{\"return\": 4711}");
    client.send("{'execute':'guest-ping','id':[1]}{\"execute\":\"guest-sync\",\"arguments\":{\"id\":-1}}");
    assert_eq!(client.line(), br#"{"return": {}, "id": [1]}"#);
    assert_eq!(client.line(), br#"{"return": -1}"#);
}

#[test]
fn half_a_request_is_forgotten_with_its_client() {
    let agent = Agent::start();
    for half in
        [&b"{\"execute\":\"guest-ping\""[..], b"{\"execute\":\"guest-ping\",\"id\":\"abc", b"[[[[", b"{\"execute\":"]
    {
        agent.connect().send(half);
        agent.connect().ping();
    }
}

#[test]
fn a_client_that_leaves_at_any_byte_of_a_request_harms_nobody() {
    let mut agent = Agent::start();
    let request = b"\xff{\"execute\":\"guest-info\",\"id\":{\"a\":[1,\"\\u00e9\"]}}\n{\"execute\":\"guest-ping\"}\n";
    for length in 0..=request.len() {
        agent.connect().send(&request[..length]);
    }
    agent.connect().ping();
    assert!(agent.child.try_wait().unwrap().is_none());
}

#[test]
fn a_client_that_leaves_with_answers_unread_harms_nobody() {
    let mut agent = Agent::start();
    for _ in 0..20 {
        let mut client = agent.connect();
        client.send(b"{\"execute\":\"guest-info\"}\n".repeat(100));
        client.line();
    }
    let mut client = agent.connect();
    client.ping();
    assert!(agent.child.try_wait().unwrap().is_none());
}

#[test]
fn a_client_that_never_reads_keeps_neither_processor_nor_memory() {
    let mut agent = Agent::start();
    let mut client = agent.connect();
    client.stream.set_nonblocking(true).unwrap();
    let requests = b"{\"execute\":\"guest-info\"}\n".repeat(1000);
    // Until neither end takes more: the agent sleeps, and has left no room while it was awake.
    let (ticks, wakeups) = eventually("the agent takes no more", || {
        let mut took = false;
        while std::io::Write::write(&mut client.stream, &requests).is_ok() {
            took = true;
        }
        let (wakeups, ticks) = (agent.wait_until_asleep(), agent.ticks());
        (!took).then_some((ticks, wakeups))
    });
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(agent.ticks() - ticks <= 1, "it spins");
    assert!(agent.wakeups() - wakeups <= 1, "it wakes");
    assert!(agent.resident_kibibytes() < 16 << 10);
    assert!(agent.stop().success(), "a signal works meanwhile");
}

#[test]
fn a_half_close_gets_its_answers_and_the_end() {
    let agent = Agent::start();
    // Around as much as a socket holds, so that for some the end is seen while answers wait.
    for count in (20..64).step_by(4) {
        let mut client = agent.connect();
        client.send(b"{\"execute\":\"guest-info\"}\n".repeat(count));
        client.stream.shutdown(Shutdown::Write).unwrap();
        agent.wait_until_asleep();
        let rest = client.rest();
        assert_eq!(rest.iter().filter(|&&byte| byte == b'\n').count(), count);
        assert!(rest.ends_with(b"}\n"));
    }
    agent.connect().ping();
}

#[test]
fn the_second_client_is_served_when_the_first_has_left() {
    let agent = Agent::start();
    let mut first = agent.connect();
    first.ping();
    let mut second = agent.connect();
    second.send("{\"execute\":\"guest-ping\"}\n");
    first.ping();
    drop(first);
    assert_eq!(second.answer(), json!({"return": {}}));
}

#[test]
fn what_was_agreed_ends_with_the_connection() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let enable = json!({"enable": ["client-disconnect"]});
    assert_eq!(client.ask("qmp_capabilities", &enable), json!({"return": {}}));
    assert_eq!(client.ask("guest-client-disconnected", &json!({"client": 1})), json!({"return": {}}));
    drop(client);
    let answer = agent.connect().ask("guest-client-disconnected", &json!({"client": 1}));
    assert_eq!(answer["error"]["class"], "CommandNotFound");
}
