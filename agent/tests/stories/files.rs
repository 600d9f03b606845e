//! Files by handle, held by a child of the agent, which may hang without it. Only files of the story's own directory are touched.

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Agent, Client, eventually};

/// An agent that waits for nothing longer than some seconds, and who holds the files it has open.
fn impatient() -> Agent {
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("impatient.conf");
    std::fs::write(&configuration, "[general]\nrequest-deadline=5\n").unwrap();
    Agent::start_with(&["-c", configuration.to_str().unwrap()])
}

fn open(agent: &Agent, client: &mut Client, name: &str, mode: &str) -> Value {
    let path = agent.directory.path().join(name);
    client.ask("guest-file-open", &json!({"path": path, "mode": mode}))["return"].clone()
}

fn error(answer: &Value) -> &str {
    answer["error"]["desc"].as_str().unwrap()
}

#[test]
fn what_is_written_is_read_by_another_handle_however_long_it_is() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let data: Vec<u8> = (0..3_000_000_u32).map(|place| place.to_le_bytes()[1]).collect();
    let text = vmwire_agent::base64::encode(&data);
    let writer = open(&agent, &mut client, "file", "w");
    let written = client.ask("guest-file-write", &json!({"handle": writer, "buf-b64": text}));
    assert_eq!(written["return"]["count"], 3_000_000);
    let reader = open(&agent, &mut client, "file", "r");
    let read = client.ask("guest-file-read", &json!({"handle": reader, "count": 48 << 20}));
    assert_eq!(read["return"]["count"], 3_000_000);
    assert_eq!(read["return"]["eof"], true);
    assert!(read["return"]["buf-b64"] == text);
    assert_eq!(agent.children().len(), 1, "one holds them all");
    for handle in [writer, reader] {
        assert_eq!(client.ask("guest-file-close", &json!({"handle": handle})), json!({"return": {}}));
    }
    eventually("nobody holds nothing", || agent.children().is_empty().then_some(()));
}

#[test]
fn a_file_that_hangs_is_given_up_with_all_that_are_open_and_nothing_else() {
    let mut agent = impatient();
    let mut client = agent.connect();
    let (one, other) = (open(&agent, &mut client, "one", "w"), open(&agent, &mut client, "other", "w"));
    let holder = agent.children()[0];
    kill_process(holder, Signal::STOP).unwrap();
    // More than a socket holds: the agent waits to write, too.
    let text = vmwire_agent::base64::encode(&vec![b'x'; 4 << 20]);
    for arguments in [json!({"handle": one, "buf-b64": text}), json!({"handle": one, "buf-b64": "eA=="})] {
        let answer = client.ask("guest-file-write", &arguments);
        if arguments["buf-b64"] == text {
            assert!(error(&answer).contains("took too long; all handles are closed"), "{answer}");
        } else {
            assert_eq!(error(&answer), format!("handle '{one}' has not been found"));
        }
    }
    client.ping();
    assert_eq!(
        error(&client.ask("guest-file-flush", &json!({"handle": other}))),
        format!("handle '{other}' has not been found")
    );
    eventually("who hung is gone, and taken note of", || agent.children().is_empty().then_some(()));
    let handle = open(&agent, &mut client, "one", "w");
    assert_eq!(
        client.ask("guest-file-write", &json!({"handle": handle, "buf-b64": "eA=="}))["return"]["count"],
        1,
        "another one holds what is opened then"
    );
    assert!(agent.stop().success());
}

#[test]
fn a_signal_ends_an_agent_whose_file_hangs() {
    let mut agent = Agent::start();
    let mut client = agent.connect();
    let handle = open(&agent, &mut client, "file", "w");
    let holder = agent.children()[0];
    kill_process(holder, Signal::STOP).unwrap();
    client.send(format!("{}\n", json!({"execute": "guest-file-read", "arguments": {"handle": handle}})));
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    agent.wait_until_asleep();
    let begin = std::time::Instant::now();
    assert!(agent.stop().success());
    assert!(begin.elapsed().as_secs() < 28, "it waits for as long as a request may take");
    eventually("the holder is gone", || rustix::process::test_kill_process(holder).is_err().then_some(()));
}

#[test]
fn a_holder_that_is_killed_takes_its_files_along_and_is_told() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let handle = open(&agent, &mut client, "file", "w");
    let holder = agent.children()[0];
    kill_process(holder, Signal::KILL).unwrap();
    let answer = client.ask("guest-file-read", &json!({"handle": handle}));
    assert!(error(&answer).contains("the process that held the files is gone"), "{answer}");
    let answer = client.ask("guest-file-read", &json!({"handle": handle}));
    assert_eq!(error(&answer), format!("handle '{handle}' has not been found"));
    eventually("it is taken note of", || agent.children().is_empty().then_some(()));
}

#[test]
fn counts_and_positions_are_what_was_asked_for() {
    let agent = Agent::start();
    let mut client = agent.connect();
    std::fs::write(agent.directory.path().join("file"), vec![b'x'; 5000]).unwrap();
    let handle = open(&agent, &mut client, "file", "r+");
    let read = client.ask("guest-file-read", &json!({"handle": handle}));
    assert_eq!((&read["return"]["count"], &read["return"]["eof"]), (&json!(4096), &json!(false)));
    for (whence, offset, position) in
        [(json!(0), 10, 10), (json!(1), 5, 15), (json!("cur"), -5, 10), (json!(2), -1, 4999), (json!("set"), 3, 3)]
    {
        let arguments = json!({"handle": handle, "offset": offset, "whence": whence});
        let answer = client.ask("guest-file-seek", &arguments);
        assert_eq!(answer["return"], json!({"position": position, "eof": false}), "{arguments}");
    }
    for count in [-1, (48 << 20) + 1] {
        let answer = client.ask("guest-file-read", &json!({"handle": handle, "count": count}));
        assert_eq!(error(&answer), format!("value '{count}' is invalid for argument count"));
    }
    for count in [-1, 3] {
        let arguments = json!({"handle": handle, "count": count, "buf-b64": "eXk="});
        assert_eq!(
            error(&client.ask("guest-file-write", &arguments)),
            format!("value '{count}' is invalid for argument count")
        );
    }
    let written = client.ask("guest-file-write", &json!({"handle": handle, "count": 1, "buf-b64": "eXk="}));
    assert_eq!(written["return"]["count"], 1);
    assert_eq!(&std::fs::read(agent.directory.path().join("file")).unwrap()[2..6], b"xyxx");
    client.ask("guest-file-close", &json!({"handle": handle}));
    let answer = client.ask("guest-file-close", &json!({"handle": handle}));
    assert_eq!(error(&answer), format!("handle '{handle}' has not been found"));
}
