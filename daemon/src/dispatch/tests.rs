//! The core with the test hypervisor, driven in memory on a virtual clock.

mod adopting;
mod agent;
mod audit;
mod capture;
mod capture_agents;
mod connection;
mod console;
mod define;
mod enrolment;
mod life;
mod rights;
mod shutdown;
mod taken_away;
mod unseen;

use std::sync::Arc;
use std::time::Duration;

use mio::event::Source;
use vmwire_protocol::limits::TOTAL_BYTES_MAX;
use vmwire_protocol::message::*;
use vmwire_protocol::session::{ClientSession, ClientStep, Closing};
use vmwire_protocol::version::NEWEST_MINOR;
use vmwire_protocol::xdr::{Fixed, List, Text};

use super::*;
use crate::access::{Access, Base, Identity, Rule};

/// Nobody's descriptors and nobody's files, but for the lines of the audit.
#[derive(Default)]
struct NoHost {
    audited: String,
    /// How many requests there were, and the last one if it was not answered.
    requests: u64,
    unanswered: Option<FileTicket>,
    /// The lines that were added to a file, and the request that was not answered yet.
    noted: Vec<String>,
    noting: Option<FileTicket>,
    /// Definitions that are to be written or removed.
    writing: Vec<FileTicket>,
}

impl Host for NoHost {
    fn watch(&mut self, _source: &mut dyn Source) -> std::io::Result<Token> {
        unreachable!("the test hypervisor has no descriptors")
    }

    fn unwatch(&mut self, _source: &mut dyn Source, _token: Token) {}

    fn file(&mut self, request: crate::driver::FileRequest) -> FileTicket {
        self.requests += 1;
        match request {
            crate::driver::FileRequest::Append { lines, .. } => {
                self.audited.push_str(&String::from_utf8(lines).unwrap());
            }
            crate::driver::FileRequest::AddLine { path, line } => {
                self.noted.push(format!("{} {}", path.display(), String::from_utf8(line).unwrap()));
                assert_eq!(self.noting.replace(FileTicket(self.requests)), None, "one at a time");
                return FileTicket(self.requests);
            }
            _ => {
                self.writing.push(FileTicket(self.requests));
                return FileTicket(self.requests);
            }
        }
        assert_eq!(self.unanswered.replace(FileTicket(self.requests)), None, "one at a time");
        FileTicket(self.requests)
    }
}

/// A daemon and its clients in memory.
struct World {
    dispatch: Dispatch,
    now: Now,
    host: NoHost,
}

/// A client, and what it was told.
struct Visitor {
    id: ConnectionId,
    session: ClientSession,
    answers: Vec<(u32, Result<ServerData, Failure>)>,
    events: Vec<Event>,
    gaps: Vec<Gap>,
    console: Vec<u8>,
    /// Where the last data of a console ended, and how many times it jumped to get there.
    console_at: u64,
    console_jumps: usize,
    over: Vec<(u32, Option<Failure>)>,
    closed: Option<Closing>,
}

impl World {
    fn new() -> Self {
        Self::with_rules(Now::read(), Vec::new())
    }

    fn with_rules(now: Now, rules: Vec<Rule>) -> Self {
        let parts = Parts::in_memory(Access { own_uid: 7, rules });
        let mut world = Self { dispatch: Dispatch::new(parts, now), now, host: NoHost::default() };
        world.turn(Dispatch::start);
        world
    }

    fn turn<T>(&mut self, work: impl FnOnce(&mut Dispatch, &mut Turn<'_>) -> T) -> T {
        work(&mut self.dispatch, &mut Turn { now: self.now, host: &mut self.host })
    }

    fn visitor(&mut self) -> Visitor {
        self.visitor_as(Identity::unix(0, 0), Base::Owners)
    }

    fn visitor_as(&mut self, identity: Identity, base: Base) -> Visitor {
        let arrival = Arrival { identity, base, refusal: None, first_packet_by: None };
        let id = self.turn(|dispatch, turn| dispatch.accept(turn, arrival));
        Visitor {
            id,
            session: ClientSession::new(),
            answers: Vec::new(),
            events: Vec::new(),
            gaps: Vec::new(),
            console: Vec::new(),
            console_at: 0,
            console_jumps: 0,
            over: Vec::new(),
            closed: None,
        }
    }

    /// Moves bytes both ways until nothing more happens at this moment.
    fn exchange(&mut self, visitor: &mut Visitor) {
        loop {
            let sent = visitor.session.outbox().unsent().to_vec();
            visitor.session.outbox().advance(sent.len());
            self.turn(|dispatch, turn| {
                dispatch.input(turn, visitor.id, &sent, &mut Share::whole());
                dispatch.collect(turn);
                dispatch.flushed(turn, visitor.id, &mut Share::whole());
            });
            let Some(outbox) = self.dispatch.outbox(visitor.id) else { return };
            let received = outbox.unsent().to_vec();
            outbox.advance(received.len());
            visitor.receive(&received);
            if sent.is_empty() && received.is_empty() {
                return;
            }
        }
    }

    /// Lets time pass, in the steps that the core asks for.
    fn pass(&mut self, visitor: &mut Visitor, time: Duration) {
        let end = self.now.later(time);
        while let Some(at) = self.dispatch.poll_timeout(self.now.monotonic).filter(|at| *at <= end.monotonic) {
            self.now = self.now.later(at.saturating_duration_since(self.now.monotonic));
            self.turn(|dispatch, turn| {
                dispatch.handle_timeout(turn);
                dispatch.collect(turn);
                dispatch.hand_over_audit(turn);
            });
            if let Some(ticket) = self.host.unanswered.take() {
                self.turn(|dispatch, turn| dispatch.handle_file(turn, ticket, FileAnswer::Done));
            }
            self.exchange(visitor);
        }
        self.now = end;
    }

    fn ask(&mut self, visitor: &mut Visitor, data: &ClientData) -> Result<ServerData, Failure> {
        let serial = visitor.session.call(data, 0).unwrap();
        self.exchange(visitor);
        for _ in 0..100 {
            if let Some(at) = visitor.answers.iter().position(|(answered, _)| *answered == serial) {
                return visitor.answers.remove(at).1;
            }
            self.pass(visitor, Duration::from_secs(1));
        }
        panic!("no answer to {data:?}")
    }

    fn define(&mut self, visitor: &mut Visitor, text: &str) -> Result<ServerData, Failure> {
        let definition = Text::new(text).unwrap();
        self.ask(visitor, &ClientData::VmDefine(VmDefineCall { definition, replace: false }))
    }
}

impl Visitor {
    fn receive(&mut self, bytes: &[u8]) {
        let mut input = bytes;
        loop {
            match self.session.step(&mut input) {
                ClientStep::Idle => return,
                ClientStep::Answer { serial, result } => self.answers.push((serial, result)),
                ClientStep::Event(event) => self.events.push(event),
                ClientStep::Gap(gap) => self.gaps.push(gap),
                ClientStep::StreamData { stream, offset, data, .. } => {
                    let taken = data.len();
                    self.console_jumps += usize::from(offset != self.console_at);
                    self.console_at = offset + u64::try_from(taken).unwrap();
                    self.console.extend_from_slice(data);
                    self.session.stream_taken(stream, taken);
                }
                ClientStep::StreamOver { stream, why } => self.over.push((stream, why)),
                ClientStep::StreamEnded(stream) => self.over.push((stream, None)),
                ClientStep::Closed(closing) => {
                    self.closed = Some(closing);
                    return;
                }
                ClientStep::Handled | ClientStep::Progress { .. } | ClientStep::StreamRoom(_) => {}
            }
        }
    }
}

fn vm(name: &str) -> VmCall {
    VmCall { vm: Text::clipped(name) }
}

fn start(name: &str) -> ClientData {
    ClientData::VmStart(VmStartCall { vm: Text::clipped(name), paused: false })
}

fn simple(name: &str, script: &str) -> String {
    format!("name = \"{name}\"\nmemory = \"64 MiB\"\n[test]\n{script}\n")
}
