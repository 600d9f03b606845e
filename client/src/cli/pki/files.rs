//! Files that are there whole or not at all, with exactly the permissions that were meant, whatever the umask is.
//!
//! A file is written under a name of its own beside its place, synchronised, and only then given its name, so that
//! neither a crash nor a full disk leaves half of one. What a crash leaves under the other name is taken away by the
//! next run.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::super::problem::Problem;
use super::Exit;

/// Of keys, and of directories with keys for others in them.
pub(in crate::cli) const SECRET: u32 = 0o600;

/// Of what anybody may read.
pub(in crate::cli) const PUBLIC: u32 = 0o644;

/// The longest file that is read: what is remembered of as many certificates as a list may revoke, and more.
const BYTES_MAX: u64 = 64 << 20;

/// Reads a file that is one: not a directory, a pipe or a device, and not endless.
pub(in crate::cli) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    read_if_there(path)?.ok_or_else(|| {
        Problem::new(Exit::NotFound, "NOT_FOUND", format!("there is no {}", path.display()))
            .hint("--dir says in which directory the authority is; vmwire pki init makes one")
    })
}

/// The same of a file that may be missing.
pub(in crate::cli) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, Problem> {
    Ok(open(path)?.map(|file| content(path, file)).transpose()?.map(|(bytes, _)| bytes))
}

/// The same of a private key, which must be its owner's alone.
pub(in crate::cli) fn read_key(path: &Path) -> Result<Option<Vec<u8>>, Problem> {
    let Some(file) = open(path)? else { return Ok(None) };
    let (bytes, mode) = content(path, file)?;
    if let Some(problem) = open_to_others(mode) {
        let path = path.display();
        return Err(Problem::new(Exit::Failed, "PKI", format!("the key {path} {problem}"))
            .hint(format!("chmod 600 {path}; if others could read it, it is theirs too: make a new one")));
    }
    Ok(Some(bytes))
}

/// What is wrong with the permissions of a key.
pub(in crate::cli) fn open_to_others(mode: u32) -> Option<String> {
    (mode & 0o077 != 0).then(|| format!("is open to others (mode {:04o})", mode & 0o7777))
}

fn open(path: &Path) -> Result<Option<File>, Problem> {
    // Without waiting: opening a pipe would wait for its other end.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(failed("read", path, &error)),
    }
}

fn content(path: &Path, file: File) -> Result<(Vec<u8>, u32), Problem> {
    let metadata = file.metadata().map_err(|error| failed("read", path, &error))?;
    if !metadata.is_file() {
        return Err(Problem::new(Exit::Failed, "LOCAL", format!("{} is no file", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed("read", path, &error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > BYTES_MAX {
        let text = format!("{} has more than {} MiB", path.display(), BYTES_MAX >> 20);
        return Err(Problem::new(Exit::Failed, "LOCAL", text).hint("is it the file that was meant?"));
    }
    Ok((bytes, metadata.mode()))
}

/// Whether there is anything by that name; a link to nowhere is something.
pub(in crate::cli) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Files that one run has made, which go again unless the run comes to its end.
#[derive(Debug, Default)]
pub(in crate::cli) struct Created {
    paths: Vec<PathBuf>,
}

impl Created {
    /// Writes a file that must not be there yet.
    pub(in crate::cli) fn file(&mut self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), Problem> {
        let draft = draft(path, bytes, mode)?;
        // Unlike a renaming, a link fails where something has that name already.
        let linked = std::fs::hard_link(&draft, path);
        let removed = std::fs::remove_file(&draft);
        if linked.is_ok() {
            self.paths.push(path.to_owned());
        }
        linked.and(removed).and_then(|()| synchronise_parent(path)).map_err(|error| failed("write", path, &error))
    }

    /// They stay.
    pub(in crate::cli) fn keep(mut self) {
        self.paths.clear();
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        for path in self.paths.iter().rev() {
            // It was ours and is of no use; that it stays is said by the next run.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Writes a file in place of the one that may be there.
pub(in crate::cli) fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Problem> {
    let draft = draft(path, bytes, mode)?;
    let renamed = std::fs::rename(&draft, path).and_then(|()| synchronise_parent(path));
    renamed.map_err(|error| failed("write", path, &error))
}

/// Adds a line to a file, on disk when this returns. A line that a crash has cut short is ended first.
pub(in crate::cli) fn append(path: &Path, line: &str) -> Result<(), Problem> {
    let new = !is_there(path);
    let write = || {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(SECRET).open(path)?;
        if new {
            file.set_permissions(Permissions::from_mode(SECRET))?;
        }
        let length = file.metadata()?.len();
        let mut last = [b'\n'];
        if length > 0 {
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut last, length - 1)?;
        }
        let start = if last == *b"\n" { "" } else { "\n" };
        file.write_all(format!("{start}{line}\n").as_bytes())?;
        file.sync_all()?;
        if new { synchronise_parent(path) } else { Ok(()) }
    };
    write().map_err(|error| failed("write", path, &error))
}

/// Makes a directory, and those above it, unless it is there.
pub(in crate::cli) fn make_directory(path: &Path, mode: u32) -> Result<(), Problem> {
    if path.is_dir() {
        return Ok(());
    }
    let make = || {
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        DirBuilder::new().mode(0o700).create(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        synchronise_parent(path)
    };
    make().map_err(|error| failed("make", path, &error))
}

/// The bytes on disk, under a name beside the one they are to get.
fn draft(path: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf, Problem> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.new"));
    let write = || {
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(SECRET).open(&draft)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&draft);
        failed("write", path, &error)
    })?;
    Ok(draft)
}

fn synchronise_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// What the system said no to.
pub(in crate::cli) fn failed(verb: &str, path: &Path, error: &io::Error) -> Problem {
    let problem = Problem::local(format!("cannot {verb} {}", path.display()), error);
    match error.kind() {
        io::ErrorKind::PermissionDenied => problem.hint("as its owner or as root; or say --dir DIR"),
        io::ErrorKind::ReadOnlyFilesystem => problem.hint("--dir says in which directory the files are"),
        io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge | io::ErrorKind::QuotaExceeded => {
            problem.hint("make room and do it again; what was there is as it was")
        }
        io::ErrorKind::AlreadyExists => problem.hint("nothing is written over: move it away first"),
        _ => problem,
    }
}
