//! Which verbs several hosts can be asked at once, and why the others not.

use std::time::Duration;

use super::super::problem::Problem;
use super::super::{Noun, agent, client, connection, operation, vm};

/// How long a host may take by itself, the way to it among it, where nobody says otherwise: a little more than a single
/// host's limits together, so that those, which say more, come first.
pub(super) const LOOKS: Duration = Duration::from_secs(30);
pub(super) const CHANGES: Duration = Duration::from_secs(90);
/// A guest may take ten minutes to go down.
pub(super) const GUEST: Duration = Duration::from_secs(11 * 60);

/// How a verb deals with several hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Manner {
    /// Each answers and is done, within this time unless another is set; what they said is printed together.
    Answers(Duration),
    /// The same, but what is waited for may take as long as it likes.
    Waits,
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
        Noun::Capture(_) => one("capture", "a file has the packets of one daemon"),
        Noun::Event(_) => Ok(Manner::Follows),
        Noun::Vm(vm::Verb::Wait(_)) | Noun::Op(operation::Verb::Wait { .. }) => Ok(Manner::Waits),
        Noun::Vm(vm::Verb::Shutdown(_) | vm::Verb::Reboot(_)) => Ok(Manner::Answers(GUEST)),
        Noun::Vm(
            vm::Verb::Define(_)
            | vm::Verb::Undefine(_)
            | vm::Verb::Start(_)
            | vm::Verb::Stop(_)
            | vm::Verb::Reset(_)
            | vm::Verb::Pause(_)
            | vm::Verb::Resume(_),
        )
        | Noun::Client(
            client::Verb::Invite(_) | client::Verb::Add(_) | client::Verb::Role { .. } | client::Verb::Remove { .. },
        ) => Ok(Manner::Answers(CHANGES)),
        // Each time is a call of its own.
        Noun::Ping(ping) => Ok(Manner::Answers(ping.several(LOOKS))),
        Noun::Agent(agent::Verb::Ping(_))
        | Noun::Vm(vm::Verb::List(_) | vm::Verb::Show(_) | vm::Verb::Definition(_))
        | Noun::Host(_)
        | Noun::Daemon(_)
        | Noun::Op(operation::Verb::List { .. } | operation::Verb::Show { .. })
        | Noun::Connection(connection::Verb::List)
        | Noun::Client(client::Verb::List)
        | Noun::Version(_) => Ok(Manner::Answers(LOOKS)),
        Noun::Context(_) => none("context"),
        Noun::Pki(_) => none("pki"),
        Noun::Enroll(_) => one("enroll", "a token is for one host, and names it"),
        Noun::Stdio(_) => one("stdio", "a pipe has one daemon at its other end"),
        Noun::Completion(_) => none("completion"),
        Noun::Complete(_) => none("complete"),
        Noun::Man(_) => none("man"),
    }
}
