//! Hosts that have forgotten what day it is: the programs with a clock that says 1970, against others whose clock is right. And
//! what happens when the time comes, on a host whose clock is ahead.
//!
//! The clock is that of libfaketime, preloaded; what measures waiting (the monotonic clock) is left alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use vmwire_protocol::token::Token;
use vmwire_protocol::xdr::{Fixed, Secret, Text};
use vmwire_tls::date::Date;

use crate::harness::{Daemon, Place, Ran, Running, Setup, Way, pki, pki_command, skip, vmwire};

/// Where libfaketime is; says that the story is skipped if it is nowhere.
fn library(test: &str) -> Option<PathBuf> {
    let found = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found = found.map(|entry| entry.path().join("faketime/libfaketime.so.1")).find(|path| path.is_file());
    if found.is_none() {
        skip(test, "there is no libfaketime");
    }
    found
}

/// The same program at the beginning of 1970.
fn in_1970(command: Command, library: &Path) -> Command {
    at(command, library, "@1970-01-01 00:01:40")
}

/// The same program at another time.
fn at(mut command: Command, library: &Path, time: &str) -> Command {
    command.env("LD_PRELOAD", library).env("TZ", "UTC0").env("FAKETIME", time);
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

fn run(command: Command) -> Ran {
    Running::start(command).end()
}

/// When a certificate begins to be valid, as people are told.
fn valid_from(place: &Place, file: &str) -> String {
    let shown = pki(place, &["show", file]).json();
    Date(i64::try_from(shown[0]["not_before_ns"].as_u64().unwrap() / 1_000_000_000).unwrap()).to_string()
}

/// What stands in a text behind some words and a moment in the first minutes of 1970.
#[track_caller]
fn behind_1970<'a>(text: &'a str, before: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before:?} is not in {text}"));
    let (_, rest) = rest.strip_prefix("1970-01-01 00:0").and_then(|rest| rest.split_once(" UTC")).expect(text);
    rest
}

#[test]
fn a_client_in_1970_says_which_clock_may_be_wrong_and_spends_no_token() {
    let Some(library) = library("a_client_in_1970_says_which_clock_may_be_wrong_and_spends_no_token") else { return };
    let daemon = Way::Tls.setup().start();
    let (place, address) = (daemon.place(), daemon.address(Way::Tls));
    let from = valid_from(place, "pki/server.crt");
    let mut command = vmwire();
    command.args(["-o", "json", "-c", &daemon.uri_by(Way::Tls), "vm", "list"]);
    let error = run(in_1970(command, &library)).error(3);
    assert_eq!(error["message"], format!("no TLS with {address}"), "{error}");
    let cause = error["causes"][0].as_str().unwrap();
    let said = format!("the server's certificate (CN=127.0.0.1) is valid from {from} on, and this clock says ");
    assert_eq!(behind_1970(cause, &said), ": is the clock right?", "{error}");
    assert_eq!(error["hint"], "set this clock, or the one of the host that issued it", "{error}");

    let token = daemon.json(&["client", "invite", "bob", "--role", "operator"])["token"].as_str().unwrap().to_owned();
    let enroll = || {
        let mut command = vmwire();
        command.args(["-o", "json", "enroll", "--dir"]).arg(place.join("bob"));
        command
    };
    let mut early = Running::start(in_1970(enroll(), &library));
    early.write(&token);
    let error = early.end().error(3);
    behind_1970(error["causes"][0].as_str().unwrap(), &said);
    let mut enroll = Running::start(enroll());
    enroll.write(&token);
    assert_eq!(enroll.end().json()["name"], "bob");
}

#[test]
fn a_daemon_in_1970_lets_nobody_in_who_comes_later_and_says_why() {
    let Some(library) = library("a_daemon_in_1970_lets_nobody_in_who_comes_later_and_says_why") else { return };
    let setup = Way::Tls.setup();
    let from = valid_from(&setup.place, "pki/issued/alice/client.crt");
    let daemon = setup.start_as(|command| in_1970(command, &library));
    let address = daemon.address(Way::Tls);
    let error = daemon.vmwire_as("alice", &["vm", "list"]).error(4);
    assert_eq!(error["message"], format!("{address} does not let this client in"), "{error}");
    let cause = "the server refused: your certificate has expired or is not valid yet by its clock (alert certificate expired): \
                 compare its dates with both clocks";
    assert_eq!(error["causes"], serde_json::json!([cause]), "{error}");
    let said = format!("refused: the client's certificate (CN=alice) is valid from {from} on, and this clock says ");
    let line = daemon.logs(&said);
    assert_eq!(behind_1970(&line, &said), ": is the clock right?\n", "{line}");

    // Whoever comes by the host's own socket is served, and sees it. Nobody can be enrolled.
    let rows = daemon.json(&["host", "certificates"]);
    assert_eq!(rows[0]["purpose"], "server", "{rows}");
    let invited = daemon.json(&["client", "invite", "bob", "--role", "operator"]);
    let mut command = vmwire();
    command.args(["-o", "json", "enroll", "--dir"]).arg(daemon.place().join("bob"));
    let mut enroll = Running::start(command);
    enroll.write(invited["token"].as_str().unwrap());
    let error = enroll.end().error(1);
    assert_eq!(
        (&error["code"], &error["message"]),
        (&"INVALID".into(), &"no certificate can be made for this request".into())
    );
    let cause = error["causes"][0].as_str().unwrap();
    assert_eq!(behind_1970(cause, "this machine's clock says "), ", which cannot be", "{error}");
}

#[test]
fn an_authority_is_not_made_in_1970() {
    let Some(library) = library("an_authority_is_not_made_in_1970") else { return };
    let place = Place::new();
    let error = run(in_1970(pki_command(&place, &["init", "--server", "vm1"]), &library)).error(1);
    let message = error["message"].as_str().unwrap();
    assert_eq!(behind_1970(message, "this machine's clock says "), ", which cannot be", "{error}");
    assert!(error["hint"].as_str().unwrap().contains("timedatectl"), "{error}");
    assert!(!place.join("pki").exists());
    pki(&place, &["init", "--server", "vm1"]).ok();
    let shown = run(in_1970(pki_command(&place, &["show", "pki/server.crt"]), &library)).json();
    let problem = shown[0]["problems"][0].as_str().unwrap();
    let from = valid_from(&place, "pki/server.crt");
    assert_eq!(behind_1970(problem, &format!("not valid before {from}; this machine's clock says ")), "", "{shown}");
}

#[test]
fn a_token_is_good_for_an_hour_and_no_longer() {
    let Some(library) = library("a_token_is_good_for_an_hour_and_no_longer") else { return };
    // The stand-in for QEMU keeps nobody in mind.
    let daemon = Setup::qemu().networked().start();
    let [bob, carol] = ["bob", "carol"].map(|name| {
        let invited = daemon.json(&["client", "invite", name, "--role", "operator"]);
        Token::parse(invited["token"].as_str().unwrap()).unwrap()
    });
    let spend = |daemon: &Daemon, token: &Token, dir: &str, time: &str| {
        // The daemon has another port each time.
        let (secret, address) = (Secret::new(Fixed(token.secret.reveal().0)), daemon.address(Way::Tls).to_string());
        let token = Token { address: Text::new(address).unwrap(), ca: token.ca, secret };
        let mut command = vmwire();
        command.args(["-o", "json", "enroll", "--dir"]).arg(daemon.place().join(dir));
        let mut enroll = Running::start(at(command, &library, time));
        enroll.write(token.to_text().reveal());
        enroll.end()
    };
    let setup = daemon.stopped();
    let daemon = setup.start_as(|command| at(command, &library, "+58m"));
    assert_eq!(spend(&daemon, &bob, "bob", "+58m").json()["name"], "bob");
    daemon.stopped();
    let daemon = setup.start_as(|command| at(command, &library, "+61m"));
    let error = spend(&daemon, &carol, "carol", "+61m").error(4);
    assert_eq!((&error["code"], &error["message"]), (&"DENIED".into(), &"this token has expired".into()), "{error}");
    assert_eq!(error["hint"], "ask for another: vmwire client invite", "{error}");
    assert!(!daemon.place().join("carol/127.0.0.1").exists());
}

#[test]
fn what_ends_soon_is_told_by_an_event_in_the_log_and_where_the_host_is_shown() {
    let Some(library) = library("what_ends_soon_is_told_by_an_event_in_the_log_and_where_the_host_is_shown") else {
        return;
    };
    let setup = Way::Tls.setup();
    // The daemon's certificate is good for 397 days, or 9528 hours, its authority and the list for ten years.
    for (ahead, left, words) in [
        ("+8780h", None, ""),
        ("+8844h", Some(28), "expires in 28 days, on "),
        ("+9396h", Some(5), "expires in 5 days, on "),
        ("+9516h", Some(0), "expires within a day, on "),
        ("+9552h", Some(0), "expired on "),
    ] {
        let daemon = setup.start_as(|command| at(command, &library, ahead));
        let until = daemon.json(&["host", "info"])["certificates_until_ns"].clone();
        assert_eq!(until, daemon.json(&["host", "certificates"])[0]["not_after_ns"]);
        let Some(left) = left else {
            daemon.signal(Signal::HUP);
            daemon.logs("is in force");
            assert!(!daemon.log().contains("the certificate (CN=127.0.0.1) expire"), "{}", daemon.log());
            daemon.stopped();
            continue;
        };
        let line = daemon.logs(&format!("the certificate (CN=127.0.0.1) {words}"));
        assert!(line.contains(" WARN "), "{line}");
        let follow = ["-o", "json", "event", "follow", "--since", "0", "--kind", "certificate", "--count", "1"];
        let event = daemon.vmwire(&follow).json();
        let detail = &event["detail"];
        assert_eq!(
            (&detail["purpose"], &detail["change"], &detail["days"]),
            (&"server".into(), &"expires".into(), &left.into())
        );
        assert!(detail["message"].as_str().unwrap().contains(words), "{event}");
        daemon.stopped();
    }
}
