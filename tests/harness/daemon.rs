//! A daemon as a process, in a directory of its own.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use vmwire_client::connection::{Connection, Options};
use vmwire_client::transport::Environment;
use vmwire_client::uri::Uri;

use super::socket::client_context;
use super::{Place, Ran, Raw, Running, Socket, Way, eventually, vmwire};

/// The program.
pub(crate) const VMWIRED: &str = env!("CARGO_BIN_EXE_vmwired-copy");

/// Our guest agent, not started by anybody here.
pub(crate) const VMWIRE_GA: &str = env!("CARGO_BIN_EXE_vmwire-ga-copy");

/// How a daemon is started. Cloned, it is started in the same place.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) place: Arc<Place>,
    driver: &'static str,
    config: String,
    arguments: Vec<String>,
}

impl Setup {
    /// With the test driver, in a fresh place.
    pub(crate) fn test() -> Self {
        Self { place: Arc::new(Place::new()), driver: "test", config: String::new(), arguments: Vec::new() }
    }

    /// With QEMU, in a fresh place.
    pub(crate) fn qemu() -> Self {
        Self { driver: "qemu", ..Self::test() }
    }

    /// The same, with more lines in its configuration.
    pub(crate) fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self
    }

    /// The same, with one more argument.
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.place.runtime_dir().join("vmwired.sock")
    }

    /// What starts it.
    pub(crate) fn command(&self) -> Command {
        let config = self.place.write("vmwired.toml", &self.config);
        let mut command = Command::new(VMWIRED);
        command
            .args(["--config", &config, "--driver", self.driver, "--state-dir"])
            .arg(self.place.join("state"))
            .arg("--runtime-dir")
            .arg(self.place.runtime_dir())
            .args(&self.arguments)
            .env_remove("NOTIFY_SOCKET")
            .env_remove("VMWIRE_LOG")
            .stdin(Stdio::null());
        command
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(&self) -> Daemon {
        self.run(self.command())
    }

    /// The same, with what `dressed` makes of the command.
    pub(crate) fn start_as(&self, dressed: impl FnOnce(Command) -> Command) -> Daemon {
        self.run(dressed(self.command()))
    }

    /// The same, after a line of shell: limits, mostly.
    pub(crate) fn start_with(&self, line: &str) -> Daemon {
        let plain = self.command();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("{line} && exec \"$@\""), "sh"]).arg(plain.get_program()).args(plain.get_args());
        self.run(command)
    }

    fn run(&self, mut command: Command) -> Daemon {
        let log = self.place.join("log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let begun = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        let mut daemon = Daemon { setup: self.clone(), child, log, begun };
        eventually("the daemon listens", || {
            let ended = daemon.child.try_wait().unwrap();
            assert_eq!(ended, None, "it has ended: {}", daemon.log());
            UnixStream::connect(self.socket()).ok()
        });
        daemon
    }
}

/// A daemon that runs. Killed when dropped; then its log is shown if the story failed.
#[derive(Debug)]
pub(crate) struct Daemon {
    setup: Setup,
    child: Child,
    log: PathBuf,
    /// How much others had logged there before.
    begun: usize,
}

impl Daemon {
    pub(crate) fn place(&self) -> &Place {
        &self.setup.place
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.setup.socket()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// What it has logged itself, where others ran in the same place before.
    pub(super) fn own_log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(log.get(self.begun..).unwrap_or_default()).into_owned()
    }

    /// How a client names it.
    pub(crate) fn uri(&self) -> String {
        format!("test+unix:///default?socket={}", self.socket().display())
    }

    /// Connects by the client's library.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&Uri::from_socket(self.socket()), &Environment::default(), Options::default()).unwrap()
    }

    /// Connects without anybody's help.
    pub(crate) fn raw(&self) -> Raw {
        self.raw_by(Way::Unix)
    }

    /// The same, over any way.
    pub(crate) fn raw_by(&self, way: Way) -> Raw {
        Raw::new(match way {
            Way::Unix => Socket::unix(&self.socket()),
            Way::Tcp => Socket::tcp(self.address(way)),
            Way::Tls => {
                let context = client_context(&self.place().join("pki/issued/alice"));
                Socket::tls(self.address(way), &context).unwrap()
            }
        })
    }

    /// Runs the command line against it.
    pub(crate) fn vmwire(&self, arguments: &[&str]) -> Ran {
        self.begin(arguments).end()
    }

    /// The same, and does not wait for the end.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Running {
        self.begin_at(&self.uri(), arguments)
    }

    /// The same, against whatever is there.
    pub(crate) fn begin_at(&self, uri: &str, arguments: &[&str]) -> Running {
        let mut command = vmwire();
        command.env("VMWIRE_URI", uri).args(arguments);
        Running::start(command)
    }

    /// Runs the command line, which has to succeed; answers what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        self.vmwire(arguments).ok()
    }

    /// The same with JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.vmwire(&[&["-o", "json"], arguments].concat()).json()
    }

    /// Defines a virtual machine out of a text.
    pub(crate) fn define(&self, definition: &str) {
        let file = self.place().write("definition.toml", definition);
        self.ok(&["vm", "define", &file]);
    }

    /// The state of a virtual machine.
    pub(crate) fn state(&self, vm: &str) -> String {
        self.json(&["vm", "show", vm])["state"].as_str().unwrap().to_owned()
    }

    /// Waits until a virtual machine is in a state.
    pub(crate) fn wait_for(&self, vm: &str, state: &str) {
        self.ok(&["vm", "wait", vm, "--for", &format!("state={state}"), "--timeout", "60s"]);
    }

    /// Its resident memory in KiB, the peak or the present one.
    pub(crate) fn memory_kib(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':')).unwrap();
        value.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; answers its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        eventually("the daemon ends", || child.try_wait().unwrap()).code()
    }

    /// Asks it to leave, and answers what starts it anew.
    pub(crate) fn stopped(mut self) -> Setup {
        self.signal(Signal::TERM);
        assert_eq!(self.ended(), Some(0));
        self.setup.clone()
    }

    /// Kills it, and answers what starts it anew.
    pub(crate) fn killed(mut self) -> Setup {
        self.signal(Signal::KILL);
        self.ended();
        self.setup.clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let lines: Vec<&str> = lines.into_iter().filter(|line| !line.contains("INFO  connection ")).collect();
            let tail = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!("---- end of the log of the daemon in {} ----\n{tail}\n----", self.place().path().display());
        }
    }
}
