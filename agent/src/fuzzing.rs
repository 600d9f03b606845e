//! What the fuzz targets call, and a test with bytes of its own making: an agent that may do nothing but answer is shown a stream,
//! and everything that it answers is judged.

use std::time::Instant;

use crate::agent::{Agent, Outcome, Settings};
use crate::dispatch::Reply;
use crate::json::{Incoming, Reader, Value};
use crate::log::Log;
use crate::state::State;

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

/// The lines that such an agent answers to a stream that is cut into these pieces.
///
/// # Panics
/// Something is answered twice, or not at all.
#[must_use]
pub fn answers(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let settings = Settings { allowed: HARMLESS.map(str::to_owned).to_vec(), ..Settings::default() };
    let mut log = Log::default();
    log.set_quiet(true);
    let mut agent = Agent::new(settings, log, State::nowhere());
    let mut reader = Reader::new();
    let mut lines = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(incoming) = reader.next(&mut input) {
            let (id, reply) = match incoming {
                Incoming::Refused(refusal) => (None, Reply::from(&refusal)),
                Incoming::Value(value) => match agent.handle(value, Instant::now()) {
                    (id, Outcome::Reply(reply)) => (id, reply),
                    (_, Outcome::Task(task)) => panic!("a harmless command wants to run {task:?}"),
                },
            };
            lines.push(reply.into_line(id));
        }
        assert!(input.is_empty(), "bytes are left that nobody looked at");
    }
    lines
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

/// What an answer is made of, judged on the way.
fn shape(line: &[u8]) -> (bool, Option<Value>) {
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
    (delimited, answer.member("id").cloned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A request of its own number, or something else.
    #[derive(Debug, Clone)]
    enum Piece {
        Request { after_reset: bool },
        Bytes(Vec<u8>),
    }

    fn piece() -> impl Strategy<Value = Piece> {
        let some = prop_oneof![
            Just(&b"\n"[..]),
            Just(&b"{"[..]),
            Just(&b"}"[..]),
            Just(&b"]"[..]),
            Just(&b"{\"execute\":\"guest-ping\",\"id\":\""[..]),
            Just(&b"{\"execute\":\"guest-exec\",\"arguments\":{\"path\":\"true\"}}"[..]),
            Just(&b"[[1,"[..]),
            Just(&b"'"[..]),
            Just(&b"\\"[..]),
            Just(&b"nul"[..]),
            Just(&b"\xff"[..]),
        ];
        prop_oneof![
            3 => any::<bool>().prop_map(|after_reset| Piece::Request { after_reset }),
            3 => some.prop_map(|bytes| Piece::Bytes(bytes.to_vec())),
            1 => proptest::collection::vec(any::<u8>(), 0..5).prop_map(Piece::Bytes),
        ]
    }

    proptest! {
        #[test]
        fn a_request_is_answered_once_or_what_stood_before_it_was_no_reset(pieces in proptest::collection::vec(piece(), 0..12)) {
            let mut bytes = Vec::new();
            for (number, piece) in pieces.iter().enumerate() {
                match piece {
                    Piece::Request { after_reset } => {
                        if *after_reset {
                            bytes.push(0xff);
                        }
                        bytes.extend_from_slice(format!("{{\"execute\":\"guest-ping\",\"id\":\"number {number}\"}}\n").as_bytes());
                    }
                    Piece::Bytes(more) => bytes.extend_from_slice(more),
                }
            }
            stream(&bytes);
            let lines = answers(&[&bytes]);
            for (number, piece) in pieces.iter().enumerate() {
                let id = Some(Value::from(format!("number {number}")));
                let count = lines.iter().filter(|line| shape(line).1 == id).count();
                match piece {
                    Piece::Request { after_reset: true } => prop_assert_eq!(count, 1, "number {}", number),
                    Piece::Request { after_reset: false } => prop_assert!(count <= 1, "number {}", number),
                    Piece::Bytes(_) => prop_assert_eq!(count, 0),
                }
            }
        }
    }
}
