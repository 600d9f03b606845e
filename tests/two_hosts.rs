//! Two hosts, each a network namespace of its own: a daemon on one, and somebody new on the other.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use crate::harness::{Daemon, Ran, Running, Setup, pki, skip, tls_table, vmwire};

const DAEMON: &str = "10.77.0.1";
const CLIENT: &str = "10.77.0.2";

/// How many pairs of hosts there have been.
static STORIES: AtomicU32 = AtomicU32::new(0);

/// Two namespaces with a cable between them, gone when dropped.
struct Hosts([String; 2]);

fn ip(words: &str) -> Result<(), String> {
    let output = Command::new("ip").args(words.split_whitespace()).output().map_err(|error| error.to_string())?;
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

impl Hosts {
    /// Makes them, or says that a story is skipped.
    fn make(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip(test, "only root can make network namespaces");
            return None;
        }
        let story = STORIES.fetch_add(1, Ordering::Relaxed);
        let hosts = Self(["d", "c"].map(|which| format!("vmwire-{}-{story}{which}", std::process::id())));
        match hosts.build() {
            Ok(()) => Some(hosts),
            Err(why) => {
                skip(test, &format!("no network namespaces can be made here: {}", why.trim()));
                None
            }
        }
    }

    fn build(&self) -> Result<(), String> {
        let [daemon, client] = &self.0;
        ip(&format!("netns add {daemon}"))?;
        ip(&format!("netns add {client}"))?;
        ip(&format!("-n {daemon} link add cable type veth peer name cable netns {client}"))?;
        for (host, address) in [(daemon, DAEMON), (client, CLIENT)] {
            ip(&format!("-n {host} addr add {address}/24 dev cable"))?;
            ip(&format!("-n {host} link set lo up"))?;
            ip(&format!("-n {host} link set cable up"))?;
        }
        Ok(())
    }

    /// Starts a daemon on the one.
    fn start(&self, setup: &Setup) -> Daemon {
        // What is behind it is never come to.
        setup.start_with(&format!("exec ip netns exec {} \"$@\"; true", self.0[0]))
    }

    /// Begins a command line on the other.
    fn begin(&self, words: &[&str]) -> Running {
        let inner = vmwire();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0[1]]).arg(inner.get_program()).args(words);
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Running::start(command)
    }

    fn vmwire(&self, words: &[&str]) -> Ran {
        self.begin(words).end()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in &self.0 {
            let _never_made = ip(&format!("netns del {host}"));
        }
    }
}

/// The same, listening at its host's address.
fn listening(setup: Setup, rules: &str) -> Setup {
    let lines = format!(
        "[[listen]]\npath = \"{}\"\n[[listen]]\ntls = \"{DAEMON}\"\n{}{rules}",
        setup.socket().display(),
        tls_table(&setup.place)
    );
    setup.config(&lines)
}

#[test]
fn somebody_new_on_another_host_is_invited_enrolled_and_served() {
    let Some(hosts) = Hosts::make("somebody_new_on_another_host_is_invited_enrolled_and_served") else { return };
    let setup = Setup::test();
    pki(&setup.place, &["init", "--server", DAEMON]).ok();
    let daemon = hosts.start(&listening(setup, ""));
    daemon.logs(&format!("listening at tls:{DAEMON}:16515"));
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nconsole = \"login: \"\n");
    let address = format!("{DAEMON}:16515");
    let invited = daemon.json(&["client", "invite", "bob", "--role", "operator", "--address", &address]);
    let token = invited["token"].as_str().unwrap().to_owned();

    let files = daemon.place().join("bob");
    let dir = files.to_str().unwrap();
    let mut enroll = hosts.begin(&["-o", "json", "enroll", "--dir", dir]);
    enroll.write(&format!("{token}\n"));
    enroll.end().json();
    let uri = format!("test+tls://{DAEMON}/default?pkipath={dir}/{DAEMON}");

    let listed = hosts.vmwire(&["-c", &uri, "-o", "json", "vm", "list"]).json();
    assert_eq!(listed[0]["name"], "web");
    hosts.vmwire(&["-c", &uri, "vm", "start", "web"]).ok();
    assert_eq!(daemon.state("web"), "running");
    let mut console = hosts.begin(&["-c", &uri, "vm", "console", "web", "--history", "1KiB"]);
    console.expect("login: ");
    let rows = daemon.json(&["connection", "list"]);
    let row = rows.as_array().unwrap().iter().find(|row| row["transport"] == "tls").unwrap();
    assert_eq!((&row["identity"], &row["role"]), (&json!("client bob"), &json!("operator")));
    let undefined = hosts.vmwire(&["-c", &uri, "vm", "undefine", "web"]);
    assert!(undefined.code == 4 && undefined.err.contains("yours is operator"), "{undefined:?}");
    daemon.ok(&["vm", "stop", "web"]);
    console.wait().ok();

    daemon.ok(&["client", "remove", "bob"]);
    let told = hosts.vmwire(&["-c", &uri, "vm", "list"]);
    assert_eq!(told.code, 4, "{told:?}");
    // Whoever has nothing to show is told what to do.
    let told = hosts.vmwire(&["-c", &format!("test+tls://{DAEMON}/default?pkipath=/nonexistent"), "ping"]).fails(3);
    assert!(told.contains("vmwire client invite") && told.contains("vmwire enroll"), "{told}");
}

#[test]
fn a_cable_that_is_pulled_is_noticed_by_who_waits_and_heals_for_who_comes_after() {
    let Some(hosts) = Hosts::make("a_cable_that_is_pulled_is_noticed_by_who_waits_and_heals_for_who_comes_after")
    else {
        return;
    };
    let setup = Setup::test();
    pki(&setup.place, &["init", "--server", DAEMON]).ok();
    pki(&setup.place, &["issue", "client", "alice"]).ok();
    let daemon = hosts.start(&listening(setup, "[[rule]]\nidentity = \"subject:CN=alice\"\nrole = \"operator\"\n"));
    let files = daemon.place().join("pki/issued/alice");
    let uri = format!("test+tls://{DAEMON}/default?pkipath={}", files.display());
    hosts.vmwire(&["-c", &uri, "ping"]).ok();
    ip(&format!("-n {} link set cable down", hosts.0[0])).unwrap();
    let told = hosts.vmwire(&["-c", &uri, "--timeout", "2s", "vm", "list"]);
    assert!([3, 6].contains(&told.code) && told.out.is_empty(), "{told:?}");
    ip(&format!("-n {} link set cable up", hosts.0[0])).unwrap();
    hosts.vmwire(&["-c", &uri, "vm", "list"]).ok();
}
