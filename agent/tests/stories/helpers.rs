//! What the agent has done by others: by programs of the system, and by children of itself where a file system may hang. Each story
//! has programs of its own in the place of the system's, so that nothing is changed but files of its directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Agent, Client, eventually};

/// A name that no system has.
const USER: &str = "somebody-of-vmwire";

/// An agent for whom this script is what finds users, and that waits for nothing longer than so many seconds.
fn agent(getent: &str, deadline: u32) -> Agent {
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("configuration");
    fs::write(&configuration, format!("[general]\nrequest-deadline={deadline}\n")).unwrap();
    let bin = directory.path().join("bin");
    fs::create_dir(&bin).unwrap();
    script(&bin.join("getent"), getent);
    Agent::start_in(directory, |program| program.arg("-c").arg(configuration).env("PATH", bin))
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\nPATH=/bin:/usr/bin\n{text}\n")).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// What finds one user, who is us, at home in a directory.
fn finds(home: &TempDir) -> String {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let home = home.path().display();
    format!("[ \"$1 $2\" = \"passwd {USER}\" ] && echo {USER}:x:{uid}:{gid}::{home}:/bin/sh")
}

fn error(answer: &Value) -> &str {
    answer["error"]["desc"].as_str().unwrap()
}

/// Asks for a user's keys by a number, which has to come back.
fn keys(client: &mut Client, id: u32) -> Value {
    let arguments = json!({"username": USER});
    let request = json!({"execute": "guest-ssh-get-authorized-keys", "arguments": arguments, "id": id});
    client.send(format!("{request}\n"));
    let mut answer = client.answer();
    assert_eq!(answer["id"], id, "{answer}");
    answer["return"]["keys"].take()
}

#[test]
fn nothing_is_lost_of_what_a_helper_said_last() {
    let home = tempfile::tempdir().unwrap();
    let agent = agent(&finds(&home), 60);
    let mut client = agent.connect();
    fs::create_dir(home.path().join(".ssh")).unwrap();
    // Not a byte of it is sent as it is.
    let lines: Vec<String> = (0..2000).map(|number| format!("{}{number}", "é".repeat(100))).collect();
    fs::write(home.path().join(".ssh/authorized_keys"), lines.join("\n")).unwrap();
    for id in 0..10 {
        assert!(keys(&mut client, id) == json!(lines));
    }
    assert_eq!(agent.children(), []);
}

#[test]
fn the_keys_of_a_user_who_is_in_no_file_are_added_and_removed() {
    let home = tempfile::tempdir().unwrap();
    let agent = agent(&finds(&home), 60);
    let mut client = agent.connect();
    let mut change = |verb: &str, keys: &[&str]| {
        let command = format!("guest-ssh-{verb}-authorized-keys");
        let answer = client.ask(&command, &json!({"username": USER, "keys": keys}));
        assert_eq!(answer, json!({"return": {}}));
        fs::read_to_string(home.path().join(".ssh/authorized_keys")).unwrap()
    };
    assert_eq!(change("add", &["one two", "three"]), "one two\nthree");
    assert_eq!(change("remove", &["three", "two"]), "one two");
    let mode = |name: &str| fs::metadata(home.path().join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode(".ssh"), mode(".ssh/authorized_keys")), (0o700, 0o600));
    fs::write(home.path().join(".ssh/authorized_keys"), "# theirs\n\n  one two  \n#three\nfour").unwrap();
    assert_eq!(keys(&mut client, 7), json!(["one two", "four"]));
    for key in ["#comment", "two\nlines"] {
        let answer = client.ask("guest-ssh-add-authorized-keys", &json!({"username": USER, "keys": [key]}));
        assert_eq!(error(&answer), format!("invalid OpenSSH public key: '{key}'"));
    }
    let answer = client.ask("guest-ssh-get-authorized-keys", &json!({"username": "nobody-else-of-vmwire"}));
    assert_eq!(error(&answer), "failed to lookup user 'nobody-else-of-vmwire': Success");
}

#[test]
fn a_helper_that_hangs_is_killed_with_all_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let started = directory.path().join("started");
    let hangs = format!("sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait", started.display());
    let agent = agent(&hangs, 10);
    let mut client = agent.connect();
    let answer = client.ask("guest-ssh-get-authorized-keys", &json!({"username": USER}));
    assert_eq!(error(&answer), "child process took too long and was killed");
    client.ping();
    let pid = fs::read_to_string(started).unwrap();
    // It is gone, or waits for somebody to take note.
    eventually("what the helper started is gone", || {
        let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        (state.is_empty() || state.contains(") Z ")).then_some(())
    });
    eventually("the helper is taken note of", || agent.children().is_empty().then_some(()));
}

#[test]
fn a_signal_ends_an_agent_whose_helper_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let started = directory.path().join("started");
    let mut agent = agent(&format!("touch {}; exec sleep 1000", started.display()), 100_000);
    let mut client = agent.connect();
    let request = json!({"execute": "guest-ssh-get-authorized-keys", "arguments": {"username": USER}});
    client.send(format!("{request}\n"));
    eventually("the helper hangs", || started.exists().then_some(()));
    assert_eq!(agent.stop().code(), Some(0));
}

#[test]
fn what_cannot_be_started_is_told() {
    let agent = agent("", 60);
    let mut client = agent.connect();
    let mut set_password = || {
        let arguments = json!({"username": USER, "password": "eA==", "crypted": false});
        error(&client.ask("guest-set-user-password", &arguments)).to_owned()
    };
    assert_eq!(set_password(), "cannot find 'passwd' program in PATH");
    let program = agent.directory.path().join("bin/chpasswd");
    fs::write(&program, "garbage").unwrap();
    assert_eq!(set_password(), "failed to create child process: Permission denied");
    script(&program, "cat >\"$0.read\"; exit 3");
    assert_eq!(set_password(), "child process has failed to set user password");
    let read = fs::read_to_string(agent.directory.path().join("bin/chpasswd.read")).unwrap();
    assert_eq!(read, format!("{USER}:x\n"));
    assert_eq!(agent.children(), []);
}

#[test]
fn arguments_are_what_they_were_wherever_the_command_is_done() {
    let agent = agent("", 60);
    let mut client = agent.connect();
    for (arguments, why) in [
        (json!({}), "Parameter 'vcpus' is missing"),
        (json!({"vcpus": [], "x": 1}), "Parameter 'x' is unexpected"),
        (
            json!({"vcpus": [{"logical-id": 1.0, "online": true}]}),
            "Invalid parameter type for 'vcpus[0].logical-id', expected: integer",
        ),
        (
            json!({"vcpus": [{"logical-id": u64::MAX, "online": true}]}),
            "Invalid parameter type for 'vcpus[0].logical-id', expected: integer",
        ),
    ] {
        assert_eq!(error(&client.ask("guest-set-vcpus", &arguments)), why);
    }
}

#[test]
fn another_release_than_the_systems_may_be_named() {
    let directory = tempfile::tempdir().unwrap();
    let release = directory.path().join("release");
    fs::write(&release, "ID=nowhere\nPRETTY_NAME='No Where'\n").unwrap();
    let agent = Agent::start_in(directory, |program| program.env("QGA_OS_RELEASE", release));
    let said = agent.connect().ask("guest-get-osinfo", &json!({}));
    assert_eq!((&said["return"]["id"], &said["return"]["pretty-name"]), (&json!("nowhere"), &json!("No Where")));
}
