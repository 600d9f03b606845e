//! By ssh2, against a real ssh server: the way to the daemon, and every way not to get there, with its words.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vmwire_client::connection::{Connection, Options};
use vmwire_client::request;
use vmwire_client::transport::Environment;
use vmwire_protocol::message::VmCall;
use vmwire_protocol::xdr::Text;

use crate::harness::{Far, Limit, Native, Running, SOON, SshdSetup, Stop, eventually, keygen, proxy};

#[test]
fn whoever_is_let_in_is_served_through_the_socket_without_a_program_on_either_side() {
    let story = Native::start(SshdSetup::default());
    story.sshd.far(Far::Nothing);
    let uri = story.uri("");
    let version = story.sshd.vmwire(&["-c", &uri, "-o", "json", "version"]).json()["daemon"].clone();
    assert_eq!((&version["transport"], &version["role"]), (&json!("ssh"), &json!("admin")), "{version}");
    // All in the URI, and nothing of the settings.
    story.sshd.place().write("ssh_config", "BatchMode yes\n");
    let (key, hosts) = (story.sshd.key(), story.sshd.known_hosts());
    let files = format!("&keyfile={}&known_hosts={}", key.display(), hosts.display());
    story.lists_at(&story.uri_at(story.sshd.address(), &files));
}

#[test]
fn nothing_is_left_of_a_session_when_its_client_is_gone() {
    let story = Native::start(SshdSetup::default());
    story.sshd.leaves_nothing_behind(&story.daemon, &story.uri(""));
}

#[test]
fn where_the_server_forbids_sockets_vmwire_is_the_bridge_over_there() {
    for line in ["AllowStreamLocalForwarding no", "DisableForwarding yes", "AllowStreamLocalForwarding remote"] {
        let story = Native::start(SshdSetup::default().line(line));
        story.lists("");
        let far = |script: &str| story.sshd.far(Far::Script(script));
        far("printf 'Welcome to vm1\\n'; cat >&2");
        let noise = "vm1 printed \"Welcome to vm1\" before the daemon's first packet";
        story.fails("", 3, noise, "ssh vm1 true");
        far("echo 'this account is closed' >&2; exit 1");
        let error = story.error("", 3);
        assert_eq!(error["causes"][0], "this account is closed", "{error}");
        far("exit 0");
        story.fails("", 3, "what was run on vm1 ended without a word", "ForceCommand");
        story.sshd.far(Far::Nothing);
        let socket = story.daemon.socket().display().to_string();
        let unreached = format!("root does not get to {socket} on vm1, and there is no vmwire to say why");
        let error = story.fails("", 3, &unreached, "AllowStreamLocalForwarding");
        assert_eq!(error["code"], "SSH");
        // On a terminal nothing of it acts.
        far("printf '\\033[2Jgone\\n' >&2; exit 1");
        let told = story.sshd.vmwire(&["-c", &story.uri(""), "vm", "list"]).fails(3);
        assert!(told.contains("cause: \\u{1b}[2Jgone\n") && !told.contains('\u{1b}'), "{told}");
        far("while :; do echo again and again; done >&2");
        let began = Instant::now();
        let arguments = ["-c", &story.uri(""), "--timeout", "12s", "-o", "json", "vm", "list"];
        let error = Running::start(story.alone(&arguments)).end().error(6);
        assert!(error["message"].as_str().unwrap().starts_with("no daemon by ssh to vm1 within"), "{error}");
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
}

#[test]
fn what_the_far_side_says_beside_a_daemon_that_answers_is_told_at_a_terminal() {
    let story = Native::start(SshdSetup::default().line("AllowStreamLocalForwarding no"));
    let built = std::fs::read_to_string(story.path("far/vmwire")).unwrap();
    let built = built.strip_prefix("#!/bin/sh\n").unwrap();
    story.sshd.far(Far::Script(&format!("printf 'the disk is full \\033[2J\\n' >&2\n{built}")));
    story.sshd.settings("BatchMode no");
    let ran = story.at_terminal(&["-c", &story.uri(""), "vm", "list"]).end();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("vm1: the disk is full \\u{1b}[2J\r") && ran.out.contains("web"), "{ran:?}");
}

#[test]
fn a_daemon_that_does_not_run_is_told_by_the_bridge_or_where_there_is_none_by_ourselves() {
    let story = Native::start(SshdSetup::default());
    let nowhere = story.sshd.uri(Path::new("/nonexistent/s"), "&transport=ssh2");
    let failed = |uri: &str| Running::start(story.alone(&["-c", uri, "-o", "json", "vm", "list"])).end().error(3);
    let error = failed(&nowhere);
    assert_eq!(error["message"], "on vm1: cannot connect to /nonexistent/s", "{error}");
    assert!(error["causes"][0].as_str().unwrap().starts_with("No such file or directory"), "{error}");
    story.sshd.far(Far::Nothing);
    let error = failed(&nowhere);
    assert_eq!(error["message"], "root does not get to /nonexistent/s on vm1, and there is no vmwire to say why");
    let hint = error["hint"].as_str().unwrap();
    assert!(
        hint.starts_with(
            "on vm1 (ssh vm1): is vmwired installed, does it run (systemctl enable --now vmwired), and does sshd"
        ),
        "{hint}"
    );
    let long = story.sshd.uri(Path::new(&format!("/{}", "a".repeat(299))), "&transport=ssh2");
    let error = failed(&long);
    let message = error["message"].as_str().unwrap();
    assert!(message.ends_with("has 300 bytes, and a unix socket has room for 107"), "{error}");
}

#[test]
fn a_server_that_does_neither_is_told() {
    let setup = SshdSetup::default().line("AllowStreamLocalForwarding no").line("MaxSessions 0");
    let story = Native::start(setup);
    let message = "vm1 neither connects to sockets nor runs programs for this user";
    story.fails("", 3, message, "AllowStreamLocalForwarding");
}

#[test]
fn a_server_with_weak_algorithms_only_is_refused_and_what_it_offers_is_told() {
    for (line, what, offered) in [
        ("KexAlgorithms diffie-hellman-group14-sha1", "key exchange", "diffie-hellman-group14-sha1"),
        ("KexAlgorithms diffie-hellman-group1-sha1", "key exchange", "diffie-hellman-group1-sha1"),
        ("Ciphers aes128-cbc,3des-cbc", "cipher", "aes128-cbc,3des-cbc"),
        ("MACs hmac-sha1,hmac-md5\nCiphers aes256-ctr", "MAC", "hmac-sha1,hmac-md5"),
    ] {
        let story = Native::start(SshdSetup::default().line(line));
        let message = format!("vm1 offers nothing for the {what} that is taken here");
        let error = story.fails("", 3, &message, "the ssh server of vm1 is old; update it");
        let causes = error["causes"].as_array().unwrap();
        assert!(causes[0].as_str().unwrap().starts_with(&format!("it offers {offered}")), "{error}");
        assert!(causes[1].as_str().unwrap().starts_with("taken are "), "{error}");
        let taken = causes[1].as_str().unwrap();
        assert!(!["sha1", "md5", "cbc", "arcfour"].iter().any(|weak| taken.contains(weak)), "{taken}");
    }
    // RSA signs with SHA-1 only.
    let directory = tempfile::Builder::new().prefix("vmwire-").tempdir().unwrap();
    let key = directory.path().join("rsa");
    keygen(&key, &["-t", "rsa"]);
    let story = Native::start(SshdSetup::default().line("HostKeyAlgorithms ssh-rsa").host_key(key));
    story.fails("", 3, "vm1 offers nothing for the host key that is taken here", "");
}

/// What may be said when a connection is cut while it is made.
fn is_told(message: &str) -> bool {
    ["closed the connection", "was cut", "closed output", "the daemon closed", "it failed", "connection was lost"]
        .iter()
        .any(|words| message.contains(words))
}

#[test]
fn a_connection_cut_anywhere_is_told_at_once() {
    let story = Native::start(SshdSetup::default());
    let files = files(&story);
    let all = {
        let (address, passed) = proxy(story.sshd.address(), Limit::ToClient(usize::MAX), Stop::Cut);
        story.lists_at(&story.uri_at(address, &format!("{files}&known_hosts={}", hosts(&story, address))));
        [&passed.to_client, &passed.to_server].map(|passed| passed.load(Ordering::Relaxed))
    };
    let mut served = 0;
    for limit in cuts(all) {
        let (address, _) = proxy(story.sshd.address(), limit, Stop::Cut);
        let uri = story.uri_at(address, &format!("{files}&known_hosts={}", hosts(&story, address)));
        let began = Instant::now();
        let ran = Running::start(story.alone(&["-c", &uri, "-o", "json", "vm", "list"])).end();
        let took = began.elapsed();
        // One that is cut when it stood is made anew for a while.
        assert!(took < SOON, "{limit:?} took {took:?}: {ran:?}");
        if ran.code == 0 {
            served += 1;
            continue;
        }
        let error: Value = serde_json::from_str(&ran.err).unwrap_or_else(|error| panic!("{limit:?}: {error}: {ran:?}"));
        let error = &error["error"];
        assert!(ran.code == 3 && is_told(error["message"].as_str().unwrap()), "{limit:?}: {error}");
    }
    assert!(served < 10, "most were cut before the end");
}

/// Places to cut at: among the first bytes, and then in steps up to what a whole conversation takes.
fn cuts([to_client, to_server]: [usize; 2]) -> impl Iterator<Item = Limit> {
    let places = |all| [0, 1, 10, 20, 21, 22, 30, 41, 45].into_iter().chain((50..all).step_by(107));
    places(to_client).map(Limit::ToClient).chain(places(to_server).map(Limit::ToServer))
}

fn files(story: &Native) -> String {
    format!("&keyfile={}", story.sshd.key().display())
}

/// Known hosts for a proxy before the server.
fn hosts(story: &Native, address: SocketAddr) -> String {
    let line = crate::harness::line_of(&story.sshd.known_hosts());
    let (_, key) = line.split_once(' ').unwrap();
    let name = format!("hosts-{}", address.port());
    story.sshd.place().write(&name, format!("[127.0.0.1]:{} {key}\n", address.port()))
}

#[test]
fn a_far_side_that_falls_silent_anywhere_is_given_up_in_time() {
    let story = Native::start(SshdSetup::default());
    let files = files(&story);
    let stages = [
        "before it said which SSH it speaks",
        "while keys were agreed on",
        "while this user was being let in",
        "while the way to the daemon was opened",
    ];
    let mut seen = std::collections::BTreeSet::new();
    // Each takes all its time, which is long enough for a slow machine to get as far as it may.
    let begin = |place: usize| {
        let (address, _) = proxy(story.sshd.address(), Limit::ToClient(place), Stop::Silence);
        let uri = story.uri_at(address, &format!("{files}&known_hosts={}", hosts(&story, address)));
        let arguments = ["-c", &uri, "--timeout", "8s", "-o", "json", "vm", "list"];
        (place, address, Running::start(story.alone(&arguments)))
    };
    for places in [[0, 20, 300], [1500, 1700, 1800], [1900, 2000, 2100]] {
        let began = Instant::now();
        for (place, address, running) in places.map(begin) {
            let error = running.end().error(6);
            assert!(began.elapsed() < SOON, "{place}: {:?}", began.elapsed());
            let message = error["message"].as_str().unwrap();
            let silent = format!("root@{address} has been silent for too long ");
            if message == "no answer within 8 s" {
                // Everything stood, and it is the daemon that is waited for.
                continue;
            }
            let stage = message.strip_prefix(&silent).unwrap_or_else(|| panic!("{place}: {error}"));
            seen.insert(stages.iter().position(|&words| words == stage).unwrap_or_else(|| panic!("{place}: {error}")));
        }
    }
    assert!([0, 1, 2].iter().all(|stage| seen.contains(stage)), "{seen:?}");
}

#[test]
fn whoever_does_not_speak_ssh_is_told_so() {
    let story = Native::start(SshdSetup::default());
    for said in ["HTTP/1.1 400 Bad Request\r\n\r\n", "\u{16}\u{3}\u{1}\0\0", "\0\0\0\0\0\0\0\0", "SSH-1.5-old\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(said.as_bytes()).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let uri = story.uri_at(address, &files(&story));
        let error = Running::start(story.alone(&["-c", &uri, "-o", "json", "vm", "list"])).end().error(3);
        let message = error["message"].as_str().unwrap();
        assert_eq!(message, format!("whoever listens at root@{address} does not speak SSH"), "{said:?}: {error}");
        drop(server);
    }
    // Lines before it are allowed (RFC 4253 section 4.2).
    let story = Native::start(SshdSetup::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, server) = (listener.local_addr().unwrap(), story.sshd.address());
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.write_all(b"Welcome\r\nto vm1\r\n").unwrap();
        let mut server = std::net::TcpStream::connect(server).unwrap();
        let (mut up, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut up, &mut to));
        let _ = std::io::copy(&mut server, &mut client);
    });
    story.lists_at(&story.uri_at(address, &format!("{}&known_hosts={}", files(&story), hosts(&story, address))));
}

#[test]
fn a_banner_is_logged_and_does_not_act_on_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let banner = directory.path().join("banner");
    std::fs::write(&banner, "Authorized use only\n\u{1b}]0;title\u{7}\n").unwrap();
    let story = Native::start(SshdSetup::default().line(&format!("Banner {}", banner.display())));
    story.lists("");
    let mut command = story.alone(&["-c", &story.uri(""), "vm", "list"]);
    command.env("VMWIRE_LOG", "info");
    let ran = Running::start(command).end();
    assert!(ran.code == 0 && ran.err.contains("vm1: Authorized use only") && !ran.err.contains('\u{1b}'), "{ran:?}");
}

#[test]
fn keys_that_are_changed_on_the_way_and_much_that_is_typed_disturb_nothing() {
    let story = Native::start(SshdSetup::default().line("RekeyLimit 100K\nClientAliveInterval 1\nLogLevel DEBUG1"));
    let uri = story.uri("");
    story.daemon.ok(&["vm", "start", "web"]);
    let mut console = Running::start(story.sshd.command(&["-c", &uri, "vm", "console", "web"]));
    let line = "0123456789abcdefghijklmnopqrstuvwxyz".repeat(100) + "\n";
    // It says back what is typed.
    for number in 0..100 {
        console.write(&line);
        console.write(&format!("line {number} is over\n"));
        console.expect(&format!("line {number} is over"));
    }
    eventually("keys were changed", || {
        (story.sshd.log().matches("SSH2_MSG_KEXINIT received").count() > 2).then_some(())
    });
    story.daemon.ok(&["vm", "stop", "web"]);
    assert_eq!(console.wait().code, 0);
}

#[test]
fn answers_that_came_together_are_all_fetched_though_no_poll_tells_of_them() {
    let story = Native::start(SshdSetup::default());
    let comments = format!("# {}\n", "0123456789".repeat(9)).repeat(450);
    story.daemon.define(&format!("name = \"long\"\nmemory = \"64 MiB\"\n{comments}"));
    let more = format!("{}&known_hosts={}", files(&story), story.sshd.known_hosts().display());
    let uri = story.uri_at(story.sshd.address(), &more).parse().unwrap();
    // A daemon that is silent for so long is asked whether it is there, which would bring them after all.
    let options = Options { keepalive: Duration::from_secs(100), reconnect: Duration::ZERO, ..Options::default() };
    let mut connection = Connection::open(&uri, &Environment::default(), options).unwrap();
    let vm = || VmCall { vm: Text::clipped("long") };
    let calls: Vec<_> = (0..12).map(|_| connection.begin(request::VmDefinition(vm()), None).unwrap()).collect();
    eventually("the daemon has said all", || {
        let rows = story.daemon.json(&["connection", "list"]);
        let row = rows.as_array().unwrap().iter().find(|row| row["own"] == false)?.clone();
        (row["calls"].as_u64() >= Some(12) && row["calls_open"] == 0 && row["unsent_bytes"] == 0).then_some(())
    });
    let began = Instant::now();
    for call in calls {
        assert!(connection.wait(call).unwrap().definition.len() > 40_000);
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn without_the_ssh_program_a_host_is_reached_as_the_uri_says() {
    let story = Native::start(SshdSetup::default());
    let more = format!("{}&known_hosts={}", files(&story), story.sshd.known_hosts().display());
    let mut command = story.sshd.command(&["-c", &story.uri_at(story.sshd.address(), &more), "vm", "list"]);
    command.env("PATH", "/nonexistent");
    assert!(Running::start(command).end().ok().contains("web"));
}

#[test]
fn links_leave_nothing_behind() {
    let story = Native::start(SshdSetup::default());
    let more = format!("{}&known_hosts={}", files(&story), story.sshd.known_hosts().display());
    let uri = story.uri_at(story.sshd.address(), &more).parse().unwrap();
    let options = Options { reconnect: Duration::ZERO, ..Options::default() };
    let open = || {
        let mut connection = Connection::open(&uri, &Environment::default(), options.clone()).unwrap();
        connection.call(request::HostInfo, None).unwrap();
    };
    open();
    let mine = || {
        // Other stories come and go beside this one: only those to the server count.
        let port = format!(":{:04X} ", story.sshd.address().port());
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        table.lines().filter(|line| line.contains(&port) && line.split_whitespace().nth(3) == Some("01")).count()
    };
    for _ in 0..10 {
        open();
    }
    eventually("all connections are over", || (mine() == 0).then_some(()));
    eventually("all sessions are over", || (story.sshd.sessions() == 0).then_some(()));
}
