//! Reads, writes, nothing else: the floor under the mio echo, and the judge of whether the machine was quiet enough.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::{Count, READ_BYTES};
use crate::Outcome;

/// Serves one connection after the other.
pub(super) fn run(path: &Path, request_bytes: usize, reply_bytes: usize) -> Outcome<()> {
    let listener = UnixListener::bind(path)?;
    for stream in listener.incoming() {
        // A peer that leaves is no reason to leave.
        let _ = serve(stream?, request_bytes, reply_bytes);
    }
    Ok(())
}

fn serve(mut stream: UnixStream, request_bytes: usize, reply_bytes: usize) -> std::io::Result<()> {
    let mut input = vec![0; READ_BYTES];
    let replies = vec![0; (READ_BYTES / request_bytes.max(1) + 1) * reply_bytes];
    let mut count = Count::of(request_bytes);
    loop {
        let bytes = stream.read(&mut input)?;
        if bytes == 0 {
            return Ok(());
        }
        let owed = count.received(bytes) * reply_bytes;
        stream.write_all(replies.get(..owed).unwrap_or_default())?;
    }
}
