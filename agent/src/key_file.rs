//! Files in GLib's key-file format, as far as qemu-ga writes and reads them: groups in brackets, a key and a value a line, `#` before a
//! comment, and in values `\s \n \t \r \\` for what could not stand there.

use std::fmt;

/// What a file says, in its order. What is said twice counts as it was said last.
#[derive(Debug, Default)]
pub struct KeyFile {
    entries: Vec<(String, String, String)>,
}

/// Why a file is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// This line is nothing that may stand there.
    Line(usize),
    /// This line says something before any group began.
    NoGroup(usize),
    /// The value of this key is not of its type.
    Value(String),
    /// The number of this key is more than that.
    TooMuch(String, u64),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Line(line) => write!(f, "line {line} is not a key-value pair, group, or comment"),
            Wrong::NoGroup(line) => write!(f, "line {line} stands before any group; begin with [general]"),
            Wrong::TooMuch(key, max) => write!(f, "key '{key}' has a value which is too large; {max} is the largest"),
            Wrong::Value(key) => write!(f, "key '{key}' has a value which cannot be interpreted"),
        }
    }
}

impl std::error::Error for Wrong {}

impl KeyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It has a line that is nothing.
    pub fn read(text: &str) -> Result<KeyFile, Wrong> {
        let mut entries = Vec::new();
        let mut group = None;
        for (place, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.trim_end().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                group = Some(name.to_owned());
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { return Err(Wrong::Line(place + 1)) };
            let Some(group) = &group else { return Err(Wrong::NoGroup(place + 1)) };
            let key = key.trim_end();
            let Some(value) = unescaped(value.trim_start()) else { return Err(Wrong::Value(key.to_owned())) };
            entries.push((group.clone(), key.to_owned(), value));
        }
        Ok(KeyFile { entries })
    }

    /// A value.
    pub fn text(&self, group: &str, key: &str) -> Option<&str> {
        let mut found = self.entries.iter().rev().filter(|(in_group, name, _)| in_group == group && name == key);
        found.next().map(|(_, _, value)| value.as_str())
    }

    /// A value that is true or false.
    ///
    /// # Errors
    /// It is neither.
    pub fn bool(&self, group: &str, key: &str) -> Result<Option<bool>, Wrong> {
        match self.text(group, key).map(str::trim_end) {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(Wrong::Value(key.to_owned())),
        }
    }

    /// A number up to another.
    ///
    /// # Errors
    /// It is none, or larger.
    pub fn number(&self, group: &str, key: &str, max: u64) -> Result<Option<u64>, Wrong> {
        let Some(value) = self.text(group, key) else { return Ok(None) };
        let value = value.trim_end().parse().map_err(|_| Wrong::Value(key.to_owned()))?;
        if value > max { Err(Wrong::TooMuch(key.to_owned(), max)) } else { Ok(Some(value)) }
    }
}

fn unescaped(value: &str) -> Option<String> {
    let mut plain = String::new();
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => match characters.next()? {
                's' => ' ',
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                '\\' => '\\',
                _ => return None,
            },
            _ => character,
        });
    }
    Some(plain)
}

/// A value as it stands in a file.
pub fn escaped(value: &str) -> String {
    let mut text = String::new();
    for (place, character) in value.chars().enumerate() {
        match character {
            ' ' if place == 0 => text.push_str("\\s"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            '\\' => text.push_str("\\\\"),
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_keys_comments_and_escapes_are_read() {
        let file = KeyFile::read(
            "# x\n\n[general]\n daemon = true\npath=\\s a\\\\b\\n\n[other]\npath=no\n[general]\nverbose=0 \n",
        )
        .unwrap();
        assert_eq!(file.bool("general", "daemon"), Ok(Some(true)));
        assert_eq!(file.bool("general", "verbose"), Ok(Some(false)));
        assert_eq!(file.bool("general", "retry-path"), Ok(None));
        assert_eq!(file.text("general", "path"), Some("  a\\b\n"));
        assert_eq!(KeyFile::read(&format!("[g]\nk={}", escaped("  a\\b\n"))).unwrap().text("g", "k"), Some("  a\\b\n"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(KeyFile::read("[general]\ngarbage\n").unwrap_err(), Wrong::Line(2));
        assert_eq!(KeyFile::read("a=b\n").unwrap_err(), Wrong::NoGroup(1));
        assert_eq!(KeyFile::read("[general]\na=\\q\n").unwrap_err(), Wrong::Value("a".to_owned()));
        let file = KeyFile::read("[general]\nverbose=zz\nrequest-deadline=-1").unwrap();
        assert_eq!(file.bool("general", "verbose"), Err(Wrong::Value("verbose".to_owned())));
        assert_eq!(file.number("general", "request-deadline", 9), Err(Wrong::Value("request-deadline".to_owned())));
    }
}
