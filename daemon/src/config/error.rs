//! Why there is no configuration to go by, and what whoever wrote it can do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::file::KEYS;
use crate::model::toml_table::{TomlError, TomlErrorKind};

/// Why there is no configuration to go by.
#[derive(Debug)]
pub enum ConfigError {
    /// The file could not be read.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file says something wrong.
    Content {
        /// Which.
        path: PathBuf,
        /// What.
        error: TomlError,
    },
    /// Neither `HOME` nor a variable or option says where a directory is.
    NoHome {
        /// The option that would say it.
        option: &'static str,
    },
    /// Something that the file does not say cannot be used.
    Default {
        /// The key that would say another.
        key: &'static str,
        /// Why.
        why: String,
    },
    /// A path of the command line or the surroundings cannot be used.
    Path {
        /// The option that says it, or would say another.
        option: &'static str,
        /// Why.
        why: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => write!(f, "cannot read the configuration {}: {error}", path.display()),
            Self::Content { path, error } => {
                write!(f, "{}: {}: ", path.display(), error.position)?;
                write_kind(f, &error.kind)
            }
            Self::NoHome { option } => {
                write!(f, "HOME is not set to an absolute path; set it, or say with {option} where to go")
            }
            Self::Default { key, why } => write!(f, "{why}; {key} in the configuration says another"),
            Self::Path { option, why } => write!(f, "{why}; choose another one with {option}"),
        }
    }
}

fn write_kind(f: &mut fmt::Formatter<'_>, kind: &TomlErrorKind) -> fmt::Result {
    match kind {
        TomlErrorKind::Syntax(message) => write!(f, "{message}"),
        TomlErrorKind::UnknownKey { table, key, nearest } => {
            let dot = if table.is_empty() { "" } else { "." };
            write!(f, "unknown key {:?}; ", format!("{table}{dot}{key}"))?;
            match nearest {
                Some(nearest) => write!(f, "did you mean {nearest}?"),
                None => write!(f, "the keys here are {}", KEYS.names_in(table).collect::<Vec<_>>().join(", ")),
            }
        }
        TomlErrorKind::MissingKey { key } => write!(f, "{key} is missing"),
        TomlErrorKind::WrongType { key, expected, found } => {
            write!(f, "{key} has to be {expected}, and is {found}")
        }
        TomlErrorKind::OutOfBounds { least, most, .. } => write!(f, "it has to be from {least} to {most}"),
        TomlErrorKind::TooMany { key, entries, most } => {
            write!(f, "{key} has {entries} entries, and {most} is the most")
        }
        TomlErrorKind::Value { why, .. } => write!(f, "{why}"),
    }
}

impl std::error::Error for ConfigError {}
