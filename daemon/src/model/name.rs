//! Names of virtual machines: 1 to 64 of `[A-Za-z0-9._-]`, a letter or digit first, and no uuid.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A name that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VmName(String);

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// It is empty.
    Empty,
    /// It has more than 64 bytes.
    TooLong,
    /// This character is not one of `[A-Za-z0-9._-]`, or stands first and is no letter or digit.
    Character(char),
    /// It reads as a uuid, so that nobody could tell which of the two was meant.
    Uuid,
}

impl VmName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VmName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let first = text.chars().next().ok_or(NameError::Empty)?;
        if !first.is_ascii_alphanumeric() {
            return Err(NameError::Character(first));
        }
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"._-".contains(*c)) {
            return Err(NameError::Character(bad));
        }
        if text.len() > Self::BYTES_MAX {
            return Err(NameError::TooLong);
        }
        if Uuid::try_parse(text).is_ok() {
            return Err(NameError::Uuid);
        }
        Ok(Self(text.to_owned()))
    }
}

impl Borrow<str> for VmName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a name needs at least one character"),
            Self::TooLong => write!(f, "a name has at most {} bytes", VmName::BYTES_MAX),
            Self::Character(c) => write!(
                f,
                "{c:?} cannot stand there: a name is made of A-Z a-z 0-9 . _ - and begins with a letter or digit"
            ),
            Self::Uuid => write!(f, "a name must not read as a uuid"),
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_specification_allows_and_nothing_else() {
        for good in ["a", "web-1", "0", "A.b_c-d", &"x".repeat(64)] {
            assert_eq!(good.parse::<VmName>().map(|n| n.as_str().to_owned()), Ok(good.to_owned()));
        }
        assert_eq!("".parse::<VmName>(), Err(NameError::Empty));
        assert_eq!("x".repeat(65).parse::<VmName>(), Err(NameError::TooLong));
        for (bad, c) in [("-a", '-'), (".a", '.'), ("a b", ' '), ("a/b", '/'), ("a\u{1b}[2J", '\u{1b}'), ("ä", 'ä')] {
            assert_eq!(bad.parse::<VmName>(), Err(NameError::Character(c)));
        }
        for uuid in ["12345678-1234-1234-1234-123456789abc", "12345678123412341234123456789ABC"] {
            assert_eq!(uuid.parse::<VmName>(), Err(NameError::Uuid));
        }
    }
}
