//! The file that holds a daemon's number. It is locked for as long as the daemon lives, so that a second one cannot start and what a
//! killed one left is of no harm.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};

/// A file that is ours.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Writes our number.
    ///
    /// # Errors
    /// Another daemon holds it, or what the system says.
    pub fn take(path: &Path) -> io::Result<PidFile> {
        loop {
            let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
            fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
                io::Error::new(io::Error::from(error).kind(), "cannot lock pid file: another agent runs")
            })?;
            // Its former owner may have removed it between our opening and our locking it.
            let ours = file.metadata()?;
            if !std::fs::symlink_metadata(path)
                .is_ok_and(|found| (found.dev(), found.ino()) == (ours.dev(), ours.ino()))
            {
                continue;
            }
            file.set_len(0)?;
            (&file).write_all(format!("{}\n", std::process::id()).as_bytes())?;
            return Ok(PidFile { path: path.to_owned(), file });
        }
    }

    /// Removes it.
    pub fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
        drop(self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_daemon_left_is_written_over_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        std::fs::write(&path, "4194304123\nand more\n").unwrap();
        let ours = PidFile::take(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        ours.remove();
        assert!(!path.exists());
    }
}
