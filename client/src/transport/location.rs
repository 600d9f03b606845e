//! Where a daemon is found, and what a client must say to start one there. Pure: the environment is a value.
//!
//! | URI | socket | state | runtime |
//! | --- | --- | --- | --- |
//! | `qemu:///system` | `/run/vmwire/vmwired.sock` | the daemon's matter | |
//! | `qemu:///session` | `$XDG_RUNTIME_DIR/vmwire/vmwired.sock` | `$XDG_STATE_HOME/vmwire` | `$XDG_STATE_HOME/vmwire/run` |
//! | `test:///default` | `$XDG_RUNTIME_DIR/vmwire/test.sock` | `$XDG_STATE_HOME/vmwire/test` | `$XDG_STATE_HOME/vmwire/test/run` |
//!
//! Without `XDG_RUNTIME_DIR` the socket lies in the runtime directory named in the table. That one is not under
//! `XDG_RUNTIME_DIR`, because it holds what guests need and the other is removed at logout.
//!
//! Certificates and keys for TLS lie in `/etc/vmwire/pki` for root and in `$XDG_CONFIG_HOME/vmwire/pki` for others; those
//! for one host in a directory below, called as the host.

use std::error::Error;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::uri::{HostPort, Scope, SshTarget, Transport, Uri};

/// The longest path of a unix socket: what `sockaddr_un` holds without its closing zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Where the host's daemon listens.
pub const SYSTEM_SOCKET: &str = "/run/vmwire/vmwired.sock";

/// Where the host's daemon listens for those who may operate it without being root.
pub const OPERATOR_SOCKET: &str = "/run/vmwire/operator.sock";

/// Where certificates and keys of the host lie.
pub const SYSTEM_PKI: &str = "/etc/vmwire/pki";

/// What of the process's surroundings decides where sockets and certificates lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// Whether the user is root.
    pub root: bool,
}

impl Environment {
    /// The process's own. As the XDG specification has it, what is no absolute path counts as not set.
    #[must_use]
    pub fn of_process() -> Self {
        let read = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            runtime_dir: read("XDG_RUNTIME_DIR"),
            state_home: read("XDG_STATE_HOME"),
            config_home: read("XDG_CONFIG_HOME"),
            home: read("HOME"),
            root: rustix::process::geteuid().is_root(),
        }
    }

    /// Where certificates and keys lie: the host's for root, one's own for others.
    ///
    /// # Errors
    /// When nothing says where the user's files are.
    pub fn pki(&self) -> Result<PathBuf, LocationError> {
        match (self.root, &self.config_home, &self.home) {
            (true, _, _) => Ok(PathBuf::from(SYSTEM_PKI)),
            (false, Some(config), _) => Ok(config.join("vmwire/pki")),
            (false, None, Some(home)) => Ok(home.join(".config/vmwire/pki")),
            (false, None, None) => Err(LocationError::NoConfigHome),
        }
    }

    fn state(&self) -> Result<PathBuf, LocationError> {
        match (&self.state_home, &self.home) {
            (Some(state), _) => Ok(state.join("vmwire")),
            (None, Some(home)) => Ok(home.join(".local/state/vmwire")),
            (None, None) => Err(LocationError::NoHome),
        }
    }
}

/// What is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A port, to which everything goes as it is.
    Tcp(HostPort),
    /// A port where TLS is spoken.
    Tls {
        /// The port.
        host: HostPort,
        /// Directories that may have our certificate and key; the first that is there counts.
        pki: Vec<PathBuf>,
    },
    /// A daemon behind an ssh server.
    Ssh(Box<SshPlace>),
}

/// A daemon behind an ssh server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshPlace {
    /// Where ssh goes.
    pub target: SshTarget,
    /// The daemon, as it is called on its own host.
    pub daemon: Uri,
}

impl SshPlace {
    /// Where its socket lies over there, in the order to try; nowhere that could be said from here for a daemon of one's
    /// own, which may not even run.
    #[must_use]
    pub fn sockets(&self) -> Vec<PathBuf> {
        match (self.daemon.socket(), self.daemon.scope()) {
            (Some(socket), _) => vec![socket.to_owned()],
            (None, Scope::System) => vec![PathBuf::from(SYSTEM_SOCKET), PathBuf::from(OPERATOR_SOCKET)],
            (None, Scope::Session | Scope::Default) => Vec::new(),
        }
    }

    /// What the shell of the far side is given to make the bridge to it. Between the quotes there is nothing but letters,
    /// digits and a few signs, whatever the URI was.
    #[must_use]
    pub fn command(&self) -> String {
        format!("vmwire -o json stdio -c '{}'", self.daemon)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(socket) => write!(f, "{}", socket.display()),
            Self::Tcp(host) | Self::Tls { host, .. } => host.fmt(f),
            Self::Ssh(place) => place.target.fmt(f),
        }
    }
}

/// Where a daemon is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// What to connect to.
    pub place: Place,
    /// The socket to try where the system does not let this user open the one in `place`.
    pub also: Option<PathBuf>,
    /// What to start where nobody listens; `None` where that is not the client's to do.
    pub start: Option<Start>,
}

/// What a daemon is told that a client starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// `qemu` or `test`.
    pub driver: &'static str,
    /// Definitions, the lock that lets only one daemon run, and the log.
    pub state_dir: PathBuf,
    /// Sockets and records of guests.
    pub runtime_dir: PathBuf,
}

impl Location {
    /// Finds the place that a URI means.
    ///
    /// # Errors
    /// When the environment does not say where the user's files are, or the socket's path is too long for a socket.
    pub fn of(uri: &Uri, environment: &Environment) -> Result<Self, LocationError> {
        if let Some(host) = uri.host().cloned() {
            let place = match (uri.transport(), uri.pki()) {
                (Transport::Tls, Some(pki)) => Place::Tls { host, pki: vec![pki.to_owned()] },
                (Transport::Tls, None) => {
                    let directory = environment.pki()?;
                    Place::Tls { pki: vec![directory.join(host.host()), directory], host }
                }
                (Transport::Unix | Transport::Tcp | Transport::Ssh, _) => Place::Tcp(host),
            };
            return Ok(Self { place, also: None, start: None });
        }
        if let Some(target) = uri.ssh().cloned() {
            target.socket().map_or(Ok(()), check_length)?;
            let place = Place::Ssh(Box::new(SshPlace { target, daemon: uri.at_its_host() }));
            return Ok(Self { place, also: None, start: None });
        }
        let (socket, start) = match (uri.socket(), uri.scope()) {
            (Some(socket), _) => (socket.to_owned(), None),
            (None, Scope::System) => (PathBuf::from(SYSTEM_SOCKET), None),
            (None, Scope::Session) => {
                let state_dir = environment.state()?;
                let runtime_dir = state_dir.join("run");
                let socket = match &environment.runtime_dir {
                    Some(runtime) => runtime.join("vmwire/vmwired.sock"),
                    None => runtime_dir.join("vmwired.sock"),
                };
                (socket, Some(Start { driver: "qemu", state_dir, runtime_dir }))
            }
            (None, Scope::Default) => {
                let state_dir = environment.state()?.join("test");
                let runtime_dir = state_dir.join("run");
                let socket = match &environment.runtime_dir {
                    Some(runtime) => runtime.join("vmwire/test.sock"),
                    None => runtime_dir.join("test.sock"),
                };
                (socket, Some(Start { driver: "test", state_dir, runtime_dir }))
            }
        };
        check_length(&socket)?;
        let also = (uri.socket().is_none() && uri.scope() == Scope::System).then(|| PathBuf::from(OPERATOR_SOCKET));
        Ok(Self { place: Place::Unix(socket), also, start })
    }
}

fn check_length(socket: &Path) -> Result<(), LocationError> {
    let bytes = socket.as_os_str().as_bytes().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        return Err(LocationError::SocketTooLong { socket: socket.to_owned(), bytes });
    }
    Ok(())
}

/// Why no place can be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocationError {
    /// Neither `XDG_STATE_HOME` nor `HOME` says where the user's files are.
    NoHome,
    /// Neither `XDG_CONFIG_HOME` nor `HOME` says where the user's certificates are.
    NoConfigHome,
    /// The system cannot connect to a path of this length.
    SocketTooLong {
        /// The path.
        socket: PathBuf,
        /// Its length.
        bytes: usize,
    },
}

impl LocationError {
    /// What the person could do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoHome => "set HOME, or name the socket: qemu+unix:///session?socket=PATH".to_owned(),
            Self::NoConfigHome => {
                "set HOME, or name the directory of certificate and key: qemu+tls://HOST/system?pkipath=DIR".to_owned()
            }
            Self::SocketTooLong { .. } => {
                "name a shorter one with ?socket=PATH, or set XDG_RUNTIME_DIR to a shorter directory".to_owned()
            }
        }
    }
}

impl fmt::Display for LocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHome => f.write_str("neither XDG_STATE_HOME nor HOME says where the daemon's files belong"),
            Self::NoConfigHome => {
                f.write_str("neither XDG_CONFIG_HOME nor HOME says where certificates and keys belong")
            }
            Self::SocketTooLong { socket, bytes } => write!(
                f,
                "the socket path {socket:?} has {bytes} bytes, and a unix socket has room for {SOCKET_PATH_BYTES_MAX}"
            ),
        }
    }
}

impl Error for LocationError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(runtime: Option<&str>, state: Option<&str>, home: Option<&str>) -> Environment {
        Environment {
            runtime_dir: runtime.map(PathBuf::from),
            state_home: state.map(PathBuf::from),
            home: home.map(PathBuf::from),
            ..Environment::default()
        }
    }

    #[test]
    fn every_uri_has_its_place() {
        let full = environment(Some("/run/user/7"), Some("/s"), Some("/home/u"));
        let bare = environment(None, None, Some("/home/u"));
        let table = [
            ("qemu:///system", &full, SYSTEM_SOCKET, None),
            ("qemu:///system", &bare, SYSTEM_SOCKET, None),
            ("qemu:///session", &full, "/run/user/7/vmwire/vmwired.sock", Some(("qemu", "/s/vmwire", "/s/vmwire/run"))),
            (
                "qemu:///session",
                &bare,
                "/home/u/.local/state/vmwire/run/vmwired.sock",
                Some(("qemu", "/home/u/.local/state/vmwire", "/home/u/.local/state/vmwire/run")),
            ),
            (
                "test:///default",
                &full,
                "/run/user/7/vmwire/test.sock",
                Some(("test", "/s/vmwire/test", "/s/vmwire/test/run")),
            ),
            (
                "test:///default",
                &bare,
                "/home/u/.local/state/vmwire/test/run/test.sock",
                Some(("test", "/home/u/.local/state/vmwire/test", "/home/u/.local/state/vmwire/test/run")),
            ),
            ("qemu+unix:///session?socket=/x/y", &full, "/x/y", None),
            ("test+unix:///default?socket=/x/y", &bare, "/x/y", None),
        ];
        for (uri, environment, socket, start) in table {
            let location = Location::of(&uri.parse().unwrap(), environment).unwrap();
            assert_eq!(location.place, Place::Unix(PathBuf::from(socket)), "{uri}");
            let expected = start.map(|(driver, state, runtime)| Start {
                driver,
                state_dir: PathBuf::from(state),
                runtime_dir: PathBuf::from(runtime),
            });
            assert_eq!(location.start, expected, "{uri}");
        }
    }

    #[test]
    fn without_a_home_only_named_places_are_found() {
        let nowhere = environment(Some("/run/user/7"), None, None);
        let of = |uri: &str| Location::of(&uri.parse().unwrap(), &nowhere);
        assert_eq!(of("qemu:///session"), Err(LocationError::NoHome));
        assert_eq!(of("test:///default"), Err(LocationError::NoHome));
        assert!(of("qemu:///system").is_ok());
        assert!(of("qemu:///session?socket=/a").is_ok());
    }

    #[test]
    fn every_host_has_a_directory_for_its_certificates() {
        let home = environment(None, None, Some("/home/u"));
        let config = Environment { config_home: Some(PathBuf::from("/c")), ..home.clone() };
        let root = Environment { root: true, ..config.clone() };
        let table = [
            (
                "qemu+tls://Vm1.example/system",
                &home,
                &["/home/u/.config/vmwire/pki/vm1.example", "/home/u/.config/vmwire/pki"][..],
            ),
            ("qemu+tls://[fd00::7]:7/system", &config, &["/c/vmwire/pki/fd00::7", "/c/vmwire/pki"]),
            ("test+tls://vm1/default", &root, &["/etc/vmwire/pki/vm1", "/etc/vmwire/pki"]),
            ("qemu+tls://vm1/system?pkipath=/p", &root, &["/p"]),
            ("qemu+tls://vm1/system?pkipath=/p", &Environment::default(), &["/p"]),
        ];
        for (uri, environment, directories) in table {
            let uri: Uri = uri.parse().unwrap();
            let pki = directories.iter().map(PathBuf::from).collect();
            let expected =
                Location { place: Place::Tls { host: uri.host().unwrap().clone(), pki }, also: None, start: None };
            assert_eq!(Location::of(&uri, environment), Ok(expected), "{uri}");
        }
        let nowhere = Location::of(&"qemu+tls://vm1/system".parse().unwrap(), &Environment::default());
        assert_eq!(nowhere, Err(LocationError::NoConfigHome));
        let plain = Location::of(&"qemu+tcp://vm1:7/session".parse().unwrap(), &Environment::default()).unwrap();
        assert_eq!(plain, Location { place: Place::Tcp(HostPort::new("vm1", 7).unwrap()), also: None, start: None });
    }

    #[test]
    fn a_socket_path_may_have_107_bytes_and_no_more() {
        let of = |bytes: usize| {
            let path = format!("/{}", "a".repeat(bytes - 1));
            Location::of(&Uri::from_socket(path), &Environment::default())
        };
        assert!(of(107).is_ok());
        assert!(matches!(of(108), Err(LocationError::SocketTooLong { bytes: 108, .. })));
    }
}
