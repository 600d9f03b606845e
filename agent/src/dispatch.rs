//! From a value to the command that it asks for, and from what came of it to the line that is answered. Each value is answered once,
//! but for the success of a command that says nothing then.

use crate::error::CommandError;
use crate::json::{Refusal, Value, write};

/// The byte before the answer to `guest-sync-delimited`, which is in no text.
const SENTINEL: u8 = 0xff;
/// What an answer ends with.
const END: &[u8] = b"}\n";

/// What a value asks for.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// What the answer has to carry.
    pub id: Option<Value>,
    /// The command and its arguments, or why there is none.
    pub call: Result<Call, CommandError>,
}

/// A command by name, with its arguments.
#[derive(Debug, PartialEq)]
pub struct Call {
    /// The name.
    pub command: String,
    /// The arguments, none if there were none.
    pub arguments: Vec<(String, Value)>,
}

impl Request {
    /// Takes a value apart.
    pub fn new(value: Value) -> Request {
        let Value::Object(members) = value else {
            let call = Err(CommandError::generic("QMP input must be a JSON object"));
            return Request { id: None, call };
        };
        let mut id = None;
        let mut command = Ok(None);
        let mut arguments = Ok(Vec::new());
        let mut unexpected = None;
        for (key, value) in members {
            match (key.as_str(), value) {
                ("id", value) => id = Some(value),
                ("execute", Value::String(name)) => command = Ok(Some(name)),
                ("execute", _) => command = Err(CommandError::generic("QMP input member 'execute' must be a string")),
                ("arguments", Value::Object(members)) => arguments = Ok(members),
                ("arguments", _) => {
                    arguments = Err(CommandError::generic("QMP input member 'arguments' must be an object"));
                }
                _ => {
                    unexpected.get_or_insert_with(|| {
                        CommandError::generic(format!("QMP input member '{key}' is unexpected"))
                    });
                }
            }
        }
        let call = match (unexpected, command, arguments) {
            (Some(error), ..) | (None, Err(error), _) | (None, Ok(_), Err(error)) => Err(error),
            (None, Ok(None), Ok(_)) => Err(CommandError::generic("QMP input lacks member 'execute'")),
            (None, Ok(Some(command)), Ok(arguments)) => Ok(Call { command, arguments }),
        };
        Request { id, call }
    }
}

/// What came of a command.
#[derive(Debug, PartialEq)]
pub enum Reply {
    /// It returned this.
    Return(Value),
    /// It returned this, and whoever looks for FF may begin here.
    Delimited(Value),
    /// A child of ours said this.
    Told(Told),
    /// It was done, and that is not answered.
    Silence,
    /// It was not done.
    Error(CommandError),
}

/// The line of an answer without an id, as a child of ours wrote it.
#[derive(Debug, PartialEq)]
pub struct Told(Vec<u8>);

impl Told {
    /// `None` if it is none, or not all of one.
    pub fn new(line: Vec<u8>) -> Option<Told> {
        let is_answer = line.starts_with(b"{\"return\": ") || line.starts_with(b"{\"error\": ");
        (is_answer && line.ends_with(END)).then_some(Told(line))
    }
}

impl From<Result<Value, CommandError>> for Reply {
    fn from(result: Result<Value, CommandError>) -> Reply {
        match result {
            Ok(value) => Reply::Return(value),
            Err(error) => Reply::Error(error),
        }
    }
}

impl From<&Refusal> for Reply {
    fn from(refusal: &Refusal) -> Reply {
        Reply::Error(CommandError::generic(refusal.to_string()))
    }
}

impl Reply {
    /// The line that is sent, with its end.
    pub fn into_line(self, id: Option<Value>) -> Vec<u8> {
        let mut line = Vec::new();
        let (key, value) = match self {
            Reply::Silence => return line,
            Reply::Told(Told(mut line)) => {
                let Some(id) = id else { return line };
                line.truncate(line.len() - END.len());
                let mut text = String::from(", \"id\": ");
                write(&id, &mut text);
                line.extend_from_slice(text.as_bytes());
                line.extend_from_slice(END);
                return line;
            }
            Reply::Return(value) => ("return", value),
            Reply::Delimited(value) => {
                line.push(SENTINEL);
                ("return", value)
            }
            Reply::Error(error) => ("error", error.to_value()),
        };
        let mut text = String::new();
        write(&Value::object_of([(key, Some(value)), ("id", id)]), &mut text);
        text.push('\n');
        if line.is_empty() {
            return text.into_bytes();
        }
        line.extend_from_slice(text.as_bytes());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Incoming, Reader};

    fn request(text: &str) -> Request {
        let text = format!("{text} ");
        match Reader::new().next(&mut text.as_bytes()) {
            Some(Incoming::Value(value)) => Request::new(value),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_request_is_refused_in_qemus_words_with_its_id() {
        for (text, id, why) in [
            ("[]", None, "QMP input must be a JSON object"),
            ("5", None, "QMP input must be a JSON object"),
            ("{}", None, "QMP input lacks member 'execute'"),
            (r#"{"id":7}"#, Some(Value::Integer(7)), "QMP input lacks member 'execute'"),
            (r#"{"execute":5,"id":null}"#, Some(Value::Null), "QMP input member 'execute' must be a string"),
            (r#"{"execute":"a","arguments":[]}"#, None, "QMP input member 'arguments' must be an object"),
            (r#"{"exec-oob":"a","id":"x"}"#, Some("x".into()), "QMP input member 'exec-oob' is unexpected"),
        ] {
            let request = request(text);
            assert_eq!(request.id, id, "{text}");
            assert_eq!(request.call.unwrap_err().text(), why, "{text}");
        }
    }

    #[test]
    fn the_sentinel_stands_before_a_delimited_answer_only() {
        assert_eq!(
            Reply::Delimited(Value::Integer(5)).into_line(Some(8_i64.into())),
            b"\xff{\"return\": 5, \"id\": 8}\n"
        );
        assert_eq!(Reply::Return(Value::empty()).into_line(None), b"{\"return\": {}}\n");
        assert_eq!(
            Reply::Error(CommandError::generic("no")).into_line(Some(Value::Null)),
            br#"{"error": {"class": "GenericError", "desc": "no"}, "id": null}"#.iter().chain(b"\n").copied().collect::<Vec<u8>>(),
        );
        assert!(Reply::Silence.into_line(Some(Value::Null)).is_empty());
    }

    #[test]
    fn what_a_child_said_is_answered_as_it_is_but_for_the_id() {
        for reply in [Ok(Value::object([("a", "}\n".into())])), Err(CommandError::generic("no"))] {
            for id in [None, Some(Value::Null), Some("x".into())] {
                let line = match reply.clone() {
                    Ok(value) => Reply::Return(value),
                    Err(error) => Reply::Error(error),
                }
                .into_line(None);
                let told = Told::new(line.clone()).unwrap();
                assert_eq!(Reply::Told(told).into_line(id.clone()), Reply::from(reply.clone()).into_line(id));
                for end in 0..line.len() {
                    assert_eq!(Told::new(line[..end].to_vec()), None, "an answer that was cut");
                }
            }
        }
        assert_eq!(Told::new(b"something else}\n".to_vec()), None);
    }
}
