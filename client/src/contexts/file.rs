//! The file of the contexts: read with care, for anything may stand in its place, and written whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::text::{Book, Fault};
use super::{CONTEXTS_MAX, Context, Contexts, ContextsError, is_name};
use crate::transport::Environment;

/// The longest file that is read: what the most contexts take, and then some.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Links that are followed one behind the other, as in the kernel.
const LINKS_MAX: usize = 40;

/// How long somebody else is waited for who is changing the file. That takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long between two looks whether they have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Where a person's contexts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextsFile {
    path: PathBuf,
}

impl ContextsFile {
    /// `$XDG_CONFIG_HOME/vmwire/contexts.toml`, also for root: contexts are a person's, not a host's.
    ///
    /// # Errors
    /// When nothing says where the person's files are.
    pub fn of(environment: &Environment) -> Result<Self, ContextsError> {
        let config = match (&environment.config_home, &environment.home) {
            (Some(config), _) => config.clone(),
            (None, Some(home)) => home.join(".config"),
            (None, None) => return Err(ContextsError::NoHome),
        };
        Ok(Self { path: config.join("vmwire/contexts.toml") })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the contexts; where there is no file there are none.
    ///
    /// # Errors
    /// When there is something that is no readable file, or whose text is not what it has to be.
    pub fn read(&self) -> Result<Contexts, ContextsError> {
        Ok(self.book()?.contexts().clone())
    }

    /// Adds a context. With `replace` it takes the place of one of the same name.
    ///
    /// # Errors
    /// As [`ContextsFile::read`]; when there is one of that name already, it cannot be a name, or it is that of a group;
    /// when the file cannot be written.
    pub fn add(&self, context: Context, replace: bool) -> Result<(), ContextsError> {
        for name in context.groups.iter().chain([&context.name]) {
            check_name(name)?;
        }
        self.change(|book| {
            let contexts = book.contexts();
            let taken = contexts.groups().contains(context.name.as_str()) || context.groups.contains(&context.name);
            if taken {
                return Err(ContextsError::Ambiguous(context.name));
            }
            if let Some(group) = context.groups.iter().find(|group| contexts.get(group).is_some()) {
                return Err(ContextsError::Ambiguous(group.clone()));
            }
            match contexts.get(&context.name) {
                Some(_) if replace => book.replace(context),
                Some(old) => return Err(ContextsError::Exists { name: context.name, uri: old.uri.to_string() }),
                None if contexts.iter().count() >= CONTEXTS_MAX => return Err(ContextsError::TooMany),
                None => book.add(context),
            }
            Ok(())
        })
    }

    /// Makes a context the current one; `None` for none.
    ///
    /// # Errors
    /// As [`ContextsFile::read`]; when there is none of that name; when the file cannot be written.
    pub fn set_current(&self, name: Option<&str>) -> Result<(), ContextsError> {
        self.change(|book| {
            if let Some(name) = name {
                known(book.contexts(), name)?;
            }
            book.set_current(name);
            Ok(())
        })
    }

    /// Takes contexts away; all or, when there is none of one of the names, none. Answers whether the current one was
    /// among them.
    ///
    /// # Errors
    /// As [`ContextsFile::set_current`].
    pub fn remove(&self, names: &[String]) -> Result<bool, ContextsError> {
        let mut was_current = false;
        self.change(|book| {
            for name in names {
                known(book.contexts(), name)?;
            }
            for name in names {
                was_current |= book.contexts().current().is_some_and(|current| current.name == *name);
                book.remove(name);
            }
            Ok(())
        })?;
        Ok(was_current)
    }

    fn book(&self) -> Result<Book, ContextsError> {
        let text = read(&self.path).map_err(|error| self.unreadable(error))?;
        Book::read(text).map_err(|Fault { position, why, hint }| {
            let path = self.path.clone();
            ContextsError::Text { path, position, why, hint }
        })
    }

    /// Reads, has `edit` change it, and writes, while nobody else does.
    fn change(&self, edit: impl FnOnce(&mut Book) -> Result<(), ContextsError>) -> Result<(), ContextsError> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let lock = lock(directory).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => ContextsError::Busy(self.path.clone()),
            _ => self.unwritable(error),
        })?;
        let mut book = self.book()?;
        edit(&mut book)?;
        let written = replace(&self.path, book.text().as_bytes()).map_err(|error| self.unwritable(error));
        drop(lock);
        written
    }

    fn unreadable(&self, error: io::Error) -> ContextsError {
        ContextsError::Unreadable { path: self.path.clone(), error: Arc::new(error) }
    }

    fn unwritable(&self, error: io::Error) -> ContextsError {
        ContextsError::Unwritable { path: self.path.clone(), error: Arc::new(error) }
    }
}

fn check_name(name: &str) -> Result<(), ContextsError> {
    if is_name(name) { Ok(()) } else { Err(ContextsError::Name(name.to_owned())) }
}

/// The context of a name, which has to be there.
pub(super) fn known<'a>(contexts: &'a Contexts, name: &str) -> Result<&'a Context, ContextsError> {
    contexts.get(name).ok_or_else(|| match contexts.groups().contains(name) {
        true => ContextsError::IsGroup(name.to_owned()),
        false => ContextsError::Unknown {
            name: name.to_owned(),
            nearest: contexts.nearest(name, false).map(str::to_owned),
            any: contexts.iter().next().is_some(),
        },
    })
}

/// Reads a file that is one; nothing where there is none. Without waiting, or a pipe in its place would hang us.
fn read(path: &Path) -> io::Result<String> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {} MiB", BYTES_MAX >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("it is no text: byte {at} is not UTF-8"))
    })
}

/// Has the directory for oneself. It is made where there is none.
fn lock(directory: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let lock = File::open(directory)?;
    let until = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Where a file lies, or will, behind all links to it. There may be none yet where they lead to.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    match std::fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(link) = std::fs::read_link(&path) else { return Ok(path) };
        path = path.parent().unwrap_or(Path::new("/")).join(link);
    }
    Err(io::Error::other("too many links"))
}

/// Puts a text in place of the one that may be there, readable to its owner alone. A link stays one: what it leads to is
/// written, as those want it who keep such files elsewhere.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let path = behind_links(path)?;
    let draft = path.with_extension("toml.new");
    let write = || {
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)
    };
    write().inspect_err(|_| {
        let _ = std::fs::remove_file(&draft);
    })?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}
