//! One daemon at a time: a file held by flock(2), in which its holder writes its pid.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::regular_file::{self, Links};

/// Held until it is dropped, or the process ends in whatever way. The file itself stays: were it removed, two could
/// hold a lock of the same name.
#[derive(Debug)]
pub struct Lock {
    held: File,
}

/// Why a lock could not be had.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it.
    Held {
        /// The file.
        path: PathBuf,
        /// The holder, if it said so.
        pid: Option<u32>,
    },
    /// The file could not be made, locked or written.
    System {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Lock {
    /// Takes the lock without waiting for it.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let system = |error: io::Error| LockError::System { path: path.to_owned(), error };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = regular_file::open(path, &mut options, Links::Refuse).map_err(system)?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(system(error.into()));
            }
            let mut text = String::new();
            // It is for people only, and the holder may not have come to write it.
            let _ = file.take(32).read_to_string(&mut text);
            return Err(LockError::Held { path: path.to_owned(), pid: text.trim().parse().ok() });
        }
        let written =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(system)?;
        Ok(Self { held: file })
    }
}

impl Drop for Lock {
    /// Closing alone would not do: a child that was just begun has the same open file until it becomes another program.
    fn drop(&mut self) {
        if let Err(error) = flock(&self.held, FlockOperation::Unlock) {
            log::warn!("a lock is let go only with the last who has its file open: {error}");
        }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { path, pid: Some(pid) } => write!(f, "process {pid} holds {}", path.display()),
            Self::Held { path, pid: None } => write!(f, "another process holds {}", path.display()),
            Self::System { path, error } => write!(f, "cannot lock {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for LockError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_refused_with_the_pid_of_its_holder_and_free_again_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::take(&path).unwrap();
        match Lock::take(&path) {
            Err(LockError::Held { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(held);
        std::fs::write(&path, "a longer text that an older holder left\n").unwrap();
        let _held = Lock::take(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_lock_is_free_again_though_a_child_that_has_just_begun_still_has_its_file_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::take(&path).unwrap();
        let as_a_child_has_it = held.held.try_clone().unwrap();
        drop(held);
        Lock::take(&path).unwrap();
        drop(as_a_child_has_it);
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("lock")).unwrap();
        assert!(matches!(Lock::take(&dir.path().join("lock")), Err(LockError::System { .. })));
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn what_is_no_file_is_refused_even_if_somebody_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        regular_file::each_impostor(&path, |what| {
            // A pipe opened for both ways waits for nobody, and can be locked.
            let held = OpenOptions::new().read(true).write(what == "a pipe").open(&path);
            let locked = held.map(|held| flock(&held, FlockOperation::NonBlockingLockExclusive).map(|()| held));
            assert!(matches!(Lock::take(&path), Err(LockError::System { .. })), "{what}: {locked:?}");
        });
    }
}
