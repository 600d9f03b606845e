//! A whole session from afar: what one can do over TLS, and what only look at over plain TCP.

use serde_json::json;
use vmwire_protocol::message::{ClientData, ServerData, VmCall, VmDefineCall, VmStartCall, code};
use vmwire_protocol::xdr::Text;

use crate::harness::{Daemon, Running, Setup, Way, eventually, pki};

fn begin(daemon: &Daemon, way: Way, arguments: &[&str]) -> Running {
    daemon.begin_at(&daemon.uri_by(way), arguments)
}

#[test]
fn a_session_over_tls_is_as_one_over_the_socket() {
    let daemon = Way::Tls.setup().start();
    let ok = |arguments: &[&str]| daemon.vmwire_by(Way::Tls, arguments).ok();
    let json = |arguments: &[&str]| daemon.vmwire_as("alice", arguments).json();
    let mut follower = begin(&daemon, Way::Tls, &["-o", "json", "event", "follow", "--kind", "vm-state"]);
    eventually("it follows", || {
        let rows = daemon.json(&["connection", "list"]);
        rows.as_array().unwrap().iter().any(|row| row["subscribed"] == true).then_some(())
    });

    let file = daemon.place().write("web.toml", "name = \"web\"\nmemory = \"64 MiB\"\n[test]\nconsole = \"login: \"\n");
    ok(&["vm", "define", &file]);
    ok(&["vm", "start", "web"]);
    assert_eq!(json(&["vm", "list"])[0]["state"], "running");
    let event = follower.json_line();
    assert_eq!((&event["vm"]["name"], &event["detail"]["state"]), (&json!("web"), &json!("starting")), "{event}");
    assert_eq!(follower.json_line()["detail"]["state"], "running");

    let mut console = begin(&daemon, Way::Tls, &["vm", "console", "web", "--history", "1KiB"]);
    console.expect("login: ");
    console.write("root\n");
    console.expect("root");
    let writer = daemon.json(&["vm", "show", "web"])["console"]["writer"].as_str().unwrap().to_owned();
    assert!(writer.starts_with("sha256:") && writer.ends_with(" CN=alice"), "{writer}");

    let rows = json(&["connection", "list"]);
    let own = rows.as_array().unwrap().iter().find(|row| row["own"] == true).unwrap();
    assert_eq!((&own["identity"], &own["role"], &own["transport"]), (&json!(writer), &json!("admin"), &json!("tls")));
    let version = json(&["version"]);
    assert_eq!((&version["daemon"]["transport"], &version["daemon"]["role"]), (&json!("tls"), &json!("admin")));
    assert!(version["daemon"]["tls"].as_str().unwrap().starts_with("TLSv1_3, "), "{version}");

    ok(&["vm", "stop", "web"]);
    assert_eq!(console.wait().code, 0, "a console ends with its guest");
    ok(&["vm", "undefine", "web"]);
}

#[test]
fn whoever_is_shown_out_from_afar_is_told_why() {
    let daemon = Way::Tls.setup().start();
    for way in [Way::Tcp, Way::Tls] {
        let mut kicked = daemon.raw_by(way);
        kicked.ping();
        let rows = daemon.json(&["connection", "list"]);
        let row = rows.as_array().unwrap().iter().find(|row| row["transport"] == way.word()).unwrap();
        assert_eq!(row["role"], way.role(), "{row}");
        daemon.ok(&["connection", "kick", &row["id"].to_string()]);
        let failure = kicked.closing();
        assert_eq!(failure.code, code::GOING_AWAY, "{failure:?}");
        assert!(failure.message.contains("uid 0"), "{failure:?}");
    }
}

#[test]
fn over_plain_tcp_one_looks_and_touches_nothing() {
    // No rule raises whom nobody can tell from others.
    let rules =
        "[[rule]]\nidentity = \"uid:0\"\nrole = \"admin\"\n[[rule]]\nidentity = \"subject:*\"\nrole = \"admin\"\n";
    let daemon = Way::Tcp.setup().config(rules).start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    daemon.define("name = \"spare\"\nmemory = \"64 MiB\"\n");
    daemon.ok(&["vm", "start", "web"]);
    let run = |arguments: &[&str]| daemon.vmwire_by(Way::Tcp, &[&["-o", "json"], arguments].concat());

    assert_eq!(run(&["vm", "list"]).json().as_array().unwrap().len(), 2);
    assert_eq!(run(&["vm", "show", "web"]).json()["state"], "running");
    assert!(run(&["vm", "definition", "web"]).ok().contains("64 MiB"));
    run(&["host", "info"]).json();
    run(&["vm", "wait", "web", "--for", "state=running"]).ok();
    let rows = run(&["connection", "list"]).json();
    assert_eq!(rows.as_array().unwrap().len(), 1, "others are not its business: {rows}");
    assert_eq!((&rows[0]["role"], &rows[0]["transport"]), (&json!("observer"), &json!("tcp")));

    let file = daemon.place().write("new.toml", "name = \"new\"\nmemory = \"64 MiB\"\n");
    let changes: &[(&str, &[&str])] = &[
        ("operator", &["vm", "start", "spare"]),
        ("operator", &["vm", "stop", "web"]),
        ("operator", &["vm", "shutdown", "web"]),
        ("operator", &["vm", "reboot", "web"]),
        ("operator", &["vm", "reset", "web"]),
        ("operator", &["vm", "pause", "web"]),
        ("operator", &["vm", "resume", "web"]),
        ("admin", &["vm", "define", &file]),
        ("admin", &["vm", "undefine", "spare"]),
        ("admin", &["connection", "kick", "1"]),
    ];
    for (needed, change) in changes {
        let ran = run(change);
        assert_eq!(ran.code, 4, "{ran:?}");
        let told: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
        let error = &told["error"];
        assert_eq!(error["code"], "DENIED", "{ran:?}");
        let message = error["message"].as_str().unwrap();
        let needs = format!("needs the role {needed}");
        assert!(message.contains(&needs) && message.ends_with("; yours is observer"), "{ran:?}");
    }
    for options in [&[][..], &["--read-only"]] {
        let told = daemon.vmwire_by(Way::Tcp, &[&["vm", "console", "web"], options].concat()).fails(4);
        assert!(told.contains("console-open needs the role operator; yours is observer"), "{told}");
    }
    assert_eq!((daemon.state("web"), daemon.state("spare")), ("running".to_owned(), "stopped".to_owned()));
}

#[test]
fn a_peer_of_plain_tcp_that_says_it_is_somebody_is_nobody_all_the_same() {
    let daemon = Way::Tcp.setup().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    let mut raw = daemon.raw_by(Way::Tcp);
    let start = raw.call(&ClientData::VmStart(VmStartCall { vm: Text::clipped("web"), paused: false }));
    let failure = raw.failure(start);
    assert_eq!(
        (failure.code, failure.fact("role"), failure.fact("needed")),
        (code::DENIED, Some("observer"), Some("operator"))
    );
    // Whether it is there makes no difference to what may not be done at all.
    for vm in ["web", "none"] {
        let stop = raw.call(&ClientData::VmStop(VmCall { vm: Text::clipped(vm) }));
        assert_eq!(raw.failure(stop).code, code::DENIED);
    }
    let definition = Text::clipped("no definition at all");
    let define = raw.call(&ClientData::VmDefine(VmDefineCall { definition, replace: true }));
    assert_eq!(raw.failure(define).code, code::DENIED);
    let ping = raw.call(&ClientData::Ping);
    assert_eq!(raw.answer(ping), ServerData::Ping);
}

#[test]
fn session_keys_are_written_only_where_the_configuration_allows_it_and_then_the_log_says_so_loudly() {
    for allowed in [false, true] {
        let setup = Setup::test();
        pki(&setup.place, &["init", "--server", "127.0.0.1"]).ok();
        pki(&setup.place, &["issue", "client", "alice"]).ok();
        let rule = "[[rule]]\nidentity = \"subject:CN=alice\"\nrole = \"admin\"\n";
        let config = format!("{}key_log = {allowed}\n{rule}", setup.listeners());
        let keys = setup.place.join("keys");
        let daemon = setup.config(&config).start_as(|mut command| {
            command.env("SSLKEYLOGFILE", &keys);
            command
        });
        daemon.vmwire_by(Way::Tls, &["ping"]).ok();
        let written = std::fs::read_to_string(&keys).unwrap_or_default();
        assert_eq!(written.contains("CLIENT_TRAFFIC_SECRET_0 "), allowed, "{written}");
        let told = "session keys are written where SSLKEYLOGFILE says";
        match allowed {
            true => assert!(daemon.logs(told).contains(" WARN ")),
            false => assert!(!daemon.log().contains(told), "{}", daemon.log()),
        }
    }
}
