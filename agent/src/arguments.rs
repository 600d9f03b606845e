//! The arguments of a command: taken one by one in the order in which its documentation lists them, each with its type; then nothing
//! may be left. The words of what is wrong are those of QEMU.

use crate::error::CommandError;
use crate::json::Value;

/// Members of an object that were not taken yet.
#[derive(Debug)]
pub struct Arguments {
    members: Vec<(String, Value)>,
    /// What stands before a member's name in an error: empty, or like `vcpus[0].`.
    path: String,
}

impl Arguments {
    /// The arguments of a command.
    pub fn new(members: Vec<(String, Value)>) -> Arguments {
        Arguments { members, path: String::new() }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let place = self.members.iter().position(|(key, _)| key == name)?;
        Some(self.members.swap_remove(place).1)
    }

    fn missing(&self, name: &str) -> CommandError {
        CommandError::generic(format!("Parameter '{}{name}' is missing", self.path))
    }

    fn wrong_type(&self, name: &str, expected: &str) -> CommandError {
        CommandError::generic(format!("Invalid parameter type for '{}{name}', expected: {expected}", self.path))
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, CommandError> {
        value.ok_or_else(|| self.missing(name))
    }

    /// A string that has to be there.
    pub fn string(&mut self, name: &str) -> Result<String, CommandError> {
        let value = self.optional_string(name)?;
        self.required(name, value)
    }

    /// A string that may be there.
    pub fn optional_string(&mut self, name: &str) -> Result<Option<String>, CommandError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong_type(name, "string")),
        }
    }

    /// An integer that has to be there.
    pub fn integer(&mut self, name: &str) -> Result<i64, CommandError> {
        let value = self.optional_integer(name)?;
        self.required(name, value)
    }

    /// An integer that may be there.
    pub fn optional_integer(&mut self, name: &str) -> Result<Option<i64>, CommandError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Integer(value)) => Ok(Some(value)),
            Some(_) => Err(self.wrong_type(name, "integer")),
        }
    }

    /// A truth value that has to be there.
    pub fn bool(&mut self, name: &str) -> Result<bool, CommandError> {
        let value = self.optional_bool(name)?;
        self.required(name, value)
    }

    /// A truth value that may be there.
    pub fn optional_bool(&mut self, name: &str) -> Result<Option<bool>, CommandError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(self.wrong_type(name, "boolean")),
        }
    }

    /// A value of several types, which may be there; `check` says no by the name of what was expected.
    pub fn optional_of<T>(
        &mut self,
        name: &str,
        check: impl FnOnce(Value) -> Result<T, Unfit>,
    ) -> Result<Option<T>, CommandError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        check(value).map(Some).map_err(|unfit| match unfit {
            Unfit::Type(expected) => self.wrong_type(name, expected),
            Unfit::Word(word) => {
                CommandError::generic(format!("Parameter '{}{name}' does not accept value '{word}'", self.path))
            }
        })
    }

    /// A value of several types that has to be there.
    pub fn of<T>(&mut self, name: &str, check: impl FnOnce(Value) -> Result<T, Unfit>) -> Result<T, CommandError> {
        let value = self.optional_of(name, check)?;
        self.required(name, value)
    }

    /// A list of strings that has to be there.
    pub fn strings(&mut self, name: &str) -> Result<Vec<String>, CommandError> {
        let value = self.optional_strings(name)?;
        self.required(name, value)
    }

    /// A list of strings that may be there.
    pub fn optional_strings(&mut self, name: &str) -> Result<Option<Vec<String>>, CommandError> {
        let Some(values) = self.optional_list(name)? else { return Ok(None) };
        let mut texts = Vec::with_capacity(values.len());
        for (place, value) in values.into_iter().enumerate() {
            match value {
                Value::String(text) => texts.push(text),
                _ => return Err(self.wrong_type(&format!("{name}[{place}]"), "string")),
            }
        }
        Ok(Some(texts))
    }

    fn optional_list(&mut self, name: &str) -> Result<Option<Vec<Value>>, CommandError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(_) => Err(self.wrong_type(name, "array")),
        }
    }

    /// A list of objects that has to be there, each of which `read` takes apart.
    pub fn objects<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Arguments) -> Result<T, CommandError>,
    ) -> Result<Vec<T>, CommandError> {
        let values = self.optional_list(name)?;
        let values = self.required(name, values)?;
        let mut objects = Vec::new();
        for (place, value) in values.into_iter().enumerate() {
            let Value::Object(members) = value else {
                return Err(self.wrong_type(&format!("{name}[{place}]"), "object"));
            };
            let mut arguments = Arguments { members, path: format!("{}{name}[{place}].", self.path) };
            objects.push(read(&mut arguments)?);
            arguments.finish()?;
        }
        Ok(objects)
    }

    /// Says no if something is left.
    pub fn finish(&mut self) -> Result<(), CommandError> {
        match self.members.first() {
            None => Ok(()),
            Some((name, _)) => Err(CommandError::generic(format!("Parameter '{}{name}' is unexpected", self.path))),
        }
    }
}

/// Why a value of several types is none of them.
#[derive(Debug)]
pub enum Unfit {
    /// It should be one of this type.
    Type(&'static str),
    /// It is a word, but not one of those that are known.
    Word(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Incoming, Reader};

    fn arguments(text: &str) -> Arguments {
        match Reader::new().next(&mut text.as_bytes()) {
            Some(Incoming::Value(Value::Object(members))) => Arguments::new(members),
            other => panic!("{other:?}"),
        }
    }

    fn vcpus(text: &str) -> Result<Vec<(i64, bool)>, String> {
        let mut arguments = arguments(text);
        arguments
            .objects("vcpus", |vcpu| Ok((vcpu.integer("logical-id")?, vcpu.bool("online")?)))
            .and_then(|vcpus| arguments.finish().map(|()| vcpus))
            .map_err(|error| error.text().to_owned())
    }

    #[test]
    fn what_is_wrong_is_said_in_qemus_words() {
        for (text, why) in [
            ("{}", "Parameter 'vcpus' is missing"),
            (r#"{"vcpus":5}"#, "Invalid parameter type for 'vcpus', expected: array"),
            (r#"{"vcpus":[5]}"#, "Invalid parameter type for 'vcpus[0]', expected: object"),
            (r#"{"vcpus":[{"logical-id":1}]}"#, "Parameter 'vcpus[0].online' is missing"),
            (
                r#"{"vcpus":[{"logical-id":1.0,"online":true}]}"#,
                "Invalid parameter type for 'vcpus[0].logical-id', expected: integer",
            ),
            (r#"{"vcpus":[{"logical-id":1,"online":true,"x":1}]}"#, "Parameter 'vcpus[0].x' is unexpected"),
            (r#"{"vcpus":[],"x":1}"#, "Parameter 'x' is unexpected"),
        ] {
            assert_eq!(vcpus(text).unwrap_err(), why, "{text}");
        }
        assert_eq!(vcpus(r#"{"vcpus":[{"online":true,"logical-id":3}]}"#).unwrap(), [(3, true)]);
    }

    #[test]
    fn an_integer_beyond_64_bits_with_a_sign_is_none() {
        let error = arguments(r#"{"id":9223372036854775808}"#).integer("id").unwrap_err();
        assert_eq!(error.text(), "Invalid parameter type for 'id', expected: integer");
    }
}
