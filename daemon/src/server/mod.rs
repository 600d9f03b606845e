//! Everything put together, and the loop itself.

mod notify;
mod place;

use std::fmt;
use std::io;
use std::time::Duration;

use self::place::Place;
pub use self::place::PlaceError;
use crate::config::Config;
use crate::event_loop::{LeaveSignals, Readiness, Ready};
use crate::listener::{Accepted, BindError, Listener};
use crate::logging::Log;

/// How long the last lines of the log may take on the way out.
const LOG_PATIENCE: Duration = Duration::from_millis(500);

/// Peers accepted in one turn from one listener.
const ACCEPTS_MAX: usize = 64;

/// Whose descriptor it is. The order is that of work in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Signals,
    Listener(usize),
}

/// Why the daemon does not run, or runs no more.
#[derive(Debug)]
pub enum ServerError {
    /// Its directories.
    Place(PlaceError),
    /// Its sockets.
    Bind(BindError),
    /// The system says no.
    System {
        /// To what.
        what: &'static str,
        /// Why.
        error: io::Error,
    },
}

/// Runs the daemon until a signal asks it to leave.
///
/// # Errors
/// It cannot start, or the loop itself fails.
pub fn run(config: &Config) -> Result<(), ServerError> {
    let log = Log::start(&config.log)
        .map_err(|error| ServerError::System { what: "logging", error: io::Error::other(error) })?;
    let outcome = Server::start(config, log.clone()).and_then(Server::turn_until_left);
    log.flush_waiting(LOG_PATIENCE);
    outcome
}

#[derive(Debug)]
struct Server {
    log: Log,
    readiness: Readiness<Who>,
    signals: LeaveSignals,
    listeners: Vec<Listener>,
    _place: Place,
}

impl Server {
    fn start(config: &Config, log: Log) -> Result<Self, ServerError> {
        let system = |what| move |error| ServerError::System { what, error };
        place::raise_descriptor_limit();
        let place = Place::take(config).map_err(ServerError::Place)?;
        let mut readiness = Readiness::new().map_err(system("the loop"))?;
        let mut signals = LeaveSignals::catch().map_err(system("catching signals"))?;
        readiness.watch(signals.source(), Who::Signals).map_err(system("watching signals"))?;
        let mut listeners = Vec::new();
        for path in &config.listen {
            let mut listener = Listener::bind(path).map_err(ServerError::Bind)?;
            let who = Who::Listener(listeners.len());
            readiness.watch(listener.source(), who).map_err(system("watching a listener"))?;
            log::info!("listening at {}", path.display());
            listeners.push(listener);
        }
        notify::notify("READY=1");
        Ok(Self { log, readiness, signals, listeners, _place: place })
    }

    fn turn_until_left(mut self) -> Result<(), ServerError> {
        let mut ready = Vec::new();
        loop {
            let wait = self.readiness.wait(None);
            wait.map_err(|error| ServerError::System { what: "waiting for events", error })?;
            self.readiness.take_ready(&mut ready);
            ready.sort_by_key(|ready| ready.who);
            for Ready { token, who, .. } in ready.drain(..) {
                match who {
                    Who::Signals if self.signals.take() => {
                        log::info!("leaving: a signal asked for it");
                        notify::notify("STOPPING=1");
                        return Ok(());
                    }
                    Who::Signals => {}
                    Who::Listener(index) => {
                        for _ in 0..ACCEPTS_MAX {
                            match self.listeners[index].accept() {
                                Accepted::Peer(_) => self.readiness.run_again(token),
                                Accepted::Nobody | Accepted::NoDescriptor => break,
                            }
                        }
                    }
                }
            }
            self.log.flush();
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(error) => error.fmt(f),
            Self::Bind(error) => error.fmt(f),
            Self::System { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for ServerError {}
