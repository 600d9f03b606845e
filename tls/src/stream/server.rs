//! The server's end of a connection.
//!
//! The client's first message is read before anything is decided: by what it wants to speak it is served with or without
//! a certificate of its own, on one port.

use std::fmt;
use std::io::{self, Read, Write};

use rustls::pki_types::CertificateDer;
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{Error, InvalidMessage};

use crate::config::{Protocol, ServerContext};
use crate::date::Date;
use crate::error::{Refusal, Side};
use crate::identity::{PeerIdentity, shorten};
use crate::peer::next_end;

use super::records::Records;
use super::session::{Chunk, First, Session, read_socket, refusal, room};
use super::{End, Phase, Received, Sent, Stream};

/// The longest first message of a client, with its records' headers.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// Names of protocols that are told of a client which offers none of ours.
const OFFERED_MAX: usize = 8;

/// An alert of its own, for a first message that is too long: fatal, decode_error (RFC 8446 section 6).
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// What a client that is there was judged to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Why it would not be let in now, if so.
    pub verdict: Result<(), Refusal>,
    /// What it took to know, in bytes that were looked at: a signature that was not known to be right counts for many.
    pub work: usize,
}

/// A connection of a client.
pub struct ServerTls {
    context: ServerContext,
    state: State,
    records: Records,
}

enum State {
    Hello { acceptor: Acceptor, taken: usize, first: First },
    Session(Session),
    Refused { refusal: Refusal, alert: Vec<u8> },
}

impl ServerTls {
    /// A connection of which nothing has been read.
    pub fn new(context: ServerContext) -> Self {
        let state = State::Hello { acceptor: Acceptor::default(), taken: 0, first: First::default() };
        Self { context, state, records: Records::default() }
    }

    /// Bytes that were taken over by [`Stream::write`] and that the socket has not taken: those of records, so somewhat more
    /// than of plaintext.
    pub fn unsent_bytes(&self) -> usize {
        match &self.state {
            State::Session(session) => session.unsent_bytes(),
            State::Hello { .. } | State::Refused { .. } => 0,
        }
    }

    /// Bytes that came of something that is not there whole, so that nothing of it can be shown yet: a record, or a message of a
    /// handshake in several of them, of which rustls keeps up to 64 KiB.
    pub fn half_bytes(&self) -> usize {
        let unshown = match &self.state {
            State::Session(session) => session.unshown_bytes(),
            State::Hello { .. } | State::Refused { .. } => 0,
        };
        self.records.half().max(unshown)
    }

    /// Judges the client again, by another context: after a change of the authorities or the revocation lists, or when a
    /// certificate of its has ended. The connection is not touched.
    pub fn judge(&self, context: &ServerContext) -> Judgement {
        match self.chain() {
            [] => Judgement { verdict: Ok(()), work: 0 },
            chain => {
                let (verdict, work) = context.judge_counting(chain);
                Judgement { verdict: verdict.map(|_| ()), work }
            }
        }
    }

    /// When the first certificate ends that the client has shown, of those that have not ended before `after`: it may not
    /// be let in after this second.
    pub fn next_end(&self, after: Date) -> Option<Date> {
        next_end(self.chain(), after)
    }

    /// What a client has shown that is known by it.
    fn chain(&self) -> &[CertificateDer<'static>] {
        match &self.state {
            State::Session(session) if session.protocol() == Protocol::Vmwire => {
                session.connection().peer_certificates().unwrap_or_default()
            }
            _ => &[],
        }
    }

    fn read_hello(&mut self, mut bytes: &[u8], plaintext: &mut [u8]) -> usize {
        let State::Hello { acceptor, taken, first } = &mut self.state else { return 0 };
        first.add(bytes);
        let refused = loop {
            match acceptor.read_tls(&mut bytes) {
                Ok(count) => *taken += count,
                Err(error) => break (Refusal::Broken { reason: error.to_string() }, Vec::new()),
            }
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    let first = *first;
                    match begin(&self.context, accepted, first) {
                        Ok(session) => {
                            self.state = State::Session(session);
                            return self.handle(bytes, plaintext);
                        }
                        Err(refused) => break refused,
                    }
                }
                Ok(None) if *taken >= HELLO_BYTES_MAX => break (Refusal::HelloTooLong, DECODE_ERROR.to_vec()),
                Ok(None) if bytes.is_empty() => return 0,
                Ok(None) => {}
                Err((Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge), alert)) => {
                    break (Refusal::HelloTooLong, bytes_of(alert));
                }
                Err((error, alert)) => break (refusal(&error, Side::Client, Some(*first)), bytes_of(alert)),
            }
        };
        self.refuse(refused);
        0
    }

    /// See [`Stream::read`].
    fn read_once(&mut self, socket: &mut dyn Read, scratch: &mut [u8], plaintext: &mut [u8]) -> io::Result<Received> {
        match &mut self.state {
            State::Refused { .. } => Ok(Received { end: Some(End::Failed), ..Received::default() }),
            State::Session(session) => {
                let context = &self.context;
                session.read(socket, scratch, plaintext, |connection| judge_resumed(context, connection))
            }
            State::Hello { first, .. } => {
                let first = *first;
                let room = room(scratch, plaintext);
                match read_socket(socket, &mut scratch[..room])? {
                    Chunk::Nothing { more } => Ok(Received { more, ..Received::default() }),
                    Chunk::End => {
                        let refusal = if first.is_tls() {
                            Refusal::Cut { by: Side::Client }
                        } else {
                            Refusal::WrongProtocol { speaker: Side::Client, looks: first.looks() }
                        };
                        self.refuse((refusal, Vec::new()));
                        Ok(Received { end: Some(End::Failed), ..Received::default() })
                    }
                    Chunk::Bytes(taken) => {
                        let filled = self.read_hello(&scratch[..taken], plaintext);
                        let end = (self.phase() == Phase::Ended).then_some(End::Failed);
                        Ok(Received { plaintext: filled, taken, more: taken == room && end.is_none(), end })
                    }
                }
            }
        }
    }

    fn handle(&mut self, bytes: &[u8], plaintext: &mut [u8]) -> usize {
        let State::Session(session) = &mut self.state else { return 0 };
        let context = &self.context;
        session.handle(bytes, plaintext, |connection| judge_resumed(context, connection))
    }

    fn refuse(&mut self, (refusal, alert): (Refusal, Vec<u8>)) {
        self.state = State::Refused { refusal, alert };
    }
}

/// A client that resumes is not verified by rustls: its certificate may have expired since.
fn judge_resumed(context: &ServerContext, connection: &rustls::Connection) -> Option<crate::peer::Verdict> {
    connection.peer_certificates().map(|chain| context.judge(chain))
}

/// Chooses how the client is served, and begins.
fn begin(context: &ServerContext, accepted: Accepted, first: First) -> Result<Session, (Refusal, Vec<u8>)> {
    let (config, protocol) = context.choose(&accepted.client_hello());
    let offered = offered(&accepted);
    match accepted.into_connection(config) {
        Ok(connection) => Ok(Session::new(connection.into(), Side::Client, protocol, first)),
        Err((Error::NoApplicationProtocol, alert)) => Err((Refusal::NoCommonProtocol { offered }, bytes_of(alert))),
        Err((error, alert)) => Err((refusal(&error, Side::Client, None), bytes_of(alert))),
    }
}

fn offered(accepted: &Accepted) -> Vec<String> {
    let hello = accepted.client_hello();
    let names = hello.alpn().into_iter().flatten().take(OFFERED_MAX);
    names.map(|name| shorten(name.escape_ascii().to_string())).collect()
}

fn bytes_of(mut alert: AcceptedAlert) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = alert.write_all(&mut bytes);
    bytes
}

impl Stream for ServerTls {
    fn read(&mut self, socket: &mut dyn Read, scratch: &mut [u8], plaintext: &mut [u8]) -> io::Result<Received> {
        let received = self.read_once(socket, scratch, plaintext)?;
        self.records.add(&scratch[..received.taken]);
        Ok(received)
    }

    fn write(&mut self, socket: &mut dyn Write, plaintext: &[u8]) -> io::Result<Sent> {
        let mut sent = Sent::default();
        match &mut self.state {
            State::Hello { .. } => {}
            State::Session(session) => return session.write(socket, plaintext),
            State::Refused { alert, .. } => {
                while !alert.is_empty() {
                    match socket.write(alert) {
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        Ok(count) => {
                            alert.drain(..count);
                            sent.written += count;
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            sent.blocked = true;
                            break;
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(sent)
    }

    fn wants_write(&self) -> bool {
        match &self.state {
            State::Hello { .. } => false,
            State::Session(session) => session.wants_write(),
            State::Refused { alert, .. } => !alert.is_empty(),
        }
    }

    fn close(&mut self) {
        if let State::Session(session) = &mut self.state {
            session.close();
        }
    }

    fn phase(&self) -> Phase {
        match &self.state {
            State::Hello { .. } => Phase::Hello,
            State::Session(session) => session.phase(),
            State::Refused { .. } => Phase::Ended,
        }
    }

    fn peer(&self) -> Option<&PeerIdentity> {
        match &self.state {
            State::Session(session) => session.peer(),
            _ => None,
        }
    }

    fn protocol(&self) -> Option<Protocol> {
        match &self.state {
            State::Session(session) => Some(session.protocol()),
            _ => None,
        }
    }

    fn refusal(&self) -> Option<&Refusal> {
        match &self.state {
            State::Hello { .. } => None,
            State::Session(session) => session.refusal(),
            State::Refused { refusal, .. } => Some(refusal),
        }
    }

    fn summary(&self) -> String {
        match &self.state {
            State::Session(session) => session.summary(),
            _ => String::new(),
        }
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("phase", &self.phase()).finish_non_exhaustive()
    }
}
