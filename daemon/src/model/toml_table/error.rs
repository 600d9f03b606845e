//! Why a text was refused, and where. How it is told is for those who know whose text it is.

use std::fmt;
use std::ops::Range;

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
    fn of(text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a text was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TomlError {
    /// Where in the text.
    pub position: Position,
    /// What is wrong.
    pub kind: TomlErrorKind,
}

/// What can be wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TomlErrorKind {
    /// It is no TOML.
    Syntax(
        /// What the TOML parser says.
        String,
    ),
    /// Nobody knows this key.
    UnknownKey {
        /// The table in which it stands; empty at the top.
        table: &'static str,
        /// As written, without the table.
        key: String,
        /// The known key that is most like it, with its table.
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
        /// What stands there in a good text.
        expected: &'static str,
        /// What stands there in this one.
        found: &'static str,
    },
    /// The number is too small or too large.
    OutOfBounds {
        /// The key, with its table.
        key: &'static str,
        /// The least that it may be.
        least: u64,
        /// The most that it may be.
        most: u64,
    },
    /// The list is too long.
    TooMany {
        /// The key, with its table.
        key: &'static str,
        /// How many entries it has.
        entries: usize,
        /// How many it may have.
        most: usize,
    },
    /// The value is of the right type and yet cannot be.
    Value {
        /// The key, with its table.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// What is wrong, at a byte of the text.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The byte.
    pub(crate) at: usize,
    /// What is wrong there.
    pub(crate) kind: TomlErrorKind,
}

impl Fault {
    /// A value that cannot be.
    pub(crate) fn value(span: &Range<usize>, key: &'static str, why: impl Into<String>) -> Self {
        Self { at: span.start, kind: TomlErrorKind::Value { key, why: why.into() } }
    }

    /// The same for people: with line and column.
    pub(super) fn located(self, text: &str) -> TomlError {
        TomlError { position: Position::of(text, self.at), kind: self.kind }
    }
}

/// Somebody's text in a message: escaped, and cut where it gets long.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

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
