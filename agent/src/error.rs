//! Why a command was not done, in the two classes and the words that clients of qemu-ga know.

use std::{fmt, io};

use crate::json::Value;

/// The longest text of an error that is sent.
const TEXT_BYTES_MAX: usize = 1000;

/// The class of an error: what programs look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Everything but the other.
    Generic,
    /// There is no such command, or it is disabled.
    CommandNotFound,
}

/// An error as it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    class: Class,
    text: String,
}

impl CommandError {
    /// An error of no particular class.
    pub fn generic(text: impl Into<String>) -> CommandError {
        CommandError { class: Class::Generic, text: text.into() }
    }

    /// There is no such command, for the reason that the text says.
    pub fn command_not_found(text: impl Into<String>) -> CommandError {
        CommandError { class: Class::CommandNotFound, text: text.into() }
    }

    /// This guest cannot do it.
    pub fn unsupported() -> CommandError {
        CommandError::generic("this feature or command is not currently supported")
    }

    /// What could not be done, and what the system says of it.
    pub fn system(what: impl fmt::Display, error: impl Into<io::Error>) -> CommandError {
        CommandError::generic(format!("{what}: {}", reason(&error.into())))
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The object that stands under `error` in an answer.
    pub fn to_value(&self) -> Value {
        let class = match self.class {
            Class::Generic => "GenericError",
            Class::CommandNotFound => "CommandNotFound",
        };
        let mut end = self.text.len().min(TEXT_BYTES_MAX);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        Value::object([("class", class.into()), ("desc", self.text[..end].into())])
    }
}

/// What the system says of an error, without the number that Rust puts behind it.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_quoted_without_numbers() {
        let error = CommandError::system("failed to open file '/x' (mode: 'r')", rustix::io::Errno::NOENT);
        assert_eq!(error.text(), "failed to open file '/x' (mode: 'r'): No such file or directory");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let value = CommandError::generic("é".repeat(2000)).to_value();
        let Some(Value::String(text)) = value.member("desc") else { panic!("{value:?}") };
        assert_eq!(text.len(), 1000);
    }
}
