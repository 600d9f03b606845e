//! A TCP socket with TLS around it, as a connection sees it: plain bytes.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;

use mio::net::TcpStream;
use vmwire_protocol::session::Below;
use vmwire_tls::config::ServerContext;
use vmwire_tls::date::Date;
use vmwire_tls::stream::{End, Judgement, Received, ServerTls, Stream as _};

use super::{READ_BYTES, Socket};

/// What came from a socket and is still encrypted: one buffer for all connections of a loop.
#[derive(Clone)]
pub struct Scratch(Rc<RefCell<Box<[u8]>>>);

/// Reads that brought nothing to be seen, before others come first.
const EMPTY_READS_MAX: usize = 16;

/// A socket whose handshake is over, and what it brought along.
pub struct TlsSocket {
    socket: TcpStream,
    tls: ServerTls,
    scratch: Scratch,
    /// Plaintext that came with the end of the handshake, to be read first.
    early: Vec<u8>,
    /// The socket may have more.
    more: bool,
    end: Option<End>,
}

impl Scratch {
    /// Holds as much as is read at once.
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(vec![0; READ_BYTES].into_boxed_slice())))
    }

    /// Reads once from a socket and decrypts into `plaintext`.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn read(&self, tls: &mut ServerTls, socket: &mut TcpStream, plaintext: &mut [u8]) -> io::Result<Received> {
        tls.read(socket, &mut self.0.borrow_mut(), plaintext)
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl TlsSocket {
    /// A socket whose handshake is over. `early` is what came with its end.
    pub fn new(socket: TcpStream, tls: ServerTls, scratch: Scratch, early: Vec<u8>, end: Option<End>) -> Self {
        Self { socket, tls, scratch, early, more: true, end }
    }

    /// The socket below.
    pub(super) fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Judges the peer's certificates again, by another context.
    pub fn judge(&self, context: &ServerContext) -> Judgement {
        self.tls.judge(context)
    }

    /// When the first of them ends, of those that have not ended before `after`.
    pub fn next_end(&self, after: Date) -> Option<Date> {
        self.tls.next_end(after)
    }

    fn take_early(&mut self, into: &mut [u8]) -> usize {
        let count = self.early.len().min(into.len());
        into[..count].copy_from_slice(&self.early[..count]);
        self.early.drain(..count);
        if self.early.is_empty() {
            self.early = Vec::new();
        }
        count
    }

    fn ended(&mut self, end: End) -> io::Result<usize> {
        match end {
            // Whole packets count whether or not their sender says that there are no more.
            End::Closed | End::Cut => Ok(0),
            End::Failed => {
                // The alert has one chance: whoever broke the rules waits for nothing more.
                let _ = self.tls.write(&mut self.socket, &[]);
                let why = self.tls.refusal().map_or_else(String::new, ToString::to_string);
                Err(io::Error::new(io::ErrorKind::InvalidData, why))
            }
        }
    }
}

impl Read for TlsSocket {
    /// Would-block says that an event tells of more; interrupted, that there is more and nothing of it could be shown.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.early.is_empty() {
            return Ok(self.take_early(into));
        }
        for _ in 0..EMPTY_READS_MAX {
            if let Some(end) = self.end {
                return self.ended(end);
            }
            let received = self.scratch.read(&mut self.tls, &mut self.socket, into)?;
            (self.more, self.end) = (received.more, received.end);
            if received.plaintext > 0 {
                return Ok(received.plaintext);
            }
            if !self.more && self.end.is_none() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }
}

impl Write for TlsSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.tls.write(&mut self.socket, bytes)?;
        if sent.taken == 0 && !bytes.is_empty() {
            let kind = if sent.blocked { io::ErrorKind::WouldBlock } else { io::ErrorKind::BrokenPipe };
            return Err(kind.into());
        }
        Ok(sent.taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.tls.wants_write() && self.tls.write(&mut self.socket, &[])?.blocked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    }
}

impl Socket for TlsSocket {
    fn is_emptied_by(&self, _count: usize, _asked: usize) -> bool {
        // An end that came behind the last bytes is known already, and no event will tell it again.
        !self.more && self.end.is_none() && self.early.is_empty()
    }

    fn below(&self) -> Below {
        Below { unsent: self.tls.unsent_bytes(), half: self.tls.half_bytes() }
    }

    fn shut_down_sending(&mut self) -> io::Result<()> {
        self.tls.close();
        self.flush()?;
        self.socket.shutdown(Shutdown::Write)
    }
}

impl fmt::Debug for TlsSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSocket").field("socket", &self.socket).field("end", &self.end).finish_non_exhaustive()
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch")
    }
}
