//! The keys by which users are let in over SSH.
//!
//! The agent is root and the file lies where its user may put anything. So nothing on the way below the home directory may be a
//! link, a new file is written beside the old one and takes its place whole, and what is made is given to the user by
//! descriptor, not by name.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, fchmod, fchown, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::arguments::Arguments;
use crate::error::{CommandError, reason};
use crate::json::Value;

/// The longest file that is read, or written.
const FILE_BYTES_MAX: u64 = 4 << 20;
const KEYS: &str = "authorized_keys";
const NEW: &str = ".authorized_keys.vmwire-ga";
const DIRECTORY_FLAGS: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Who keys are for.
#[derive(Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
    home: String,
}

impl User {
    fn in_text(text: &str, name: &str) -> Option<User> {
        let fields = text
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&name))?;
        let [_, _, uid, gid, _, home, ..] = fields[..] else { return None };
        Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: home.to_owned() })
    }

    fn path(&self, last: &str) -> String {
        format!("{}/.ssh{}{last}", self.home, if last.is_empty() { "" } else { "/" })
    }

    fn directory(&self) -> io::Result<OwnedFd> {
        let home = openat(rustix::fs::CWD, &self.home, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(openat(&home, ".ssh", DIRECTORY_FLAGS, Mode::empty())?)
    }

    /// The directory, made if it is not there.
    fn made_directory(&self) -> Result<OwnedFd, CommandError> {
        let failed = |what: &str, error: io::Error| {
            CommandError::generic(format!("failed to {what} directory '{}': {}", self.path(""), reason(&error)))
        };
        match self.directory() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map_err(|error| failed("open", error)),
        }
        let home = openat(rustix::fs::CWD, &self.home, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed("create", error.into()))?;
        mkdirat(&home, ".ssh", Mode::RWXU).map_err(|error| failed("create", error.into()))?;
        let directory =
            openat(&home, ".ssh", DIRECTORY_FLAGS, Mode::empty()).map_err(|error| failed("create", error.into()))?;
        self.give(&directory, Mode::RWXU).map_err(|error| failed("set ownership of", error.into()))?;
        Ok(directory)
    }

    fn give(&self, file: &OwnedFd, mode: Mode) -> Result<(), Errno> {
        fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        fchmod(file, mode)
    }

    /// The lines of the file.
    fn read(&self, directory: io::Result<&OwnedFd>) -> Result<Vec<String>, CommandError> {
        let path = self.path(KEYS);
        let failed = |error: &io::Error| {
            CommandError::generic(format!(
                "failed to read '{path}': Failed to open file \u{201c}{path}\u{201d}: {}",
                reason(error)
            ))
        };
        let directory = directory.map_err(|error| failed(&error))?;
        // A pipe in the file's place is not waited for.
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(directory, KEYS, flags, Mode::empty()).map_err(|error| failed(&error.into()))?;
        let mut bytes = Vec::new();
        File::from(file).take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
            return Err(CommandError::generic(format!("failed to read '{path}': it is too large")));
        }
        Ok(String::from_utf8_lossy(&bytes).split('\n').map(str::to_owned).collect())
    }

    /// The lines of the file, none if there is no file. One that cannot be read is not taken for none, or it would be lost.
    fn read_if_any(&self, directory: &OwnedFd) -> Result<Vec<String>, CommandError> {
        if has_keys(directory) { self.read(Ok(directory)) } else { Ok(Vec::new()) }
    }

    /// Puts a new file in place of the old one.
    fn write(&self, directory: &OwnedFd, lines: &[String]) -> Result<(), CommandError> {
        let bytes = lines.join("\n").into_bytes();
        // What is written has to be read again.
        if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
            return Err(CommandError::generic(format!("'{}' would be too large", self.path(KEYS))));
        }
        let written = || -> io::Result<()> {
            let _ = unlinkat(directory, NEW, AtFlags::empty());
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = openat(directory, NEW, flags, Mode::RUSR | Mode::WUSR)?;
            self.give(&file, Mode::RUSR | Mode::WUSR)?;
            let mut file = File::from(file);
            file.write_all(&bytes)?;
            file.sync_all()?;
            Ok(renameat(directory, NEW, directory, KEYS)?)
        };
        written().map_err(|error| {
            let _ = unlinkat(directory, NEW, AtFlags::empty());
            CommandError::generic(format!("failed to write to '{}': {}", self.path(KEYS), reason(&error)))
        })
    }
}

fn has_keys(directory: &OwnedFd) -> bool {
    rustix::fs::statat(directory, KEYS, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// The user of a name.
fn user(name: &str) -> Result<User, CommandError> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    if let Some(user) = User::in_text(&text, name) {
        return Ok(user);
    }
    let unknown = || CommandError::generic(format!("failed to lookup user '{name}': Success"));
    if name.is_empty() || name.starts_with('-') || name.contains([':', '\n', '\0']) {
        return Err(unknown());
    }
    // Users of a directory service are not in the file; the system's own tool knows them.
    let told = Command::new("getent").args(["passwd", name]).stdin(Stdio::null()).output().map_err(|_| unknown())?;
    User::in_text(&String::from_utf8_lossy(&told.stdout), name).ok_or_else(unknown)
}

fn check(keys: &[String]) -> Result<(), CommandError> {
    match keys.iter().find(|key| key.starts_with('#') || key.contains('\n')) {
        Some(key) => Err(CommandError::generic(format!("invalid OpenSSH public key: '{key}'"))),
        None => Ok(()),
    }
}

/// An error as the system made it.
fn copied(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// A user's keys.
pub(super) fn get(arguments: &mut Arguments) -> Result<Value, CommandError> {
    let name = arguments.string("username")?;
    arguments.finish()?;
    let user = user(&name)?;
    let directory = user.directory();
    let lines = user.read(directory.as_ref().map_err(copied))?;
    let keys = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(Value::object([("keys", keys.map(Value::from).collect::<Vec<_>>().into())]))
}

/// Adds keys that are not there, or lets them be the only ones.
pub(super) fn add(arguments: &mut Arguments) -> Result<Value, CommandError> {
    let name = arguments.string("username")?;
    let keys = arguments.strings("keys")?;
    let reset = arguments.optional_bool("reset")?.unwrap_or_default();
    arguments.finish()?;
    check(&keys)?;
    let user = user(&name)?;
    let directory = user.made_directory()?;
    let mut lines = if reset { Vec::new() } else { user.read_if_any(&directory)? };
    // The empty line behind the last line end is none.
    lines.pop_if(|line| line.is_empty());
    add_new(&mut lines, keys);
    user.write(&directory, &lines)?;
    Ok(Value::empty())
}

/// Adds those lines that are not there yet, each once.
fn add_new(lines: &mut Vec<String>, more: Vec<String>) {
    let mut known: HashSet<String> = lines.iter().cloned().collect();
    lines.extend(more.into_iter().filter(|line| known.insert(line.clone())));
}

/// Takes keys away.
pub(super) fn remove(arguments: &mut Arguments) -> Result<Value, CommandError> {
    let name = arguments.string("username")?;
    let keys = arguments.strings("keys")?;
    arguments.finish()?;
    check(&keys)?;
    let user = user(&name)?;
    let Ok(directory) = user.directory() else { return Ok(Value::empty()) };
    if !has_keys(&directory) {
        return Ok(Value::empty());
    }
    let mut lines = user.read(Ok(&directory))?;
    let keys: HashSet<&String> = keys.iter().collect();
    lines.retain(|line| !keys.contains(line));
    user.write(&directory, &lines)?;
    Ok(Value::empty())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn user(home: &tempfile::TempDir) -> User {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        User { uid, gid, home: home.path().to_str().unwrap().to_owned() }
    }

    #[test]
    fn users_are_found_by_their_whole_name() {
        let text = "root:x:0:0:root:/root:/bin/sh\nro:x:5:6::/home/ro:\nbroken:x\n";
        assert_eq!(User::in_text(text, "ro"), Some(User { uid: 5, gid: 6, home: "/home/ro".to_owned() }));
        assert_eq!(User::in_text(text, "r"), None);
        assert_eq!(User::in_text(text, "broken"), None);
    }

    #[test]
    fn keys_are_written_whole_and_for_their_user_alone() {
        let home = tempfile::tempdir().unwrap();
        let user = user(&home);
        let directory = user.made_directory().unwrap();
        assert!(user.read_if_any(&directory).unwrap().is_empty());
        user.write(&directory, &["one".to_owned(), "two".to_owned()]).unwrap();
        let path = home.path().join(".ssh/authorized_keys");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo");
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap()) & 0o7777, 0o600);
        assert_eq!(user.read(Ok(&directory)).unwrap(), ["one", "two"]);
        assert_eq!(std::fs::read_dir(home.path().join(".ssh")).unwrap().count(), 1);
    }

    #[test]
    fn more_keys_than_anybody_has_keep_nobody_waiting() {
        let key = |number: u32| format!("k{number}");
        let mut lines: Vec<String> = (0..300_000).map(key).collect();
        let begin = Instant::now();
        add_new(&mut lines, (299_999..600_000).chain(0..300_000).map(key).collect());
        assert_eq!(lines.len(), 600_000);
        assert!(begin.elapsed() < std::time::Duration::from_secs(100));

        let home = tempfile::tempdir().unwrap();
        let user = user(&home);
        let directory = user.made_directory().unwrap();
        user.write(&directory, &["one".to_owned()]).unwrap();
        let error = user.write(&directory, &lines).unwrap_err();
        assert!(error.text().ends_with("/.ssh/authorized_keys' would be too large"), "{}", error.text());
        assert_eq!(user.read(Ok(&directory)).unwrap(), ["one"]);
    }

    #[test]
    fn a_link_leads_nowhere() {
        let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(other.path(), home.path().join(".ssh")).unwrap();
        let linked = user(&home);
        assert!(linked.made_directory().unwrap_err().text().starts_with("failed to open directory"));
        assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);

        let home = tempfile::tempdir().unwrap();
        let user = user(&home);
        let directory = user.made_directory().unwrap();
        let secret = other.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        std::os::unix::fs::symlink(&secret, home.path().join(".ssh/authorized_keys")).unwrap();
        assert!(user.read_if_any(&directory).is_err(), "no key is added to what is not read");
        user.write(&directory, &["key".to_owned()]).unwrap();
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    }
}
