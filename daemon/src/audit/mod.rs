//! The audit: who came and went, who asked for what, and what became of it, one line of JSON each. `docs/audit.md` has the
//! format, whose keys are an interface.
//!
//! ```text
//!   dispatch ──▶ is it told at this level? ──▶ a line ──▶ lines that wait ──▶ file helper ──▶ audit.jsonl
//!                 (one comparison a call)                  at once, or within 200 ms
//! ```
//! Pure: it is told what happened and asked for what is to be written. Nothing waits for a disk; what finds no room or no
//! disk is counted, and a line says how much that was. No body is ever printed here: a line has what the callers name.

mod budget;
mod line;
mod lines;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use log::{error, info};
use uuid::Uuid;
use vmwire_protocol::message::{Failure, Procedure, code, number, role};

use self::budget::Budget;
use self::line::Line;
use self::lines::{Lines, Records};
use crate::driver::{FileAnswer, FileRequest, FileTicket};
use crate::event_loop::Now;

/// How long lines that nobody is in a hurry for may wait for others to be written with.
const DELAY: Duration = Duration::from_millis(200);

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Who comes and goes, what changes something, and what is refused.
    Changes,
    /// Every call.
    All,
}

/// What is told, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file. Absolute.
    pub path: PathBuf,
    /// What is told.
    pub level: Level,
    /// Length of the file at which a new one is begun.
    pub rotate_bytes: u64,
    /// How many old files are kept.
    pub keep: u32,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'a> {
    /// The connection's number.
    pub(crate) connection: u64,
    /// As in `unix`.
    pub(crate) transport: &'static str,
    /// In words.
    pub(crate) identity: &'a str,
    /// Where it comes from, if its identity does not say so.
    pub(crate) address: Option<SocketAddr>,
}

/// What a call is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Object {
    /// What sort of thing, as in `vm`; empty for none.
    pub(crate) kind: &'static str,
    /// Its name, or what the client wrote for it.
    pub(crate) name: String,
    /// Its uuid, if it has one.
    pub(crate) uuid: Option<Uuid>,
    /// The role that it is given; 0 for none.
    pub(crate) granted: u32,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending<'a> {
    /// Well.
    Done,
    /// It was refused, or failed.
    Failed(&'a Failure),
    /// Its connection was gone before.
    Unanswered,
}

/// A call and what became of it.
#[derive(Debug)]
pub(crate) struct Deed<'a> {
    /// Which call.
    pub(crate) procedure: &'static Procedure,
    /// The role that it was judged by.
    pub(crate) role: u32,
    /// What it is about, if that was kept.
    pub(crate) object: Option<&'a Object>,
    /// How it ended.
    pub(crate) ending: Ending<'a>,
    /// The operation that it asked for.
    pub(crate) operation: Option<u64>,
    /// How long it took, in whole turns.
    pub(crate) duration: Duration,
}

/// The lines of the audit on their way to its file.
///
/// Invariant: `due` is set exactly if lines wait. One request at a time is with the file helper.
#[derive(Debug)]
pub(crate) struct Audit {
    settings: Option<Settings>,
    lines: Lines,
    /// Lines that whoever is refused may still cause.
    refusals: Budget,
    due: Option<Instant>,
    under_way: Option<UnderWay>,
    /// The log was told that lines are lost, and has not been told that they are written again.
    failing: bool,
    lost_since: u64,
}

/// Records that the file helper was given.
#[derive(Debug)]
struct UnderWay {
    ticket: FileTicket,
    records: Records,
}

impl Audit {
    /// Without settings nothing is told.
    pub(crate) fn new(settings: Option<Settings>) -> Self {
        Self {
            settings,
            lines: Lines::default(),
            refusals: Budget::new(),
            due: None,
            under_way: None,
            failing: false,
            lost_since: 0,
        }
    }

    /// Whether a call is told however it ends, so that what it is about has to be kept.
    pub(crate) fn tells(&self, procedure: &Procedure) -> bool {
        self.settings.as_ref().is_some_and(|settings| settings.level == Level::All || changes(procedure))
    }

    /// The daemon has started.
    pub(crate) fn started(&mut self, now: Now, release: &str, pid: u32) {
        self.write(now, true, |out| {
            Line::begin(out, now.utc_ns, "started").text("release", release).number("pid", pid).end();
        });
    }

    /// The daemon leaves.
    pub(crate) fn left(&mut self, now: Now) {
        self.write(now, true, |out| Line::begin(out, now.utc_ns, "left").end());
    }

    /// Somebody came, and was let in or not. `key` is what was proved with.
    pub(crate) fn came(&mut self, now: Now, who: Who<'_>, role: u32, key: &str, refused: Option<&Failure>) {
        if refused.is_some() && !self.may_refuse(now) {
            return;
        }
        self.write(now, refused.is_some(), |out| {
            let mut line = Line::begin(out, now.utc_ns, if refused.is_some() { "refused" } else { "connected" });
            who.tell(&mut line);
            line.text("key", key);
            match refused {
                Some(failure) => tell_failure(&mut line, failure),
                None => {
                    line.text("role", role_name(role));
                }
            }
            line.end();
        });
    }

    /// Somebody who was let in is gone, after so many calls. `closed` is the code of the last packet, if we sent one.
    pub(crate) fn gone(&mut self, now: Now, who: Who<'_>, calls: u64, closed: Option<u32>, since_ns: u64) {
        self.write(now, false, |out| {
            let mut line = Line::begin(out, now.utc_ns, "gone");
            who.tell(&mut line);
            line.number("calls", calls).text("closed", closed.map_or("", code_name));
            line.number("duration_us", now.utc_ns.saturating_sub(since_ns) / 1000).end();
        });
    }

    /// Somebody could not show who they are: why, as a word that does not change and in words.
    pub(crate) fn handshake_refused(&mut self, now: Now, address: SocketAddr, why: &str, message: &str) {
        if self.may_refuse(now) {
            self.write(now, true, |out| {
                let mut line = Line::begin(out, now.utc_ns, "handshake");
                line.text("transport", "tls").text("address", &address.to_string());
                line.text("verdict", why).text("message", message).end();
            });
        }
    }

    /// A token was shown from this address: the client's name and role, or why it bought nothing.
    pub(crate) fn enrolled(&mut self, now: Now, address: &str, outcome: Result<(&str, u32), &Failure>) {
        if outcome.is_err() && !self.may_refuse(now) {
            return;
        }
        self.write(now, true, |out| {
            let mut line = Line::begin(out, now.utc_ns, "enroll");
            line.text("transport", "tls").text("address", address);
            match outcome {
                Ok((name, role)) => {
                    line.text("name", name).text("granted", role_name(role)).text("verdict", "ok");
                }
                Err(failure) => tell_failure(&mut line, failure),
            }
            line.end();
        });
    }

    /// A call came to its end.
    pub(crate) fn call(&mut self, now: Now, who: Who<'_>, deed: &Deed<'_>) {
        let told = self.tells(deed.procedure);
        let refused = matches!(deed.ending, Ending::Failed(failure) if is_refusal(failure));
        if !told && !refused {
            return;
        }
        // Whoever may change something may also fill the audit; others only so fast.
        if refused && deed.role <= role::OBSERVER && !self.may_refuse(now) {
            return;
        }
        self.write(now, refused || changes(deed.procedure), |out| {
            let mut line = Line::begin(out, now.utc_ns, "call");
            who.tell(&mut line);
            line.text("role", role_name(deed.role)).text("procedure", deed.procedure.name);
            match (deed.object, deed.ending) {
                (Some(object), _) if !object.kind.is_empty() => object.tell(&mut line),
                (_, Ending::Failed(failure)) => {
                    line.text("object", &failure.object_kind).text("name", &failure.object_name);
                }
                _ => {}
            }
            match deed.ending {
                Ending::Done => {
                    line.text("verdict", "ok");
                }
                Ending::Failed(failure) => tell_failure(&mut line, failure),
                Ending::Unanswered => {
                    line.text("verdict", "unanswered");
                }
            }
            if let Some(operation) = deed.operation {
                line.number("operation", operation);
            }
            line.number("duration_us", u64::try_from(deed.duration.as_micros()).unwrap_or(u64::MAX)).end();
        });
    }

    /// A packet was refused before it became a call: its role, its version, its form.
    pub(crate) fn call_refused(&mut self, now: Now, who: Who<'_>, role: u32, number: u32, failure: &Failure) {
        if role <= role::OBSERVER && !self.may_refuse(now) {
            return;
        }
        self.write(now, true, |out| {
            let mut line = Line::begin(out, now.utc_ns, "call");
            who.tell(&mut line);
            line.text("role", role_name(role));
            match Procedure::of(number) {
                Some(procedure) => line.text("procedure", procedure.name),
                None => line.number("procedure_number", number),
            };
            tell_failure(&mut line, failure);
            line.number("duration_us", 0_u32).end();
        });
    }

    /// What is to be written now. Say [`Audit::handed_over`] when it was asked for.
    pub(crate) fn poll_request(&mut self, now: Now) -> Option<(FileRequest, Records)> {
        if self.under_way.is_some() || self.due.is_none_or(|due| due > now.monotonic) {
            return None;
        }
        let Settings { path, rotate_bytes, keep, .. } = self.settings.as_ref()?;
        let (path, rotate_bytes, keep) = (path.clone(), *rotate_bytes, *keep);
        let chunk = self.lines.take(now.utc_ns)?;
        self.due = (!self.lines.is_empty()).then_some(now.monotonic);
        Some((FileRequest::Append { path, lines: chunk.bytes, rotate_bytes, keep }, chunk.records))
    }

    /// What was to be written is with the file helper.
    pub(crate) fn handed_over(&mut self, ticket: FileTicket, records: Records) {
        debug_assert!(self.under_way.is_none(), "one at a time");
        self.under_way = Some(UnderWay { ticket, records });
    }

    /// A file request has been answered. Says whether it was ours.
    pub(crate) fn answered(&mut self, ticket: FileTicket, answer: &FileAnswer) -> bool {
        let Some(UnderWay { records, .. }) = self.under_way.take_if(|under_way| under_way.ticket == ticket) else {
            return false;
        };
        if let FileAnswer::Failed(why) = answer {
            self.lines.lose(records.all);
            // A line that tells of a loss may itself be lost, again and again; what it stands for was lost once.
            self.lost(records.all - records.lost, why);
        } else if std::mem::take(&mut self.failing) {
            info!("the audit is written again; {} of its lines were lost", std::mem::take(&mut self.lost_since));
        }
        true
    }

    /// When [`Audit::poll_request`] has something, if nothing else happens.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        // While one is under way its answer is what wakes us.
        self.due.filter(|_| self.under_way.is_none())
    }

    fn may_refuse(&mut self, now: Now) -> bool {
        if self.settings.is_none() || !self.refusals.spend(now.monotonic) {
            return false;
        }
        let left_out = self.refusals.take_left_out();
        if left_out > 0 {
            self.write(now, true, |out| {
                Line::begin(out, now.utc_ns, "left-out").number("left_out", left_out).end();
            });
        }
        true
    }

    fn write(&mut self, now: Now, hurried: bool, write: impl FnOnce(&mut Vec<u8>)) {
        if self.settings.is_none() {
            return;
        }
        if !self.lines.push(now.utc_ns, write) {
            return self.lost(1, "its file helper cannot keep up");
        }
        let due = if hurried || self.lines.is_full() { now.monotonic } else { now.monotonic + DELAY };
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    fn lost(&mut self, records: u64, why: &str) {
        self.lost_since += records;
        if !std::mem::replace(&mut self.failing, true) {
            error!("lines of the audit are lost: {why}");
        }
    }
}

impl Who<'_> {
    fn tell(&self, line: &mut Line<'_>) {
        line.number("connection", self.connection);
        line.text("transport", self.transport).text("identity", self.identity);
        if let Some(address) = self.address {
            line.text("address", &address.to_string());
        }
    }
}

impl Object {
    fn tell(&self, line: &mut Line<'_>) {
        line.text("object", self.kind).text("name", &self.name);
        if let Some(uuid) = self.uuid {
            line.text("uuid", uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
        }
        if self.granted != 0 {
            line.text("granted", role_name(self.granted));
        }
    }
}

/// Whether a call does more than look. A token is spent by somebody who has no role yet.
fn changes(procedure: &Procedure) -> bool {
    procedure.right.role > role::OBSERVER || procedure.number == number::ENROLL
}

/// Whether somebody did not get what they asked for, and not because they gave it up.
fn is_refusal(failure: &Failure) -> bool {
    !matches!(failure.code, code::CANCELLED | code::DEADLINE_EXCEEDED | code::GOING_AWAY)
}

fn tell_failure(line: &mut Line<'_>, failure: &Failure) {
    line.text("verdict", code_name(failure.code)).text("message", &failure.message);
}

fn code_name(number: u32) -> &'static str {
    code::name(number).unwrap_or("INTERNAL")
}

fn role_name(number: u32) -> &'static str {
    role::name(number).unwrap_or("unknown")
}

#[cfg(test)]
mod tests;
