//! What went wrong, in the one form in which the program tells it: as text for people, as JSON for programs, and as an
//! exit code for both.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Serialize;

use vmwire_protocol::message::Failure;

use super::exit::Exit;
use super::named::failure_code;
use super::text;
use crate::error::{Error, Lost};
use crate::transport::{Place, SYSTEM_SOCKET, StartError, local_user, quoted};
use crate::uri::HostPort;

/// An error, ready to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// How the program ends for it.
    pub(crate) exit: Exit,
    /// Its stable name: one of the wire's codes, or one of ours (`docs/cli.md` has both lists).
    pub(crate) code: &'static str,
    /// What happened.
    pub(crate) message: String,
    /// What it happened to.
    pub(crate) object: Option<Box<Object>>,
    /// Why, outermost first.
    pub(crate) causes: Vec<String>,
    /// What the person could do. May be empty.
    pub(crate) hint: Box<str>,
    /// When trying again makes sense, in milliseconds; 0 for never mind.
    pub(crate) retry_after_ms: u32,
    /// What machines need.
    pub(crate) details: BTreeMap<String, String>,
}

/// What something happened to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Object {
    pub(crate) kind: String,
    pub(crate) name: String,
}

#[derive(Serialize)]
pub(crate) struct Envelope<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    exit: u8,
    message: &'a str,
    object: Option<&'a Object>,
    causes: &'a [String],
    hint: Option<&'a str>,
    retry_after_ms: Option<u32>,
    details: &'a BTreeMap<String, String>,
}

impl Problem {
    /// A problem of which only the words are known.
    pub(crate) fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            exit,
            code,
            message: message.into(),
            object: None,
            causes: Vec::new(),
            hint: Box::default(),
            retry_after_ms: 0,
            details: BTreeMap::new(),
        }
    }

    /// The command line asks for what makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "USAGE", message)
    }

    /// Something on this side failed: a file, the terminal.
    pub(crate) fn local(message: impl Into<String>, error: &io::Error) -> Self {
        Self::new(Exit::Failed, "LOCAL", message).cause(error.to_string())
    }

    fn start(error: &StartError) -> Self {
        let problem = Self::new(Exit::NoConnection, "NO_DAEMON", error.to_string()).hint(error.hint());
        error.tail().iter().fold(problem, |problem, line| problem.cause(line.as_str()))
    }

    pub(crate) fn hint(mut self, hint: impl Into<Box<str>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// What it happened to, where that is not said yet.
    pub(crate) fn about(mut self, kind: &str, name: &str) -> Self {
        self.object = Some(object(kind, name));
        self
    }

    pub(crate) fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// For people: the message behind the program's name, then causes and hint, a line each. Nothing that came from
    /// elsewhere can act on the terminal or pretend to be a line of its own.
    pub(crate) fn to_text(&self, program: &str) -> String {
        let object = self.object.as_ref().map(|own| text::line(&format!("{} {}: ", own.kind, own.name)).into_owned());
        let mut text = format!("{program}: {}{}\n", object.unwrap_or_default(), indented(&self.message));
        for cause in &self.causes {
            text.push_str(&format!("  cause: {}\n", indented(cause)));
        }
        if self.retry_after_ms > 0 {
            text.push_str(&format!("  try again in {} ms\n", self.retry_after_ms));
        }
        if !self.hint.is_empty() {
            text.push_str(&format!("  hint: {}\n", indented(&self.hint)));
        }
        text
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Envelope<'_> {
        Envelope {
            host: None,
            error: Body {
                code: self.code,
                exit: self.exit.number(),
                message: &self.message,
                object: self.object.as_deref(),
                causes: &self.causes,
                hint: Some(self.hint.as_ref()).filter(|hint| !hint.is_empty()),
                retry_after_ms: Some(self.retry_after_ms).filter(|&milliseconds| milliseconds > 0),
                details: &self.details,
            },
        }
    }

    /// The same, for programs that asked several hosts, of one of them.
    pub(crate) fn to_json_of<'a>(&'a self, host: &'a str) -> Envelope<'a> {
        Envelope { host: Some(host), ..self.to_json() }
    }
}

/// What something happened to, of which kind and name are known.
pub(crate) fn object(kind: &str, name: &str) -> Box<Object> {
    Box::new(Object { kind: kind.to_owned(), name: name.to_owned() })
}

fn indented(foreign: &str) -> String {
    text::lines(foreign.trim_end()).replace('\n', "\n      ")
}

impl From<&Failure> for Problem {
    fn from(failure: &Failure) -> Self {
        Self {
            exit: Exit::of_failure(failure),
            code: failure_code(failure.code),
            message: failure.message.to_string(),
            object: (!failure.object_kind.is_empty()).then(|| object(&failure.object_kind, &failure.object_name)),
            causes: failure.causes.iter().map(ToString::to_string).collect(),
            hint: failure.hint.as_str().into(),
            retry_after_ms: failure.retry_after_ms,
            details: failure.details.iter().map(|detail| (detail.key.to_string(), detail.value.to_string())).collect(),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let problem = match &error {
            Error::Failure(failure) => Self::from(failure.as_ref()),
            // The same code means more when it ends the connection than when it ends a call.
            Error::Refused(failure) => match Self::from(failure.as_ref()) {
                problem @ Self { exit: Exit::Denied, .. } => problem,
                problem => Self { exit: Exit::NoConnection, ..problem },
            },
            Error::Location(location) => {
                Self::new(Exit::NoConnection, "NO_CONNECTION", error.to_string()).hint(location.hint())
            }
            // The system says no in the daemon's place.
            Error::Connect { error: cause, place: Place::Unix(socket) }
                if cause.kind() == io::ErrorKind::PermissionDenied =>
            {
                Self::new(Exit::Denied, "DENIED", error.to_string()).hint(if socket == Path::new(SYSTEM_SOCKET) {
                    let user = local_user().map_or_else(|| "USER".to_owned(), |user| quoted(&user));
                    format!(
                        "root may connect, and whoever root puts into the group: groupadd -f vmwire && usermod -aG vmwire \
                         {user} && systemctl restart vmwired; a [[listen]] of its configuration, where it has any, has \
                         to name operator.sock; qemu:///session is a daemon of your own"
                    )
                } else {
                    "only the daemon's own user and root may connect; qemu:///session is a daemon of your own".to_owned()
                })
            }
            Error::Connect { error: cause, place: Place::Unix(socket) } => {
                Self::new(Exit::NoConnection, "NO_CONNECTION", error.to_string()).hint(match cause.kind() {
                    io::ErrorKind::NotFound if socket == Path::new(SYSTEM_SOCKET) => {
                        "start the host's daemon: systemctl start vmwired; or have one of your own: -c qemu:///session"
                    }
                    io::ErrorKind::NotFound => "is the daemon running there? -c or VMWIRE_URI says which one is meant",
                    io::ErrorKind::ConnectionRefused => "the socket is there, but no daemon listens: start it",
                    _ => "",
                })
            }
            Error::Connect { error: cause, place: Place::Ssh(place) } => {
                let hint = no_sshd(cause.kind(), place.target.host());
                Self::new(Exit::NoConnection, "NO_CONNECTION", error.to_string()).hint(hint)
            }
            Error::Ssh(ssh) => {
                let (exit, code) = match ssh.denies_us() {
                    true => (Exit::Denied, "DENIED"),
                    false => (Exit::NoConnection, "SSH"),
                };
                let problem = Self::new(exit, code, error.to_string()).hint(ssh.hint());
                ssh.said().iter().fold(problem, |problem, line| problem.cause(line.as_str()))
            }
            Error::Connect { error: cause, place: Place::Tcp(host) | Place::Tls { host, .. } } => {
                Self::new(Exit::NoConnection, "NO_CONNECTION", error.to_string()).hint(unreached(cause.kind(), host))
            }
            Error::Credentials(credentials) => {
                Self::new(Exit::NoConnection, "NO_CREDENTIALS", error.to_string()).hint(credentials.hint())
            }
            Error::Tls(tls) if tls.denies_us() => Self::new(Exit::Denied, "DENIED", error.to_string()).hint(tls.hint()),
            Error::Tls(tls) => Self::new(Exit::NoConnection, "TLS", error.to_string()).hint(tls.hint()),
            Error::WantsTls => Self::new(Exit::NoConnection, "TLS", error.to_string())
                .hint("use qemu+tls:// in place of qemu+tcp://, with the same host and port"),
            Error::Start(start) => Self::start(start),
            Error::Lost(Lost::Handshake(_)) => Self::new(Exit::NoConnection, "NO_CONNECTION", error.to_string()).hint(
                "is it a vmwired that listens there, and is it the port of its tls listener? It may also be overloaded",
            ),
            Error::Lost(_) => Self::new(Exit::NoConnection, "CONNECTION_LOST", error.to_string())
                .hint("what was asked and not answered may have been done all the same"),
            Error::Protocol(_) => {
                Self::new(Exit::NoConnection, "PROTOCOL", error.to_string()).hint("is it a vmwired that listens there?")
            }
            Error::Deadline(_) => Self::new(Exit::Deadline, "DEADLINE_EXCEEDED", error.to_string())
                .hint("the daemon hangs or the host is overloaded; what was asked may still be done"),
            Error::Request(_) => Self::new(Exit::Usage, "USAGE", error.to_string()),
        };
        match std::error::Error::source(&error) {
            Some(source) => problem.cause(source.to_string()),
            None => problem,
        }
    }
}

/// What the person could do when a port of a host cannot be reached.
fn unreached(kind: io::ErrorKind, host: &HostPort) -> String {
    match kind {
        io::ErrorKind::ConnectionRefused => format!(
            "no daemon listens on port {}: there, vmwired needs a [[listen]] table with tls = \"0.0.0.0:{0}\"",
            host.port()
        ),
        io::ErrorKind::NotFound => format!("is the host called {}? An address will do as well", host.host()),
        io::ErrorKind::TimedOut => {
            format!("is {} up, and does a firewall on the way let port {} through?", host.host(), host.port())
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            format!("there is no way from here to {}: is the network up?", host.host())
        }
        _ => String::new(),
    }
}

fn no_sshd(kind: io::ErrorKind, host: &str) -> String {
    match kind {
        io::ErrorKind::ConnectionRefused => {
            "does sshd run there, and on this port? Another one: qemu+ssh://HOST:PORT/system".to_owned()
        }
        io::ErrorKind::NotFound => {
            format!("is the host called {host}? An address will do as well, or a Host of ~/.ssh/config")
        }
        io::ErrorKind::TimedOut => format!("is {host} up, and does a firewall on the way let ssh through?"),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            format!("there is no way from here to {host}: is it up, and the network?")
        }
        _ => String::new(),
    }
}

/// A reader that went away is no error; anything else that stops standard output is.
impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Ok, "OUTPUT", "the reader went away");
        }
        Self::new(Exit::Failed, "OUTPUT", "standard output could not be written").cause(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;
    use vmwire_protocol::message::code;

    use super::*;

    fn problem() -> Problem {
        let mut problem = Problem::new(Exit::NotFound, "NOT_FOUND", "no virtual machine is named we\u{1b}b")
            .cause("first line\nvmwire: all is well")
            .hint("list them: vmwire vm list");
        problem.object = Some(object("vm", "web"));
        problem.details.insert("begun".into(), "no".into());
        problem
    }

    #[test]
    fn people_read_message_causes_and_hint() {
        let expected = "vmwire: vm web: no virtual machine is named we\\u{1b}b\n  \
                          cause: first line\n      vmwire: all is well\n  \
                          hint: list them: vmwire vm list\n";
        assert_eq!(problem().to_text("vmwire"), expected);
    }

    #[test]
    fn programs_read_every_part_under_its_key() {
        let expected = json!({"error": {
            "code": "NOT_FOUND",
            "exit": 5,
            "message": "no virtual machine is named we\u{1b}b",
            "object": {"kind": "vm", "name": "web"},
            "causes": ["first line\nvmwire: all is well"],
            "hint": "list them: vmwire vm list",
            "retry_after_ms": null,
            "details": {"begun": "no"},
        }});
        assert_eq!(serde_json::to_value(problem().to_json()).unwrap(), expected);
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Problem::from(gone).exit, Exit::Ok);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Problem::from(full).exit, Exit::Failed);
    }

    #[test]
    fn a_failure_brings_all_its_parts() {
        let failure = Failure::new(code::BUSY, "somebody writes already")
            .about("vm", "web")
            .cause("uid 7 does")
            .hint("read only")
            .detail("holder", "uid 7");
        let problem = Problem::from(Error::Failure(Box::new(failure.clone())));
        assert_eq!((problem.exit, problem.code), (Exit::Failed, "BUSY"));
        assert_eq!(problem.object, Some(object("vm", "web")));
        assert_eq!(problem.causes, ["uid 7 does"]);
        assert_eq!(problem.details.get("holder").map(String::as_str), Some("uid 7"));
        assert_eq!(Problem::from(Error::Refused(Box::new(failure))).exit, Exit::NoConnection);
    }

    #[test]
    fn a_socket_that_the_system_does_not_let_one_open_is_denied() {
        let denied = Arc::new(io::Error::from(io::ErrorKind::PermissionDenied));
        let problem = Problem::from(Error::Connect { place: Place::Unix("/s".into()), error: denied });
        assert_eq!((problem.exit, problem.code), (Exit::Denied, "DENIED"));
        assert!(problem.hint.contains("qemu:///session"), "{}", problem.hint);
    }

    #[test]
    fn what_never_reached_a_daemon_is_no_connection() {
        let gone = Arc::new(io::Error::from(io::ErrorKind::NotFound));
        let problem = Problem::from(Error::Connect { place: Place::Unix("/s".into()), error: gone });
        assert_eq!((problem.exit, problem.code), (Exit::NoConnection, "NO_CONNECTION"));
        assert!(!problem.causes.is_empty() && !problem.hint.is_empty());
        let gone = Arc::new(io::Error::from(io::ErrorKind::NotFound));
        let problem = Problem::from(Error::Connect { place: Place::Unix(SYSTEM_SOCKET.into()), error: gone });
        assert!(problem.hint.contains("systemctl start vmwired"), "{}", problem.hint);
        let start = StartError::Ended { program: "d".into(), status: "1".into(), tail: vec!["on fire".into()] };
        assert_eq!(Problem::from(Error::Start(start)).causes, ["on fire"]);
        assert_eq!(Problem::from(Error::Lost(Lost::Closed)).exit, Exit::NoConnection);
        assert_eq!(Problem::from(Error::Deadline(Duration::from_secs(1))).exit, Exit::Deadline);
    }
}
