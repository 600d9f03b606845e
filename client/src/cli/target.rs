//! Which daemon, or which hosts, the command line means, and the words for what says so.

use super::Exit;
use super::problem::Problem;
use crate::contexts::{self, Contexts, ContextsError, ContextsFile, Host, Origin, Position, Target};
use crate::transport::Environment;
use crate::uri::Uri;

/// The variable that says which daemon is meant where the command line does not.
pub(crate) const URI_VARIABLE: &str = "VMWIRE_URI";

/// Where contexts are kept.
pub(crate) fn file() -> Result<ContextsFile, ContextsError> {
    ContextsFile::of(&Environment::of_process())
}

/// What the variable says; an empty one says nothing.
pub(crate) fn variable() -> Option<String> {
    let value = std::env::var_os(URI_VARIABLE).filter(|value| !value.is_empty());
    value.map(|value| value.to_string_lossy().into_owned())
}

/// The contexts; none where it is not known where they would be.
pub(crate) fn read() -> Result<Contexts, ContextsError> {
    match file() {
        Ok(file) => file.read(),
        Err(_) => Ok(Contexts::default()),
    }
}

/// Which daemon is meant, given what `-c` says. Asked only by those who want to connect: a wrong variable is no reason not
/// to print a completion script.
pub(crate) fn in_force(option: Option<&str>) -> Result<Target, Problem> {
    let usual = || Uri::default_for(rustix::process::geteuid().as_raw());
    contexts::daemon(option, variable().as_deref(), read, usual).map_err(|(origin, error)| match origin {
        Origin::Option => said_wrong("-c", error),
        Origin::Variable => said_wrong(URI_VARIABLE, error),
        Origin::Current | Origin::Default => Problem::from(error),
    })
}

/// Which hosts are meant by what `-H` says.
pub(crate) fn hosts(lists: &[String]) -> Result<Vec<Host>, Problem> {
    contexts::hosts(lists, read).map_err(|error| said_wrong("-H", error))
}

/// What is wrong with what `who` says is a mistake of the command line; what is wrong with the file, is not.
fn said_wrong(who: &str, error: ContextsError) -> Problem {
    let problem = Problem::from(error);
    if matches!(problem.exit, Exit::Usage | Exit::NotFound) && problem.object.is_none() {
        let message = format!("{who}: {}", problem.message);
        return Problem { exit: Exit::Usage, code: "USAGE", message, ..problem };
    }
    problem
}

/// What says which daemon, in JSON.
pub(crate) fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::Option => "option",
        Origin::Variable => "variable",
        Origin::Current => "current",
        Origin::Default => "default",
    }
}

/// The same for people.
pub(crate) fn origin_words(origin: Origin) -> &'static str {
    match origin {
        Origin::Option => "-c says so",
        Origin::Variable => "VMWIRE_URI says so",
        Origin::Current => "it is the current context",
        Origin::Default if rustix::process::geteuid().is_root() => "as is usual for root",
        Origin::Default => "as is usual for users other than root",
    }
}

impl From<ContextsError> for Problem {
    fn from(error: ContextsError) -> Self {
        let (exit, code) = match &error {
            ContextsError::NoHome
            | ContextsError::Unreadable { .. }
            | ContextsError::Unwritable { .. }
            | ContextsError::Busy(_)
            | ContextsError::TooMany => (Exit::Failed, "LOCAL"),
            ContextsError::Exists { .. } => (Exit::Failed, "EXISTS"),
            ContextsError::Unknown { .. } | ContextsError::IsGroup(_) => (Exit::NotFound, "NOT_FOUND"),
            ContextsError::Text { .. }
            | ContextsError::Name(_)
            | ContextsError::Ambiguous(_)
            | ContextsError::Uri(_)
            | ContextsError::NameTwice(_)
            | ContextsError::UriTwice { .. }
            | ContextsError::UnknownHost { .. }
            | ContextsError::NoHost(_)
            | ContextsError::TooManyHosts { .. } => (Exit::Usage, "USAGE"),
        };
        let problem = Self::new(exit, code, error.to_string()).hint(error.hint());
        if let ContextsError::Text { path, position, why, .. } = &error {
            let Position { line, column } = position;
            let message = format!("line {line}, column {column}: {why}");
            let details = [("line", line), ("column", column)].map(|(key, at)| (key.to_owned(), at.to_string()));
            return Self { message, details: details.into(), ..problem }.about("file", &path.display().to_string());
        }
        match std::error::Error::source(&error) {
            Some(source) => problem.cause(source.to_string()),
            None => problem,
        }
    }
}
