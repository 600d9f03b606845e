//! Connection URIs: which daemon is meant. Pure; where its socket lies is for [`crate::transport`] to say.
//!
//! ```text
//!   qemu+unix:///system?socket=/srv/vmwired.sock
//!   ─┬── ─┬──   ─┬────  ─┬──────────────────────
//!    │    │      │       └ parameter: the socket to connect to
//!    │    │      └ scope: system or session for qemu, default for test
//!    │    └ transport: this version has unix only, and it may be left out
//!    └ driver: qemu or test
//! ```
//! The form is libvirt's, so that people find what they know. What is not understood is refused with its own words:
//! a connection to another daemon than the one meant is worse than none.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Which driver the daemon is expected to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Driver {
    /// Guests under QEMU.
    Qemu,
    /// The driver that keeps its guests in memory.
    Test,
}

/// Whose daemon is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The host's, which runs as root. Never started by a client.
    System,
    /// The user's own. Started by the client where none runs.
    Session,
    /// The user's own for trying things out, with the test driver. Started by the client where none runs.
    Default,
}

/// A connection URI that was read and understood.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    driver: Driver,
    scope: Scope,
    socket: Option<PathBuf>,
}

impl Uri {
    /// The daemon meant when nothing is said: the host's for root, one's own for everybody else.
    #[must_use]
    pub fn default_for(uid: u32) -> Self {
        let scope = if uid == 0 { Scope::System } else { Scope::Session };
        Self { driver: Driver::Qemu, scope, socket: None }
    }

    /// The daemon behind a socket, whatever it runs.
    #[must_use]
    pub fn from_socket(socket: impl Into<PathBuf>) -> Self {
        Self { driver: Driver::Qemu, scope: Scope::System, socket: Some(socket.into()) }
    }

    /// The driver part.
    #[must_use]
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// The path part.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The socket named by the URI, which stands above the place where the daemon's socket usually lies.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Whether a client may start the daemon itself. Not where a socket is named: that is somebody's daemon.
    #[must_use]
    pub fn starts_daemon(&self) -> bool {
        self.scope != Scope::System && self.socket.is_none()
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.is_empty() {
            return Err(UriError::Empty);
        }
        if let Some(bad) = text.chars().find(|c| c.is_control() || c.is_whitespace() || !c.is_ascii()) {
            return Err(UriError::Character(bad));
        }
        let (scheme, rest) = text.split_once(':').ok_or(UriError::NoScheme)?;
        let rest = rest.strip_prefix("//").ok_or(UriError::NoSlashes)?;
        if rest.contains('#') {
            return Err(UriError::Fragment);
        }
        let driver = read_scheme(scheme)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match place.find('/') {
            Some(at) => place.split_at(at),
            None => (place, ""),
        };
        if !authority.is_empty() {
            return Err(UriError::Host(authority.to_owned()));
        }
        Ok(Self { driver, scope: read_path(driver, path)?, socket: read_query(query)? })
    }
}

fn read_scheme(scheme: &str) -> Result<Driver, UriError> {
    let (driver, transport) = match scheme.split_once('+') {
        Some((driver, transport)) => (driver, Some(transport)),
        None => (scheme, None),
    };
    let driver = match driver {
        "qemu" => Driver::Qemu,
        "test" => Driver::Test,
        other => return Err(UriError::Driver(other.to_owned())),
    };
    match transport {
        None | Some("unix") => Ok(driver),
        Some(known @ ("tls" | "tcp" | "ssh")) => Err(UriError::TransportNotYet(known.to_owned())),
        Some(other) => Err(UriError::Transport(other.to_owned())),
    }
}

fn read_path(driver: Driver, path: &str) -> Result<Scope, UriError> {
    let decoded = String::from_utf8(percent_decode(path, "path")?)
        .map_err(|_| UriError::Path { driver, path: path.to_owned() })?;
    match (driver, decoded.as_str()) {
        (Driver::Qemu, "/system") => Ok(Scope::System),
        (Driver::Qemu, "/session") => Ok(Scope::Session),
        (Driver::Test, "/default") => Ok(Scope::Default),
        (driver, "" | "/") => Err(UriError::NoPath(driver)),
        (driver, _) => Err(UriError::Path { driver, path: path.to_owned() }),
    }
}

fn read_query(query: &str) -> Result<Option<PathBuf>, UriError> {
    let mut socket = None;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').ok_or_else(|| UriError::NoValue(parameter.to_owned()))?;
        if name != "socket" {
            return Err(UriError::Parameter(name.to_owned()));
        }
        if socket.is_some() {
            return Err(UriError::Twice(name.to_owned()));
        }
        let path = PathBuf::from(OsString::from_vec(percent_decode(value, "socket")?));
        if !path.is_absolute() {
            return Err(UriError::SocketNotAbsolute(value.to_owned()));
        }
        socket = Some(path);
    }
    Ok(socket)
}

fn percent_decode(text: &str, part: &'static str) -> Result<Vec<u8>, UriError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let value = match (digit(), digit()) {
            (Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        match value {
            None => return Err(UriError::Percent(part)),
            Some(0) => return Err(UriError::Nul(part)),
            Some(value) => decoded.push(value),
        }
    }
    Ok(decoded)
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.driver {
            Driver::Qemu => "qemu",
            Driver::Test => "test",
        })?;
        f.write_str(if self.socket.is_some() { "+unix://" } else { "://" })?;
        f.write_str(match self.scope {
            Scope::System => "/system",
            Scope::Session => "/session",
            Scope::Default => "/default",
        })?;
        let Some(socket) = &self.socket else { return Ok(()) };
        f.write_str("?socket=")?;
        for &byte in socket.as_os_str().as_bytes() {
            if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

/// Why a text is no connection URI of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UriError {
    /// Nothing at all.
    Empty,
    /// A character that no URI may hold.
    Character(char),
    /// No colon.
    NoScheme,
    /// No `//` behind the colon.
    NoSlashes,
    /// Another hypervisor.
    Driver(String),
    /// A transport that is planned and not there yet.
    TransportNotYet(String),
    /// A transport nobody knows.
    Transport(String),
    /// A host, user or port, which would need a transport to another machine.
    Host(String),
    /// No path.
    NoPath(Driver),
    /// A path that this driver does not have.
    Path {
        /// The driver.
        driver: Driver,
        /// What was written.
        path: String,
    },
    /// A parameter without a value.
    NoValue(String),
    /// A parameter nobody knows.
    Parameter(String),
    /// A parameter written twice.
    Twice(String),
    /// A socket path that depends on where the program runs.
    SocketNotAbsolute(String),
    /// A percent sign without two hexadecimal digits.
    Percent(&'static str),
    /// A byte that no path can hold.
    Nul(&'static str),
    /// A part behind `#`.
    Fragment,
}

impl UriError {
    /// What the person could do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Empty | Self::NoScheme | Self::NoSlashes | Self::Driver(_) => {
                "use qemu:///system, qemu:///session or test:///default; for another socket \
                 qemu+unix:///system?socket=PATH"
                    .to_owned()
            }
            Self::Character(_) => "write it as %XX, the hexadecimal of its UTF-8 bytes".to_owned(),
            Self::TransportNotYet(_) | Self::Host(_) => {
                "this version has only unix sockets: run vmwire on that host, or forward its socket, as in \
                 ssh -L /tmp/vmwired.sock:/run/vmwire/vmwired.sock HOST, and use \
                 qemu+unix:///system?socket=/tmp/vmwired.sock"
                    .to_owned()
            }
            Self::Transport(_) => "leave it out, or write unix".to_owned(),
            Self::NoPath(driver) | Self::Path { driver, .. } => match driver {
                Driver::Qemu => "use qemu:///system or qemu:///session".to_owned(),
                Driver::Test => "use test:///default".to_owned(),
            },
            Self::NoValue(name) => format!("write {name}=VALUE"),
            Self::Parameter(_) => "the one parameter there is: socket=PATH".to_owned(),
            Self::Twice(_) => "write it once".to_owned(),
            Self::SocketNotAbsolute(_) => "write the whole path, beginning with a slash".to_owned(),
            Self::Percent(_) => "write a percent sign itself as %25".to_owned(),
            Self::Nul(_) => "leave it out: no path can hold it".to_owned(),
            Self::Fragment => "write the sign itself as %23".to_owned(),
        }
    }
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the connection URI is empty"),
            Self::Character(bad) => write!(f, "the connection URI holds the character {bad:?}"),
            Self::NoScheme => f.write_str("the connection URI has no scheme"),
            Self::NoSlashes => f.write_str("the connection URI has no // behind its scheme"),
            Self::Driver(driver) => write!(f, "there is no driver {driver:?}"),
            Self::TransportNotYet(transport) => {
                write!(f, "the transport {transport} is not there yet")
            }
            Self::Transport(transport) => write!(f, "there is no transport {transport:?}"),
            Self::Host(host) => {
                write!(f, "the connection URI names the host {host:?}")
            }
            Self::NoPath(_) => f.write_str("the connection URI has no path, so it does not say whose daemon"),
            Self::Path { driver: Driver::Qemu, path } => write!(f, "qemu has no daemon {path:?}"),
            Self::Path { driver: Driver::Test, path } => write!(f, "the test driver has no daemon {path:?}"),
            Self::NoValue(name) => write!(f, "the parameter {name:?} has no value"),
            Self::Parameter(name) => write!(f, "there is no parameter {name:?}"),
            Self::Twice(name) => write!(f, "the parameter {name} is there twice"),
            Self::SocketNotAbsolute(path) => write!(f, "the socket {path:?} is no absolute path"),
            Self::Percent(part) => write!(f, "a % in the {part} is not followed by two hexadecimal digits"),
            Self::Nul(part) => write!(f, "the {part} holds a NUL byte"),
            Self::Fragment => f.write_str("the connection URI has a part behind #"),
        }
    }
}

impl Error for UriError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn qemu(scope: Scope, socket: Option<&str>) -> Uri {
        Uri { driver: Driver::Qemu, scope, socket: socket.map(PathBuf::from) }
    }

    #[test]
    fn reads_every_form_there_is() {
        let test = |socket: Option<&str>| Uri {
            driver: Driver::Test,
            scope: Scope::Default,
            socket: socket.map(PathBuf::from),
        };
        let table = [
            ("qemu:///system", qemu(Scope::System, None)),
            ("qemu:///session", qemu(Scope::Session, None)),
            ("qemu+unix:///system", qemu(Scope::System, None)),
            ("qemu+unix:///session", qemu(Scope::Session, None)),
            ("qemu+unix:///system?socket=/a/b", qemu(Scope::System, Some("/a/b"))),
            ("qemu:///system?socket=/a/b", qemu(Scope::System, Some("/a/b"))),
            ("qemu:///system?", qemu(Scope::System, None)),
            ("qemu:///%73ystem", qemu(Scope::System, None)),
            ("qemu+unix:///session?socket=/a%20b%25%26c+d", qemu(Scope::Session, Some("/a b%&c+d"))),
            ("test:///default", test(None)),
            ("test+unix:///default?socket=/t", test(Some("/t"))),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn every_malformed_part_has_its_own_words_and_a_hint() {
        let table = [
            ("", UriError::Empty),
            ("qemu:///sys tem", UriError::Character(' ')),
            ("qemu:///system\u{1b}", UriError::Character('\u{1b}')),
            ("qemu:///systém", UriError::Character('é')),
            ("/run/vmwire/vmwired.sock", UriError::NoScheme),
            ("qemu:system", UriError::NoSlashes),
            ("qemu:/system", UriError::NoSlashes),
            ("xen:///system", UriError::Driver("xen".into())),
            ("QEMU:///system", UriError::Driver("QEMU".into())),
            ("qemu+tls://host/system", UriError::TransportNotYet("tls".into())),
            ("qemu+tcp://host/system", UriError::TransportNotYet("tcp".into())),
            ("qemu+ssh://me@host/system", UriError::TransportNotYet("ssh".into())),
            ("qemu+carrier-pigeon:///system", UriError::Transport("carrier-pigeon".into())),
            ("qemu+:///system", UriError::Transport(String::new())),
            ("qemu+unix+unix:///system", UriError::Transport("unix+unix".into())),
            ("qemu://host/system", UriError::Host("host".into())),
            ("qemu+unix://me@host:1/system", UriError::Host("me@host:1".into())),
            ("qemu://system", UriError::Host("system".into())),
            ("qemu://", UriError::NoPath(Driver::Qemu)),
            ("qemu:///", UriError::NoPath(Driver::Qemu)),
            ("test:///?socket=/a", UriError::NoPath(Driver::Test)),
            ("qemu:///default", UriError::Path { driver: Driver::Qemu, path: "/default".into() }),
            ("qemu:///system/", UriError::Path { driver: Driver::Qemu, path: "/system/".into() }),
            ("qemu:///%ff", UriError::Path { driver: Driver::Qemu, path: "/%ff".into() }),
            ("test:///system", UriError::Path { driver: Driver::Test, path: "/system".into() }),
            ("qemu:///system?socket", UriError::NoValue("socket".into())),
            ("qemu:///system?keyfile=/k", UriError::Parameter("keyfile".into())),
            ("qemu:///system?=/k", UriError::Parameter(String::new())),
            ("qemu:///system?socket=/a&socket=/a", UriError::Twice("socket".into())),
            ("qemu:///system?socket=a/b", UriError::SocketNotAbsolute("a/b".into())),
            ("qemu:///system?socket=", UriError::SocketNotAbsolute(String::new())),
            ("qemu:///system?socket=/a%", UriError::Percent("socket")),
            ("qemu:///system?socket=/a%4", UriError::Percent("socket")),
            ("qemu:///system?socket=/a%+4", UriError::Percent("socket")),
            ("qemu:///%zz", UriError::Percent("path")),
            ("qemu:///system?socket=/a%00b", UriError::Nul("socket")),
            ("qemu:///system#here", UriError::Fragment),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Uri>(), Err(expected.clone()), "{text}");
            assert!(!expected.hint().is_empty(), "{text}");
            let words = expected.to_string();
            assert!(!words.ends_with('.') && !words.chars().any(char::is_control), "{words}");
        }
    }

    #[test]
    fn only_ones_own_daemons_are_started() {
        let starts = |text: &str| text.parse::<Uri>().unwrap().starts_daemon();
        assert!(starts("qemu:///session"));
        assert!(starts("test:///default"));
        assert!(!starts("qemu:///system"));
        assert!(!starts("qemu+unix:///session?socket=/a"));
        assert!(!starts("test+unix:///default?socket=/a"));
    }

    #[test]
    fn root_means_the_system_and_others_their_own() {
        assert_eq!(Uri::default_for(0).to_string(), "qemu:///system");
        assert_eq!(Uri::default_for(1000).to_string(), "qemu:///session");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same(path in proptest::collection::vec(1u8..=255, 0..40)) {
            let mut socket = vec![b'/'];
            socket.extend(path);
            let uri = Uri::from_socket(OsString::from_vec(socket));
            prop_assert_eq!(uri.to_string().parse::<Uri>(), Ok(uri));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", tail in "[a-z%?&=/0-9]{0,20}") {
            let _ = text.parse::<Uri>();
            let _ = format!("qemu:///system?socket={tail}").parse::<Uri>();
        }
    }
}
