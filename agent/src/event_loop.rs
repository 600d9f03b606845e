//! The loop: one thread that moves bytes between the channel and the agent, and waits in one place.
//!
//! ```text
//!   Asking ──a command needs a program──▶ Waiting ──it ended, or its time is over──▶ Asking
//!     │ ▲                                    (nothing is read from the channel)
//!     │ └── written
//!     └──answers pile up──▶ (nothing is read until they are written)
//! ```
//!
//! Requests are done one after the other, in the order in which they came. What is kept is bounded: one read's worth of input, one
//! answer beyond `OUTBOX_BYTES`. A peer that leaves takes its unfinished request and its unread answers with it, and what was
//! agreed with it.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use crate::agent::{Agent, Outcome};
use crate::channel::{Channel, Got};
use crate::command::{FileThen, StartThen, Task, Then};
use crate::dispatch::Reply;
use crate::helper::{End, Helper};
use crate::json::{Incoming, Reader, Value};
use crate::kernel;
use crate::log::Level;

/// With so much unsent no further request is done.
const OUTBOX_BYTES: usize = 64 << 10;
/// After so much, what it took in between is given back to the system.
const MOVED_BYTES_MAX: usize = 4 << 20;
/// What is read at once.
const READ_BYTES: usize = 16 << 10;
/// Who has to leave waits no longer for a file, for a program that begins, or for a command that is done elsewhere.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);
/// So much is done before it is looked whether anything else has come.
const STEPS_MAX: usize = 256;

/// Everything that runs.
#[derive(Debug)]
pub struct EventLoop {
    agent: Agent,
    channel: Channel,
    reader: Reader,
    input: Box<[u8; READ_BYTES]>,
    /// Where in the input what was not looked at begins and ends.
    unread: (usize, usize),
    outbox: Vec<u8>,
    /// So much of the outbox is sent.
    sent: usize,
    /// Bytes that came and went since memory was given back last.
    moved: usize,
    /// The peer says nothing more; it goes when all is answered.
    ended: bool,
    waiting: Option<Waiting>,
    /// A signal said no more; what is frozen is thawed first.
    leaving: bool,
    /// That was tried since the signal.
    thaw_tried: bool,
    leave: UnixStream,
    children: UnixStream,
}

/// A command that is not done yet.
struct Waiting {
    job: Job,
    id: Option<Value>,
    /// Who asked has left.
    orphaned: bool,
}

/// What it waits for.
enum Job {
    Program(Box<Helper>, Then),
    Start(StartThen),
    File(FileThen),
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("id", &self.id).field("orphaned", &self.orphaned).finish_non_exhaustive()
    }
}

impl Job {
    /// Begins what a task asks for; or says what came of it.
    fn begin(task: Task, agent: &mut Agent, now: Instant) -> Result<Job, Outcome> {
        match task {
            Task::Program(program, then) => match Helper::start(program, now) {
                Ok(helper) => Ok(Job::Program(Box::new(helper), then)),
                Err(end) => Err(agent.resume(then, end)),
            },
            Task::Start(order, then) => match agent.programs.begin(order, now + agent.settings.request_deadline) {
                Ok(()) => Ok(Job::Start(then)),
                Err(error) => Err(agent.resume_start(then, Err(error))),
            },
            Task::File(order, then) => match agent.files.begin(order, now, agent.settings.request_deadline) {
                Ok(()) => Ok(Job::File(then)),
                Err(failure) => Err(agent.resume_file(then, Err(failure))),
            },
        }
    }

    /// What came of it, or itself if nothing did yet.
    fn progress(self, agent: &mut Agent, now: Instant) -> Result<Outcome, Job> {
        match self {
            Job::Program(helper, then) => {
                let end = match helper.progress(now, &mut agent.leaving) {
                    Ok(end) => end,
                    Err(helper) => return Err(Job::Program(helper, then)),
                };
                if matches!(end, End::TooLong) {
                    agent.log.say(Level::Warning, "a program took too long and was killed");
                }
                Ok(agent.resume(then, end))
            }
            Job::Start(then) => match agent.programs.begun(now, &mut agent.leaving) {
                Some(begun) => Ok(agent.resume_start(then, begun)),
                None => Err(Job::Start(then)),
            },
            Job::File(then) => match agent.files.progress(now, &mut agent.leaving) {
                Some(answer) => Ok(agent.resume_file(then, answer)),
                None => Err(Job::File(then)),
            },
        }
    }

    fn deadline(&self, agent: &Agent) -> Option<Instant> {
        match self {
            Job::Program(helper, _) => Some(helper.deadline()),
            Job::Start(_) => agent.programs.deadline(),
            Job::File(_) => agent.files.deadline(),
        }
    }

    fn watch<'a>(&'a self, agent: &'a Agent, fds: &mut Vec<PollFd<'a>>) {
        match self {
            Job::Program(helper, _) => helper.watch(fds),
            // Programs are watched whether anybody waits or not.
            Job::Start(_) => {}
            Job::File(_) => agent.files.watch(fds),
        }
    }
}

/// Whether there is more to do right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    More,
    Done,
}

impl EventLoop {
    /// Begins to catch signals.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(agent: Agent, channel: Channel) -> io::Result<EventLoop> {
        Ok(EventLoop::with_signals(agent, channel, signals(&[SIGTERM, SIGINT])?, signals(&[SIGCHLD])?))
    }

    fn with_signals(agent: Agent, channel: Channel, leave: UnixStream, children: UnixStream) -> EventLoop {
        EventLoop {
            agent,
            channel,
            reader: Reader::new(),
            input: Box::new([0; READ_BYTES]),
            unread: (0, 0),
            outbox: Vec::new(),
            sent: 0,
            moved: 0,
            ended: false,
            waiting: None,
            leaving: false,
            thaw_tried: false,
            leave,
            children,
        }
    }

    /// Serves until a signal says no more.
    ///
    /// # Errors
    /// The channel is gone.
    pub fn run(mut self) -> io::Result<()> {
        let result = self.serve();
        if let Some(Waiting { job: Job::Program(helper, _), .. }) = self.waiting.take() {
            helper.kill(&mut self.agent.leaving);
        }
        self.agent.files.abandon(&mut self.agent.leaving);
        self.channel.remove();
        result
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            let now = Instant::now();
            self.look_after_job(now);
            // After that: who has just begun may have ended, which was told before we knew of it.
            self.agent.programs.progress();
            self.agent.files.tidy(self.waiting.is_some(), &mut self.agent.leaving);
            self.agent.leaving.tidy();
            if self.leaving && self.waiting.is_none() {
                if !self.agent.freezer.is_frozen() {
                    return Ok(());
                }
                if std::mem::replace(&mut self.thaw_tried, true) {
                    // Who cannot thaw stays: somebody else may be able to, through us.
                    (self.leaving, self.thaw_tried) = (false, false);
                } else {
                    let thaw = self.agent.thaw();
                    self.unasked(thaw, now);
                }
            }
            if self.waiting.is_none()
                && let Some(outcome) = self.agent.look_after(now)
            {
                self.unasked(outcome, now);
            }
            let mut work = Work::More;
            for _ in 0..STEPS_MAX {
                work = self.step(now)?;
                if work == Work::Done {
                    break;
                }
            }
            self.wait(work, now)?;
            if came(&mut self.leave) {
                self.leaving = true;
                // Who hangs does not keep us; who does not is done.
                let until = Instant::now() + LEAVES_WITHIN;
                self.agent.files.hasten(until);
                self.agent.programs.hasten(until);
                if let Some(Waiting { job: Job::Program(helper, _), .. }) = &mut self.waiting {
                    helper.hasten(until);
                }
            }
            came(&mut self.children);
        }
    }

    /// One piece of work, and whether there may be another.
    fn step(&mut self, now: Instant) -> io::Result<Work> {
        let written = self.flush();
        if self.waiting.is_some() || self.outbox.len() - self.sent > OUTBOX_BYTES {
            // Nothing is read, so that only this tells. What else it asked for is done all the same.
            if written == Work::More || !self.channel.has_left(now) {
                return Ok(written);
            }
            if let Some(waiting) = &mut self.waiting {
                waiting.orphaned = true;
            }
            let had_answers = !self.outbox.is_empty();
            self.outbox = Vec::new();
            self.sent = 0;
            return Ok(if had_answers { Work::More } else { Work::Done });
        }
        let (begin, end) = self.unread;
        if begin < end {
            let mut rest = &self.input[begin..end];
            let incoming = self.reader.next(&mut rest);
            self.unread.0 = end - rest.len();
            if let Some(incoming) = incoming {
                self.answer(incoming, now);
            }
            return Ok(Work::More);
        }
        if self.ended {
            if self.outbox.is_empty() {
                self.forget_peer();
                self.channel.end();
                return Ok(Work::More);
            }
            return Ok(written);
        }
        match self.channel.read(&mut self.input[..], now) {
            Got::Bytes(count) => {
                self.unread = (0, count);
                self.moved += count;
            }
            Got::Nothing => return Ok(written),
            Got::Connected => self.forget_peer(),
            Got::Changing => self.forget_cut_answer(),
            Got::End if matches!(self.channel, Channel::Port(_)) => {
                self.outbox = Vec::new();
                self.forget_peer();
            }
            Got::End => self.ended = true,
            Got::Broken(error) => return Err(error),
        }
        Ok(Work::More)
    }

    fn answer(&mut self, incoming: Incoming, now: Instant) {
        match incoming {
            Incoming::Refused(refusal) => self.send(Reply::from(&refusal), None),
            Incoming::Value(value) => {
                let (id, outcome) = self.agent.handle(value, now);
                self.conclude(id, outcome, false, now);
            }
        }
    }

    /// Sends an answer, or starts the program that it needs. If nobody is there to read it, what was begun is brought to its end all
    /// the same.
    fn conclude(&mut self, id: Option<Value>, outcome: Outcome, orphaned: bool, now: Instant) {
        let mut outcome = outcome;
        loop {
            match outcome {
                Outcome::Reply(_) if orphaned => return,
                Outcome::Reply(reply) => return self.send(reply, id),
                Outcome::Task(task) => match Job::begin(task, &mut self.agent, now) {
                    Ok(job) => {
                        self.waiting = Some(Waiting { job, id, orphaned });
                        return;
                    }
                    Err(ended) => outcome = ended,
                },
            }
        }
    }

    /// Does what nobody waits for.
    fn unasked(&mut self, outcome: Outcome, now: Instant) {
        self.conclude(None, outcome, true, now);
    }

    fn look_after_job(&mut self, now: Instant) {
        let Some(Waiting { job, id, orphaned }) = self.waiting.take() else { return };
        match job.progress(&mut self.agent, now) {
            Ok(outcome) => self.conclude(id, outcome, orphaned, now),
            Err(job) => self.waiting = Some(Waiting { job, id, orphaned }),
        }
    }

    fn send(&mut self, reply: Reply, id: Option<Value>) {
        let line = reply.into_line(id);
        if self.outbox.is_empty() { self.outbox = line } else { self.outbox.extend_from_slice(&line) }
    }

    fn flush(&mut self) -> Work {
        if self.outbox.is_empty() {
            return Work::Done;
        }
        match self.channel.write(&self.outbox[self.sent..]) {
            Ok(0) => return Work::Done,
            Ok(count) => {
                self.sent += count;
                self.moved += count;
                if self.sent < self.outbox.len() {
                    return Work::More;
                }
            }
            // Nobody reads it.
            Err(_) => {}
        }
        // A giant is not kept for the next one's sake.
        self.outbox = Vec::new();
        self.sent = 0;
        Work::More
    }

    /// Half an answer is of no use to anybody else; the others may be.
    fn forget_cut_answer(&mut self) {
        let Some(last_sent) = self.sent.checked_sub(1) else { return };
        let line_end = self.outbox[last_sent..].iter().position(|&byte| byte == b'\n');
        self.outbox.drain(..line_end.map_or(self.outbox.len(), |place| last_sent + place + 1));
        self.sent = 0;
    }

    /// Whoever comes next is somebody else.
    fn forget_peer(&mut self) {
        self.reader = Reader::new();
        self.unread = (0, 0);
        self.sent = 0;
        self.ended = false;
        self.agent.connected();
        if let Some(waiting) = &mut self.waiting {
            waiting.orphaned = true;
        }
    }

    /// Waits for something to do.
    fn wait(&mut self, work: Work, now: Instant) -> io::Result<()> {
        // Not in the middle of a message, whose end may be short.
        if work == Work::Done && self.moved > MOVED_BYTES_MAX && self.reader.is_idle() && self.outbox.is_empty() {
            self.moved = 0;
            kernel::give_memory_back();
        }
        let busy = self.waiting.is_some() || self.outbox.len() - self.sent > OUTBOX_BYTES;
        let (reading, writing) = (!busy && !self.ended, !self.outbox.is_empty());
        let mut fds = vec![PollFd::new(&self.leave, PollFlags::IN), PollFd::new(&self.children, PollFlags::IN)];
        if let Some((fd, flags)) = self.channel.interest(reading, writing) {
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        }
        if let Some(waiting) = &self.waiting {
            waiting.job.watch(&self.agent, &mut fds);
        }
        self.agent.watch(&mut fds);
        let timeout = match work {
            Work::More => Some(Duration::ZERO),
            Work::Done => {
                let deadline = [
                    self.waiting.as_ref().and_then(|waiting| waiting.job.deadline(&self.agent)),
                    self.channel.deadline(reading),
                    self.agent.deadline(),
                ];
                deadline.into_iter().flatten().min().map(|deadline| deadline.saturating_duration_since(now))
            }
        };
        // What ends between two ticks is not looked for in vain.
        let timeout = timeout.map(|span| span + Duration::from_millis(u64::from(!span.is_zero())));
        let timeout = timeout.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A socket that becomes readable when one of these signals comes.
fn signals(numbers: &[i32]) -> io::Result<UnixStream> {
    let (ours, handlers) = UnixStream::pair()?;
    for number in numbers {
        pipe::register(*number, handlers.try_clone()?)?;
    }
    ours.set_nonblocking(true)?;
    Ok(ours)
}

/// Whether a signal came since this was asked last.
fn came(signals: &mut UnixStream) -> bool {
    let mut came = false;
    while signals.read(&mut [0; 64]).is_ok_and(|count| count > 0) {
        came = true;
    }
    came
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Settings;
    use crate::channel::Listener;
    use crate::error::CommandError;
    use crate::log::Log;
    use crate::state::State;

    #[test]
    fn what_nobody_waits_for_is_not_answered_however_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let (leave, children) = UnixStream::pair().unwrap();
        let agent = Agent::new(Settings::default(), Log::default(), State::nowhere());
        let channel = Channel::Listener(Listener::unix(&directory.path().join("socket")).unwrap());
        let mut event_loop = EventLoop::with_signals(agent, channel, leave, children);
        let failed = || Outcome::Reply(Reply::Error(CommandError::generic("no child can be made")));
        event_loop.conclude(Some(Value::Integer(1)), failed(), true, Instant::now());
        event_loop.unasked(failed(), Instant::now());
        assert_eq!(event_loop.outbox.escape_ascii().to_string(), "");
        event_loop.conclude(Some(Value::Integer(2)), failed(), false, Instant::now());
        assert!(event_loop.outbox.ends_with(b"\"id\": 2}\n"));
    }
}
