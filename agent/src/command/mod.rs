//! The commands: a table, and a room per subject. A command that is not in the table does not exist.

use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::error::CommandError;
use crate::helper::{End, Program};
use crate::json::Value;

pub mod channel;
pub mod handshake;

use handshake::Capability;

/// What a command came to.
#[derive(Debug)]
pub enum Done {
    /// It returns this.
    Return(Value),
    /// The same, behind the byte FF.
    Delimited(Value),
    /// It succeeded, and that is not answered.
    Silence,
    /// A program has to end first.
    Later(Task),
}

/// How a command goes on when its program ended.
pub type Then = Box<dyn FnOnce(&mut Agent, End) -> Result<Done, CommandError>>;

/// A program, and what is done when it ended.
pub struct Task {
    /// The program.
    pub program: Program,
    /// What is done then.
    pub then: Then,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("program", &self.program).finish_non_exhaustive()
    }
}

impl Task {
    /// Has a program run, then goes on.
    pub fn run(
        path: &str,
        arguments: &[&str],
        span: Duration,
        then: impl FnOnce(&mut Agent, End) -> Result<Done, CommandError> + 'static,
    ) -> Done {
        Task::with_input(path, arguments, Vec::new(), span, then)
    }

    /// The same for a program that reads something.
    pub fn with_input(
        path: &str,
        arguments: &[&str],
        input: Vec<u8>,
        span: Duration,
        then: impl FnOnce(&mut Agent, End) -> Result<Done, CommandError> + 'static,
    ) -> Done {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let program = Program { path: path.to_owned(), arguments, input, span };
        Done::Later(Task { program, then: Box::new(then) })
    }
}

/// A command.
#[derive(Debug)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Whether its success is answered.
    pub success_response: bool,
    /// Whether it is safe while file systems are frozen.
    pub while_frozen: bool,
    /// What has to be enabled before.
    pub needs: Option<Capability>,
    /// What it does. All arguments are judged before anything is done.
    pub run: fn(&mut Agent, &mut Arguments, Instant) -> Result<Done, CommandError>,
}

type Run = fn(&mut Agent, &mut Arguments, Instant) -> Result<Done, CommandError>;

const fn safe(name: &'static str, run: Run) -> Command {
    Command { name, success_response: true, while_frozen: true, needs: None, run }
}

/// The command of that name.
pub fn find(name: &str) -> Option<&'static Command> {
    TABLE.iter().find(|command| command.name == name)
}

/// All commands, in the order in which they are listed.
pub static TABLE: &[Command] = &[
    safe("guest-sync-delimited", channel::sync_delimited),
    safe("guest-sync", channel::sync),
    safe("guest-ping", channel::ping),
    safe("guest-info", channel::info),
    safe("request-negotiation", handshake::request_negotiation),
    safe("qmp_capabilities", handshake::qmp_capabilities),
    safe("guest-set-support-level", handshake::set_support_level),
    Command {
        needs: Some(Capability::ClientDisconnect),
        ..safe("guest-client-disconnected", handshake::client_disconnected)
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_is_in_the_table_twice() {
        let mut names: Vec<_> = TABLE.iter().map(|command| command.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }
}
