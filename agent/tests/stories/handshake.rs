//! What a host may rely on that negotiates, and what one notices that does not.

use std::io::Read;

use serde_json::json;

use crate::harness::Agent;

#[test]
fn nothing_is_said_that_nobody_asked_for() {
    let agent = Agent::start();
    let mut client = agent.connect();
    agent.wait_until_asleep();
    // What might tempt an agent to say something: a capability, a program that ends, half a request.
    let ask = |client: &mut crate::harness::Client, command: &str, arguments| {
        let answer = client.ask(command, &arguments);
        assert!(answer.get("return").is_some(), "{answer}");
        answer["return"].clone()
    };
    let unasked = |client: &mut crate::harness::Client| {
        agent.wait_until_asleep();
        client.stream.set_nonblocking(true).unwrap();
        let read = client.stream.read(&mut [0; 64]);
        client.stream.set_nonblocking(false).unwrap();
        assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "it speaks unasked");
    };
    unasked(&mut client);
    ask(&mut client, "request-negotiation", json!({}));
    ask(&mut client, "qmp_capabilities", json!({"enable": ["client-disconnect"]}));
    ask(&mut client, "guest-exec", json!({"path": "true", "capture-output": true}));
    client.send("{\"execute\":");
    unasked(&mut client);
}

#[test]
fn a_number_comes_back_bare_whatever_was_agreed() {
    let agent = Agent::start();
    let mut client = agent.connect();
    for (command, arguments) in [
        ("guest-ping", json!({})),
        ("request-negotiation", json!({})),
        ("qmp_capabilities", json!({"enable": ["client-disconnect"]})),
        ("guest-set-support-level", json!({"major": 99, "minor": 99, "micro": 99})),
    ] {
        assert!(client.ask(command, &arguments).get("return").is_some());
        client.send("{\"execute\":\"guest-sync\",\"arguments\":{\"id\":7}}");
        assert_eq!(client.line(), b"{\"return\": 7}", "after {command}");
        client.send("{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":8}}");
        assert_eq!(client.line(), b"\xff{\"return\": 8}", "after {command}");
    }
}

#[test]
fn old_answers_keep_their_shape_until_a_host_wants_another() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let mut shapes = Vec::new();
    for level in [1, 99] {
        client.ask("guest-set-support-level", &json!({"major": level, "minor": 0}));
        let ping = client.ask("guest-ping", &json!({}));
        let status = client.ask("guest-fsfreeze-status", &json!({}));
        let info = client.ask("guest-info", &json!({}))["return"].clone();
        let members: Vec<String> = info.as_object().unwrap().keys().cloned().collect();
        let commands = info["supported_commands"].as_array().unwrap();
        assert!(commands.iter().all(|command| command.as_object().unwrap().len() == 3), "{commands:?}");
        assert_eq!(info["support_level"]["major"], level);
        shapes.push((ping, status, members));
    }
    // There is nothing yet that a higher level would bring.
    assert_eq!(shapes[0], shapes[1]);
    assert_eq!(shapes[0].2, ["support_level", "supported_commands", "version"]);
}
