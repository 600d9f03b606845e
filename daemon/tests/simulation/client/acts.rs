//! What a client says: calls of every kind, typing, floods, and now and then a breach of the protocol.

use std::time::Instant;

use vmwire_protocol::message::{CancelCall, ClientData, Failure, HelloCall, Procedure, VmCall, VmStartCall, code};
use vmwire_protocol::xdr::{List, Text};

use super::{Asked, Client, Connection, Phase, vm_of};
use crate::calls::{self, BIG, Surroundings};
use crate::random::Random;
use crate::truth::Truth;

impl Client {
    /// Says something. Answers what, for the log.
    pub(crate) fn act(&mut self, random: &mut Random, around: &Surroundings, truth: &Truth) -> String {
        let client = self.number;
        let Some(connection) = self.connection.as_mut().filter(|c| c.may_speak()) else {
            return "nothing".to_owned();
        };
        let now = truth.now.monotonic;
        let data = match (self.lost.take(), random.below(100)) {
            (Some(subscription), _) => ClientData::Subscribe(subscription),
            _ if connection.phase == Phase::Fresh && random.chance(70) => connection.hello(random, client),
            (None, 0..=1) => connection.hello(random, client),
            (None, 2..=4) => ClientData::Ping,
            (None, 5..=12) => connection.cancel(random),
            (None, 13..=22) => return connection.type_in(random, client),
            (None, 23..=26) => return connection.end_stream(random),
            (None, 27..=28) => return connection.flood(random, truth, now),
            (None, 29) => return connection.contend(random, around, truth, now),
            (None, 30) => return connection.trespass(random, now),
            (None, 31..=34) if connection.phase == Phase::Agreed(2) => {
                return connection.ask_agent(random, around, truth, now);
            }
            _ => calls::any(random, around),
        };
        let deadline_ms = if random.chance(60) { 0 } else { *random.pick(&[1, 20, 300, 5000]).unwrap() };
        let said = format!("{data:?}");
        connection.ask(data, deadline_ms, truth, now);
        said.chars().take(160).collect()
    }
}

impl Connection {
    fn may_speak(&self) -> bool {
        !self.half_closed && self.told.is_none() && self.trespassed.is_none()
    }

    /// Puts a call on its way, and notes what has to come of it.
    fn ask(&mut self, data: ClientData, deadline_ms: u32, truth: &Truth, now: Instant) {
        let procedure = Procedure::of(data.number()).unwrap();
        let minor = match self.phase {
            Phase::Agreed(minor) => minor,
            _ => 0,
        };
        let must_fail = match (&data, self.phase) {
            (ClientData::Hello(_), Phase::Agreed(_)) => Some(code::INVALID),
            (ClientData::Hello(call), _) if call.major != 1 => {
                self.phase = Phase::Refused;
                Some(code::VERSION_MISMATCH)
            }
            (ClientData::Hello(call), _) => {
                self.phase = Phase::Agreed(call.minor.min(self.newest_minor));
                None
            }
            (ClientData::Ping, _) => None,
            (_, Phase::Refused) => Some(code::VERSION_MISMATCH),
            _ if procedure.minor > self.newest_minor => Some(code::UNKNOWN_PROCEDURE),
            _ if procedure.minor > minor => Some(code::UNSUPPORTED),
            (ClientData::Cancel(_) | ClientData::Unsubscribe, _) => None,
            _ => (!self.rights().suffice(procedure)).then_some(code::DENIED),
        };
        let serial = self.session.call(&data, deadline_ms).unwrap();
        self.tap.asked(serial);
        let deadline = procedure.deadline(deadline_ms);
        let (open, newest_event) = (self.asked.len(), truth.next() - 1);
        let generation = match &data {
            ClientData::ConsoleOpen(call) => truth.generation(vm_of(&call.vm)),
            _ => 0,
        };
        let era = self.eras.len() - 1;
        let answered_in = era;
        let asked = Asked { data, at: now, deadline, must_fail, open, newest_event, era, answered_in, generation };
        self.asked.insert(serial, asked);
    }

    fn hello(&self, random: &mut Random, client: u8) -> ClientData {
        // Whoever is refused has what it sends on streams answered as well, and nobody asks for that.
        let opens = |data: &ClientData| matches!(data, ClientData::ConsoleOpen(_) | ClientData::CaptureOpen(_));
        let streams = self.asked.values().any(|asked| opens(&asked.data));
        let may_be_refused = self.streams.is_empty() && self.captures.is_empty() && !streams;
        ClientData::Hello(HelloCall {
            major: if may_be_refused && random.chance(8) { 2 } else { 1 },
            minor: random.word(4),
            capabilities: List::clipped(random.chance(50).then_some(1)),
            name: Text::new(format!("client {client}")).unwrap(),
        })
    }

    fn cancel(&mut self, random: &mut Random) -> ClientData {
        let open: Vec<u32> = self.asked.keys().copied().collect();
        let serial = match random.pick(&open) {
            Some(serial) if random.chance(85) => *serial,
            _ => random.word(50),
        };
        ClientData::Cancel(CancelCall { serial })
    }

    /// Types marks, or a line that a guest obeys, on one of the streams.
    fn type_in(&mut self, random: &mut Random, client: u8) -> String {
        let numbers: Vec<u32> = self.streams.iter().filter(|(_, s)| !s.we_ended).map(|(number, _)| *number).collect();
        let Some(number) = random.pick(&numbers).copied() else { return "nothing to type into".to_owned() };
        let Some(stream) = self.streams.get_mut(&number) else { return String::new() };
        let room = self.session.stream_room(number);
        if room == 0 || !stream.writes && random.chance(90) {
            return format!("does not type into {number}");
        }
        let line: &[u8] = random.pick(&[&b"\npanic\n"[..], b"\npoweroff\n", b"\nreboot\n"]).unwrap();
        let data = if random.chance(10) && room > line.len() {
            line.to_vec()
        } else {
            stream.marks(client, 1 + random.length(room.min(9000)))
        };
        stream.abused |= !stream.writes;
        self.session.stream_send(number, 0, stream.typed, &data).unwrap();
        format!("types {} bytes into stream {number}", data.len())
    }

    fn end_stream(&mut self, random: &mut Random) -> String {
        if random.chance(30)
            && let Some((number, _)) = self.captures.pop_first()
        {
            self.session.stream_end(number, Some(Failure::new(code::CANCELLED, "seen enough")));
            return format!("ends capture {number}");
        }
        let numbers: Vec<u32> = self.streams.keys().copied().collect();
        let Some(number) = random.pick(&numbers).copied() else { return "no stream to end".to_owned() };
        let why = random.chance(50).then(|| Failure::new(code::CANCELLED, "enough"));
        let both = why.is_some();
        self.session.stream_end(number, why);
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.we_ended = true;
            if both || stream.they_ended {
                self.streams.remove(&number);
            }
        }
        format!("ends stream {number}, both ways: {both}")
    }

    /// Asks for more than it reads.
    fn flood(&mut self, random: &mut Random, truth: &Truth, now: Instant) -> String {
        self.deaf = true;
        let count = 10 + random.below(25);
        for _ in 0..count {
            self.ask(ClientData::VmDefinition(VmCall { vm: Text::new(BIG).unwrap() }), 0, truth, now);
        }
        format!("floods with {count} calls and stops reading")
    }

    /// Wants much done to one guest at once, or waits for it in more ways than there may be.
    fn contend(&mut self, random: &mut Random, around: &Surroundings, truth: &Truth, now: Instant) -> String {
        let Some((vm, _)) = random.pick(&around.vms) else { return "nothing to contend for".to_owned() };
        let vm = || Text::new(vm.to_string()).unwrap();
        let (count, waits) = if random.chance(20) { (270, true) } else { (12, false) };
        for _ in 0..count {
            let data = if waits { calls::wait(vm()) } else { calls::contend(random, vm()) };
            self.ask(data, 0, truth, now);
        }
        format!("makes {count} calls about {}", vm())
    }

    /// Asks for an agent again and again, perhaps of a guest that has just been started, and perhaps gives one up.
    fn ask_agent(&mut self, random: &mut Random, around: &Surroundings, truth: &Truth, now: Instant) -> String {
        let Some((vm, _)) = random.pick(&around.vms) else { return "no agent to ask".to_owned() };
        let vm = Text::new(vm.to_string()).unwrap();
        if random.chance(50) {
            self.ask(ClientData::VmStart(VmStartCall { vm: vm.clone(), paused: false }), 0, truth, now);
        }
        let count = 1 + random.below(4);
        for _ in 0..count {
            self.ask(ClientData::AgentPing(VmCall { vm: vm.clone() }), 0, truth, now);
        }
        if random.chance(30) {
            let serial = *self.asked.keys().max().unwrap();
            self.ask(ClientData::Cancel(CancelCall { serial }), 0, truth, now);
        }
        format!("asks {count} times for the agent of {vm}")
    }

    /// Breaks the protocol, between two packets.
    fn trespass(&mut self, random: &mut Random, now: Instant) -> String {
        if !self.session.outbox().is_empty() {
            return "does not trespass".to_owned();
        }
        let ping = b"\x89VMW\0\0\0\x0c\0\0\0\0\0\0\0\0\0\0\0\x02";
        let trespasses: [(u32, &[u8]); 4] = [
            (code::BAD_MAGIC, b"GET / HTTP/1.1\r\n\r\n"),
            (code::BAD_LENGTH, b"\x89VMW\xff\xff\xff\xff"),
            (code::BAD_LENGTH, b"\x89VMW\0\0\0\x0d and so on"),
            (code::SERIAL, ping),
        ];
        let (code, bytes) = random.pick(&trespasses).unwrap();
        let mut link = self.link.borrow_mut();
        if link.client_writes(now, bytes, None) == bytes.len() {
            self.trespassed = Some(*code);
        } else {
            // Half a trespass is none that can be foretold.
            link.break_off();
            self.given_up = true;
        }
        format!("breaks the protocol, for {code}")
    }
}
