//! A connection to a daemon, blocking outside and never blocked inside.
//!
//! ```text
//!            open                          the link breaks
//!   (URI) ─────────▶ ┌───────────┐ ─────────────────────────────▶ ┌──────┐
//!                    │ connected │                                │ lost │
//!                    └───────────┘ ◀───────────────────────────── └──────┘
//!                                   the next wait, with back-off
//! ```
//! - **Calls.** [`begin`](Connection::begin) puts a call under way and [`wait`](Connection::wait) fetches its answer, in
//!   any order; [`call`](Connection::call) does both. Whatever else arrives meanwhile is queued by kind.
//! - **Waiting** always polls for reading and for writing. While one call is waited for, answers to others, events and
//!   stream data are taken off the socket, so a daemon never stalls on this client and this client never on itself.
//! - **Bounds.** Open calls are as many as the daemon takes. Stream data are bounded by credit, which is granted as data
//!   are fetched. Events are bounded by giving up the subscription when too many wait, and asking again behind the last
//!   one when they were fetched (module `events`): reading never stops, and only the daemon's GAP means loss.
//! - **A lost link** is made anew by the next wait, for as long as [`Options::reconnect`] says. Calls that only read are
//!   asked again, the subscription goes on behind the last event, and calls that change something fail with
//!   [`Error::Lost`], because nobody knows whether they were done. Streams are over; a console can be opened again behind
//!   what was read of it (module `resume`). [`Connection::outage`] tells how it stands.

mod enroll;
mod events;
mod link;
mod open;
mod pause;
mod recovery;
mod resume;
#[cfg(test)]
pub(crate) mod scripted;
mod streams;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use vmwire_protocol::message::{
    CancelCall, ClientData, Failure, HelloAnswer, HelloCall, Procedure, Progress, ServerData, capability, code,
};
use vmwire_protocol::version;
use vmwire_protocol::xdr::{List, Text};

pub(crate) use enroll::{NotEnrolled, enroll};
pub use events::{Notice, Subscription};
pub use recovery::Outage;
pub use resume::{ConsoleSource, Resumed};
pub use streams::{Capture, Console, Received, Shown};

use crate::ask::Ask;
use crate::error::Error;
use crate::request::{self, Request};
use crate::transport::{Dialer, Environment, Location, Socket};
use crate::uri::{Transport, Uri};
use events::Subscribed;
use link::{Arrival, Link};
use open::Origin;
use recovery::{Attempt, Trouble};
use streams::Incoming;

/// How long after the daemon's own deadline an answer is still waited for. Until then silence is the daemon's fault.
const DEADLINE_GRACE: Duration = Duration::from_secs(5);

/// The same where the program has set the deadline: whoever did wants to know soon, and the daemon's own answer, which
/// says more, is only given the time to get here.
pub(crate) const CHOSEN_DEADLINE_GRACE: Duration = Duration::from_millis(500);

/// Whoever waits for longer than this waits for ever.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How many unsent bytes a connection may hold before beginning another call waits.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// How a connection behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// What this program calls itself towards the daemon.
    pub name: String,
    /// The newest minor of the protocol to agree on. Lower it to be treated as an older client.
    pub newest_minor: u32,
    /// How long connecting may take, the daemon's start included.
    pub connect_timeout: Duration,
    /// How long, within that, the daemon may take to answer the greeting.
    pub greeting_timeout: Duration,
    /// How long a silent daemon is waited for before it is asked whether it is still there; when it stays silent as long
    /// again, the connection counts as lost.
    pub keepalive: Duration,
    /// For how long a lost connection is tried to be made anew. Zero: not at all.
    pub reconnect: Duration,
    /// Who answers what only a person can: whether an unknown host is meant, passphrases, passwords. Without anybody
    /// nothing is asked, and what would need an answer is refused.
    pub ask: Option<Arc<dyn Ask>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: concat!("vmwire/", env!("CARGO_PKG_VERSION")).to_owned(),
            newest_minor: version::NEWEST_MINOR,
            connect_timeout: Duration::from_secs(10),
            greeting_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(15),
            reconnect: Duration::from_secs(10),
            ask: None,
        }
    }
}

/// A call that was begun and whose answer is to be fetched with [`Connection::wait`]. Dropped, the answer is dropped too.
#[derive(Debug)]
#[must_use = "the answer is fetched with Connection::wait"]
pub struct PendingCall<R: Request> {
    id: u64,
    _alive: Arc<()>,
    answer: PhantomData<fn() -> R::Answer>,
}

/// A connection to a daemon. See the [module](self).
#[derive(Debug)]
pub struct Connection {
    origin: Origin,
    options: Options,
    transport: Transport,
    link: Option<Link>,
    /// Counts links, so that what belonged to a former one is told apart.
    generation: u64,
    linked: Instant,
    /// Why there is no link, or was none until shortly ago.
    trouble: Option<Trouble>,
    hello: HelloAnswer,
    calls: BTreeMap<u64, OpenCall>,
    calls_begun: u64,
    subscribed: Option<Subscribed>,
    /// By generation and number.
    streams: BTreeMap<(u64, u32), Incoming>,
    arrivals: Vec<Arrival>,
}

/// A call from its beginning until its answer is fetched.
#[derive(Debug)]
struct OpenCall {
    alive: Weak<()>,
    /// The serial under which it is under way on the present link.
    serial: Option<u32>,
    /// What to ask again after a lost link; `None` where that is not for the library to decide.
    repeat: Option<ClientData>,
    deadline: Option<Duration>,
    until: GiveUp,
    progress: Option<Progress>,
    begun: Instant,
    /// With how long it took.
    outcome: Option<Result<(ServerData, Duration), Error>>,
}

/// When an answer is not to be expected any more: the daemon has let its deadline pass, and a little longer.
#[derive(Debug, Clone, Copy)]
struct GiveUp {
    at: Instant,
    time: Duration,
    grace: Duration,
}

impl GiveUp {
    fn of(data: &ClientData, deadline: Option<Duration>) -> Self {
        let longest = Duration::from_secs(24 * 60 * 60);
        let time = Procedure::of(data.number()).map_or(longest, |procedure| procedure.deadline(milliseconds(deadline)));
        let grace = if deadline.is_some() { CHOSEN_DEADLINE_GRACE } else { DEADLINE_GRACE };
        Self { at: Instant::now() + time + grace, time, grace }
    }

    fn check(self) -> Result<(), Error> {
        if Instant::now() >= self.at { Err(Error::Deadline(self.time)) } else { Ok(()) }
    }
}

impl Connection {
    /// Connects to the daemon that a URI means and agrees on a version. Where the daemon is one's own and does not run,
    /// it is started.
    ///
    /// # Errors
    /// When nobody can be reached there, or whoever is there does not want or understand us.
    pub fn open(uri: &Uri, environment: &Environment, options: Options) -> Result<Self, Error> {
        let dialer = Dialer::new(Location::of(uri, environment)?);
        Self::from_origin(Origin::Dialer(Box::new(dialer)), options)
    }

    /// Takes over a connected socket and agrees on a version. Such a connection cannot be made anew when it is lost.
    ///
    /// # Errors
    /// When whoever is there does not want or understand us.
    pub fn from_socket(socket: UnixStream, options: Options) -> Result<Self, Error> {
        Self::from_origin(Origin::Given(Some(Socket::unix(socket))), options)
    }

    fn from_origin(mut origin: Origin, options: Options) -> Result<Self, Error> {
        let (link, hello) = origin.open(&options, None)?;
        Ok(Self {
            origin,
            options,
            transport: link.transport(),
            link: Some(link),
            generation: 1,
            linked: Instant::now(),
            trouble: None,
            hello,
            calls: BTreeMap::new(),
            calls_begun: 0,
            subscribed: None,
            streams: BTreeMap::new(),
            arrivals: Vec::new(),
        })
    }

    /// What the daemon answered to HELLO: versions, epoch, who we are to it.
    #[must_use]
    pub fn hello(&self) -> &HelloAnswer {
        &self.hello
    }

    /// The minor in force.
    #[must_use]
    pub fn minor(&self) -> u32 {
        self.hello.minor
    }

    /// Whether there is a link now, as far as is known without looking.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// How the daemon is reached.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Version and cipher of TLS, while there is a link that has it.
    #[must_use]
    pub fn tls_summary(&self) -> Option<String> {
        self.link.as_ref().and_then(Link::tls_summary)
    }

    /// How often a lost link was made anew.
    #[must_use]
    pub fn reconnections(&self) -> u64 {
        self.generation - 1
    }

    /// Asks and waits for the answer. `deadline` bounds how long the daemon may take; `None` leaves it to the procedure.
    ///
    /// # Errors
    /// The daemon's [`Error::Failure`], or why there is no answer.
    pub fn call<R: Request>(&mut self, request: R, deadline: Option<Duration>) -> Result<R::Answer, Error> {
        let pending = self.begin(request, deadline)?;
        self.wait(pending)
    }

    /// Puts a call under way. It is handed to the system at once as far as there is room; waits only while the daemon
    /// has as many calls as it takes, or too much is unsent.
    ///
    /// # Errors
    /// When the request fits into no packet, or there is no connection and none could be made.
    pub fn begin<R: Request>(&mut self, request: R, deadline: Option<Duration>) -> Result<PendingCall<R>, Error> {
        let data = request.into_data();
        let alive = Arc::new(());
        let id = self.begin_data(data, R::REPEATABLE, deadline, Arc::downgrade(&alive))?;
        Ok(PendingCall { id, _alive: alive, answer: PhantomData })
    }

    /// Waits for the answer to a call.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn wait<R: Request>(&mut self, pending: PendingCall<R>) -> Result<R::Answer, Error> {
        self.wait_timed(pending).map(|(answer, _)| answer)
    }

    /// The same, and how long the answer was under way: from the sending to its arrival, however late it is waited for.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn wait_timed<R: Request>(&mut self, pending: PendingCall<R>) -> Result<(R::Answer, Duration), Error> {
        let PendingCall { id, _alive, .. } = pending;
        let (data, time) = self.wait_data(id)?;
        let answer =
            R::answer(data).ok_or_else(|| Error::Protocol("an answer is of another kind than its call".to_owned()));
        Ok((answer?, time))
    }

    /// How far a call has come, if the daemon has said so. The latest only.
    #[must_use]
    pub fn progress<R: Request>(&self, pending: &PendingCall<R>) -> Option<&Progress> {
        self.calls.get(&pending.id)?.progress.as_ref()
    }

    /// Asks the daemon to give up a call. The call is still answered, by `CANCELLED` or by what came first. Answers
    /// whether the daemon knew it.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn cancel<R: Request>(&mut self, pending: &PendingCall<R>) -> Result<bool, Error> {
        let Some(serial) = self.calls.get(&pending.id).and_then(|call| call.serial) else { return Ok(false) };
        Ok(self.call(request::Cancel(CancelCall { serial }), None)?.found)
    }

    /// Waits until something has arrived, `extra` is readable, or the time is over, and says whether `extra` is. What
    /// arrived is fetched with the calls that do not wait. For programs that have a terminal or a pipe beside the daemon.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn wait_beside(&mut self, extra: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<bool, Error> {
        self.turn(timeout.map(in_time), Some(extra))
    }

    /// Waits until something has arrived or the time is over. What arrived is fetched with the calls that do not wait.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn wait_a_moment(&mut self, timeout: Duration) -> Result<(), Error> {
        self.turn(Some(in_time(timeout)), None).map(drop)
    }

    fn begin_data(
        &mut self,
        data: ClientData,
        repeatable: bool,
        deadline: Option<Duration>,
        alive: Weak<()>,
    ) -> Result<u64, Error> {
        // What nobody will fetch any more has no place here.
        self.calls.retain(|_, call| call.outcome.is_none() || call.alive.strong_count() > 0);
        let until = GiveUp::of(&data, deadline);
        self.restore(until.at, Attempt::Within)?;
        let calls_max = usize::try_from(self.hello.calls_in_flight_max).unwrap_or(usize::MAX).max(1);
        while (counts(&data) && self.calls_open() >= calls_max) || self.unsent() > UNSENT_BYTES_MAX {
            until.check()?;
            self.turn(Some(until.at), None)?;
        }
        let Some(link) = self.link.as_mut() else { return Err(self.reason()) };
        let begun = Instant::now();
        let serial = link.session.call(&data, milliseconds(deadline))?;
        link.write();
        self.calls_begun += 1;
        let call = OpenCall {
            alive,
            serial: Some(serial),
            repeat: repeatable.then_some(data),
            deadline,
            until,
            progress: None,
            begun,
            outcome: None,
        };
        self.calls.insert(self.calls_begun, call);
        Ok(self.calls_begun)
    }

    fn wait_data(&mut self, id: u64) -> Result<(ServerData, Duration), Error> {
        loop {
            let Some(call) = self.calls.get_mut(&id) else {
                return Err(Error::Protocol("the call is not known any more".to_owned()));
            };
            if let Some(outcome) = call.outcome.take() {
                self.calls.remove(&id);
                return outcome;
            }
            let until = call.until;
            if let Err(error) = until.check() {
                self.calls.remove(&id);
                return Err(error);
            }
            let waited = match self.link {
                Some(_) => self.turn(Some(until.at), None).map(drop),
                None => self.restore(until.at, Attempt::Within),
            };
            // The link may break just after the answer came, and a call to be repeated outlives it.
            if let Err(error) = waited
                && self.calls.get(&id).is_some_and(|call| call.outcome.is_none())
                && !self.may_restore(&error)
            {
                self.calls.remove(&id);
                return Err(error);
            }
        }
    }

    fn calls_open(&self) -> usize {
        self.link.as_ref().map_or(0, |link| link.session.open_calls().count())
    }

    fn unsent(&mut self) -> usize {
        self.link.as_mut().map_or(0, |link| link.session.outbox().unsent().len())
    }

    /// One turn of the link, and what came of it put where it belongs.
    fn turn(&mut self, until: Option<Instant>, extra: Option<BorrowedFd<'_>>) -> Result<bool, Error> {
        let Some(link) = self.link.as_mut() else { return Err(self.reason()) };
        let mut arrivals = std::mem::take(&mut self.arrivals);
        let turned = link.turn(until, extra, &mut arrivals);
        let mut filed = Ok(());
        for arrival in arrivals.drain(..) {
            filed = filed.and_then(|()| self.file(arrival));
        }
        self.arrivals = arrivals;
        match turned.and_then(|extra| filed.map(|()| extra)) {
            Ok(extra) => {
                self.relieve();
                Ok(extra)
            }
            Err(error) => {
                self.lose(&error);
                Err(error)
            }
        }
    }

    fn file(&mut self, arrival: Arrival) -> Result<(), Error> {
        match arrival {
            Arrival::Answer { serial, result } => self.take_answer(serial, result),
            Arrival::Progress { serial, progress } => {
                if let Some(call) = self.open_call(serial) {
                    call.progress = Some(progress);
                }
            }
            Arrival::Event(event) => self.take_notice(Notice::Event(event))?,
            Arrival::Gap(gap) => self.take_notice(Notice::Gap(gap))?,
            Arrival::StreamData { stream, offset, data } => self.take_data(stream, offset, data),
            Arrival::StreamEnded(stream) => self.take_end(stream, None),
            Arrival::StreamOver { stream, why } => self.take_end(stream, why),
        }
        Ok(())
    }

    fn take_answer(&mut self, serial: u32, result: Result<ServerData, Failure>) {
        let found = self.calls.iter().find(|(_, call)| call.serial == Some(serial)).map(|(id, _)| *id);
        if let Some(call) = found.and_then(|id| self.calls.get_mut(&id))
            && call.alive.strong_count() > 0
        {
            call.serial = None;
            let time = call.begun.elapsed();
            call.outcome = Some(result.map(|data| (data, time)).map_err(|failure| Error::Failure(Box::new(failure))));
            return;
        }
        // Nobody waits for it any more, or nobody ever did.
        if let Some(id) = found {
            self.calls.remove(&id);
        }
        self.unloaded(serial);
        let stream = match result {
            Ok(ServerData::ConsoleOpen(console)) => Some(console.stream),
            Ok(ServerData::CaptureOpen(capture)) => Some(capture.stream),
            _ => None,
        };
        if let (Some(stream), Some(link)) = (stream, self.link.as_mut()) {
            let why = Failure::new(code::CANCELLED, "the client has given up waiting for it");
            link.session.stream_end(stream, Some(why));
            link.write();
        }
    }

    fn open_call(&mut self, serial: u32) -> Option<&mut OpenCall> {
        self.calls.values_mut().find(|call| call.serial == Some(serial))
    }
}

/// The moment that lies so far ahead; a time that is not to end at all ends after a year.
fn in_time(time: Duration) -> Instant {
    Instant::now() + time.min(YEAR)
}

/// The greeting of a client.
fn greeting(options: &Options) -> ClientData {
    ClientData::Hello(HelloCall {
        major: version::MAJOR,
        minor: options.newest_minor.min(version::NEWEST_MINOR),
        capabilities: List::clipped([capability::PROGRESS]),
        name: Text::clipped(&options.name),
    })
}

/// Whether a call counts among those in flight; the others are dealt with where they are read.
fn counts(data: &ClientData) -> bool {
    !matches!(data, ClientData::Hello(_) | ClientData::Ping | ClientData::Cancel(_) | ClientData::Unsubscribe)
}

/// A deadline as it is sent: whole milliseconds, of which 0 means that there is none.
fn milliseconds(deadline: Option<Duration>) -> u32 {
    deadline.map_or(0, |deadline| u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX).max(1))
}
