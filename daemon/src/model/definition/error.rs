//! Why a text is no definition: where, what, and what the writer may have meant.

use std::fmt;

use crate::model::toml_table::{Position, Quoted, TomlError, TomlErrorKind};

/// Why a text is no definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefinitionError {
    /// The text has more bytes than a definition may have.
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// What is written is no definition.
    Content(TomlError),
}

impl DefinitionError {
    /// Where in the text it is; nowhere if the text as a whole is too long.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::TooLong { .. } => None,
            Self::Content(error) => Some(error.position),
        }
    }

    /// What the writer could do. May be empty.
    pub fn hint(&self) -> &'static str {
        let Self::Content(error) = self else { return "" };
        match &error.kind {
            TomlErrorKind::MissingKey { key: "nic.outbound" } => {
                "write outbound = true if the guest may open connections to the outside, which includes every service \
                 that listens on this host's own 127.0.0.1; write outbound = false if only the forwarded ports shall \
                 lead into it"
            }
            TomlErrorKind::MissingKey { key: "disk.format" } => {
                "formats are never probed, for a guest could then choose its own: write format = \"qcow2\" or \
                 format = \"raw\""
            }
            TomlErrorKind::WrongType { key: "disk", .. } => "write [[disk]] instead of [disk]",
            TomlErrorKind::WrongType { key: "nic", .. } => "write [[nic]] instead of [nic]",
            TomlErrorKind::WrongType { key: "memory", .. } => "write a unit, as in memory = \"512 MiB\"",
            TomlErrorKind::Syntax(_)
            | TomlErrorKind::UnknownKey { .. }
            | TomlErrorKind::MissingKey { .. }
            | TomlErrorKind::WrongType { .. }
            | TomlErrorKind::OutOfBounds { .. }
            | TomlErrorKind::TooMany { .. }
            | TomlErrorKind::Value { .. } => "",
        }
    }
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = match self {
            Self::TooLong { bytes } => {
                let bytes_max = super::Definition::BYTES_MAX;
                return write!(f, "a definition has at most {bytes_max} bytes, this one has {bytes}");
            }
            Self::Content(error) => error,
        };
        write!(f, "{}: ", error.position)?;
        match &error.kind {
            TomlErrorKind::Syntax(message) => write!(f, "{message}"),
            TomlErrorKind::UnknownKey { table, key, nearest } => {
                write!(f, "unknown key {}", Quoted(key))?;
                let Some(nearest) = nearest else { return Ok(()) };
                // One of the same table is told as it would be written there.
                let own = nearest.strip_prefix(table).and_then(|name| name.strip_prefix('.'));
                write!(f, "; did you mean `{}`?", own.unwrap_or(nearest))
            }
            TomlErrorKind::MissingKey { key } => write!(f, "`{key}` is missing"),
            TomlErrorKind::WrongType { key, expected, found } => {
                write!(f, "`{key}` is {expected}, and here stands {found}")
            }
            TomlErrorKind::OutOfBounds { key, least, most } => write!(f, "`{key}`: must be from {least} to {most}"),
            TomlErrorKind::TooMany { key, entries, most } => {
                write!(f, "`{key}`: has {entries} entries, and {most} is the most")
            }
            TomlErrorKind::Value { key, why } => write!(f, "`{key}`: {why}"),
        }
    }
}

impl std::error::Error for DefinitionError {}
