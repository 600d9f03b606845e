//! Everything put together, and the loop itself.
//!
//! A turn: sleep until the earliest deadline or until something is ready; read the clock; signals, answers of the file
//! helper, new peers, descriptors of the driver, connections, each in its order and with its share of the work; a few of
//! those who are not known yet; some of what was left over by those who had their share; timers; what the driver reports;
//! what there is to be written; removals; the log.
//!
//! Leaving: the listeners go first, every connection gets GOING_AWAY, what can be written is written, and the process
//! ends when the last connection has gone and the file helper has answered, or after 2.5 s. Guests run on. `last_resort`
//! ends the process if it hangs on the way.

mod arriving;
mod check;
mod connections;
mod door;
mod enrolment;
mod handshakes;
mod judging;
mod last_resort;
mod leaving;
mod notify;
mod place;
mod reload;
mod start;
mod take_up;
mod tls;
mod watch;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::arriving::{Listeners, Listening};
pub use self::check::{Unfit, check};
use self::connections::Connections;
use self::door::Door;
use self::last_resort::{LastResort, Stage};
use self::place::Place;
pub use self::place::PlaceError;
use self::reload::{Reload, What};
use self::tls::Tls;
pub use self::tls::TlsError;
use self::watch::{Taken, Watch};
use crate::config::{Config, Source};
use crate::connection::Hints;
use crate::dispatch::{ConnectionId, Dispatch, Turn};
use crate::event_loop::{Now, Readiness, Ready, Signals};
use crate::files::{self, Files};
use crate::listener::BindError;
use crate::logging::Log;
use crate::store::StoreError;

/// How long the last lines of the log may take on the way out.
const LOG_PATIENCE: Duration = Duration::from_millis(300);

/// When standard error is looked at again that took no more lines.
const LOG_RETRY: Duration = Duration::from_millis(100);

/// The work of one turn for connections that had their share and were not done. It bounds for how long those wait to whom
/// something happens meanwhile.
const LEFT_OVER_WORK_MAX: usize = 1024 * 1024;

/// The work of looking at a connection that was not done, however little comes of it.
const LEFT_OVER_WORK_MIN: usize = 4 * 1024;

/// The work of looking at a listener that was not done.
const LISTENER_WORK: usize = 256 * 1024;

/// Those whom something is written to in one turn because it concerns them: when all are sent away at once, others are still
/// to be served meanwhile.
const WRITTEN_TO_MAX: usize = 256;

/// This very binary, also when its file was replaced since.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Whose descriptor it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Leave,
    Reload,
    Watch,
    Files,
    Listener(usize),
    Handshake(u64),
    Driver,
    Connection(ConnectionId),
}

impl Who {
    /// The place in a turn.
    fn rank(self) -> u8 {
        match self {
            Self::Leave => 0,
            Self::Reload => 1,
            Self::Watch => 2,
            Self::Files => 3,
            Self::Listener(_) => 4,
            Self::Handshake(_) => 5,
            Self::Driver => 6,
            Self::Connection(_) => 7,
        }
    }
}

/// Why the daemon does not run, or runs no more.
#[derive(Debug)]
pub enum ServerError {
    /// Its directories.
    Place(PlaceError),
    /// What it keeps there.
    Store(StoreError),
    /// Its sockets.
    Bind(BindError),
    /// Its keys and certificates.
    Tls(TlsError),
    /// The system says no.
    System {
        /// To what.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
}

/// Runs the daemon until a signal asks it to leave, or nobody needs it any more.
///
/// # Errors
/// It cannot start, or the loop itself fails.
pub fn run(source: Source, config: Config) -> Result<(), ServerError> {
    let log = Log::start(&config.log)
        .map_err(|error| ServerError::System { what: "logging", error: io::Error::other(error) })?;
    let outcome = Server::start(source, config, &log).and_then(Server::turn_until_left);
    log.flush_waiting(LOG_PATIENCE);
    outcome
}

struct Server {
    log: Log,
    log_waits: bool,
    core: Dispatch,
    readiness: Readiness<Who>,
    files: Files,
    signals: Signals,
    hangups: Signals,
    config: Config,
    reload: Reload,
    listeners: Vec<Listening>,
    connections: Connections,
    tls: Option<Tls>,
    idle_exit: Option<Duration>,
    idle_since: Option<Instant>,
    leaving: Option<Instant>,
    last_resort: LastResort,
    _place: Place,
}

impl Server {
    fn start(source: Source, config: Config, log: &Log) -> Result<Self, ServerError> {
        let system = |what| move |error| ServerError::System { what, error };
        place::raise_descriptor_limit();
        let place = Place::take(&config).map_err(ServerError::Place)?;
        let now = Now::read();
        let mut readiness = Readiness::new().map_err(system("the loop"))?;
        let mut files = Files::new(PathBuf::from(OWN_PROGRAM), files::PATIENCE);
        let mut signals = Signals::to_leave().map_err(system("catching signals"))?;
        readiness.watch(signals.source(), Who::Leave).map_err(system("watching signals"))?;
        let mut hangups = Signals::to_reload().map_err(system("catching signals"))?;
        readiness.watch(hangups.source(), Who::Reload).map_err(system("watching signals"))?;
        let mut watch = config.tls.as_ref().and_then(Tls::watch);
        if let Some(watch) = &mut watch {
            readiness.watch(watch, Who::Watch).map_err(system("watching files"))?;
        }
        let mut door = Door { now: now.monotonic, readiness: &mut readiness, files: &mut files };
        let mut core = Dispatch::new(start::parts(&config, log.clone(), now, &mut door)?, now);
        core.start(&mut Turn { now, host: &mut door });
        let mut tls = config.tls.as_ref().map(|files| Tls::start(files, now)).transpose().map_err(ServerError::Tls)?;
        let mut connections = Connections::new();
        let Listeners { listeners, shown, tls_port } = Listeners::bind(&config.listen, &mut readiness)?;
        core.set_sockets(shown);
        if let Some(path) = &config.left_out {
            let path = path.display();
            log::info!("not listening at {path}, which is there by default: the configuration names other places");
        }
        if let (Some(tls), Some(files)) = (&mut tls, &config.tls) {
            tls.port = tls_port.unwrap_or(tls.port);
            core.set_certificates(tls.facts.clone());
            core.set_authority(tls.take_authority(files));
            connections.judge_again(now, &tls.context);
        }
        notify::notify("READY=1");
        Ok(Self {
            log: log.clone(),
            log_waits: log.flush(),
            core,
            readiness,
            files,
            signals,
            hangups,
            reload: Reload::new(source, watch),
            listeners,
            connections,
            tls,
            idle_exit: config.idle_exit,
            config,
            idle_since: None,
            leaving: None,
            last_resort: LastResort::default(),
            _place: place,
        })
    }

    fn turn_until_left(mut self) -> Result<(), ServerError> {
        let mut ready = Vec::new();
        let mut now = Now::read();
        // Perhaps nobody ever comes.
        self.handle_idleness(now);
        loop {
            let until = self.next_deadline(now);
            now = self
                .readiness
                .wait(until)
                .map_err(|error| ServerError::System { what: "waiting for events", error })?;
            self.readiness.take_ready(&mut ready);
            ready.sort_by_key(|ready| ready.who.rank());
            for ready in ready.drain(..) {
                self.handle_ready(now, ready);
            }
            self.shake_hands(now);
            self.handle_left_over(now);
            self.handle_timeout(now);
            self.handle_files(now);
            with_turn(&mut self.readiness, &mut self.files, now, |turn| self.core.collect(turn));
            self.answer_enrolments(now);
            self.write_and_remove(now);
            self.capture(now);
            self.audit(now);
            self.handle_idleness(now);
            self.log_waits = self.log.flush();
            if self.has_left(now.monotonic) {
                self.give_up();
                self.last_resort.reached(Stage::LettingGo);
                return Ok(());
            }
        }
    }

    fn handle_ready(&mut self, now: Now, Ready { token, who, readable, read_closed }: Ready<Who>) {
        match who {
            Who::Leave => {
                if self.signals.take() {
                    self.leave(now, "a signal asked for it");
                }
            }
            Who::Reload => {
                if self.hangups.take() {
                    self.read_again(now, What::Everything);
                }
            }
            Who::Watch => {
                let Some(Taken { changed, more }) = self.reload.watch().map(Watch::take) else { return };
                if changed {
                    self.reload.changed(now.monotonic);
                }
                if more {
                    self.readiness.run_again(token);
                }
            }
            Who::Files => self.files.handle_ready(&mut self.readiness),
            Who::Listener(index) => self.accept(now, index),
            Who::Handshake(number) => {
                if let Some(tls) = &mut self.tls {
                    tls.handshakes.mark(number);
                }
            }
            Who::Driver => {
                with_turn(&mut self.readiness, &mut self.files, now, |turn| self.core.handle_ready(turn, token));
            }
            Who::Connection(id) => {
                let hints = Hints { readable, read_closed };
                let again = with_turn(&mut self.readiness, &mut self.files, now, |turn| {
                    self.connections.handle_ready(&mut self.core, turn, id, hints)
                });
                if let Some(token) = again {
                    self.readiness.run_again(token);
                }
            }
        }
    }

    /// Goes on with those who have more to do than was done for them at once, in the order in which they were left over.
    fn handle_left_over(&mut self, now: Now) {
        self.connections.take_work();
        let mut work = 0;
        while work < LEFT_OVER_WORK_MAX
            && let Some(ready) = self.readiness.take_left_over()
        {
            self.handle_ready(now, ready);
            work += match ready.who {
                Who::Connection(_) => self.connections.take_work().max(LEFT_OVER_WORK_MIN),
                _ => LISTENER_WORK,
            };
        }
    }

    /// Tells the audit of those who never came in, and has written what it has to write.
    fn audit(&mut self, now: Now) {
        with_turn(&mut self.readiness, &mut self.files, now, |turn| {
            let handshakes = self.tls.as_mut().map(|tls| &mut tls.handshakes);
            for away in handshakes.into_iter().flat_map(|handshakes| std::iter::from_fn(|| handshakes.poll_sent_away()))
            {
                self.core.handshake_refused(turn, away.address, away.why, &away.message);
            }
            self.core.hand_over_audit(turn);
        });
    }

    fn handle_timeout(&mut self, now: Now) {
        if self.reload.take_settled(now.monotonic) {
            self.read_again(now, What::Tls);
        }
        if let Some(tls) = &mut self.tls {
            tls.handshakes.handle_timeout(now.monotonic, &mut self.readiness);
        }
        self.judge_certificates(now);
        if self.core.poll_timeout(now.monotonic).is_some_and(|at| at <= now.monotonic) {
            with_turn(&mut self.readiness, &mut self.files, now, |turn| self.core.handle_timeout(turn));
        }
        self.files.handle_timeout(now.monotonic, &mut self.readiness);
        self.connections.handle_timeout(now.monotonic);
        for index in 0..self.listeners.len() {
            if self.listeners[index].retry.is_some_and(|at| at <= now.monotonic) {
                self.accept(now, index);
            }
        }
    }

    fn handle_files(&mut self, now: Now) {
        while let Some((ticket, answer)) = self.files.poll_answer() {
            let answer = match self.reload.take_answer(ticket, answer) {
                Ok((what, read)) => {
                    self.take_up(now, what, read);
                    continue;
                }
                Err(answer) => answer,
            };
            with_turn(&mut self.readiness, &mut self.files, now, |turn| self.core.handle_file(turn, ticket, answer));
        }
    }

    /// Writes what the turn brought, to so many, and lets go of those who are gone, whose going may bring more to be written.
    fn write_and_remove(&mut self, now: Now) {
        let mut room = WRITTEN_TO_MAX;
        loop {
            while room > 0
                && let Some(id) =
                    with_turn(&mut self.readiness, &mut self.files, now, |turn| self.core.poll_dirty(turn))
            {
                room -= 1;
                let again = with_turn(&mut self.readiness, &mut self.files, now, |turn| {
                    self.connections.handle_output(&mut self.core, turn, id)
                });
                if let Some(token) = again {
                    self.readiness.run_again(token);
                }
            }
            let over = self.connections.remove_over(&mut self.readiness);
            if over.is_empty() {
                return;
            }
            for id in over {
                with_turn(&mut self.readiness, &mut self.files, now, |turn| self.core.gone(turn, id));
            }
        }
    }

    /// Shows what passed to those who look on. What was written was written now, which is later than the turn began.
    fn capture(&mut self, now: Now) {
        if self.core.is_capturing() {
            let written = Now::read();
            with_turn(&mut self.readiness, &mut self.files, now, |turn| self.core.capture(turn, written.utc_ns));
            self.write_and_remove(now);
        }
    }

    fn next_deadline(&self, turn: Now) -> Option<Instant> {
        let now = turn.monotonic;
        let log = self.log_waits.then(|| now + LOG_RETRY);
        let at_once = (self.files.has_answers() || self.core.has_dirty() || self.core.has_uncaptured()).then_some(now);
        let idle = self.idle_since.zip(self.idle_exit).map(|(since, patience)| since + patience);
        let accept = self.listeners.iter().filter_map(|listening| listening.retry).min();
        let tls = self.tls.as_ref().and_then(Tls::poll_timeout);
        let shaking = self.tls.as_ref().is_some_and(|tls| tls.handshakes.has_waiting()).then_some(now);
        let core = self.core.poll_timeout(now);
        let deadlines = [
            core,
            tls,
            shaking,
            self.reload.poll_timeout(),
            self.files.poll_timeout(),
            self.connections.poll_timeout(turn),
            self.leaving,
            log,
            at_once,
            idle,
            accept,
        ];
        deadlines.into_iter().flatten().min()
    }
}

/// Lends the loop and the file helper to the core, for one call into it.
fn with_turn<T>(
    readiness: &mut Readiness<Who>,
    files: &mut Files,
    now: Now,
    call: impl FnOnce(&mut Turn<'_>) -> T,
) -> T {
    call(&mut Turn { now, host: &mut Door { now: now.monotonic, readiness, files } })
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Bind(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::System { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for ServerError {}
