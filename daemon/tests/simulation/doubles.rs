//! What stands around the core instead of the world: a store that notes, a file helper that takes its time, and the
//! test hypervisor with its reports put out of order.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::Token;
use mio::event::Source;
use vmwire_daemon::dispatch::Store;
use vmwire_daemon::driver::{
    Action, Capabilities, Driver, DriverError, FileAnswer, FileRequest, FileTicket, Host, Job, Report, TestDriver,
};
use vmwire_daemon::enrolment::Registry;
use vmwire_daemon::event_loop::Now;
use vmwire_daemon::model::{Definition, OperationId, VmId, VmState};

use crate::agents::NOISES;
use crate::random::Random;
use crate::rights::Group;
use crate::truth::Shared;

/// Notes every event, and wants files written like the real one.
pub(crate) struct NotingStore {
    pub(crate) truth: Shared,
    pub(crate) last: u64,
}

impl Store for NotingStore {
    fn define(&self, vm: VmId, text: &str) -> Option<FileRequest> {
        self.truth.borrow_mut().writes(vm, Group::of(&Definition::parse(text).unwrap()));
        Some(FileRequest::Write { path: path(vm), data: text.as_bytes().to_vec(), durable: true })
    }

    fn undefine(&self, vm: VmId) -> Option<FileRequest> {
        Some(FileRequest::Remove { path: path(vm), durable: true })
    }

    fn registry(&self, registry: &Registry) -> Option<FileRequest> {
        let data = registry.to_text().into_bytes();
        Some(FileRequest::Write { path: PathBuf::from("/sim/clients.json"), data, durable: true })
    }

    fn operation(&mut self) -> (OperationId, Option<FileRequest>) {
        self.last += 1;
        let bound = FileRequest::Write { path: PathBuf::from("/sim/operations"), data: Vec::new(), durable: true };
        (OperationId(self.last), (self.last.is_multiple_of(16)).then_some(bound))
    }

    fn operation_not_written(&mut self) {}

    fn append(&mut self, sequence: u64, encoded: &Bytes) {
        self.truth.borrow_mut().happened(sequence, encoded);
    }

    fn log_lines_lost(&self) -> u64 {
        0
    }
}

fn path(vm: VmId) -> PathBuf {
    PathBuf::from(format!("/sim/{vm}.toml"))
}

/// The host: a file helper that answers late, in any order, and sometimes that it could not.
#[derive(Debug, Default)]
pub(crate) struct Files {
    last: u64,
    asked: VecDeque<FileTicket>,
    /// Every line of the audit that was to be written, whether it could be or not.
    pub(crate) audited: Vec<String>,
}

impl Files {
    /// One of the requests, with its answer.
    pub(crate) fn answer(&mut self, random: &mut Random, calm: bool) -> Option<(FileTicket, FileAnswer)> {
        if !calm && random.chance(60) {
            return None;
        }
        let ticket = self.asked.remove(random.length(self.asked.len()))?;
        let fails = !calm && random.chance(8);
        Some((ticket, if fails { FileAnswer::Failed("no space left on device".to_owned()) } else { FileAnswer::Done }))
    }
}

impl Host for Files {
    fn watch(&mut self, _source: &mut dyn Source) -> io::Result<Token> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn unwatch(&mut self, _source: &mut dyn Source, _token: Token) {}

    fn file(&mut self, request: FileRequest) -> FileTicket {
        if let FileRequest::Append { lines, .. } = request {
            self.audited.extend(String::from_utf8_lossy(&lines).lines().map(str::to_owned));
        }
        self.last += 1;
        self.asked.push_back(FileTicket(self.last));
        FileTicket(self.last)
    }
}

/// The test hypervisor, whose reports of different guests come in any order and sometimes late.
pub(crate) struct Reordered {
    inner: TestDriver,
    truth: Shared,
    random: Random,
    /// Reports that were not handed out yet, in order per guest.
    held: BTreeMap<VmId, VecDeque<Report>>,
    wake: Option<Instant>,
}

impl Reordered {
    pub(crate) fn new(truth: Shared, random: Random) -> Self {
        Self { inner: TestDriver::new(), truth, random, held: BTreeMap::new(), wake: None }
    }

    /// A guest may say what it likes where its agent should be.
    fn noise(&mut self, vm: VmId) -> Report {
        Report::Agent { vm, data: Bytes::from_static(self.random.pick(&NOISES).unwrap()) }
    }
}

impl Driver for Reordered {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn check(&self, definition: &Definition) -> Result<(), DriverError> {
        self.inner.check(definition)
    }

    fn begin(&mut self, now: Now, host: &mut dyn Host, job: Job) {
        if let Action::Start { definition, .. } = &job.action {
            self.truth.borrow_mut().agents.launched(job.vm, definition);
        }
        self.inner.begin(now, host, job);
    }

    fn console_write(&mut self, now: Now, host: &mut dyn Host, vm: VmId, data: &[u8]) -> usize {
        let some = if self.truth.borrow().calm { data.len() } else { data.len() - self.random.length(data.len()) };
        let taken = self.inner.console_write(now, host, vm, &data[..some]);
        self.truth.borrow_mut().typed(vm, &data[..taken]);
        taken
    }

    fn console_room(&self, vm: VmId) -> usize {
        self.inner.console_room(vm)
    }

    fn agent_write(&mut self, now: Now, host: &mut dyn Host, vm: VmId, data: &[u8]) -> bool {
        if !self.truth.borrow().calm && self.random.chance(3) || !self.inner.agent_write(now, host, vm, data) {
            self.truth.borrow_mut().agents.disturbed(vm, now.monotonic);
            return false;
        }
        self.truth.borrow_mut().asks_agent(vm, data);
        if !self.truth.borrow().calm && self.random.chance(15) {
            let noise = self.noise(vm);
            self.held.entry(vm).or_default().push_front(noise);
        }
        true
    }

    fn handle_ready(&mut self, now: Now, host: &mut dyn Host, token: Token) {
        self.inner.handle_ready(now, host, token);
    }

    fn handle_file(&mut self, now: Now, host: &mut dyn Host, ticket: FileTicket, answer: FileAnswer) {
        self.inner.handle_file(now, host, ticket, answer);
    }

    fn handle_timeout(&mut self, now: Now, host: &mut dyn Host) {
        self.wake = None;
        self.inner.handle_timeout(now, host);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.wake, self.inner.poll_timeout()].into_iter().flatten().min()
    }

    fn poll_report(&mut self) -> Option<Report> {
        while let Some(report) = self.inner.poll_report() {
            self.held.entry(about(&report)).or_default().push_back(report);
        }
        let (now, calm) = (self.truth.borrow().now.monotonic, self.truth.borrow().calm);
        self.wake = None;
        if self.held.is_empty() {
            return None;
        }
        if !calm && self.random.chance(10) {
            self.wake = Some(now + Duration::from_millis(1 + self.random.below(20)));
            return None;
        }
        let guests: Vec<VmId> = self.held.keys().copied().collect();
        let vm = *self.random.pick(&guests)?;
        if !calm && self.random.chance(2) {
            self.truth.borrow_mut().agents.disturbed(vm, now);
            return Some(self.noise(vm));
        }
        let queue = self.held.get_mut(&vm)?;
        let report = queue.pop_front();
        if queue.is_empty() {
            self.held.remove(&vm);
        }
        let truth = &mut self.truth.borrow_mut();
        match &report {
            Some(Report::Console { vm, data }) => truth.said(*vm, data),
            Some(Report::Agent { vm, data }) => truth.agents.said(*vm, data, now),
            Some(Report::AgentPort { vm, open }) => truth.agents.port(*vm, *open == Some(true), now),
            Some(Report::Reset { vm, .. }) => truth.agents.interrupted(*vm, now),
            Some(Report::State { vm, state, .. }) => {
                truth.agents.interrupted(*vm, now);
                if *state == VmState::Stopped {
                    truth.went_down(*vm);
                }
            }
            _ => {}
        }
        report
    }

    fn detach(&mut self, host: &mut dyn Host) {
        self.inner.detach(host);
        self.held.clear();
        self.wake = None;
    }
}

fn about(report: &Report) -> VmId {
    match report {
        Report::Finished { vm, .. }
        | Report::State { vm, .. }
        | Report::Process { vm, .. }
        | Report::Reset { vm, .. }
        | Report::Monitor { vm, .. }
        | Report::Console { vm, .. }
        | Report::Agent { vm, .. }
        | Report::AgentPort { vm, .. } => *vm,
    }
}
