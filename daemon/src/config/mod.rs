//! What the daemon was told: configuration file, command line and environment, in one checked value.
//!
//! The command line wins over the file, the file over the defaults. Nothing is created or opened here but the file.

mod audit;
mod error;
mod file;
mod listen;
mod path;
mod source;
mod tls;

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use vmwire_protocol::version::NEWEST_MINOR;

pub use self::error::ConfigError;
pub use self::file::Blamed;
pub use self::listen::{Listen, TLS_PORT, UnixListen};
pub use self::path::SOCKET_PATH_BYTES_MAX;
pub use self::source::Source;
pub use self::tls::{OptionalFile, TlsFiles};

use self::file::File;
use crate::access::{Role, Rule, Users};
use crate::arguments::Arguments;
use crate::audit::Settings;

/// A configuration longer than this is none.
const FILE_BYTES_MAX: usize = 256 * 1024;

/// The group for which root's daemon listens at a socket of its own, where there is one.
const OPERATORS: &str = "vmwire";

/// Connections at most, unless said otherwise.
const CONNECTIONS_MAX: u32 = 10_000;

/// QEMU, unless said otherwise.
const QEMU: &str = "qemu-system-x86_64";

/// Everything the daemon needs to know before it starts. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What runs the guests.
    pub driver: DriverKind,
    /// Where to listen; at least one place.
    pub listen: Vec<Listen>,
    /// What TLS needs, if it is listened to anywhere.
    pub tls: Option<TlsFiles>,
    /// Who may do what, beyond what the place where they come in gives them.
    pub rules: Vec<Rule>,
    /// What is written down of what clients do, if anything is.
    pub audit: Option<Settings>,
    /// Where definitions are kept.
    pub state_dir: PathBuf,
    /// Where the sockets and records of running guests are kept.
    pub runtime_dir: PathBuf,
    /// The socket for operators that there is by default, where the places to listen at are written and it is none of them.
    pub left_out: Option<PathBuf>,
    /// How many connections there may be.
    pub connections_max: u32,
    /// The level of the log.
    pub log: String,
    /// Leave after so long without a connection and without a running guest.
    pub idle_exit: Option<Duration>,
    /// QEMU: a path, or a name to be sought in the usual directories.
    pub qemu: PathBuf,
    /// Never use KVM, whatever a definition says.
    pub force_tcg: bool,
    /// The newest minor of the protocol that is spoken.
    pub newest_minor: u32,
}

/// The hypervisors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DriverKind {
    /// QEMU.
    Qemu,
    /// In memory.
    Test,
}

/// What of the surroundings decides on defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Whether the system's directories are used instead of the user's.
    pub root: bool,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// The directory that relative paths of the command line start from.
    pub current_dir: PathBuf,
    /// The users and groups of the host.
    pub users: Users,
}

impl Environment {
    /// What this process finds itself in.
    pub fn of_process() -> Self {
        // The specification of these variables says that a path that is not absolute is to be ignored.
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            root: rustix::process::geteuid().is_root(),
            home: absolute("HOME"),
            config_home: absolute("XDG_CONFIG_HOME"),
            state_home: absolute("XDG_STATE_HOME"),
            runtime_dir: absolute("XDG_RUNTIME_DIR"),
            users: source::users(),
            current_dir: env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        }
    }

    /// The configuration that is read when none is named.
    pub fn config_file(&self) -> Option<PathBuf> {
        if self.root {
            return Some(PathBuf::from("/etc/vmwire/vmwired.toml"));
        }
        let config_home = self.config_home.clone().or_else(|| Some(self.home.as_ref()?.join(".config")))?;
        Some(config_home.join("vmwire/vmwired.toml"))
    }

    /// Where `vmwire pki` keeps keys and certificates.
    fn pki_dir(&self) -> Option<PathBuf> {
        Some(self.config_file()?.with_file_name("pki"))
    }

    fn state_dir(&self) -> Option<PathBuf> {
        if self.root {
            return Some(PathBuf::from("/var/lib/vmwire"));
        }
        let state_home = self.state_home.clone().or_else(|| Some(self.home.as_ref()?.join(".local/state")))?;
        Some(state_home.join("vmwire"))
    }

    /// Guests' sockets must outlive a logout, at which `XDG_RUNTIME_DIR` goes.
    fn vm_runtime_dir(&self) -> Option<PathBuf> {
        if self.root { Some(PathBuf::from("/run/vmwire/guests")) } else { Some(self.state_dir()?.join("run")) }
    }

    fn socket_dir(&self) -> Option<PathBuf> {
        if self.root { Some(PathBuf::from("/run/vmwire")) } else { Some(self.runtime_dir.as_ref()?.join("vmwire")) }
    }
}

impl Config {
    /// What the audit is to be for a daemon that runs, which keeps its state in `kept` until it starts again.
    pub(crate) fn audit_kept_in(&self, kept: &Path) -> Option<Settings> {
        self.audit.clone().map(|settings| audit::kept_in(settings, &self.state_dir, kept))
    }

    /// Joins the text of a configuration file with the command line. Pure.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn resolve(
        file: Option<(&Path, &str)>,
        arguments: &Arguments,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let (path, text) = file.unwrap_or((Path::new(""), ""));
        let file = File::parse(text, &environment.users)
            .map_err(|error| ConfigError::Content { path: path.to_owned(), error })?;

        let driver = arguments.driver.or(file.driver).unwrap_or(DriverKind::Qemu);
        let directory = |argument: &Option<PathBuf>, file: Option<PathBuf>, default: Option<PathBuf>, option| {
            if argument.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
                return Err(ConfigError::Path { option, why: "an empty path names no directory".to_owned() });
            }
            let argument = argument.as_ref().map(|path| environment.current_dir.join(path));
            argument.or(file).or(default.map(|dir| of_driver(driver, dir))).ok_or(ConfigError::NoHome { option })
        };
        // A runtime directory of one's own is for the daemon's socket too, or else tests and second daemons would
        // have to name both.
        let own_runtime_dir = arguments.runtime_dir.is_some() || file.runtime_dir.is_some();
        let state_dir = directory(&arguments.state_dir, file.state_dir, environment.state_dir(), "--state-dir")?;
        let runtime_dir =
            directory(&arguments.runtime_dir, file.runtime_dir, environment.vm_runtime_dir(), "--runtime-dir")?;

        let dir = environment.socket_dir().filter(|_| !own_runtime_dir).map(|dir| of_driver(driver, dir));
        let path = dir.unwrap_or_else(|| runtime_dir.clone()).join("vmwired.sock");
        let operators = environment.users.gid(OPERATORS).filter(|_| environment.root).map(|gid| {
            let path = path.with_file_name("operator.sock");
            UnixListen { path, mode: 0o660, gid: Some(gid), role: Some(Role::Operator) }
        });
        let mut left_out = None;
        let listen = if !arguments.listen.is_empty() {
            Listen::of_arguments(&arguments.listen, &environment.current_dir).map_err(wrong("--listen"))?
        } else if let Some(listen) = file.listen {
            let named = |path: &Path| listen.iter().any(|at| matches!(at, Listen::Unix(unix) if unix.path == path));
            left_out = operators.map(|operators| operators.path).filter(|path| !named(path));
            listen
        } else {
            path::SOCKET.check(&path).map_err(wrong("--listen"))?;
            [UnixListen::own(path)].into_iter().chain(operators).map(Listen::Unix).collect()
        };

        let tls = if listen.iter().any(|listen| matches!(listen, Listen::Tls(_))) {
            let dir = environment.pki_dir().ok_or(ConfigError::NoHome { option: "the keys of [tls]" })?;
            Some(file.tls.resolve(&dir))
        } else {
            None
        };

        let config = Self {
            driver,
            listen,
            left_out,
            tls,
            rules: file.rules,
            audit: file.audit.resolve(&state_dir),
            state_dir,
            runtime_dir,
            connections_max: file.connections_max.unwrap_or(CONNECTIONS_MAX),
            log: file.log.unwrap_or("info").to_owned(),
            idle_exit: arguments.idle_exit.map(|seconds| Duration::from_secs(seconds.into())),
            qemu: file.qemu.unwrap_or_else(|| PathBuf::from(QEMU)),
            force_tcg: file.force_tcg,
            newest_minor: arguments.newest_minor.unwrap_or(NEWEST_MINOR),
        };
        config.check_paths()?;
        Ok(config)
    }

    /// What came from the command line and the surroundings is held to what the file is held to.
    fn check_paths(&self) -> Result<(), ConfigError> {
        path::STATE_DIR.check(&self.state_dir).map_err(wrong("--state-dir"))?;
        path::RUNTIME_DIR.check(&self.runtime_dir).map_err(wrong("--runtime-dir"))
    }
}

/// What is wrong with an option.
fn wrong(option: &'static str) -> impl Fn(String) -> ConfigError {
    move |why| ConfigError::Path { option, why }
}

/// The two drivers must not share directories by default: their guests have nothing to do with each other.
fn of_driver(driver: DriverKind, dir: PathBuf) -> PathBuf {
    match driver {
        DriverKind::Qemu => dir,
        DriverKind::Test => dir.join("test"),
    }
}

#[cfg(test)]
mod tests;
