//! One simulated client: a real session, a tap beside it, and what it has to be told by when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use vmwire_daemon::model::VmId;
use vmwire_protocol::message::{
    CancelCall, ClientData, Failure, HelloCall, Procedure, ServerData, SubscribeCall, VmCall, code, console_mode,
    operation_state,
};
use vmwire_protocol::session::{ClientSession, ClientStep, Closing};
use vmwire_protocol::xdr::{List, Text};

use crate::calls::{self, BIG, Surroundings};
use crate::events::Subscription;
use crate::link::{Found, Link, SharedLink};
use crate::random::Random;
use crate::streams::Stream;
use crate::tap::Tap;
use crate::truth::Truth;

/// What one read takes at most.
const READ_BYTES: usize = 16 * 1024;

/// What is counted over all runs, to see that they came everywhere.
pub(crate) type Tally = BTreeMap<String, u64>;

/// What a client remembers from one connection to the next.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: u8,
    pub(crate) connection: Option<Connection>,
    /// The subscription that a lost connection had.
    lost: Option<SubscribeCall>,
}

/// A connection as its client sees it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) link: SharedLink,
    /// The daemon's number for it.
    pub(crate) id: u64,
    session: ClientSession,
    tap: Tap,
    phase: Phase,
    newest_minor: u32,
    since: Instant,
    asked: BTreeMap<u32, Asked>,
    /// Calls that CANCEL found.
    cancelled: BTreeSet<u32>,
    pub(crate) subscription: Option<Subscription>,
    streams: BTreeMap<u32, Stream>,
    /// It sends no more.
    pub(crate) half_closed: bool,
    pub(crate) told: Option<Failure>,
    /// Reads nothing for now.
    pub(crate) deaf: bool,
    /// It broke the protocol, and will be told so with this code.
    pub(crate) trespassed: Option<u32>,
    /// The daemon waited for it in vain, or it broke the link itself: no more comes.
    pub(crate) given_up: bool,
}

/// What was agreed, as of the last packet sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Fresh,
    Refused,
    Agreed(u32),
}

/// A call that was not answered yet.
#[derive(Debug)]
struct Asked {
    data: ClientData,
    at: Instant,
    deadline: Duration,
    must_fail: Option<u32>,
    /// How many calls waited when it was sent.
    open: usize,
    newest_event: u64,
    /// For a console: which one it was then.
    generation: u64,
}

impl Client {
    pub(crate) fn new(number: u8) -> Self {
        Self { number, connection: None, lost: None }
    }

    pub(crate) fn connect(&mut self, link: SharedLink, id: u64, now: Instant, newest_minor: u32) {
        self.connection = Some(Connection {
            link,
            id,
            session: ClientSession::new(),
            tap: Tap::default(),
            phase: Phase::Fresh,
            newest_minor,
            since: now,
            asked: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            subscription: None,
            streams: BTreeMap::new(),
            half_closed: false,
            told: None,
            deaf: false,
            trespassed: None,
            given_up: false,
        });
    }

    /// The connection is over, whoever ended it.
    pub(crate) fn lose(&mut self, truth: &Truth) {
        if let Some(connection) = self.connection.take() {
            self.lost = connection.subscription.map(|subscription| subscription.again(truth));
        }
    }

    /// Says something. Answers what, for the log.
    pub(crate) fn act(&mut self, random: &mut Random, around: &Surroundings, truth: &Truth) -> String {
        let lost = self.lost.take();
        let client = self.number;
        let Some(connection) = self.connection.as_mut().filter(|c| c.may_speak()) else {
            return "nothing".to_owned();
        };
        let now = truth.now.monotonic;
        let data = match (lost, random.below(100)) {
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
        let number = data.number();
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
            (ClientData::VmList(_), _) if self.newest_minor == 0 => Some(code::UNKNOWN_PROCEDURE),
            (ClientData::VmList(_), _) if minor == 0 => Some(code::UNSUPPORTED),
            _ => None,
        };
        let serial = self.session.call(&data, deadline_ms).unwrap();
        self.tap.asked(serial);
        let deadline = Procedure::of(number).unwrap().deadline(deadline_ms);
        let (open, newest_event) = (self.asked.len(), truth.next() - 1);
        let generation = match &data {
            ClientData::ConsoleOpen(call) => truth.generation(vm_of(&call.vm)),
            _ => 0,
        };
        self.asked.insert(serial, Asked { data, at: now, deadline, must_fail, open, newest_event, generation });
    }

    fn hello(&self, random: &mut Random, client: u8) -> ClientData {
        // Whoever is refused has what it sends on streams answered as well, and nobody asks for that.
        let streams = self.asked.values().any(|asked| matches!(asked.data, ClientData::ConsoleOpen(_)));
        let may_be_refused = self.streams.is_empty() && !streams;
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

    /// Writes what waits, as far as the link takes it.
    pub(crate) fn write(&mut self, link: &mut Link, now: Instant, mut random: Option<&mut Random>) -> bool {
        let mut wrote = false;
        while !self.session.outbox().is_empty() {
            let written = link.client_writes(now, self.session.outbox().unsent(), random.as_deref_mut());
            if written == 0 {
                return wrote;
            }
            self.session.outbox().advance(written);
            wrote = true;
        }
        wrote | (self.half_closed && link.client_ends())
    }

    /// Reads what came and judges it. Answers whether anything came, or what is wrong; `None` when it is over.
    pub(crate) fn read(&mut self, link: &mut Link, truth: &Truth, tally: &mut Tally) -> Result<Option<bool>, String> {
        match link.client_reads(truth.now.monotonic, READ_BYTES) {
            Found::Nothing => Ok(Some(false)),
            Found::Bytes(bytes) => {
                self.tap.heard(&bytes)?;
                self.hear(&bytes, truth, tally)?;
                Ok(Some(true))
            }
            // The daemon lost patience with one that does not read: it may, but not with one that does.
            Found::Broken | Found::End if self.given_up => Ok(None),
            Found::Broken => Err("the daemon broke the connection off".to_owned()),
            Found::End => {
                self.tap.ended()?;
                match (&self.told, self.half_closed) {
                    (Some(_), _) => {}
                    (None, _) if self.trespassed.is_some() => return Err("was not told of its trespass".to_owned()),
                    (None, true) if self.asked.is_empty() => {}
                    (None, true) => return Err(format!("closed with calls open: {:?}", self.asked)),
                    (None, false) => return Err("closed without a word".to_owned()),
                }
                Ok(None)
            }
        }
    }

    fn hear(&mut self, bytes: &[u8], truth: &Truth, tally: &mut Tally) -> Result<(), String> {
        let mut input = bytes;
        loop {
            match self.session.step(&mut input) {
                ClientStep::Idle => return Ok(()),
                ClientStep::Handled | ClientStep::StreamRoom(_) => {}
                ClientStep::Answer { serial, result } => self.answered(serial, &result, truth, tally)?,
                ClientStep::Progress { .. } => *tally.entry("progress".to_owned()).or_default() += 1,
                ClientStep::Event(event) => {
                    let subscription = self.subscription.as_mut().ok_or("an event without a subscription")?;
                    subscription.event(&event, truth)?;
                    *tally.entry("events".to_owned()).or_default() += 1;
                }
                ClientStep::Gap(gap) => {
                    let subscription = self.subscription.as_mut().ok_or("a gap without a subscription")?;
                    subscription.gap(&gap, truth)?;
                    let kind = if gap.last == 0 { "gaps of unknown place" } else { "gaps" };
                    *tally.entry(kind.to_owned()).or_default() += 1;
                }
                ClientStep::StreamData { stream, offset, data, .. } => {
                    let stream = self.streams.get_mut(&stream).ok_or("data of a stream that is not open")?;
                    let jumped = stream.data(offset, data, truth)?;
                    *tally.entry("console jumps".to_owned()).or_default() += u64::from(jumped);
                }
                ClientStep::StreamEnded(number) => {
                    let stream = self.streams.get_mut(&number).ok_or("the end of a stream that is not open")?;
                    stream.ended(truth)?;
                    *tally.entry("streams ended".to_owned()).or_default() += 1;
                }
                ClientStep::StreamOver { stream, why } => self.stream_over(stream, why, truth, tally)?,
                ClientStep::Closed(Closing::Told(failure)) => {
                    *tally.entry(format!("told {}", code::name(failure.code).unwrap_or("?"))).or_default() += 1;
                    self.told = Some(failure);
                    return Ok(());
                }
                ClientStep::Closed(Closing::Broken(error)) => return Err(format!("broken: {error}")),
            }
        }
    }

    fn stream_over(
        &mut self,
        number: u32,
        why: Option<Failure>,
        truth: &Truth,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let mut stream = self.streams.remove(&number).ok_or("the end of a stream that is over")?;
        match why.map(|why| (why.code, why.message)) {
            None if stream.we_ended => stream.ended(truth),
            None => Err(format!("stream {number} is over without a word")),
            Some((code::BUSY, _)) if stream.writes => {
                *tally.entry("take-overs".to_owned()).or_default() += 1;
                Ok(())
            }
            Some((code::INVALID, _)) if stream.abused => Ok(()),
            Some((code::NOT_FOUND, _)) if stream.is_void(truth) => Ok(()),
            Some(why) => Err(format!("stream {number} ended for {why:?}")),
        }
    }

    fn answered(
        &mut self,
        serial: u32,
        result: &Result<ServerData, Failure>,
        truth: &Truth,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let asked = self.asked.remove(&serial).ok_or("an answer to a call that was not open")?;
        let wrong =
            |why: &str| Err(format!("{why}: call {serial} {:.200}: {result:.300?}", format!("{:?}", asked.data)));
        let name = Procedure::of(asked.data.number()).unwrap().name;
        let outcome = result.as_ref().map_or_else(|failure| code::name(failure.code).unwrap_or("?"), |_| "ok");
        *tally.entry(format!("{name} {outcome}")).or_default() += 1;
        if let Some(code) = asked.must_fail
            && result.as_ref().err().map(|failure| failure.code) != Some(code)
        {
            return wrong(&format!("it had to fail with {code}"));
        }
        if self.cancelled.remove(&serial) && result.as_ref().err().map(|failure| failure.code) != Some(code::CANCELLED)
        {
            return wrong("it was found to be cancelled");
        }
        match result {
            Ok(data) => match self.judge(serial, &asked, data, truth)? {
                None => Ok(()),
                Some(why) => wrong(&why),
            },
            Err(failure) => {
                let fact = |key: &str| failure.details.iter().find(|detail| detail.key == key);
                let operation = fact("operation").and_then(|detail| detail.value.parse::<u64>().ok());
                if let Some(id) = operation.filter(|_| failure.code != code::BUSY) {
                    let begun = fact("begun").map(|detail| detail.value.as_str());
                    match (truth.operations.get(&id).map(|operation| operation.state), begun) {
                        (None, _) => return wrong("its operation was never heard of"),
                        (Some(operation_state::DROPPED), Some("yes")) => return wrong("it was dropped"),
                        (Some(state), Some("no")) if state != operation_state::DROPPED => {
                            return wrong("it was not dropped");
                        }
                        _ => {}
                    }
                }
                let shutdown = matches!(asked.data, ClientData::VmShutdown(_) | ClientData::OperationWait(_));
                let elapsed = truth.now.monotonic.saturating_duration_since(asked.at);
                match failure.code {
                    code::DEADLINE_EXCEEDED if !shutdown && elapsed < asked.deadline => wrong("too early"),
                    code::OVERLOADED if asked.open < 256 => {
                        let console = matches!(asked.data, ClientData::ConsoleOpen(_));
                        if console { Ok(()) } else { wrong("it had room") }
                    }
                    code::MALFORMED | code::INTERNAL | code::ANSWER_TOO_LARGE | code::AGENT => {
                        wrong("it makes no sense")
                    }
                    code::VERSION_MISMATCH | code::UNSUPPORTED | code::UNKNOWN_PROCEDURE
                        if asked.must_fail.is_none() =>
                    {
                        wrong("the versions fit")
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Holds an answer against what happened. Answers what is wrong with it.
    fn judge(
        &mut self,
        serial: u32,
        asked: &Asked,
        data: &ServerData,
        truth: &Truth,
    ) -> Result<Option<String>, String> {
        let done = |id: u64, number: u32| match truth.operations.get(&id) {
            _ if id == 0 => None,
            Some(operation) if (operation.procedure, operation.state) == (number, operation_state::DONE) => None,
            other => Some(format!("operation {id} is {other:?}")),
        };
        Ok(match (&asked.data, data) {
            (ClientData::Cancel(call), ServerData::Cancel(answer)) => {
                let open = call.serial < serial && self.asked.contains_key(&call.serial);
                if answer.found {
                    self.cancelled.insert(call.serial);
                }
                (answer.found != open).then(|| format!("whether it is open: {open}"))
            }
            (ClientData::Subscribe(call), ServerData::Subscribe(answer)) => {
                self.subscription = Some(Subscription::begin(call.clone(), asked.newest_event, answer, truth)?);
                None
            }
            (_, ServerData::Unsubscribe) => {
                self.subscription = None;
                None
            }
            (ClientData::ConsoleOpen(call), ServerData::ConsoleOpen(answer)) => {
                let writes = call.mode != console_mode::READ;
                let stream = Stream::open(vm_of(&call.vm), asked.generation, writes, answer.offset, truth)?;
                self.streams.insert(answer.stream, stream);
                None
            }
            (ClientData::VmShow(_), ServerData::VmShow(answer)) => {
                let vm = VmId(uuid::Uuid::from_bytes(answer.vm.uuid.0));
                let state = truth.state_as_of(vm, answer.cursor.sequence);
                (state != Some(answer.vm.state)).then(|| format!("its state as of the cursor is {state:?}"))
            }
            (ClientData::VmWait(call), ServerData::VmWait(answer)) => {
                let vm = VmId(uuid::Uuid::from_bytes(answer.vm.uuid.0));
                let state = truth.state_as_of(vm, answer.cursor.sequence);
                let fits = call.states.contains(&answer.state) && state == Some(answer.state);
                (!fits).then(|| format!("its state as of the cursor is {state:?}"))
            }
            (ClientData::VmNames(call), ServerData::VmNames(answer)) => {
                let mut names: Vec<String> = truth.names_as_of(answer.cursor.sequence).into_values().collect();
                names.retain(|name| name.as_str() > call.after.as_str());
                names.sort_unstable();
                let most = usize::try_from(call.rows_max).unwrap();
                names.truncate(if most == 0 { 4096 } else { most });
                let same = answer.names.iter().map(Text::as_str).eq(names.iter().map(String::as_str));
                (!same).then(|| format!("the names as of the cursor are {names:?}"))
            }
            (ClientData::VmDefine(call), ServerData::VmDefine(answer)) => {
                let replaced = truth.operations.get(&answer.operation).is_some_and(|operation| operation.replaced);
                let unasked = replaced && !call.replace;
                done(answer.operation, data.number()).or(unasked.then(|| "it was not to replace".to_owned()))
            }
            (
                _,
                ServerData::VmUndefine(answer)
                | ServerData::VmStart(answer)
                | ServerData::VmShutdown(answer)
                | ServerData::VmStop(answer)
                | ServerData::VmReboot(answer)
                | ServerData::VmReset(answer)
                | ServerData::VmPause(answer)
                | ServerData::VmResume(answer),
            ) => done(answer.operation, data.number()),
            _ => None,
        })
    }

    /// Takes over what was read of streams, so that more of it comes.
    pub(crate) fn take_streams(&mut self) {
        for (number, stream) in &mut self.streams {
            self.session.stream_taken(*number, std::mem::take(&mut stream.untaken));
        }
    }

    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Nothing is waited for that has come true already.
    pub(crate) fn settled(&self, truth: &Truth) -> Result<(), String> {
        for (serial, asked) in &self.asked {
            let lags = match &asked.data {
                ClientData::VmWait(call) => {
                    let state = truth.find(&call.vm).and_then(|vm| truth.state(vm));
                    state.is_none_or(|state| call.states.contains(&state))
                }
                ClientData::OperationWait(call) => {
                    truth.operations.get(&call.id).is_none_or(|operation| operation.state >= operation_state::DONE)
                }
                data => data.number() < 0x100,
            };
            if lags {
                return Err(format!("call {serial} waits for what has come true: {:?}", asked.data));
            }
        }
        Ok(())
    }

    /// All that will ever come has come.
    pub(crate) fn complete(&mut self, client: u8, truth: &Truth) -> Result<(), String> {
        if self.told.is_some() {
            return Ok(());
        }
        if !self.asked.is_empty() {
            return Err(format!("never answered: {:.600}", format!("{:?}", self.asked)));
        }
        if let Some(subscription) = &mut self.subscription {
            subscription.complete(truth)?;
        }
        for stream in self.streams.values() {
            stream.complete(truth)?;
            let up = truth.state(stream.vm) == Some(3) && !stream.they_ended && !stream.we_ended;
            if let Some(last) = stream.last_mark().filter(|_| up && stream.writes)
                && truth.last_typed(stream.vm, client) != Some(last)
            {
                return Err(format!("what was typed last never reached {}: {last}", stream.vm));
            }
        }
        Ok(())
    }
}

/// Who is meant by a uuid; nobody by anything else.
fn vm_of(text: &str) -> VmId {
    VmId(uuid::Uuid::parse_str(text).unwrap_or_default())
}
