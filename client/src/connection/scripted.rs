//! A daemon that does what a test tells it, step by step, on a thread of its own: the protocol's own session over a
//! socket that blocks, of any kind ([`wire`]), and everything with a time limit.

pub(crate) mod wire;

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vmwire_protocol::message::{ClientData, Cursor, Event, Failure, HostInfoAnswer, ServerData, SubscribeAnswer, role};
use vmwire_protocol::session::{Call, Peer, ServerConfig, ServerSession, Step, Ticket};
use vmwire_protocol::xdr::{Fixed, Opaque, Text};

use super::{Connection, Options};
use crate::transport::Environment;
use wire::{Over, Wire, place};

/// Longer than any step takes, shorter than anybody waits for a test.
const STEP_TIME: Duration = Duration::from_secs(30);

/// The epoch of a scripted daemon's events.
pub(crate) const EPOCH: Fixed<16> = Fixed([7; 16]);

/// A host that is known by how many processors it has.
pub(crate) fn host_info(cpus: u32) -> ServerData {
    ServerData::HostInfo(HostInfoAnswer {
        hostname: Text::clipped("h"),
        kernel: Text::clipped("k"),
        architecture: Text::clipped("a"),
        cpus,
        memory_bytes: 1,
        driver: Text::clipped("test"),
        hypervisor: Text::default(),
        vms_defined: 0,
        vms_running: 0,
    })
}

/// A scripted daemon.
pub(crate) struct Scripted {
    wire: Wire,
    pub(crate) session: ServerSession,
    /// What came and was not asked for yet.
    came: VecDeque<Came>,
}

/// What a client did.
#[derive(Debug)]
pub(crate) enum Came {
    Call(Call),
    Cancelled(u32),
    Unsubscribed,
    Data { offset: u64, data: Vec<u8> },
    Room,
    Ended,
    Over,
}

impl Scripted {
    pub(crate) fn new(wire: impl Into<Wire>, newest_minor: u32) -> Self {
        let mut wire = wire.into();
        wire.set_write_timeout(STEP_TIME);
        let config = ServerConfig { newest_minor, server: Text::clipped("scripted"), epoch: EPOCH };
        let peer = Peer::new(Text::clipped("uid 7"), role::ADMIN);
        Self { wire, session: ServerSession::new(Arc::new(config), peer), came: VecDeque::new() }
    }

    /// The next thing the client does. `None` when it has gone.
    pub(crate) fn next(&mut self) -> Option<Came> {
        while self.came.is_empty() {
            if !self.read(STEP_TIME).expect("the client did nothing in time") {
                return None;
            }
        }
        self.came.pop_front()
    }

    /// The next thing that is not a grant of credit.
    pub(crate) fn next_but_room(&mut self) -> Option<Came> {
        loop {
            match self.next() {
                Some(Came::Room) => {}
                other => return other,
            }
        }
    }

    /// Answers nothing but PING until a time.
    pub(crate) fn only_pings(&mut self, until: Instant) {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.read(left).is_some_and(|came| !came) {
                return;
            }
        }
    }

    /// Reads once; `None` when nothing came in time, `false` when the client has gone.
    fn read(&mut self, time: Duration) -> Option<bool> {
        let mut buffer = vec![0; 65536];
        let count = match self.wire.read(&mut buffer, time) {
            // Whoever goes with something unread in his hands leaves so.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            came => came.map_err(|error| eprintln!("the client was waited for: {error}")).ok()?,
        };
        let mut input = &buffer[..count];
        loop {
            let mut rest = input;
            let step = self.session.step(Instant::now(), &mut rest);
            input = &input[input.len() - rest.len()..];
            self.came.push_back(match step {
                Step::Idle | Step::Blocked | Step::Closed => break,
                Step::Handled | Step::Refused { .. } => continue,
                Step::Call(call) => Came::Call(call),
                Step::Cancelled(serial) => Came::Cancelled(serial),
                Step::Unsubscribed => Came::Unsubscribed,
                Step::StreamData { offset, data, .. } => Came::Data { offset, data: data.to_vec() },
                Step::StreamRoom(_) => Came::Room,
                Step::StreamEnded(_) => Came::Ended,
                Step::StreamOver { .. } => Came::Over,
            });
        }
        self.flush();
        Some(count > 0)
    }

    /// The next thing, which is a call.
    pub(crate) fn call(&mut self) -> (Ticket, ClientData) {
        match self.next() {
            Some(Came::Call(call)) => (call.ticket, call.data),
            other => panic!("a call was due, and this came: {other:?}"),
        }
    }

    pub(crate) fn answer(&mut self, ticket: Ticket, data: &ServerData) {
        self.session.answer(ticket, data);
        self.flush();
    }

    pub(crate) fn fail(&mut self, ticket: Ticket, failure: Failure) {
        self.session.fail(ticket, failure);
        self.flush();
    }

    /// Takes a SUBSCRIBE, answers it, and says what it asked for.
    pub(crate) fn subscribed(&mut self, first: u64) -> Option<Cursor> {
        let (ticket, data) = self.call();
        let ClientData::Subscribe(call) = data else { panic!("no SUBSCRIBE: {data:?}") };
        let first = Cursor { epoch: EPOCH, sequence: first };
        self.answer(ticket, &ServerData::Subscribe(SubscribeAnswer { first }));
        call.after
    }

    pub(crate) fn event(&mut self, sequence: u64, detail_bytes: usize) {
        assert!(self.offer_event(sequence, detail_bytes), "the client does not read");
    }

    /// Sends an event; `false` when the client does not take it.
    pub(crate) fn offer_event(&mut self, sequence: u64, detail_bytes: usize) -> bool {
        let event = Event {
            epoch: EPOCH,
            sequence,
            time_ns: 1,
            operation: 0,
            vm: None,
            kind: 999,
            detail: Opaque::new(vec![0; detail_bytes]).unwrap(),
        };
        self.unasked(&ServerData::Event(event))
    }

    pub(crate) fn unasked(&mut self, data: &ServerData) -> bool {
        let mut encoded = Vec::new();
        data.encode(&mut encoded).unwrap();
        self.session.event(&encoded);
        self.try_flush()
    }

    pub(crate) fn flush(&mut self) {
        assert!(self.try_flush(), "the client does not read");
    }

    fn try_flush(&mut self) -> bool {
        let outbox = self.session.outbox();
        let written = outbox.unsent().len();
        if self.wire.write_all(outbox.unsent()).is_err() {
            return false;
        }
        outbox.advance(written);
        self.session.flushed();
        true
    }

    /// Answers HELLO and goes. `false` when there was none.
    pub(crate) fn greet_and_go(wire: impl Into<Wire>) -> bool {
        let mut daemon = Self::new(wire, 1);
        daemon.read(STEP_TIME) == Some(true) && !daemon.session.client_name().is_empty()
    }

    /// Goes on until the client has gone, answering nothing.
    pub(crate) fn until_gone(mut self) {
        while self.next().is_some() {}
    }
}

/// A connection to a daemon that does what `script` says, which is not made anew. Join the handle at the end: a script
/// that fails fails the test.
pub(crate) fn connected(
    over: Over,
    newest_minor: u32,
    options: Options,
    script: impl FnOnce(Scripted) + Send + 'static,
) -> (Connection, JoinHandle<()>) {
    let place = place(over);
    let listener = place.listener;
    let daemon = std::thread::spawn(move || script(Scripted::new(listener.accept(), newest_minor)));
    let options = Options { reconnect: Duration::ZERO, ..options };
    (Connection::open(&place.uri, &Environment::default(), options).unwrap(), daemon)
}
