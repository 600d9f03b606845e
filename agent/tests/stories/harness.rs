//! An agent in a directory of its own, and somebody to talk to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// No wait is longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The program, with a state directory and a pid file that are nobody else's.
pub(crate) fn program(directory: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmwire-ga"));
    command
        .env("QGA_CONF", directory.path().join("no-configuration"))
        .arg("-t")
        .arg(directory.path())
        .arg("-f")
        .arg(directory.path().join("pid"));
    command
}

/// Waits for something that is about to happen.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::yield_now();
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An agent that listens on a socket.
pub(crate) struct Agent {
    pub(crate) directory: TempDir,
    pub(crate) child: Child,
}

impl Agent {
    pub(crate) fn start() -> Agent {
        Agent::start_with(&[])
    }

    pub(crate) fn start_with(words: &[&str]) -> Agent {
        Agent::start_in(tempfile::tempdir().unwrap(), |program| program.args(words))
    }

    /// One that was told more, in a directory that is there already.
    pub(crate) fn start_in(directory: TempDir, tell: impl FnOnce(&mut Command) -> &mut Command) -> Agent {
        let socket = directory.path().join("socket");
        let child = tell(program(&directory).args(["-m", "unix-listen", "-p"]).arg(&socket))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let agent = Agent { directory, child };
        eventually("the agent listens", || UnixStream::connect(agent.socket()).ok());
        agent
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub(crate) fn connect(&self) -> Client {
        Client::new(eventually("the agent takes a client", || UnixStream::connect(self.socket()).ok()))
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to leave, and says how it did.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        eventually("the agent leaves", || self.child.try_wait().unwrap())
    }

    /// The processor time it took, in ticks.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// The memory that it holds.
    pub(crate) fn resident_kibibytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Who it has started, and has not taken note of the end of.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let pid = self.child.id();
        let said = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        said.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap()).collect()
    }

    /// How many descriptors it holds.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// How often it gave up the processor by itself.
    pub(crate) fn wakeups(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn is_asleep(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        stat.rsplit_once(')').unwrap().1.trim_start().starts_with('S')
    }

    /// Waits until it does nothing any more; returns how often it woke until then.
    pub(crate) fn wait_until_asleep(&self) -> u64 {
        eventually("the agent sleeps", || {
            let before = self.wakeups();
            std::thread::sleep(Duration::from_millis(20));
            // One that waits for a processor does not sleep.
            (self.wakeups() == before && self.is_asleep()).then_some(before)
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One end of a channel.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Client {
    pub(crate) fn new(stream: UnixStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Client { stream, reader }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).unwrap();
        assert_eq!(line.pop(), Some(b'\n'), "the agent hung up");
        line
    }

    pub(crate) fn answer(&mut self) -> Value {
        let line = self.line();
        serde_json::from_slice(&line).unwrap_or_else(|error| panic!("{}: {error}", line.escape_ascii()))
    }

    pub(crate) fn ask(&mut self, command: &str, arguments: &Value) -> Value {
        self.send(format!("{}\n", json!({"execute": command, "arguments": arguments})));
        self.answer()
    }

    pub(crate) fn ping(&mut self) {
        assert_eq!(self.ask("guest-ping", &json!({})), json!({"return": {}}));
    }

    /// Everything up to the agent's end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).unwrap();
        rest
    }
}
