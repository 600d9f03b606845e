//! What can be wrong with contexts, in words and with a hint.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::CONTEXTS_MAX;
use crate::uri::UriError;

/// A place in a text, as editors count: from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
}

/// Why contexts cannot be read, changed or used.
#[derive(Debug, Clone)]
pub enum ContextsError {
    /// Nothing says where the person's files are.
    NoHome,
    /// The file is there and cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: Arc<io::Error>,
    },
    /// The file cannot be written.
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: Arc<io::Error>,
    },
    /// Somebody else has been changing the file for seconds.
    Busy(PathBuf),
    /// The text of the file is not what it has to be.
    Text {
        /// The file.
        path: PathBuf,
        /// Where in it.
        position: Position,
        /// What is wrong there.
        why: String,
        /// What to do about it; may be empty.
        hint: String,
    },
    /// What was given is no name.
    Name(String),
    /// There is no context of that name, but a group.
    IsGroup(String),
    /// There is no context of that name.
    Unknown {
        /// What was given.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
        /// Whether there are contexts at all.
        any: bool,
    },
    /// There is one of that name.
    Exists {
        /// The name.
        name: String,
        /// Which daemon it is for.
        uri: String,
    },
    /// A context is to be called as a group is, or a group as a context.
    Ambiguous(String),
    /// There are as many as there may be.
    TooMany,
    /// A URI was given that is none.
    Uri(UriError),
    /// Hosts were named, and one of the names is that of two.
    NameTwice(String),
    /// Hosts were named, and two of them are one daemon.
    UriTwice {
        /// The one that was named first.
        first: String,
        /// The other.
        second: String,
        /// The daemon.
        uri: String,
    },
    /// Hosts were named, and there is neither a context nor a group of this name.
    UnknownHost {
        /// What was given.
        name: String,
        /// What may have been meant.
        nearest: Option<String>,
        /// Whether there are contexts at all.
        any: bool,
    },
    /// Between two commas, or before or behind one, nothing is named.
    NoHost(String),
    /// More hosts were named than are asked at once.
    TooManyHosts {
        /// How many.
        hosts: usize,
        /// How many may be.
        most: usize,
    },
}

/// Somebody's text in a message: quoted, escaped, and cut where it gets long.
pub(super) fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    if text.chars().count() <= CHARS_MAX {
        return format!("{text:?}");
    }
    let cut: String = text.chars().take(CHARS_MAX).collect();
    format!("{cut:?}…")
}

impl ContextsError {
    /// What the person could do about it. May be empty.
    #[must_use]
    pub fn hint(&self) -> String {
        let list = |name: &str, nearest: &Option<String>, any: bool| match (nearest, any) {
            // As one would name it to ssh.
            _ if name.contains('@') && name.chars().all(|c| c.is_ascii_alphanumeric() || "@.-_".contains(c)) => {
                format!("for a host, by ssh: qemu+ssh://{name}/system")
            }
            (Some(nearest), _) => format!("did you mean {nearest}? All there are: vmwire context list"),
            (None, true) => "all there are: vmwire context list".to_owned(),
            (None, false) => {
                "there are no contexts yet; make one: vmwire context add NAME qemu+ssh://USER@HOST/system".to_owned()
            }
        };
        match self {
            Self::NoHome => "set HOME".to_owned(),
            Self::Unreadable { .. } | Self::Unwritable { .. } => match self.io_kind() {
                Some(io::ErrorKind::PermissionDenied) => "whose file is it? It has to be yours".to_owned(),
                Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                    "make room and do it again; what was there is as it was".to_owned()
                }
                Some(io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge) => {
                    "it has contexts in TOML; move it away and make them anew: vmwire context add NAME URI".to_owned()
                }
                _ => String::new(),
            },
            Self::Busy(_) => "do it again when that one has ended".to_owned(),
            Self::Text { hint, .. } => hint.clone(),
            Self::Name(_) => {
                "a name has 1 to 64 letters, digits and . _ -, and begins with a letter or digit".to_owned()
            }
            Self::IsGroup(name) => format!("-H {name} asks all who are in it"),
            Self::Unknown { name, nearest, any } | Self::UnknownHost { name, nearest, any } => {
                list(name, nearest, *any)
            }
            Self::Exists { name, .. } => {
                format!("another name, or --replace to put the new one in its place; vmwire context use {name} uses it")
            }
            Self::Ambiguous(_) => "-H takes both, so that it would not be clear who is meant: another name".to_owned(),
            Self::TooMany => "take some away: vmwire context remove NAME...".to_owned(),
            Self::Uri(error) => error.hint(),
            Self::NameTwice(_) => "name it once; a group names all who are in it".to_owned(),
            Self::UriTwice { .. } => "leave one of the two out: what is asked for would be done there twice".to_owned(),
            Self::NoHost(_) => {
                "write contexts, groups or URIs with commas between them, as in -H web1,web2; a comma in a URI is %2C"
                    .to_owned()
            }
            Self::TooManyHosts { .. } => "ask some of them at a time".to_owned(),
        }
    }

    fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Unreadable { error, .. } | Self::Unwritable { error, .. } => Some(error.kind()),
            _ => None,
        }
    }
}

impl fmt::Display for ContextsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHome => {
                f.write_str("it is not known where contexts are kept: neither XDG_CONFIG_HOME nor HOME is set")
            }
            Self::Unreadable { path, .. } => write!(f, "cannot read {}", path.display()),
            Self::Unwritable { path, .. } => write!(f, "cannot write {}", path.display()),
            Self::Busy(path) => write!(f, "another vmwire is changing {}", path.display()),
            Self::Text { path, position, why, .. } => {
                write!(f, "{}, line {}, column {}: {why}", path.display(), position.line, position.column)
            }
            Self::Name(name) => write!(f, "{} cannot be a name", quoted(name)),
            Self::IsGroup(name) => write!(f, "there is no context {}, but a group", quoted(name)),
            Self::Unknown { name, .. } => write!(f, "there is no context {}", quoted(name)),
            Self::UnknownHost { name, .. } => write!(f, "there is no context and no group {}", quoted(name)),
            Self::Exists { name, uri } => write!(f, "there is a context {name:?} already, for {uri}"),
            Self::Ambiguous(name) => write!(f, "{name:?} would be a context and a group"),
            Self::TooMany => write!(f, "there are {CONTEXTS_MAX} contexts already, and no more are kept"),
            Self::Uri(error) => error.fmt(f),
            Self::NameTwice(name) => write!(f, "the host {} is named twice", quoted(name)),
            Self::UriTwice { first, second, uri } => {
                write!(f, "the hosts {first:?} and {second:?} are one daemon: {uri}")
            }
            Self::NoHost(text) => write!(f, "an empty name among the hosts {}", quoted(text)),
            Self::TooManyHosts { hosts, most } => write!(f, "{hosts} hosts are named, and at most {most} are asked"),
        }
    }
}

impl Error for ContextsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } | Self::Unwritable { error, .. } => Some(error.as_ref()),
            _ => None,
        }
    }
}

impl From<UriError> for ContextsError {
    fn from(error: UriError) -> Self {
        Self::Uri(error)
    }
}
