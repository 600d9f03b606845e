//! What is said with a guest's agent over its one channel, in the words of QEMU's guest agent protocol. Pure: bytes and
//! time in, bytes and answers out. It asks one thing, whether the agent is there, and whoever asks meanwhile shares what
//! the next request brings.
//!
//! ```text
//!               asked ▶ FF, sync          its number behind FF
//!   OutOfStep ──────────────────▶ Syncing ────────────────────▶ InStep ◀──────────────┐
//!    ▲  ▲                         │  ▲  ▲ no answer: another      │ asked ▶ request   │ reply of its id
//!    │  │ channel opened, closed  │  │  └──────────────┐          ▼                   │
//!    │  └─────────────────────────┘  │ no answer ▶ FF, sync     Waiting ──────────────┘
//!    │                               └────────────────┴───────────┤
//!    └── anything unasked (in step), nonsense for the second time ┘
//! ```
//! Nothing tells a new conversation on the channel from the former one: half a request of before, or an answer that
//! nobody has read, may stand in it. So nothing is believed before the agent has repeated a number that it cannot have
//! been sent before, behind a byte that no JSON has. From then on a line is believed that bears the id of the one request
//! under way. While that is so, no further number is needed: whatever could make it untrue (another agent, a reset, time)
//! shows as an event of the channel, as bytes that nobody asked for, or as silence, and each of these ends it.
//!
//! The guest may be anybody's: what it says costs a few looks at each byte and at most [`LINE_BYTES_MAX`] of memory. A line is
//! parsed only where it has the number that was drawn for it or a request is under way, and whatever is wrong with one of
//! the latter ends that: so a flood of lines costs no more than one of bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The longest line that is read: no answer asked for is longer.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// How long an answer is waited for before it is asked again behind a new number; twice as long each further time.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The longest that it gets.
const PATIENCE_MAX: Duration = Duration::from_secs(80);
/// Makes an agent forget what it has half read, and stands before its answer to a sync. No JSON has such a byte.
const MARK: u8 = 0xff;
/// Numbers are from here on and fit an `i64`, so that each has as many digits as any other.
const NUMBER_MIN: u64 = 1 << 62;
/// That many.
const NUMBER_DIGITS: usize = 19;

/// What is known of the guest's end of an agent's channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Port {
    /// Nobody has told.
    #[default]
    Unknown,
    /// Nobody listens.
    Closed,
    /// Somebody has opened it.
    Open,
}

/// Where numbers come from. Agents must not be able to have seen one before.
pub type Draw<'a> = &'a mut dyn FnMut() -> u64;

/// The end of a request: at most one each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which request. It answers whoever asked before it was sent: all to whom [`Lane::ask`] said this number or a lower.
    pub request: u64,
    /// What came of it.
    pub result: Result<(), AgentError>,
}

/// What an agent had against a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentError {
    /// It said so.
    Refused {
        /// `GenericError`, `CommandNotFound`.
        class: String,
        /// In its words.
        desc: String,
    },
    /// What it says is no answer.
    Nonsense(&'static str),
}

/// The conversation with one agent.
///
/// Invariant: `more` only if `waits`, and never in step; `line` is empty but while a line is being read.
#[derive(Debug)]
pub struct Lane {
    state: State,
    line: Vec<u8>,
    /// How many requests were sent.
    sent: u64,
    /// Somebody waits for an answer.
    waits: bool,
    /// A request is to be sent as soon as it can be.
    more: bool,
    /// What came last was not believed, and is being asked for again.
    again: bool,
    patience: Duration,
    outgoing: Vec<u8>,
    answers: VecDeque<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// What comes means nothing.
    OutOfStep,
    /// The agent is to repeat a number.
    Syncing { number: u64, until: Instant, behind_mark: bool },
    /// What comes was not asked for.
    InStep,
    /// The agent is to answer the request of this id.
    Waiting { id: u64, until: Instant },
}

impl Lane {
    /// A conversation that has not begun.
    pub fn new() -> Self {
        Self {
            state: State::OutOfStep,
            line: Vec::new(),
            sent: 0,
            waits: false,
            more: false,
            again: false,
            patience: PATIENCE,
            outgoing: Vec::new(),
            answers: VecDeque::new(),
        }
    }

    /// Somebody wants to know whether the agent is there. Says which request will tell: one that is not sent yet, for an
    /// answer that is under way already proves nothing about now.
    pub fn ask(&mut self, now: Instant, draw: Draw<'_>) -> u64 {
        let request = self.sent + 1;
        self.waits = true;
        self.more = true;
        match self.state {
            State::OutOfStep => self.sync(now, draw),
            State::InStep => self.request(now, draw),
            State::Syncing { until, .. } | State::Waiting { until, .. } if until <= now => self.sync_anew(now, draw),
            State::Syncing { .. } | State::Waiting { .. } => {}
        }
        request
    }

    /// Nobody waits any more. What was sent may still be answered, and is then known to be answered.
    pub fn nobody_waits(&mut self) {
        self.waits = false;
        self.more = false;
        self.again = false;
    }

    /// Something happened after which nothing that comes belongs to what was asked: the channel was closed, the guest was
    /// reset. Who waits goes on doing so.
    pub fn fall_out(&mut self) {
        self.state = State::OutOfStep;
        self.line = Vec::new();
        self.more = self.waits;
        self.again = false;
        self.patience = PATIENCE;
    }

    /// The channel was opened, by an agent that has heard nothing yet.
    pub fn begin_anew(&mut self, now: Instant, draw: Draw<'_>) {
        self.fall_out();
        if self.waits {
            self.sync(now, draw);
        }
    }

    /// The guest wrote to the channel.
    pub fn handle_bytes(&mut self, mut bytes: &[u8], now: Instant, draw: Draw<'_>) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::OutOfStep => return,
                State::InStep => return self.fall_out(),
                State::Syncing { .. } => self.look_for_number(bytes, now, draw),
                State::Waiting { .. } => self.read(bytes, now, draw),
            };
        }
    }

    /// Time has passed; called when [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant, draw: Draw<'_>) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.more = true;
            self.sync_anew(now, draw);
        }
    }

    /// When the answer that is waited for is late.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Syncing { until, .. } | State::Waiting { until, .. } if self.waits => Some(until),
            _ => None,
        }
    }

    /// Takes what is to be sent: all of it or nothing.
    pub fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// Takes the next answer.
    pub fn poll_answer(&mut self) -> Option<Answer> {
        self.answers.pop_front()
    }

    fn sync(&mut self, now: Instant, draw: Draw<'_>) {
        let number = number(draw);
        self.line = Vec::new();
        self.state = State::Syncing { number, until: now + self.patience, behind_mark: false };
        self.outgoing.push(MARK);
        let request = format!(r#"{{"execute":"guest-sync-delimited","arguments":{{"id":{number}}}}}"#);
        self.outgoing.extend_from_slice(request.as_bytes());
        self.outgoing.push(b'\n');
    }

    /// The same after silence. An agent that is only slow gets ever longer, or it would never answer the newest number.
    fn sync_anew(&mut self, now: Instant, draw: Draw<'_>) {
        self.patience = (self.patience * 2).min(PATIENCE_MAX);
        self.sync(now, draw);
    }

    fn request(&mut self, now: Instant, draw: Draw<'_>) {
        let id = number(draw);
        self.more = false;
        self.sent += 1;
        self.state = State::Waiting { id, until: now + self.patience };
        self.outgoing.extend_from_slice(format!(r#"{{"execute":"guest-ping","id":{id}}}"#).as_bytes());
        self.outgoing.push(b'\n');
    }

    /// Throws away what is not the number behind the mark. Answers what stands behind it.
    fn look_for_number<'b>(&mut self, bytes: &'b [u8], now: Instant, draw: Draw<'_>) -> &'b [u8] {
        let State::Syncing { number, behind_mark, .. } = &mut self.state else { return bytes };
        if !*behind_mark {
            let Some(mark) = bytes.iter().position(|byte| *byte == MARK) else { return &[] };
            *behind_mark = true;
            return &bytes[mark + 1..];
        }
        let end = bytes.iter().position(|byte| matches!(*byte, MARK | b'\n'));
        let piece = &bytes[..end.unwrap_or(bytes.len())];
        if self.line.len() + piece.len() > SYNC_BYTES_MAX {
            self.line.clear();
            *behind_mark = false;
            return &bytes[piece.len()..];
        }
        let Some(end) = end else {
            self.line.extend_from_slice(piece);
            return &[];
        };
        if bytes[end] == b'\n' {
            *behind_mark = false;
            let is_it = if self.line.is_empty() {
                repeats(piece, *number)
            } else {
                self.line.extend_from_slice(piece);
                repeats(&self.line, *number)
            };
            self.line.clear();
            if is_it {
                self.state = State::InStep;
                if self.more {
                    self.request(now, draw);
                }
            }
        } else {
            self.line.clear();
        }
        &bytes[end + 1..]
    }

    /// Reads on in the line that is to be the reply. Answers what stands behind it, or behind what was read of it.
    fn read<'b>(&mut self, bytes: &'b [u8], now: Instant, draw: Draw<'_>) -> &'b [u8] {
        let State::Waiting { id, .. } = self.state else { return bytes };
        let room = LINE_BYTES_MAX - self.line.len();
        let Some(end) = bytes.iter().take(room + 1).position(|byte| *byte == b'\n') else {
            if bytes.len() > room {
                self.disbelieve("a line that is too long", now, draw);
                return &bytes[room..];
            }
            self.line.extend_from_slice(bytes);
            return &[];
        };
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(&bytes[..end]);
        match reply(&line, id) {
            Ok(result) => {
                self.again = false;
                self.state = State::InStep;
                self.patience = PATIENCE;
                self.answer(result);
                if self.more {
                    self.request(now, draw);
                }
            }
            Err(why) => self.disbelieve(why, now, draw),
        }
        &bytes[end + 1..]
    }

    /// What came is no reply. It may be left over from what was there before without anybody having noticed: so it is asked
    /// once more, behind a number.
    fn disbelieve(&mut self, why: &'static str, now: Instant, draw: Draw<'_>) {
        self.state = State::OutOfStep;
        self.line = Vec::new();
        if self.waits && !self.again {
            self.again = true;
            self.more = true;
        } else {
            self.again = false;
            self.answer(Err(AgentError::Nonsense(why)));
        }
        if self.more {
            self.sync(now, draw);
        }
    }

    fn answer(&mut self, result: Result<(), AgentError>) {
        if std::mem::replace(&mut self.waits, self.more) {
            self.answers.push_back(Answer { request: self.sent, result });
        }
    }
}

impl Default for Lane {
    fn default() -> Self {
        Self::new()
    }
}

/// More than the answer to a sync has.
const SYNC_BYTES_MAX: usize = 256;

fn number(draw: Draw<'_>) -> u64 {
    NUMBER_MIN | (draw() >> 2)
}

/// The answer to a sync.
#[derive(Deserialize)]
struct Repeated {
    #[serde(rename = "return")]
    number: u64,
}

/// Whether an agent repeated this number in this line. Guests may write tens of thousands of others in a turn: what does not
/// have its digits is not parsed.
fn repeats(line: &[u8], number: u64) -> bool {
    has_digits(line, number)
        && object(line)
            .and_then(|line| serde_json::from_slice::<Repeated>(line).ok())
            .is_some_and(|repeated| repeated.number == number)
}

/// Whether the digits of this number stand in the line, by themselves.
fn has_digits(line: &[u8], number: u64) -> bool {
    let mut runs = line.split(|byte| !byte.is_ascii_digit()).filter(|run| run.len() == NUMBER_DIGITS);
    runs.any(|run| run.iter().fold(0, |sum: u64, digit| sum * 10 + u64::from(digit - b'0')) == number)
}

/// What a reply may hold. What it returns is looked at no closer, and not kept.
#[derive(Deserialize)]
struct Reply {
    #[serde(rename = "return")]
    returned: Option<IgnoredAny>,
    error: Option<Refusal>,
    id: Option<u64>,
}

#[derive(Deserialize)]
struct Refusal {
    class: String,
    desc: String,
}

/// What a line says as the reply to the request of that id, or why it is none.
fn reply(line: &[u8], id: u64) -> Result<Result<(), AgentError>, &'static str> {
    let line = object(line).ok_or("what is no JSON object")?;
    let reply: Reply = serde_json::from_slice(line).map_err(|_| "what is no reply")?;
    if reply.id != Some(id) {
        return Err("a reply to something else");
    }
    match (reply.returned, reply.error) {
        (Some(_), None) => Ok(Ok(())),
        (None, Some(Refusal { class, desc })) => Ok(Err(AgentError::Refused { class, desc })),
        _ => Err("what is no reply"),
    }
}

/// A line that begins as an object does: serde reads a list as a struct, too.
fn object(line: &[u8]) -> Option<&[u8]> {
    Some(line.trim_ascii()).filter(|line| line.first() == Some(&b'{'))
}

#[cfg(test)]
mod tests;
