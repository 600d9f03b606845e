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
use std::time::Instant;

use log::{debug, info};
use mio::Token;
use mio::net::TcpStream;
use vmwire_protocol::limits::{FIRST_PACKET_TIME, LINGER_TIME};
use vmwire_tls::config::{Protocol, ServerContext};
use vmwire_tls::error::Refusal;
use vmwire_tls::identity::PeerIdentity;
use vmwire_tls::stream::{End, Phase, ServerTls, Stream as _};

use super::Who;
use crate::connection::{READ_BYTES, Scratch, TlsSocket};
use crate::event_loop::{Now, Readiness};

/// Peers who are not known yet.
pub(super) const PEERS_MAX: usize = 64;

/// Reads in one turn, after which others come first.
const READS_MAX: usize = 16;

/// Handshakes under way, by age.
pub(super) struct Handshakes {
    pending: BTreeMap<u64, Pending>,
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
    /// It was refused, and is read until its end, for otherwise the kernel might take the alert back.
    refused: bool,
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
    Over,
}

impl Handshakes {
    pub(super) fn new() -> Self {
        Self {
            pending: BTreeMap::new(),
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
        if self.pending.len() >= PEERS_MAX
            && let Some((_, mut oldest)) = self.pending.pop_first()
        {
            self.send_away(oldest.address, "crowded", format!("{PEERS_MAX} others are not known yet either"));
            readiness.unwatch(&mut oldest.socket, oldest.token);
        }
        self.last += 1;
        let token = match readiness.watch(&mut socket, Who::Handshake(self.last)) {
            Ok(token) => token,
            Err(error) => return log::warn!("tls {address}: cannot be watched: {error}"),
        };
        let until = now.monotonic + FIRST_PACKET_TIME;
        let tls = ServerTls::new(context);
        self.pending.insert(self.last, Pending { socket, tls, address, generation, token, until, refused: false });
    }

    /// The socket of a peer may be ready. Answers whoever is known now.
    pub(super) fn handle_ready(&mut self, now: Now, number: u64, readiness: &mut Readiness<Who>) -> Option<Admitted> {
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
                readiness.run_again(pending.token);
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
                Some(Admitted { socket, address, generation, certificate, until })
            }
        }
    }

    /// The next one who could not show who they are.
    pub(super) fn poll_sent_away(&mut self) -> Option<SentAway> {
        self.sent_away.pop_front()
    }

    fn send_away(&mut self, address: SocketAddr, why: &'static str, message: String) {
        info!("tls {address}: refused: {message}");
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
            if !pending.refused {
                let seconds = FIRST_PACKET_TIME.as_secs();
                self.send_away(pending.address, "too-slow", format!("it did not say who it is within {seconds} s"));
            }
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
            if self.refused {
                return self.hear_out(plaintext);
            }
            let Ok(received) = scratch.read(&mut self.tls, &mut self.socket, plaintext) else { return Outcome::Over };
            // A socket that cannot be written to shows it in reading too, where what was read before counts first.
            let _ = self.tls.write(&mut self.socket, &[]);
            let known = self.tls.peer().is_some() && self.tls.protocol() == Some(Protocol::Vmwire);
            match self.tls.phase() {
                Phase::Open | Phase::Ended if known => {
                    return Outcome::Open { early: received.plaintext, end: received.end };
                }
                Phase::Ended => self.refuse(now),
                _ if received.more => {}
                _ => return Outcome::Wait,
            }
        }
        Outcome::Again
    }

    /// The peer gets its alert.
    fn refuse(&mut self, now: Instant) {
        self.refused = true;
        self.until = self.until.min(now + LINGER_TIME);
    }

    /// Lets a refused peer read its alert in peace, and throws away what it still sends.
    fn hear_out(&mut self, trash: &mut [u8]) -> Outcome {
        match self.tls.write(&mut self.socket, &[]) {
            Ok(sent) if sent.blocked => return Outcome::Wait,
            Ok(_) => {}
            Err(_) => return Outcome::Over,
        }
        if self.socket.shutdown(Shutdown::Write).is_err() {
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
