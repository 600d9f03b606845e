//! Which verbs several hosts can be asked at once, and why the others not.

use super::super::problem::Problem;
use super::super::{Noun, connection, vm};

/// How a verb deals with several hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Manner {
    /// Each answers and is done; what they said is printed together.
    Answers,
    /// Each goes on saying something, which is printed as it comes.
    Follows,
}

/// How a verb deals with several hosts.
///
/// # Errors
/// When it makes no sense.
pub(in crate::cli) fn manner(noun: &Noun) -> Result<Manner, Problem> {
    let one = |what: &str, why: &str| {
        Err(Problem::usage(format!("{what} takes no -H: {why}")).hint("name the one host with -c"))
    };
    let none = |what: &str| Err(Problem::usage(format!("{what} takes no -H: it asks no daemon")).hint("leave -H out"));
    match noun {
        Noun::Vm(vm::Verb::Console(_)) => one("vm console", "a console is that of one machine on one host"),
        Noun::Connection(connection::Verb::Kick { .. }) => {
            one("connection kick", "each daemon numbers its connections for itself")
        }
        Noun::Event(_) => Ok(Manner::Follows),
        Noun::Vm(_)
        | Noun::Host(_)
        | Noun::Daemon(_)
        | Noun::Op(_)
        | Noun::Connection(connection::Verb::List)
        | Noun::Client(_)
        | Noun::Ping(_)
        | Noun::Version(_) => Ok(Manner::Answers),
        Noun::Context(_) => none("context"),
        Noun::Pki(_) => none("pki"),
        Noun::Enroll(_) => one("enroll", "a token is for one host, and names it"),
        Noun::Stdio(_) => one("stdio", "a pipe has one daemon at its other end"),
        Noun::Completion(_) => none("completion"),
        Noun::Complete(_) => none("complete"),
        Noun::Man(_) => none("man"),
    }
}
