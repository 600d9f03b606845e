//! Both ends against each other, in memory, until nothing moves: old and new in both directions, any order of answers,
//! any cutting of the bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vmwire_protocol::message::{
    ClientData, ConsoleOpenAnswer, Cursor, Failure, HelloAnswer, ListCall, Procedure, ServerData, VmCall, VmCell,
    VmInfo, VmListAnswer, VmListCall, VmNamesAnswer, VmRow, VmShowAnswer, code, number, vm_field, vm_state,
};
use vmwire_protocol::session::{ClientSession, ClientStep, Step, Ticket};
use vmwire_protocol::version::NEWEST_MINOR;
use vmwire_protocol::xdr::{List, Sampler, Text};

use crate::support::server::{EPOCH, Server, hello};

/// A client and a server with a socket between them.
struct Pair {
    client: ClientSession,
    server: Server,
    /// What the client was answered, FAILURE included, by serial.
    answered: BTreeMap<u32, ServerData>,
    /// Stream data that came to each end.
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    /// How the bytes are cut.
    cuts: Sampler,
}

impl Pair {
    fn new(newest_minor: u32, seed: u64) -> Self {
        Self {
            client: ClientSession::new(),
            server: Server::speaking(newest_minor),
            answered: BTreeMap::new(),
            to_client: Vec::new(),
            to_server: Vec::new(),
            cuts: Sampler::new(seed),
        }
    }

    /// Moves some bytes one way; says whether there were any.
    fn carry_there(&mut self) -> bool {
        let unsent = self.client.outbox().unsent();
        let bytes = unsent[..unsent.len().min(1 + self.cuts.up_to(70_000))].to_vec();
        self.client.outbox().advance(bytes.len());
        let mut input = &bytes[..];
        let mut moved = !bytes.is_empty();
        loop {
            let mut taken = None;
            match self.server.session.step(self.server.now, &mut input) {
                Step::Idle | Step::Blocked => return moved,
                Step::Closed => panic!("the server has closed"),
                Step::Call(call) => self.server.calls.push(call),
                Step::StreamData { stream, offset, data, .. } => {
                    assert_eq!(usize::try_from(offset).unwrap(), self.to_server.len());
                    self.to_server.extend_from_slice(data);
                    taken = Some((stream, data.len()));
                }
                _ => {}
            }
            if let Some((stream, bytes)) = taken {
                self.server.session.stream_taken(stream, bytes);
            }
            moved = true;
        }
    }

    fn carry_back(&mut self) -> bool {
        let unsent = self.server.session.outbox().unsent();
        let bytes = unsent[..unsent.len().min(1 + self.cuts.up_to(70_000))].to_vec();
        self.server.session.outbox().advance(bytes.len());
        self.server.session.flushed();
        let mut input = &bytes[..];
        loop {
            let mut taken = None;
            match self.client.step(&mut input) {
                ClientStep::Idle => break,
                ClientStep::Closed(closing) => panic!("the client has closed: {closing:?}"),
                ClientStep::Answer { serial, result } => {
                    let answer = result.unwrap_or_else(ServerData::Failure);
                    assert!(self.answered.insert(serial, answer).is_none(), "two answers to {serial}");
                }
                ClientStep::StreamData { stream, offset, data, .. } => {
                    assert_eq!(usize::try_from(offset).unwrap(), self.to_client.len());
                    self.to_client.extend_from_slice(data);
                    taken = Some((stream, data.len()));
                }
                _ => {}
            }
            if let Some((stream, bytes)) = taken {
                self.client.stream_taken(stream, bytes);
            }
        }
        !bytes.is_empty()
    }

    /// Moves bytes both ways until nothing moves.
    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            let (there, back) = (self.carry_there(), self.carry_back());
            if !there && !back {
                return;
            }
        }
        panic!("the ends never come to rest");
    }

    /// Calls, lets `serve` answer whatever the server hands out, and answers what the client got.
    fn ask(&mut self, data: &ClientData, serve: impl Fn(&ClientData) -> ServerData) -> ServerData {
        let serial = self.client.call(data, 0).unwrap();
        self.settle();
        for call in std::mem::take(&mut self.server.calls) {
            let answer = serve(&call.data);
            self.answer(call.ticket, answer);
        }
        self.settle();
        self.answered.remove(&serial).expect("an answer")
    }

    fn answer(&mut self, ticket: Ticket, data: ServerData) {
        match data {
            ServerData::Failure(failure) => self.server.session.fail(ticket, failure),
            data => self.server.session.answer(ticket, &data),
        }
    }

    fn say_hello(&mut self, minor: u32, capabilities: &[u32]) -> HelloAnswer {
        match self.ask(&hello(1, minor, capabilities), |_| unreachable!()) {
            ServerData::Hello(answer) => answer,
            other => panic!("{other:?}"),
        }
    }
}

const CURSOR: Cursor = Cursor { epoch: EPOCH, sequence: 7 };

/// A daemon with two machines, one running.
fn two_machines(call: &ClientData) -> ServerData {
    let machines = [("db1", vm_state::STOPPED), ("web1", vm_state::RUNNING)];
    match call {
        ClientData::VmNames(_) => ServerData::VmNames(VmNamesAnswer {
            cursor: CURSOR,
            names: List::clipped(machines.map(|(name, _)| Text::clipped(name))),
            next: Text::default(),
        }),
        ClientData::VmShow(VmCall { vm }) => {
            let Some((name, state)) = machines.into_iter().find(|(name, _)| *vm == *name) else {
                return ServerData::Failure(Failure::new(code::NOT_FOUND, "no such machine").about("vm", vm));
            };
            let vm = VmInfo { name: Text::clipped(name), state, ..VmInfo::default() };
            ServerData::VmShow(VmShowAnswer { cursor: CURSOR, vm })
        }
        ClientData::VmList(_) => {
            let cells = |(name, state): (&str, u32)| [VmCell::Text(Text::clipped(name)), VmCell::Number(state.into())];
            ServerData::VmList(VmListAnswer {
                cursor: CURSOR,
                rows: List::clipped(machines.map(|machine| VmRow { cells: List::clipped(cells(machine)) })),
                next: Text::default(),
            })
        }
        other => panic!("{other:?}"),
    }
}

/// What every client does that wants a list: 1.1's call, and where that is refused, 1.0's.
fn list(pair: &mut Pair) -> (Vec<(String, u64)>, u32) {
    let call = VmListCall {
        fields: List::clipped([vm_field::NAME, vm_field::STATE]),
        filters: List::default(),
        after: Text::default(),
        rows_max: 0,
    };
    let refusal = match pair.ask(&ClientData::VmList(call), two_machines) {
        ServerData::VmList(answer) => {
            let rows = answer.rows.iter().map(|row| match &row.cells[..] {
                [VmCell::Text(name), VmCell::Number(state)] => (name.to_string(), *state),
                cells => panic!("{cells:?}"),
            });
            return (rows.collect(), 0);
        }
        ServerData::Failure(failure) if [code::UNSUPPORTED, code::UNKNOWN_PROCEDURE].contains(&failure.code) => {
            failure.code
        }
        other => panic!("{other:?}"),
    };
    let names = ClientData::VmNames(ListCall { after: Text::default(), rows_max: 0 });
    let ServerData::VmNames(answer) = pair.ask(&names, two_machines) else { panic!("no names") };
    let rows = answer.names.iter().map(|name| {
        let show = ClientData::VmShow(VmCall { vm: Text::clipped(name) });
        let ServerData::VmShow(answer) = pair.ask(&show, two_machines) else { panic!("no {name}") };
        (answer.vm.name.to_string(), answer.vm.state.into())
    });
    (rows.collect(), refusal)
}

#[test]
fn old_and_new_peers_get_the_same_list_in_both_directions() {
    let expected = [("db1".to_owned(), 1), ("web1".to_owned(), 3)];
    // The daemon's newest minor, the client's (none: it never says HELLO), what is agreed, how VM_LIST is refused.
    let rows = [
        (1, Some(1), 1, 0),
        (1, Some(0), 0, code::UNSUPPORTED),
        (1, None, 0, code::UNSUPPORTED),
        (0, Some(1), 0, code::UNKNOWN_PROCEDURE),
        (0, Some(0), 0, code::UNKNOWN_PROCEDURE),
        (0, None, 0, code::UNKNOWN_PROCEDURE),
        (1, Some(99), 1, 0),
    ];
    for (daemon, client, agreed, refusal) in rows {
        let mut pair = Pair::new(daemon, 1);
        if let Some(minor) = client {
            let answer = pair.say_hello(minor, &[]);
            assert_eq!((answer.minor, answer.newest_minor), (agreed, daemon));
        }
        assert_eq!(list(&mut pair), (expected.to_vec(), refusal), "daemon 1.{daemon}, client {client:?}");
        assert_eq!(pair.server.session.minor(), agreed);
    }
}

#[test]
fn streams_carry_a_megabyte_both_ways_at_once() {
    let mut pair = Pair::new(1, 5);
    let open = ClientData::sample(0x120, &mut Sampler::new(1)).unwrap();
    let serial = pair.client.call(&open, 0).unwrap();
    pair.settle();
    let stream = pair.server.session.stream_open().unwrap();
    let answer = ConsoleOpenAnswer { stream, offset: 0, writer: Text::default() };
    pair.server.answer(serial, &ServerData::ConsoleOpen(answer));
    let source: Vec<u8> = (0..1_u32 << 20).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
    let (mut there, mut back) = (0, 0);
    while pair.to_client.len() < source.len() || pair.to_server.len() < source.len() {
        let before = (there, back, pair.to_client.len(), pair.to_server.len());
        let room = pair.client.stream_room(stream).min(source.len() - there);
        pair.client.stream_send(stream, 0, there.try_into().unwrap(), &source[there..there + room]).unwrap();
        let room_back = pair.server.session.stream_room(stream).min(source.len() - back);
        let data = &source[back..back + room_back];
        pair.server.session.stream_send(stream, 0, back.try_into().unwrap(), data).unwrap();
        (there, back) = (there + room, back + room_back);
        pair.settle();
        assert_ne!(before, (there, back, pair.to_client.len(), pair.to_server.len()), "the streams stand still");
    }
    assert!(pair.to_client == source && pair.to_server == source);
    pair.client.stream_end(stream, None);
    pair.settle();
    assert!(pair.server.session.stream_is_open(stream));
    pair.server.session.stream_end(stream, None);
    pair.settle();
    assert!(!pair.server.session.stream_is_open(stream) && !pair.client.stream_is_open(stream));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Calls of every sort, in any number, answered in any order with any answer or failure, cut anywhere.
    #[test]
    fn every_call_gets_its_own_answer_once(seed: u64, cuts: u64, minor in 0..=NEWEST_MINOR) {
        let mut pair = Pair::new(NEWEST_MINOR, cuts);
        pair.say_hello(minor, &[1]);
        let mut sampler = Sampler::new(seed);
        let calls: Vec<u32> = ClientData::NUMBERS
            .iter()
            .copied()
            .filter(|n| (number::SUBSCRIBE..number::UNANSWERED).contains(n) && *n != number::UNSUBSCRIBE)
            .filter(|n| ![number::CONSOLE_OPEN, number::CAPTURE_OPEN].contains(n))
            .collect();
        let mut expected = BTreeMap::new();
        let mut asked = BTreeMap::new();
        for _ in 0..sampler.up_to(60) {
            for _ in 0..sampler.up_to(5) {
                let data = ClientData::sample(*sampler.choose(&calls), &mut sampler).unwrap();
                let serial = pair.client.call(&data, 0).unwrap();
                if Procedure::of(data.number()).unwrap().minor > minor {
                    expected.insert(serial, None);
                } else {
                    asked.insert(serial, data);
                }
            }
            pair.settle();
            while !pair.server.calls.is_empty() && sampler.up_to(3) > 0 {
                let at = sampler.up_to(pair.server.calls.len() - 1);
                let call = pair.server.calls.swap_remove(at);
                let serial = call.ticket.serial();
                prop_assert_eq!(Some(call.data), asked.remove(&serial));
                let outcome = match sampler.up_to(3) {
                    0 => ServerData::Failure(sampler.value()),
                    _ => ServerData::sample(call.ticket.number(), &mut sampler).unwrap(),
                };
                pair.answer(call.ticket, outcome.clone());
                expected.insert(serial, Some(outcome));
            }
        }
        for call in std::mem::take(&mut pair.server.calls) {
            asked.remove(&call.ticket.serial());
            let outcome = ServerData::Failure(Failure::new(code::CANCELLED, "the test is over"));
            expected.insert(call.ticket.serial(), Some(outcome.clone()));
            pair.answer(call.ticket, outcome);
        }
        pair.settle();
        prop_assert_eq!(asked.len(), 0, "calls were lost on the way");
        prop_assert!(!pair.server.session.has_open_calls());
        prop_assert_eq!(pair.client.open_calls().count(), 0);
        prop_assert_eq!(pair.answered.len(), expected.len());
        for (serial, outcome) in &pair.answered {
            match &expected[serial] {
                Some(expected) => prop_assert_eq!(outcome, expected),
                None => prop_assert!(matches!(outcome, ServerData::Failure(failure) if failure.code == code::UNSUPPORTED)),
            }
        }
    }
}
