//! Programs that a host starts, in numbers and of kinds that nobody would.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Agent, Client, eventually};

fn start(client: &mut Client, arguments: &Value) -> Value {
    let answer = client.ask("guest-exec", arguments);
    assert!(answer["return"]["pid"].is_number(), "{answer}");
    answer["return"]["pid"].clone()
}

/// What became of a program, once it is over.
fn end(client: &mut Client, pid: &Value) -> Value {
    eventually("the program ends", || {
        let mut status = client.ask("guest-exec-status", &json!({"pid": pid}));
        (status["return"]["exited"] != json!(false)).then(|| status["return"].take())
    })
}

fn said(client: &mut Client, script: &str) -> String {
    let pid = start(client, &json!({"path": "sh", "arg": ["-c", script], "capture-output": "stdout"}));
    let said = end(client, &pid);
    String::from_utf8(vmwire_agent::base64::decode(said["out-data"].as_str().unwrap()).unwrap()).unwrap()
}

fn kill(pid: &Value) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid.as_i64().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn shell(script: &str) -> Value {
    json!({"path": "sh", "arg": ["-c", script]})
}

#[test]
fn programs_whose_end_nobody_asks_for_keep_nobody_from_starting_more() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let first = start(&mut client, &shell("exit 3"));
    for _ in 0..200 {
        start(&mut client, &json!({"path": "true"}));
    }
    let answer = client.ask("guest-exec-status", &json!({"pid": first}));
    assert_eq!(answer["error"]["desc"], "Invalid parameter 'pid'", "the oldest was forgotten");
    let last = start(&mut client, &shell("exit 4"));
    assert_eq!(end(&mut client, &last), json!({"exited": true, "exitcode": 4}));
}

#[test]
fn so_many_programs_may_run_and_no_more() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let mut pids = Vec::new();
    let refused = loop {
        let answer = client.ask("guest-exec", &json!({"path": "sleep", "arg": ["1000"]}));
        match answer["return"].get("pid") {
            Some(pid) if pids.len() < 1000 => pids.push(pid.clone()),
            Some(_) => panic!("there is no end to them"),
            None => break answer,
        }
    };
    assert_eq!(pids.len(), 128);
    assert!(refused["error"]["desc"].as_str().unwrap().starts_with("too many programs run"), "{refused}");
    pids.iter().for_each(kill);
    assert_eq!(end(&mut client, &pids[0]), json!({"exited": true, "signal": 9}));
    start(&mut client, &json!({"path": "true"}));
}

#[test]
fn a_program_inherits_nothing_of_the_agents() {
    // An agent that was started by somebody careless, or has a socket made for it.
    let directory = tempfile::tempdir().unwrap();
    let script = "exec 7</dev/null; exec \"$0\" -m unix-listen -t \"$1\" -f \"$1/pid\" -p \"$1/socket\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_vmwire-ga")]).arg(directory.path());
    let child = command.env("QGA_CONF", directory.path().join("no-configuration")).spawn().unwrap();
    let agent = Agent { directory, child };
    let mut client = agent.connect();
    let other = json!({"path": "sleep", "arg": ["1000"], "capture-output": true, "input-data": ""});
    let other = start(&mut client, &other);
    // Its own three, and the one by which `ls` reads the directory.
    assert_eq!(said(&mut client, "exec ls /proc/self/fd"), "0\n1\n2\n3\n");
    // A broken pipe ends it, as everywhere: of the signals that are ignored the 13th is none.
    let ignored = said(&mut client, "sed -n 's/^SigIgn:.//p' /proc/self/status");
    assert_eq!(u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 << 12, 0, "{ignored}");
    assert_eq!(said(&mut client, "sed -n 's/^SigBlk:.//p' /proc/self/status"), format!("{:016x}\n", 0));
    kill(&other);
}

#[test]
fn truncation_is_told_truly_in_every_mode() {
    const KEPT: usize = 16 << 20;
    let agent = Agent::start();
    let mut client = agent.connect();
    let script = "head -c 17000000 /dev/zero; echo complaint >&2";
    for (mode, out, err) in [
        (json!(true), Some((KEPT, true)), Some((10, false))),
        (json!("separated"), Some((KEPT, true)), Some((10, false))),
        (json!("stdout"), Some((KEPT, true)), None),
        (json!("stderr"), None, Some((10, false))),
        (json!("merged"), Some((KEPT, true)), None),
        (json!("none"), None, None),
        (json!(false), None, None),
    ] {
        let arguments = json!({"path": "sh", "arg": ["-c", script], "capture-output": mode});
        let pid = start(&mut client, &arguments);
        let status = end(&mut client, &pid);
        let stream = |data: &str, truncated: &str| {
            let length = vmwire_agent::base64::decode(status[data].as_str()?).unwrap().len();
            Some((length, status[truncated].as_bool().unwrap()))
        };
        assert_eq!(stream("out-data", "out-truncated"), out, "{mode}");
        assert_eq!(stream("err-data", "err-truncated"), err, "{mode}");
    }
}

#[test]
fn who_closes_its_output_and_lives_on_is_waited_for() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let closed = agent.directory.path().join("closed");
    let script = format!("echo word; exec >&- 2>&-; : >'{}'; exec sleep 1000", closed.display());
    let pid = start(&mut client, &json!({"path": "sh", "arg": ["-c", script], "capture-output": true}));
    eventually("it has closed its output", || closed.exists().then_some(()));
    agent.wait_until_asleep();
    assert_eq!(client.ask("guest-exec-status", &json!({"pid": pid}))["return"], json!({"exited": false}));
    kill(&pid);
    let status = end(&mut client, &pid);
    assert_eq!((&status["signal"], &status["out-data"]), (&json!(9), &json!("d29yZAo=")));
}

#[test]
fn so_many_files_may_be_open_and_no_more() {
    let agent = Agent::start();
    let mut client = agent.connect();
    let open = |client: &mut Client| client.ask("guest-file-open", &json!({"path": "/dev/null"}));
    let mut handles = Vec::new();
    let refused = loop {
        let answer = open(&mut client);
        match answer["return"].as_i64() {
            Some(handle) => handles.push(handle),
            None => break answer,
        }
    };
    assert_eq!(handles.len(), 512);
    assert_eq!(refused["error"]["desc"], "too many open files; close some by guest-file-close");
    assert_eq!(client.ask("guest-file-close", &json!({"handle": handles[7]})), json!({"return": {}}));
    assert_eq!(open(&mut client)["return"], handles.last().unwrap() + 1, "no number comes twice");
}
