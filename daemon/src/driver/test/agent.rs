//! The agent of a guest of memory: answers on its channel as qemu-ga does, to the little that it knows.

use std::collections::VecDeque;

use serde_json::Value;

use crate::driver::AGENT_REQUEST_BYTES_MAX;

/// How much of what it was asked waits to be read, as a socket would hold it.
const ASKED_BYTES_MAX: usize = AGENT_REQUEST_BYTES_MAX;
/// It stops answering for a moment when it has said so much.
const SAID_BYTES_MAX: usize = 16 << 10;
/// Begins what has to be found in a stream that may hold anything before it. No JSON has such a byte.
const MARK: u8 = 0xff;
/// What it says to a mark outside of JSON, which it is then ready for.
const STRAY: &str = r#"{"error": {"class": "GenericError", "desc": "JSON parse error, stray '\uFFFD'"}}"#;

/// An agent, its channel and what came over it.
#[derive(Debug)]
pub(super) struct Agent {
    /// It opens its channel, and answers nothing.
    pub(super) hangs: bool,
    /// Whether it has opened its channel.
    pub(super) is_open: bool,
    /// What it was asked and has not read yet.
    asked: VecDeque<u8>,
    /// The request that is being read.
    line: Vec<u8>,
}

impl Agent {
    pub(super) fn new(hangs: bool) -> Self {
        Self { hangs, is_open: false, asked: VecDeque::new(), line: Vec::new() }
    }

    /// Takes all of a request, or nothing.
    pub(super) fn take(&mut self, data: &[u8]) -> bool {
        let taken = self.asked.len() + data.len() <= ASKED_BYTES_MAX;
        if taken {
            self.asked.extend(data);
        }
        taken
    }

    /// Whether it will say something.
    pub(super) fn has_to_answer(&self) -> bool {
        self.is_open && !self.hangs && !self.asked.is_empty()
    }

    /// Reads what it was asked, and answers; not without end at once.
    pub(super) fn answer(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        while said.len() < SAID_BYTES_MAX
            && let Some(byte) = self.asked.pop_front()
        {
            match byte {
                MARK => {
                    self.line.clear();
                    said.extend_from_slice(STRAY.as_bytes());
                    said.push(b'\n');
                }
                b'\n' => self.answer_line(&mut said),
                _ if self.line.len() < ASKED_BYTES_MAX => self.line.push(byte),
                // Longer than any request: it will be answered as what it is, no JSON.
                _ => {}
            }
        }
        said
    }

    /// The guest begins anew: what it had not read is gone.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.hangs);
    }

    fn answer_line(&mut self, said: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        if line.trim_ascii().is_empty() {
            return;
        }
        let Ok(request) = serde_json::from_slice::<Value>(&line) else {
            return say(said, r#""error": {"class": "GenericError", "desc": "Invalid JSON syntax"}"#, &Value::Null);
        };
        let (id, number) = (&request["id"], &request["arguments"]["id"]);
        match request["execute"].as_str() {
            Some("guest-ping") => say(said, r#""return": {}"#, id),
            Some("guest-sync-delimited") if number.is_i64() => {
                said.push(MARK);
                say(said, &format!("\"return\": {number}"), id);
            }
            Some("guest-sync-delimited") => {
                let desc = "Invalid parameter type for 'id', expected: integer";
                say(said, &format!(r#""error": {{"class": "GenericError", "desc": "{desc}"}}"#), id);
            }
            Some(other) => {
                let desc = Value::from(format!("The command {other} has not been found"));
                say(said, &format!(r#""error": {{"class": "CommandNotFound", "desc": {desc}}}"#), id);
            }
            None => {
                let desc = "QMP input lacks member 'execute'";
                say(said, &format!(r#""error": {{"class": "GenericError", "desc": "{desc}"}}"#), id);
            }
        }
    }
}

/// Says a line; the request's own id comes back in it.
fn say(said: &mut Vec<u8>, what: &str, id: &Value) {
    let line = if id.is_null() { format!("{{{what}}}\n") } else { format!("{{{what}, \"id\": {id}}}\n") };
    said.extend_from_slice(line.as_bytes());
}
