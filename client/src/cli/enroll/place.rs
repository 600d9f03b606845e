//! Where the files of one host get to: a directory that is made ready under another name and then takes its place.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use vmwire_tls::identity::Fingerprint;

use super::super::pki::files::{self, Created, PUBLIC, SECRET};
use super::super::problem::Problem;
use super::{Exit, taken};
use crate::transport::{AUTHORITIES, CERTIFICATE, KEY, REVOCATIONS};

/// Which token the key beside it was sent with, by its fingerprint.
const TOKEN: &str = "token.sha256";

/// The directory that is being made ready. What is in it goes again unless it is taken into use, or its key may have a
/// certificate already: then the next run with the same token goes on with it.
pub(super) struct Place {
    ready: PathBuf,
    target: PathBuf,
    stays: bool,
    /// Nobody else enrols here meanwhile.
    _lock: File,
}

impl Place {
    /// Makes the directory, below `directory`, that will be called `host`. Answers the key that an earlier run has sent with
    /// the same token too, if it did not come to its end.
    pub(super) fn new(
        directory: &Path,
        host: &str,
        force: bool,
        token: Fingerprint,
    ) -> Result<(Self, Option<String>), Problem> {
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
        let key = earlier_key(&ready, token);
        // What a crash has left.
        if key.is_some() {
            [CERTIFICATE, AUTHORITIES, REVOCATIONS].iter().try_for_each(|name| remove_file(&ready.join(name)))?;
        } else {
            remove(&ready)?;
            files::make_directory(&ready, 0o700)?;
        }
        Ok((Self { ready, target, stays: key.is_some(), _lock: lock }, key))
    }

    /// Writes the key, and which token it is sent with, before anything depends on it.
    pub(super) fn key(&self, pem: &str, token: Fingerprint) -> Result<(), Problem> {
        self.write(KEY, pem, SECRET)?;
        self.write(TOKEN, &token.to_string(), SECRET)
    }

    /// The key may have a certificate from now on: whatever happens, it is there for the next run.
    pub(super) fn keep(&mut self) {
        self.stays = true;
    }

    /// It has none, and will have none.
    pub(super) fn discard(&mut self) {
        self.stays = false;
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
    pub(super) fn take(mut self) -> Result<PathBuf, Problem> {
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
        self.stays = false;
        // It is of no use any more, and no harm.
        let _ = remove_file(&self.target.join(TOKEN));
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
        if !self.stays {
            // That it stays is no harm: the next run takes it away.
            let _ = remove(&self.ready);
        }
    }
}

/// The key in a directory that was not taken into use, if it is ours and was sent with this token.
fn earlier_key(ready: &Path, token: Fingerprint) -> Option<String> {
    let sent_with = files::read_if_there(&ready.join(TOKEN)).ok().flatten()?;
    let same = sent_with == token.to_string().into_bytes();
    String::from_utf8(files::read_key(&ready.join(KEY)).ok().flatten().filter(|_| same)?).ok()
}

fn remove_file(path: &Path) -> Result<(), Problem> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(files::failed("remove", path, &error)),
        _ => Ok(()),
    }
}

fn remove(directory: &Path) -> Result<(), Problem> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(files::failed("remove", directory, &error)),
        _ => Ok(()),
    }
}
