//! Whether files have changed, told by the kernel: inotify(7) on the directories they are in, for files are replaced by
//! renaming, and may be links into another directory that are themselves replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use log::warn;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
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

/// What takes the directory away from under its name.
const GONE: ReadFlags = ReadFlags::DELETE_SELF.union(ReadFlags::MOVE_SELF).union(ReadFlags::UNMOUNT);

/// Changes that are looked at in one turn, and some more that the kernel tells along with them: whoever may write there
/// could make more of them without an end.
const CHANGES_MAX: usize = 1024;

/// What there was to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// Something has changed since the last time.
    pub(super) changed: bool,
    /// There may be more.
    pub(super) more: bool,
}

/// Directories under watch.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
    /// Those that are still the ones of their names, by the numbers of their watches.
    directories: BTreeMap<i32, PathBuf>,
}

impl Watch {
    /// Watches the directories of these files, those that are there: some files need not be. Names are looked up, which
    /// may wait for a disk: so at the start only.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn of_files<'a>(files: impl Iterator<Item = &'a Path>) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut directories = BTreeMap::new();
        for directory in files.filter_map(Path::parent).collect::<BTreeSet<&Path>>() {
            match inotify::add_watch(&inotify, directory, CHANGES) {
                Ok(watch) => directories.insert(watch, directory.to_owned()),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(Self { inotify, directories })
    }

    /// Whether changes of a file would be noticed.
    pub(super) fn covers(&self, file: &Path) -> bool {
        file.parent().is_some_and(|directory| self.directories.values().any(|watched| watched == directory))
    }

    /// Whether something has changed since the last time. Which file it was does not matter: all are read. The index of what
    /// was signed is none of them, and grows there whenever somebody enrols. A directory that was moved or removed is not
    /// watched any more, nor is what takes its place: to look up a name may wait for a disk. The log says so.
    pub(super) fn take(&mut self) -> Taken {
        let (mut changed, mut count) = (false, 0);
        let mut bytes = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut bytes);
        loop {
            // What was read along with the others and is left here is told to nobody else.
            if count >= CHANGES_MAX && reader.is_buffer_empty() {
                return Taken { changed, more: true };
            }
            match reader.next() {
                Ok(event) => {
                    count += 1;
                    changed |= event.file_name().is_none_or(|name| name.to_bytes() != INDEX_FILE.as_bytes());
                    if event.events().intersects(GONE)
                        && let Some(directory) = self.directories.remove(&event.wd())
                    {
                        let directory = directory.display();
                        warn!("{directory} was moved or removed: what changes there is noticed when SIGHUP comes");
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => return Taken { changed, more: false },
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

    impl Watch {
        fn changed(&mut self) -> bool {
            let Taken { changed, more } = self.take();
            assert!(!more, "these are few");
            changed
        }
    }

    #[test]
    fn whoever_changes_more_than_fits_into_a_turn_has_it_looked_at_in_several() {
        let dir = tempfile::tempdir().unwrap();
        let (file, inner) = (dir.path().join("a"), dir.path().join("inner"));
        std::fs::create_dir(&inner).unwrap();
        let mut watch = Watch::of_files([file.as_path(), &inner.join("a")].into_iter()).unwrap();
        for number in 0..CHANGES_MAX {
            std::fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        std::fs::remove_dir(&inner).unwrap();
        let mut turns = 1;
        while watch.take().more {
            turns += 1;
        }
        // Each was made and closed.
        assert!((2..=3).contains(&turns), "{turns} turns");
        assert!(!watch.covers(&inner.join("a")), "the last of them is told as well");
        assert!(!watch.changed());
    }

    #[test]
    fn what_the_kernel_told_along_with_the_last_change_of_a_turn_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let mut watch = Watch::of_files([dir.path().join("a").as_path(), &inner.join("a")].into_iter()).unwrap();
        // Of many events that are as long as one another as many as a turn looks at are read without a rest.
        std::fs::write(dir.path().join("longer".repeat(7)), "").unwrap();
        for number in 1..CHANGES_MAX / 2 {
            std::fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        std::fs::remove_dir(&inner).unwrap();
        while watch.take().more {}
        assert!(!watch.covers(&inner.join("a")));
    }

    #[test]
    fn whatever_happens_to_a_file_is_noticed_and_reading_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        std::fs::write(&file, "1").unwrap();
        let mut watch = Watch::of_files([file.as_path(), &dir.path().join("b")].into_iter()).unwrap();
        assert!(watch.covers(&dir.path().join("c")) && !watch.covers(dir.path()));
        assert!(!watch.changed());
        std::fs::read(&file).unwrap();
        assert!(!watch.changed(), "it was only read");
        std::fs::write(&file, "2").unwrap();
        assert!(watch.changed() && !watch.changed());
        std::fs::write(dir.path().join("new"), "3").unwrap();
        watch.changed();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        assert!(watch.changed());
        std::fs::remove_file(&file).unwrap();
        assert!(watch.changed());
        std::os::unix::fs::symlink("elsewhere", &file).unwrap();
        assert!(watch.changed());

        std::fs::write(dir.path().join(INDEX_FILE), "a line\n").unwrap();
        assert!(!watch.changed(), "that somebody was enrolled changes no file of ours");

        // The key of an authority may be kept elsewhere: its directory need not be there, and the others are watched.
        let missing = dir.path().join("missing/c");
        let mut watch = Watch::of_files([file.as_path(), &missing].into_iter()).unwrap();
        assert!(watch.covers(&file) && !watch.covers(&missing));
        std::fs::write(dir.path().join("d"), "4").unwrap();
        assert!(watch.changed());
    }

    #[test]
    fn a_directory_that_another_takes_the_place_of_is_not_taken_for_watched() {
        let dir = tempfile::tempdir().unwrap();
        let [own, other] = ["own", "other"].map(|name| dir.path().join(name));
        std::fs::create_dir(&own).unwrap();
        std::fs::create_dir(&other).unwrap();
        let files = [own.join("a"), other.join("a")];
        let mut watch = Watch::of_files(files.iter().map(PathBuf::as_path)).unwrap();
        std::fs::rename(&own, dir.path().join("old")).unwrap();
        std::fs::create_dir(&own).unwrap();
        assert!(watch.changed(), "what is there now is to be read");
        assert!(!watch.covers(&files[0]) && watch.covers(&files[1]));
        std::fs::write(&files[0], "1").unwrap();
        assert!(!watch.changed(), "which is why it is said");
        std::fs::remove_dir(&other).unwrap();
        assert!(watch.changed() && !watch.covers(&files[1]));
    }
}
