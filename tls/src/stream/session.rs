//! A rustls connection from the first handshake message on, of either end.

use std::io::{self, Read, Write};

use rustls::{Connection, Error, HandshakeKind, InvalidMessage};

use crate::config::Protocol;
use crate::error::{Looks, Refusal, Side};
use crate::identity::PeerIdentity;
use crate::peer::{Verdict, take_seen};

use super::{End, Phase, RECORD_BYTES_MAX, Received, Sent, UNSENT_BYTES_MAX};

/// The plaintext of one record (RFC 8446 section 5.1).
const FRAGMENT_BYTES_MAX: usize = 16_384;

/// What a record has besides: its header, and the nonce and tag of TLS 1.2, which has more of these than 1.3.
const RECORD_OVERHEAD_MAX: usize = 5 + 8 + 16;

/// What may come after the handshake and show nothing, without anything being amiss: an update of keys, and in TLS 1.2 the
/// beginning of another handshake, which is refused.
const UNSHOWN_BYTES_FREE: usize = 1024;

/// What both ends have in common.
pub(super) struct Session {
    connection: Connection,
    /// The other end.
    peer_side: Side,
    protocol: Protocol,
    peer: Option<Box<PeerIdentity>>,
    refusal: Option<Box<Refusal>>,
    end: Option<End>,
    opened: bool,
    closing: bool,
    /// Bytes of records that were taken over as plaintext and that the socket has not taken.
    unsent: usize,
    /// Bytes that came since there was something to be shown last.
    unshown: usize,
    /// The first bytes that came, until the handshake is over.
    first: First,
}

/// The beginning of what the other end sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct First {
    bytes: [u8; 8],
    count: usize,
}

/// What came from a socket, in one read.
pub(super) enum Chunk {
    Bytes(usize),
    Nothing { more: bool },
    End,
}

impl First {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for (slot, byte) in self.bytes[self.count..].iter_mut().zip(bytes) {
            *slot = *byte;
            self.count += 1;
        }
    }

    pub(super) fn looks(self) -> Looks {
        Looks::at(&self.bytes[..self.count])
    }

    /// Whether it begins as a record of TLS does.
    pub(super) fn is_tls(self) -> bool {
        matches!(self.bytes[..self.count.min(2)], [0x14..=0x17] | [0x14..=0x17, 3] | [])
    }
}

/// Reads once.
pub(super) fn read_socket(socket: &mut dyn Read, scratch: &mut [u8]) -> io::Result<Chunk> {
    match socket.read(scratch) {
        Ok(0) => Ok(Chunk::End),
        Ok(count) => Ok(Chunk::Bytes(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Chunk::Nothing { more: false }),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Chunk::Nothing { more: true }),
        Err(error) => Err(error),
    }
}

/// How much of the scratch buffer may be filled so that its plaintext fits.
pub(super) fn room(scratch: &[u8], plaintext: &[u8]) -> usize {
    debug_assert!(plaintext.len() > RECORD_BYTES_MAX, "no room for a record");
    scratch.len().min(plaintext.len().saturating_sub(RECORD_BYTES_MAX))
}

impl Session {
    pub(super) fn new(mut connection: Connection, peer_side: Side, protocol: Protocol, first: First) -> Self {
        connection.set_buffer_limit(Some(UNSENT_BYTES_MAX));
        Self {
            connection,
            peer_side,
            protocol,
            peer: None,
            refusal: None,
            end: None,
            opened: false,
            closing: false,
            unsent: 0,
            unshown: 0,
            first,
        }
    }

    /// See [`super::Stream::read`]. `judge` is asked about who comes back with a session from before.
    pub(super) fn read(
        &mut self,
        socket: &mut dyn Read,
        scratch: &mut [u8],
        plaintext: &mut [u8],
        judge: impl FnOnce(&Connection) -> Option<Verdict>,
    ) -> io::Result<Received> {
        if self.end.is_some() {
            return Ok(Received { end: self.end, ..Received::default() });
        }
        let room = room(scratch, plaintext);
        match read_socket(socket, &mut scratch[..room])? {
            Chunk::Nothing { more } => Ok(Received { more, ..Received::default() }),
            Chunk::End => Ok(self.handle_end()),
            Chunk::Bytes(taken) => {
                let filled = self.handle(&scratch[..taken], plaintext, judge);
                let more = taken == room && self.end.is_none();
                Ok(Received { plaintext: filled, taken, more, end: self.end })
            }
        }
    }

    /// Decrypts; says how much plaintext there is.
    pub(super) fn handle(
        &mut self,
        mut bytes: &[u8],
        plaintext: &mut [u8],
        judge: impl FnOnce(&Connection) -> Option<Verdict>,
    ) -> usize {
        let mut judge = Some(judge);
        let (mut filled, mut came) = (0, 0);
        if self.opened {
            came = self.take(&mut bytes);
        } else {
            // What came along with the client's first message is in there already, so that it is processed first.
            self.first.add(bytes);
        }
        loop {
            // rustls has said its last when it took no more: it is not to be asked what it makes of the rest.
            if self.end == Some(End::Failed) {
                return if self.peer_is_refused() { 0 } else { filled };
            }
            let processed = self.connection.process_new_packets();
            if !self.opened || processed.is_err() {
                self.note_verdict(processed.as_ref().err());
            }
            let shown = self.drain(&mut plaintext[filled..]);
            filled += shown;
            self.unshown = if shown > 0 || !self.opened { 0 } else { self.unshown + came };
            if !self.opened {
                self.handshake_went_on(&mut judge);
            }
            if self.end.is_some() || bytes.is_empty() {
                return if self.peer_is_refused() { 0 } else { filled };
            }
            came = self.take(&mut bytes);
        }
    }

    /// Says how many bytes rustls has taken.
    fn take(&mut self, bytes: &mut &[u8]) -> usize {
        match self.connection.read_tls(bytes) {
            // Behind the other end's close_notify nothing counts.
            Ok(0) => {
                self.end.get_or_insert(End::Closed);
            }
            Ok(count) => return count,
            Err(error) => self.fail(Refusal::Broken { reason: error.to_string() }),
        }
        0
    }

    fn handshake_went_on(&mut self, judge: &mut Option<impl FnOnce(&Connection) -> Option<Verdict>>) {
        match self.end {
            None | Some(End::Closed) if self.connection.is_handshaking() => {}
            // Whoever says all there is to say at once may have ended its side with it.
            None | Some(End::Closed) => {
                self.opened = true;
                if self.peer.is_some() {
                    return;
                }
                match judge.take().and_then(|judge| judge(&self.connection)) {
                    Some(Ok(identity)) => self.peer = Some(Box::new(identity)),
                    Some(Err(refusal)) => self.fail(refusal),
                    None => {}
                }
            }
            Some(End::Cut | End::Failed) => {}
        }
    }

    /// Refused at the end of the handshake: what it sent along is not to be looked at.
    fn peer_is_refused(&self) -> bool {
        self.refusal.is_some() && self.peer.is_none() && self.protocol == Protocol::Vmwire
    }

    fn note_verdict(&mut self, error: Option<&Error>) {
        let seen = take_seen();
        match (error, seen) {
            (None, Some(Ok(identity))) => self.peer = Some(Box::new(identity)),
            (Some(_), Some(Err(refusal))) => self.fail(refusal),
            (Some(error), _) => {
                let refusal = refusal(error, self.peer_side, if self.opened { None } else { Some(self.first) });
                self.fail(refusal);
            }
            (None, _) => {}
        }
    }

    fn drain(&mut self, plaintext: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < plaintext.len() {
            match self.connection.reader().read(&mut plaintext[filled..]) {
                Ok(0) => {
                    self.end.get_or_insert(End::Closed);
                    break;
                }
                Ok(count) => filled += count,
                Err(_) => break,
            }
        }
        filled
    }

    fn handle_end(&mut self) -> Received {
        if self.opened {
            self.end = Some(End::Cut);
        } else if self.first.is_tls() {
            self.fail(Refusal::Cut { by: self.peer_side });
        } else {
            self.fail(Refusal::WrongProtocol { speaker: self.peer_side, looks: self.first.looks() });
        }
        Received { end: self.end, ..Received::default() }
    }

    pub(super) fn fail(&mut self, refusal: Refusal) {
        // Where rustls has queued no alert of its own, the other end is to see an end all the same.
        self.connection.send_close_notify();
        self.end = Some(End::Failed);
        self.refusal.get_or_insert_with(|| Box::new(refusal));
    }

    /// See [`super::Stream::write`].
    pub(super) fn write(&mut self, socket: &mut dyn Write, plaintext: &[u8]) -> io::Result<Sent> {
        let mut sent = Sent::default();
        loop {
            while self.connection.wants_write() {
                match self.connection.write_tls(socket) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => {
                        sent.written += count;
                        self.unsent = self.unsent.saturating_sub(count);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        sent.blocked = true;
                        return Ok(sent);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.unsent = 0;
            let rest = &plaintext[sent.taken..];
            if rest.is_empty() || !self.may_write() {
                return Ok(sent);
            }
            let taken = self.connection.writer().write(rest)?;
            if taken == 0 {
                // The keys are used up, which only TLS 1.2 knows; rustls has said that it closes.
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            sent.taken += taken;
            self.unsent = taken + taken.div_ceil(FRAGMENT_BYTES_MAX) * RECORD_OVERHEAD_MAX;
        }
    }

    fn may_write(&self) -> bool {
        self.opened && !self.closing && self.end != Some(End::Failed)
    }

    /// Bytes that were taken over and wait for the socket, as records.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.unsent
    }

    /// Bytes that came since there was something to be shown last, unless they are too few to matter.
    pub(super) fn unshown_bytes(&self) -> usize {
        if self.unshown > UNSHOWN_BYTES_FREE { self.unshown } else { 0 }
    }

    pub(super) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    pub(super) fn close(&mut self) {
        self.closing = true;
        self.connection.send_close_notify();
    }

    pub(super) fn phase(&self) -> Phase {
        match (self.end, self.opened) {
            (Some(_), _) => Phase::Ended,
            (None, true) => Phase::Open,
            (None, false) => Phase::Handshake,
        }
    }

    pub(super) fn peer(&self) -> Option<&PeerIdentity> {
        if self.opened { self.peer.as_deref() } else { None }
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(super) fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_deref()
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn summary(&self) -> String {
        let (Some(version), Some(suite)) =
            (self.connection.protocol_version(), self.connection.negotiated_cipher_suite())
        else {
            return String::new();
        };
        let resumed = match self.connection.handshake_kind() {
            Some(HandshakeKind::Resumed) => ", resumed",
            _ => "",
        };
        format!(
            "{}, {}{resumed}",
            version.as_str().unwrap_or("TLS"),
            suite.suite().as_str().unwrap_or("unknown cipher")
        )
    }
}

/// What rustls's error means. `first` is what came first, as long as it may have been no TLS at all.
pub(super) fn refusal(error: &Error, peer_side: Side, first: Option<First>) -> Refusal {
    match error {
        Error::AlertReceived(alert) => Refusal::Alert { from: peer_side, alert: (*alert).into() },
        Error::NoCertificatesPresented if peer_side == Side::Client => Refusal::NoCertificate,
        Error::PeerIncompatible(reason) => Refusal::Incompatible { reason: format!("{reason:?}") },
        Error::InvalidMessage(
            InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::CertificatePayloadTooLarge,
        ) => Refusal::CertificatesTooLong { whose: peer_side },
        other => match first {
            Some(first) if !first.is_tls() => Refusal::WrongProtocol { speaker: peer_side, looks: first.looks() },
            _ => Refusal::Broken { reason: other.to_string() },
        },
    }
}
