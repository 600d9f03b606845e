//! One simulated client: a real session with a tap beside it. This room connects, writes and reads; `acts` says what it
//! says, and `judge` whether what it hears is right.

mod acts;
mod judge;
mod scopes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use vmwire_daemon::access::Role;
use vmwire_daemon::model::VmId;
use vmwire_protocol::message::{ClientData, Failure, SubscribeCall, code};
use vmwire_protocol::session::{ClientSession, ClientStep, Closing};

use crate::captures::Capture;
use crate::events::Subscription;
use crate::link::{Found, Link, SharedLink};
use crate::random::Random;
use crate::rights::{Era, Rights};
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
    /// The subscription that a lost connection had: the next one goes on where it stood.
    lost: Option<SubscribeCall>,
}

/// A connection as its client sees it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) link: SharedLink,
    /// The daemon's number for it.
    pub(crate) id: u64,
    /// Whom the daemon takes it for.
    identity: String,
    /// What it may do, and might before.
    pub(crate) eras: Vec<Era>,
    /// The consoles behind its streams; nothing behind a capture.
    consoles: BTreeMap<u32, Option<VmId>>,
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
    captures: BTreeMap<u32, Capture>,
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
    /// The eras in which it was made and answered.
    era: usize,
    answered_in: usize,
    /// For a console: which one it was then.
    generation: u64,
}

impl Client {
    pub(crate) fn new(number: u8) -> Self {
        Self { number, connection: None, lost: None }
    }

    pub(crate) fn connect(&mut self, link: SharedLink, id: u64, rights: Rights, now: Instant, newest_minor: u32) {
        self.connection = Some(Connection {
            link,
            id,
            identity: format!("uid {}", uid(self.number)),
            eras: vec![Era { change_byte: 0, from_byte: 0, from_event: 0, rights }],
            consoles: BTreeMap::new(),
            session: ClientSession::new(),
            tap: Tap::default(),
            phase: Phase::Fresh,
            newest_minor,
            since: now,
            asked: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            subscription: None,
            streams: BTreeMap::new(),
            captures: BTreeMap::new(),
            half_closed: false,
            told: None,
            deaf: false,
            trespassed: None,
            given_up: false,
        });
    }

    /// The connection is over, whoever ended it.
    pub(crate) fn lose(&mut self, truth: &Truth) {
        let Some(connection) = self.connection.take() else { return };
        let asked_for = || {
            connection.asked.values().find_map(|asked| match &asked.data {
                ClientData::Subscribe(call) => Some(call.clone()),
                _ => None,
            })
        };
        // Whoever went before the answer came asks for the same again.
        let unanswered = self.lost.take().or_else(asked_for);
        self.lost = connection.subscription.as_ref().map(|subscription| subscription.again(truth)).or(unanswered);
    }
}

impl Connection {
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
                for packet in self.tap.heard(&bytes)? {
                    self.within_rights(&packet, truth, tally)?;
                }
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
                    subscription.event(&event, &self.eras, truth)?;
                    *tally.entry("events".to_owned()).or_default() += 1;
                }
                ClientStep::Gap(gap) => {
                    let subscription = self.subscription.as_mut().ok_or("a gap without a subscription")?;
                    subscription.gap(&gap, &self.eras, truth)?;
                    let kind = if gap.last == 0 { "gaps of unknown place" } else { "gaps" };
                    *tally.entry(kind.to_owned()).or_default() += 1;
                }
                ClientStep::StreamData { stream, offset, data, .. } => {
                    if let Some(capture) = self.captures.get_mut(&stream) {
                        let (jumped, of_agent) = capture.data(self.id, offset, data)?;
                        let what = if of_agent { "agents captured" } else { "packets captured" };
                        *tally.entry(what.to_owned()).or_default() += 1;
                        *tally.entry("capture jumps".to_owned()).or_default() += u64::from(jumped);
                        continue;
                    }
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
        if let Some(capture) = self.captures.remove(&number) {
            let might_lose = self.eras[capture.era..].iter().any(|era| era.rights.host() != Role::Admin);
            return match why {
                Some(why) if why.code == code::DENIED && might_lose => Ok(()),
                why => Err(format!("capture {number} ended for {why:?}")),
            };
        }
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
            Some((code::NOT_FOUND | code::DENIED, _)) if self.may_have_lost(stream.vm, truth) => {
                *tally.entry("consoles taken away".to_owned()).or_default() += 1;
                Ok(())
            }
            Some(why) => Err(format!("stream {number} ended for {why:?}")),
        }
    }

    /// Takes over what was read of streams, so that more of it comes.
    pub(crate) fn take_streams(&mut self) {
        for (number, stream) in &mut self.streams {
            self.session.stream_taken(*number, std::mem::take(&mut stream.untaken));
        }
        for (number, capture) in &mut self.captures {
            self.session.stream_taken(*number, std::mem::take(&mut capture.untaken));
        }
    }

    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

/// The user that a client is.
pub(crate) fn uid(client: u8) -> u32 {
    1000 + u32::from(client)
}

/// Who is meant by a uuid; nobody by anything else.
fn vm_of(text: &str) -> VmId {
    VmId(uuid::Uuid::parse_str(text).unwrap_or_default())
}
