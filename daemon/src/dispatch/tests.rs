//! The core with the test hypervisor, driven in memory on a virtual clock.

mod adopting;
mod audit;
mod console;
mod enrolment;
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
use crate::driver::TestDriver;

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
        let session = ServerConfig {
            newest_minor: NEWEST_MINOR,
            server: Text::clipped("vmwired test"),
            epoch: Fixed::from([7; 16]),
        };
        let parts = Parts {
            session: Arc::new(session),
            driver: Box::new(TestDriver::new()),
            store: Box::new(MemoryStore::default()),
            definitions: Vec::new(),
            events: Restored { epoch: [7; 16], events: Vec::new() },
            registry: Ok(Default::default()),
            host: HostFacts::default(),
            daemon: DaemonFacts { connections_max: 100, ..DaemonFacts::default() },
            access: Access { own_uid: 7, rules },
            audit: None,
        };
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

#[test]
fn a_machine_lives_from_define_to_undefine_and_its_events_tell_it() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    let subscribe = SubscribeCall { after: None, vm: Text::default(), kinds: List::default() };
    world.ask(&mut visitor, &ClientData::Subscribe(subscribe)).unwrap();
    world.define(&mut visitor, &simple("web", "start_ms = 20")).unwrap();
    let ServerData::VmStart(done) = world.ask(&mut visitor, &start("web")).unwrap() else { panic!() };
    assert_eq!((done.operation, done.state), (2, vm_state::RUNNING));
    world.ask(&mut visitor, &ClientData::VmPause(vm("web"))).unwrap();
    world.ask(&mut visitor, &ClientData::VmResume(vm("web"))).unwrap();
    let shutdown = VmShutdownCall { vm: Text::clipped("web"), grace_ms: 0, then: shutdown_then::FAIL };
    let ServerData::VmShutdown(done) = world.ask(&mut visitor, &ClientData::VmShutdown(shutdown)).unwrap() else {
        panic!()
    };
    assert_eq!(done.state, vm_state::STOPPED);
    world.ask(&mut visitor, &ClientData::VmUndefine(vm("web"))).unwrap();

    let states: Vec<u32> = visitor
        .events
        .iter()
        .filter(|event| event.kind == event_kind::VM_STATE)
        .map(|event| vmwire_protocol::xdr::decode::<EventVmState>(&event.detail).unwrap().state)
        .collect();
    assert_eq!(states, [vm_state::STARTING, vm_state::RUNNING, vm_state::PAUSED, vm_state::RUNNING, vm_state::STOPPED]);
    let sequences: Vec<u64> = visitor.events.iter().map(|event| event.sequence).collect();
    let first = sequences[0];
    assert!(sequences.iter().zip(first..).all(|(have, want)| *have == want), "{sequences:?}");
    let failure = world.ask(&mut visitor, &ClientData::VmShow(vm("web"))).unwrap_err();
    assert_eq!(failure.code, code::NOT_FOUND);
}

#[test]
fn a_stop_goes_ahead_and_fails_what_runs_and_waits() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("slow", "start_ms = 60000")).unwrap();
    let started = visitor.session.call(&start("slow"), 0).unwrap();
    let waits = visitor.session.call(&ClientData::VmPause(vm("slow")), 0).unwrap();
    world.exchange(&mut visitor);
    assert!(visitor.answers.is_empty());
    let ServerData::VmStop(done) = world.ask(&mut visitor, &ClientData::VmStop(vm("slow"))).unwrap() else { panic!() };
    assert_eq!(done.state, vm_state::STOPPED);
    let failures: Vec<(u32, u32, Option<&str>)> = visitor
        .answers
        .iter()
        .map(|(serial, result)| {
            let failure = result.as_ref().unwrap_err();
            assert!(failure.hint.is_empty(), "what was overtaken does not go on: {failure:?}");
            (*serial, failure.code, failure.fact("begun"))
        })
        .collect();
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures.contains(&(waits, code::CANCELLED, Some("no"))), "{failures:?}");
    assert!(failures.contains(&(started, code::CANCELLED, Some("yes"))), "{failures:?}");
}

#[test]
fn a_shutdown_that_is_overtaken_before_its_button_was_reported_pressed_waits_for_no_guest() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("deaf", "deaf = true")).unwrap();
    world.ask(&mut visitor, &start("deaf")).unwrap();
    let shutdown = VmShutdownCall { vm: Text::clipped("deaf"), grace_ms: 3000, then: shutdown_then::STOP };
    let shutdown = visitor.session.call(&ClientData::VmShutdown(shutdown), 0).unwrap();
    world.ask(&mut visitor, &ClientData::VmStop(vm("deaf"))).unwrap();
    let Some((_, Err(failure))) = visitor.answers.iter().find(|(serial, _)| *serial == shutdown) else { panic!() };
    assert_eq!(failure.code, code::CANCELLED);
    world.ask(&mut visitor, &start("deaf")).unwrap();
    world.pass(&mut visitor, Duration::from_secs(10));
    let ServerData::VmShow(shown) = world.ask(&mut visitor, &ClientData::VmShow(vm("deaf"))).unwrap() else { panic!() };
    assert_eq!(shown.vm.state, vm_state::RUNNING, "the grace was that of a guest that is gone");
}

#[test]
fn the_ninth_that_waits_is_refused_and_told_behind_whom() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("slow", "start_ms = 60000")).unwrap();
    visitor.session.call(&start("slow"), 0).unwrap();
    for _ in 0..8 {
        visitor.session.call(&ClientData::VmReset(vm("slow")), 0).unwrap();
    }
    let failure = world.ask(&mut visitor, &ClientData::VmReset(vm("slow"))).unwrap_err();
    assert_eq!((failure.code, failure.fact("holder")), (code::BUSY, Some("uid 0")));
    assert_eq!(failure.fact("operation"), Some("2"));
    assert!(failure.fact("since").is_some());
}

#[test]
fn a_deadline_bounds_the_answer_and_not_the_deed() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("slow", "start_ms = 5000")).unwrap();
    let running = visitor.session.call(&start("slow"), 100).unwrap();
    let queued = visitor.session.call(&ClientData::VmPause(vm("slow")), 100).unwrap();
    world.exchange(&mut visitor);
    world.pass(&mut visitor, Duration::from_millis(100));
    let told: Vec<(u32, u32, Option<&str>)> = visitor
        .answers
        .iter()
        .map(|(serial, result)| {
            (*serial, result.as_ref().unwrap_err().code, result.as_ref().unwrap_err().fact("begun"))
        })
        .collect();
    assert!(told.contains(&(running, code::DEADLINE_EXCEEDED, Some("yes"))), "{told:?}");
    let hint = |(_, result): &(u32, Result<_, Failure>)| result.as_ref().err().map(|failure| failure.hint.to_string());
    let hints: Vec<String> = visitor.answers.iter().filter_map(hint).collect();
    assert!(hints.iter().any(|hint| hint.contains("vmwire op show 2 tells")), "{hints:?}");
    assert!(told.contains(&(queued, code::DEADLINE_EXCEEDED, Some("no"))), "{told:?}");
    let wait = VmWaitCall { vm: Text::clipped("slow"), states: List::clipped([vm_state::RUNNING]) };
    world.ask(&mut visitor, &ClientData::VmWait(wait)).unwrap();
    let ServerData::VmShow(show) = world.ask(&mut visitor, &ClientData::VmShow(vm("slow"))).unwrap() else { panic!() };
    assert_eq!(show.vm.state, vm_state::RUNNING, "the start went on and the pause never came");
}

#[test]
fn a_wait_for_a_machine_that_is_undefined_can_never_come_true() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("brief", "")).unwrap();
    let wait = VmWaitCall { vm: Text::clipped("brief"), states: List::clipped([vm_state::RUNNING]) };
    let waits = visitor.session.call(&ClientData::VmWait(wait), 0).unwrap();
    world.ask(&mut visitor, &ClientData::VmUndefine(vm("brief"))).unwrap();
    let (serial, result) = visitor.answers.pop().unwrap();
    let failure = result.unwrap_err();
    assert_eq!((serial, failure.code, failure.fact("never")), (waits, code::NOT_FOUND, Some("yes")));
}

#[test]
fn a_guest_that_is_deaf_is_stopped_after_its_grace_if_that_was_asked() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("deaf", "deaf = true")).unwrap();
    world.ask(&mut visitor, &start("deaf")).unwrap();
    let shutdown = |then| ClientData::VmShutdown(VmShutdownCall { vm: Text::clipped("deaf"), grace_ms: 3000, then });
    let failure = world.ask(&mut visitor, &shutdown(shutdown_then::FAIL)).unwrap_err();
    assert_eq!((failure.code, failure.fact("limit")), (code::DEADLINE_EXCEEDED, Some("3000")));
    let ServerData::VmShutdown(done) = world.ask(&mut visitor, &shutdown(shutdown_then::STOP)).unwrap() else {
        panic!()
    };
    assert_eq!(done.state, vm_state::STOPPED);
}

#[test]
fn a_console_has_history_readers_and_one_writer_who_can_be_taken_over() {
    let mut world = World::new();
    let (mut first, mut second) = (world.visitor(), world.visitor());
    world.define(&mut first, &simple("talks", "console = \"login: \"")).unwrap();
    world.ask(&mut first, &start("talks")).unwrap();
    world.pass(&mut first, Duration::from_millis(10));
    let open =
        |mode| ClientData::ConsoleOpen(ConsoleOpenCall { vm: Text::clipped("talks"), mode, history_bytes: 1000 });
    let ServerData::ConsoleOpen(answer) = world.ask(&mut first, &open(console_mode::WRITE)).unwrap() else { panic!() };
    assert_eq!((answer.stream, answer.offset, answer.writer.as_str()), (1, 0, "uid 0"));
    assert_eq!(first.console, b"login: ");
    let failure = world.ask(&mut second, &open(console_mode::WRITE)).unwrap_err();
    assert_eq!((failure.code, failure.fact("holder")), (code::BUSY, Some("uid 0")));
    world.ask(&mut second, &open(console_mode::TAKE_OVER)).unwrap();
    world.exchange(&mut first);
    assert!(matches!(first.over.as_slice(), [(1, Some(why))] if why.code == code::BUSY), "{:?}", first.over);
    second.session.stream_send(1, 0, 0, b"root\n").unwrap();
    world.exchange(&mut second);
    world.pass(&mut second, Duration::from_millis(100));
    assert!(second.console.starts_with(b"login: root"), "{:?}", second.console);
    world.ask(&mut second, &ClientData::VmStop(vm("talks"))).unwrap();
    assert!(matches!(second.over.as_slice(), [(1, None)]), "{:?}", second.over);
}

#[test]
fn an_event_that_ends_a_turn_does_not_wait_for_something_else_to_happen() {
    let mut world = World::new();
    let (mut writer, mut subscriber) = (world.visitor(), world.visitor());
    world.define(&mut writer, &simple("talks", "")).unwrap();
    world.ask(&mut writer, &start("talks")).unwrap();
    let open = ConsoleOpenCall { vm: Text::clipped("talks"), mode: console_mode::WRITE, history_bytes: 0 };
    world.ask(&mut writer, &ClientData::ConsoleOpen(open)).unwrap();
    let kinds = List::clipped([event_kind::CONSOLE_WRITER]);
    let call = SubscribeCall { after: None, vm: Text::default(), kinds };
    world.ask(&mut subscriber, &ClientData::Subscribe(call)).unwrap();
    assert_eq!(world.dispatch.poll_timeout(world.now.monotonic), None);
    // Connections are removed when everything else of a turn is done.
    world.turn(|dispatch, turn| dispatch.gone(turn, writer.id));
    assert_eq!(world.dispatch.poll_timeout(world.now.monotonic), Some(world.now.monotonic));
    world.turn(Dispatch::collect);
    assert_eq!(world.turn(Dispatch::poll_dirty), Some(subscriber.id));
    world.exchange(&mut subscriber);
    assert_eq!(subscriber.events.iter().map(|event| event.kind).collect::<Vec<_>>(), [event_kind::CONSOLE_WRITER]);
    assert_eq!(world.dispatch.poll_timeout(world.now.monotonic), None);
}

#[test]
fn what_was_typed_before_the_end_of_typing_still_reaches_the_guest() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("slow", "")).unwrap();
    world.ask(&mut visitor, &start("slow")).unwrap();
    let open = |mode| ClientData::ConsoleOpen(ConsoleOpenCall { vm: Text::clipped("slow"), mode, history_bytes: 0 });
    world.ask(&mut visitor, &open(console_mode::WRITE)).unwrap();
    let text = vec![b'x'; 20_000];
    visitor.session.stream_send(1, 0, 0, &text).unwrap();
    visitor.session.stream_end(1, None);
    world.exchange(&mut visitor);
    let failure = world.ask(&mut visitor, &open(console_mode::WRITE)).unwrap_err();
    assert_eq!(failure.code, code::BUSY, "it writes until all is taken");
    world.pass(&mut visitor, Duration::from_millis(100));
    assert_eq!(visitor.console, text);
    world.ask(&mut visitor, &open(console_mode::WRITE)).unwrap();
}

#[test]
fn the_end_of_typing_leaves_the_console_to_be_read_and_an_end_with_a_reason_does_not() {
    let mut world = World::new();
    let (mut typist, mut reader) = (world.visitor(), world.visitor());
    world.define(&mut typist, &simple("talks", "")).unwrap();
    world.ask(&mut typist, &start("talks")).unwrap();
    let open = |mode| ClientData::ConsoleOpen(ConsoleOpenCall { vm: Text::clipped("talks"), mode, history_bytes: 0 });
    // One that only reads has nothing to end, so that the end of it means nothing either.
    world.ask(&mut reader, &open(console_mode::READ)).unwrap();
    reader.session.stream_end(1, None);
    world.exchange(&mut reader);
    world.ask(&mut typist, &open(console_mode::WRITE)).unwrap();
    typist.session.stream_send(1, 0, 0, b"hello\n").unwrap();
    typist.session.stream_end(1, None);
    world.exchange(&mut typist);
    world.pass(&mut typist, Duration::from_millis(100));
    world.exchange(&mut reader);
    for visitor in [&typist, &reader] {
        assert!(visitor.console.starts_with(b"hello"), "{:?}", visitor.console);
        assert!(visitor.over.is_empty(), "{:?}", visitor.over);
    }
    let enough = Failure::new(code::CANCELLED, "enough was read");
    reader.session.stream_end(1, Some(enough));
    world.exchange(&mut reader);
    let ServerData::VmShow(shown) = world.ask(&mut typist, &ClientData::VmShow(vm("talks"))).unwrap() else { panic!() };
    assert_eq!((shown.vm.console_readers, shown.vm.console_writer.as_str()), (1, ""));
}

#[test]
fn a_console_stream_ends_with_its_guest_although_the_guest_comes_up_again() {
    let mut world = World::new();
    let (mut slow, mut other) = (world.visitor(), world.visitor());
    world.define(&mut slow, &simple("again", "console_bytes = 200000")).unwrap();
    world.ask(&mut slow, &start("again")).unwrap();
    let open = |mode| ClientData::ConsoleOpen(ConsoleOpenCall { vm: Text::clipped("again"), mode, history_bytes: 0 });
    world.ask(&mut slow, &open(console_mode::WRITE)).unwrap();
    // Nobody reads what the first guest said; it is gone and another is up when somebody does.
    world.pass(&mut other, Duration::from_millis(20));
    let said = |world: &World| world.dispatch.vms.find("again").unwrap().console.end();
    world.ask(&mut other, &ClientData::VmStop(vm("again"))).unwrap();
    let end = said(&world);
    assert!(end > 60_000, "{end}");
    world.ask(&mut other, &start("again")).unwrap();
    world.ask(&mut other, &open(console_mode::WRITE)).unwrap();
    world.pass(&mut other, Duration::from_millis(5));
    assert!(said(&world) > end);
    slow.session.stream_send(1, 0, 0, b"poweroff\n").unwrap();
    world.exchange(&mut slow);
    world.pass(&mut slow, Duration::from_millis(5));
    assert_eq!(slow.console.len(), usize::try_from(end).unwrap());
    assert!(matches!(slow.over.as_slice(), [(1, None)]), "{:?}", slow.over);
    let ServerData::VmShow(shown) = world.ask(&mut other, &ClientData::VmShow(vm("again"))).unwrap() else { panic!() };
    assert_eq!(shown.vm.state, vm_state::RUNNING, "what was meant for a guest that is gone reaches no other");
}

#[test]
fn a_subscriber_goes_on_where_it_was_or_is_told_of_the_gap() {
    let mut world = World::new();
    let mut first = world.visitor();
    world.define(&mut first, &simple("a", "")).unwrap();
    let resume = |epoch: [u8; 16], sequence| SubscribeCall {
        after: Some(Cursor { epoch: Fixed::from(epoch), sequence }),
        vm: Text::default(),
        kinds: List::default(),
    };
    world.ask(&mut first, &ClientData::Subscribe(resume([7; 16], 0))).unwrap();
    assert_eq!(first.events.first().map(|event| (event.sequence, event.kind)), Some((1, event_kind::DAEMON_STARTED)));
    let newest = first.events.last().unwrap().sequence;
    let mut second = world.visitor();
    world.ask(&mut second, &ClientData::Subscribe(resume([7; 16], newest - 1))).unwrap();
    assert_eq!(second.events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [newest]);
    world.ask(&mut second, &ClientData::Subscribe(resume([9; 16], 55))).unwrap();
    assert_eq!(second.gaps, [Gap { epoch: Fixed::from([7; 16]), first: 0, last: 0 }]);
    assert_eq!(second.events.len(), 1 + first.events.len(), "the whole ring is replayed");
}

#[test]
fn those_who_may_not_connect_are_told_and_closed() {
    let mut world = World::new();
    let arrival =
        Arrival { identity: Identity::unix(1000, 0), base: Base::Owners, refusal: None, first_packet_by: None };
    let id = world.turn(|dispatch, turn| dispatch.accept(turn, arrival));
    let mut session = ClientSession::new();
    let bytes = world.dispatch.outbox(id).unwrap().unsent().to_vec();
    let mut input = bytes.as_slice();
    let ClientStep::Closed(Closing::Told(failure)) = session.step(&mut input) else { panic!() };
    assert_eq!(failure.code, code::DENIED);
    assert!(world.dispatch.is_closing(id));
}

/// One who came often enough, and read nothing, once had everybody cut: what a connection holds counted until it was gone.
#[test]
fn those_who_hold_too_much_are_cut_and_nobody_else_with_them() {
    let mut world = World::new();
    let mut bystander = world.visitor();
    let text = format!("{}# {}\n", simple("web", ""), "x".repeat(48_000));
    world.define(&mut bystander, &text).unwrap();
    let greedy: Vec<Visitor> = (0..300)
        .map(|_| {
            let mut visitor = world.visitor();
            for _ in 0..6 {
                visitor.session.call(&ClientData::VmDefinition(vm("web")), 0).unwrap();
            }
            let sent = visitor.session.outbox().unsent().to_vec();
            world.turn(|dispatch, turn| {
                let mut sent = sent.as_slice();
                while dispatch.input(turn, visitor.id, std::mem::take(&mut sent), &mut Share::whole()) == Flow::PutOff {
                }
            });
            assert!(world.dispatch.census().held_bytes <= TOTAL_BYTES_MAX);
            visitor
        })
        .collect();
    world.ask(&mut bystander, &ClientData::HostInfo).unwrap();
    assert!(!world.dispatch.is_cut(bystander.id));
    assert!(greedy.iter().any(|visitor| world.dispatch.is_cut(visitor.id)), "it was not enough");
    let held = world.dispatch.census().held_bytes;
    assert!(held > TOTAL_BYTES_MAX - 512 * 1024, "{held}: nobody was cut for whom there was room");
}

#[test]
fn two_definitions_of_one_name_are_one_too_many() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("twin", "")).unwrap();
    let failure = world.define(&mut visitor, &simple("twin", "")).unwrap_err();
    assert_eq!(failure.code, code::EXISTS);
    let failure = world.define(&mut visitor, "name = \"x\"\nmemmory = \"64 MiB\"\n").unwrap_err();
    assert_eq!((failure.code, failure.fact("line")), (code::INVALID, Some("2")));
    let replace = VmDefineCall { definition: Text::new(simple("twin", "deaf = true")).unwrap(), replace: true };
    world.ask(&mut visitor, &ClientData::VmDefine(replace)).unwrap();
    let ServerData::VmDefinition(answer) = world.ask(&mut visitor, &ClientData::VmDefinition(vm("twin"))).unwrap()
    else {
        panic!()
    };
    assert_eq!(answer.definition.as_str(), simple("twin", "deaf = true"));
}

#[test]
fn a_half_close_has_all_that_was_sent_before_carried_out() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    world.define(&mut visitor, &simple("big", "")).unwrap();
    // More answers than may be unsent, so that packets are left untaken when the end comes.
    for _ in 0..3000 {
        visitor.session.call(&ClientData::VmShow(vm("big")), 0).unwrap();
    }
    let sent = visitor.session.outbox().unsent().to_vec();
    visitor.session.outbox().advance(sent.len());
    let mut sent = sent.as_slice();
    let mut go_on = |dispatch: &mut Dispatch, turn: &mut Turn<'_>| {
        dispatch.input(turn, visitor.id, std::mem::take(&mut sent), &mut Share::whole())
    };
    let mut shares = 1;
    let flow = loop {
        match world.turn(&mut go_on) {
            Flow::PutOff => shares += 1,
            flow => break flow,
        }
    };
    assert_eq!(flow, Flow::Blocked);
    assert!((6..=12).contains(&shares), "{shares} shares for a quarter of a megabyte");
    world.dispatch.input_ended(visitor.id);
    assert!(!world.dispatch.is_closing(visitor.id));
    world.exchange(&mut visitor);
    assert_eq!(visitor.answers.len(), 3000);
    assert!(world.dispatch.is_closing(visitor.id));
}

#[test]
fn that_a_machine_is_missing_is_said_before_what_else_is_wrong() {
    let mut world = World::new();
    let mut visitor = world.visitor();
    let vm = || Text::clipped("nobody");
    let calls = [
        ClientData::VmShutdown(VmShutdownCall { vm: vm(), grace_ms: 0, then: 99 }),
        ClientData::VmWait(VmWaitCall { vm: vm(), states: List::default() }),
        ClientData::ConsoleOpen(ConsoleOpenCall { vm: vm(), mode: 99, history_bytes: 0 }),
    ];
    for call in calls {
        assert_eq!(world.ask(&mut visitor, &call).unwrap_err().code, code::NOT_FOUND, "{call:?}");
    }
}

#[test]
fn more_definitions_than_may_wait_are_refused_and_the_others_are_read() {
    let mut world = World::new();
    let (mut first, mut second) = (world.visitor(), world.visitor());
    for (visitor, letter, count) in [(&mut first, 'a', 200), (&mut second, 'b', 100)] {
        for number in 0..count {
            let definition = Text::new(simple(&format!("{letter}{number}"), "")).unwrap();
            visitor.session.call(&ClientData::VmDefine(VmDefineCall { definition, replace: false }), 0).unwrap();
        }
        let sent = visitor.session.outbox().unsent().to_vec();
        visitor.session.outbox().advance(sent.len());
        world.turn(|dispatch, turn| dispatch.input(turn, visitor.id, &sent, &mut Share::whole()));
    }
    world.exchange(&mut first);
    world.exchange(&mut second);
    world.pass(&mut first, Duration::ZERO);
    world.exchange(&mut second);
    assert_eq!(first.answers.iter().filter(|(_, result)| result.is_ok()).count(), 200);
    let refused: Vec<&Failure> = second.answers.iter().filter_map(|(_, result)| result.as_ref().err()).collect();
    assert_eq!((refused.len(), second.answers.len()), (44, 100));
    assert!(refused.iter().all(|failure| failure.code == code::OVERLOADED && failure.retry_after_ms > 0));
}
