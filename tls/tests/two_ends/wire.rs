//! Two ends and the bytes between them, moved by hand in pieces of any size.

use std::io::{self, Read, Write};

use vmwire_tls::config::{ClientContext, ServerContext};
use vmwire_tls::stream::{ClientTls, End, RECORD_BYTES_MAX, ServerTls, Stream};

/// More rounds than any of these stories takes: a handshake byte by byte included.
const ROUNDS_MAX: usize = 100_000;

/// One direction of a connection: what was written and not read yet.
pub(crate) struct Pipe {
    pub(crate) bytes: Vec<u8>,
    /// At most so much is read at once.
    pub(crate) piece: usize,
    /// At most so much waits; then writing would block.
    pub(crate) room: usize,
    pub(crate) ended: bool,
}

pub(crate) struct Reached<S> {
    pub(crate) stream: S,
    /// What it has been told by the other end.
    pub(crate) plaintext: Vec<u8>,
    /// What it still has to say.
    pub(crate) unsent: Vec<u8>,
    pub(crate) end: Option<End>,
}

/// A client and a server.
pub(crate) struct Pair<C, S> {
    pub(crate) client: Reached<C>,
    pub(crate) server: Reached<S>,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
}

impl Pipe {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), piece: usize::MAX, room: usize::MAX, ended: false }
    }
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.bytes.len().min(into.len()).min(self.piece);
        into[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes.drain(..count);
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let count = from.len().min(self.room.saturating_sub(self.bytes.len()));
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.bytes.extend_from_slice(&from[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Stream> Reached<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, plaintext: Vec::new(), unsent: Vec::new(), end: None }
    }

    /// One turn; says whether anything happened.
    pub(crate) fn turn(&mut self, from: &mut Pipe, to: &mut Pipe) -> bool {
        let mut scratch = [0; 4096];
        let mut plaintext = [0; RECORD_BYTES_MAX + 4096];
        let sent = self.stream.write(to, &self.unsent).unwrap();
        self.unsent.drain(..sent.taken);
        let received = self.stream.read(from, &mut scratch, &mut plaintext).unwrap();
        self.plaintext.extend_from_slice(&plaintext[..received.plaintext]);
        let news = received.end != self.end;
        self.end = received.end;
        sent.written + sent.taken + received.taken > 0 || news
    }
}

impl Pair<ClientTls, ServerTls> {
    pub(crate) fn new(client: &ClientContext, server: &ServerContext) -> Self {
        Self::to("vm1.example", client, server)
    }

    pub(crate) fn to(host: &str, client: &ClientContext, server: &ServerContext) -> Self {
        Self {
            client: Reached::new(ClientTls::new(client, &host.parse().unwrap()).unwrap()),
            server: Reached::new(ServerTls::new(server.clone())),
            up: Pipe::new(),
            down: Pipe::new(),
        }
    }
}

impl<C: Stream, S: Stream> Pair<C, S> {
    /// Until neither has anything to do.
    pub(crate) fn settle(&mut self) -> &mut Self {
        for _ in 0..ROUNDS_MAX {
            let client = self.client.turn(&mut self.down, &mut self.up);
            let server = self.server.turn(&mut self.up, &mut self.down);
            if !client && !server {
                return self;
            }
        }
        panic!("they never come to rest");
    }

    /// What the server thinks of it, then what the client does.
    pub(crate) fn words(&mut self) -> (String, String) {
        self.settle();
        let words = |refusal: Option<&vmwire_tls::error::Refusal>| refusal.map_or(String::new(), ToString::to_string);
        (words(self.server.stream.refusal()), words(self.client.stream.refusal()))
    }
}
