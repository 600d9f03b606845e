//! JSON as QEMU's guest agent speaks it: read by [`Reader`] from a stream that may begin and end anywhere, written by
//! [`write()`] in plain ASCII.
//!
//! It is not quite everybody's JSON. Strings may stand in apostrophes, integers keep 64 bits, a key may occur once only, an
//! object needs no line end behind it, and the byte FF, which is no text, throws away whatever was begun.
//!
//! ```text
//!   bytes → lexer → tokens → reader → values, and errors to be answered
//! ```

mod lexer;
mod reader;
mod write;

pub use reader::{Incoming, Reader, Refusal};
pub use write::{write, write_exactly};

/// A JSON value. Numbers are kept apart by what they can hold, as the types of arguments depend on it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that fits into 64 bits with a sign.
    Integer(i64),
    /// An integer that only fits without a sign.
    Unsigned(u64),
    /// Every other number; finite.
    Double(f64),
    /// A string. It may hold U+0000.
    String(String),
    /// A list.
    Array(Vec<Value>),
    /// An object in the order in which it was written. No key occurs twice.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// An object of these members.
    pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
        Value::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// An object of those of these members that are there.
    pub fn object_of<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
        let there = members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Value::Object(there.collect())
    }

    /// The object without members, which is what commands answer that have nothing to say.
    pub fn empty() -> Value {
        Value::Object(Vec::new())
    }

    /// The member of that name, if this is an object that has one.
    pub fn member(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Integer(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Value {
        Value::Integer(i64::from(value))
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        i64::try_from(value).map_or(Value::Unsigned(value), Value::Integer)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Double(value)
    }
}

impl From<Vec<Value>> for Value {
    fn from(values: Vec<Value>) -> Value {
        Value::Array(values)
    }
}
