//! Connections that are lost and made anew: by a cut at any byte, and by a daemon that goes and comes back.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use vmwire_client::connection::{Connection, Options, Subscription};
use vmwire_client::error::Error;
use vmwire_client::request;
use vmwire_client::transport::Environment;
use vmwire_protocol::message::{OperationListCall, VmCall};
use vmwire_protocol::xdr::Text;

use crate::harness::{Behind, Cut, Daemon, Proxy, Route, Running, Way, by_ways, eventually, vmwire};

by_ways!(by_unix Unix: what_changes_something_is_never_asked_twice a_follower_that_is_back_at_once_says_why_it_was_away);
by_ways!(by_tls Tls: what_changes_something_is_never_asked_twice a_follower_that_is_back_at_once_says_why_it_was_away);

/// Tells stories over one route.
macro_rules! by_route {
    ($module:ident $route:expr; $($story:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $story() {
                    super::$story($route);
                }
            )*
        }
    };
}

/// Tells stories over every route on which one may change something.
macro_rules! by_every_route {
    ($($story:ident),* $(,)?) => {
        by_route!(over_unix crate::harness::Route::Direct(crate::harness::Way::Unix); $($story)*);
        by_route!(over_tls crate::harness::Route::Direct(crate::harness::Way::Tls); $($story)*);
        by_route!(over_ssh_by_the_program crate::harness::Route::Ssh("ssh"); $($story)*);
        by_route!(over_ssh_by_ssh2 crate::harness::Route::Ssh("ssh2"); $($story)*);
    };
}

by_every_route!(
    events_come_once_each_wherever_the_connection_is_cut,
    what_left_the_daemons_memory_meanwhile_is_a_gap_of_just_that,
    a_follower_says_how_it_stands_while_the_daemon_is_away,
    a_reader_of_a_console_goes_on_behind_what_it_has_read,
    a_person_at_a_console_goes_on_after_a_cut,
);

fn vm(name: &str) -> VmCall {
    VmCall { vm: Text::clipped(name) }
}

/// A daemon with a machine that runs.
fn daemon(route: Route, test: &str) -> Daemon {
    let daemon = route.setup().start();
    daemon.define(&format!("name = \"web\"\nmemory = \"64 MiB\"\n[test]\n{test}\n"));
    daemon.ok(&["vm", "start", "web"]);
    daemon
}

fn connect(proxy: &Proxy) -> Connection {
    Connection::open(&proxy.uri().parse().unwrap(), &Environment::default(), Options::default()).unwrap()
}

/// Has so many times six events happen.
fn be_busy(daemon: &Daemon, rounds: u32) {
    let mut busy = daemon.connect();
    for _ in 0..rounds {
        busy.call(request::VmPause(vm("web")), None).unwrap();
        busy.call(request::VmResume(vm("web")), None).unwrap();
    }
}

/// Numbers that look drawn by chance and are the same each time.
fn chances(seed: u64) -> impl Iterator<Item = usize> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap()
    })
}

/// How many bytes it takes to connect and be answered, from the client and from the daemon.
fn greeting(daemon: &Daemon, way: Way) -> [usize; 2] {
    let proxy = Proxy::before(daemon, way, &[]);
    connect(&proxy).call(request::Ping, None).unwrap();
    proxy.passed()
}

fn events_come_once_each_wherever_the_connection_is_cut(route: Route) {
    let daemon = daemon(route, "");
    // Of these some fall into the greeting, those of TLS and ssh included. The first connection has to get behind it.
    let cuts = |seed| chances(seed).take(5).map(|chance| Cut::Down(400 + chance % 9000)).collect::<Vec<_>>();
    // No barrier: who fails before it would leave the others there for ever.
    let begun = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (daemon, begun) = (&daemon, &begun);
            scope.spawn(move || {
                let behind = Behind::new(daemon, route, &[&[Cut::Down(20_000)], &cuts(seed)[..]].concat());
                let words = ["-o", "json", "event", "follow", "--since", "0"];
                let mut events = Running::start(behind.command(&words));
                for expected in 1..600 {
                    let event = events.json_line();
                    assert_eq!(event["sequence"], expected, "seed {seed}: {event}");
                    if expected == 1 {
                        begun.fetch_add(1, Ordering::Relaxed);
                    }
                }
                assert!(behind.proxy.came() > 2, "seed {seed}: {} connections", behind.proxy.came());
            });
        }
        eventually("all have begun", || (begun.load(Ordering::Relaxed) == 3).then_some(()));
        be_busy(&daemon, 110);
    });
}

fn what_changes_something_is_never_asked_twice(way: Way) {
    let daemon = daemon(Route::Direct(way), "");
    let chances: Vec<usize> = chances(7).take(12).collect();
    let [up, down] = greeting(&daemon, way);
    let (mut asked, mut done, mut lost) = (0, 0, 0);
    for chance in chances {
        // The greeting gets through as a rule; what follows is cut in the call or in its answer.
        let cut = if chance % 2 == 0 { Cut::Up(up + chance % 80) } else { Cut::Down(down + chance % 80) };
        let proxy = Proxy::before(&daemon, way, &[cut]);
        let uri = proxy.uri().parse().unwrap();
        let Ok(mut connection) = Connection::open(&uri, &Environment::default(), Options::default()) else { continue };
        for _ in 0..3 {
            asked += 1;
            match connection.call(request::VmReset(vm("web")), None) {
                Ok(_) => done += 1,
                Err(Error::Lost(_)) => lost += 1,
                Err(error) => panic!("{error:?}"),
            }
            // What only reads does not notice.
            connection.call(request::VmShow(vm("web")), None).unwrap();
        }
    }
    let operations = daemon.connect().call(
        request::OperationList(OperationListCall { vm: Text::clipped("web"), after: Text::default(), rows_max: 0 }),
        None,
    );
    let rows = operations.unwrap().rows;
    let resets = rows.iter().filter(|row| row.procedure == vmwire_protocol::message::number::VM_RESET).count();
    assert!((done..=asked).contains(&resets), "{resets} resets of {asked} asked for, {done} done, {lost} lost");
    assert!(lost > 0 && done > 0, "of {asked} {done} were done and {lost} lost");
}

fn what_left_the_daemons_memory_meanwhile_is_a_gap_of_just_that(route: Route) {
    let daemon = daemon(route, "");
    let behind = Behind::new(&daemon, route, &[]);
    let mut events = Running::start(behind.command(&["-o", "json", "event", "follow"]));
    eventually("it follows", || {
        let connections = daemon.json(&["connection", "list"]);
        connections.as_array().unwrap().iter().any(|one| one["subscribed"] == true).then_some(())
    });
    daemon.ok(&["vm", "pause", "web"]);
    let seen: Vec<u64> = (0..3).map(|_| events.json_line()["sequence"].as_u64().unwrap()).collect();
    behind.proxy.close();
    daemon.ok(&["vm", "resume", "web"]);
    be_busy(&daemon, 800);
    let last = daemon.json(&["daemon", "info"])["events"]["sequence"].as_u64().unwrap();
    behind.proxy.open();
    let gap = events.json_line();
    assert_eq!(gap["gap"]["first"], seen[2] + 1, "{gap}");
    let mut next = gap["gap"]["last"].as_u64().unwrap() + 1;
    assert!(next > seen[2] + 1 && next <= last, "{gap}, and the newest is {last}");
    while next <= last {
        assert_eq!(events.json_line()["sequence"], next);
        next += 1;
    }
}

fn a_follower_says_how_it_stands_while_the_daemon_is_away(route: Route) {
    let daemon = daemon(route, "");
    let behind = Behind::new(&daemon, route, &[]);
    let mut events = Running::start(behind.command(&["event", "follow", "--since", "0"]));
    events.expect("daemon-started");
    behind.proxy.close();
    let said = eventually("it says so", || {
        let err = events.err();
        err.contains("; trying again").then_some(err)
    });
    assert!(said.starts_with("vmwire: the connection is lost: "), "{said}");
    let first = said.len();
    daemon.ok(&["vm", "pause", "web"]);
    behind.proxy.open();
    events.expect(" vm-state: running -> paused");
    // Said before the event was printed, but on another pipe, which the harness may read later.
    eventually("it says that it goes on", || {
        events.err()[first..].ends_with("vmwire: connected again, going on behind the last event\n").then_some(())
    });
    assert_eq!(events.out().matches("daemon-started").count(), 1, "nothing comes twice");
    if route == Route::Direct(Way::Tls) {
        // Started anew it would have another port.
        return;
    }
    let _daemon = daemon.stopped().start();
    events.expect("-- events may be missing here: the daemon does not remember the one to begin behind");
    events.expect("daemon-started");
}

fn a_follower_that_is_back_at_once_says_why_it_was_away(way: Way) {
    let daemon = daemon(Route::Direct(way), "");
    let behind = Behind::new(&daemon, Route::Direct(way), &[]);
    let mut events = Running::start(behind.command(&["event", "follow", "--since", "0"]));
    events.expect("daemon-started");
    behind.proxy.cut();
    let said = eventually("it says so", || {
        let err = events.err();
        err.contains("connected again").then_some(err)
    });
    let begins = ["vmwire: the connection was lost: ", "vmwire: the connection is lost: "];
    let told = begins.iter().find_map(|begin| said.strip_prefix(begin)).unwrap_or_else(|| panic!("{said}"));
    let why = ["the daemon closed the connection", "the connection to the daemon was cut"];
    assert!(why.iter().any(|why| told.starts_with(why)), "{said}");
    assert!(said.ends_with("connected again, going on behind the last event\n"), "{said}");
}

fn a_reader_of_a_console_goes_on_behind_what_it_has_read(route: Route) {
    let daemon = route.setup().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nconsole_bytes = 100000\n");
    daemon.ok(&["vm", "start", "--paused", "web"]);
    let cuts: Vec<Cut> = chances(3).take(4).map(|chance| Cut::Down(15_000 + chance % 15_000)).collect();
    let behind = Behind::new(&daemon, route, &cuts);
    let reader = Running::start(behind.command(&["vm", "console", "web", "--read-only"]));
    eventually("it reads", || (daemon.json(&["vm", "show", "web"])["console"]["readers"] == 1).then_some(()));
    daemon.ok(&["vm", "resume", "web"]);
    eventually("it has read everything", || (reader.out().len() >= 100_000).then_some(()));
    daemon.ok(&["vm", "stop", "web"]);
    let ran = reader.wait();
    assert_eq!(ran.code, 0, "{}", ran.err);
    let line = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_\n";
    assert_eq!(ran.out.len(), 100_000);
    assert!(
        ran.out.as_bytes().chunks(64).all(|chunk| line.as_bytes().starts_with(chunk)),
        "nothing twice, nothing lost"
    );
    assert!(ran.err.contains("connected again, opening the console again\n"), "{}", ran.err);
    assert!(behind.proxy.came() > 2, "{}", behind.proxy.came());
}

/// The same, run on a terminal.
fn on_a_terminal(command: &Command) -> Command {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut terminal = Command::new("/usr/bin/script");
    terminal.args(["-qefc", &line.join(" "), "/dev/null"]);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    terminal
}

fn a_person_at_a_console_goes_on_after_a_cut(route: Route) {
    let daemon = daemon(route, "console = \"login: \"");
    let behind = Behind::new(&daemon, route, &[]);
    let mut terminal = Running::start(on_a_terminal(&behind.command(&["vm", "console", "web", "--history", "1KiB"])));
    terminal.expect("login: ");
    terminal.write("root\r");
    terminal.expect("root");
    behind.proxy.close();
    terminal.expect("\r\nvmwire: the connection is lost: ");
    behind.proxy.open();
    terminal.expect("\r\nvmwire: connected again, opening the console again\r\n");
    terminal.expect("\r\nvmwire: what was typed just before may be lost\r\n");
    terminal.write("again\r");
    terminal.expect("again");
    // Who does not want to wait leaves.
    behind.proxy.close();
    terminal.expect("vmwire: the connection is lost: ");
    terminal.write("\u{1d}");
    terminal.expect("left the console");
    let ran = terminal.wait();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.out.matches("login: ").count(), 1, "what was read does not come again: {ran:?}");
}

#[test]
fn a_program_that_writes_to_a_console_is_told_of_a_cut() {
    let daemon = daemon(Route::Direct(Way::Unix), "");
    let proxy = Proxy::before(&daemon, Way::Unix, &[]);
    let mut command = vmwire();
    command.args(["-c", proxy.uri(), "vm", "console", "web"]);
    let mut writer = Running::start(command);
    writer.write("one\n");
    writer.expect("one");
    proxy.cut();
    let ran = writer.wait();
    assert_eq!(ran.code, 3, "{ran:?}");
    let words = "vmwire: the daemon closed the connection\n  \
                 hint: what was asked and not answered may have been done all the same\n";
    assert_eq!(ran.err, words);
    assert_eq!(proxy.came(), 1, "it does not come back");
}

#[test]
fn a_wait_outlives_a_cut() {
    let daemon = daemon(Route::Direct(Way::Unix), "");
    let proxy = Proxy::before(&daemon, Way::Unix, &[]);
    let mut command = vmwire();
    command.args(["-c", proxy.uri(), "-o", "json", "vm", "wait", "web", "--for", "state=paused", "--timeout", "60s"]);
    let waiting = Running::start(command);
    let waits = || {
        eventually("it waits", || {
            let rows = daemon.json(&["connection", "list"]);
            rows.as_array().unwrap().iter().any(|row| row["own"] == false && row["calls_open"] == 1).then_some(())
        });
    };
    waits();
    proxy.cut();
    waits();
    daemon.ok(&["vm", "pause", "web"]);
    let waited: Value = waiting.end().json();
    assert_eq!(waited["state"], "paused");
    assert_eq!(proxy.came(), 2);
}

#[test]
fn pauses_of_many_who_lost_the_same_daemon_are_not_the_same() {
    // Followers that were cut off at once do not all come back at once.
    let daemon = daemon(Route::Direct(Way::Unix), "");
    let proxy = Proxy::before(&daemon, Way::Unix, &[]);
    let mut connections: Vec<Connection> = (0..6).map(|_| connect(&proxy)).collect();
    for connection in &mut connections {
        connection.subscribe(Subscription::default()).unwrap();
    }
    proxy.close();
    let mut pauses = BTreeSet::new();
    for connection in &mut connections {
        while connection.outage().is_none_or(|outage| outage.attempts < 4) {
            connection.next_notice(Some(Duration::from_millis(20))).unwrap();
        }
        let outage = connection.outage().unwrap();
        assert!(outage.next <= Duration::from_secs(5), "{outage:?}");
        pauses.insert(outage.next.as_micros() / 100);
    }
    assert!(pauses.len() > 3, "{pauses:?}");
}
