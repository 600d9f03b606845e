//! What outlives the agent: the number of the next file handle, so that none is given twice, and whether file systems were left
//! frozen. Names and form are qemu-ga's, so that one can take over from the other.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::key_file::KeyFile;

const GROUP: &str = "global";
const KEY: &str = "fd_counter";
/// The first handle that is ever given.
const FIRST_HANDLE: i64 = 1000;

/// The files in the state directory.
#[derive(Debug)]
pub struct State {
    file: PathBuf,
    frozen: PathBuf,
    next_handle: i64,
}

impl State {
    /// Reads what was left, or begins.
    ///
    /// # Errors
    /// What was left is not to be understood, or the directory cannot be written to.
    pub fn open(directory: &Path) -> io::Result<State> {
        let mut state = State {
            file: directory.join("qga.state"),
            frozen: directory.join("qga.state.isfrozen"),
            next_handle: FIRST_HANDLE,
        };
        match std::fs::read_to_string(&state.file) {
            Ok(text) => state.next_handle = handle_in(&text).map_err(|error| named(&state.file, &error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(named(&state.file, &error)),
        }
        // While it is frozen nothing may be written.
        if !state.was_left_frozen() {
            state.write(state.next_handle).map_err(|error| named(&state.file, &error))?;
        }
        Ok(state)
    }

    /// A state that is kept nowhere: no handle can be given.
    pub fn nowhere() -> State {
        State { file: PathBuf::new(), frozen: PathBuf::new(), next_handle: FIRST_HANDLE }
    }

    /// A handle that was never given.
    ///
    /// # Errors
    /// It could not be written down, and so is not given.
    pub fn next_handle(&mut self) -> io::Result<i64> {
        let handle = self.next_handle;
        let next = handle.checked_add(1).unwrap_or(FIRST_HANDLE);
        self.write(next)?;
        self.next_handle = next;
        Ok(handle)
    }

    /// Whether a former agent left file systems frozen.
    pub fn was_left_frozen(&self) -> bool {
        self.frozen.exists()
    }

    /// Writes down that file systems are about to be frozen, or no longer are.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        if frozen {
            File::options().create(true).truncate(false).write(true).mode(0o600).open(&self.frozen).map(drop)
        } else {
            std::fs::remove_file(&self.frozen)
        }
    }

    fn write(&self, next_handle: i64) -> io::Result<()> {
        let new = self.file.with_extension("state.new");
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(format!("[{GROUP}]\n{KEY}={next_handle}\n").as_bytes())?;
        std::fs::rename(&new, &self.file)
    }
}

fn handle_in(text: &str) -> io::Result<i64> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let file = KeyFile::read(text).map_err(|error| wrong(error.to_string()))?;
    match file.text(GROUP, KEY) {
        None => Ok(FIRST_HANDLE),
        Some(value) => value.trim_end().parse().map_err(|_| wrong(format!("key '{KEY}' is no number"))),
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {}", path.display(), crate::error::reason(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_handle_is_given_twice() {
        let directory = tempfile::tempdir().unwrap();
        let mut state = State::open(directory.path()).unwrap();
        assert_eq!(state.next_handle().unwrap(), 1000);
        assert_eq!(state.next_handle().unwrap(), 1001);
        assert_eq!(State::open(directory.path()).unwrap().next_handle().unwrap(), 1002);
        let text = std::fs::read_to_string(directory.path().join("qga.state")).unwrap();
        assert_eq!(text, "[global]\nfd_counter=1003\n");
    }

    #[test]
    fn a_file_that_is_not_understood_is_kept_and_said() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("qga.state"), "garbage").unwrap();
        let error = State::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("qga.state: line 1"), "{error}");
        assert_eq!(std::fs::read_to_string(directory.path().join("qga.state")).unwrap(), "garbage");
        std::fs::write(directory.path().join("qga.state"), "[global]\nfd_counter=many\n").unwrap();
        let error = State::open(directory.path()).unwrap_err().to_string();
        assert!(error.ends_with("qga.state: key 'fd_counter' is no number"), "{error}");
    }

    #[test]
    fn nothing_is_written_where_file_systems_were_left_frozen() {
        let directory = tempfile::tempdir().unwrap();
        let marker = directory.path().join("qga.state.isfrozen");
        std::fs::write(&marker, "").unwrap();
        let state = State::open(directory.path()).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "but the marker");
        state.set_frozen(false).unwrap();
        assert!(!marker.exists());
    }
}
