//! The audit: who came and went, who asked for what, and what became of it, one line of JSON each. `docs/audit.md` has the
//! format, whose keys are an interface.
//!
//! ```text
//!   dispatch ──▶ is it told at this level? ──▶ a line ──▶ lines that wait ──▶ file helper ──▶ audit.jsonl
//!                 and did they not cause enough?          at once, or within 200 ms
//! ```
//! Pure: it is told what happened and asked for what is to be written. Nothing waits for a disk; what finds no room or no
//! disk is counted, and a line says how much that was. No body is ever printed here: a line has what the callers name.

mod budget;
mod deed;
mod line;
mod lines;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info};
use vmwire_protocol::message::{Failure, Procedure};

pub(crate) use self::budget::Origin;
pub use self::budget::Rate;
use self::budget::{Budgets, Kind, LeftOut, Named};
pub(crate) use self::deed::{Deed, Ending, Object, Shows, Who};
use self::deed::{changes, code_name, is_refusal, role_name, tell_failure};
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

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::All => "all",
        }
    }
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
    /// How many lines one somebody may cause with what changes nothing.
    pub rate: Rate,
}

/// The lines of the audit on their way to its file.
///
/// Invariant: `due` is set exactly if lines wait. One request at a time is with the file helper.
#[derive(Debug)]
pub(crate) struct Audit {
    settings: Option<Arc<Settings>>,
    lines: Lines,
    budgets: Budgets,
    /// The daemon leaves: what is told now is told however much it is, for nothing comes after it.
    leaving: bool,
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
            settings: settings.map(Arc::new),
            lines: Lines::default(),
            budgets: Budgets::default(),
            leaving: false,
            due: None,
            under_way: None,
            failing: false,
            lost_since: 0,
        }
    }

    /// From now on it is told otherwise, or elsewhere, or nothing more; both files say so. Lines of before go where they
    /// were to go.
    pub(crate) fn set(&mut self, now: Now, settings: Option<&Settings>) {
        if self.settings.as_deref() == settings {
            return;
        }
        let path = |settings: Option<&Settings>| settings.map(|settings| settings.path.clone());
        let (old, new) = (path(self.settings.as_deref()), path(settings));
        self.tell_all_left_out(now);
        if old != new {
            self.tell_settings(now, settings);
            match &new {
                Some(path) => info!("the audit is in {} from now on", path.display()),
                None => info!("nothing more is told to the audit"),
            }
        }
        self.settings = settings.cloned().map(Arc::new);
        if settings.is_some() {
            self.tell_settings(now, settings);
        }
    }

    fn tell_settings(&mut self, now: Now, settings: Option<&Settings>) {
        self.write(now, true, |out| {
            let mut line = Line::begin(out, now.utc_ns, "configured");
            match settings {
                None => {
                    line.text("level", "off");
                }
                Some(Settings { path, level, rotate_bytes, keep, rate }) => {
                    line.text("level", level.name()).text("path", &path.to_string_lossy());
                    line.number("rotate_bytes", *rotate_bytes).number("keep", *keep);
                    line.number("burst", rate.burst).number("interval_s", rate.interval.as_secs());
                }
            }
            line.end();
        });
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
        self.leaving = true;
        self.tell_all_left_out(now);
        self.write(now, true, |out| Line::begin(out, now.utc_ns, "left").end());
    }

    /// Somebody came, and was let in or not. `key` is what was proved with.
    pub(crate) fn came(&mut self, now: Now, who: Who<'_>, role: u32, key: &str, refused: Option<&Failure>) {
        let (kind, stranger) = match refused {
            Some(_) => (Kind::Refusal, true),
            None => (Kind::Visit, who.is_stranger()),
        };
        if !self.may_tell(now, who.origin, stranger, kind, || who.named()) {
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
        if !self.may_tell(now, who.origin, who.is_stranger(), Kind::Visit, || who.named()) {
            return;
        }
        self.write(now, false, |out| {
            let mut line = Line::begin(out, now.utc_ns, "gone");
            who.tell(&mut line);
            line.number("calls", calls).text("closed", closed.map_or("", code_name));
            line.number("duration_us", now.utc_ns.saturating_sub(since_ns) / 1000).end();
        });
    }

    /// Somebody could not show who they are: why, as a word that does not change and in words.
    pub(crate) fn handshake_refused(&mut self, now: Now, address: SocketAddr, why: &str, message: &str) {
        if self.may_be_refused_at(now, address.ip()) {
            self.write(now, true, |out| {
                let mut line = Line::begin(out, now.utc_ns, "handshake");
                line.text("transport", "tls").text("address", &address.to_string());
                line.text("verdict", why).text("message", message).end();
            });
        }
    }

    /// A token was shown from this address: the client's name and role, or why it bought nothing.
    pub(crate) fn enrolled(&mut self, now: Now, address: IpAddr, outcome: Result<(&str, u32), &Failure>) {
        if outcome.is_err() && !self.may_be_refused_at(now, address) {
            return;
        }
        self.write(now, true, |out| {
            let mut line = Line::begin(out, now.utc_ns, "enroll");
            line.text("transport", "tls").text("address", &address.to_string());
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
        if let Some(kind) = deed.kind()
            && !self.may_tell(now, who.origin, who.is_stranger(), kind, || who.named())
        {
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
            if let Some(shows) = deed.object.and_then(|object| object.shows) {
                line.flag("payload", shows.payload).flag("agents", shows.agents);
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
        if !self.may_tell(now, who.origin, who.is_stranger(), Kind::Refusal, || who.named()) {
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
        self.tell_left_out(now);
        if self.under_way.is_some() || self.due.is_none_or(|due| due > now.monotonic) {
            return None;
        }
        let chunk = self.lines.take(now.utc_ns)?;
        self.due = (!self.lines.is_empty()).then_some(now.monotonic);
        let Settings { path, rotate_bytes, keep, .. } = &*chunk.to;
        let (path, rotate_bytes, keep) = (path.clone(), *rotate_bytes, *keep);
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

    /// How many records wait or are being written.
    pub(crate) fn unwritten(&self) -> u64 {
        self.lines.records() + self.under_way.as_ref().map_or(0, |UnderWay { records, .. }| records.all - records.lost)
    }

    /// When [`Audit::poll_request`] has something, if nothing else happens.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        // While one is under way its answer is what wakes us.
        let due = self.due.filter(|_| self.under_way.is_none());
        [due, self.budgets.next()].into_iter().flatten().min()
    }

    /// Whether somebody may cause another line. If not, it is counted.
    fn may_tell(&mut self, now: Now, whose: Origin, stranger: bool, kind: Kind, named: impl FnOnce() -> Named) -> bool {
        self.tell_left_out(now);
        let Some(settings) = &self.settings else { return false };
        self.leaving || self.budgets.spend(now.monotonic, settings.rate, whose, stranger, kind, named)
    }

    /// The same of somebody of whom no more is known than where they are.
    fn may_be_refused_at(&mut self, now: Now, address: IpAddr) -> bool {
        let named = || Named { transport: "tls", address: address.to_string(), ..Named::default() };
        self.may_tell(now, Origin::address(address), true, Kind::Refusal, named)
    }

    /// Tells how much was left out, where the time for that has come.
    fn tell_left_out(&mut self, now: Now) {
        let Some(settings) = &self.settings else { return };
        let ended = self.budgets.take_ended(now.monotonic, settings.rate);
        self.tell_those(now, ended);
    }

    /// Tells how much was left out until now.
    fn tell_all_left_out(&mut self, now: Now) {
        let Some(settings) = &self.settings else { return };
        let all = self.budgets.take_all(settings.rate);
        self.tell_those(now, all);
    }

    fn tell_those(&mut self, now: Now, left_out: Vec<LeftOut>) {
        for LeftOut { whose, kind, lines } in left_out {
            self.write(now, true, |out| {
                let mut line = Line::begin(out, now.utc_ns, "left-out");
                line.text("transport", whose.transport).text("identity", &whose.identity);
                line.text("address", &whose.address).text("of", kind.name()).number("left_out", lines).end();
            });
        }
    }

    fn write(&mut self, now: Now, hurried: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(settings) = &self.settings else { return };
        if !self.lines.push(now.utc_ns, settings, write) {
            return self.lost(1, "its file helper cannot keep up");
        }
        let due = if hurried || self.leaving || self.lines.is_enough() { now.monotonic } else { now.monotonic + DELAY };
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    fn lost(&mut self, records: u64, why: &str) {
        self.lost_since += records;
        if !std::mem::replace(&mut self.failing, true) {
            error!("lines of the audit are lost: {why}");
        }
    }
}

#[cfg(test)]
mod tests;
