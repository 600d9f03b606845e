//! How somebody without a certificate comes to have one, and how it is taken away.

use std::time::{Duration, Instant};

use vmwire_protocol::token::Token;
use vmwire_protocol::xdr::{Fixed, Secret};

use crate::harness::{Ran, Running, eventually, vmwire};
use crate::remote::Remote;

/// Invites somebody; answers the token.
fn invite(remote: &Remote, name: &str) -> String {
    let invited = remote.daemon.json(&["client", "invite", name, "--role", "operator", "--address", &remote.tls]);
    invited["token"].as_str().unwrap().to_owned()
}

/// Begins to spend a token, with the files in a directory of their own.
fn enrolling(remote: &Remote, token: &str, dir: &str) -> Running {
    let mut command = vmwire();
    command.args(["-o", "json", "enroll", "--dir"]).arg(remote.daemon.place().join(dir));
    let mut enroll = Running::start(command);
    enroll.write(token);
    enroll
}

fn enroll(remote: &Remote, token: &str, dir: &str) -> Ran {
    enrolling(remote, token, dir).end()
}

fn uri(remote: &Remote, dir: &str) -> String {
    let host = remote.tls.split(':').next().unwrap();
    format!("test+tls://{}/default?pkipath={}", remote.tls, remote.daemon.place().join(dir).join(host).display())
}

#[test]
fn a_token_becomes_one_certificate_with_its_role_and_is_spent() {
    let remote = Remote::start();
    let token = invite(&remote, "bob");
    let enrolled = enroll(&remote, &format!("{token}\n"), "bob").json();
    assert_eq!((&enrolled["name"], &enrolled["role"]), (&"bob".into(), &"operator".into()), "{enrolled}");
    let bob = uri(&remote, "bob");
    let version = remote.vmwire(&bob, &["version"]).json()["daemon"].clone();
    assert_eq!((&version["identity"], &version["role"]), (&"client bob".into(), &"operator".into()), "{version}");

    let told = enroll(&remote, &token, "again").error(4);
    assert_eq!((&told["code"], &told["message"]), (&"DENIED".into(), &"this token was spent already".into()), "{told}");
    // A shell would complete nothing of a token that was cut, and it is not sent anywhere.
    let told = enroll(&remote, &token[..token.len() - 5], "cut").error(2);
    assert!(told["message"].as_str().unwrap().contains("missing"), "{told}");
    // Another invitation makes the former one void.
    let (first, second) = (invite(&remote, "carol"), invite(&remote, "carol"));
    let told = enroll(&remote, &first, "carol").error(4);
    assert!(told["message"].as_str().unwrap().contains("token"), "{told}");
    enroll(&remote, &second, "carol").json();
}

#[test]
fn of_two_that_spend_one_token_at_once_one_has_a_certificate() {
    let remote = Remote::start();
    for round in 0..2 {
        let name = format!("dave{round}");
        let token = invite(&remote, &name);
        let both = ["a", "b"].map(|side| enrolling(&remote, &token, &format!("{name}{side}")));
        let ran = both.map(Running::end);
        let codes: Vec<i32> = ran.iter().map(|ran| ran.code).collect();
        assert!(codes == [0, 4] || codes == [4, 0], "{ran:?}");
        let listed = remote.daemon.json(&["client", "list"]);
        let own = listed.as_array().unwrap().iter().filter(|client| client["name"] == name.as_str()).count();
        assert_eq!(own, 1, "{listed}");
    }
}

#[test]
fn whoever_guesses_tokens_is_slowed_down() {
    let remote = Remote::start();
    let token = invite(&remote, "eve");
    let wrong = |guess: u8| {
        let mut token = Token::parse(&token).unwrap();
        token.secret = Secret::new(Fixed([guess; 16]));
        token.to_text().reveal().to_string()
    };
    for guess in 0..5 {
        assert_eq!(enroll(&remote, &wrong(guess), "eve").error(4)["code"], "DENIED");
    }
    assert_eq!(enroll(&remote, &wrong(5), "eve").error(3)["code"], "OVERLOADED");
    assert_eq!(enroll(&remote, &token, "eve").error(3)["code"], "OVERLOADED", "the right one has to wait as well");
}

#[test]
fn who_is_removed_loses_an_open_console_within_a_second() {
    let remote = Remote::start();
    remote.daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nconsole = \"login: \"\n");
    remote.daemon.ok(&["vm", "start", "web"]);
    enroll(&remote, &invite(&remote, "frank"), "frank").json();
    let frank = uri(&remote, "frank");
    let mut command = vmwire();
    command.args(["-c", &frank, "vm", "console", "web", "--history", "1KiB"]);
    let mut console = Running::start(command);
    console.expect("login: ");

    // A role that may no more write takes the console away and nothing else.
    remote.daemon.ok(&["client", "role", "frank", "observer"]);
    let lost = Instant::now();
    let ran = console.wait();
    assert!(ran.code == 4 && lost.elapsed() < Duration::from_secs(1), "{ran:?} after {:?}", lost.elapsed());
    assert_eq!(remote.vmwire(&frank, &["version"]).json()["daemon"]["role"], "observer");

    let mut command = vmwire();
    command.args(["-c", &frank, "event", "follow"]);
    let follow = Running::start(command);
    eventually("it is connected", || {
        let listed = remote.daemon.json(&["connection", "list"]);
        listed
            .as_array()?
            .iter()
            .any(|row| row["identity"] == "client frank" && row["subscribed"] == true)
            .then_some(())
    });
    remote.daemon.ok(&["client", "remove", "frank"]);
    let removed = Instant::now();
    let ran = follow.wait();
    assert!(ran.code == 4 && removed.elapsed() < Duration::from_secs(1), "{ran:?} after {:?}", removed.elapsed());
    assert_eq!(remote.vmwire(&frank, &["vm", "list"]).error(4)["code"], "DENIED");
}
