//! Why a text is no definition: where, what, and what the writer may have meant.

use std::fmt;

/// A place in a text, as editors count: from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
}

impl Position {
    /// The place of the byte at `offset`; past the end, the end.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

/// Why a text is no definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionError {
    /// Where in the text; absent only when the text as a whole is too long.
    pub position: Option<Position>,
    /// What is wrong.
    pub kind: DefinitionErrorKind,
}

/// What can be wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefinitionErrorKind {
    /// The text has more bytes than a definition may have.
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// It is no TOML.
    Syntax(
        /// What the TOML parser says.
        String,
    ),
    /// Nobody knows this key.
    UnknownKey {
        /// As written.
        key: String,
        /// The known key that is most like it.
        nearest: Option<&'static str>,
    },
    /// This key must be there and is not.
    MissingKey {
        /// The key, with its table.
        key: &'static str,
    },
    /// The value is of another type.
    WrongType {
        /// The key, with its table.
        key: &'static str,
        /// What stands there in a good definition.
        expected: &'static str,
        /// What stands there in this one.
        found: &'static str,
    },
    /// The value is of the right type and yet cannot be.
    Value {
        /// The key, with its table.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl DefinitionError {
    /// What the writer could do. May be empty.
    pub fn hint(&self) -> &'static str {
        match &self.kind {
            DefinitionErrorKind::MissingKey { key: "nic.outbound" } => {
                "write outbound = true if the guest may open connections to the outside, which includes every service \
                 that listens on this host's own 127.0.0.1; write outbound = false if only the forwarded ports shall \
                 lead into it"
            }
            DefinitionErrorKind::MissingKey { key: "disk.format" } => {
                "formats are never probed, for a guest could then choose its own: write format = \"qcow2\" or \
                 format = \"raw\""
            }
            DefinitionErrorKind::WrongType { key: "disk", .. } => "write [[disk]] instead of [disk]",
            DefinitionErrorKind::WrongType { key: "nic", .. } => "write [[nic]] instead of [nic]",
            DefinitionErrorKind::WrongType { key: "memory", .. } => "write a unit, as in memory = \"512 MiB\"",
            DefinitionErrorKind::TooLong { .. }
            | DefinitionErrorKind::Syntax(_)
            | DefinitionErrorKind::UnknownKey { .. }
            | DefinitionErrorKind::MissingKey { .. }
            | DefinitionErrorKind::WrongType { .. }
            | DefinitionErrorKind::Value { .. } => "",
        }
    }
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "line {line}, column {column}: ")?;
        }
        match &self.kind {
            DefinitionErrorKind::TooLong { bytes } => {
                write!(f, "a definition has at most {} bytes, this one has {bytes}", super::Definition::BYTES_MAX)
            }
            DefinitionErrorKind::Syntax(message) => write!(f, "{message}"),
            DefinitionErrorKind::UnknownKey { key, nearest } => {
                write!(f, "unknown key {}", Quoted(key))?;
                match nearest {
                    Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
                    None => Ok(()),
                }
            }
            DefinitionErrorKind::MissingKey { key } => write!(f, "`{key}` is missing"),
            DefinitionErrorKind::WrongType { key, expected, found } => {
                write!(f, "`{key}` is {expected}, and here stands {found}")
            }
            DefinitionErrorKind::Value { key, why } => write!(f, "`{key}`: {why}"),
        }
    }
}

impl std::error::Error for DefinitionError {}

/// Somebody's text in a message: escaped, and cut where it gets long.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl Quoted<'_> {
    const CHARS_MAX: usize = 64;
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`")?;
        for c in self.0.chars().take(Self::CHARS_MAX) {
            write!(f, "{}", c.escape_debug())?;
        }
        if self.0.chars().nth(Self::CHARS_MAX).is_some() {
            write!(f, "…")?;
        }
        write!(f, "`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "ab\nçd = é\r\nx";
        for (needle, line, column) in [("ab", 1, 1), ("çd", 2, 1), ("é", 2, 6), ("x", 3, 1)] {
            assert_eq!(Position::of(text, text.find(needle).unwrap()), Position { line, column }, "{needle}");
        }
        assert_eq!(Position::of(text, 4), Position { line: 2, column: 1 }, "inside of a character is at its beginning");
        assert_eq!(Position::of(text, 999), Position { line: 3, column: 2 });
    }

    #[test]
    fn what_a_writer_wrote_is_escaped_and_cut() {
        assert_eq!(Quoted("a\u{1b}[2J").to_string(), "`a\\u{1b}[2J`");
        assert_eq!(Quoted(&"x".repeat(70)).to_string(), format!("`{}…`", "x".repeat(64)));
    }
}
