//! Strings with a bound.

use std::{
    borrow::{Borrow, Cow},
    fmt,
    ops::Deref,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    Erase, Sampler, Wire,
    bytes::{padded, read},
    error::{DecodeError, NotText, TooLong},
};

/// UTF-8 of at most `MAX` bytes and without U+0000.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const MAX: usize>(Cow<'static, str>);

impl<const MAX: usize> Text<MAX> {
    /// Takes `text` if it fits.
    pub fn new(text: impl Into<String>) -> Result<Self, NotText> {
        let text = text.into();
        if text.len() > MAX {
            return Err(TooLong { length: text.len(), max: MAX }.into());
        }
        if has_nul(&text) {
            return Err(NotText::Nul);
        }
        Ok(Self(text.into()))
    }

    /// As much of `text` as fits, cut between two characters, without U+0000: for what is said to people.
    pub fn clipped(text: &str) -> Self {
        if has_nul(text) {
            return Self::clipped(&text.replace('\0', ""));
        }
        Self(Cow::Owned(text[..text.floor_char_boundary(MAX)].to_owned()))
    }

    /// What is known when the program is built, clipped as by [`Text::clipped`], without an allocation.
    pub fn constant(text: &'static str) -> Self {
        if has_nul(text) { Self::clipped(text) } else { Self(Cow::Borrowed(&text[..text.floor_char_boundary(MAX)])) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, without its bound.
    pub fn into_string(self) -> String {
        self.0.into_owned()
    }
}

/// Looks at all bytes at once where the processor can: a search that may end early looks at one after the other.
fn has_nul(text: &str) -> bool {
    text.bytes().fold(false, |found, byte| found | (byte == 0))
}

impl<const MAX: usize> Wire for Text<MAX> {
    const BYTES_MAX: usize = padded(MAX).saturating_add(4);

    fn sample(sampler: &mut Sampler) -> Self {
        let length = sampler.length(MAX, 1);
        Self(sampler.text(length).into())
    }
}

impl<const MAX: usize> Erase for Text<MAX> {
    fn erase(&mut self) {
        self.0 = "*".repeat(self.0.len()).into();
    }
}

impl<const MAX: usize> Serialize for Text<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Not as a string: serde-xdr allows ASCII alone there, and copies the text into its error.
        serializer.serialize_bytes(self.0.as_bytes())
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::from_utf8(read(deserializer, MAX)?).map_err(|_| DecodeError::Utf8.refuse())?;
        if has_nul(&text) {
            return Err(DecodeError::Nul.refuse());
        }
        Ok(Self(text.into()))
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> AsRef<str> for Text<MAX> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> Borrow<str> for Text<MAX> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> PartialEq<str> for Text<MAX> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl<const MAX: usize> PartialEq<&str> for Text<MAX> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = NotText;

    fn try_from(text: String) -> Result<Self, NotText> {
        Self::new(text)
    }
}

impl<const MAX: usize> TryFrom<&str> for Text<MAX> {
    type Error = NotText;

    fn try_from(text: &str) -> Result<Self, NotText> {
        Self::new(text)
    }
}

impl<const MAX: usize> From<Text<MAX>> for String {
    fn from(text: Text<MAX>) -> Self {
        text.into_string()
    }
}
