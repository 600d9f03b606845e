//! The least that a mio loop can do for the same bytes: wait, read once, write. A short read has emptied the socket, so
//! that the read which would say so is left out, as the daemon does.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use mio::net::{UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token};

use super::{Count, READ_BYTES};
use crate::Outcome;

const LISTENER: Token = Token(usize::MAX);

struct Peer {
    stream: UnixStream,
    count: Count,
    /// Bytes that are owed and found no room.
    owed: usize,
}

/// Serves until the end of the process. Peers are never forgotten: there are few.
pub(super) fn run(path: &Path, request_bytes: usize, reply_bytes: usize) -> Outcome<()> {
    let mut poll = Poll::new()?;
    let mut listener = UnixListener::bind(path)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(256);
    let mut input = vec![0; READ_BYTES];
    let replies = vec![0; (READ_BYTES / request_bytes.max(1) + 1) * reply_bytes];
    let mut peers: Vec<Option<Peer>> = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(peers.len()), both)?;
                    peers.push(Some(Peer { stream, count: Count::of(request_bytes), owed: 0 }));
                }
            } else if let Some(slot) = peers.get_mut(event.token().0)
                && let Some(peer) = slot
                && !serve(peer, &mut input, &replies, reply_bytes)
            {
                *slot = None;
            }
        }
    }
}

/// Whether the peer is still there.
fn serve(peer: &mut Peer, input: &mut [u8], replies: &[u8], reply_bytes: usize) -> bool {
    let mut emptied = false;
    loop {
        while peer.owed > 0 {
            match peer.stream.write(replies.get(..peer.owed.min(replies.len())).unwrap_or_default()) {
                Ok(written) => peer.owed -= written,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        if emptied {
            return true;
        }
        match peer.stream.read(input) {
            Ok(0) => return false,
            Ok(bytes) => {
                peer.owed += peer.count.received(bytes) * reply_bytes;
                emptied = bytes < input.len();
            }
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}
