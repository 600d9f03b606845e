//! The life of one guest: a pure state machine that is shown time and tells its reports.
//!
//! Two sorts of thing happen to it. The one job under way ends when its delay has passed, whatever the guest does. What
//! the guest itself does (boot, write, read, panic, go down) happens only while its processors run: on pause its alarms
//! freeze with the time they had left, and thaw on resume.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::agent::Agent;
use super::error;
use crate::driver::{Action, DriverError, DriverErrorKind, Process, Report};
use crate::model::{AGENT_CHANNEL, Definition, OperationId, StateReason, TestAgent, TestScript, VmId, VmState};

/// What a guest holds of what was typed and not read yet.
const TYPED_BYTES_MAX: usize = 4096;
/// The flow of [`TestScript::console_bytes`]: at most so much at a time.
const FLOW_BYTES: usize = 65_536;
/// And so long between two times.
const FLOW_TIME: Duration = Duration::from_millis(1);
/// How long a guest is waited for that was asked to reboot and does not hear.
const REBOOT_TIME: Duration = Duration::from_secs(60);
/// Resets closer together than this are told once.
const RESET_TIME: Duration = Duration::from_secs(1);
/// No command of the console is longer.
const LINE_BYTES_MAX: usize = 16;

/// What the flow consists of, again and again: each byte tells its position in the line.
const LINE: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_\n";
/// So many of these lines that a piece may begin at any byte of the first.
static FLOW: [u8; FLOW_BYTES + LINE.len()] = flow();

const fn flow() -> [u8; FLOW_BYTES + LINE.len()] {
    let mut bytes = [0; FLOW_BYTES + LINE.len()];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = LINE[at % LINE.len()];
        at += 1;
    }
    bytes
}

/// A guest that is up, coming up or going down.
#[derive(Debug)]
pub(super) struct Guest {
    vm: VmId,
    script: TestScript,
    console: bool,
    state: VmState,
    gone: bool,
    job: Option<UnderWay>,
    /// What the guest will do. Empty while its processors stand still.
    alarms: Vec<(Instant, Alarm)>,
    /// What it would do, and how long after its processors run again. Empty while they do.
    frozen: Vec<(Duration, Alarm)>,
    flow_bytes_left: u64,
    /// How many of them are said at a time.
    flow_burst: usize,
    /// Where in a line the next one stands.
    flow_at: usize,
    typed: VecDeque<u8>,
    /// The beginning of the line being typed, as far as it could be a command.
    line: Vec<u8>,
    /// If it has the channel for one.
    agent: Option<Agent>,
    /// When a reset was told last, and whether it was the guest's own.
    reset_told: Option<(Instant, bool)>,
}

#[derive(Debug)]
struct UnderWay {
    operation: OperationId,
    deed: Deed,
    due: Instant,
}

/// What a job does when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Start {
        paused: bool,
    },
    PowerButton,
    Stop,
    Reboot,
    /// A reboot that the guest did not hear of.
    RebootInVain,
    Reset,
    Pause,
    Resume,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alarm {
    Speaks,
    Reads,
    Writes,
    Panics,
    GoesDown,
    /// The agent opens its channel.
    AgentOpens,
    AgentAnswers,
}

type Reports = VecDeque<Report>;

impl Guest {
    /// Launches a guest on behalf of `operation`.
    pub(super) fn start(
        now: Instant,
        vm: VmId,
        operation: OperationId,
        definition: &Definition,
        paused: bool,
        reports: &mut Reports,
    ) -> Self {
        let script = definition.test.clone().unwrap_or_default();
        let due = now + Duration::from_millis(script.start_ms);
        let hangs = script.agent == TestAgent::Hangs;
        let agent = definition.channels.iter().any(|name| name == AGENT_CHANNEL).then(|| Agent::new(hangs));
        let mut guest = Self {
            vm,
            flow_burst: usize::try_from(script.console_burst).unwrap_or(FLOW_BYTES).clamp(1, FLOW_BYTES),
            flow_at: 0,
            script,
            console: definition.console,
            state: VmState::Stopped,
            gone: false,
            job: Some(UnderWay { operation, deed: Deed::Start { paused }, due }),
            alarms: Vec::new(),
            frozen: Vec::new(),
            flow_bytes_left: 0,
            typed: VecDeque::new(),
            line: Vec::new(),
            agent,
            reset_told: None,
        };
        guest.enter(VmState::Starting, StateReason::Requested, "", reports);
        reports.push_back(Report::Process { vm, process: Some(Process { pid: 0, accelerator: "test" }) });
        guest.handle_timeout(now, reports);
        guest
    }

    /// Begins a job that is no first start.
    pub(super) fn begin(&mut self, now: Instant, operation: OperationId, action: &Action, reports: &mut Reports) {
        let deed = match action {
            Action::Start { .. } => {
                return self.finish(operation, refused("a guest is running already"), reports);
            }
            Action::PowerButton => Deed::PowerButton,
            Action::Stop => Deed::Stop,
            Action::Reboot if self.script.deaf => Deed::RebootInVain,
            Action::Reboot => Deed::Reboot,
            Action::Reset => Deed::Reset,
            Action::Pause => Deed::Pause,
            Action::Resume => Deed::Resume,
        };
        if self.job.is_some() && deed != Deed::Stop {
            return self.finish(operation, refused("another job is under way"), reports);
        }
        if let Err(why) = self.admits(deed) {
            return self.finish(operation, Err(why), reports);
        }
        if let Some(overtaken) = self.job.take() {
            let why = error(DriverErrorKind::Superseded, "a stop overtook it");
            self.finish(overtaken.operation, Err(why), reports);
        }
        let guest_time = match deed {
            Deed::Reboot => Duration::from_millis(self.script.shutdown_ms),
            Deed::RebootInVain => REBOOT_TIME,
            _ => Duration::ZERO,
        };
        let due = now + Duration::from_millis(self.script.delay_ms) + guest_time;
        self.job = Some(UnderWay { operation, deed, due });
        self.handle_timeout(now, reports);
    }

    /// Hands over what was typed; answers how much was taken.
    pub(super) fn console_write(&mut self, now: Instant, data: &[u8]) -> usize {
        let taken = data.len().min(self.console_room());
        if taken > 0 {
            self.typed.extend(data.iter().take(taken));
            self.expect(now, Duration::ZERO, Alarm::Reads);
        }
        taken
    }

    pub(super) fn console_room(&self) -> usize {
        let there = self.console && !self.gone && self.state != VmState::Starting;
        if there { TYPED_BYTES_MAX - self.typed.len() } else { 0 }
    }

    /// Hands a request to the agent's channel; answers whether it was taken. It waits there for a guest that stands.
    pub(super) fn agent_write(&mut self, now: Instant, data: &[u8]) -> bool {
        let is_up = !self.gone && self.state != VmState::Starting;
        let Some(agent) = self.agent.as_mut().filter(|_| is_up) else { return false };
        let taken = agent.take(data);
        if agent.has_to_answer() {
            self.expect(now, Duration::ZERO, Alarm::AgentAnswers);
        }
        taken
    }

    /// Nothing of it is left.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let job = self.job.iter().map(|job| job.due);
        job.chain(self.alarms.iter().map(|(at, _)| *at)).min()
    }

    /// Does what is due, in the order of the times.
    pub(super) fn handle_timeout(&mut self, now: Instant, reports: &mut Reports) {
        while let Some(at) = self.poll_timeout().filter(|at| *at <= now) {
            if let Some(job) = self.job.take_if(|job| job.due == at) {
                self.conclude(now, &job, reports);
            } else if let Some(first) = self.alarms.iter().position(|(due, _)| *due == at) {
                let (_, alarm) = self.alarms.swap_remove(first);
                self.act(now, alarm, reports);
            }
        }
    }

    /// Whether a job makes sense now; asked when it begins and again when it is due.
    fn admits(&self, deed: Deed) -> Result<(), DriverError> {
        let refusal = match (deed, self.state) {
            (Deed::Start { .. } | Deed::Stop, _) => return Ok(()),
            (_, VmState::Starting) => "the guest is not up yet",
            (Deed::Pause | Deed::Resume | Deed::Reboot | Deed::RebootInVain, VmState::Crashed) => {
                "the guest has crashed"
            }
            (Deed::Reboot | Deed::RebootInVain, VmState::Paused) => "the guest's processors stand still",
            _ => return Ok(()),
        };
        let hint = match self.state {
            VmState::Crashed => "reset or stop it",
            VmState::Paused => "resume it first",
            _ => "",
        };
        Err(DriverError { hint: hint.to_owned(), ..error(DriverErrorKind::Failed, refusal) })
    }

    /// The job's delay has passed.
    fn conclude(&mut self, now: Instant, job: &UnderWay, reports: &mut Reports) {
        let operation = job.operation;
        if let Err(why) = self.admits(job.deed) {
            return self.finish(operation, Err(why), reports);
        }
        match job.deed {
            Deed::Start { .. } if !self.script.start_fails.is_empty() => {
                let why = std::mem::take(&mut self.script.start_fails);
                self.end(StateReason::Failed, &why, reports);
                return self.finish(operation, refused(&why), reports);
            }
            Deed::Start { paused } => {
                let state = if paused { VmState::Paused } else { VmState::Running };
                self.enter(state, StateReason::Requested, "", reports);
                self.boot(now);
            }
            Deed::PowerButton if self.script.deaf || self.state == VmState::Crashed => {}
            Deed::PowerButton => self.expect(now, Duration::from_millis(self.script.shutdown_ms), Alarm::GoesDown),
            Deed::Stop => self.end(StateReason::Requested, "", reports),
            Deed::RebootInVain => {
                let why = error(DriverErrorKind::TimedOut, "the guest did not go down in time");
                return self.finish(operation, Err(why), reports);
            }
            Deed::Reboot | Deed::Reset => {
                if self.state == VmState::Crashed {
                    self.enter(VmState::Running, StateReason::Requested, "", reports);
                }
                self.reset(now, false, reports);
            }
            Deed::Pause => {
                if self.state == VmState::Running {
                    self.enter(VmState::Paused, StateReason::Requested, "", reports);
                    self.frozen = self.alarms.drain(..).map(|(at, a)| (at.saturating_duration_since(now), a)).collect();
                }
            }
            Deed::Resume => {
                if self.state == VmState::Paused {
                    self.enter(VmState::Running, StateReason::Requested, "", reports);
                    self.alarms = self.frozen.drain(..).map(|(left, alarm)| (now + left, alarm)).collect();
                }
            }
        }
        self.finish(operation, Ok(()), reports);
    }

    /// The guest does something by itself.
    fn act(&mut self, now: Instant, alarm: Alarm, reports: &mut Reports) {
        match alarm {
            Alarm::Speaks => self.say(Bytes::copy_from_slice(self.script.console.as_bytes()), reports),
            Alarm::Reads => self.read(now, reports),
            Alarm::AgentOpens => self.agent_opens(now, reports),
            Alarm::AgentAnswers => self.agent_answers(now, reports),
            Alarm::Writes => {
                let bytes = usize::try_from(self.flow_bytes_left).unwrap_or(usize::MAX).min(self.flow_burst);
                let begin = self.flow_at;
                self.flow_at = (begin + bytes) % LINE.len();
                self.flow_bytes_left = self.flow_bytes_left.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
                self.say(Bytes::from_static(&FLOW).slice(begin..begin + bytes), reports);
                if self.flow_bytes_left > 0 {
                    self.expect(now, FLOW_TIME, Alarm::Writes);
                }
            }
            Alarm::Panics => {
                self.enter(VmState::Crashed, StateReason::Guest, "", reports);
                self.alarms.clear();
            }
            Alarm::GoesDown => {
                self.end(StateReason::Guest, "", reports);
                if let Some(job) = self.job.take() {
                    let ended = || Err(error(DriverErrorKind::Ended, "the guest went down meanwhile"));
                    let down_was_wanted = matches!(job.deed, Deed::Stop | Deed::PowerButton);
                    let result = if down_was_wanted { Ok(()) } else { ended() };
                    self.finish(job.operation, result, reports);
                }
            }
        }
    }

    /// Reads what was typed, says it again, and obeys the line that ends in it, if any. What is typed behind a command
    /// waits for the next time.
    fn read(&mut self, now: Instant, reports: &mut Reports) {
        let mut echo = Vec::with_capacity(self.typed.len());
        let mut command = None;
        while command.is_none()
            && let Some(byte) = self.typed.pop_front()
        {
            echo.push(byte);
            if matches!(byte, b'\n' | b'\r') {
                command = match self.line.as_slice() {
                    b"panic" => Some(Alarm::Panics),
                    b"poweroff" => Some(Alarm::GoesDown),
                    b"reboot" => Some(Alarm::Speaks),
                    _ => None,
                };
                self.line.clear();
            } else if self.line.len() < LINE_BYTES_MAX {
                self.line.push(byte);
            }
        }
        self.say(echo.into(), reports);
        match command {
            None => {}
            Some(Alarm::Speaks) => self.reset(now, true, reports),
            Some(end) => self.act(now, end, reports),
        }
        if !self.typed.is_empty() {
            self.expect(now, FLOW_TIME, Alarm::Reads);
        }
    }

    fn agent_opens(&mut self, now: Instant, reports: &mut Reports) {
        let Some(agent) = &mut self.agent else { return };
        agent.is_open = true;
        reports.push_back(Report::AgentPort { vm: self.vm, open: Some(true) });
        if agent.has_to_answer() {
            self.expect(now, Duration::ZERO, Alarm::AgentAnswers);
        }
    }

    fn agent_answers(&mut self, now: Instant, reports: &mut Reports) {
        let Some(agent) = &mut self.agent else { return };
        let said = agent.answer();
        let more = agent.has_to_answer();
        if !said.is_empty() {
            reports.push_back(Report::Agent { vm: self.vm, data: said.into() });
        }
        if more {
            self.expect(now, FLOW_TIME, Alarm::AgentAnswers);
        }
    }

    /// The agent goes with what it runs on.
    fn agent_ends(&mut self, reports: &mut Reports) {
        let Some(agent) = &mut self.agent else { return };
        if agent.is_open {
            reports.push_back(Report::AgentPort { vm: self.vm, open: Some(false) });
        }
        agent.reset();
    }

    /// Begins from the firmware again, in the state that it is in.
    fn reset(&mut self, now: Instant, by_guest: bool, reports: &mut Reports) {
        let told = |(at, by): (Instant, bool)| by == by_guest && now.saturating_duration_since(at) < RESET_TIME;
        if !self.reset_told.is_some_and(told) {
            self.reset_told = Some((now, by_guest));
            reports.push_back(Report::Reset { vm: self.vm, by_guest });
        }
        self.agent_ends(reports);
        self.boot(now);
    }

    /// Forgets what was and sets out what the script says about a guest that has just come up.
    fn boot(&mut self, now: Instant) {
        self.alarms.clear();
        self.frozen.clear();
        self.typed.clear();
        self.line.clear();
        self.flow_at = 0;
        self.flow_bytes_left = if self.console { self.script.console_bytes } else { 0 };
        if self.console && !self.script.console.is_empty() {
            self.expect(now, Duration::ZERO, Alarm::Speaks);
        }
        if self.flow_bytes_left > 0 {
            self.expect(now, FLOW_TIME, Alarm::Writes);
        }
        if self.agent.is_some() {
            self.expect(now, Duration::ZERO, Alarm::AgentOpens);
        }
        if self.script.panic_ms > 0 {
            self.expect(now, Duration::from_millis(self.script.panic_ms), Alarm::Panics);
        }
    }

    /// The guest will do something after it ran for so long; once, however often it is told.
    fn expect(&mut self, now: Instant, after: Duration, alarm: Alarm) {
        let expected = self.alarms.iter().any(|(_, a)| *a == alarm) || self.frozen.iter().any(|(_, a)| *a == alarm);
        match self.state {
            _ if expected => {}
            VmState::Running => self.alarms.push((now + after, alarm)),
            VmState::Paused => self.frozen.push((after, alarm)),
            // Nobody is there to do it.
            VmState::Stopped | VmState::Starting | VmState::Crashed | VmState::Lost | VmState::Adopting => {}
        }
    }

    /// The hypervisor ends.
    fn end(&mut self, reason: StateReason, message: &str, reports: &mut Reports) {
        self.gone = true;
        self.alarms.clear();
        self.frozen.clear();
        self.typed.clear();
        self.agent_ends(reports);
        reports.push_back(Report::Process { vm: self.vm, process: None });
        self.enter(VmState::Stopped, reason, message, reports);
    }

    fn enter(&mut self, state: VmState, reason: StateReason, message: &str, reports: &mut Reports) {
        self.state = state;
        reports.push_back(Report::State { vm: self.vm, state, reason, message: message.to_owned() });
    }

    fn say(&self, data: Bytes, reports: &mut Reports) {
        reports.push_back(Report::Console { vm: self.vm, data });
    }

    fn finish(&self, operation: OperationId, result: Result<(), DriverError>, reports: &mut Reports) {
        reports.push_back(Report::Finished { vm: self.vm, operation, result });
    }
}

fn refused(why: &str) -> Result<(), DriverError> {
    Err(error(DriverErrorKind::Failed, why))
}
