//! Many hosts at once: real daemons, real contexts, one command line.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Daemon, Place, Ran, Running, SOON, Way, vmwire};

/// Daemons, and a person who has given them names: `a`, `b` and so on, all in the group `all`.
struct Hosts {
    daemons: Vec<Daemon>,
    place: Place,
}

impl Hosts {
    fn start(ways: &[Way]) -> Self {
        let daemons: Vec<Daemon> = ways.iter().map(|way| way.setup().start()).collect();
        let place = Place::new();
        let hosts = Self { daemons, place };
        for (index, way) in ways.iter().enumerate() {
            let name = char::from(b'a' + u8::try_from(index).unwrap()).to_string();
            hosts.vmwire(&["context", "add", &name, &hosts.daemons[index].uri_by(*way), "--group", "all"]).ok();
        }
        hosts
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = vmwire();
        command.env("XDG_CONFIG_HOME", self.place.path()).args(words);
        command
    }

    fn vmwire(&self, words: &[&str]) -> Ran {
        Running::start(self.command(words)).end()
    }

    /// Adds a host behind whose socket nobody takes anything up.
    fn and_a_silent_one(&self) -> UnixListener {
        let socket = self.place.join("silent");
        let listener = UnixListener::bind(&socket).unwrap();
        let uri = format!("qemu+unix:///system?socket={}", socket.display());
        self.vmwire(&["context", "add", "silent", &uri, "--group", "all"]).ok();
        listener
    }
}

#[test]
fn one_command_line_serves_them_all_over_whatever_way() {
    let hosts = Hosts::start(&[Way::Unix, Way::Tls, Way::Unix]);
    let mut define = Running::start(hosts.command(&["-H", "all", "vm", "define", "-"]));
    define.write("name = \"web\"\nmemory = \"64 MiB\"\n");
    let defined = define.end().ok();
    assert_eq!(defined, "a  web  defined  operation 1\nb  web  defined  operation 1\nc  web  defined  operation 1\n");
    let started = hosts.vmwire(&["-H", "c,a", "vm", "start", "web"]).ok();
    assert_eq!(
        started,
        "HOST  VM   STATE    OPERATION\nc     web  running          2\na     web  running          2\n"
    );
    let listed = hosts.vmwire(&["-H", "all", "-o", "json", "vm", "list", "--fields", "name,state"]).json();
    let row = |host: &str, state: &str| json!({"host": host, "name": "web", "state": state});
    assert_eq!(listed, json!([row("a", "running"), row("b", "stopped"), row("c", "running")]));
    let shown = hosts.vmwire(&["-H", "all", "-o", "json", "vm", "show", "web"]).json();
    assert_eq!((&shown[1]["host"], &shown[1]["state"]), (&json!("b"), &json!("stopped")));
    let waited = hosts.vmwire(&["-H", "a,c", "vm", "wait", "web", "--for", "state=running"]).ok();
    assert_eq!(waited, "a  web  running\nc  web  running\n");
    let definition = hosts.vmwire(&["-H", "a,b", "vm", "definition", "web"]).ok();
    let one = "name = \"web\"\nmemory = \"64 MiB\"\n";
    assert_eq!(definition, format!("==> a <==\n{one}==> b <==\n{one}"));
    let pinged = hosts.vmwire(&["-H", "all", "ping"]).ok();
    let lines: Vec<&str> = pinged.lines().collect();
    assert!(lines[0].starts_with("a  answer 1 after ") && lines[1].ends_with(" over tls"), "{pinged}");
    for words in [&["host", "info"][..], &["daemon", "info"], &["version"], &["op", "show", "1"]] {
        let rows = hosts.vmwire(&[&["-H", "all", "-o", "json"], words].concat()).json();
        let named: Vec<&Value> = rows.as_array().unwrap().iter().map(|row| &row["host"]).collect();
        assert_eq!(named, ["a", "b", "c"], "{words:?}");
    }
    for words in [&["op", "list"][..], &["connection", "list"]] {
        let rows = hosts.vmwire(&[&["-H", "all", "-o", "json"], words].concat()).json();
        let mut named: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["host"].as_str().unwrap()).collect();
        named.dedup();
        assert_eq!(named, ["a", "b", "c"], "{words:?}");
    }
}

#[test]
fn what_fails_on_one_is_told_and_done_on_the_others() {
    let mut hosts = Hosts::start(&[Way::Unix, Way::Unix, Way::Unix]);
    for daemon in &hosts.daemons[..2] {
        daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    }
    hosts.daemons[1].ok(&["vm", "start", "web"]);
    let gone = hosts.daemons.pop().unwrap();
    let socket = gone.socket();
    let _gone = gone.killed();
    let ran = hosts.vmwire(&["-H", "all", "vm", "pause", "web"]);
    assert_eq!(ran.code, 8, "{ran:?}");
    assert_eq!(ran.out, "HOST  VM   STATE   OPERATION\nb     web  paused          3\n");
    let (first, rest) = ran.err.split_once("vmwire: c: ").unwrap();
    assert!(first.starts_with("vmwire: a: vm web: ") && first.contains("stopped"), "{ran:?}");
    assert_eq!(
        rest,
        format!(
            "cannot connect to {}\n  cause: Connection refused (os error 111)\n  \
             hint: the socket is there, but no daemon listens: start it\n",
            socket.display()
        )
    );
    let ran = hosts.vmwire(&["-H", "all", "-o", "json", "vm", "show", "web"]);
    assert_eq!(ran.code, 8, "{ran:?}");
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap().as_array().unwrap().len(), 2);
    let error: Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!((&error["host"], &error["error"]["code"]), (&json!("c"), &json!("NO_CONNECTION")));
    // All of them alike, and all of them, each in its own way.
    assert_eq!(hosts.vmwire(&["-H", "a,b", "vm", "show", "none"]).code, 5);
    assert_eq!(hosts.vmwire(&["-H", "a,c", "vm", "show", "none"]).code, 8);
    assert_eq!(hosts.vmwire(&["-H", "c", "vm", "show", "none"]).code, 3);
}

#[test]
fn a_host_that_hangs_takes_its_own_time_and_nobody_elses() {
    let hosts = Hosts::start(&[Way::Unix, Way::Unix]);
    let _silent = hosts.and_a_silent_one();
    // Nobody takes up what comes to this port either.
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    hosts.vmwire(&["context", "add", "deaf", &format!("qemu+tcp://{address}/system"), "--group", "all"]).ok();
    let began = Instant::now();
    let ran = hosts.vmwire(&["-H", "all", "--timeout", "5s", "vm", "list"]);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!((ran.code, ran.out.as_str()), (8, "HOST  NAME  STATE  SINCE  CPUS  MEMORY  TITLE\n"), "{ran:?}");
    assert!(ran.err.contains("vmwire: silent: no answer within 5 s\n"), "{ran:?}");
    assert!(ran.err.contains("vmwire: deaf: no answer within 5 s\n"), "{ran:?}");
    let waited = hosts.vmwire(&["-H", "a,b", "vm", "wait", "none", "--for", "state=running", "--timeout", "60s"]);
    assert_eq!(waited.code, 5, "{waited:?}");
}

#[test]
fn a_host_that_hangs_is_marked_though_nobody_has_set_a_time() {
    let hosts = Hosts::start(&[Way::Unix]);
    let _silent = hosts.and_a_silent_one();
    let began = Instant::now();
    let ran = hosts.vmwire(&["-H", "all", "vm", "list"]);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!((ran.code, ran.out.as_str()), (8, "HOST  NAME  STATE  SINCE  CPUS  MEMORY  TITLE\n"), "{ran:?}");
    assert!(ran.err.starts_with("vmwire: silent: "), "{ran:?}");
}

#[test]
fn whoever_breaks_off_is_not_kept() {
    let hosts = Hosts::start(&[Way::Unix]);
    let _silent = hosts.and_a_silent_one();
    let plain = hosts.command(&["-H", "all", "--timeout", "10m", "ping"]);
    // Whoever runs the stories in the background may have had us ignore this signal, and so the programs that we start.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let running = Running::start(command);
    // It has connected to the one that answers.
    hosts.daemons[0].logs("connection 1");
    running.signal(Signal::INT);
    let ran = running.wait();
    assert_eq!((ran.code, ran.out.as_str()), (-1, ""), "the signal ends it, and it waits for nobody: {ran:?}");
}

#[test]
fn a_person_sees_who_is_waited_for() {
    let hosts = Hosts::start(&[Way::Unix]);
    let _silent = hosts.and_a_silent_one();
    let plain = hosts.command(&[]);
    let mut terminal = Command::new("script");
    let program = plain.get_program().to_str().unwrap();
    terminal.args(["-qefc", &format!("{program} -H all --timeout 8s ping"), "/dev/null"]);
    for (name, value) in plain.get_envs() {
        if let Some(value) = value {
            terminal.env(name, value);
        }
    }
    terminal.env_remove("VMWIRE_URI");
    let mut terminal = Running::start(terminal);
    terminal.expect("\r\u{1b}[Kvmwire: 1 of 2 hosts done, waiting for silent");
    let ran = terminal.wait();
    assert_eq!(ran.code, 8, "{ran:?}");
    let (_, last) = ran.out.rsplit_once("waiting for silent\r\u{1b}[K").unwrap();
    assert!(last.starts_with("a  answer 1 after "), "what was shown is gone before the answers come: {ran:?}");
}

#[test]
fn events_of_all_come_in_one_stream_each_with_its_host() {
    let mut hosts = Hosts::start(&[Way::Unix, Way::Tls]);
    let mut events = Running::start(hosts.command(&["-H", "all", "-o", "json", "event", "follow", "--since", "0"]));
    for _ in 0..2 {
        assert_eq!(events.json_line()["kind"], "daemon-started");
    }
    hosts.daemons[1].define("name = \"web\"\nmemory = \"64 MiB\"\n");
    let next = |events: &mut Running| {
        let event = events.json_line();
        (event["host"].as_str().unwrap().to_owned(), event["kind"].clone())
    };
    let mut kinds: Vec<_> = (0..3).map(|_| next(&mut events)).collect();
    kinds.retain(|(_, kind)| kind == "vm-defined");
    assert_eq!(kinds, [("b".to_owned(), json!("vm-defined"))]);
    // One goes and comes back; the other is followed all the while.
    let other = hosts.daemons.remove(0).stopped();
    hosts.daemons[0].ok(&["vm", "start", "web"]);
    assert_eq!(next(&mut events).0, "b");
    let _other = other.start();
    let (mut gap, mut started) = (false, false);
    while !(gap && started) {
        let event = events.json_line();
        gap |= event["host"] == "a" && event["gap"].is_object();
        started |= event["host"] == "a" && event["kind"] == "daemon-started";
    }
    let words = ["-H", "b", "event", "follow", "--since", "0", "--kind", "daemon-started", "--count", "1"];
    let told = hosts.vmwire(&words).ok();
    assert!(told.starts_with("b  2") && told.contains(" daemon-started: release "), "{told}");
}
