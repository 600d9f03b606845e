//! What the daemon was told: configuration file, command line and environment, in one checked value.
//!
//! The command line wins over the file, the file over the defaults. Nothing is created or opened here but the file.

mod keys;

use std::env;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use vmwire_protocol::version::NEWEST_MINOR;

use self::keys::TomlKeys;
pub use self::keys::TomlProblem;
use crate::arguments::Arguments;
use crate::regular_file::{Links, read_text};

/// What a socket's path may be long: `sun_path` without its final zero byte.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The longest name of a guest's socket in the runtime directory: `/`, a uuid, `.monitor` or `.console`.
const VM_SOCKET_NAME_BYTES_MAX: usize = 1 + 36 + 8;

/// A configuration longer than this is none.
const FILE_BYTES_MAX: usize = 256 * 1024;

const KEYS: &[&str] = &["driver", "listen", "state_dir", "runtime_dir", "connections_max", "log", "qemu"];
const QEMU_KEYS: &[&str] = &["binary", "accel"];
/// Connections at most, unless said otherwise.
const CONNECTIONS_MAX: u32 = 10_000;

/// QEMU, unless said otherwise.
const QEMU: &str = "qemu-system-x86_64";

const LOG_LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// Everything the daemon needs to know before it starts. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What runs the guests.
    pub driver: DriverKind,
    /// Paths of the unix sockets to listen at; at least one.
    pub listen: Vec<PathBuf>,
    /// Where definitions are kept.
    pub state_dir: PathBuf,
    /// Where the sockets and records of running guests are kept.
    pub runtime_dir: PathBuf,
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

impl DriverKind {
    const NAMES: &'static [&'static str] = &["qemu", "test"];
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

    fn state_dir(&self) -> Option<PathBuf> {
        if self.root {
            return Some(PathBuf::from("/var/lib/vmwire"));
        }
        let state_home = self.state_home.clone().or_else(|| Some(self.home.as_ref()?.join(".local/state")))?;
        Some(state_home.join("vmwire"))
    }

    /// Guests' sockets must outlive a logout, at which `XDG_RUNTIME_DIR` goes.
    fn vm_runtime_dir(&self) -> Option<PathBuf> {
        if self.root { Some(PathBuf::from("/run/vmwire")) } else { Some(self.state_dir()?.join("run")) }
    }

    fn socket_dir(&self) -> Option<PathBuf> {
        if self.root { self.vm_runtime_dir() } else { Some(self.runtime_dir.as_ref()?.join("vmwire")) }
    }
}

/// Why there is no configuration to go by.
#[derive(Debug)]
pub enum ConfigError {
    /// The file could not be read.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file says something wrong.
    Content {
        /// Which.
        path: PathBuf,
        /// What.
        problem: TomlProblem,
    },
    /// Neither `HOME` nor a variable or option says where a directory is.
    NoHome {
        /// The option that would say it.
        option: &'static str,
    },
    /// An address to listen at is none.
    Listen {
        /// The address as written.
        address: String,
    },
    /// A socket could not be made there.
    PathTooLong {
        /// Where.
        path: PathBuf,
        /// What it is for.
        purpose: &'static str,
        /// How long the path may be.
        bytes_max: usize,
    },
}

impl Config {
    /// Reads the configuration file, if there is one, and joins it with the command line.
    ///
    /// # Errors
    /// See [`ConfigError`]. That the default file is not there is no error.
    pub fn load(arguments: &Arguments, environment: &Environment) -> Result<Self, ConfigError> {
        let path = match &arguments.config {
            Some(path) => Some(environment.current_dir.join(path)),
            None => environment.config_file(),
        };
        let Some(path) = path else { return Self::resolve(None, arguments, environment) };
        match read_text(&path, FILE_BYTES_MAX, Links::Follow) {
            Ok(text) => Self::resolve(Some((&path, &text)), arguments, environment),
            Err(error) if error.kind() == io::ErrorKind::NotFound && arguments.config.is_none() => {
                Self::resolve(None, arguments, environment)
            }
            Err(error) => Err(ConfigError::File { path, error }),
        }
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
        let file = File::parse(text).map_err(|problem| ConfigError::Content { path: path.to_owned(), problem })?;

        let driver = arguments.driver.or(file.driver).unwrap_or(DriverKind::Qemu);
        let directory = |argument: &Option<PathBuf>, file: Option<PathBuf>, default: Option<PathBuf>, option| {
            let argument = argument.as_ref().map(|path| environment.current_dir.join(path));
            argument.or(file).or(default.map(|dir| of_driver(driver, dir))).ok_or(ConfigError::NoHome { option })
        };
        // A runtime directory of one's own is for the daemon's socket too, or else tests and second daemons would
        // have to name both.
        let own_runtime_dir = arguments.runtime_dir.is_some() || file.runtime_dir.is_some();
        let state_dir = directory(&arguments.state_dir, file.state_dir, environment.state_dir(), "--state-dir")?;
        let runtime_dir =
            directory(&arguments.runtime_dir, file.runtime_dir, environment.vm_runtime_dir(), "--runtime-dir")?;

        let listen = if !arguments.listen.is_empty() {
            let paths = arguments.listen.iter().map(|address| {
                let path = address.strip_prefix("unix:").filter(|path| !path.is_empty());
                let path = path.ok_or_else(|| ConfigError::Listen { address: address.clone() })?;
                Ok(environment.current_dir.join(path))
            });
            paths.collect::<Result<_, _>>()?
        } else if let Some(listen) = file.listen {
            listen
        } else {
            let dir = environment.socket_dir().filter(|_| !own_runtime_dir).map(|dir| of_driver(driver, dir));
            vec![dir.unwrap_or_else(|| runtime_dir.clone()).join("vmwired.sock")]
        };

        let config = Self {
            driver,
            listen,
            state_dir,
            runtime_dir,
            connections_max: file.connections_max.unwrap_or(CONNECTIONS_MAX),
            log: file.log.unwrap_or_else(|| "info".to_owned()),
            idle_exit: arguments.idle_exit.map(|seconds| Duration::from_secs(seconds.into())),
            qemu: file.qemu.unwrap_or_else(|| PathBuf::from(QEMU)),
            force_tcg: file.force_tcg,
            newest_minor: arguments.newest_minor.unwrap_or(NEWEST_MINOR),
        };
        config.check_lengths()?;
        Ok(config)
    }

    fn check_lengths(&self) -> Result<(), ConfigError> {
        let too_long = |path: &PathBuf, purpose, bytes_max| {
            let too_long = path.as_os_str().len() > bytes_max;
            too_long.then(|| ConfigError::PathTooLong { path: path.clone(), purpose, bytes_max }).map_or(Ok(()), Err)
        };
        for path in &self.listen {
            too_long(path, "to listen at", SOCKET_PATH_BYTES_MAX)?;
        }
        too_long(&self.runtime_dir, "for the sockets of guests", SOCKET_PATH_BYTES_MAX - VM_SOCKET_NAME_BYTES_MAX)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => write!(f, "cannot read the configuration {}: {error}", path.display()),
            Self::Content { path, problem } => write!(f, "{}: {problem}", path.display()),
            Self::NoHome { option } => {
                write!(f, "HOME is not set to an absolute path; set it, or say with {option} where to go")
            }
            Self::Listen { address } => {
                write!(
                    f,
                    "{address:?} is no address to listen at; it has to be unix: and a path, as in unix:/run/a.sock"
                )
            }
            Self::PathTooLong { path, purpose, bytes_max } => {
                let bytes = path.as_os_str().len();
                write!(f, "{} is too long {purpose}: it has {bytes} bytes, at most {bytes_max} fit", path.display())?;
                write!(f, "; choose a shorter one with --listen or --runtime-dir")
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// What a configuration file says.
#[derive(Debug, Default)]
struct File {
    driver: Option<DriverKind>,
    listen: Option<Vec<PathBuf>>,
    state_dir: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    connections_max: Option<u32>,
    log: Option<String>,
    qemu: Option<PathBuf>,
    force_tcg: bool,
}

impl File {
    fn parse(text: &str) -> Result<Self, TomlProblem> {
        let mut keys = TomlKeys::parse(text, KEYS)?;
        let qemu = keys.table("qemu", QEMU_KEYS)?;
        let absolute = |key: &str, text: &str| {
            let path = PathBuf::from(text);
            if !path.is_absolute() {
                return Err(keys.problem(key, format!("{text:?} is not absolute"), "begin it with a /"));
            }
            Ok(path)
        };
        let directory = |key| keys.string(key)?.map(|text| absolute(key, &text)).transpose();
        let driver = match keys.string("driver")? {
            None => None,
            Some(name) => match DriverKind::from_str(&name, false) {
                Ok(driver) => Some(driver),
                Err(_) => return Err(keys.no_such("driver", &name, DriverKind::NAMES)),
            },
        };
        let listen = match keys.strings("listen")? {
            None => None,
            Some(addresses) if addresses.is_empty() => {
                return Err(keys.problem("listen", "nobody could reach a daemon that listens nowhere", ""));
            }
            Some(addresses) => {
                let paths = addresses.iter().map(|address| {
                    let hint = "write unix: and a path, as in \"unix:/run/vmwire/vmwired.sock\"";
                    let path = address.strip_prefix("unix:");
                    absolute(
                        "listen",
                        path.ok_or_else(|| {
                            keys.problem("listen", format!("{address:?} is no address to listen at"), hint)
                        })?,
                    )
                });
                Some(paths.collect::<Result<_, _>>()?)
            }
        };
        let connections_max = match keys.integer("connections_max")? {
            None => None,
            Some(number) => match u32::try_from(number) {
                Ok(number) if number > 0 => Some(number),
                _ => return Err(keys.problem("connections_max", "it has to be from 1 to 4294967295", "")),
            },
        };
        let log = keys.string("log")?;
        if let Some(level) = &log
            && !LOG_LEVELS.contains(&level.as_str())
        {
            return Err(keys.no_such("log", level, LOG_LEVELS));
        }
        let (state_dir, runtime_dir) = (directory("state_dir")?, directory("runtime_dir")?);
        let (qemu, force_tcg) = match &qemu {
            Some(keys) => (keys.string("binary")?.map(PathBuf::from), force_tcg(keys)?),
            None => (None, false),
        };
        Ok(Self { driver, listen, state_dir, runtime_dir, connections_max, log, qemu, force_tcg })
    }
}

fn force_tcg(keys: &TomlKeys<'_>) -> Result<bool, TomlProblem> {
    match keys.string("accel")?.as_deref() {
        None | Some("auto") => Ok(false),
        Some("tcg") => Ok(true),
        Some(other) => Err(keys.no_such("accel", other, &["auto", "tcg"])),
    }
}

/// The two drivers must not share directories by default: their guests have nothing to do with each other.
fn of_driver(driver: DriverKind, dir: PathBuf) -> PathBuf {
    match driver {
        DriverKind::Qemu => dir,
        DriverKind::Test => dir.join("test"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regular_file::each_impostor;

    const SAMPLE: &str = include_str!("../../../contrib/vmwired.toml");

    fn root() -> Environment {
        Environment { root: true, current_dir: "/cwd".into(), ..Environment::default() }
    }

    fn user() -> Environment {
        Environment {
            home: Some("/home/u".into()),
            runtime_dir: Some("/run/user/1000".into()),
            current_dir: "/cwd".into(),
            ..Environment::default()
        }
    }

    fn resolve(text: &str, arguments: &Arguments, environment: &Environment) -> Result<Config, String> {
        Config::resolve(Some((Path::new("/f.toml"), text)), arguments, environment).map_err(|error| error.to_string())
    }

    #[test]
    fn the_sample_holds_every_key_with_its_default() {
        // What is commented out and looks like a key is a key.
        let keys = || KEYS.iter().chain(QEMU_KEYS).filter(|key| **key != "qemu");
        let uncommented: String = SAMPLE
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest == "[qemu]" || keys().any(|key| rest.starts_with(&format!("{key} ="))) => {
                    format!("{rest}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect();
        for key in keys() {
            assert!(uncommented.contains(&format!("\n{key} = ")), "the sample lacks {key}");
        }
        let arguments = Arguments::default();
        assert_eq!(resolve(&uncommented, &arguments, &root()), resolve("", &arguments, &root()));
        assert_eq!(resolve(SAMPLE, &arguments, &root()), resolve("", &arguments, &root()));
    }

    #[test]
    fn root_uses_the_directories_of_the_system_and_others_their_own() {
        let config = resolve("", &Arguments::default(), &root()).unwrap();
        assert_eq!(config.listen, [Path::new("/run/vmwire/vmwired.sock")]);
        let config = resolve("", &Arguments::default(), &user()).unwrap();
        assert_eq!(config.listen, [Path::new("/run/user/1000/vmwire/vmwired.sock")]);
        assert_eq!(config.state_dir, Path::new("/home/u/.local/state/vmwire"));
        assert_eq!(config.runtime_dir, Path::new("/home/u/.local/state/vmwire/run"));
        let moved = Environment { state_home: Some("/s".into()), config_home: Some("/c".into()), ..user() };
        assert_eq!(resolve("", &Arguments::default(), &moved).unwrap().runtime_dir, Path::new("/s/vmwire/run"));
        assert_eq!(moved.config_file().as_deref(), Some(Path::new("/c/vmwire/vmwired.toml")));
    }

    #[test]
    fn without_a_session_the_socket_lies_in_the_runtime_directory() {
        let no_session = Environment { runtime_dir: None, ..user() };
        let config = resolve("", &Arguments::default(), &no_session).unwrap();
        assert_eq!(config.listen, [Path::new("/home/u/.local/state/vmwire/run/vmwired.sock")]);
        let own = Arguments { runtime_dir: Some("own".into()), ..Arguments::default() };
        assert_eq!(resolve("", &own, &user()).unwrap().listen, [Path::new("/cwd/own/vmwired.sock")]);
    }

    #[test]
    fn a_file_is_read_through_links_and_what_is_no_file_or_has_no_end_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmwired.toml");
        let arguments = Arguments { config: Some(path.clone()), ..Arguments::default() };
        let load = || Config::load(&arguments, &user());
        each_impostor(&path, |what| {
            assert!(matches!(load(), Err(ConfigError::File { .. })), "{what}");
        });
        std::fs::File::create(dir.path().join("long")).unwrap().set_len(1 << 40).unwrap();
        std::fs::write(dir.path().join("good"), "log = \"trace\"").unwrap();
        std::os::unix::fs::symlink("good", &path).unwrap();
        assert_eq!(load().unwrap().log, "trace");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("long", &path).unwrap();
        assert!(load().unwrap_err().to_string().contains("more than 262144 bytes"));
    }

    #[test]
    fn the_drivers_share_no_directory_by_default() {
        let arguments = Arguments { driver: Some(DriverKind::Test), ..Arguments::default() };
        let test = resolve("", &arguments, &user()).unwrap();
        let qemu = resolve("", &Arguments::default(), &user()).unwrap();
        assert_eq!(test.listen, [Path::new("/run/user/1000/vmwire/test/vmwired.sock")]);
        assert_ne!(test.state_dir, qemu.state_dir);
        assert_ne!(test.runtime_dir, qemu.runtime_dir);
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file = "connections_max = 5\ndriver = \"test\"\nlisten = [\"unix:/a\", \"unix:/b\"]\nstate_dir = \"/s\"\nruntime_dir = \"/r\"\nlog = \"debug\"\n[qemu]\nbinary = \"/q\"\naccel = \"tcg\"\n";
        let config = resolve(file, &Arguments::default(), &user()).unwrap();
        assert_eq!((config.driver, config.log.as_str()), (DriverKind::Test, "debug"));
        assert_eq!(config.listen, [Path::new("/a"), Path::new("/b")]);
        assert_eq!(config.connections_max, 5);
        assert_eq!((config.qemu.as_path(), config.force_tcg), (Path::new("/q"), true));
        assert_eq!((config.state_dir.as_path(), config.runtime_dir.as_path()), (Path::new("/s"), Path::new("/r")));
        let arguments = Arguments {
            driver: Some(DriverKind::Qemu),
            listen: vec!["unix:c".into()],
            state_dir: Some("t".into()),
            runtime_dir: Some("/q".into()),
            idle_exit: Some(60),
            ..Arguments::default()
        };
        let config = resolve(file, &arguments, &user()).unwrap();
        assert_eq!(config.driver, DriverKind::Qemu);
        assert_eq!(config.listen, [Path::new("/cwd/c")]);
        assert_eq!((config.state_dir.as_path(), config.runtime_dir.as_path()), (Path::new("/cwd/t"), Path::new("/q")));
        assert_eq!(config.idle_exit, Some(Duration::from_secs(60)));
    }

    #[test]
    fn every_mistake_is_told_with_its_place_and_a_way_out() {
        for (text, told) in [
            ("lisen = []", "/f.toml: line 1, column 1: unknown key \"lisen\"; did you mean listen?"),
            ("listen = []", "/f.toml: line 1, column 10: nobody could reach a daemon that listens nowhere"),
            (
                "listen = [\"tcp:1\"]",
                "/f.toml: line 1, column 10: \"tcp:1\" is no address to listen at; write unix: and",
            ),
            ("listen = [\"unix:a\"]", "/f.toml: line 1, column 10: \"a\" is not absolute; begin it with a /"),
            (
                "\ndriver = \"qmeu\"",
                "/f.toml: line 2, column 10: \"qmeu\" is nothing that driver can be; did you mean \"qemu\"?",
            ),
            ("log = \"loud\"", "/f.toml: line 1, column 7: \"loud\" is nothing that log can be; it is one of \"off\""),
            ("[qemu]\nacel = 1", "/f.toml: line 2, column 1: unknown key \"qemu.acel\"; did you mean qemu.accel?"),
            ("[qemu]\naccel = \"kvm\"", "/f.toml: line 2, column 9: \"kvm\" is nothing that qemu.accel can be"),
            ("connections_max = 0", "/f.toml: line 1, column 19: it has to be from 1 to 4294967295"),
            ("connections_max = 4294967296", "/f.toml: line 1, column 19: it has to be from 1 to 4294967295"),
            (
                "connections_max = -1",
                "/f.toml: line 1, column 19: connections_max has to be a whole number of 0 or more, and is -1",
            ),
            ("state_dir = \"x\"", "/f.toml: line 1, column 13: \"x\" is not absolute"),
            (
                "state_dir = 5",
                "/f.toml: line 1, column 13: state_dir has to be a text in quotes, and is of type integer",
            ),
        ] {
            let error = resolve(text, &Arguments::default(), &user()).unwrap_err();
            assert!(error.starts_with(told), "{text}: {error}");
        }
        let arguments = Arguments { listen: vec!["/run/x".into()], ..Arguments::default() };
        assert!(resolve("", &arguments, &user()).unwrap_err().starts_with("\"/run/x\" is no address to listen at"));
        let nowhere = Environment { current_dir: "/".into(), ..Environment::default() };
        assert!(resolve("", &Arguments::default(), &nowhere).unwrap_err().contains("HOME is not set"));
    }

    #[test]
    fn paths_that_no_socket_can_have_are_refused_at_the_start() {
        for (bytes, fits) in [(62, true), (63, false)] {
            let dir = format!("/{}", "d".repeat(bytes - 1));
            let arguments = Arguments { runtime_dir: Some(dir.into()), ..Arguments::default() };
            let resolved = resolve("", &arguments, &user());
            assert_eq!(resolved.is_ok(), fits, "{bytes}: {resolved:?}");
        }
        for (bytes, fits) in [(107, true), (108, false)] {
            let address = format!("unix:/{}", "s".repeat(bytes - 1));
            let arguments = Arguments { listen: vec![address], ..Arguments::default() };
            assert_eq!(resolve("", &arguments, &user()).is_ok(), fits, "{bytes}");
        }
    }
}
