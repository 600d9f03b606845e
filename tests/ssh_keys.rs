//! By ssh2: proving who comes, by the agent, by key files and at a terminal, and every way not to be believed.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Agent, Native, Running, SOON, SshdSetup, eventually, keygen, line_of, public, words};

/// A story in which nothing is known that would let anybody in.
fn start() -> Native {
    let story = Native::start(SshdSetup::default());
    story.settings("BatchMode yes\nIdentityFile /nonexistent/key\n");
    story
}

fn with_agent(story: &Native, socket: &str, arguments: &[&str]) -> Running {
    let mut command = story.alone(arguments);
    command.env("SSH_AUTH_SOCK", socket);
    Running::start(command)
}

fn error_with(story: &Native, agent: &str, more: &str) -> Value {
    with_agent(story, agent, &["-c", &story.uri(more), "-o", "json", "vm", "list"]).end().error(4)
}

fn other_key(story: &Native, name: &str) -> String {
    let key = story.path(name);
    keygen(&key, &["-t", "ed25519"]);
    key.to_str().unwrap().to_owned()
}

fn lock(story: &Native, name: &str, options: &[&str]) -> String {
    let key = story.path(name);
    std::fs::copy(story.sshd.key(), &key).unwrap();
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-p", "-N", "swordfish", "-f"]).arg(&key).args(options).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    key.to_str().unwrap().to_owned()
}

#[test]
fn keys_of_an_agent_let_in_and_only_those_that_may_be_shown_are() {
    let story = start();
    let agent = Agent::start(&story.path("agent"), &[]);
    let nothing = error_with(&story, &agent.socket, "");
    assert_eq!(nothing["message"], "vm1 does not let root in: nothing could be tried; the server takes publickey");
    let others = [other_key(&story, "a"), other_key(&story, "b")];
    agent.add(others[0].as_ref());
    let one = error_with(&story, &agent.socket, "");
    assert_eq!(one["message"], "vm1 does not let root in: tried the agent's key; the server takes publickey");
    agent.add(others[1].as_ref());
    let tried = error_with(&story, &agent.socket, &format!("&keyfile={}", other_key(&story, "c")));
    let message = format!("vm1 does not let root in: tried {}; the server takes publickey", story.path("c").display());
    assert_eq!(tried["message"], message, "a key that the URI names is the only one");
    story.settings(&format!("IdentitiesOnly yes\nIdentityFile {}\n", others[0]));
    let tried = error_with(&story, &agent.socket, "");
    assert_eq!(tried["message"], one["message"], "only the one that a file names is shown, and not twice");
    let hint = tried["hint"].as_str().unwrap();
    let expected = "let somebody who is in put your public key into ~root/.ssh/authorized_keys on vm1; for another key write \
                    ?keyfile=PATH behind the URI, for another user qemu+ssh://USER@vm1/system";
    assert_eq!(hint, expected);

    agent.add(&story.sshd.key());
    let listed = |more: &str| {
        let uri = story.uri(more);
        let listed = with_agent(&story, &agent.socket, &["-c", &uri, "-o", "json", "vm", "list"]).end().json();
        assert_eq!(listed[0]["name"], "web");
    };
    story.settings("BatchMode yes\nIdentityFile /nonexistent/key\n");
    listed("");
    // The private half may be in the agent alone.
    let file = story.path("gone");
    std::fs::copy(public(&story.sshd.key()), public(&file)).unwrap();
    listed(&format!("&keyfile={}", file.display()));
    story.settings(&format!("IdentityAgent {}\nIdentityFile /nonexistent/key\n", agent.socket));
    story.lists("");
}

#[test]
fn keys_of_every_kind_let_in() {
    let story = start();
    for (name, options) in [
        ("ecdsa", &["-t", "ecdsa"][..]),
        ("p521", &["-t", "ecdsa", "-b", "521", "-m", "PEM"]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
        ("rsa-pem", &["-t", "rsa", "-b", "3072", "-m", "PEM"]),
        ("pkcs8", &["-t", "ecdsa", "-m", "PKCS8"]),
        ("ed25519", &["-t", "ed25519"]),
    ] {
        let key = story.path(name);
        keygen(&key, options);
        story.sshd.place().write("authorized_keys", line_of(&public(&key)) + "\n");
        story.lists(&format!("&keyfile={}", key.display()));
        std::fs::remove_file(public(&key)).unwrap();
        story.lists(&format!("&keyfile={}", key.display()));
    }
}

#[test]
fn an_agent_that_hangs_is_left_alone_and_the_key_file_lets_in() {
    let story = start();
    let silent = story.path("silent");
    // It takes whoever comes and never says a word.
    let _listener = UnixListener::bind(&silent).unwrap();
    let agent = silent.to_str().unwrap();
    let began = Instant::now();
    let error = error_with(&story, agent, "");
    assert_eq!(error["message"], "vm1 does not let root in: nothing could be tried; the server takes publickey");
    assert_eq!(error["causes"][0], format!("the agent at {agent} has not answered within 3 seconds"));
    assert_eq!(error["hint"], "go without it: SSH_AUTH_SOCK= vmwire …");
    story.settings(&format!("IdentityFile {}\n", story.sshd.key().display()));
    let listed = with_agent(&story, agent, &["-c", &story.uri(""), "vm", "list"]).end().ok();
    assert!(listed.contains("web") && began.elapsed() < SOON, "{listed}");

    story.settings("IdentityFile /nonexistent/key\n");
    let error = error_with(&story, "/nonexistent/agent", "");
    let cause = "the agent at /nonexistent/agent cannot be reached: No such file or directory (os error 2)";
    assert_eq!(error["causes"][0], cause);
}

#[test]
fn an_agent_that_hangs_when_it_has_to_sign_is_given_up_in_time() {
    let story = start();
    let path = story.path("confirming");
    let listener = UnixListener::bind(&path).unwrap();
    let agent = Agent::start(&story.path("agent"), &[]);
    agent.add(&story.sshd.key());
    let behind = agent.socket.clone();
    // It lists what another one has, and then waits for somebody to confirm.
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut question = [0; 5];
            while stream.read_exact(&mut question).is_ok() && question[4] == 11 {
                let mut real = UnixStream::connect(&behind).unwrap();
                real.write_all(&question).unwrap();
                let mut length = [0; 4];
                real.read_exact(&mut length).unwrap();
                let mut answer = vec![0; u32::from_be_bytes(length).try_into().unwrap()];
                real.read_exact(&mut answer).unwrap();
                stream.write_all(&[&length[..], &answer].concat()).unwrap();
            }
            kept.push(stream);
        }
    });
    let began = Instant::now();
    let arguments = ["-c", &story.uri(""), "--timeout", "12s", "-o", "json", "vm", "list"];
    let error = with_agent(&story, path.to_str().unwrap(), &arguments).end().error(6);
    assert_eq!(error["message"], format!("the agent at {} has not signed in time", path.display()));
    assert!(error["hint"].as_str().unwrap().starts_with("does it wait for somebody to confirm?"), "{error}");
    assert!(began.elapsed() < SOON);
}

#[test]
fn a_key_file_that_cannot_be_used_is_told_with_the_way_to_mend_it() {
    let story = start();
    let denied = "vm1 does not let root in: nothing could be tried; the server takes publickey";
    let told = |name: &str, cause: &str, hint: &str| {
        let path = story.path(name);
        let error = story.fails(&format!("&keyfile={}", path.display()), 4, denied, hint);
        assert_eq!(error["causes"][0], format!("{} {cause}", path.display()), "{error}");
    };
    let write = |name: &str, text: &str, mode: u32| {
        std::fs::write(story.path(name), text).unwrap();
        std::fs::set_permissions(story.path(name), Permissions::from_mode(mode)).unwrap();
    };
    let key = line_of(&story.sshd.key()) + "\n";
    told("missing", "is not there", "?keyfile= has to name the file of a private key");
    write("open", &key, 0o640);
    told("open", "has mode 0640, so that others can read it", &format!("chmod 600 {}", story.path("open").display()));
    // What the hint says leads on.
    write("open", &key, 0o600);
    story.lists(&format!("&keyfile={}", story.path("open").display()));
    told("key.pub", "is the public key, which the host has; the private one is needed", "without .pub");
    write("putty", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", 0o600);
    told("putty", "is in the format of PuTTY", "-O private-openssh");
    write("garbage", "\0\u{1}garbage", 0o600);
    told("garbage", "is no private key", "");
    write("long", &"a".repeat(70_000), 0o600);
    told("long", "has more than 65536 bytes", "");
    std::fs::create_dir(story.path("directory")).unwrap();
    told("directory", "is no private key", "");

    // A form that looks right around a key that is none.
    let key = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    write("broken", key, 0o600);
    let path = story.path("broken").display().to_string();
    let message = format!("vm1 does not let root in: tried {path}; the server takes publickey");
    let error = story.fails(&format!("&keyfile={path}"), 4, &message, "");
    assert!(error["causes"][0].as_str().unwrap().starts_with(&format!("{path} cannot be used: ")), "{error}");
}

#[test]
fn a_passphrase_is_asked_for_three_times_and_not_shown() {
    let story = start();
    let key = lock(&story, "locked", &[]);
    let more = format!("&keyfile={key}");
    let error = story.error(&more, 4);
    let cause = format!("{key} is encrypted, and there is no terminal to ask for its passphrase at");
    assert_eq!((&error["causes"][0], &error["hint"]), (&cause.into(), &format!("ssh-add {key}").into()));

    story.settings("IdentityFile /nonexistent/key\n");
    let uri = story.uri(&more);
    let prompt = format!("Passphrase for {key}: ");
    let mut asked = story.at_terminal(&["-c", &uri, "vm", "list"]);
    asked.expect(&prompt);
    asked.write("carp\r");
    let again = asked.expect(&prompt);
    assert_eq!(again.trim(), "That was wrong.", "what is typed is not shown");
    asked.write("swordfish\r");
    asked.expect("web");
    assert_eq!(asked.wait().code, 0);

    let mut asked = story.at_terminal(&["-c", &uri, "vm", "list"]);
    for _ in 0..3 {
        asked.expect(&prompt);
        asked.write("carp\r");
    }
    let told = asked.wait();
    let message = format!("vmwire: vm1 does not let root in: tried {key}; the server takes publickey\r\n");
    assert!(told.code == 4 && told.out.contains(&message), "{told:?}");
    assert!(told.out.contains(&format!("the passphrase for {key} was wrong 3 times")), "{told:?}");

    let mut asked = story.at_terminal(&["-c", &uri, "vm", "list"]);
    asked.expect(&prompt);
    asked.write("sword\u{3}");
    let told = asked.wait();
    assert!(told.out.contains(&format!("the passphrase for {key} was not given")), "{told:?}");

    // Nobody is asked for the passphrase of a key that would not be taken.
    let useless = other_key(&story, "useless");
    let mut change = Command::new("ssh-keygen");
    change.args(["-q", "-p", "-N", "swordfish", "-f", &useless]).stdout(Stdio::null());
    assert!(change.status().unwrap().success());
    let told = story.at_terminal(&["-c", &story.uri(&format!("&keyfile={useless}")), "vm", "list"]).wait();
    assert!(told.code == 4 && !told.out.contains("Passphrase"), "{told:?}");
}

#[test]
fn a_program_that_has_asked_for_a_passphrase_ends_with_ctrl_c_as_any_other() {
    let story = start();
    let key = lock(&story, "locked", &[]);
    story.settings("IdentityFile /nonexistent/key\n");
    let mut asked = story.at_terminal(&["-c", &story.uri(&format!("&keyfile={key}")), "event", "follow"]);
    asked.expect(&format!("Passphrase for {key}: "));
    asked.write("swordfish\r");
    let follows = |row: &Value| row["subscribed"] == true;
    let rows = || story.daemon.json(&["connection", "list"]).as_array().unwrap().clone();
    eventually("it follows", || rows().iter().any(follows).then_some(()));
    asked.write("\u{3}");
    assert_eq!(asked.wait().code, 130);
}

#[test]
fn a_passphrase_of_an_old_form_of_key_opens_it_as_well() {
    let story = start();
    story.settings("IdentityFile /nonexistent/key\n");
    let rsa = story.path("rsa");
    keygen(&rsa, &["-t", "rsa", "-b", "2048", "-m", "PEM"]);
    story.sshd.place().write("authorized_keys", line_of(&public(&rsa)) + "\n");
    for form in ["PEM", "PKCS8", "RFC4716"] {
        let key = story.path(form);
        std::fs::copy(&rsa, &key).unwrap();
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        let mut change = Command::new("ssh-keygen");
        change.args(["-q", "-p", "-N", "swordfish", "-m", form, "-f"]).arg(&key).stdout(Stdio::null());
        assert!(change.status().unwrap().success());
        let mut asked = story.at_terminal(&["-c", &story.uri(&format!("&keyfile={}", key.display())), "vm", "list"]);
        asked.expect(&format!("Passphrase for {}: ", key.display()));
        asked.write("swordfish\r");
        asked.expect("web");
        assert_eq!(asked.wait().code, 0, "{form}");
    }
}

#[test]
fn a_terminal_shows_what_is_typed_again_when_a_signal_ends_the_question() {
    let story = start();
    story.settings("IdentityFile /nonexistent/key\n");
    let key = lock(&story, "locked", &[]);
    let command = story.sshd.command(&["-c", &story.uri(&format!("&keyfile={key}")), "vm", "list"]);
    let line = format!("{} & echo pid $!; fg >/dev/null; echo ended $?; stty -a", words(&command));
    // Job control, so that it is in the foreground and asks.
    let mut shell = story.shell_at_terminal(&format!("set -m; {line}"), &[]);
    shell.expect("pid ");
    let pid: i32 = shell.expect("\r\n").trim().parse().unwrap();
    shell.expect("Passphrase for ");
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    shell.expect("ended 143");
    let settings = shell.wait().out;
    let settings = settings.split("ended 143").nth(1).unwrap().to_owned();
    assert!(settings.contains(" echo ") && settings.contains(" icanon "), "{settings}");
}

#[test]
fn a_password_is_asked_for_at_a_terminal_only() {
    let story = Native::start(SshdSetup::default().line("PasswordAuthentication yes"));
    story.settings("IdentityFile /nonexistent/key\nNumberOfPasswordPrompts 2\n");
    let message = "vm1 does not let root in: nothing could be tried; the server takes publickey, password, and there is no \
                   terminal to ask for a password at";
    story.fails("", 4, message, "make a key with ssh-keygen, and then put your key there: ssh-copy-id vm1;");
    let mut asked = story.at_terminal(&["-c", &story.uri(""), "vm", "list"]);
    asked.expect("Password for root@vm1: ");
    asked.write("carp\r");
    assert_eq!(asked.expect("Password for root@vm1: ").trim(), "That was wrong.");
    asked.write("carp\r");
    let told = asked.wait();
    let message = "vmwire: vm1 does not let root in: tried the password; the server takes publickey, password\r\n";
    assert!(told.code == 4 && told.out.contains(message), "{told:?}");
    // Nobody is asked where the settings say so.
    story.settings("IdentityFile /nonexistent/key\nPasswordAuthentication no\n");
    let told = story.at_terminal(&["-c", &story.uri(""), "vm", "list"]).wait();
    assert!(told.code == 4 && !told.out.contains("Password"), "{told:?}");
}

#[test]
fn a_server_that_has_seen_too_many_keys_is_told_apart_from_one_that_denies() {
    let story = Native::start(SshdSetup::default().line("MaxAuthTries 2"));
    let keys: String = (0..4).map(|n| format!("IdentityFile {}\n", other_key(&story, &format!("key{n}")))).collect();
    story.settings(&format!("IdentitiesOnly yes\n{keys}"));
    let error = story.error("", 4);
    let message = error["message"].as_str().unwrap();
    let first = story.path("key0").display().to_string();
    assert!(message.starts_with(&format!("vm1 hung up after {first}, ")), "{message}");
    assert_eq!(error["hint"], "name the one key to come with: ?keyfile=PATH behind the URI");
    story.lists(&format!("&keyfile={}", story.sshd.key().display()));
}
