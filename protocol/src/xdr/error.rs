//! What can be wrong with bytes, and with values that are to become bytes.
//!
//! None of these errors holds any of the content: it may be a password, and errors are logged.

use std::fmt;

use serde::{de, ser};

/// Why bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end before the value does.
    Truncated,
    /// The value ends before the bytes do.
    Trailing,
    /// A length or count is above what its field may hold.
    Bound {
        /// The length that was announced.
        length: u32,
        /// The most that the field may hold.
        max: u32,
    },
    /// Bytes that fill up to a multiple of four are not zero.
    Padding,
    /// A string is not UTF-8.
    Utf8,
    /// A string contains U+0000.
    Nul,
    /// A boolean is neither 0 nor 1.
    Bool,
    /// The flag of an optional value is neither 0 nor 1.
    Optional,
    /// A union has no arm of this number.
    Discriminant(u32),
    /// The type asks for what the codec does not do; a mistake of ours, never of a peer.
    Unsupported,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => formatter.write_str("the bytes end before the value does"),
            Self::Trailing => formatter.write_str("bytes are left over behind the value"),
            Self::Bound { length, max } => write!(formatter, "a length of {length} where at most {max} is allowed"),
            Self::Padding => formatter.write_str("padding bytes are not zero"),
            Self::Utf8 => formatter.write_str("a string is not UTF-8"),
            Self::Nul => formatter.write_str("a string contains U+0000"),
            Self::Bool => formatter.write_str("a boolean is neither 0 nor 1"),
            Self::Optional => formatter.write_str("the flag of an optional value is neither 0 nor 1"),
            Self::Discriminant(number) => write!(formatter, "a union has no arm {number}"),
            Self::Unsupported => formatter.write_str("the type is none that the codec knows"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Any backend's error can be made of text alone; so the verdict travels through it as a short code.
struct Code(DecodeError);

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DecodeError::Truncated => formatter.write_str("truncated"),
            DecodeError::Trailing => formatter.write_str("trailing"),
            DecodeError::Bound { length, max } => write!(formatter, "bound {length} {max}"),
            DecodeError::Padding => formatter.write_str("padding"),
            DecodeError::Utf8 => formatter.write_str("utf8"),
            DecodeError::Nul => formatter.write_str("nul"),
            DecodeError::Bool => formatter.write_str("bool"),
            DecodeError::Optional => formatter.write_str("optional"),
            DecodeError::Discriminant(number) => write!(formatter, "discriminant {number}"),
            DecodeError::Unsupported => formatter.write_str("unsupported"),
        }
    }
}

impl DecodeError {
    /// The error of whichever backend is at work that says the same as `self`.
    #[cold]
    pub(super) fn refuse<E: de::Error>(self) -> E {
        E::custom(Code(self))
    }

    /// What [`DecodeError::refuse`] said.
    pub(super) fn from_code(code: &str) -> Self {
        let mut words = code.split(' ');
        let kind = words.next();
        let mut number = || words.next().and_then(|word| word.parse().ok());
        match kind {
            Some("truncated") => Self::Truncated,
            Some("trailing") => Self::Trailing,
            Some("bound") => match (number(), number()) {
                (Some(length), Some(max)) => Self::Bound { length, max },
                _ => Self::Unsupported,
            },
            Some("padding") => Self::Padding,
            Some("utf8") => Self::Utf8,
            Some("nul") => Self::Nul,
            Some("bool") => Self::Bool,
            Some("optional") => Self::Optional,
            Some("discriminant") => number().map_or(Self::Unsupported, Self::Discriminant),
            _ => Self::Unsupported,
        }
    }
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::from_code(&message.to_string())
    }
}

/// Why a value could not be encoded. No [`Wire`](super::Wire) type fails this way; it would be a mistake of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// A length does not fit into 32 bits.
    TooLong,
    /// The type asks for what the codec does not do.
    Unsupported,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooLong => "a length does not fit into 32 bits",
            Self::Unsupported => "the type is none that the codec knows",
        })
    }
}

impl std::error::Error for EncodeError {}

impl ser::Error for EncodeError {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self::Unsupported
    }
}

/// What was to be put into a bounded type is longer than its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// How long it is, in bytes or, for a list, in elements.
    pub length: usize,
    /// How long it may be.
    pub max: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a length of {} where at most {} is allowed", self.length, self.max)
    }
}

impl std::error::Error for TooLong {}

/// Why a string cannot be a [`Text`](super::Text).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotText {
    /// It is longer than the bound.
    TooLong(TooLong),
    /// It contains U+0000.
    Nul,
}

impl fmt::Display for NotText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(TooLong { length, max }) => {
                write!(formatter, "text of {length} bytes where at most {max} are allowed")
            }
            Self::Nul => formatter.write_str("text contains U+0000"),
        }
    }
}

impl std::error::Error for NotText {}

impl From<TooLong> for NotText {
    fn from(error: TooLong) -> Self {
        Self::TooLong(error)
    }
}
