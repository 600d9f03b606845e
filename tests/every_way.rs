//! The same stories over every way to a daemon that a client has: its socket, TLS, SSH by ssh2, by ssh2 and the bridge, by
//! the ssh program and the bridge.

use serde_json::{Value, json};

use crate::harness::{Daemon, Ran, Running, Setup, Sshd, SshdSetup, Way, eventually};

/// How a client comes to a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Unix,
    Tls,
    Ssh2,
    Ssh2AndBridge,
    Program,
}

macro_rules! by_every_route {
    ($($story:ident),* $(,)?) => {
        by_every_route!(by_unix Unix: $($story)*);
        by_every_route!(by_tls Tls: $($story)*);
        by_every_route!(by_ssh2 Ssh2: $($story)*);
        by_every_route!(by_ssh2_and_bridge Ssh2AndBridge: $($story)*);
        by_every_route!(by_ssh_program Program: $($story)*);
    };
    ($module:ident $route:ident: $($story:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $story() {
                    super::$story(super::Route::$route);
                }
            )*
        }
    };
}

by_every_route!(
    machines_are_defined_run_and_listed,
    a_console_is_typed_at_and_ends_with_its_guest,
    events_go_on_behind_the_last_one_when_the_daemon_comes_back,
    a_guest_that_says_a_lot_is_read_whole,
);

/// A daemon, and what is before it.
struct Reached {
    daemon: Daemon,
    sshd: Option<Sshd>,
    uri: String,
}

impl Reached {
    fn start(route: Route) -> Self {
        let setup = if route == Route::Tls { Way::Tls.setup() } else { Setup::test() };
        let daemon = setup.start();
        let sshd = match route {
            Route::Unix | Route::Tls => None,
            Route::Ssh2 | Route::Program => Some(SshdSetup::default().start()),
            Route::Ssh2AndBridge => Some(SshdSetup::default().line("AllowStreamLocalForwarding no").start()),
        };
        let by = if route == Route::Program { "&transport=ssh" } else { "&transport=ssh2" };
        let uri = match (&sshd, route) {
            (Some(sshd), _) => sshd.uri(&daemon.socket(), by),
            (None, Route::Tls) => daemon.uri_by(Way::Tls),
            (None, _) => daemon.uri(),
        };
        Self { daemon, sshd, uri }
    }

    fn begin(&self, arguments: &[&str]) -> Running {
        let Some(sshd) = &self.sshd else { return self.daemon.begin_at(&self.uri, arguments) };
        let mut command = sshd.command(arguments);
        command.env("VMWIRE_URI", &self.uri);
        Running::start(command)
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.begin(arguments).end()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[&["-o", "json"], arguments].concat()).json()
    }

    /// Follows events, and is known to.
    fn follow(&self) -> Running {
        let follower = self.begin(&["-o", "json", "event", "follow", "--kind", "vm-state"]);
        eventually("it follows", || {
            let rows = self.daemon.json(&["connection", "list"]);
            rows.as_array().unwrap().iter().any(|row| row["subscribed"] == true).then_some(())
        });
        follower
    }
}

fn states(follower: &mut Running, expected: &[&str]) {
    for state in expected {
        let event = follower.json_line();
        assert_eq!(event["detail"]["state"], *state, "{event}");
    }
}

fn machines_are_defined_run_and_listed(route: Route) {
    let reached = Reached::start(route);
    for name in ["vm0", "vm1", "vm2"] {
        let file = reached.daemon.place().write("vm.toml", format!("name = \"{name}\"\nmemory = \"64 MiB\"\n"));
        reached.run(&["vm", "define", &file]).ok();
    }
    reached.run(&["vm", "start", "vm0"]).ok();
    let listed = reached.json(&["vm", "list"]);
    assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&json!("vm0"), &json!("running")), "{listed}");
    assert_eq!(listed.as_array().unwrap().len(), 3);
    let told = reached.run(&["-o", "json", "vm", "start", "nobody"]).none_done(5);
    assert_eq!(told["code"], "NOT_FOUND");
}

fn a_console_is_typed_at_and_ends_with_its_guest(route: Route) {
    let reached = Reached::start(route);
    reached.daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nconsole = \"login: \"\n");
    reached.run(&["vm", "start", "web"]).ok();
    let mut console = reached.begin(&["vm", "console", "web", "--history", "1KiB"]);
    console.expect("login: ");
    console.write("root\n");
    console.expect("root");
    reached.run(&["vm", "stop", "web"]).ok();
    assert_eq!(console.wait().code, 0);
}

fn events_go_on_behind_the_last_one_when_the_daemon_comes_back(route: Route) {
    let mut reached = Reached::start(route);
    reached.daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    let mut follower = reached.follow();
    reached.daemon.ok(&["vm", "start", "web"]);
    states(&mut follower, &["starting", "running"]);
    if let Some(sshd) = &reached.sshd {
        // First the way alone is cut, and something happens meanwhile.
        sshd.cut();
        reached.daemon.ok(&["vm", "pause", "web"]);
        states(&mut follower, &["paused"]);
        reached.daemon.ok(&["vm", "resume", "web"]);
        states(&mut follower, &["running"]);
    }
    if route == Route::Tls {
        // It comes back on another port: that is told elsewhere, through a proxy.
        return;
    }
    let setup = reached.daemon.killed();
    reached.daemon = setup.start();
    // The test driver keeps its machines in memory.
    reached.daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    eventually("it follows again", || {
        let rows = reached.daemon.json(&["connection", "list"]);
        rows.as_array().unwrap().iter().any(|row| row["subscribed"] == true).then_some(())
    });
    reached.daemon.ok(&["vm", "start", "web"]);
    let event = loop {
        let event = follower.json_line();
        if event["detail"]["state"] == "starting" {
            break event;
        }
    };
    assert_eq!(event["vm"]["name"], "web", "{event}");
    states(&mut follower, &["running"]);
}

fn a_guest_that_says_a_lot_is_read_whole(route: Route) {
    // No more at once than a reader may have before it says that it has room for more, and a daemon keeps, so that a slow
    // way loses nothing.
    const BYTES: usize = 150_016;
    let reached = Reached::start(route);
    reached.daemon.define(&format!("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nconsole_bytes = {BYTES}\n"));
    reached.daemon.ok(&["vm", "start", "--paused", "web"]);
    let reader = reached.begin(&["vm", "console", "web", "--read-only"]);
    let console = || reached.daemon.json(&["vm", "show", "web"])["console"].clone();
    eventually("it reads", || (console()["readers"] == 1).then_some(()));
    for (said, verb) in ["resume", "reset", "reset", "reset", "reset", "reset"].into_iter().enumerate() {
        eventually("all is read", || (reader.out().len() >= said * BYTES).then_some(()));
        reached.daemon.ok(&["vm", verb, "web"]);
    }
    eventually("all is said", || (console()["offset"] == 6 * BYTES).then_some(()));
    reached.daemon.ok(&["vm", "stop", "web"]);
    let out = reader.wait().ok();
    let line = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_\n";
    assert_eq!(out.len(), 6 * BYTES);
    assert!(out.as_bytes().chunks(64).all(|chunk| line.as_bytes().starts_with(chunk)), "something is out of place");
}
