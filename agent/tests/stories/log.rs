//! What the agent writes down of what it does.

use serde_json::json;

use crate::harness::Agent;

#[test]
fn no_secret_is_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let agent = Agent::start_with(&["-v", "-l", log.to_str().unwrap()]);
    let mut client = agent.connect();
    // "secret", as it is sent and as it is.
    let (sent, meant) = ("c2VjcmV0", "secret");
    // A user that there cannot be: nobody's password is changed on the machine that tells this story.
    let arguments = json!({"username": "a:b", "password": sent, "crypted": false});
    let answer = client.ask("guest-set-user-password", &arguments);
    assert_eq!(answer["error"]["desc"], "forbidden characters in username");
    let arguments = json!({"path": "true", "input-data": sent, "env": [format!("WORD={meant}")]});
    client.ask("guest-exec", &arguments);
    client.send(format!("{{\"execute\":\"guest-set-user-password\",\"arguments\":{{\"password\":\"{sent}\"\n]"));
    let refused = client.answer();
    assert!(!refused.to_string().contains(sent), "{refused}");
    client.ping();
    drop(agent);
    let text = std::fs::read_to_string(log).unwrap();
    assert!(!text.contains(sent) && !text.contains(meant), "{text}");
}

#[test]
fn a_log_that_takes_nothing_fails_no_request() {
    let agent = Agent::start_with(&["-v", "-l", "/dev/full"]);
    let mut client = agent.connect();
    client.ping();
    client.send("garbage here\n");
    assert!(client.answer().get("error").is_some());
    client.ping();
}
