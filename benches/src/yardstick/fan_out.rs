//! The bare loop of as many writes as there are subscribers.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::Outcome;

/// Takes `subscribers` connections and one more; whenever that one says something, writes `bytes` to each of the others.
pub(super) fn run(path: &Path, subscribers: usize, bytes: usize) -> Outcome<()> {
    let listener = UnixListener::bind(path)?;
    let accept = || listener.accept().map(|(stream, _)| stream);
    let mut streams = (0..subscribers).map(|_| accept()).collect::<Result<Vec<UnixStream>, _>>()?;
    let mut trigger = accept()?;
    let event = vec![0; bytes];
    let mut input = [0; 4096];
    while trigger.read(&mut input)? > 0 {
        for stream in &mut streams {
            stream.write_all(&event)?;
        }
    }
    Ok(())
}
