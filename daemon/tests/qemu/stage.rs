//! A driver on a stage: a small loop that is its host, and everything it reported so far. Every wait has a deadline.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::{Events, Interest, Poll, Token};
use uuid::Uuid;
use vmwire_daemon::driver::qemu::{Config, FoundRecord, QemuDriver};
use vmwire_daemon::driver::{
    Action, Driver, DriverError, FileAnswer, FileRequest, FileTicket, Host, Job, Process, Report,
};
use vmwire_daemon::event_loop::Now;
use vmwire_daemon::model::{Definition, OperationId, StateReason, VmId, VmState};

/// Longer than anything takes on the busiest machine, where the real guest is emulated beside other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) const VM: VmId = VmId(Uuid::from_u128(0x6f1d_5f5c_6f0b_4a3e_9d3c_2f6f_3b1d_8a11));

/// The program under test.
const VMWIRED: &str = env!("CARGO_BIN_EXE_vmwired");

/// Watches descriptors, and does file requests at once but answers them later.
#[derive(Debug)]
pub(crate) struct Loop {
    poll: Poll,
    tokens: usize,
    tickets: u64,
    answers: VecDeque<(FileTicket, FileAnswer)>,
    pub(crate) watched: usize,
}

impl Host for Loop {
    fn watch(&mut self, source: &mut dyn Source) -> io::Result<Token> {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.poll.registry().register(source, token, Interest::READABLE | Interest::WRITABLE)?;
        self.watched += 1;
        Ok(token)
    }

    fn unwatch(&mut self, source: &mut dyn Source, _: Token) {
        self.watched -= 1;
        self.poll.registry().deregister(source).expect("it was watched");
    }

    fn file(&mut self, request: FileRequest) -> FileTicket {
        self.tickets += 1;
        let ticket = FileTicket(self.tickets);
        let answer = match request {
            FileRequest::Write { path, data, .. } => fs::write(path, data).map(|()| FileAnswer::Done),
            FileRequest::Remove { path, .. } => match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(FileAnswer::Done),
            },
            FileRequest::Append { .. } | FileRequest::AddLine { .. } => {
                unreachable!("the driver adds lines to nothing")
            }
            FileRequest::Read { .. } => unreachable!("the driver reads no files by the helper"),
        };
        self.answers.push_back((ticket, answer.unwrap_or_else(|error| FileAnswer::Failed(error.to_string()))));
        ticket
    }
}

/// Everything of one test.
pub(crate) struct Stage {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) host: Loop,
    pub(crate) driver: QemuDriver,
    /// All reports but console output, in short.
    pub(crate) told: Vec<String>,
    pub(crate) console: Vec<u8>,
    /// What the guest's agent wrote.
    pub(crate) agent: Vec<u8>,
    pub(crate) process: Option<Process>,
    pub(crate) state: VmState,
    pub(crate) reason: StateReason,
    results: Vec<(OperationId, Result<(), DriverError>)>,
    operations: u64,
}

impl Stage {
    /// A driver with the machine's QEMU, which must be there (see [`has_qemu`]), by emulation.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let mut host = Loop { poll: Poll::new().unwrap(), tokens: 0, tickets: 0, answers: VecDeque::new(), watched: 0 };
        let mut config = config(dir.path());
        change(&mut config);
        let driver = QemuDriver::new(Now::read(), &mut host, config, Vec::new());
        Self {
            dir,
            host,
            driver,
            told: Vec::new(),
            console: Vec::new(),
            agent: Vec::new(),
            process: None,
            state: VmState::Stopped,
            reason: StateReason::Unknown,
            results: Vec::new(),
            operations: 0,
        }
    }

    /// The daemon leaves, and another one comes in its place.
    pub(crate) fn restart(&mut self) {
        self.driver.detach(&mut self.host);
        assert_eq!(self.host.watched, 0, "a leaving driver lets go of everything");
        self.host.answers.clear();
        self.told.clear();
        self.process = None;
        let records = FoundRecord::read_all(self.dir.path()).unwrap();
        self.driver = QemuDriver::new(Now::read(), &mut self.host, config(self.dir.path()), records);
    }

    /// What the definition `text`, with name and memory put in front of it, says.
    pub(crate) fn definition(text: &str) -> Arc<Definition> {
        let text = format!("name = 'guest'\nmemory = '16 MiB'\n{text}");
        Arc::new(Definition::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    pub(crate) fn begin(&mut self, action: Action) -> OperationId {
        self.operations += 1;
        let operation = OperationId(self.operations);
        self.driver.begin(Now::read(), &mut self.host, Job { vm: VM, operation, action });
        self.collect();
        operation
    }

    /// Begins and waits for the end.
    pub(crate) fn act(&mut self, action: Action) -> Result<(), DriverError> {
        let operation = self.begin(action);
        self.result(operation)
    }

    pub(crate) fn result(&mut self, operation: OperationId) -> Result<(), DriverError> {
        self.until("the operation to end", |stage| stage.results.iter().any(|(ended, _)| *ended == operation));
        let at = self.results.iter().position(|(ended, _)| *ended == operation).unwrap();
        self.results.remove(at).1
    }

    pub(crate) fn start(&mut self, text: &str) -> Result<(), DriverError> {
        self.act(Action::Start { definition: Self::definition(text), paused: false })
    }

    /// Turns the loop until something is so.
    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "waited in vain for {what}; told was {:#?}", self.told);
            self.turn(deadline);
        }
    }

    /// The state as told so far, without another turn of the loop.
    pub(crate) fn state_now(&mut self) -> VmState {
        self.collect();
        self.state
    }

    pub(crate) fn until_console(&mut self, needle: &str) {
        self.until(needle, |stage| String::from_utf8_lossy(&stage.console).contains(needle));
    }

    pub(crate) fn until_state(&mut self, state: VmState) {
        self.until(&format!("{state:?}"), |stage| stage.state == state);
    }

    fn turn(&mut self, deadline: Instant) {
        let mut events = Events::with_capacity(64);
        let until = self.driver.poll_timeout().map_or(deadline, |at| at.min(deadline));
        let wait = if self.host.answers.is_empty() {
            // What is waited for may be something that no descriptor tells.
            until.saturating_duration_since(Instant::now()).min(Duration::from_millis(50))
        } else {
            Duration::ZERO
        };
        match self.host.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => panic!("{error}"),
            _ => {}
        }
        let now = Now::read();
        for event in &events {
            self.driver.handle_ready(now, &mut self.host, event.token());
        }
        for (ticket, answer) in std::mem::take(&mut self.host.answers) {
            self.driver.handle_file(now, &mut self.host, ticket, answer);
        }
        if self.driver.poll_timeout().is_some_and(|at| at <= now.monotonic) {
            self.driver.handle_timeout(now, &mut self.host);
        }
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(report) = self.driver.poll_report() {
            let mut line = String::new();
            match report {
                Report::Finished { operation, result, .. } => {
                    let _ = write!(line, "{operation} {result:?}");
                    self.results.push((operation, result));
                }
                Report::State { state, reason, message, .. } => {
                    let _ = write!(line, "{state:?} {reason:?} {message}");
                    (self.state, self.reason) = (state, reason);
                }
                Report::Process { process, .. } => {
                    let _ = write!(line, "process {}", if process.is_some() { "there" } else { "gone" });
                    self.process = process;
                }
                Report::Reset { by_guest, .. } => {
                    let _ = write!(line, "reset by_guest={by_guest}");
                }
                Report::Monitor { connected, why, .. } => {
                    let _ = write!(line, "monitor {connected} {why}");
                }
                Report::Console { data, .. } => {
                    self.console.extend_from_slice(&data);
                    continue;
                }
                Report::Agent { data, .. } => {
                    self.agent.extend_from_slice(&data);
                    continue;
                }
                Report::AgentPort { open, .. } => {
                    let _ = write!(line, "agent port open={open:?}");
                }
            }
            self.told.push(line.trim_end().to_owned());
        }
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        let taken = self.driver.console_write(Now::read(), &mut self.host, VM, text.as_bytes());
        assert_eq!(taken, text.len());
        self.collect();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("no process was told").pid
    }

    pub(crate) fn count(&self, told: &str) -> usize {
        self.told.iter().filter(|line| line.starts_with(told)).count()
    }

    /// Names of what lies in the runtime directory.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains(&VM.to_string()))
            .map(|name| name.rsplit('.').next().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    /// Writes a program that stands in for QEMU.
    pub(crate) fn script(dir: &Path, text: &str) -> PathBuf {
        let path = dir.join("fake-qemu");
        // Written by a child, so that no test that starts a child at this moment holds it open for writing.
        let mut child = std::process::Command::new("sh")
            .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(format!("#!/bin/bash\n{text}\n").as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        path
    }
}

impl Drop for Stage {
    /// No guest of a test outlives it.
    fn drop(&mut self) {
        if let Some(process) = &self.process
            && let Some(pid) = i32::try_from(process.pid).ok().and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        self.driver.detach(&mut self.host);
    }
}

fn config(dir: &Path) -> Config {
    Config { program: PathBuf::from(VMWIRED), force_tcg: true, greeting: PATIENCE, ..Config::new(dir.to_owned()) }
}

/// Whether the machine has QEMU; says so where it has not. In CI it has to have it.
pub(crate) fn has_qemu(test: &str) -> bool {
    let version = std::process::Command::new("qemu-system-x86_64").arg("--version").output();
    if version.is_ok_and(|output| output.status.success()) {
        return true;
    }
    skip(test, "there is no qemu-system-x86_64");
    false
}

/// Says that a test is skipped. In CI none may be.
pub(crate) fn skip(test: &str, why: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{test} may not be skipped with CI=true: {why}");
    let line = format!("SKIPPED: {test}: {why}\n");
    print!("{line}");
    if let Some(skips) = std::env::var_os("VMWIRE_SKIPS") {
        fs::OpenOptions::new().append(true).open(skips).unwrap().write_all(line.as_bytes()).unwrap();
    }
}
