//! Where the files of one host get to: a directory that is made ready under another name and then takes its place.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::super::pki::files::{self, Created, PUBLIC, SECRET};
use super::super::problem::Problem;
use super::{Exit, taken};
use crate::transport::{AUTHORITIES, CERTIFICATE, KEY, REVOCATIONS};

/// The directory that is being made ready. What is in it goes again unless it is taken into use.
pub(super) struct Place {
    ready: PathBuf,
    target: PathBuf,
    /// Nobody else enrols here meanwhile.
    _lock: File,
}

impl Place {
    /// Makes the directory, below `directory`, that will be called `host`.
    pub(super) fn new(directory: &Path, host: &str, force: bool) -> Result<Self, Problem> {
        files::make_directory(directory, 0o700)?;
        let lock = File::open(directory).map_err(|error| files::failed("open", directory, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("another vmwire is at work in {}", directory.display());
                return Err(Problem::new(Exit::Failed, "BUSY", text)
                    .hint("do it again when that one has ended; the token is good still"));
            }
            Err(TryLockError::Error(error)) => return Err(files::failed("lock", directory, &error)),
        }
        let target = directory.join(host);
        if !force && [CERTIFICATE, KEY].iter().any(|name| files::is_there(&target.join(name))) {
            return Err(taken(&target));
        }
        let ready = directory.join(format!(".{host}.new"));
        // What a crash has left.
        remove(&ready)?;
        files::make_directory(&ready, 0o700)?;
        Ok(Self { ready, target, _lock: lock })
    }

    /// Writes the key, before anything depends on it.
    pub(super) fn key(&self, pem: &str) -> Result<(), Problem> {
        self.write(KEY, pem, SECRET)
    }

    /// Writes what the key is to be used with, and brings what else the directory has.
    pub(super) fn certificates(&self, own: &str, authorities: &str) -> Result<(), Problem> {
        self.write(CERTIFICATE, own, PUBLIC)?;
        self.write(AUTHORITIES, authorities, PUBLIC)?;
        if let Some(list) = files::read_if_there(&self.target.join(REVOCATIONS))? {
            self.write_bytes(REVOCATIONS, &list, PUBLIC)?;
        }
        Ok(())
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), Problem> {
        self.write_bytes(name, text.as_bytes(), mode)
    }

    fn write_bytes(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), Problem> {
        let mut created = Created::default();
        created.file(&self.ready.join(name), bytes, mode)?;
        created.keep();
        Ok(())
    }

    /// Puts the directory in its place, at once and as a whole.
    pub(super) fn take(self) -> Result<PathBuf, Problem> {
        let swapped = if files::is_there(&self.target) {
            match renameat_with(CWD, &self.ready, CWD, &self.target, RenameFlags::EXCHANGE) {
                // Not every file system can; then there is a moment without either.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    let aside = self.ready.with_extension("old");
                    let moved = fs::rename(&self.target, &aside).and_then(|()| fs::rename(&self.ready, &self.target));
                    moved.map(|()| remove(&aside)).map(drop)
                }
                exchanged => exchanged.map_err(io::Error::from),
            }
        } else {
            fs::rename(&self.ready, &self.target)
        };
        swapped.map_err(|error| files::failed("make", &self.target, &error))?;
        let parent = self.target.parent().unwrap_or(Path::new("/"));
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(|error| files::failed("make", &self.target, &error))?;
        Ok(self.target.clone())
    }
}

impl Drop for Place {
    /// What was not taken into use, or what it has replaced.
    fn drop(&mut self) {
        // That it stays is no harm: the next run takes it away.
        let _ = remove(&self.ready);
    }
}

fn remove(directory: &Path) -> Result<(), Problem> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(files::failed("remove", directory, &error)),
        _ => Ok(()),
    }
}
