//! Certificates that are replaced while the daemon runs: who comes next sees the new ones, and who is not let in any more
//! does not get around that.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vmwire_protocol::message::{ClientData, ConsoleOpenCall, ServerData, code, console_mode};
use vmwire_protocol::xdr::Text;
use vmwire_tls::config::ClientContext;

use crate::harness::{
    Daemon, Owner, Raw, Running, SOON, Signer, Socket, Way, client_context, ending_in, eventually, params, pki,
};

/// Puts a file where another is, at once.
fn put(from: &Path, to: &Path) {
    let new = to.with_extension("new");
    std::fs::copy(from, &new).unwrap();
    std::fs::rename(new, to).unwrap();
}

/// The fingerprint of the key that the daemon shows to who comes now.
fn shown(daemon: &Daemon) -> String {
    let mut raw = daemon.raw_by(Way::Tls);
    raw.ping();
    raw.socket.peer_key().unwrap()
}

fn taken_up(daemon: &Daemon, times: usize) {
    eventually("it is taken up", || (daemon.log().matches(" is in force").count() >= times).then_some(()));
}

/// Makes another certificate for the daemon, in `next` of its place.
fn next(daemon: &Daemon, host: &str) {
    pki(daemon.place(), &["issue", "server", host, "--host", "127.0.0.1", "--to", "next"]).ok();
}

#[test]
fn who_comes_after_a_renewal_sees_the_new_certificate_and_who_was_there_stays() {
    let daemon = Way::Tls.setup().start();
    let before = shown(&daemon);
    let mut there = daemon.raw_by(Way::Tls);
    there.ping();
    pki(daemon.place(), &["renew", "server", "127.0.0.1", "--new-key"]).ok();
    let after = eventually("the new one is in force", || Some(shown(&daemon)).filter(|after| *after != before));
    assert_ne!(after, before);
    there.ping();
    let events = daemon.ok(&["event", "follow", "--since", "0", "--kind", "certificate", "--count", "1"]);
    assert!(events.contains("is in force"), "{events}");
}

#[test]
fn half_of_a_pair_changes_nothing_until_the_other_half_is_there() {
    let daemon = Way::Tls.setup().start();
    let before = shown(&daemon);
    next(&daemon, "vm2.example.org");
    let [place, pki] = [daemon.place().join("next"), daemon.place().join("pki")];
    put(&place.join("server.crt"), &pki.join("server.crt"));
    daemon.logs("certificates stay as they were: no TLS: the private key does not belong to the certificate");
    assert_eq!(shown(&daemon), before);
    let events = daemon.ok(&["event", "follow", "--since", "0", "--kind", "certificate", "--count", "1"]);
    assert!(events.contains("stay as they were"), "{events}");
    let rows = daemon.json(&["host", "certificates"]);
    assert!(rows.to_string().contains("stay as they were"), "{rows}");

    put(&place.join("server.key"), &pki.join("server.key"));
    taken_up(&daemon, 1);
    assert_ne!(shown(&daemon), before);
    assert!(!daemon.json(&["host", "certificates"]).to_string().contains("stay as they were"));
}

#[test]
fn garbage_a_missing_file_and_an_open_key_change_nothing() {
    let daemon = Way::Tls.setup().start();
    let before = shown(&daemon);
    let file = |name: &str| daemon.place().join("pki").join(name);
    let refusals = || daemon.log().matches("certificates stay as they were: ").count();
    for name in ["server.crt", "server.key", "ca.crt", "crl.pem"] {
        let kept = daemon.place().join(name);
        std::fs::copy(file(name), &kept).unwrap();
        let count = refusals();
        std::fs::write(file(name), "garbage").unwrap();
        eventually("it is refused", || (refusals() > count).then_some(()));
        assert_eq!(shown(&daemon), before, "{name}");
        // A list need not be there only where none was named; here it was.
        let count = refusals();
        std::fs::remove_file(file(name)).unwrap();
        eventually("it is missed", || (refusals() > count).then_some(()));
        assert_eq!(shown(&daemon), before, "{name}");
        put(&kept, &file(name));
    }
    taken_up(&daemon, 1);
    assert_eq!(shown(&daemon), before);
}

#[test]
fn a_hangup_has_them_read_as_well() {
    let daemon = Way::Tls.setup().start();
    daemon.signal(Signal::HUP);
    daemon.logs("the configuration was read again");
    taken_up(&daemon, 1);
    daemon.vmwire_by(Way::Tls, &["ping"]).ok();
}

#[test]
fn what_could_not_be_read_is_taken_up_once_it_can_be_though_nothing_tells() {
    let daemon = Way::Tls.setup().start();
    // The list is a link to where no change is noticed.
    let [list, link] = ["pki/crl.pem", "pki/link"].map(|name| daemon.place().join(name));
    let [elsewhere, aside] = ["crl.pem", "crl.aside"].map(|name| daemon.place().join(name));
    std::fs::copy(&list, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    std::fs::rename(&link, &list).unwrap();
    taken_up(&daemon, 1);
    std::fs::rename(&elsewhere, &aside).unwrap();
    let before = daemon.log().matches(" is in force").count();
    daemon.signal(Signal::HUP);
    daemon.logs("certificates stay as they were: no TLS: cannot read");
    std::fs::rename(&aside, &elsewhere).unwrap();
    taken_up(&daemon, before + 1);
}

/// Comes with a context, and says whether that was let in; what it remembers of the daemon it may use.
fn comes(daemon: &Daemon, context: &ClientContext) -> bool {
    let Ok(socket) = Socket::tls(daemon.address(Way::Tls), context) else { return false };
    let mut raw = Raw::new(socket);
    raw.tries_to_ping()
}

#[test]
fn a_revoked_client_is_shown_out_with_its_console_and_neither_comes_back_nor_resumes() {
    let daemon = Way::Tls.setup().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nconsole = \"login: \"\n");
    daemon.ok(&["vm", "start", "web"]);
    let context = client_context(&daemon.place().join("pki/issued/alice"));
    // It has sessions to resume.
    for _ in 0..3 {
        assert!(comes(&daemon, &context));
    }
    let mut inside = Raw::new(Socket::tls(daemon.address(Way::Tls), &context).unwrap());
    let call = ConsoleOpenCall { vm: Text::clipped("web"), mode: console_mode::TAKE_OVER, history_bytes: 0 };
    let serial = inside.call(&ClientData::ConsoleOpen(call));
    assert!(matches!(inside.answer(serial), ServerData::ConsoleOpen(_)));
    let console = daemon.begin_at(&daemon.uri_by(Way::Tls), &["vm", "console", "web", "--read-only"]);

    pki(daemon.place(), &["revoke", "pki/issued/alice/client.crt"]).ok();
    let begun = Instant::now();
    let failure = inside.closing();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!([code::DENIED, code::GOING_AWAY].contains(&failure.code), "{failure:?}");
    assert!(failure.message.contains("revoked"), "{failure:?}");
    let ran = console.wait();
    assert!(ran.code != 0 && ran.err.contains("revoked"), "{ran:?}");
    for _ in 0..3 {
        assert!(!comes(&daemon, &context), "with its session");
    }
    assert!(!comes(&daemon, &client_context(&daemon.place().join("pki/issued/alice"))), "without it");
    eventually("nobody is left", || (daemon.json(&["connection", "list"]).as_array()?.len() == 1).then_some(()));
    assert_eq!(daemon.json(&["vm", "show", "web"])["console"]["writer"], serde_json::Value::Null);
}

#[test]
fn whom_a_rule_names_no_more_is_shown_out_with_its_console() {
    let daemon = Way::Tls.setup().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nconsole = \"login: \"\n");
    daemon.ok(&["vm", "start", "web"]);
    let mut console = daemon.begin_at(&daemon.uri_by(Way::Tls), &["vm", "console", "web", "--history", "1KiB"]);
    console.expect("login: ");
    let config = std::fs::read_to_string(daemon.place().join("vmwired.toml")).unwrap();
    let (listeners, _) = config.split_once("[[rule]]").unwrap();
    let shown_out = |rule: &str, who: Running, words: &str| {
        daemon.place().write("vmwired.toml", format!("{listeners}{rule}"));
        daemon.signal(Signal::HUP);
        let begun = Instant::now();
        let ran = who.wait();
        assert!(ran.code == 4 && begun.elapsed() < SOON, "{ran:?} after {:?}", begun.elapsed());
        assert!(ran.err.contains(words), "{words:?}: {ran:?}");
    };
    let rule = "[[rule]]\nidentity = \"subject:CN=alice\"\nrole = \"observer\"\n";
    shown_out(rule, console, "operator");
    let follow = daemon.begin_at(&daemon.uri_by(Way::Tls), &["event", "follow"]);
    eventually("it listens", || {
        let rows = daemon.json(&["connection", "list"]);
        rows.as_array()?.iter().any(|row| row["transport"] == "tls" && row["subscribed"] == true).then_some(())
    });
    shown_out("", follow, "has no right to connect");
}

#[test]
fn whose_certificate_ends_is_shown_out_at_once_and_nobody_else_is() {
    let daemon = Way::Tls.setup().start();
    let signer = Signer::of(daemon.place());
    let begun = Instant::now();
    let authority = signer.below_for("an authority for a while", 14);
    // That this one ends first matters to nobody, for it leads nowhere.
    let heaped = signer.below_for("an authority of others", 2);
    let [own, mut below, mut stays] = [
        signer.issue(&ending_in(params("alice"), 12)),
        authority.issue(&params("alice")),
        signer.issue(&params("alice")),
    ];
    below.certificates += heaped.chain();
    stays.certificates += heaped.chain();
    let comes = |name: &str, owner: &Owner| {
        let context = client_context(&owner.install(daemon.place(), name));
        let mut raw = Raw::new(Socket::tls(daemon.address(Way::Tls), &context).unwrap());
        raw.ping();
        raw
    };
    let [mut own, mut below, mut stays] = [comes("own", &own), comes("below", &below), comes("stays", &stays)];
    for (raw, name, seconds) in [(&mut own, "CN=alice", 12), (&mut below, "CN=an authority for a while", 14)] {
        let failure = raw.closing();
        let after = begun.elapsed();
        assert_eq!(failure.code, code::DENIED, "{failure:?}");
        assert!(failure.message.contains(&format!("({name}) expired on ")), "{failure:?}");
        // It began within a second, and a certificate is good for its last one; the daemon's is the third.
        let least = Duration::from_secs(seconds);
        assert!((least..least + SOON).contains(&after), "{name} after {after:?}");
    }
    stays.ping();
}

#[test]
fn when_a_list_ends_those_whom_it_is_about_are_shown_out_until_there_is_another() {
    let daemon = Way::Tls.setup().start();
    let place = daemon.place();
    let (other, certificate) = Signer::root("an authority without a list");
    let authorities = std::fs::read_to_string(place.join("pki/ca.crt")).unwrap() + &certificate;
    let ours = Signer::of(place).issue(&params("alice")).install(place, "ours");
    let theirs = other.issue(&params("alice")).install(place, "theirs");
    let replace = |name: &str, text: &str| {
        std::fs::write(place.join("new"), text).unwrap();
        std::fs::rename(place.join("new"), place.join("pki").join(name)).unwrap();
    };
    replace("ca.crt", &authorities);
    taken_up(&daemon, 1);
    let comes_to_stay = |dir: &Path| {
        let mut raw = Raw::new(Socket::tls(daemon.address(Way::Tls), &client_context(dir)).unwrap());
        raw.ping();
        raw
    };
    let [mut goes, mut stays] = [&ours, &theirs].map(|dir| comes_to_stay(dir));
    let begun = Instant::now();
    replace("crl.pem", &Signer::of(place).list_for(12));
    taken_up(&daemon, 2);
    goes.ping();
    let failure = goes.closing();
    let after = begun.elapsed();
    assert_eq!(failure.code, code::DENIED, "{failure:?}");
    assert!(failure.message.contains("list of the authority was to be replaced by"), "{failure:?}");
    let least = Duration::from_secs(11);
    assert!((least..least + SOON).contains(&after), "after {after:?}");
    stays.ping();
    assert!(!comes(&daemon, &client_context(&ours)) && comes(&daemon, &client_context(&theirs)));
    replace("crl.pem", &Signer::of(place).list_for(3600));
    taken_up(&daemon, 3);
    comes_to_stay(&ours).ping();
    stays.ping();
}

#[test]
fn whom_another_authority_stands_for_is_let_in_when_that_takes_the_place() {
    let daemon = Way::Tls.setup().start();
    let mut there = daemon.raw_by(Way::Tls);
    there.ping();
    let other = crate::pki::with_authority();
    pki(&other, &["issue", "client", "alice"]).ok();
    // Its own certificate may be of the old one.
    for name in ["crl.pem", "ca.crt"] {
        put(&other.join("pki").join(name), &daemon.place().join("pki").join(name));
    }
    taken_up(&daemon, 1);
    let failure = there.closing();
    assert_eq!(failure.code, code::DENIED, "{failure:?}");
    assert!(failure.message.contains("is not signed with the key of the authority trusted here"), "{failure:?}");
    let own = daemon.place().join("pki/issued/alice");
    assert!(!comes(&daemon, &client_context(&own)));
    for name in ["client.crt", "client.key"] {
        put(&other.join("pki/issued/alice").join(name), &own.join(name));
    }
    assert!(comes(&daemon, &client_context(&own)));
}
