//! How somebody without a certificate comes to have one, and how it is taken away.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use vmwire_protocol::message::{ClientData, EnrollCall, ServerData, code};
use vmwire_protocol::token::Token;
use vmwire_protocol::xdr::{Fixed, Secret, Text};
use vmwire_tls::config::ClientContext;
use vmwire_tls::date::Clock;
use vmwire_tls::identity::Fingerprint;
use vmwire_tls::pki::Request;

use crate::harness::{Daemon, Ran, Raw, Running, SOON, Setup, Socket, eventually, pki, vmwire};
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
    let keys: Vec<&String> = enrolled.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["directory", "key", "name", "not_after_ns", "role", "uri"], "as docs/cli.md has them");
    let client = remote.daemon.json(&["client", "list"])[0].clone();
    assert_eq!((&enrolled["key"], &enrolled["not_after_ns"]), (&client["key"], &client["not_after_ns"]));
    let bob = uri(&remote, "bob");
    let version = remote.vmwire(&bob, &["version"]).json()["daemon"].clone();
    assert_eq!((&version["identity"], &version["role"]), (&"client bob".into(), &"operator".into()), "{version}");

    let told = enroll(&remote, &token, "again").error(4);
    assert_eq!((&told["code"], &told["message"]), (&"DENIED".into(), &"this token was spent already".into()), "{told}");
    // Another invitation makes the former one void.
    let (first, second) = (invite(&remote, "carol"), invite(&remote, "carol"));
    let told = enroll(&remote, &first, "carol").error(4);
    assert!(told["message"].as_str().unwrap().contains("token"), "{told}");
    enroll(&remote, &second, "carol").json();
}

#[test]
fn a_token_that_was_cut_is_sent_nowhere_and_is_good_still() {
    let remote = Remote::start();
    let token = invite(&remote, "bob");
    for cut in [5, 6, 20, token.len() - 10, token.len() - 1] {
        let told = enroll(&remote, &token[..token.len() - cut], "cut").error(2);
        assert_eq!(told["message"], "the end of the token is missing", "{cut}: {told}");
        assert_eq!(told["hint"], "copy it again, the whole line", "{cut}: {told}");
    }
    assert!(!remote.daemon.log().contains("tls 127.0.0.1:"), "{}", remote.daemon.log());
    enroll(&remote, &token, "cut").json();
}

#[test]
fn what_a_daemon_has_signed_is_in_the_index_of_its_authority_and_is_revoked_there() {
    let remote = Remote::start();
    enroll(&remote, &invite(&remote, "bob"), "bob").json();
    let client = remote.daemon.json(&["client", "list"])[0].clone();
    let rows = pki(remote.daemon.place(), &["show", "--issued"]).json();
    let row = rows.as_array().unwrap().iter().find(|row| row["name"] == "bob").unwrap();
    assert_eq!((&row["serial"], &row["key"], &row["purpose"]), (&client["serial"], &client["key"], &"client".into()));

    // It is found there although the daemon has forgotten it, and those who trust the authority hear of it.
    remote.daemon.ok(&["client", "remove", "bob"]);
    let again =
        remote.daemon.json(&["client", "add", "bob", "--role", "observer", "--key", client["key"].as_str().unwrap()]);
    assert_eq!(again["serial"], serde_json::Value::Null);
    remote.vmwire(&uri(&remote, "bob"), &["version"]).json();
    let revoked = pki(remote.daemon.place(), &["revoke", "bob"]).json();
    assert_eq!(revoked[0]["serial"], client["serial"]);
    remote.daemon.logs("is in force");
    assert_eq!(remote.daemon.log().matches("is in force").count(), 1, "a line in the index is no new certificate");
    assert_ne!(remote.vmwire(&uri(&remote, "bob"), &["version"]).code, 0);
}

#[test]
fn an_answer_that_was_lost_is_given_again_to_the_same_key_and_to_no_other() {
    let setup = Setup::qemu();
    pki(&setup.place, &["init", "--server", "127.0.0.1"]).ok();
    let config = setup.listeners();
    let setup = setup.config(&config);
    let daemon = setup.start();
    // With the port that the system has picked, as all the places where it listens are shown.
    let address = |daemon: &Daemon| -> SocketAddr {
        let info = daemon.json(&["daemon", "info"]);
        let sockets = info["sockets"].as_array().unwrap();
        assert_eq!((sockets.len(), sockets[1].as_str().unwrap().starts_with("tcp:127.0.0.1:")), (3, true), "{info}");
        sockets[2].as_str().unwrap().strip_prefix("tls:").unwrap().parse().unwrap()
    };
    let invited = daemon.json(&["client", "invite", "bob", "--role", "operator"]);
    assert_eq!(invited["address"], address(&daemon).to_string());
    let token = Token::parse(invited["token"].as_str().unwrap()).unwrap();
    let request = |request: &Request| EnrollCall {
        secret: Secret::new(Fixed(token.secret.reveal().0)),
        name: Text::default(),
        request: request.csr_der.clone().try_into().unwrap(),
    };
    let name = "client".parse().unwrap();
    let (own, other) = (Request::new(&name).unwrap(), Request::new(&name).unwrap());
    let spend = |daemon: &Daemon, by: &Request| {
        let authority = Fingerprint::from(token.ca.0);
        let context = ClientContext::enroll(authority, Clock::new(SystemTime::now)).unwrap();
        let mut raw = Raw::new(Socket::tls(address(daemon), &context).unwrap());
        let serial = raw.call(&ClientData::Enroll(request(by)));
        raw.answer(serial)
    };
    let index = || std::fs::read_to_string(setup.place.join("pki/issued.jsonl")).unwrap();
    let ServerData::Enroll(first) = spend(&daemon, &own) else { panic!() };
    let lines = index();
    // Another request for the same key: it proves anew that whoever sends it has it.
    let again = Request::again(&name, &own.key_pem).unwrap();
    assert_ne!(again.csr_der, own.csr_der);
    let ServerData::Enroll(second) = spend(&daemon, &again) else { panic!() };
    assert_eq!(second, first);
    let ServerData::Failure(refused) = spend(&daemon, &other) else { panic!() };
    assert_eq!((refused.code, refused.message.as_str()), (code::DENIED, "this token was spent already"));
    let daemon = daemon.killed().start();
    let ServerData::Enroll(third) = spend(&daemon, &own) else { panic!() };
    assert_eq!((third, index()), (first, lines), "one certificate, after a crash too");
    daemon.ok(&["client", "remove", "bob"]);
    let ServerData::Failure(refused) = spend(&daemon, &own) else { panic!() };
    assert_eq!(refused.message, "this token was spent already");
}

#[test]
fn a_directory_that_cannot_be_written_costs_no_token() {
    let remote = Remote::start();
    let token = invite(&remote, "bob");
    let index = remote.daemon.place().join("pki/issued.jsonl");
    let kept = std::fs::read(&index).unwrap();
    std::fs::remove_file(&index).unwrap();
    std::fs::create_dir(&index).unwrap();
    let told = enroll(&remote, &token, "bob").error(1);
    assert_eq!(
        (&told["code"], &told["message"]),
        (&"DRIVER".into(), &"the certificate could not be noted down".into())
    );
    assert!(told["causes"][0].as_str().unwrap().contains("issued.jsonl"), "{told}");
    assert_eq!(remote.daemon.json(&["client", "list"])[0]["state"], "invited");
    std::fs::remove_dir(&index).unwrap();
    std::fs::write(&index, kept).unwrap();
    enroll(&remote, &token, "bob").json();
}

#[test]
fn an_invitation_says_where_the_daemon_is_reached() {
    let remote = Remote::start();
    let port = remote.tls.rsplit(':').next().unwrap();
    let address = |words: &[&str]| {
        let words = [&["client", "invite", "bob", "--role", "observer"], words].concat();
        remote.daemon.json(&words)["address"].as_str().unwrap().to_owned()
    };
    assert_eq!(address(&[]), format!("127.0.0.1:{port}"));
    for (written, expected) in [
        ("vm1.example.org", format!("vm1.example.org:{port}")),
        ("fd00::7", format!("[fd00::7]:{port}")),
        ("[fd00::7]:7", "[fd00::7]:7".to_owned()),
        ("10.0.0.7:7", "10.0.0.7:7".to_owned()),
    ] {
        assert_eq!(address(&["--address", written]), expected);
    }
    let ran = remote.daemon.vmwire(&["client", "invite", "bob", "--role", "observer", "--address", "vm1"]);
    assert!(ran.err.contains(&format!("for one certificate of the daemon at vm1:{port}")), "{ran:?}");
    let ran = remote.daemon.vmwire(&["client", "invite", "bob", "--role", "observer", "--address", "vm1:x"]);
    assert!(ran.code == 1 && ran.err.contains("\"x\" is no port; write a number from 1 to 65535"), "{ran:?}");
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
    assert!(ran.code == 4 && lost.elapsed() < SOON, "{ran:?} after {:?}", lost.elapsed());
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
    assert!(ran.code == 4 && removed.elapsed() < SOON, "{ran:?} after {:?}", removed.elapsed());
    assert_eq!(remote.vmwire(&frank, &["vm", "list"]).error(4)["code"], "DENIED");
}
