//! What the fuzz targets call, and a test with bytes of its own making: an agent that may do nothing but answer is shown a stream,
//! and everything that it answers is judged.

use std::time::Instant;

use crate::agent::{Agent, Outcome, Settings};
use crate::dispatch::Reply;
use crate::json::{Incoming, Reader, Value};
use crate::log::Log;
use crate::state::State;

mod script;

pub use script::requests;

/// Commands that change nothing, so that any bytes may ask for them.
const HARMLESS: [&str; 9] = [
    "guest-sync",
    "guest-sync-delimited",
    "guest-ping",
    "guest-info",
    "guest-get-time",
    "request-negotiation",
    "qmp_capabilities",
    "guest-set-support-level",
    "guest-client-disconnected",
];

/// An agent that is shown a stream.
struct Stream {
    agent: Agent,
    reader: Reader,
}

impl Stream {
    fn new() -> Stream {
        let settings = Settings { allowed: HARMLESS.map(str::to_owned).to_vec(), ..Settings::default() };
        let mut log = Log::default();
        log.set_quiet(true);
        Stream { agent: Agent::new(settings, log, State::nowhere()), reader: Reader::new() }
    }

    /// The lines that are answered to the next piece of it.
    fn answers(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        let mut input = piece;
        let mut lines = Vec::new();
        while let Some(incoming) = self.reader.next(&mut input) {
            let (id, reply) = match incoming {
                Incoming::Refused(refusal) => (None, Reply::from(&refusal)),
                Incoming::Value(value) => match self.agent.handle(value, Instant::now()) {
                    (id, Outcome::Reply(reply)) => (id, reply),
                    (_, Outcome::Task(task)) => panic!("a harmless command wants to run {task:?}"),
                },
            };
            lines.push(reply.into_line(id));
        }
        assert!(input.is_empty(), "bytes are left that nobody looked at");
        lines
    }
}

/// The lines that such an agent answers to a stream that is cut into these pieces.
fn answers(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut stream = Stream::new();
    pieces.iter().flat_map(|piece| stream.answers(piece)).collect()
}

/// Shows an agent these bytes, and judges what it answers: each answer is one line of JSON in plain ASCII, the same however the bytes
/// are cut, and whatever they were, who sends FF and asks is answered.
///
/// # Panics
/// One of these does not hold.
pub fn stream(bytes: &[u8]) {
    let whole = answers(&[bytes]);
    let halves = bytes.split_at(bytes.len() / 2);
    let without_times = |lines: &[Vec<u8>]| lines.iter().map(|line| shape(line)).collect::<Vec<_>>();
    assert_eq!(
        without_times(&whole),
        without_times(&answers(&[halves.0, halves.1])),
        "cutting changes what is answered"
    );

    let sync = b"\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":4711}}\n";
    let then = answers(&[bytes, sync]);
    assert_eq!(then.last().map(Vec::as_slice), Some(&b"\xff{\"return\": 4711}\n"[..]), "who resets is not answered");
}

/// What an answer is made of, judged on the way: whether a byte stands before it, its id, whether it is an error.
fn shape(line: &[u8]) -> (bool, Option<Value>, bool) {
    let (delimited, text) = match line.strip_prefix(b"\xff") {
        Some(text) => (true, text),
        None => (false, line),
    };
    assert!(
        text.ends_with(b"\n") && text[..text.len() - 1].iter().all(|byte| (0x20..0x7f).contains(byte)),
        "no line of ASCII"
    );
    let mut rest = text;
    let Some(Incoming::Value(answer)) = Reader::new().next(&mut rest) else {
        panic!("no JSON: {}", text.escape_ascii())
    };
    assert!(answer.member("return").is_some() != answer.member("error").is_some(), "neither returned nor refused");
    (delimited, answer.member("id").cloned(), answer.member("error").is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_was_sent_who_resets_and_asks_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            stream(&bytes);
        }
    }
}
