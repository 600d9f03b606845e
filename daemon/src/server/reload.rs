//! What can change while the daemon runs: the configuration, when a signal says so, and the files of TLS, whenever they do.
//!
//! ```text
//!            SIGHUP                    read, parsed                  read, fit together
//!   ┌──────┐ ──────▶ ┌───────────────┐ ──────────▶ ┌───────────────┐ ──────────────────▶ taken up
//!   │ idle │         │ configuration │             │ files of TLS  │
//!   └──────┘ ────────┴───────────────┴───────────▶ └───────────────┘ ──▶ as it was, and said so
//!            one of them changed; 200 ms later, or 5 s after they could not be read
//! ```
//! Files are read by the file helper, all that belong together with one request. Whoever replaces a pair of them does it
//! one after the other: in between they do not fit, and the old ones stay in force.

use std::time::{Duration, Instant};

use super::watch::Watch;
use crate::config::{Config, Source};
use crate::driver::{FileAnswer, FileTicket};

/// Files that change together have so long to do it,
const SETTLE_TIME: Duration = Duration::from_millis(200);

/// and no longer than this, however often they change.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(2);

/// When files are looked at again that could not be read: what was amiss need not be with them, so that no change of theirs
/// would tell.
const RETRY_TIME: Duration = Duration::from_secs(5);

/// Reading anew.
#[derive(Debug)]
pub(super) struct Reload {
    source: Source,
    watch: Option<Watch>,
    reading: Option<Reading>,
    /// Asked for while something was read already.
    again: Option<What>,
    /// Changes are to be looked at then; since when they wait.
    settling: Option<(Instant, Instant)>,
    /// They could not be read, and are to be looked at again then.
    retry: Option<Instant>,
    /// What is read is read for that reason alone.
    unasked: bool,
}

/// What is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// The files of TLS.
    Tls,
    /// The configuration, and what it leads to.
    Everything,
}

#[derive(Debug)]
struct Reading {
    what: What,
    ticket: FileTicket,
}

impl Reload {
    pub(super) fn new(source: Source, watch: Option<Watch>) -> Self {
        Self { source, watch, reading: None, again: None, settling: None, retry: None, unasked: false }
    }

    pub(super) fn source(&mut self) -> &mut Source {
        &mut self.source
    }

    pub(super) fn watch(&mut self) -> Option<&mut Watch> {
        self.watch.as_mut()
    }

    /// Something was asked for. Answers whether it is to be read now.
    pub(super) fn ask(&mut self, what: What) -> bool {
        self.unasked &= what == What::Tls;
        if self.reading.is_some() {
            self.again = self.again.max(Some(what));
            return false;
        }
        true
    }

    /// It is being read.
    pub(super) fn begun(&mut self, what: What, ticket: FileTicket) {
        self.reading = Some(Reading { what, ticket });
    }

    /// An answer of the file helper, if it is one for us: what was read, and what came of it.
    pub(super) fn take_answer(&mut self, ticket: FileTicket, answer: FileAnswer) -> Result<Answered, FileAnswer> {
        match self.reading.take_if(|reading| reading.ticket == ticket) {
            Some(Reading { what, .. }) => {
                self.retry = None;
                Ok((
                    what,
                    match answer {
                        FileAnswer::Read(files) => Ok(files),
                        FileAnswer::Failed(why) => Err(why),
                        FileAnswer::Done => Err("the file helper wrote where it was to read".to_owned()),
                    },
                ))
            }
            None => Err(answer),
        }
    }

    /// What was asked for in the meantime.
    pub(super) fn take_again(&mut self) -> Option<What> {
        self.again.take_if(|_| self.reading.is_none())
    }

    /// Something has changed where the files are.
    pub(super) fn changed(&mut self, now: Instant) {
        let since = self.settling.map_or(now, |(_, since)| since);
        self.settling = Some(((now + SETTLE_TIME).min(since + SETTLE_TIME_MAX), since));
    }

    /// The files of TLS could not be read.
    pub(super) fn failed(&mut self, now: Instant) {
        self.retry = Some(now + RETRY_TIME);
    }

    /// Whether changes have settled, or it is time to look again.
    pub(super) fn take_settled(&mut self, now: Instant) -> bool {
        let settled = self.settling.take_if(|(at, _)| *at <= now).is_some();
        let again = self.retry.take_if(|at| *at <= now).is_some();
        if settled || again {
            self.unasked = !settled;
        }
        settled || again
    }

    /// Nobody asked and nothing changed: what comes of it is news only if it is something else than before.
    pub(super) fn is_unasked(&self) -> bool {
        self.unasked
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.settling.map(|(at, _)| at).into_iter().chain(self.retry).min()
    }
}

/// What was to be read, and what was.
pub(super) type Answered = (What, Result<Vec<Option<Vec<u8>>>, String>);

/// Names of what is different in `new` and takes effect only when the daemon starts again.
pub(super) fn for_a_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let differs = [
        ("driver", old.driver != new.driver),
        ("listen", old.listen != new.listen),
        ("state_dir", old.state_dir != new.state_dir),
        ("runtime_dir", old.runtime_dir != new.runtime_dir),
        ("qemu.binary", old.qemu != new.qemu),
        ("qemu.accel", old.force_tcg != new.force_tcg),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Arguments;
    use crate::config::Environment;

    fn reload() -> Reload {
        Reload::new(Source { arguments: Arguments::default(), environment: Environment::default() }, None)
    }

    #[test]
    fn what_is_asked_for_while_something_is_read_comes_after_it_and_once() {
        let mut reload = reload();
        assert!(reload.ask(What::Everything));
        reload.begun(What::Everything, FileTicket(1));
        assert!(!reload.ask(What::Everything) && !reload.ask(What::Tls));
        assert_eq!(reload.take_again(), None);
        assert!(reload.take_answer(FileTicket(2), FileAnswer::Done).is_err(), "it is somebody else's");
        let (what, read) = reload.take_answer(FileTicket(1), FileAnswer::Read(vec![None])).unwrap();
        assert_eq!((what, read), (What::Everything, Ok(vec![None])));
        assert_eq!((reload.take_again(), reload.take_again()), (Some(What::Everything), None));
    }

    #[test]
    fn what_takes_effect_at_a_start_only_is_named() {
        let at = |text: &str| {
            let environment = Environment { root: true, ..Environment::default() };
            let mut source = Source { arguments: Arguments::default(), environment };
            source.take_up(vec![None, None, Some(text.as_bytes().to_vec())]).unwrap()
        };
        let named = |text: &str| for_a_restart(&at(""), &at(text));
        assert_eq!(named("connections_max = 7"), [""; 0]);
        assert_eq!(named("[audit]\nlevel = \"off\""), [""; 0]);
        assert_eq!(named("qemu.binary = \"/q\""), ["qemu.binary"]);
    }

    #[test]
    fn changes_settle_and_do_not_put_it_off_for_ever() {
        let (mut reload, start) = (reload(), Instant::now());
        reload.changed(start);
        assert!(!reload.take_settled(start) && reload.poll_timeout() == Some(start + SETTLE_TIME));
        assert!(reload.take_settled(start + SETTLE_TIME) && !reload.take_settled(start + SETTLE_TIME));
        for step in 0..50 {
            reload.changed(start + step * Duration::from_millis(100));
        }
        assert_eq!(reload.poll_timeout(), Some(start + SETTLE_TIME_MAX));
    }

    #[test]
    fn what_could_not_be_read_is_looked_at_again_without_a_change() {
        let (mut reload, start) = (reload(), Instant::now());
        reload.failed(start);
        assert_eq!(reload.poll_timeout(), Some(start + RETRY_TIME));
        reload.changed(start);
        assert!(reload.take_settled(start + SETTLE_TIME) && !reload.is_unasked(), "a change comes first");
        assert!(!reload.take_settled(start + SETTLE_TIME));
        assert!(reload.take_settled(start + RETRY_TIME) && reload.is_unasked());
        assert_eq!(reload.poll_timeout(), None);
        assert!(reload.ask(What::Everything) && !reload.is_unasked());
        reload.failed(start);
        reload.begun(What::Tls, FileTicket(1));
        let (_, read) = reload.take_answer(FileTicket(1), FileAnswer::Read(vec![None])).unwrap();
        assert_eq!((read, reload.poll_timeout()), (Ok(vec![None]), None), "they could be read");
    }
}
