//! QEMU's monitor protocol (QMP): lines of JSON, a greeting, commands with an id, their answers in order, and events in
//! between. Pure: bytes in, messages out; commands in, bytes out.
//!
//! ```text
//!             greeting               first command sent          anything that is no QMP
//!  Greeting ───────────▶ Ready ◀──────────────────────▶ Ready   ──────────────────────────▶ failed, and stays so
//! ```
//! QEMU may have been taken over by its guest: what it says is bounded and checked like what any stranger says.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// What a monitor told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Message {
    /// The first line. The monitor takes `qmp_capabilities` now, and after that everything else.
    Greeting {
        /// As in `7.2.22`.
        version: String,
    },
    /// The answer to a command.
    Reply {
        /// The command's id.
        id: u64,
        /// What it returned, or what the monitor said against it.
        result: Result<Value, String>,
    },
    /// Something happened.
    Event {
        /// As in `SHUTDOWN`.
        name: String,
        /// What the event says; null where it says nothing.
        data: Value,
    },
}

/// Why a monitor cannot be spoken with any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MonitorError {
    /// A line is longer than any answer that was asked for.
    LineTooLong(usize),
    /// A line is no JSON object of the protocol.
    Nonsense(String),
    /// Something else came before the greeting, or a greeting behind the first answer.
    Greeting,
    /// The answer to a command that was never sent, or out of order.
    UnknownId,
    /// So many commands have not been answered that something must be wrong.
    Silent,
}

/// One conversation with a monitor.
#[derive(Debug)]
pub(super) struct Monitor {
    line: Vec<u8>,
    line_bytes_max: usize,
    greeted: bool,
    answered: bool,
    asked: VecDeque<u64>,
    messages: VecDeque<Message>,
    outgoing: Vec<u8>,
    failed: Option<MonitorError>,
}

impl Monitor {
    /// Enough for every answer that a guest's monitor is asked for: a list of 255 processors has 50 KB.
    pub(super) const LINE_BYTES_MAX: usize = 256 << 10;
    const ASKED_MAX: usize = 64;

    /// A conversation that waits for the greeting.
    pub(super) fn new(line_bytes_max: usize) -> Self {
        Self {
            line: Vec::new(),
            line_bytes_max,
            greeted: false,
            answered: false,
            asked: VecDeque::new(),
            messages: VecDeque::new(),
            outgoing: Vec::new(),
            failed: None,
        }
    }

    /// Takes what the monitor sent.
    ///
    /// # Errors
    /// It is not what a monitor says; from then on nothing of it is believed.
    pub(super) fn handle_bytes(&mut self, mut bytes: &[u8]) -> Result<(), MonitorError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            self.take(&bytes[..end])?;
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            if let Err(error) = self.handle_line(&line) {
                return Err(self.fail(error));
            }
        }
        self.take(bytes)
    }

    /// Sends a command. Its answer bears the same id. Ids must grow, and be others than those of former conversations.
    ///
    /// # Errors
    /// Too many commands wait for their answers.
    pub(super) fn send(&mut self, id: u64, command: &str, arguments: Option<Value>) -> Result<(), MonitorError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.asked.len() >= Self::ASKED_MAX {
            return Err(self.fail(MonitorError::Silent));
        }
        let mut line = json!({"execute": command, "id": id});
        if let Some(arguments) = arguments {
            line["arguments"] = arguments;
        }
        self.asked.push_back(id);
        self.outgoing.extend_from_slice(line.to_string().as_bytes());
        self.outgoing.push(b'\n');
        Ok(())
    }

    /// What was told, in order.
    pub(super) fn poll_message(&mut self) -> Option<Message> {
        self.messages.pop_front()
    }

    /// What has still to be sent.
    pub(super) fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// The first so many bytes of [`Self::outgoing`] are on their way.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.outgoing.drain(..bytes.min(self.outgoing.len()));
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), MonitorError> {
        if self.line.len() + bytes.len() > self.line_bytes_max {
            return Err(self.fail(MonitorError::LineTooLong(self.line_bytes_max)));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn fail(&mut self, error: MonitorError) -> MonitorError {
        self.line = Vec::new();
        self.failed = Some(error.clone());
        error
    }

    fn handle_line(&mut self, line: &[u8]) -> Result<(), MonitorError> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let line: Line = serde_json::from_slice(line).map_err(|error| MonitorError::Nonsense(error.to_string()))?;
        let message = match line.said()? {
            Said::Greeting(greeting) if !self.greeted => {
                self.greeted = true;
                let Version { major, minor, micro } = greeting.version.qemu;
                Message::Greeting { version: format!("{major}.{minor}.{micro}") }
            }
            // QEMU opens its monitor in one thread and takes the connection that waits in another: about one in three
            // thousand greets twice. It takes commands from the second greeting on, and has answered none before.
            Said::Greeting(_) if !self.answered => return Ok(()),
            Said::Greeting(_) => return Err(MonitorError::Greeting),
            _ if !self.greeted => return Err(MonitorError::Greeting),
            Said::Event(name, data) => Message::Event { name, data },
            Said::Reply(id, result) => return self.handle_reply(id, result),
        };
        self.messages.push_back(message);
        Ok(())
    }

    fn handle_reply(&mut self, id: u64, result: Result<Value, String>) -> Result<(), MonitorError> {
        if self.asked.front() == Some(&id) {
            self.asked.pop_front();
            self.answered = true;
            self.messages.push_back(Message::Reply { id, result });
            return Ok(());
        }
        // QEMU tells what it was at when the former conversation broke off to whoever comes next, behind the greeting.
        if self.answered { Err(MonitorError::UnknownId) } else { Ok(()) }
    }
}

impl fmt::Display for MonitorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineTooLong(most) => write!(f, "the monitor sent a line of more than {most} bytes"),
            Self::Nonsense(why) => write!(f, "the monitor does not speak QMP: {why}"),
            Self::Greeting => write!(f, "the monitor does not begin with one greeting"),
            Self::UnknownId => write!(f, "the monitor answered what it was not asked"),
            Self::Silent => write!(f, "the monitor left {} commands unanswered", Monitor::ASKED_MAX),
        }
    }
}

impl std::error::Error for MonitorError {}

/// What a line may hold. One struct for all: serde would keep what an untagged enum is made of in a tree of its own,
/// which for the list of all devices that QEMU knows is ten times the line.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Greeting>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
    #[serde(rename = "return", default, deserialize_with = "there")]
    value: Option<Value>,
    error: Option<Refusal>,
    id: Option<u64>,
}

/// The things that a monitor says.
enum Said {
    Greeting(Greeting),
    Event(String, Value),
    Reply(u64, Result<Value, String>),
}

impl Line {
    fn said(self) -> Result<Said, MonitorError> {
        match (self.greeting, self.event, self.value, self.error, self.id) {
            (Some(greeting), ..) => Ok(Said::Greeting(greeting)),
            (_, Some(event), ..) => Ok(Said::Event(event, self.data)),
            (_, _, Some(value), _, Some(id)) => Ok(Said::Reply(id, Ok(value))),
            (_, _, _, Some(error), Some(id)) => Ok(Said::Reply(id, Err(error.desc))),
            _ => Err(MonitorError::Nonsense("an object that says nothing".to_owned())),
        }
    }
}

/// A value that is there, null as well.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Greeting {
    version: Versions,
}

#[derive(Deserialize)]
struct Versions {
    qemu: Version,
}

#[derive(Deserialize)]
struct Version {
    major: u32,
    minor: u32,
    micro: u32,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GREETING: &str = concat!(
        r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "#,
        r#""capabilities": ["oob"]}}"#,
        "\r\n"
    );

    fn greeted() -> Monitor {
        let mut monitor = Monitor::new(Monitor::LINE_BYTES_MAX);
        monitor.handle_bytes(GREETING.as_bytes()).unwrap();
        assert_eq!(monitor.poll_message(), Some(Message::Greeting { version: "7.2.22".to_owned() }));
        monitor
    }

    #[test]
    fn a_command_bears_an_id_and_its_answer_the_same() {
        let mut monitor = greeted();
        monitor.send(1, "qmp_capabilities", None).unwrap();
        monitor.send(2, "qom-set", Some(json!({"path": "/machine", "value": "a\n"}))).unwrap();
        assert_eq!(
            std::str::from_utf8(monitor.outgoing()).unwrap(),
            "{\"execute\":\"qmp_capabilities\",\"id\":1}\n\
             {\"arguments\":{\"path\":\"/machine\",\"value\":\"a\\n\"},\"execute\":\"qom-set\",\"id\":2}\n"
        );
        let sent = monitor.outgoing().len();
        monitor.sent(sent);
        assert!(monitor.outgoing().is_empty());
        monitor
            .handle_bytes(b"{\"return\": {}, \"id\": 1}\r\n{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, ")
            .unwrap();
        monitor
            .handle_bytes(b"\"event\": \"RESUME\"}\n{\"id\": 2, \"error\": {\"class\": \"X\", \"desc\": \"no\"}}\n")
            .unwrap();
        assert_eq!(monitor.poll_message(), Some(Message::Reply { id: 1, result: Ok(json!({})) }));
        assert_eq!(monitor.poll_message(), Some(Message::Event { name: "RESUME".to_owned(), data: Value::Null }));
        assert_eq!(monitor.poll_message(), Some(Message::Reply { id: 2, result: Err("no".to_owned()) }));
        assert_eq!(monitor.poll_message(), None);
    }

    #[test]
    fn what_no_monitor_says_is_an_error_and_stays_one() {
        let long = "x".repeat(Monitor::LINE_BYTES_MAX + 1);
        let deep = format!("{}\n", "[".repeat(60_000));
        for (greeted_before, bytes, error) in [
            (false, "hello\n", "nonsense"),
            (false, "{}\n", "nonsense"),
            (false, "[]\n", "nonsense"),
            (false, "{\"QMP\": 1}\n", "nonsense"),
            (false, "{\"event\": \"STOP\"}\n", "greeting"),
            (true, "{\"return\": {}}\n", "nonsense"),
            (true, "{\"return\": {}, \"id\": \"1\"}\n", "nonsense"),
            (true, "\u{0}\n", "nonsense"),
            (true, long.as_str(), "long"),
            (true, deep.as_str(), "nonsense"),
        ] {
            let mut monitor = if greeted_before { greeted() } else { Monitor::new(Monitor::LINE_BYTES_MAX) };
            let told = monitor.handle_bytes(bytes.as_bytes()).unwrap_err();
            let kind = match &told {
                MonitorError::LineTooLong(_) => "long",
                MonitorError::Nonsense(_) => "nonsense",
                MonitorError::Greeting => "greeting",
                MonitorError::UnknownId => "id",
                MonitorError::Silent => "silent",
            };
            assert_eq!(kind, error, "{told}");
            assert_eq!(monitor.handle_bytes(GREETING.as_bytes()), Err(told.clone()));
            assert_eq!(monitor.send(1, "stop", None), Err(told));
            assert_eq!(monitor.poll_message(), None);
        }
    }

    #[test]
    fn an_answer_of_null_is_an_answer() {
        let mut monitor = greeted();
        monitor.send(1, "qmp_capabilities", None).unwrap();
        monitor.handle_bytes(b"{\"return\": null, \"id\": 1}\n").unwrap();
        assert_eq!(monitor.poll_message(), Some(Message::Reply { id: 1, result: Ok(Value::Null) }));
    }

    #[test]
    fn a_second_greeting_counts_for_nothing_until_something_was_answered() {
        let mut monitor = greeted();
        monitor.handle_bytes(GREETING.as_bytes()).unwrap();
        monitor.send(1, "qmp_capabilities", None).unwrap();
        monitor.handle_bytes(GREETING.as_bytes()).unwrap();
        assert_eq!(monitor.poll_message(), None);
        monitor.handle_bytes(b"{\"return\": {}, \"id\": 1}\n").unwrap();
        assert_eq!(monitor.handle_bytes(GREETING.as_bytes()), Err(MonitorError::Greeting));
    }

    #[test]
    fn answers_come_in_the_order_of_the_commands() {
        let mut monitor = greeted();
        monitor.send(1, "qmp_capabilities", None).unwrap();
        monitor.handle_bytes(b"{\"return\": {}, \"id\": 1}\n").unwrap();
        monitor.send(2, "stop", None).unwrap();
        monitor.send(3, "cont", None).unwrap();
        let failed = Err(MonitorError::UnknownId);
        assert_eq!(monitor.handle_bytes(b"{\"return\": {}, \"id\": 3}\n"), failed);
        assert_eq!(monitor.handle_bytes(GREETING.as_bytes()), failed);
        assert_eq!(monitor.send(4, "stop", None), failed);
    }

    /// One in thirty guests was lost whose daemon was killed while it started them.
    #[test]
    fn what_a_former_conversation_asked_is_nobodys_answer() {
        let mut monitor = greeted();
        monitor.handle_bytes(b"{\"return\": {\"status\": \"running\"}, \"id\": 5}\n").unwrap();
        monitor.send(77, "qmp_capabilities", None).unwrap();
        monitor.handle_bytes(b"{\"id\": 6, \"error\": {\"class\": \"X\", \"desc\": \"no\"}}\n").unwrap();
        assert_eq!(monitor.poll_message(), None);
        monitor.handle_bytes(b"{\"return\": {}, \"id\": 77}\n").unwrap();
        assert_eq!(monitor.poll_message(), Some(Message::Reply { id: 77, result: Ok(json!({})) }));
        assert_eq!(monitor.handle_bytes(b"{\"return\": {}, \"id\": 5}\n"), Err(MonitorError::UnknownId));
    }

    #[test]
    fn a_monitor_that_answers_nothing_is_given_up() {
        let mut monitor = greeted();
        for id in 0..64 {
            monitor.send(id, "query-status", None).unwrap();
        }
        assert_eq!(monitor.send(64, "query-status", None), Err(MonitorError::Silent));
    }

    proptest! {
        #[test]
        fn any_cutting_of_the_bytes_gives_the_same_messages(cuts in proptest::collection::vec(0..400_usize, 0..12)) {
            let text = format!(
                "{GREETING}{{\"event\": \"STOP\", \"data\": {{\"a\": [1]}}}}\n\r\n{{\"return\": \"ü\", \"id\": 1}}\n"
            );
            let all = |cuts: &[usize]| {
                let mut monitor = Monitor::new(Monitor::LINE_BYTES_MAX);
                let mut at = 0;
                let mut messages = Vec::new();
                for cut in cuts.iter().copied().chain([text.len()]) {
                    let end = cut.clamp(at, text.len());
                    if !messages.is_empty() && monitor.asked.is_empty() {
                        monitor.send(1, "stop", None).unwrap();
                    }
                    monitor.handle_bytes(&text.as_bytes()[at..end]).unwrap();
                    at = end;
                    messages.extend(std::iter::from_fn(|| monitor.poll_message()));
                }
                messages
            };
            let mut cuts = cuts;
            cuts.push(GREETING.len());
            cuts.sort_unstable();
            prop_assert_eq!(all(&cuts), all(&[GREETING.len()]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), greet: bool) {
            let mut monitor = if greet { greeted() } else { Monitor::new(256) };
            let _ = monitor.handle_bytes(&bytes);
        }
    }
}
