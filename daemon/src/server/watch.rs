//! Whether files have changed, told by the kernel: inotify(7) on the directories they are in, for files are replaced by
//! renaming, and may be links into another directory that are themselves replaced.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use vmwire_tls::pki::INDEX_FILE;

/// What changes a file under a name, or the name.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// Directories under watch.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
    directories: BTreeSet<PathBuf>,
}

impl Watch {
    /// Watches the directories of these files, those that are there: some files need not be. Names are looked up, which
    /// may wait for a disk: so at the start only.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn of_files<'a>(files: impl Iterator<Item = &'a Path>) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut directories = BTreeSet::new();
        for directory in files.filter_map(Path::parent).collect::<BTreeSet<&Path>>() {
            match inotify::add_watch(&inotify, directory, CHANGES) {
                Ok(_) => directories.insert(directory.to_owned()),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Self { inotify, directories })
    }

    /// Whether changes of a file would be noticed.
    pub(super) fn covers(&self, file: &Path) -> bool {
        file.parent().is_some_and(|directory| self.directories.contains(directory))
    }

    /// Whether something has changed since the last time. Which file it was does not matter: all are read. The index of what
    /// was signed is none of them, and grows there whenever somebody enrols.
    pub(super) fn take(&mut self) -> bool {
        let mut changed = false;
        let mut bytes = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut bytes);
        loop {
            match reader.next() {
                Ok(event) => changed |= event.file_name().is_none_or(|name| name.to_bytes() != INDEX_FILE.as_bytes()),
                Err(Errno::INTR) => {}
                Err(_) => return changed,
            }
        }
    }
}

impl Source for Watch {
    fn register(&mut self, registry: &Registry, token: Token, _interests: Interest) -> io::Result<()> {
        SourceFd(&self.inotify.as_raw_fd()).register(registry, token, Interest::READABLE)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, _interests: Interest) -> io::Result<()> {
        SourceFd(&self.inotify.as_raw_fd()).reregister(registry, token, Interest::READABLE)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.inotify.as_raw_fd()).deregister(registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_happens_to_a_file_is_noticed_and_reading_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        std::fs::write(&file, "1").unwrap();
        let mut watch = Watch::of_files([file.as_path(), &dir.path().join("b")].into_iter()).unwrap();
        assert!(watch.covers(&dir.path().join("c")) && !watch.covers(dir.path()));
        assert!(!watch.take());
        std::fs::read(&file).unwrap();
        assert!(!watch.take(), "it was only read");
        std::fs::write(&file, "2").unwrap();
        assert!(watch.take() && !watch.take());
        std::fs::write(dir.path().join("new"), "3").unwrap();
        watch.take();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        assert!(watch.take());
        std::fs::remove_file(&file).unwrap();
        assert!(watch.take());
        std::os::unix::fs::symlink("elsewhere", &file).unwrap();
        assert!(watch.take());

        std::fs::write(dir.path().join(INDEX_FILE), "a line\n").unwrap();
        assert!(!watch.take(), "that somebody was enrolled changes no file of ours");

        // The key of an authority may be kept elsewhere: its directory need not be there, and the others are watched.
        let missing = dir.path().join("missing/c");
        let mut watch = Watch::of_files([file.as_path(), &missing].into_iter()).unwrap();
        assert!(watch.covers(&file) && !watch.covers(&missing));
        std::fs::write(dir.path().join("d"), "4").unwrap();
        assert!(watch.take());
    }
}
