//! Many hosts at once: `-H`.
//!
//! ```text
//!   threads, one for each host, at most 32 at a time        this thread
//!   the verb, with an Output that hands over ──── pieces ──▶ kept by host, until all have ended or their time is over
//!                                                            ──▶ one table, or one array, in the order of naming
//! ```
//! A verb knows nothing of this: it runs as for one host, and what it prints are pieces. What goes wrong with one host is
//! told at the end and holds nobody up. Threads whose time is over are left alone; the process ends without them.

mod answers;
#[cfg(test)]
mod tests;
mod which;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::output::{Format, Output, Piece};
use super::problem::Problem;
use super::stood::stood;
use super::vm::Stdin;
use super::{Context, Exit, Noun, PROGRAM, ask, perform};
use crate::connection::CHOSEN_DEADLINE_GRACE;
use crate::contexts::Host;
use crate::error::Error;
use answers::{Answers, follow};
pub(super) use which::{Manner, manner};

/// So many hosts are asked at the same time; the others wait for their turn.
const AT_ONCE: usize = 32;

/// How many pieces may wait to be taken. Whoever prints more waits.
const WAITING_MAX: usize = 64;

/// From when on a person is told how far it has come, and how often.
const PROGRESS_AFTER: Duration = Duration::from_millis(700);
const PROGRESS_EACH: Duration = Duration::from_millis(200);

/// So many of those that are waited for are named.
const NAMED_MAX: usize = 3;

/// Beside the time that was set, for it is counted from the connecting on, and an answer has to get here: what a single
/// host would be given for both.
const SLACK: Duration = CHOSEN_DEADLINE_GRACE.saturating_mul(2);

/// What comes from the thread of a host, by its number.
enum Said {
    Piece(usize, Piece),
    Ended(usize, Result<Exit, Problem>),
}

/// The threads.
struct Threads {
    noun: Arc<Noun>,
    timeout: Option<Duration>,
    stdin: Arc<Stdin>,
    like: (Format, bool),
    sender: SyncSender<Said>,
}

/// Runs the verb on every host, each with a time limit of its own: the one that is set, or the manner's. Within the latter
/// the connecting has the limit of a single host, and so has each call.
pub(super) fn run(
    hosts: Vec<Host>,
    noun: Noun,
    manner: Manner,
    timeout: Option<Duration>,
    output: &mut Output,
) -> Result<Exit, Problem> {
    let (sender, receiver) = sync_channel(WAITING_MAX);
    let like = output.manner();
    let threads = Threads { noun: Arc::new(noun), timeout, stdin: Arc::default(), like, sender };
    let names: Vec<String> = hosts.iter().map(|host| host.name.clone()).collect();
    // Who follows is never done, and would keep the others waiting for ever.
    let at_once = if manner == Manner::Follows { usize::MAX } else { AT_ONCE };
    let mut round = Round::new(hosts, Limit::of(manner, timeout), at_once);
    round.begin(&threads);
    if manner == Manner::Follows {
        return round.listen(&threads, &receiver, output, |piece, index, output| follow(&names, index, piece, output));
    }
    let mut answers = Answers::new(names);
    let exit = round.listen(&threads, &receiver, output, |piece, index, _| answers.take(index, piece))?;
    answers.print(output)?;
    Ok(exit)
}

/// What ends the patience with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    /// As it is told.
    time: Duration,
    /// As it counts.
    whole: Duration,
    /// What else the person could do.
    hint: &'static str,
}

impl Limit {
    fn of(manner: Manner, timeout: Option<Duration>) -> Option<Self> {
        match (manner, timeout) {
            (Manner::Follows, _) | (Manner::Waits, None) => None,
            (Manner::Answers(_) | Manner::Waits, Some(time)) => {
                Some(Self { time, whole: time.saturating_add(SLACK), hint: "" })
            }
            (Manner::Answers(time), None) => Some(Self { time, whole: time, hint: "; --timeout gives it longer" }),
        }
    }
}

/// A host that is asked.
#[derive(Debug)]
struct Asked {
    index: usize,
    name: String,
    since: Instant,
    /// How long the clock had stood by then.
    stood: Duration,
}

impl Asked {
    fn new(index: usize, name: String) -> Self {
        Self { index, name, since: Instant::now(), stood: stood() }
    }

    /// From when on it is waited for no longer.
    fn until(&self, limit: Limit) -> Instant {
        self.since + limit.whole + stood().saturating_sub(self.stood)
    }
}

/// Who is asked now, who waits, and how it ended for the others.
struct Round {
    waiting: VecDeque<(usize, Host)>,
    asked: Vec<Asked>,
    ends: Vec<Option<Exit>>,
    /// Those that could not even begin.
    failed: Vec<(usize, Problem)>,
    limit: Option<Limit>,
    at_once: usize,
    began: Instant,
    /// Something is shown of how far it has come.
    shown: bool,
}

impl Round {
    fn new(hosts: Vec<Host>, limit: Option<Limit>, at_once: usize) -> Self {
        Self {
            ends: vec![None; hosts.len()],
            waiting: hosts.into_iter().enumerate().collect(),
            asked: Vec::new(),
            failed: Vec::new(),
            limit,
            at_once,
            began: Instant::now(),
            shown: false,
        }
    }

    /// Asks as many as may be asked.
    fn begin(&mut self, threads: &Threads) {
        while self.asked.len() < self.at_once
            && let Some((index, host)) = self.waiting.pop_front()
        {
            self.asked.push(Asked::new(index, host.name.clone()));
            if let Err(error) = threads.spawn(index, host) {
                self.failed.push((index, Problem::local("cannot start a thread for it", &error)));
            }
        }
    }

    /// Listens until all have ended.
    fn listen(
        &mut self,
        threads: &Threads,
        receiver: &Receiver<Said>,
        output: &mut Output,
        mut take: impl FnMut(Piece, usize, &mut Output) -> Result<(), Problem>,
    ) -> Result<Exit, Problem> {
        while !self.asked.is_empty() {
            for (index, problem) in std::mem::take(&mut self.failed) {
                self.end(index, Err(problem), output, &mut take)?;
                self.begin(threads);
            }
            let said = match self.wake_at(output.shows_progress()) {
                Some(at) => receiver.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match said {
                // Of those who were given up nothing is heard any more.
                Ok(Said::Piece(index, piece)) if self.is_asked(index) => {
                    self.hide(output);
                    take(piece, index, output)?;
                }
                Ok(Said::Ended(index, end)) if self.is_asked(index) => self.end(index, end, output, &mut take)?,
                // The threads hold none of our own sender.
                Ok(_) | Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {}
            }
            if ask::is_asking() {
                self.hide(output);
            }
            for (index, limit) in self.overdue() {
                let hint = "the host, or the way to it, is slow or hangs; what was asked may still be done";
                let late = Problem::from(Error::Deadline(limit.time)).hint(format!("{hint}{}", limit.hint));
                self.end(index, Err(late), output, &mut take)?;
            }
            self.begin(threads);
            self.show(output);
        }
        self.hide(output);
        Ok(of_hosts(&self.ends.iter().map(|end| end.unwrap_or(Exit::Failed)).collect::<Vec<_>>()))
    }

    fn is_asked(&self, index: usize) -> bool {
        self.asked.iter().any(|asked| asked.index == index)
    }

    fn end(
        &mut self,
        index: usize,
        end: Result<Exit, Problem>,
        output: &mut Output,
        take: &mut impl FnMut(Piece, usize, &mut Output) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        self.asked.retain(|asked| asked.index != index);
        let exit = match end {
            Ok(exit) => exit,
            Err(problem) => {
                let exit = problem.exit;
                self.hide(output);
                take(Piece::Problem(problem), index, output)?;
                exit
            }
        };
        if let Some(end) = self.ends.get_mut(index) {
            *end = Some(exit);
        }
        Ok(())
    }

    /// Whose time is over, and how much it was.
    fn overdue(&self) -> Vec<(usize, Limit)> {
        let Some(limit) = self.limit else { return Vec::new() };
        let now = Instant::now();
        self.asked.iter().filter(|asked| asked.until(limit) <= now).map(|asked| (asked.index, limit)).collect()
    }

    fn wake_at(&self, progress: bool) -> Option<Instant> {
        let deadline = self.limit.and_then(|limit| self.asked.iter().map(|asked| asked.until(limit)).min());
        let look = progress.then(|| (self.began + PROGRESS_AFTER).max(Instant::now() + PROGRESS_EACH));
        deadline.into_iter().chain(look).min()
    }

    fn show(&mut self, output: &mut Output) {
        let early = self.began.elapsed() < PROGRESS_AFTER;
        if !output.shows_progress() || early || self.asked.is_empty() || ask::is_asking() {
            return;
        }
        let done = self.ends.iter().flatten().count();
        let names: Vec<&str> = self.asked.iter().take(NAMED_MAX).map(|asked| asked.name.as_str()).collect();
        let more = match self.asked.len() + self.waiting.len() - names.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        output.progress(&format!(
            "{PROGRAM}: {done} of {} hosts done, waiting for {}{more}",
            self.ends.len(),
            names.join(", ")
        ));
        self.shown = true;
    }

    fn hide(&mut self, output: &mut Output) {
        if std::mem::take(&mut self.shown) {
            output.progress("");
        }
    }
}

impl Threads {
    fn spawn(&self, index: usize, host: Host) -> io::Result<()> {
        let (noun, stdin, like, timeout) = (self.noun.clone(), self.stdin.clone(), self.like, self.timeout);
        let sender = self.sender.clone();
        let run = move || {
            let mut ending = Ending { sender: sender.clone(), index, end: None };
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            let mut output =
                Output::handing_over(like, move |piece| sender.send(Said::Piece(index, piece)).map_err(gone));
            let mut context = Context::of_host(&mut output, host, timeout, stdin);
            ending.end = Some(perform(&noun, &mut context));
        };
        std::thread::Builder::new().name(format!("host {index}")).spawn(run).map(drop)
    }
}

/// Tells of the end of a thread, however it ends.
struct Ending {
    sender: SyncSender<Said>,
    index: usize,
    end: Option<Result<Exit, Problem>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let failed = || Err(Problem::new(Exit::Failed, "LOCAL", "its thread has failed"));
        // If nobody listens any more the program ends.
        let _ = self.sender.send(Said::Ended(self.index, self.end.take().unwrap_or_else(failed)));
    }
}

/// How it ends on several hosts: as on each, or partly.
fn of_hosts(ends: &[Exit]) -> Exit {
    match ends {
        [first, rest @ ..] if rest.iter().all(|end| end == first) => *first,
        _ => Exit::Partial,
    }
}
