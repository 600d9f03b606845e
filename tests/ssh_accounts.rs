//! By ssh2 and by the program, against real servers that ask people and that run what they want: passwords, PAM, forced
//! commands. Accounts are the server's own, in a mount namespace that nobody else sees.

use crate::harness::{Native, Running, SshdSetup, executable};

const RIGHT: &str = "correct horse";

/// A server that takes passwords, by itself or by PAM; nothing where accounts of its own cannot be made.
fn start(lines: &[&str]) -> Option<Native> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a server accounts of its own");
        return None;
    }
    let setup = lines.iter().fold(SshdSetup::default().password(RIGHT), |setup, line| setup.line(line));
    let story = Native::start(setup);
    story.settings(
        "IdentityFile /nonexistent/key\nIdentitiesOnly yes\nPreferredAuthentications password,keyboard-interactive\n",
    );
    Some(story)
}

fn uri(story: &Native, transport: &str) -> String {
    let uri = story.sshd.uri(&story.daemon.socket(), &format!("&transport={transport}"));
    uri.replace("//vm1/", "//guest@vm1/")
}

/// Types one answer after the other, each to its prompt, and lists.
fn asked(story: &Native, transport: &str, answers: &[(&str, &str)]) -> Running {
    let mut asked = story.at_terminal(&["-c", &uri(story, transport), "vm", "list"]);
    for (prompt, answer) in answers {
        asked.expect(prompt);
        asked.write(&format!("{answer}\r"));
    }
    asked
}

#[test]
fn the_right_password_lets_in_and_a_wrong_one_is_asked_for_again() {
    let Some(story) = start(&["PasswordAuthentication yes"]) else { return };
    let prompts = [("ssh2", "Password for guest@vm1: "), ("ssh", "'s password: ")];
    for (transport, prompt) in prompts {
        asked(&story, transport, &[(prompt, RIGHT)]).expect("web");
        asked(&story, transport, &[(prompt, "carp"), (prompt, RIGHT)]).expect("web");
        let told = asked(&story, transport, &[(prompt, "carp"); 3]).wait();
        assert!(told.code == 4 && told.out.contains("does not let "), "{told:?}");
        assert!(!told.out.contains("carp") && !told.out.contains(RIGHT), "it is not shown: {told:?}");
    }
    let message = "vm1 does not let guest in: nothing could be tried; the server takes publickey, password, and there is no \
                   terminal to ask for a password at";
    let ran = Running::start(story.alone(&["-c", &uri(&story, "ssh2"), "-o", "json", "vm", "list"])).end();
    let error = ran.error(4);
    assert_eq!(error["message"], message);
}

#[test]
fn what_pam_asks_is_asked_of_the_person() {
    let Some(story) = start(&["UsePAM yes", "KbdInteractiveAuthentication yes"]) else { return };
    for (transport, prompt) in [("ssh2", "(guest@vm1) Password: "), ("ssh", ") Password: ")] {
        asked(&story, transport, &[(prompt, RIGHT)]).expect("web");
        asked(&story, transport, &[(prompt, "carp"), (prompt, RIGHT)]).expect("web");
    }
    let told = asked(&story, "ssh2", &[("Password: ", "carp"); 3]).wait();
    let message =
        "vm1 does not let guest in: tried what the host asked; the server takes publickey, keyboard-interactive\r\n";
    assert!(told.code == 4 && told.out.contains(message), "{told:?}");
}

#[test]
fn a_key_and_then_a_password_are_both_shown_where_both_are_wanted() {
    let Some(story) = start(&["PasswordAuthentication yes", "AuthenticationMethods publickey,password"]) else {
        return;
    };
    story.settings(&format!("IdentityFile {}\nIdentitiesOnly yes\n", story.sshd.key().display()));
    asked(&story, "ssh2", &[("Password for guest@vm1: ", RIGHT)]).expect("web");
    asked(&story, "ssh", &[("'s password: ", RIGHT)]).expect("web");
    let error = Running::start(story.alone(&["-c", &uri(&story, "ssh2"), "-o", "json", "vm", "list"])).end().error(4);
    assert!(error["message"].as_str().unwrap().contains("the server takes password"), "{error}");
}

#[test]
fn a_command_that_is_forced_is_a_bridge_or_is_told() {
    let directory = tempfile::Builder::new().prefix("vmwire-").tempdir().unwrap();
    let forced = directory.path().join("forced");
    let setup = SshdSetup::default().line(&format!("ForceCommand {}", forced.display()));
    let story = Native::start(setup.line("AllowStreamLocalForwarding no"));
    let key = format!("&keyfile={}", story.sshd.key().display());
    let force = |script: &str| {
        executable(&forced, format!("#!/bin/sh\n{script}\n"));
    };
    let socket = story.daemon.socket();
    let bridge = format!("exec vmwire -o json stdio -c 'test+unix:///default?socket={}'", socket.display());
    let uri = |transport: &str| story.sshd.uri(&socket, &format!("&transport={transport}{key}"));
    for transport in ["ssh2", "ssh"] {
        // The bridge itself, whatever is asked for; and what only looks at what is asked for.
        for script in [bridge.as_str(), "exec sh -c \"$SSH_ORIGINAL_COMMAND\""] {
            force(script);
            story.lists_at(&uri(transport));
        }
        for (script, message) in [
            ("true", "what was run on vm1 ended without a word"),
            ("echo no shell for you; exit 1", "vm1 printed \"no shell for you\" before the daemon's first packet"),
            ("echo no shell for you >&2; exit 1", "ssh to vm1 ended with exit status: 1"),
        ] {
            force(script);
            let arguments = ["-c", &uri(transport), "-o", "json", "vm", "list"];
            let error = Running::start(story.alone(&arguments)).end().error(3);
            assert_eq!(error["message"], message, "{transport}: {error}");
            assert_ne!(error["hint"], serde_json::Value::Null, "{error}");
        }
    }
    // By ssh2 the end of a program comes in pieces, with its last words between them: whoever hears these is not to miss
    // the rest. One moment in forty is the wrong one.
    for pause in 0..60 {
        let spin = format!("n=0; while [ $n -lt {} ]; do n=$((n+1)); done", pause % 30 * 33);
        force(&format!("echo no shell for you >&2; exec >&- 2>&-; {spin}; exit 1"));
        let error = Running::start(story.alone(&["-c", &uri("ssh2"), "-o", "json", "vm", "list"])).end().error(3);
        assert_eq!(error["message"], "ssh to vm1 ended with exit status: 1", "{error}");
    }
    // Files alone: no command of ours is ever run.
    let files = SshdSetup::default().line("ForceCommand internal-sftp").line("AllowStreamLocalForwarding no");
    let story = Native::start(files);
    for transport in ["ssh2", "ssh"] {
        let key = story.sshd.key();
        let uri = story.sshd.uri(&story.daemon.socket(), &format!("&transport={transport}&keyfile={}", key.display()));
        let error = Running::start(story.alone(&["-c", &uri, "-o", "json", "vm", "list"])).end().error(3);
        let message = "vm1 printed \"This service allows sftp connections only.\" before the daemon's first packet";
        assert_eq!(error["message"], message, "{transport}: {error}");
        assert!(error["hint"].as_str().unwrap().contains("ForceCommand"), "{error}");
    }
}
