//! The daemon's directories: made if they are not there, refused if others could meddle with them, and locked.

use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::{Resource, geteuid, getrlimit, setrlimit};

use crate::config::{Config, Listen};
use crate::store::{Lock, LockError};

/// The directories are ours alone as long as this lives.
#[derive(Debug)]
pub(super) struct Place {
    _state: Lock,
    _runtime: Lock,
}

/// Why the daemon cannot be where it was told to be.
#[derive(Debug)]
pub enum PlaceError {
    /// Another daemon is.
    Taken {
        /// `state` or `runtime`.
        purpose: &'static str,
        /// Which.
        dir: PathBuf,
        /// How it is known.
        error: LockError,
    },
    /// It belongs to somebody else.
    NotOurs {
        /// Which.
        dir: PathBuf,
        /// The owner.
        uid: u32,
    },
    /// Others could do in it what only we may.
    TooOpen {
        /// Which.
        dir: PathBuf,
        /// Its mode.
        mode: u32,
        /// What it may have at most.
        wanted: u32,
    },
    /// The system says no.
    System {
        /// Which.
        dir: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// What others may do in the state directory at most: definitions are read by whoever may.
pub(super) const STATE_MODE_MAX: u32 = 0o755;

/// The same of the runtime directory: sockets of guests are for nobody else.
pub(super) const RUNTIME_MODE_MAX: u32 = 0o700;

impl Place {
    /// Makes, checks and locks the directories of `config`, and makes those of its sockets.
    pub(super) fn take(config: &Config) -> Result<Self, PlaceError> {
        // First those of sockets for others, who have to get there: what is below is made for us alone.
        for listen in &config.listen {
            if let Listen::Unix(unix) = listen
                && unix.is_for_others()
            {
                make(unix.path.parent().unwrap_or(Path::new("/")), 0o755)?;
            }
        }
        let state = lock("state", &config.state_dir, "lock", STATE_MODE_MAX)?;
        let runtime = lock("runtime", &config.runtime_dir, "vmwired.pid-lock", RUNTIME_MODE_MAX)?;
        for listen in &config.listen {
            if let Listen::Unix(unix) = listen {
                make(unix.path.parent().unwrap_or(Path::new("/")), 0o700)?;
            }
        }
        Ok(Self { _state: state, _runtime: runtime })
    }
}

/// Lets this process open as many descriptors as it can be allowed: it has some for each guest and each client.
pub(super) fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        log::warn!("cannot raise the limit of open files: {error}");
    }
}

fn lock(purpose: &'static str, dir: &Path, name: &str, mode_max: u32) -> Result<Lock, PlaceError> {
    make(dir, 0o700)?;
    check(dir, mode_max)?;
    Lock::take(&dir.join(name)).map_err(|error| PlaceError::Taken { purpose, dir: dir.to_owned(), error })
}

fn make(dir: &Path, mode: u32) -> Result<(), PlaceError> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(dir);
    made.map_err(|error| PlaceError::System { dir: dir.to_owned(), error })
}

#[expect(clippy::disallowed_methods, reason = "at start-up there is nobody yet to keep waiting")]
pub(super) fn check(dir: &Path, mode_max: u32) -> Result<(), PlaceError> {
    let metadata = std::fs::metadata(dir).map_err(|error| PlaceError::System { dir: dir.to_owned(), error })?;
    if metadata.uid() != geteuid().as_raw() {
        return Err(PlaceError::NotOurs { dir: dir.to_owned(), uid: metadata.uid() });
    }
    let mode = metadata.mode() & 0o777;
    if mode & !mode_max != 0 {
        return Err(PlaceError::TooOpen { dir: dir.to_owned(), mode, wanted: mode & mode_max });
    }
    Ok(())
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { purpose, dir, error: error @ LockError::Held { .. } } => {
                write!(f, "another vmwired uses the {purpose} directory {}: {error}", dir.display())
            }
            Self::Taken { error, .. } => error.fmt(f),
            Self::NotOurs { dir, uid } => {
                write!(f, "{} belongs to user {uid}, not to us; name another directory", dir.display())
            }
            Self::TooOpen { dir, mode, wanted } => {
                let dir = dir.display();
                write!(f, "{dir} is open to others (mode {mode:03o}); chmod {wanted:03o} it, or name another directory")
            }
            Self::System { dir, error } => write!(f, "cannot use {}: {error}", dir.display()),
        }
    }
}

impl std::error::Error for PlaceError {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{DriverKind, UnixListen};

    fn config(dir: &Path) -> Config {
        Config {
            driver: DriverKind::Test,
            left_out: None,
            listen: vec![Listen::Unix(UnixListen::own(dir.join("deep/er/a.sock")))],
            tls: None,
            rules: Vec::new(),
            audit: None,
            state_dir: dir.join("state"),
            runtime_dir: dir.join("state/run"),
            connections_max: 1,
            log: "off".into(),
            idle_exit: None,
            qemu: "qemu".into(),
            force_tcg: true,
            newest_minor: 0,
        }
    }

    #[test]
    fn directories_are_made_for_us_alone() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let _place = Place::take(&config).unwrap();
        for made in [&config.state_dir, &config.runtime_dir, &dir.path().join("deep/er")] {
            assert_eq!(std::fs::metadata(made).unwrap().mode() & 0o777, 0o700, "{}", made.display());
        }
    }

    #[test]
    fn a_second_daemon_in_either_directory_is_refused_with_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = config(dir.path());
        let _place = Place::take(&first).unwrap();
        let told = Place::take(&first).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(told.starts_with("another vmwired uses the state directory"), "{told}");
        assert!(told.contains(&format!("process {pid} holds")), "{told}");
        let second = Config { state_dir: dir.path().join("other"), ..first };
        let told = Place::take(&second).unwrap_err().to_string();
        assert!(told.starts_with("another vmwired uses the runtime directory"), "{told}");
    }

    #[test]
    fn a_directory_that_others_could_use_is_refused_with_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        std::fs::create_dir_all(&config.runtime_dir).unwrap();
        for (open, refused) in [(&config.state_dir, 0o775), (&config.runtime_dir, 0o710)] {
            std::fs::set_permissions(open, PermissionsExt::from_mode(refused)).unwrap();
            let told = Place::take(&config).unwrap_err().to_string();
            assert!(told.contains(&format!("{} is open to others (mode {refused:03o})", open.display())), "{told}");
            std::fs::set_permissions(open, PermissionsExt::from_mode(0o700)).unwrap();
        }
    }
}
