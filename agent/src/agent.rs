//! The agent: what it was told, what it knows, and what it does with a request. It touches no channel, so that tests need none.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::PollFd;

use crate::arguments::Arguments;
use crate::command::handshake::{Capabilities, SupportLevel};
use crate::command::{self, Command, Done, Run, Task};
use crate::command_helper;
use crate::dispatch::{Reply, Request};
use crate::error::CommandError;
use crate::file_helper::Answer;
use crate::files::{Failure, Files};
use crate::freezer::Freezer;
use crate::json::Value;
use crate::leaving::{Leaving, Purpose};
use crate::log::{Level, Log};
use crate::programs::Programs;
use crate::state::State;

/// What the agent is told when it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a request may keep others waiting.
    pub request_deadline: Duration,
    /// How long file systems stay frozen if nobody thaws them. None is for ever.
    pub freeze_lease: Option<Duration>,
    /// The program that runs before a freeze and after a thaw.
    pub hook: Option<String>,
    /// Commands that are refused.
    pub blocked: Vec<String>,
    /// If there are any, all others are refused.
    pub allowed: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            request_deadline: Duration::from_secs(30),
            freeze_lease: Some(Duration::from_secs(600)),
            hook: None,
            blocked: Vec::new(),
            allowed: Vec::new(),
        }
    }
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    /// What it was told.
    pub settings: Settings,
    /// Where it tells what it does.
    pub log: Log,
    /// What the peer of this connection wants unasked.
    pub capabilities: Capabilities,
    /// What outlives it.
    pub state: State,
    /// What the host opened.
    pub files: Files,
    /// What the host started.
    pub programs: Programs,
    /// Children that have to end.
    pub leaving: Leaving,
    /// Whether file systems are frozen.
    pub freezer: Freezer,
    /// What waits for a thaw, as it writes to where nothing may be written.
    pub after_thaw: Option<AfterThaw>,
    /// The level that was set last; as in the patch that brought it, for all connections.
    pub support_level: SupportLevel,
}

/// What is done when file systems that were left frozen are thawed.
pub struct AfterThaw(pub Box<dyn FnOnce(&mut Log)>);

impl std::fmt::Debug for AfterThaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AfterThaw")
    }
}

/// What comes of a request.
#[derive(Debug)]
pub enum Outcome {
    /// This is answered.
    Reply(Reply),
    /// A program has to run first.
    Task(Task),
}

impl Agent {
    /// An agent that has done nothing yet.
    pub fn new(settings: Settings, log: Log, state: State) -> Agent {
        let mut freezer = Freezer::new(settings.freeze_lease);
        let mut log = log;
        if state.was_left_frozen() {
            freezer.freeze(Instant::now());
            log.set_quiet(true);
        }
        Agent {
            settings,
            log,
            state,
            capabilities: Capabilities::default(),
            files: Files::default(),
            programs: Programs::default(),
            leaving: Leaving::default(),
            freezer,
            after_thaw: None,
            support_level: SupportLevel::default(),
        }
    }

    /// Somebody else is at the other end.
    pub fn connected(&mut self) {
        self.capabilities = Capabilities::default();
    }

    /// Does what a value asks for. The id has to come back with the answer.
    pub fn handle(&mut self, value: Value, now: Instant) -> (Option<Value>, Outcome) {
        let Request { id, call } = Request::new(value);
        let result = call.and_then(|call| {
            let command = self.find(&call.command)?;
            match command.run {
                Run::Here(run) => run(self, &mut Arguments::new(call.arguments), now),
                Run::Elsewhere(_, deadlines) => {
                    self.leaving.demand_room(Purpose::Command)?;
                    let span = self.settings.request_deadline * deadlines;
                    Ok(command_helper::task(command.name, call.arguments, span))
                }
            }
        });
        (id, outcome(result))
    }

    /// Goes on with a command whose program ended.
    pub fn resume(&mut self, then: command::Then, end: crate::helper::End) -> Outcome {
        outcome(then(self, end))
    }

    /// Goes on with a command whose program began, or did not.
    pub fn resume_start(&mut self, then: command::StartThen, begun: io::Result<i32>) -> Outcome {
        outcome(then(self, begun))
    }

    /// Goes on with a command whose order to a file came to this.
    pub fn resume_file(&mut self, then: command::FileThen, answer: Result<Answer, Failure>) -> Outcome {
        if let Err(Failure::TooLong) = answer {
            self.log.say(Level::Warning, "a file took too long, and whoever held the open ones was killed");
        }
        outcome(then(self, answer))
    }

    /// What is to be done by itself: a lease may be over.
    pub fn look_after(&mut self, now: Instant) -> Option<Outcome> {
        if self.cannot_thaw() || !self.freezer.is_due(now, self.settings.request_deadline) {
            return None;
        }
        self.freezer.expire();
        Some(self.thaw())
    }

    /// Whether a thaw would be in vain, or one more that hangs. When it is not any more, the end of a child wakes us.
    fn cannot_thaw(&self) -> bool {
        self.leaving.hangs(Purpose::Freeze) || self.leaving.hangs(Purpose::Thaw)
    }

    /// Thaws what is frozen, unasked.
    pub fn thaw(&mut self) -> Outcome {
        outcome(command::freeze::thaw_unasked(self))
    }

    /// File systems are not frozen any more: what could not be written may be.
    pub fn thawed(&mut self) {
        if !self.freezer.is_frozen() {
            return;
        }
        self.freezer.thaw();
        self.log.set_quiet(false);
        if let Some(AfterThaw(then)) = self.after_thaw.take() {
            then(&mut self.log);
        }
        self.log.say(Level::Warning, "logging re-enabled due to filesystem unfreeze");
        if let Err(error) = self.state.set_frozen(false) {
            self.log.say(Level::Warning, format_args!("the end of the freeze cannot be kept: {error}"));
        }
    }

    /// What wakes the agent besides its channel.
    pub fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        self.programs.watch(fds);
    }

    /// When it has to be looked after at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.freezer.deadline().filter(|_| !self.cannot_thaw())
    }

    fn find(&self, name: &str) -> Result<&'static Command, CommandError> {
        let Some(command) = command::find(name) else {
            return Err(CommandError::command_not_found(format!("The command {name} has not been found")));
        };
        self.refusal(command).map_or(Ok(command), Err)
    }

    /// Why a command that there is may not be used now.
    pub fn refusal(&self, command: &Command) -> Option<CommandError> {
        let name = command.name;
        let listed = |names: &[String]| names.iter().any(|listed| listed == name);
        let disabled =
            listed(&self.settings.blocked) || (!self.settings.allowed.is_empty() && !listed(&self.settings.allowed));
        if disabled {
            return Some(CommandError::command_not_found(format!("Command {name} has been disabled")));
        }
        if self.freezer.is_frozen() && !command.while_frozen {
            return Some(CommandError::command_not_found(format!(
                "Command {name} has been disabled: the agent is in frozen state"
            )));
        }
        if command.needs.is_some_and(|capability| !self.capabilities.contains(capability)) {
            return Some(CommandError::command_not_found(format!(
                "Command {name} has been disabled: its capability has not been enabled"
            )));
        }
        None
    }
}

fn outcome(result: Result<Done, CommandError>) -> Outcome {
    match result {
        Ok(Done::Return(value)) => Outcome::Reply(Reply::Return(value)),
        Ok(Done::Delimited(value)) => Outcome::Reply(Reply::Delimited(value)),
        Ok(Done::Told(told)) => Outcome::Reply(Reply::Told(told)),
        Ok(Done::Silence) => Outcome::Reply(Reply::Silence),
        Ok(Done::Later(task)) => Outcome::Task(task),
        Err(error) => Outcome::Reply(Reply::Error(error)),
    }
}

#[cfg(test)]
mod tests;
