//! A connection between the real core and a socket that fails on demand.

use std::collections::VecDeque;
use std::sync::Arc;

use mio::Token;
use mio::event::Source;
use vmwire_protocol::header::MAGIC;
use vmwire_protocol::limits::{HALF_PACKET_TIME, UNSENT_BYTES_HIGH};
use vmwire_protocol::message::{
    ClientData, Failure, HelloCall, ServerData, VmCall, VmCell, VmDefineCall, VmFilter, VmListCall, code,
    filter_comparison, vm_field,
};
use vmwire_protocol::session::ServerConfig;
use vmwire_protocol::version::NEWEST_MINOR;
use vmwire_protocol::xdr::{Fixed, List, Text};

use super::*;
use crate::access::{Access, Base, Identity};
use crate::dispatch::{Arrival, DaemonFacts, HostFacts, MemoryStore, Parts, Restored};
use crate::driver::{FileRequest, FileTicket, Host, TestDriver};
use crate::event_loop::Now;

struct NoHost;

impl Host for NoHost {
    fn watch(&mut self, _source: &mut dyn Source) -> io::Result<Token> {
        unreachable!("the test hypervisor has no descriptors")
    }

    fn unwatch(&mut self, _source: &mut dyn Source, _token: Token) {}

    fn file(&mut self, _request: FileRequest) -> FileTicket {
        unreachable!("the memory store has no files")
    }
}

/// What a read finds. When there is nothing, it would block.
enum Incoming {
    Bytes(Vec<u8>),
    End,
    Error(io::ErrorKind),
}

#[derive(Default)]
struct Script {
    incoming: VecDeque<Incoming>,
    reads: usize,
    /// What can be written before it would block.
    room: usize,
    write_error: Option<io::ErrorKind>,
    written: Vec<u8>,
    writes: usize,
    /// Like TLS it takes what it is given into this, and sends it when there is room.
    keeps: Option<Vec<u8>>,
    /// Like TLS it has half of something that it cannot show.
    half: usize,
    /// Sending was shut down.
    shut_down: bool,
}

impl Read for Script {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        match self.incoming.pop_front() {
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(Incoming::End) => Ok(0),
            Some(Incoming::Error(kind)) => Err(kind.into()),
            Some(Incoming::Bytes(mut bytes)) => {
                let count = bytes.len().min(into.len());
                let rest = bytes.split_off(count);
                into[..count].copy_from_slice(&bytes);
                if !rest.is_empty() {
                    self.incoming.push_front(Incoming::Bytes(rest));
                }
                Ok(count)
            }
        }
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        if let Some(kind) = self.write_error {
            return Err(kind.into());
        }
        if let Some(kept) = &mut self.keeps {
            assert!(kept.is_empty() && !self.shut_down, "it was not flushed, or is over");
            kept.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        if self.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(self.room);
        self.room -= count;
        self.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(kept) = &mut self.keeps else { return Ok(()) };
        let count = kept.len().min(self.room);
        self.room -= count;
        self.written.extend(kept.drain(..count));
        if kept.is_empty() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

impl Socket for Script {
    fn below(&self) -> Below {
        Below { unsent: self.keeps.as_ref().map_or(0, Vec::len), half: self.half }
    }

    fn shut_down_sending(&mut self) -> io::Result<()> {
        assert!(self.keeps.as_ref().is_none_or(Vec::is_empty), "what it keeps would never be sent");
        self.shut_down = true;
        Ok(())
    }
}

struct World {
    core: Dispatch,
    now: Now,
    buffers: Buffers,
    connection: Connection<Script>,
    /// The serial of the last packet made.
    serial: u32,
}

impl World {
    fn new() -> Self {
        let now = Now::read();
        let session = ServerConfig { newest_minor: NEWEST_MINOR, server: Text::default(), epoch: Fixed::from([7; 16]) };
        let parts = Parts {
            session: Arc::new(session),
            driver: Box::new(TestDriver::new()),
            store: Box::new(MemoryStore::default()),
            definitions: Vec::new(),
            events: Restored { epoch: [7; 16], events: Vec::new() },
            registry: Ok(Default::default()),
            host: HostFacts::default(),
            daemon: DaemonFacts { connections_max: 9, ..DaemonFacts::default() },
            access: Access::default(),
            audit: None,
        };
        let mut core = Dispatch::new(parts, now);
        let identity = Identity::unix(0, 0);
        let arrival = Arrival { identity, base: Base::Owners, refusal: None, first_packet_by: None };
        let id = core.accept(&mut Turn { now, host: &mut NoHost }, arrival);
        let socket = Script { room: usize::MAX, ..Script::default() };
        Self { core, now, buffers: Buffers::new(), connection: Connection::new(socket, id), serial: 0 }
    }

    fn packet(&mut self, data: &ClientData) -> Vec<u8> {
        self.serial += 1;
        let mut body = Vec::new();
        data.encode(&mut body).unwrap();
        let length = u32::try_from(8 + body.len()).unwrap();
        let words = [length, self.serial, 0].map(u32::to_be_bytes).concat();
        [&MAGIC[..], &words, &body].concat()
    }

    fn pings(&mut self, count: usize) -> Vec<u8> {
        (0..count).flat_map(|_| self.packet(&ClientData::Ping)).collect()
    }

    fn arrive(&mut self, incoming: Incoming) {
        self.connection.socket.incoming.push_back(incoming);
    }

    fn ready(&mut self, read_closed: bool) -> Next {
        let hints = Hints { readable: true, read_closed };
        let turn = &mut Turn { now: self.now, host: &mut NoHost };
        self.connection.handle_ready(&mut self.core, turn, &mut self.buffers, hints)
    }

    /// It has as many turns as it asks for.
    fn ready_until_done(&mut self, read_closed: bool) -> Next {
        loop {
            match self.ready(read_closed) {
                Next::Again => {}
                next => return next,
            }
        }
    }

    fn output(&mut self) -> Next {
        let turn = &mut Turn { now: self.now, host: &mut NoHost };
        self.connection.handle_output(&mut self.core, turn, &mut self.buffers)
    }

    /// The connection is gone, and another comes and asks.
    fn vms_as_somebody_else_sees_them(&mut self) -> u32 {
        let mut turn = Turn { now: self.now, host: &mut NoHost };
        self.core.gone(&mut turn, self.connection.id);
        self.core.collect(&mut turn);
        let identity = Identity::unix(0, 0);
        let arrival = Arrival { identity, base: Base::Owners, refusal: None, first_packet_by: None };
        let id = self.core.accept(&mut turn, arrival);
        self.serial = 0;
        self.connection = Connection::new(Script { room: usize::MAX, ..Script::default() }, id);
        let question = self.packet(&ClientData::HostInfo);
        self.arrive(Incoming::Bytes(question));
        self.ready(false);
        match &self.answers()[..] {
            [(1, ServerData::HostInfo(info))] => info.vms_defined,
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self) {
        self.core.leave(&mut Turn { now: self.now, host: &mut NoHost });
    }

    /// What was written so far, packet by packet: what it answers, and what it says.
    fn answers(&self) -> Vec<(u32, ServerData)> {
        let mut rest = self.connection.socket.written.as_slice();
        let mut answers = Vec::new();
        while let Some((head, body)) = rest.split_first_chunk::<20>() {
            let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
            let (body, next) = body.split_at(usize::try_from(word(4)).unwrap() - 12);
            answers.push((word(12), ServerData::decode_body(word(16), body).unwrap().unwrap()));
            rest = next;
        }
        assert!(rest.is_empty(), "half a packet was written");
        answers
    }
}

fn failure(answer: &(u32, ServerData)) -> &Failure {
    match answer {
        (0, ServerData::Failure(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_read_together_are_answered_with_one_write() {
    let mut world = World::new();
    let pings = world.pings(100);
    world.arrive(Incoming::Bytes(pings));
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(world.answers().len(), 100);
    // A short read needs no second one.
    assert_eq!((world.connection.socket.reads, world.connection.socket.writes), (1, 1));
}

#[test]
fn an_event_that_is_no_news_costs_no_system_call() {
    let mut world = World::new();
    let hints = Hints { readable: false, read_closed: false };
    let turn = &mut Turn { now: world.now, host: &mut NoHost };
    assert_eq!(world.connection.handle_ready(&mut world.core, turn, &mut world.buffers, hints), Next::Wait);
    assert_eq!((world.connection.socket.reads, world.connection.socket.writes), (0, 0));
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let mut world = World::new();
    let spare = world.buffers.write.capacity();
    for _ in 0..3 {
        let pings = world.pings(10);
        world.arrive(Incoming::Bytes(pings));
        world.ready(false);
        assert_eq!(world.buffers.write.capacity(), spare, "the shared buffer did not come back");
    }
}

#[test]
fn one_connection_does_not_keep_the_turn_to_itself() {
    let mut world = World::new();
    let count = 5_000;
    let pings = world.pings(count);
    world.arrive(Incoming::Bytes(pings));
    let mut turns = 1;
    while world.ready(false) == Next::Again {
        turns += 1;
    }
    assert_eq!(world.answers().len(), count);
    // Two hundred and fifty at a time, and each time they are answered before others come.
    assert!((20..=22).contains(&turns), "{turns} turns");
}

/// Thirty long answers to each of four hundred clients kept everybody else waiting for two seconds.
#[test]
fn who_asks_for_much_gets_it_by_and_by_and_has_none_of_it_held_back() {
    let mut world = World::new();
    let definition = Text::clipped(&format!("name = \"a\"\nmemory = \"64 MiB\"\n#{}\n", "x".repeat(40_000)));
    let define = world.packet(&ClientData::VmDefine(VmDefineCall { definition, replace: false }));
    world.arrive(Incoming::Bytes(define));
    world.ready_until_done(false);
    world.core.collect(&mut Turn { now: world.now, host: &mut NoHost });
    let questions = 30;
    let bytes = (0..questions).flat_map(|_| world.packet(&ClientData::VmDefinition(VmCall { vm: Text::clipped("a") })));
    let bytes = bytes.collect();
    world.arrive(Incoming::Bytes(bytes));
    world.output();
    world.buffers.take_work();
    let mut turns = 0;
    loop {
        let next = world.ready(false);
        turns += 1;
        let id = world.connection.id;
        assert!(world.core.outbox(id).unwrap().is_empty(), "it was made, and waits although it could be written");
        let work = world.buffers.take_work();
        assert!(work <= 128 * 1024, "{work} bytes of work in one turn");
        if next == Next::Wait {
            break;
        }
    }
    let answered = world.answers().iter().filter(|(_, data)| matches!(data, ServerData::VmDefinition(_))).count();
    assert_eq!(answered, questions);
    assert!((questions..=questions + 5).contains(&turns), "{turns} turns");
}

#[test]
fn what_a_socket_keeps_counts_as_unsent() {
    let mut world = World::new();
    world.connection.socket.keeps = Some(Vec::new());
    world.connection.socket.room = 0;
    let pings = world.pings(10);
    world.arrive(Incoming::Bytes(pings));
    assert_eq!(world.ready(false), Next::Wait);
    let census = world.core.census();
    assert_eq!((census.connections[0].unsent_bytes, census.held_bytes), (200, 200));
    // It takes all that it is given, so that nothing else tells when it is enough.
    world.connection.socket.keeps = Some(vec![0; UNSENT_BYTES_HIGH]);
    let pings = world.pings(10);
    world.arrive(Incoming::Bytes(pings));
    assert_eq!(world.ready(false), Next::Wait);
    let unsent = world.core.census().connections[0].unsent_bytes;
    assert_eq!(unsent, UNSENT_BYTES_HIGH + 20, "no more than one packet was taken");
    world.connection.socket.room = usize::MAX;
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(world.core.census().held_bytes, 0);
}

#[test]
fn half_of_what_a_socket_cannot_show_has_its_time_too() {
    let mut world = World::new();
    let ping = world.pings(1);
    world.arrive(Incoming::Bytes(ping));
    assert_eq!(world.ready(false), Next::Wait);
    let timeout = |world: &World| world.core.poll_timeout(world.now.monotonic);
    assert_eq!(timeout(&world), None);
    world.connection.socket.half = 700;
    assert_eq!(world.ready(false), Next::Wait);
    let until = world.now.monotonic + HALF_PACKET_TIME;
    assert_eq!((timeout(&world), world.core.census().held_bytes), (Some(until), 700));
    // More of it gives it no more time, and its end lets the clock go.
    world.now = world.now.later(Duration::from_secs(20));
    world.connection.socket.half = 800;
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(timeout(&world), Some(until));
    world.connection.socket.half = 0;
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(timeout(&world), None);

    world.connection.socket.half = 1;
    assert_eq!(world.ready(false), Next::Wait);
    world.now = world.now.later(HALF_PACKET_TIME);
    world.core.handle_timeout(&mut Turn { now: world.now, host: &mut NoHost });
    world.output();
    assert_eq!(failure(world.answers().last().unwrap()).code, code::DEADLINE_EXCEEDED);
}

/// Half a megabyte of lists that match nothing kept the loop for 18 s: each is short, and so is its answer.
#[test]
fn work_that_costs_few_bytes_does_not_keep_the_turn_either() {
    let mut world = World::new();
    let lists = 80;
    let title = "a".repeat(250);
    for n in 0..100 {
        let definition = Text::clipped(&format!("name = \"vm{n}\"\nmemory = \"16 MiB\"\ntitle = \"{title}\"\n"));
        let define = world.packet(&ClientData::VmDefine(VmDefineCall { definition, replace: false }));
        world.arrive(Incoming::Bytes(define));
        while world.ready(false) == Next::Again {}
        world.core.collect(&mut Turn { now: world.now, host: &mut NoHost });
    }
    let hello = HelloCall { major: 1, minor: 1, capabilities: List::default(), name: Text::default() };
    let mut bytes = world.packet(&ClientData::Hello(hello));
    let pattern = VmCell::Text(Text::clipped(&format!("{}*b", "*a".repeat(60))));
    let filter = VmFilter { field: vm_field::TITLE, comparison: filter_comparison::MATCHES, value: pattern };
    let list = VmListCall {
        fields: List::clipped([vm_field::NAME]),
        filters: List::clipped([filter]),
        after: Text::default(),
        rows_max: 0,
    };
    for _ in 0..lists {
        bytes.extend(world.packet(&ClientData::VmList(list.clone())));
    }
    world.arrive(Incoming::Bytes(bytes));
    world.arrive(Incoming::End);
    let mut turns = 1;
    while world.ready(true) == Next::Again {
        turns += 1;
    }
    let answered = world.answers().iter().filter(|(_, data)| matches!(data, ServerData::VmList(_))).count();
    assert_eq!(answered, lists, "nothing is lost when it is put off");
    // Forty thousand bytes each.
    assert!((lists..=lists + 5).contains(&turns), "{turns} turns");
}

#[test]
fn the_end_that_came_with_the_data_is_not_missed() {
    let mut world = World::new();
    let pings = world.pings(1);
    world.arrive(Incoming::Bytes(pings));
    world.arrive(Incoming::End);
    assert_eq!(world.ready(true), Next::Gone);
    assert_eq!(world.answers().len(), 1, "gone before it was answered");
}

#[test]
fn a_socket_that_is_full_is_not_tried_again_before_something_happened_to_it() {
    let mut world = World::new();
    world.connection.socket.room = 0;
    for _ in 0..3 {
        let pings = world.pings(10);
        world.arrive(Incoming::Bytes(pings));
    }
    assert_eq!(world.ready(true), Next::Wait);
    assert_eq!((world.connection.socket.reads, world.connection.socket.writes), (4, 1));
    world.connection.socket.room = usize::MAX;
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(world.answers().len(), 30);
}

#[test]
fn what_cannot_be_written_stops_the_reading_and_nothing_is_lost_when_it_goes_on() {
    let mut world = World::new();
    world.connection.socket.room = 0;
    // Each answer is as long as its request, so this is far more than may be unsent.
    let count = 4 * UNSENT_BYTES_HIGH / 20;
    let pings = world.pings(count);
    world.arrive(Incoming::Bytes(pings));
    assert_eq!(world.ready_until_done(false), Next::Wait);
    assert!(world.connection.blocked);
    let reads = world.connection.socket.reads;
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(world.connection.socket.reads, reads, "it reads on although it is blocked");
    let id = world.connection.id;
    assert!(world.core.outbox(id).unwrap().unsent().len() < UNSENT_BYTES_HIGH + 64);

    // The socket takes a little at a time; each time an event says that it is writable.
    let mut steps = 0;
    while world.connection.socket.written.len() < count * 20 {
        world.connection.socket.room = 50_000;
        let mut hints = Hints { readable: false, read_closed: false };
        let turn = &mut Turn { now: world.now, host: &mut NoHost };
        while world.connection.handle_ready(&mut world.core, turn, &mut world.buffers, hints) == Next::Again {
            hints.readable = true;
        }
        steps += 1;
        assert!(steps < 1000, "it came to a stand");
    }
    let answered: Vec<u32> = world.answers().into_iter().map(|(reply_to, _)| reply_to).collect();
    let expected: Vec<u32> = (1..=world.serial).collect();
    assert_eq!(answered, expected);
}

#[test]
fn answers_longer_than_their_requests_come_to_no_stand_when_the_socket_takes_everything() {
    let mut world = World::new();
    let count = 5_000;
    let calls = (0..count).flat_map(|_| world.packet(&ClientData::HostCapabilities)).collect();
    world.arrive(Incoming::Bytes(calls));
    let mut turns = 0;
    while world.ready(false) == Next::Again {
        turns += 1;
        assert!(turns < 1000, "it never ends");
    }
    assert_eq!(world.answers().len(), count);
}

#[test]
fn a_stranger_is_told_and_then_heard_out_until_its_end() {
    let mut world = World::new();
    world.arrive(Incoming::Bytes(b"GET / HTTP/1.1\r\n\r\n".to_vec()));
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(failure(&world.answers()[0]).code, code::BAD_MAGIC);
    assert!(matches!(world.connection.phase, Phase::Lingering { .. }));
    assert_eq!(world.connection.poll_timeout(), Some(world.now.monotonic + LINGER_TIME));
    world.arrive(Incoming::Bytes(vec![b'x'; 1000]));
    assert_eq!(world.ready(false), Next::Wait);
    world.arrive(Incoming::End);
    assert_eq!(world.ready(true), Next::Gone);
    assert_eq!(world.answers().len(), 1);
}

#[test]
fn nobody_is_heard_out_for_ever() {
    let mut world = World::new();
    world.arrive(Incoming::Bytes(vec![b'x'; 20 + LINGER_BYTES_MAX]));
    assert_eq!(world.ready(false), Next::Again, "others come first");
    assert_eq!(world.ready_until_done(false), Next::Wait);
    world.arrive(Incoming::Bytes(vec![b'x'; 1024 * 1024]));
    assert_eq!(world.ready_until_done(false), Next::Gone);
    let mut world = World::new();
    world.arrive(Incoming::Bytes(vec![b'x'; 20]));
    assert_eq!(world.ready(false), Next::Wait);
    let now = world.now.monotonic;
    assert!(!world.connection.is_overdue(now + LINGER_TIME - Duration::from_millis(1)));
    assert!(world.connection.is_overdue(now + LINGER_TIME));
}

#[test]
fn the_last_packet_waits_for_room_but_not_for_ever() {
    let mut world = World::new();
    world.connection.socket.room = 5;
    world.leave();
    assert_eq!(world.output(), Next::Wait);
    assert!(matches!(world.connection.phase, Phase::Closing { .. }));
    assert_eq!(world.connection.poll_timeout(), Some(world.now.monotonic + LINGER_TIME));
    world.connection.socket.room = 10_000;
    assert_eq!(world.ready(false), Next::Wait);
    assert_eq!(failure(&world.answers()[0]).code, code::GOING_AWAY);
    assert!(matches!(world.connection.phase, Phase::Lingering { .. }));
}

#[test]
fn what_a_socket_keeps_is_sent_before_anything_else_is_done() {
    for room in [0, 1, 7] {
        let mut world = World::new();
        world.connection.socket.keeps = Some(Vec::new());
        world.connection.socket.room = room;
        let pings = world.pings(10);
        world.arrive(Incoming::Bytes(pings));
        assert_eq!(world.ready(false), Next::Wait);
        world.leave();
        assert_eq!(world.output(), Next::Wait);
        assert!(!world.connection.socket.shut_down && matches!(world.connection.phase, Phase::Closing { .. }));
        world.connection.socket.room = usize::MAX;
        assert_eq!(world.ready(false), Next::Wait);
        assert!(world.connection.socket.shut_down && matches!(world.connection.phase, Phase::Lingering { .. }));
        assert_eq!(world.answers().len(), 11);
    }
    // The end of the peer is no reason to forget it either.
    let mut world = World::new();
    world.connection.socket.keeps = Some(Vec::new());
    world.connection.socket.room = 0;
    let pings = world.pings(10);
    world.arrive(Incoming::Bytes(pings));
    world.arrive(Incoming::End);
    assert_eq!(world.ready(true), Next::Wait);
    world.connection.socket.room = usize::MAX;
    assert_eq!(world.ready(false), Next::Gone);
    assert_eq!(world.answers().len(), 10);
}

#[test]
fn who_ends_its_side_gets_every_answer_before_the_close() {
    let mut world = World::new();
    world.connection.socket.room = 0;
    let pings = world.pings(10);
    world.arrive(Incoming::Bytes(pings));
    world.arrive(Incoming::End);
    assert_eq!(world.ready(true), Next::Wait);
    let patience = world.connection.poll_timeout().unwrap();
    assert_eq!(patience, world.now.monotonic + ENDED_TIME);
    world.now = world.now.later(Duration::from_secs(20));
    world.connection.socket.room = 150;
    assert_eq!(world.ready(false), Next::Wait);
    assert!(world.connection.poll_timeout().unwrap() > patience, "progress earned it no time");
    world.connection.socket.room = 50;
    assert_eq!(world.ready(false), Next::Gone);
    assert_eq!(world.answers().len(), 10);
}

#[test]
fn what_a_peer_sent_before_it_vanished_is_carried_out() {
    let mut world = World::new();
    let definition = Text::new("name = \"a\"\nmemory = \"64 MiB\"\n").unwrap();
    let define = ClientData::VmDefine(VmDefineCall { definition, replace: false });
    // An answer waits to be written when the peer is gone, and its last words lie unread.
    world.connection.socket.room = 0;
    let ping = world.pings(1);
    world.arrive(Incoming::Bytes(ping));
    assert_eq!(world.ready(false), Next::Wait);
    let define = world.packet(&define);
    world.arrive(Incoming::Bytes(define));
    world.arrive(Incoming::Error(io::ErrorKind::ConnectionReset));
    world.connection.socket.write_error = Some(io::ErrorKind::BrokenPipe);
    assert_eq!(world.ready(true), Next::Gone);

    assert_eq!(world.vms_as_somebody_else_sees_them(), 1);
}

/// A quarter of a megabyte of wide lists, sent by a peer that went at once, kept the loop for 7 s.
#[test]
fn what_a_peer_asked_before_it_vanished_does_not_keep_the_turn() {
    let mut world = World::new();
    let text = |name: &str| format!("name = \"{name}\"\nmemory = \"64 MiB\"\n");
    let define = |text: &str| ClientData::VmDefine(VmDefineCall { definition: Text::clipped(text), replace: false });
    let long = world.packet(&define(&format!("{}#{}", text("a"), "x".repeat(40_000))));
    world.arrive(Incoming::Bytes(long));
    assert_eq!(world.ready_until_done(false), Next::Wait);
    world.core.collect(&mut Turn { now: world.now, host: &mut NoHost });

    let questions = 100;
    let mut bytes = Vec::new();
    for _ in 0..questions {
        bytes.extend(world.packet(&ClientData::VmDefinition(VmCall { vm: Text::clipped("a") })));
    }
    bytes.extend(world.packet(&define(&text("b"))));
    world.arrive(Incoming::Bytes(bytes));
    world.arrive(Incoming::Error(io::ErrorKind::ConnectionReset));
    world.connection.socket.write_error = Some(io::ErrorKind::BrokenPipe);
    let mut turns = 1;
    while world.ready(true) == Next::Again {
        turns += 1;
    }
    assert!((questions..=questions + 5).contains(&turns), "{turns} turns");
    assert_eq!(world.vms_as_somebody_else_sees_them(), 2, "its last wish was not carried out");
}

#[test]
fn an_error_of_the_socket_is_the_end() {
    for kind in [io::ErrorKind::ConnectionReset, io::ErrorKind::PermissionDenied] {
        let mut world = World::new();
        world.arrive(Incoming::Error(kind));
        assert_eq!(world.ready(true), Next::Gone);
    }
    let mut world = World::new();
    world.arrive(Incoming::Error(io::ErrorKind::Interrupted));
    let ping = world.pings(1);
    world.arrive(Incoming::Bytes(ping));
    assert_eq!(world.ready_until_done(false), Next::Wait);
    assert_eq!(world.answers().len(), 1, "an interruption is no error");
}
