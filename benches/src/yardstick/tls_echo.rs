//! The mio echo with rustls around its sockets and nothing else: the socket's bytes go straight into rustls and come
//! straight out of it. A short read has emptied the socket here too.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustls::{ServerConfig, ServerConnection};

use super::{Count, READ_BYTES};
use crate::Outcome;

const LISTENER: Token = Token(usize::MAX);

/// What rustls reads at once.
const RUSTLS_READ_BYTES: usize = 4096;

struct Peer {
    stream: TcpStream,
    tls: ServerConnection,
    count: Count,
    /// Bytes that are owed and found no room.
    owed: usize,
}

/// Serves until the end of the process.
pub(super) fn run(
    address: SocketAddr,
    config: &Arc<ServerConfig>,
    request_bytes: usize,
    reply_bytes: usize,
) -> Outcome<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(address)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(256);
    let mut input = vec![0; READ_BYTES];
    let replies = vec![0; (READ_BYTES / request_bytes.max(1) + 1) * reply_bytes];
    let mut peers: Vec<Option<Box<Peer>>> = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(peers.len()), both)?;
                    let tls = ServerConnection::new(config.clone())?;
                    peers.push(Some(Box::new(Peer { stream, tls, count: Count::of(request_bytes), owed: 0 })));
                }
            } else if let Some(slot) = peers.get_mut(event.token().0)
                && let Some(peer) = slot
            {
                match serve(peer, &mut input, &replies, reply_bytes, event.is_read_closed()) {
                    Ok(true) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    _ => *slot = None,
                }
            }
        }
    }
}

/// Whether the peer is still there; would-block says that it is.
fn serve(
    peer: &mut Peer,
    input: &mut [u8],
    replies: &[u8],
    reply_bytes: usize,
    read_closed: bool,
) -> std::io::Result<bool> {
    let mut emptied = false;
    loop {
        loop {
            while peer.tls.wants_write() {
                peer.tls.write_tls(&mut peer.stream)?;
            }
            if peer.owed == 0 {
                break;
            }
            let owed = replies.get(..peer.owed.min(replies.len())).unwrap_or_default();
            peer.owed -= peer.tls.writer().write(owed)?;
        }
        if emptied {
            return Ok(true);
        }
        let bytes = peer.tls.read_tls(&mut peer.stream)?;
        if bytes == 0 {
            return Ok(false);
        }
        emptied = bytes < RUSTLS_READ_BYTES && !read_closed;
        peer.tls.process_new_packets().map_err(std::io::Error::other)?;
        loop {
            match peer.tls.reader().read(input) {
                Ok(0) => return Ok(false),
                Ok(bytes) => peer.owed += peer.count.received(bytes) * reply_bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}
