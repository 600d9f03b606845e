//! Clients, links and the core together on a virtual clock: steps that a seed determines, what must hold after each of
//! them, and what must hold when all has come to rest.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use vmwire_daemon::access::{Access, Base, Identity, Role};
use vmwire_daemon::audit::{Level, Rate, Settings};
use vmwire_daemon::dispatch::{Arrival, DaemonFacts, Dispatch, HostFacts, Parts, Refusal, Restored, Turn};
use vmwire_daemon::event_loop::Now;
use vmwire_daemon::model::{Definition, VmId};
use vmwire_protocol::limits::{TOTAL_BYTES_MAX, UNSENT_BYTES_HIGH};
use vmwire_protocol::message::{Event, ServerData, code, event_kind, operation_state};
use vmwire_protocol::session::ServerConfig;
use vmwire_protocol::xdr::{Opaque, Text};

use crate::calls::{self, BIG, NAMES, Surroundings};
use crate::client::{Client, Tally, uid};
use crate::doubles::{Files, NotingStore, Reordered};
use crate::link::{Link, SharedLink};
use crate::random::Random;
use crate::rights::{Group, Rights};
use crate::rules::{first_rights, rules_of};
use crate::server::{Server, Turned};
use crate::truth::{Shared, Truth};

/// Lines of the log that are shown when something is wrong.
const LOG_LINES_MAX: usize = 60;
/// More than this is never unsent: beyond the bound only the answer that crossed it, none of which is longer here.
const UNSENT_BYTES_MAX: usize = UNSENT_BYTES_HIGH + 128 * 1024;
/// Rounds in which a world without faults has to come to rest.
const ROUNDS_MAX: u32 = 300_000;

/// A daemon, its clients, and what lies between.
pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) truth: Shared,
    pub(crate) server: Server,
    pub(crate) clients: Vec<Client>,
    /// Connections that somebody asked to be shown out.
    kicked: BTreeSet<u64>,
    /// Connections that were refused at the door.
    pub(crate) refused: BTreeSet<u64>,
    connections_max: u32,
    newest_minor: u32,
    /// Roles are told by rules, which change.
    pub(crate) ruled: bool,
    leaving: bool,
    pub(crate) tally: Tally,
    pub(crate) log: VecDeque<String>,
    /// Every line of the log is said as it comes.
    aloud: bool,
}

impl World {
    pub(crate) fn new(seed: u64, aloud: bool) -> Self {
        let mut random = Random::new(seed);
        let now = Now::read();
        let epoch = [7; 16];
        let mut definitions = Vec::new();
        for name in NAMES {
            if random.chance(35) {
                continue;
            }
            let id = VmId(uuid::Uuid::from_u128(1 + u128::try_from(definitions.len()).unwrap()));
            definitions.push((id, calls::definition(&mut random, name, Some(id), 0)));
        }
        let big = VmId(uuid::Uuid::from_u128(0xb1));
        definitions.push((big, calls::definition(&mut random, BIG, Some(big), 40_000)));
        let definitions: Vec<(VmId, Definition)> =
            definitions.into_iter().map(|(id, text)| (id, Definition::parse(&text).unwrap())).collect();
        let groups = definitions.iter().map(|(id, definition)| (*id, Group::of(definition))).collect();
        let restored = restored(&mut random, epoch);
        let known = restored.iter().map(|(event, encoded)| (event.clone(), encoded.len())).collect();
        let newest_minor = *random.pick(&[0, 1, 1, 2, 2, 2, 2]).unwrap();
        let clients = 2 + u8::try_from(random.below(6)).unwrap();
        let ruled = random.chance(60);
        let rights: Vec<Rights> = (0..clients).map(|client| first_rights(&mut random, client, ruled)).collect();
        let rules = rules_of(&rights);
        let truth = Rc::new(RefCell::new(Truth::new(now, epoch, groups, rights, known, aloud)));
        // Now and then there is no room for all.
        let connections_max = u32::from(clients) + random.word(3).saturating_sub(u32::from(random.chance(20)));
        let parts = Parts {
            session: Arc::new(ServerConfig { newest_minor, server: Text::clipped("sim"), epoch: epoch.into() }),
            driver: Box::new(Reordered::new(truth.clone(), random.fork())),
            store: Box::new(NotingStore { truth: truth.clone(), last: 0 }),
            definitions,
            events: Restored {
                epoch,
                events: restored.into_iter().map(|(event, encoded)| (event.sequence, encoded)).collect(),
            },
            registry: Ok(Default::default()),
            host: HostFacts::default(),
            daemon: DaemonFacts { connections_max, ..DaemonFacts::default() },
            access: Access { own_uid: 0, rules: if ruled { rules } else { Vec::new() } },
            audit: Some(Settings {
                path: "/sim/audit.jsonl".into(),
                level: Level::All,
                rotate_bytes: 1 << 20,
                keep: 1,
                rate: Rate { burst: 0, interval: Duration::from_secs(1) },
            }),
        };
        let mut core = Dispatch::new(parts, now);
        let mut files = Files::default();
        core.start(&mut Turn { now, host: &mut files });
        Self {
            random,
            truth,
            server: Server::new(core, files),
            clients: (0..clients).map(Client::new).collect(),
            kicked: BTreeSet::new(),
            refused: BTreeSet::new(),
            connections_max,
            newest_minor,
            ruled,
            leaving: false,
            tally: Tally::new(),
            log: VecDeque::new(),
            aloud,
        }
    }

    fn note(&mut self, line: String) {
        if self.log.len() >= LOG_LINES_MAX {
            self.log.pop_front();
        }
        if self.aloud {
            println!("  {line}");
        }
        self.log.push_back(line);
    }

    fn now(&self) -> Instant {
        self.truth.borrow().now.monotonic
    }

    /// One thing happens, and then what must hold is looked at.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        let client = self.random.length(self.clients.len());
        let what = match self.random.below(100) {
            0..=39 => self.act(client),
            40..=64 => self.exchange(client)?,
            65..=84 => format!("the daemon turns, and worked: {}", self.turn(false)?),
            85..=90 => self.pass_time()?,
            91..=93 => self.run_on()?,
            94 => self.stall(client),
            95..=96 => self.rule(client),
            97 => self.half_close(client),
            98 => self.cut(client),
            _ => self.toggle_deaf(client),
        };
        self.note(what);
        self.check()
    }

    fn act(&mut self, client: usize) -> String {
        if self.clients[client].connection.is_none() {
            return if self.random.chance(60) { self.connect(client) } else { format!("client {client} stays away") };
        }
        let around = self.surroundings();
        let truth = self.truth.borrow();
        let mut all = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let said = self.clients[client].act(&mut self.random, &around, &truth);
            // With rules it may be an admin when this arrives.
            let may = self.ruled || truth.rights[client].host() == Role::Admin;
            if let Some(kicked) = said.strip_prefix("ConnectionKick(ConnectionKickCall { id: ").filter(|_| may) {
                self.kicked.extend(kicked.split(' ').next().and_then(|id| id.parse::<u64>().ok()));
            }
            all.push(said);
        }
        drop(truth);
        format!("client {client}: {}", all.join(" | "))
    }

    fn surroundings(&self) -> Surroundings {
        let truth = self.truth.borrow();
        let vms: Vec<(VmId, String)> = truth.names_as_of(u64::MAX - 1).into_iter().collect();
        Surroundings {
            epoch: truth.epoch,
            newest_event: truth.next() - 1,
            oldest_event: truth.ring_first(),
            newest_operation: truth.operations.keys().next_back().copied().unwrap_or_default(),
            vms,
            connections: self.server.connections(),
            defined: truth.next(),
        }
    }

    fn connect(&mut self, client: usize) -> String {
        let now = self.truth.borrow().now;
        let denied = self.random.chance(4);
        let rights = self.truth.borrow().rights[client].clone();
        let arrival = Arrival {
            identity: Identity::unix(uid(self.clients[client].number), 0),
            base: if self.ruled { Base::Owners } else { Base::Everybody(rights.host()) },
            refusal: denied.then(|| Refusal::Denied("not you".to_owned())),
            first_packet_by: None,
        };
        // Admins are limited by descriptors alone, and here are none.
        let denied = denied || rights.is_none();
        let full = rights.host() != Role::Admin
            && u32::try_from(self.server.connections().len()).unwrap() >= self.connections_max;
        let link: SharedLink = Rc::new(RefCell::new(Link::new(&mut self.random)));
        let id = self.server.accept(now, arrival, link.clone()).number;
        if denied || full {
            self.refused.insert(id);
        }
        self.clients[client].connect(link, id, rights, now.monotonic, self.newest_minor);
        format!("client {client} connects as {id}, denied {denied}, full {full}")
    }

    /// A client writes and reads.
    fn exchange(&mut self, client: usize) -> Result<String, String> {
        let now = self.now();
        let Some(connection) = &mut self.clients[client].connection else { return Ok("nobody to exchange".to_owned()) };
        connection.write(&mut connection.link.clone().borrow_mut(), now, Some(&mut self.random));
        if self.random.chance(70) {
            connection.take_streams();
        }
        if !connection.deaf {
            self.read(client)?;
        }
        Ok(format!("client {client} exchanges"))
    }

    /// A client reads once. Answers whether anything came.
    fn read(&mut self, client: usize) -> Result<bool, String> {
        let truth = self.truth.borrow();
        let Some(connection) = &mut self.clients[client].connection else { return Ok(false) };
        let link = connection.link.clone();
        let came = connection.read(&mut link.borrow_mut(), &truth, &mut self.tally);
        if let Some(came) = came.map_err(|why| format!("client {client}: {why}"))? {
            return Ok(came);
        }
        let told = connection.told.as_ref().map(|told| told.code);
        let fair = match told {
            None => true,
            Some(code::GOING_AWAY) => self.leaving || self.kicked.contains(&connection.id),
            Some(code::OVERLOADED | code::DENIED) => self.refused.contains(&connection.id),
            Some(code::DEADLINE_EXCEEDED) => connection.age(truth.now.monotonic) >= Duration::from_secs(30),
            Some(code) => connection.trespassed == Some(code),
        };
        link.borrow_mut().client_closes();
        self.clients[client].lose(&truth);
        if fair { Ok(true) } else { Err(format!("client {client} was shown out with {told:?}")) }
    }

    /// One turn of the daemon. Answers whether there was anything to do.
    fn turn(&mut self, calm: bool) -> Result<bool, String> {
        let now = self.truth.borrow().now;
        let Turned { worked, overdue, resets } = self.server.turn(now, &mut self.random, calm);
        if calm && overdue + resets > 0 {
            return Err(format!(
                "the daemon lost patience although everybody reads: {overdue} overdue, {resets} reset"
            ));
        }
        if std::mem::take(&mut self.truth.borrow_mut().regrouped) {
            let now = self.places();
            self.begin_eras(&now, |_| true);
        }
        *self.tally.entry("given up on".to_owned()).or_default() += overdue;
        *self.tally.entry("resets".to_owned()).or_default() += resets;
        for connection in self.clients.iter_mut().filter_map(|client| client.connection.as_mut()) {
            connection.given_up |= overdue + resets > 0 && connection.link.borrow().daemon_closed;
        }
        if let Some(late) = self.next_timeout().filter(|at| *at < now.monotonic) {
            return Err(format!("something was due {:?} ago", now.monotonic.saturating_duration_since(late)));
        }
        Ok(worked)
    }

    fn pass_time(&mut self) -> Result<String, String> {
        let now = self.now();
        let by = match self.random.below(100) {
            0..=69 => Duration::from_millis(1 + self.random.below(20)),
            70..=84 => self.next_timeout().map_or(Duration::ZERO, |at| at.saturating_duration_since(now)),
            85..=97 => Duration::from_millis(self.random.below(40_000)),
            _ => Duration::from_secs(self.random.below(1800)),
        };
        self.advance(by);
        self.turn(false)?;
        Ok(format!("{by:?} pass"))
    }

    /// The daemon turns whenever something is due, for a while.
    fn run_on(&mut self) -> Result<String, String> {
        let since = self.now();
        for _ in 0..1 + self.random.below(60) {
            let Some(at) = self.next_timeout() else { break };
            self.advance(at.saturating_duration_since(self.now()).min(Duration::from_secs(1)));
            self.turn(false)?;
        }
        Ok(format!("the daemon runs on for {:?}", self.now().saturating_duration_since(since)))
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.server.poll_timeout(self.now())
    }

    fn advance(&mut self, by: Duration) {
        let mut truth = self.truth.borrow_mut();
        truth.now = truth.now.later(by);
    }

    fn stall(&mut self, client: usize) -> String {
        let until = self.now() + Duration::from_millis(self.random.below(3000));
        if let Some(connection) = &self.clients[client].connection {
            connection.link.borrow_mut().stall(self.random.chance(50), until);
        }
        format!("the link of client {client} stalls")
    }

    fn half_close(&mut self, client: usize) -> String {
        if let Some(connection) = &mut self.clients[client].connection {
            connection.half_closed = true;
        }
        format!("client {client} says no more")
    }

    fn cut(&mut self, client: usize) -> String {
        if let Some(connection) = &self.clients[client].connection {
            let mut link = connection.link.borrow_mut();
            if self.random.chance(50) {
                link.break_off();
            } else {
                link.client_closes();
            }
            drop(link);
            self.clients[client].lose(&self.truth.borrow());
        }
        format!("the link of client {client} breaks")
    }

    fn toggle_deaf(&mut self, client: usize) -> String {
        if let Some(connection) = &mut self.clients[client].connection {
            connection.deaf = !connection.deaf;
        }
        format!("client {client} begins or ends to read")
    }

    /// What holds at any time.
    fn check(&mut self) -> Result<(), String> {
        if let Some(wrong) = self.truth.borrow().wrong.first() {
            return Err(wrong.clone());
        }
        let census = self.server.core.census();
        if census.held_bytes > TOTAL_BYTES_MAX {
            return Err(format!("{} bytes are held in all", census.held_bytes));
        }
        for connection in &census.connections {
            if connection.unsent_bytes > UNSENT_BYTES_MAX {
                return Err(format!("too much is unsent: {connection:?}"));
            }
            if connection.calls_open != connection.calls_waiting {
                return Err(format!("calls and tickets do not match: {connection:?}"));
            }
            if connection.streams_open < connection.streams_served {
                return Err(format!("streams do not match: {connection:?}"));
            }
        }
        let waiting: usize = census.connections.iter().map(|connection| connection.calls_waiting).sum();
        if (census.calls, census.deadlines) != (waiting, waiting) {
            return Err(format!("calls without a connection or a deadline: {census:?}"));
        }
        let subscribed = census.connections.iter().filter(|connection| connection.subscribed).count();
        let served: usize = census.connections.iter().map(|connection| connection.streams_served).sum();
        if (census.subscribers, census.console_readers + census.captures) != (subscribed, served)
            || census.console_writers > served
            || census.lanes_awaited != census.lanes_called
            || !census.lanes.iter().all(|vm| self.truth.borrow().state(*vm).is_some())
            || census.graces > census.operations
            || census.files > census.operations
            || census.halves > census.connections.len()
        {
            return Err(format!("the books do not agree: {census:?}"));
        }
        Ok(())
    }

    /// All faults end; everything that was begun comes to its end, and nothing is left over.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        let now = self.now();
        let mut truth = self.truth.borrow_mut();
        (truth.calm, truth.calm_since) = (true, Some(now));
        drop(truth);
        self.heal();
        self.rest()?;
        let truth = self.truth.borrow();
        for client in &mut self.clients {
            let Some(connection) = &mut client.connection else { continue };
            connection.complete(client.number, &truth).map_err(|why| format!("client {}: {why}", client.number))?;
        }
        for (id, operation) in &truth.operations {
            if operation.state < operation_state::DONE {
                return Err(format!("operation {id} never ended: {operation:?}"));
            }
        }
        drop(truth);
        self.check()?;
        self.part()?;
        self.rest()?;
        self.check()?;
        for client in &self.clients {
            if let Some(connection) = &client.connection {
                return Err(format!("client {} is still here: {connection:?}", client.number));
            }
        }
        crate::audit::check(&self.server.files.audited)?;
        let census = self.server.core.census();
        if census.is_empty() && self.next_timeout().is_none() {
            Ok(())
        } else {
            Err(format!("left over: {census:?}, due {:?}", self.next_timeout()))
        }
    }

    fn heal(&mut self) {
        self.note("all faults end".to_owned());
        for connection in self.clients.iter_mut().filter_map(|client| client.connection.as_mut()) {
            connection.link.borrow_mut().heal();
            connection.deaf = false;
        }
    }

    /// Everybody goes: politely, without a word, or because the daemon leaves.
    fn part(&mut self) -> Result<(), String> {
        if self.random.chance(30) {
            self.note("the daemon leaves".to_owned());
            self.leaving = true;
            let now = self.truth.borrow().now;
            self.server.core.leave(&mut Turn { now, host: &mut self.server.files });
        }
        for client in 0..self.clients.len() {
            if self.leaving || self.random.chance(60) {
                self.half_close(client);
            } else {
                self.cut(client);
            }
        }
        Ok(())
    }

    /// Lets everything that can move move, and time pass, until nothing will ever happen any more.
    fn rest(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            let mut moved = self.turn(true)?;
            for client in 0..self.clients.len() {
                let now = self.now();
                if let Some(connection) = &mut self.clients[client].connection {
                    connection.take_streams();
                    moved |= connection.write(&mut connection.link.clone().borrow_mut(), now, None);
                    moved |= self.read(client)?;
                }
            }
            if moved {
                continue;
            }
            let truth = self.truth.borrow();
            truth.settled()?;
            for client in &self.clients {
                let connection = client.connection.as_ref().filter(|connection| connection.told.is_none());
                connection.map_or(Ok(()), |connection| connection.settled(&truth))?;
            }
            drop(truth);
            let Some(at) = self.next_timeout() else { return Ok(()) };
            self.advance(at.saturating_duration_since(self.now()));
        }
        let census = self.server.core.census();
        Err(format!("it never comes to rest: {census:?}, due {:?}", self.next_timeout()))
    }
}

/// Events that an earlier daemon left: none, a few, or as many as a ring holds.
fn restored(random: &mut Random, epoch: [u8; 16]) -> Vec<(Event, Bytes)> {
    let (count, bytes) = *random.pick(&[(0, 0), (20, 10), (4090, 0), (255, 16_000)]).unwrap();
    let first = if random.chance(50) { 1 } else { 1000 };
    let events = (0..count).map(|at| {
        let event = Event {
            epoch: epoch.into(),
            sequence: first + at,
            time_ns: at,
            operation: 0,
            vm: None,
            kind: event_kind::DAEMON_STARTED,
            detail: Opaque::new(vec![0; bytes]).unwrap(),
        };
        let mut encoded = Vec::new();
        ServerData::Event(event.clone()).encode(&mut encoded).unwrap();
        (event, Bytes::from(encoded))
    });
    events.collect()
}
