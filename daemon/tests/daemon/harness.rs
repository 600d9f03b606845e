//! A real daemon with directories of its own, and a client of a few lines.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use vmwire_protocol::message::{ClientData, Event, Failure, HelloCall, ServerData};
use vmwire_protocol::session::{ClientSession, ClientStep, Closing};
use vmwire_protocol::version::MAJOR;
use vmwire_protocol::xdr::{List, Text};

/// Far more than anything here takes.
pub(crate) const ENOUGH: Duration = Duration::from_secs(90);

/// What is done at once is done within this, on a machine that is ten times as slow. A daemon whose leaving had to be cut
/// short does not end with 0, so that is told apart without a clock.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A daemon with directories of its own; killed when dropped.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) socket: PathBuf,
}

pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmwired"));
    command
        .args(["--driver", "test", "--state-dir"])
        .arg(dir.join("state"))
        .arg("--runtime-dir")
        .arg(dir.join("run"))
        .env_remove("NOTIFY_SOCKET")
        .env("XDG_CONFIG_HOME", dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Daemon {
    /// Starts one and waits until it can be connected to.
    pub(crate) fn start(mut command: Command, socket: PathBuf) -> Self {
        let mut daemon = Self { child: command.spawn().unwrap(), socket };
        let end = Instant::now() + ENOUGH;
        while UnixStream::connect(&daemon.socket).is_err() {
            assert!(Instant::now() < end, "it does not listen");
            assert_eq!(daemon.child.try_wait().unwrap(), None, "it has ended");
            std::thread::sleep(Duration::from_millis(2));
        }
        daemon
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// Waits for its end and answers what it logged.
    pub(crate) fn end(mut self) -> (i32, String) {
        let end = Instant::now() + ENOUGH;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        };
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status.code().unwrap_or(-1), log)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn start(dir: &TempDir) -> Daemon {
    Daemon::start(command(dir.path()), dir.path().join("run/vmwired.sock"))
}

pub(crate) fn run(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A client that waits for its answers.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    session: ClientSession,
    answers: BTreeMap<u32, Result<ServerData, Failure>>,
    pub(crate) events: Vec<Event>,
    closing: Option<Closing>,
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> Self {
        Self::on(UnixStream::connect(socket).unwrap())
    }

    pub(crate) fn on(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(ENOUGH)).unwrap();
        stream.set_write_timeout(Some(ENOUGH)).unwrap();
        let session = ClientSession::new();
        Self { stream, session, answers: BTreeMap::new(), events: Vec::new(), closing: None }
    }

    /// Sends a call and does not wait for its answer.
    pub(crate) fn send(&mut self, data: &ClientData) -> u32 {
        let (serial, bytes) = self.encoded(data);
        self.stream.write_all(&bytes).unwrap();
        serial
    }

    /// A call, as it would be sent.
    pub(crate) fn encoded(&mut self, data: &ClientData) -> (u32, Vec<u8>) {
        let serial = self.session.call(data, 0).unwrap();
        let outbox = self.session.outbox();
        let bytes = outbox.unsent().to_vec();
        outbox.advance(bytes.len());
        (serial, bytes)
    }

    pub(crate) fn hello(&mut self, minor: u32) -> Result<ServerData, Failure> {
        let name = Text::clipped("a test");
        self.ask(&ClientData::Hello(HelloCall { major: MAJOR, minor, capabilities: List::default(), name }))
    }

    /// Waits for the answer to a call.
    pub(crate) fn answer(&mut self, serial: u32) -> Result<ServerData, Failure> {
        loop {
            if let Some(answer) = self.answers.remove(&serial) {
                return answer;
            }
            assert!(self.read(), "the connection ended without an answer: {:?}", self.closing);
        }
    }

    pub(crate) fn ask(&mut self, data: &ClientData) -> Result<ServerData, Failure> {
        let serial = self.send(data);
        self.answer(serial)
    }

    /// Asks for a sign of life; answers the daemon's last word if it gave that instead.
    pub(crate) fn was_turned_away(&mut self) -> Option<Failure> {
        // The daemon may have closed before we write.
        let (serial, bytes) = self.encoded(&ClientData::Ping);
        let _ = self.stream.write_all(&bytes);
        while !self.answers.contains_key(&serial) && self.closing.is_none() {
            assert!(self.read(), "the connection ended without a word");
        }
        match self.closing.take()? {
            Closing::Told(failure) => Some(failure),
            Closing::Broken(error) => panic!("the daemon broke the protocol: {error:?}"),
        }
    }

    /// Waits for the end of the connection and answers the daemon's last word, if it had one.
    pub(crate) fn last_word(&mut self) -> Option<Failure> {
        while self.read() {}
        match self.closing.take() {
            None => None,
            Some(Closing::Told(failure)) => Some(failure),
            Some(Closing::Broken(error)) => panic!("the daemon broke the protocol: {error:?}"),
        }
    }

    /// Waits for bytes and takes what they bring. Says whether there may be more.
    pub(crate) fn read(&mut self) -> bool {
        let mut bytes = [0; 64 * 1024];
        // A read with a timeout is not begun anew by the system when the process was stopped and goes on.
        let count = loop {
            match self.stream.read(&mut bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read.unwrap(),
            }
        };
        let mut input = &bytes[..count];
        loop {
            match self.session.step(&mut input) {
                ClientStep::Idle => return count > 0,
                ClientStep::Answer { serial, result } => {
                    assert!(self.answers.insert(serial, result).is_none(), "call {serial} was answered twice");
                }
                ClientStep::Event(event) => self.events.push(event),
                ClientStep::Closed(closing) => {
                    self.closing = Some(closing);
                    return count > 0;
                }
                _ => {}
            }
        }
    }
}
