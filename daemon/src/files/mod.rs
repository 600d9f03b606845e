//! What could wait for a disk, done by a child of our own binary (`vmwired --files`), so that the loop never does.
//!
//! The child does one request after the other; each has a deadline. A child that misses one is stuck in the kernel:
//! it is killed, which takes effect as soon as the kernel lets go of it and before it can write anything more, named
//! in the log, and replaced. What it had been given and not answered fails; whether it was done is not known.
//!
//! The first request starts the child, so a daemon that needs no files has none.

mod append;
pub mod child;
mod packet;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mio::Token;
use mio::net::UnixStream;
use mio::unix::SourceFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::driver::{FileAnswer, FileRequest, FileTicket};
use crate::event_loop::Readiness;

/// How long a request may take: disks that are alive answer within this, however busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Requests under way at most.
pub const REQUESTS_MAX: usize = 1024;

/// Bytes of requests under way at most.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Kinds of requests that are named when none of them is waited for any longer.
const DEEDS_TOLD_MAX: usize = 8;

/// Children stuck in the kernel at most; with so many, the next one would only be one more.
const STUCK_MAX: usize = 4;

/// Requests to the file helper and their answers.
///
/// Invariant: `waiting` holds the requests that are not answered, in the order in which they were given to the child;
/// it is empty when there is none. `bytes_waiting` is the sum of theirs.
#[derive(Debug)]
pub struct Files {
    program: PathBuf,
    patience: Duration,
    last_ticket: u64,
    helper: Option<Helper>,
    waiting: VecDeque<Waiting>,
    bytes_waiting: usize,
    answers: VecDeque<(FileTicket, FileAnswer)>,
    /// Told to die, and not dead yet as far as is known.
    dying: Vec<Process>,
}

#[derive(Debug)]
struct Waiting {
    ticket: FileTicket,
    deed: String,
    bytes: usize,
    deadline: Instant,
}

#[derive(Debug)]
struct Helper {
    process: Process,
    stream: UnixStream,
    stream_token: Token,
    unsent: Vec<u8>,
    received: Vec<u8>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    pidfd: OwnedFd,
    pidfd_token: Token,
}

impl Files {
    /// `program` is what to start with `--files`: this very binary.
    pub fn new(program: PathBuf, patience: Duration) -> Self {
        Self {
            program,
            patience,
            last_ticket: 0,
            helper: None,
            waiting: VecDeque::new(),
            bytes_waiting: 0,
            answers: VecDeque::new(),
            dying: Vec::new(),
        }
    }

    /// Gives a request to the child. What cannot be given is answered as failed.
    pub fn submit<W: Copy>(
        &mut self,
        now: Instant,
        readiness: &mut Readiness<W>,
        who: W,
        request: &FileRequest,
    ) -> FileTicket {
        self.last_ticket += 1;
        let ticket = FileTicket(self.last_ticket);
        if let Err(why) = self.give(now, readiness, who, ticket, request) {
            let answer = FileAnswer::Failed(format!("cannot {}: {why}", deed(request)));
            self.answers.push_back((ticket, answer));
        }
        ticket
    }

    /// Something of `who` was marked ready: answers have come, there is room for requests, or a child has ended.
    pub fn handle_ready<W: Copy>(&mut self, readiness: &mut Readiness<W>) {
        self.dying.retain_mut(|process| !process.reap(readiness));
        let Some(helper) = &mut self.helper else { return };
        let outcome = helper.exchange();
        loop {
            match packet::take_answer(&mut helper.received) {
                Ok(Some((ticket, answer))) => {
                    // The child answers in order, but nothing here depends on it.
                    if let Some(at) = self.waiting.iter().position(|waiting| waiting.ticket == ticket)
                        && let Some(waiting) = self.waiting.remove(at)
                    {
                        self.bytes_waiting -= waiting.bytes;
                        self.answers.push_back((ticket, answer));
                    }
                }
                Ok(None) => break,
                Err(()) => {
                    self.lose(readiness, "said something that cannot be understood");
                    return;
                }
            }
        }
        if let Err(why) = outcome {
            self.lose(readiness, &why);
        }
    }

    /// Gives up on a child that missed a deadline.
    pub fn handle_timeout<W: Copy>(&mut self, now: Instant, readiness: &mut Readiness<W>) {
        if let Some(late) = self.waiting.iter().find(|waiting| waiting.deadline <= now) {
            let why = format!("did not {} within {} s", late.deed, self.patience.as_secs_f32());
            self.lose(readiness, &why);
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        // All have the same patience, so the oldest is the first to lose it.
        self.waiting.front().map(|waiting| waiting.deadline)
    }

    /// The next answer.
    pub fn poll_answer(&mut self) -> Option<(FileTicket, FileAnswer)> {
        self.answers.pop_front()
    }

    /// Whether an answer waits to be taken.
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Whether requests are under way.
    pub fn is_busy(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Ends a child that is not done, for the daemon goes: what it did later would be done beside the next daemon. Says
    /// what it is about, some of it if it is a lot.
    pub fn give_up(&mut self) -> Option<String> {
        let mut deeds: Vec<&str> = Vec::new();
        for Waiting { deed, .. } in &self.waiting {
            if deeds.len() < DEEDS_TOLD_MAX && !deeds.contains(&deed.as_str()) {
                deeds.push(deed);
            }
        }
        if deeds.is_empty() {
            return None;
        }
        let told = deeds.join(", ");
        if let Some(helper) = &mut self.helper {
            // It fails only for a child that is dead already.
            let _ = helper.process.child.kill();
        }
        Some(told)
    }

    /// The child's process, if there is one.
    pub fn helper_pid(&self) -> Option<u32> {
        self.helper.as_ref().map(|helper| helper.process.child.id())
    }

    fn give<W: Copy>(
        &mut self,
        now: Instant,
        readiness: &mut Readiness<W>,
        who: W,
        ticket: FileTicket,
        request: &FileRequest,
    ) -> Result<(), String> {
        let packet = packet::request(ticket, request);
        if self.waiting.len() >= REQUESTS_MAX || self.bytes_waiting + packet.len() > REQUEST_BYTES_MAX {
            return Err(format!("{} file requests are waiting already", self.waiting.len()));
        }
        let helper = match &mut self.helper {
            Some(helper) => helper,
            None if self.dying.len() >= STUCK_MAX => {
                return Err(format!("{} file helpers are stuck in the kernel", self.dying.len()));
            }
            None => {
                let started = Helper::start(&self.program, readiness, who);
                self.helper.insert(started.map_err(|error| format!("cannot start the file helper: {error}"))?)
            }
        };
        helper.unsent.extend_from_slice(&packet);
        let deadline = now + self.patience;
        self.waiting.push_back(Waiting { ticket, deed: deed(request), bytes: packet.len(), deadline });
        self.bytes_waiting += packet.len();
        // A failure to write shows as readiness too, and is dealt with there.
        let _ = helper.send();
        Ok(())
    }

    /// The child is of no use any more: whatever it has not answered has failed.
    fn lose<W: Copy>(&mut self, readiness: &mut Readiness<W>, why: &str) {
        let Some(mut helper) = self.helper.take() else { return };
        log::error!("the file helper (process {}) {why}; it is replaced", helper.process.child.id());
        for waiting in self.waiting.drain(..) {
            let failed = FileAnswer::Failed(format!("cannot {}: the file helper {why}", waiting.deed));
            self.answers.push_back((waiting.ticket, failed));
        }
        self.bytes_waiting = 0;
        readiness.unwatch(&mut helper.stream, helper.stream_token);
        // It fails only for a child that is dead already.
        let _ = helper.process.child.kill();
        if !helper.process.reap(readiness) {
            self.dying.push(helper.process);
        }
    }
}

impl Helper {
    fn start<W: Copy>(program: &Path, readiness: &mut Readiness<W>, who: W) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut stream = UnixStream::from_std(ours);
        let child = Command::new(program)
            .arg0("vmwired")
            .arg(child::ARGUMENT)
            .env_clear()
            .current_dir("/")
            // Ctrl-C at a terminal is for the daemon, which still has requests then.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        let mut process = Process::watch(child, readiness, who)?;
        match readiness.watch(&mut stream, who) {
            Ok(stream_token) => Ok(Self { process, stream, stream_token, unsent: Vec::new(), received: Vec::new() }),
            Err(error) => {
                process.unwatch(readiness);
                let _ = process.child.kill();
                Err(error)
            }
        }
    }

    /// Sends and receives until would-block. The error says in what way the child has gone.
    fn exchange(&mut self) -> Result<(), String> {
        let sent = self.send();
        let mut bytes = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err("has ended".to_owned()),
                Ok(count) => self.received.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(gone(&error)),
            }
        }
        sent.map_err(|error| gone(&error))
    }

    fn send(&mut self) -> io::Result<()> {
        let mut sent = 0;
        let outcome = loop {
            if sent == self.unsent.len() {
                break Ok(());
            }
            match self.stream.write(&self.unsent[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.unsent.drain(..sent);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
        outcome
    }
}

impl Process {
    fn watch<W: Copy>(mut child: Child, readiness: &mut Readiness<W>, who: W) -> io::Result<Self> {
        let watched = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("a pid beyond all bounds"))
            .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))
            .and_then(|pidfd| Ok((readiness.watch(&mut SourceFd(&pidfd.as_raw_fd()), who)?, pidfd)));
        match watched {
            Ok((pidfd_token, pidfd)) => Ok(Self { child, pidfd, pidfd_token }),
            Err(error) => {
                let _ = child.kill();
                Err(error)
            }
        }
    }

    /// Whether the child has ended; if so, it is a zombie no more and nobody watches it.
    fn reap<W: Copy>(&mut self, readiness: &mut Readiness<W>) -> bool {
        if matches!(self.child.try_wait(), Ok(None)) {
            return false;
        }
        self.unwatch(readiness);
        true
    }

    fn unwatch<W: Copy>(&self, readiness: &mut Readiness<W>) {
        readiness.unwatch(&mut SourceFd(&self.pidfd.as_fd().as_raw_fd()), self.pidfd_token);
    }
}

/// In what way the child cannot be talked to.
fn gone(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "has ended".to_owned(),
        _ => format!("cannot be reached: {error}"),
    }
}

/// What a request is about, for people.
fn deed(request: &FileRequest) -> String {
    match request {
        FileRequest::Write { path, .. } => format!("write {}", path.display()),
        FileRequest::Append { path, .. } => format!("append to {}", path.display()),
        FileRequest::AddLine { path, .. } => format!("add a line to {}", path.display()),
        FileRequest::Remove { path, .. } => format!("remove {}", path.display()),
        FileRequest::Read { files } => {
            let paths: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
            format!("read {}", paths.join(", "))
        }
    }
}
