//! What nobody in his senses sends, or only somebody who leaves: too much, too deep, too slowly, not to its end.

use std::io::Read;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Agent, Client};

const MEBIBYTE: usize = 1 << 20;
/// An agent that keeps nothing of a giant holds less.
const RESIDENT_KIBIBYTES_MAX: u64 = 16 << 10;

/// Sends something that goes beyond a bound, and sees it refused once, and forgotten.
fn refused(send: impl FnOnce(&mut Client), error: &str) {
    let agent = Agent::start();
    let mut client = agent.connect();
    send(&mut client);
    assert_eq!(client.answer(), json!({"error": {"class": "GenericError", "desc": error}}));
    // Nothing else was said of it.
    client.ping();
    agent.wait_until_asleep();
    let held = agent.resident_kibibytes();
    assert!(held < RESIDENT_KIBIBYTES_MAX, "{held} KiB are held");
}

#[test]
fn a_token_is_64_mebibytes_at_most() {
    let long_token = |client: &mut Client| {
        client.send("{\"execute\":\"");
        for _ in 0..65 {
            client.send(vec![b'x'; MEBIBYTE]);
        }
        client.send("\"}\n");
    };
    refused(long_token, "JSON token size limit exceeded");
}

#[test]
fn all_tokens_together_are_64_mebibytes_at_most() {
    let long_message = |client: &mut Client| {
        client.send("{\"execute\":\"guest-ping\",\"id\":[");
        let word = format!("\"{}\",", "x".repeat(MEBIBYTE));
        for _ in 0..65 {
            client.send(&word);
        }
        client.send("0]}\n");
    };
    refused(long_message, "JSON token size limit exceeded");
}

#[test]
fn a_message_has_2_to_the_21_tokens_at_most() {
    let many_tokens = |client: &mut Client| {
        client.send("{\"execute\":\"guest-ping\",\"id\":[");
        for _ in 0..1 << 10 {
            client.send("1,".repeat(1 << 10));
        }
        client.send("1]}\n");
    };
    refused(many_tokens, "JSON token count limit exceeded");
}

#[test]
fn what_a_million_small_values_took_is_given_back() {
    let many_values = |client: &mut Client| {
        client.send("{\"execute\":\"guest-ping\",\"arguments\":{\"surplus\":[");
        for _ in 0..900 {
            client.send("\"a word\",".repeat(1000));
        }
        client.send("1]}}\n");
    };
    refused(many_values, "Parameter 'surplus' is unexpected");
}

#[test]
fn brackets_go_1024_deep_at_most() {
    refused(|client| client.send("[".repeat(1025) + &"]".repeat(1025) + "\n"), "JSON nesting depth limit exceeded");
    // Never closed, it is over with the line of the next request.
    refused(|client| client.send("[".repeat(100_000) + "\n"), "JSON nesting depth limit exceeded");
    let agent = Agent::start();
    let mut client = agent.connect();
    client.send("{\"execute\":\"guest-ping\",\"id\":".to_owned() + &"[".repeat(1023) + &"]".repeat(1023) + "}\n");
    assert!(client.line().starts_with(b"{\"return\": {}, \"id\": [["));
}

#[test]
fn what_is_just_small_enough_is_taken() {
    let agent = Agent::start();
    let mut client = agent.connect();
    client.send("{\"execute\":\"");
    for _ in 0..63 {
        client.send(vec![b'x'; MEBIBYTE]);
    }
    client.send("\"}\n");
    let answer = client.answer();
    assert_eq!(answer["error"]["class"], "CommandNotFound");
    assert!(answer["error"]["desc"].as_str().unwrap().len() < 1024, "it is not sent back");
    assert!(agent.resident_kibibytes() < RESIDENT_KIBIBYTES_MAX);
}

#[test]
fn a_port_that_is_opened_and_closed_10_000_times_is_still_one() {
    let mut agent = Agent::start();
    agent.connect().ping();
    agent.wait_until_asleep();
    let (descriptors, held) = (agent.descriptors(), agent.resident_kibibytes());
    let request = b"{\"execute\":\"guest-info\",\"id\":\"abc\"}\n";
    for number in 0..10_000 {
        agent.connect().send(&request[..number % (request.len() + 1)]);
    }
    agent.connect().ping();
    agent.wait_until_asleep();
    assert_eq!(agent.descriptors(), descriptors);
    assert!(agent.resident_kibibytes() < held + 256, "{held} KiB became {}", agent.resident_kibibytes());
    assert!(agent.child.try_wait().unwrap().is_none());
}

#[test]
fn a_client_that_leaves_at_any_byte_of_an_answer_harms_nobody() {
    let mut agent = Agent::start();
    let mut client = agent.connect();
    let whole = client.ask("guest-info", &json!({})).to_string().len();
    drop(client);
    for length in 0..whole {
        let mut client = agent.connect();
        client.send("{\"execute\":\"guest-info\"}\n");
        client.stream.read_exact(&mut vec![0; length]).unwrap();
    }
    agent.connect().ping();
    assert!(agent.child.try_wait().unwrap().is_none());
}

#[test]
fn bytes_one_by_one_make_a_request() {
    let agent = Agent::start();
    let mut client = agent.connect();
    for byte in b"{\"execute\":\"guest-sync\",\"arguments\":{\"id\":7}}" {
        client.send([*byte]);
    }
    assert_eq!(client.answer(), json!({"return": 7}));
}

#[test]
fn a_byte_a_second_makes_a_request_and_wakes_the_agent_once_each() {
    let agent = Agent::start();
    let mut client = agent.connect();
    client.ping();
    let (ticks, wakeups) = (agent.ticks(), agent.wait_until_asleep());
    let request = b"{'execute':'guest-ping'}";
    for byte in request {
        client.send([*byte]);
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(client.answer(), json!({"return": {}}));
    let woken = agent.wakeups() - wakeups;
    assert!(woken <= 2 * u64::try_from(request.len()).unwrap(), "woken {woken} times");
    assert!(agent.ticks() - ticks <= 5, "it took {} ticks", agent.ticks() - ticks);
}
