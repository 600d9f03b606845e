//! The agent: what it was told, what it knows, and what it does with a request. It touches no channel, so that tests need none.

use std::time::{Duration, Instant};

use rustix::event::PollFd;

use crate::arguments::Arguments;
use crate::command::handshake::{Capabilities, SupportLevel};
use crate::command::{self, Command, Done, Task};
use crate::dispatch::{Reply, Request};
use crate::error::CommandError;
use crate::json::Value;
use crate::log::Log;
use crate::state::State;

/// What the agent is told when it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a request may keep others waiting.
    pub request_deadline: Duration,
    /// Commands that are refused.
    pub blocked: Vec<String>,
    /// If there are any, all others are refused.
    pub allowed: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { request_deadline: Duration::from_secs(30), blocked: Vec::new(), allowed: Vec::new() }
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
    /// The level that was set last; as in the patch that brought it, for all connections.
    pub support_level: SupportLevel,
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
        Agent { settings, log, state, capabilities: Capabilities::default(), support_level: SupportLevel::default() }
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
            (command.run)(self, &mut Arguments::new(call.arguments), now)
        });
        (id, outcome(result))
    }

    /// Goes on with a command whose program ended.
    pub fn resume(&mut self, then: command::Then, end: crate::helper::End) -> Outcome {
        outcome(then(self, end))
    }

    /// What is to be done by itself: programs that ended, deadlines that passed.
    pub fn look_after(&mut self, _now: Instant) {}

    /// What wakes the agent besides its channel.
    pub fn watch<'a>(&'a self, _fds: &mut Vec<PollFd<'a>>) {}

    /// When it has to be looked after at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The agent is to end.
    pub fn leave(&mut self) {}

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
        Ok(Done::Silence) => Outcome::Reply(Reply::Silence),
        Ok(Done::Later(task)) => Outcome::Task(task),
        Err(error) => Outcome::Reply(Reply::Error(error)),
    }
}

#[cfg(test)]
mod tests;
