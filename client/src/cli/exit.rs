//! The exit codes: an interface of the program, named here and in its help, and never given another meaning.

use std::process::ExitCode;

use vmwire_protocol::message::{Failure, code};

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for was done.
    Ok = 0,
    /// It was tried and failed, or was refused for a reason that has no code of its own.
    Failed = 1,
    /// The command line was not understood. Nothing was tried.
    Usage = 2,
    /// There is no daemon to talk to, or the connection was lost.
    NoConnection = 3,
    /// The daemon knows who asks and does not allow it.
    Denied = 4,
    /// What was named does not exist.
    NotFound = 5,
    /// The time was over before the answer came.
    Deadline = 6,
    /// What was waited for can never come true.
    Never = 7,
    /// Of several things some were done and some were not.
    Partial = 8,
}

impl Exit {
    /// Every code, in order.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::NoConnection,
        Self::Denied,
        Self::NotFound,
        Self::Deadline,
        Self::Never,
        Self::Partial,
    ];

    /// The number that the shell sees.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoConnection => 3,
            Self::Denied => 4,
            Self::NotFound => 5,
            Self::Deadline => 6,
            Self::Never => 7,
            Self::Partial => 8,
        }
    }

    /// What it means, in the words of the help.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Failed => "failed",
            Self::Usage => "the command line was not understood",
            Self::NoConnection => "no connection to a daemon, or it was lost",
            Self::Denied => "not allowed",
            Self::NotFound => "what was named does not exist",
            Self::Deadline => "the time was over before the answer came",
            Self::Never => "what was waited for can never come true",
            Self::Partial => "some of several were done, some were not",
        }
    }

    /// How a call that the daemon answered with a failure ends. A code that this version does not know reads as
    /// `INTERNAL`, as the protocol has it.
    #[must_use]
    pub fn of_failure(failure: &Failure) -> Self {
        if failure.fact("never") == Some("yes") {
            return Self::Never;
        }
        Self::of_code(failure.code).unwrap_or(Self::Failed)
    }

    /// One row per code of the wire, and none for those that are not there.
    fn of_code(code: u32) -> Option<Self> {
        match code {
            code::MALFORMED
            | code::UNKNOWN_PROCEDURE
            | code::UNSUPPORTED
            | code::CANCELLED
            | code::EXISTS
            | code::BUSY
            | code::INVALID
            | code::DRIVER
            | code::AGENT
            | code::INTERNAL
            | code::ANSWER_TOO_LARGE => Some(Self::Failed),
            code::VERSION_MISMATCH
            | code::SERIAL
            | code::BAD_LENGTH
            | code::BAD_MAGIC
            | code::OVERLOADED
            | code::GOING_AWAY => Some(Self::NoConnection),
            code::DENIED => Some(Self::Denied),
            code::NOT_FOUND => Some(Self::NotFound),
            code::DEADLINE_EXCEEDED => Some(Self::Deadline),
            _ => None,
        }
    }

    /// How a run over several things ends, each of which ended for itself.
    #[must_use]
    pub fn of_several(each: &[Self]) -> Self {
        match each {
            [] => Self::Ok,
            [first, rest @ ..] if rest.iter().all(|exit| exit == first) => *first,
            all if all.contains(&Self::Ok) => Self::Partial,
            _ => Self::Failed,
        }
    }

    /// The table for the help.
    #[must_use]
    pub fn help() -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in Self::ALL {
            text.push_str(&format!("  {}  {}\n", exit.number(), exit.meaning()));
        }
        text
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_frozen() {
        let frozen = [
            (Exit::Ok, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::NoConnection, 3),
            (Exit::Denied, 4),
            (Exit::NotFound, 5),
            (Exit::Deadline, 6),
            (Exit::Never, 7),
            (Exit::Partial, 8),
        ];
        assert_eq!(frozen.map(|(exit, _)| exit), Exit::ALL);
        for (exit, number) in frozen {
            assert_eq!(exit.number(), number);
        }
    }

    #[test]
    fn every_code_of_the_wire_has_its_exit() {
        for (number, name) in code::ALL {
            assert!(Exit::of_code(*number).is_some(), "{name}");
        }
        assert_eq!(Exit::of_failure(&Failure::new(9_999, "from the future")), Exit::Failed);
        assert_eq!(Exit::of_failure(&Failure::new(code::NOT_FOUND, "gone")), Exit::NotFound);
        let undefined = Failure::new(code::NOT_FOUND, "it was undefined").detail("never", "yes");
        assert_eq!(Exit::of_failure(&undefined), Exit::Never);
    }

    #[test]
    fn several_that_ended_alike_end_so_together() {
        assert_eq!(Exit::of_several(&[]), Exit::Ok);
        assert_eq!(Exit::of_several(&[Exit::Ok, Exit::Ok]), Exit::Ok);
        assert_eq!(Exit::of_several(&[Exit::NotFound, Exit::NotFound]), Exit::NotFound);
        assert_eq!(Exit::of_several(&[Exit::Ok, Exit::NotFound]), Exit::Partial);
        assert_eq!(Exit::of_several(&[Exit::Denied, Exit::NotFound]), Exit::Failed);
    }

    #[test]
    fn the_page_for_programs_names_every_code() {
        let page = include_str!("../../../docs/cli.md");
        for exit in Exit::ALL {
            let row = format!("| {} | {} |", exit.number(), exit.meaning());
            assert!(page.contains(&row), "docs/cli.md lacks {row}");
        }
        for (_, name) in code::ALL {
            assert!(page.contains(&format!("`{name}`")), "docs/cli.md lacks {name}");
        }
    }

    #[test]
    fn the_help_names_every_code() {
        let help = Exit::help();
        for exit in Exit::ALL {
            assert!(help.contains(&format!("  {}  {}", exit.number(), exit.meaning())));
        }
    }
}
