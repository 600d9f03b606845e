//! Peers of whom it is not known yet who they are: TLS handshakes under way.
//!
//! ```text
//!   accepted ──▶ shaking hands ──▶ known: handed over, with what came along
//!                     │
//!                     ├─ refused ──▶ told by an alert, heard out ──▶ gone
//!                     └─ too slow, or the oldest of too many ──▶ gone
//! ```
//! They cost memory and nobody vouches for them, so they share a pool in which the oldest makes room: whoever floods it
//! pushes out the flood.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info};
use mio::Token;
use mio::net::TcpStream;
use vmwire_protocol::limits::{FIRST_PACKET_TIME, LINGER_TIME};
use vmwire_protocol::message::{EnrollAnswer, EnrollCall, Failure};
use vmwire_tls::config::{Protocol, ServerContext};
use vmwire_tls::error::Refusal;
use vmwire_tls::identity::PeerIdentity;
use vmwire_tls::stream::{End, Phase, ServerTls, Stream as _};

use super::Who;
use super::enrolment::{self, Asked};
use crate::connection::{READ_BYTES, Scratch, TlsSocket};
use crate::dispatch::EnrolmentId;
use crate::event_loop::{Now, Readiness};

/// Peers who are not known yet.
pub(super) const PEERS_MAX: usize = 64;

/// How long an enrolment may take that has been asked for: a disk has to be waited for.
const ENROLMENT_TIME: Duration = Duration::from_secs(30);

/// Why somebody is sent away of whom nothing wrong is known, as the audit has it.
const CROWDED: &str = "crowded";
const TOO_SLOW: &str = "too-slow";

/// Reads in one turn, after which others come first.
const READS_MAX: usize = 16;

/// Handshakes that go on in one turn: each costs up to some milliseconds, of which its peer chooses how many.
const TURN_MAX: usize = 2;

/// Handshakes under way, by age.
pub(super) struct Handshakes {
    pending: BTreeMap<u64, Pending>,
    /// Those who can go on, the longest waiting first, each once; some may be gone by now.
    waiting: VecDeque<u64>,
    sent_away: VecDeque<SentAway>,
    last: u64,
    scratch: Scratch,
    plaintext: Box<[u8]>,
}

struct Pending {
    socket: TcpStream,
    tls: ServerTls,
    address: SocketAddr,
    /// Of the context that it is judged by.
    generation: u64,
    token: Token,
    until: Instant,
    /// What somebody without a certificate has said.
    asked: Vec<u8>,
    enrolling: Option<EnrolmentId>,
    /// What is still to be said to it, encrypted last.
    answer: Vec<u8>,
    /// It was not let in.
    refused: bool,
    /// It is among the waiting.
    waits: bool,
    /// All is said: it is read until its end, for otherwise the kernel might take the last bytes back.
    over: bool,
}

/// What a handshake has come to.
#[derive(Debug)]
pub(super) enum Arrived {
    /// Somebody who is known now.
    Admitted(Box<Admitted>),
    /// Somebody who wants to be known: what comes of it is for [`Handshakes::answer`].
    Enrolling { number: u64, address: SocketAddr, call: Box<EnrollCall> },
}

/// Somebody who is known now.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) socket: TlsSocket,
    pub(super) address: SocketAddr,
    /// Of the context that it was judged by.
    pub(super) generation: u64,
    pub(super) certificate: Arc<PeerIdentity>,
    /// When its first packet has to have come.
    pub(super) until: Instant,
}

/// Somebody who could not show who they are.
#[derive(Debug)]
pub(super) struct SentAway {
    pub(super) address: SocketAddr,
    /// A word that does not change.
    pub(super) why: &'static str,
    pub(super) message: String,
}

/// What became of a look at a handshake.
enum Outcome {
    Wait,
    Again,
    Open { early: usize, end: Option<End> },
    Enroll(Box<EnrollCall>),
    Over,
}

impl Handshakes {
    pub(super) fn new() -> Self {
        Self {
            pending: BTreeMap::new(),
            waiting: VecDeque::new(),
            sent_away: VecDeque::new(),
            last: 0,
            scratch: Scratch::new(),
            plaintext: vec![0; READ_BYTES].into_boxed_slice(),
        }
    }

    /// Begins with somebody; the oldest makes room if there is none.
    pub(super) fn begin(
        &mut self,
        now: Now,
        mut socket: TcpStream,
        address: SocketAddr,
        (context, generation): (ServerContext, u64),
        readiness: &mut Readiness<Who>,
    ) {
        if self.pending.len() >= PEERS_MAX {
            // Whose token is being spent would lose it with the connection.
            let oldest = self.pending.iter().find(|(_, pending)| pending.enrolling.is_none());
            let oldest = oldest.or_else(|| self.pending.first_key_value()).map(|(number, _)| *number);
            // Of whom all is said that there is to say, nothing more is told.
            if let Some(oldest) = oldest.and_then(|number| self.remove(number, readiness)).filter(|oldest| !oldest.over)
            {
                self.send_away(oldest.address, CROWDED, format!("{PEERS_MAX} others are not known yet either"));
            }
        }
        self.last += 1;
        let token = match readiness.watch(&mut socket, Who::Handshake(self.last)) {
            Ok(token) => token,
            Err(error) => return log::warn!("tls {address}: cannot be watched: {error}"),
        };
        let until = now.monotonic + FIRST_PACKET_TIME;
        let tls = ServerTls::new(context);
        let pending = Pending {
            socket,
            tls,
            address,
            generation,
            token,
            until,
            asked: Vec::new(),
            enrolling: None,
            answer: Vec::new(),
            refused: false,
            waits: false,
            over: false,
        };
        self.pending.insert(self.last, pending);
    }

    /// The socket of a peer may be ready: it goes on when it is its turn.
    pub(super) fn mark(&mut self, number: u64) {
        if let Some(pending) = self.pending.get_mut(&number)
            && !std::mem::replace(&mut pending.waits, true)
        {
            self.waiting.push_back(number);
        }
    }

    /// Takes those who go on in this turn, the longest waiting first.
    pub(super) fn take_turn(&mut self) -> Vec<u64> {
        let mut turn = Vec::new();
        while turn.len() < TURN_MAX {
            let Some(number) = self.waiting.pop_front() else { break };
            if let Some(pending) = self.pending.get_mut(&number) {
                pending.waits = false;
                turn.push(number);
            }
        }
        turn
    }

    /// Whether somebody can go on.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Goes on with a peer. Answers what it has come to.
    pub(super) fn go_on(&mut self, now: Now, number: u64, readiness: &mut Readiness<Who>) -> Option<Arrived> {
        let pending = self.pending.get_mut(&number)?;
        let refused_before = pending.refused;
        let outcome = pending.advance(now.monotonic, &self.scratch, &mut self.plaintext);
        if pending.refused && !refused_before {
            let refusal = pending.tls.refusal();
            let message = refusal.map_or_else(|| "it went away".to_owned(), ToString::to_string);
            let (address, why) = (pending.address, refusal.map_or("gone", Refusal::code));
            self.send_away(address, why, message);
        }
        let pending = self.pending.get_mut(&number)?;
        match outcome {
            Outcome::Wait => None,
            Outcome::Again => {
                self.mark(number);
                None
            }
            Outcome::Over => {
                self.remove(number, readiness);
                None
            }
            Outcome::Open { early, end } => {
                let early = self.plaintext[..early].to_vec();
                let Pending { socket, tls, address, generation, until, .. } = self.remove(number, readiness)?;
                debug!("tls {address}: {}", tls.summary());
                let certificate = Arc::new(tls.peer()?.clone());
                let socket = TlsSocket::new(socket, tls, self.scratch.clone(), early, end);
                Some(Arrived::Admitted(Box::new(Admitted { socket, address, generation, certificate, until })))
            }
            Outcome::Enroll(call) => Some(Arrived::Enrolling { number, address: pending.address, call }),
        }
    }

    /// The core knows the one who enrols by this.
    pub(super) fn enrolling(&mut self, now: Now, number: u64, id: EnrolmentId) {
        if let Some(pending) = self.pending.get_mut(&number) {
            pending.enrolling = Some(id);
            pending.until = now.monotonic + ENROLMENT_TIME;
        }
    }

    /// Tells somebody what came of the enrolment.
    pub(super) fn answer(
        &mut self,
        now: Now,
        id: EnrolmentId,
        result: Result<EnrollAnswer, Failure>,
        readiness: &mut Readiness<Who>,
    ) {
        let Some((number, pending)) =
            self.pending.iter_mut().find(|(_, pending)| pending.enrolling == Some(id)).map(|(number, p)| (*number, p))
        else {
            // It did not wait. Its token is spent, as the client library has told it might be.
            return;
        };
        match &result {
            Ok(answer) => info!("tls {}: enrolled as client {}", pending.address, answer.name),
            Err(failure) => info!("tls {}: not enrolled: {}", pending.address, failure.message),
        }
        pending.say(now.monotonic, enrolment::answer(result));
        if matches!(pending.hear_out(&mut self.plaintext), Outcome::Over) {
            self.remove(number, readiness);
        }
    }

    /// The next one who could not show who they are.
    pub(super) fn poll_sent_away(&mut self) -> Option<SentAway> {
        self.sent_away.pop_front()
    }

    fn send_away(&mut self, address: SocketAddr, why: &'static str, message: String) {
        match why {
            CROWDED | TOO_SLOW => info!("tls {address}: sent away, for {message}"),
            _ => info!("tls {address}: refused: {message}"),
        }
        self.sent_away.push_back(SentAway { address, why, message });
    }

    fn remove(&mut self, number: u64, readiness: &mut Readiness<Who>) -> Option<Pending> {
        let mut pending = self.pending.remove(&number)?;
        readiness.unwatch(&mut pending.socket, pending.token);
        Some(pending)
    }

    /// Sends those away whose time is over.
    pub(super) fn handle_timeout(&mut self, now: Instant, readiness: &mut Readiness<Who>) {
        let late: Vec<u64> =
            self.pending.iter().filter(|(_, pending)| pending.until <= now).map(|(number, _)| *number).collect();
        for number in late {
            let Some(pending) = self.remove(number, readiness) else { continue };
            let message = match pending.enrolling {
                _ if pending.over => continue,
                Some(_) => format!("its enrolment was not done within {} s", ENROLMENT_TIME.as_secs()),
                None => format!("it did not say who it is within {} s", FIRST_PACKET_TIME.as_secs()),
            };
            self.send_away(pending.address, TOO_SLOW, message);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.until).min()
    }

    /// Sends everybody away.
    pub(super) fn clear(&mut self, readiness: &mut Readiness<Who>) {
        for number in self.pending.keys().copied().collect::<Vec<_>>() {
            self.remove(number, readiness);
        }
    }
}

impl Pending {
    fn advance(&mut self, now: Instant, scratch: &Scratch, plaintext: &mut [u8]) -> Outcome {
        for _ in 0..READS_MAX {
            if self.over {
                return self.hear_out(plaintext);
            }
            let Ok(received) = scratch.read(&mut self.tls, &mut self.socket, plaintext) else { return Outcome::Over };
            // A socket that cannot be written to shows it in reading too, where what was read before counts first.
            let _ = self.tls.write(&mut self.socket, &[]);
            let open = matches!(self.tls.phase(), Phase::Open | Phase::Ended);
            match self.tls.protocol() {
                Some(Protocol::Vmwire) if open && self.tls.peer().is_some() => {
                    return Outcome::Open { early: received.plaintext, end: received.end };
                }
                Some(Protocol::Enroll) if received.plaintext > 0 => {
                    if let Some(call) = self.hear(now, &plaintext[..received.plaintext]) {
                        return Outcome::Enroll(call);
                    }
                }
                _ if self.tls.phase() == Phase::Ended && self.enrolling.is_none() => self.refuse(now),
                _ => {}
            }
            if !received.more && !self.over {
                return Outcome::Wait;
            }
        }
        Outcome::Again
    }

    /// Somebody without a certificate says something.
    fn hear(&mut self, now: Instant, said: &[u8]) -> Option<Box<EnrollCall>> {
        if self.enrolling.is_some() || !self.answer.is_empty() {
            return None;
        }
        let room = enrolment::BYTES_MAX - self.asked.len();
        self.asked.extend_from_slice(&said[..said.len().min(room)]);
        match enrolment::read(&self.asked) {
            Asked::Incomplete => None,
            Asked::Enroll(call) => Some(call),
            Asked::Wrong(failure) => {
                info!("tls {}: not enrolled: {}", self.address, failure.message);
                self.say(now, enrolment::answer(Err(*failure)));
                None
            }
        }
    }

    /// Has this said, and then no more.
    fn say(&mut self, now: Instant, answer: Vec<u8>) {
        self.answer = answer;
        self.over = true;
        self.until = now + LINGER_TIME;
    }

    /// The peer gets its alert.
    fn refuse(&mut self, now: Instant) {
        (self.refused, self.over) = (true, true);
        self.until = self.until.min(now + LINGER_TIME);
    }

    /// Lets the peer read its answer or its alert in peace, and throws away what it still sends.
    fn hear_out(&mut self, trash: &mut [u8]) -> Outcome {
        loop {
            match self.tls.write(&mut self.socket, &self.answer) {
                Ok(sent) => {
                    self.answer.drain(..sent.taken);
                    if sent.blocked {
                        return Outcome::Wait;
                    }
                }
                Err(_) => return Outcome::Over,
            }
            if self.answer.is_empty() {
                break;
            }
        }
        self.tls.close();
        if self.tls.write(&mut self.socket, &[]).is_err() || self.socket.shutdown(Shutdown::Write).is_err() {
            return Outcome::Over;
        }
        for _ in 0..READS_MAX {
            match self.socket.read(trash) {
                Ok(0) => return Outcome::Over,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Outcome::Wait,
                Err(_) => return Outcome::Over,
            }
        }
        Outcome::Over
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::SystemTime;

    use vmwire_tls::config::{KeyPair, ServerMaterial, ServerOptions};
    use vmwire_tls::date::Clock;
    use vmwire_tls::pki::{Authority, HostName, HostNames};

    use super::*;
    use crate::server::judging::date;

    /// Peers that have connected and say nothing.
    struct World {
        now: Now,
        readiness: Readiness<Who>,
        handshakes: Handshakes,
        clients: Vec<std::net::TcpStream>,
    }

    impl World {
        fn with(peers: usize) -> Self {
            let now = Now::read();
            let authority = Authority::create("CA", date(now)).unwrap().authority;
            let host = HostNames::new(["vm1".parse::<HostName>().unwrap()]).unwrap();
            let (key, server) = authority.issue_server(&host, date(now)).unwrap();
            let authorities = authority.pem();
            let material = ServerMaterial {
                pair: KeyPair { certificates: server.pem.as_bytes(), key: key.as_bytes() },
                authorities: authorities.as_bytes(),
                revocation_lists: &[],
            };
            let options = ServerOptions { enroll: true, key_log: false };
            let context = ServerContext::build(&material, Clock::new(SystemTime::now), options).unwrap();
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let mut world =
                Self { now, readiness: Readiness::new().unwrap(), handshakes: Handshakes::new(), clients: Vec::new() };
            for _ in 0..peers {
                let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                world.clients.push(client);
                let (socket, address) = listener.accept().unwrap();
                socket.set_nonblocking(true).unwrap();
                let socket = TcpStream::from_std(socket);
                world.handshakes.begin(now, socket, address, (context.clone(), 0), &mut world.readiness);
            }
            world
        }

        /// Those who are sent away when so much time has passed, and why.
        fn late(&mut self, after: Duration) -> Vec<(&'static str, String)> {
            self.handshakes.handle_timeout(self.now.monotonic + after, &mut self.readiness);
            std::iter::from_fn(|| self.handshakes.poll_sent_away()).map(|away| (away.why, away.message)).collect()
        }
    }

    #[test]
    fn of_a_burst_a_few_go_on_in_each_turn_the_longest_waiting_first() {
        let mut world = World::with(5);
        let handshakes = &mut world.handshakes;
        for number in [3, 1, 2, 1, 5, 3, 4, 99] {
            handshakes.mark(number);
        }
        assert_eq!(handshakes.take_turn(), [3, 1]);
        // Whoever has more to say comes after those who have not had their turn.
        handshakes.mark(3);
        assert!(handshakes.has_waiting());
        handshakes.remove(2, &mut world.readiness);
        assert_eq!(handshakes.take_turn(), [5, 4], "one of them is gone, and takes nobody's place");
        assert_eq!(handshakes.take_turn(), [3]);
        assert!(handshakes.take_turn().is_empty() && !handshakes.has_waiting());
    }

    #[test]
    fn whoever_is_too_slow_is_told_of_by_the_time_that_it_had() {
        let mut world = World::with(2);
        world.handshakes.enrolling(world.now, 2, EnrolmentId(7));
        let before = Duration::from_millis(9_999);
        assert_eq!(world.late(before), []);
        let silent = ("too-slow", "it did not say who it is within 10 s".to_owned());
        assert_eq!(world.late(Duration::from_secs(10)), [silent]);
        assert_eq!(world.late(Duration::from_millis(29_999)), []);
        let enrolling = ("too-slow", "its enrolment was not done within 30 s".to_owned());
        assert_eq!(world.late(Duration::from_secs(30)), [enrolling]);
        assert_eq!(world.handshakes.poll_timeout(), None);
    }
}
