//! Connection URIs: which daemon is meant. Pure; where it is found is for [`crate::transport`] to say.
//!
//! ```text
//!   qemu+unix:///system?socket=/srv/vmwired.sock         qemu+tls://vm1.example.org:16515/system?pkipath=/home/me/vm1
//!   ─┬── ─┬──   ─┬────  ─┬──────────────────────              ─┬─   ─┬─────────────┬────         ─┬───────────────
//!    │    │      │       └ parameter of unix:                  │     │             │              └ parameter of tls:
//!    │    │      │         the socket to connect to            │     │             │                where the files are
//!    │    │      └ scope: system or session for qemu,          │     │             └ port: 16515 for tls where none
//!    │    │        default for test                            │     │               is said; said always for tcp
//!    │    └ transport: unix where none is said                 │     └ host: name, address, [IPv6 address]
//!    └ driver: qemu or test                                    └ transport: tls or tcp
//! ```
//! ```text
//!   qemu+ssh://me@vm1:2222/system?socket=/srv/vmwired.sock&keyfile=/home/me/key&known_hosts=/home/me/hosts&transport=ssh2
//!              ┬─ ┬── ┬───        ─┬─────────────────────  ─┬──────────────────  ─┬────────────────────── ─┬────────────
//!              │  │   │            │                        └ the one key to use  └ in place of the user's └ or ssh, or
//!              │  │   └ port       └ the daemon's socket over there                                          auto
//!              │  └ host: name, address, [IPv6 address], or an alias of ssh's settings
//!              └ user
//! ```
//! The form is libvirt's, so that people find what they know. What is not understood is refused with its own words:
//! a connection to another daemon than the one meant is worse than none.

mod error;
mod query;
mod ssh;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use vmwire_tls::config::HostName;

pub use error::UriError;
use query::{Query, percent_decode, percent_encode};
pub use ssh::{SshBy, SshTarget};

/// Where a daemon listens for TLS unless it says otherwise.
pub const TLS_PORT: u16 = 16515;

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

/// How the daemon is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Through a socket in the file system.
    Unix,
    /// Over the network as it is: whoever is on the way reads and writes along.
    Tcp,
    /// Over the network, with certificates on both ends.
    Tls,
    /// By way of an ssh server on the daemon's host.
    Ssh,
}

impl Transport {
    /// Its word in a URI.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ssh => "ssh",
        }
    }
}

/// A host and the port of a daemon on it; shown as `vm1.example.org:16515` or `[fd00::7]:16515`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// A host, by its name or its address without brackets.
    ///
    /// # Errors
    /// When it is neither.
    pub fn new(host: &str, port: u16) -> Result<Self, UriError> {
        let refused = || UriError::HostName(host.to_owned());
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Self { host: address.to_string(), port });
        }
        // What looks like an address and is none would be asked of the DNS.
        let numbers = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if numbers || host.parse::<HostName>().is_err() {
            return Err(refused());
        }
        Ok(Self { host: host.trim_end_matches('.').to_ascii_lowercase(), port })
    }

    /// Reads `HOST`, `HOST:PORT`, `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS]` or `[ADDRESS]:PORT`.
    ///
    /// # Errors
    /// Which part of it is wrong.
    pub fn read(text: &str, default_port: Option<u16>) -> Result<Self, UriError> {
        let (host, port) = split_port(text)?;
        let port = match (port, default_port) {
            (Some(port), _) => read_port(port)?,
            (None, Some(port)) => port,
            (None, None) => return Err(UriError::NoPort(text.to_owned())),
        };
        Self::new(host, port)
    }

    /// Its name in lower case, or its address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Cuts `HOST:PORT` and its kin in two; brackets are taken off an IPv6 address.
fn split_port(text: &str) -> Result<(&str, Option<&str>), UriError> {
    let Some(rest) = text.strip_prefix('[') else {
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(UriError::NoBrackets(text.to_owned()));
        }
        return Ok(text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))));
    };
    let refused = || UriError::HostName(text.to_owned());
    let (address, behind) = rest.split_once(']').ok_or_else(refused)?;
    if address.parse::<Ipv6Addr>().is_err() {
        return Err(refused());
    }
    match behind {
        "" => Ok((address, None)),
        _ => Ok((address, Some(behind.strip_prefix(':').ok_or_else(refused)?))),
    }
}

/// `USER@HOST` of `USER:PASSWORD@HOST`: what is wrong with a URI may stand in a log.
fn without_password(authority: &str) -> String {
    match authority.rsplit_once('@') {
        Some((user, place)) => format!("{}@{place}", user.split_once(':').map_or(user, |(user, _)| user)),
        None => authority.to_owned(),
    }
}

fn read_port(text: &str) -> Result<u16, UriError> {
    let refused = || UriError::Port(text.to_owned());
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    text.parse().ok().filter(|&port| port > 0).ok_or_else(refused)
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// The way to the daemon, as far as the URI says it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Way {
    Unix { socket: Option<PathBuf> },
    Tcp { host: HostPort },
    Tls { host: HostPort, pki: Option<PathBuf> },
    Ssh(Box<SshTarget>),
}

/// A connection URI that was read and understood.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    driver: Driver,
    scope: Scope,
    way: Way,
}

impl Uri {
    /// The daemon meant when nothing is said: the host's for root, one's own for everybody else.
    #[must_use]
    pub fn default_for(uid: u32) -> Self {
        let scope = if uid == 0 { Scope::System } else { Scope::Session };
        Self { driver: Driver::Qemu, scope, way: Way::Unix { socket: None } }
    }

    /// The daemon behind a socket, whatever it runs.
    #[must_use]
    pub fn from_socket(socket: impl Into<PathBuf>) -> Self {
        Self { driver: Driver::Qemu, scope: Scope::System, way: Way::Unix { socket: Some(socket.into()) } }
    }

    /// The daemon of a host, reached by TLS with the files in a directory, if one is named.
    #[must_use]
    pub fn of_host(host: HostPort, pki: Option<PathBuf>) -> Self {
        Self { driver: Driver::Qemu, scope: Scope::System, way: Way::Tls { host, pki } }
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

    /// The transport part.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match self.way {
            Way::Unix { .. } => Transport::Unix,
            Way::Tcp { .. } => Transport::Tcp,
            Way::Tls { .. } => Transport::Tls,
            Way::Ssh(_) => Transport::Ssh,
        }
    }

    /// The socket on this machine named by the URI, which stands above the place where the daemon's socket usually lies.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match &self.way {
            Way::Unix { socket } => socket.as_deref(),
            Way::Tcp { .. } | Way::Tls { .. } | Way::Ssh(_) => None,
        }
    }

    /// The host and port of the daemon named by the URI.
    #[must_use]
    pub fn host(&self) -> Option<&HostPort> {
        match &self.way {
            Way::Unix { .. } | Way::Ssh(_) => None,
            Way::Tcp { host } | Way::Tls { host, .. } => Some(host),
        }
    }

    /// The directory named by the URI that has certificates and key in it.
    #[must_use]
    pub fn pki(&self) -> Option<&Path> {
        match &self.way {
            Way::Tls { pki, .. } => pki.as_deref(),
            Way::Unix { .. } | Way::Tcp { .. } | Way::Ssh(_) => None,
        }
    }

    /// Where ssh goes, and how.
    #[must_use]
    pub fn ssh(&self) -> Option<&SshTarget> {
        match &self.way {
            Way::Ssh(target) => Some(target),
            Way::Unix { .. } | Way::Tcp { .. } | Way::Tls { .. } => None,
        }
    }

    /// How the daemon is called on its own host: the same without the way there.
    #[must_use]
    pub fn at_its_host(&self) -> Self {
        let socket = match &self.way {
            Way::Unix { socket } => socket.clone(),
            Way::Ssh(target) => target.socket.clone(),
            Way::Tcp { .. } | Way::Tls { .. } => None,
        };
        Self { driver: self.driver, scope: self.scope, way: Way::Unix { socket } }
    }

    /// Whether a client may start the daemon itself. Not where a socket or a host is named: that is somebody's daemon.
    #[must_use]
    pub fn starts_daemon(&self) -> bool {
        self.scope != Scope::System && self.way == Way::Unix { socket: None }
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
        let (driver, transport) = read_scheme(scheme)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match place.find('/') {
            Some(at) => place.split_at(at),
            None => (place, ""),
        };
        let way = match transport {
            Transport::Unix if !authority.is_empty() => return Err(UriError::Host(without_password(authority))),
            Transport::Unix => Way::Unix { socket: Query::read(query, transport, &["socket"])?.path("socket")? },
            _ if authority.is_empty() => return Err(UriError::NoHost(transport)),
            Transport::Ssh => Way::Ssh(Box::new(SshTarget::read(authority, query)?)),
            Transport::Tcp | Transport::Tls if authority.contains('@') => {
                return Err(UriError::User { transport, authority: without_password(authority) });
            }
            Transport::Tcp => {
                let host = HostPort::read(authority, None)?;
                Query::read(query, transport, &[])?;
                Way::Tcp { host }
            }
            Transport::Tls => {
                let host = HostPort::read(authority, Some(TLS_PORT))?;
                Way::Tls { host, pki: Query::read(query, transport, &["pkipath"])?.path("pkipath")? }
            }
        };
        Ok(Self { driver, scope: read_path(driver, path)?, way })
    }
}

fn read_scheme(scheme: &str) -> Result<(Driver, Transport), UriError> {
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
        None | Some("unix") => Ok((driver, Transport::Unix)),
        Some("tcp") => Ok((driver, Transport::Tcp)),
        Some("tls") => Ok((driver, Transport::Tls)),
        Some("ssh") => Ok((driver, Transport::Ssh)),
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

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.driver {
            Driver::Qemu => "qemu",
            Driver::Test => "test",
        })?;
        let parameters = match &self.way {
            Way::Unix { socket: None } => {
                f.write_str("://")?;
                Vec::new()
            }
            Way::Unix { socket: Some(socket) } => {
                f.write_str("+unix://")?;
                vec![("socket", show_path(socket))]
            }
            Way::Tcp { host } => {
                write!(f, "+tcp://{host}")?;
                Vec::new()
            }
            Way::Tls { host, pki } => {
                let shown = host.to_string();
                let usual = format!(":{TLS_PORT}");
                write!(f, "+tls://{}", shown.strip_suffix(&usual).unwrap_or(&shown))?;
                pki.iter().map(|pki| ("pkipath", show_path(pki))).collect()
            }
            Way::Ssh(target) => {
                write!(f, "+ssh://{}", target.authority())?;
                target.parameters()
            }
        };
        f.write_str(match self.scope {
            Scope::System => "/system",
            Scope::Session => "/session",
            Scope::Default => "/default",
        })?;
        for (number, (name, value)) in parameters.into_iter().enumerate() {
            write!(f, "{}{name}={value}", if number == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

fn show_path(path: impl AsRef<Path>) -> String {
    percent_encode(path.as_ref().as_os_str().as_bytes(), b"/-._~")
}
