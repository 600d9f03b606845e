//! `vmwire stdio`: standard input and output joined to a daemon's socket. What ssh runs on the far side.
//!
//! Two copies, each with a buffer of its own and each waiting for itself: neither can make the other wait, and nothing is
//! held but what the two buffers hold. The end of one direction is told to the other end of it, and to nobody else.

use std::io::{self, IsTerminal};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::io::Errno;

use super::problem::Problem;
use super::{Context, Exit};
use crate::ask::Asking;
use crate::connection::Options;
use crate::error::{Error, Lost};
use crate::transport::{Dialer, Environment, Location, Socket};
use crate::uri::Transport;

/// How much is on its way in one direction.
const BUFFER_BYTES: usize = 64 * 1024;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
                        vmwire stdio -c qemu:///system </dev/null && echo the socket can be opened\n\n\
                        This is the bridge that qemu+ssh://vm1/system has on vm1; hardly anybody types it.\n")]
pub(crate) struct Arguments {}

pub(crate) fn run(context: &mut Context<'_>) -> Result<Exit, Problem> {
    if io::stdin().is_terminal() || io::stdout().is_terminal() {
        return Err(Problem::usage("this joins the daemon's socket to a pipe, and here is a terminal").hint(
            "it is what -c qemu+ssh://HOST/system runs on HOST; to see whether the daemon answers: vmwire version",
        ));
    }
    let socket = connect(context)?;
    let input = rustix::stdio::stdin().try_clone_to_owned();
    let input = input.map_err(|error| Problem::local("standard input cannot be read", &error))?;
    join(input, rustix::stdio::stdout(), &socket)
}

/// The socket of a daemon of this machine.
fn connect(context: &Context<'_>) -> Result<UnixStream, Problem> {
    let uri = context.uri()?;
    if uri.transport() != Transport::Unix {
        return Err(Problem::usage(format!(
            "a bridge leads to a daemon of its own host, and this URI has {}",
            uri.transport().word()
        ))
        .hint("use qemu:///system, qemu:///session, or one with ?socket=PATH"));
    }
    let time = context.timeout.unwrap_or(Options::default().connect_timeout);
    let mut dialer = Dialer::new(Location::of(&uri, &Environment::of_process()).map_err(Error::from)?);
    let Socket::Plain(socket, _) = dialer.connect(&Asking::new(None, Instant::now() + time))? else {
        return Err(Error::Lost(Lost::Closed).into());
    };
    Ok(socket.into())
}

/// Copies both ways until the daemon has nothing more to say.
fn join(input: OwnedFd, output: BorrowedFd<'_>, socket: &UnixStream) -> Result<Exit, Problem> {
    let lost = |error: io::Error| Problem::from(Error::Lost(Lost::Io(Arc::new(error))));
    socket.set_nonblocking(false).map_err(lost)?;
    let towards = socket.try_clone().map_err(lost)?;
    let ended = Arc::new(AtomicBool::new(false));
    let input_ended = ended.clone();
    let copying = std::thread::Builder::new().name("towards".to_owned()).spawn(move || {
        if let Err(error) = copy(&input, &towards) {
            log::debug!("towards the daemon: {error:?}");
        }
        input_ended.store(true, Ordering::SeqCst);
        // The daemon may have gone already, which the other direction tells.
        let _ = towards.shutdown(Shutdown::Write);
    });
    copying.map_err(lost)?;
    match copy(socket, output) {
        // It had been asked something.
        Ok(0) if !ended.load(Ordering::SeqCst) => Err(Error::Lost(Lost::Closed).into()),
        Ok(_) => Ok(Exit::Ok),
        Err(Broken::Read(Errno::CONNRESET)) => Err(Error::Lost(Lost::Closed).into()),
        Err(Broken::Read(error)) => Err(lost(error.into())),
        Err(Broken::Write(error)) => Err(io::Error::from(error).into()),
    }
}

/// Which end of a copy did not work.
#[derive(Debug)]
enum Broken {
    Read(Errno),
    Write(Errno),
}

/// Copies until the end; answers how many bytes.
fn copy(from: impl AsFd, to: impl AsFd) -> Result<u64, Broken> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut copied = 0;
    loop {
        let count = again(|| rustix::io::read(&from, &mut buffer)).map_err(Broken::Read)?;
        let mut rest = buffer.get(..count).unwrap_or_default();
        if rest.is_empty() {
            return Ok(copied);
        }
        copied += rest.len() as u64;
        while !rest.is_empty() {
            let written = again(|| rustix::io::write(&to, rest)).map_err(Broken::Write)?;
            rest = rest.get(written..).unwrap_or_default();
        }
    }
}

/// Once more where a signal came in between.
fn again(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::thread;

    use super::*;

    /// A bridge with somebody at both ends of it: what is written into it, what comes out, the daemon.
    fn bridge() -> (UnixStream, UnixStream, UnixStream, thread::JoinHandle<Result<Exit, Problem>>) {
        let (input, into) = UnixStream::pair().unwrap();
        let (output, out_of) = UnixStream::pair().unwrap();
        let (socket, daemon) = UnixStream::pair().unwrap();
        let joined = thread::spawn(move || join(input.into(), output.as_fd(), &socket));
        (into, out_of, daemon, joined)
    }

    #[test]
    fn the_end_of_one_direction_does_not_end_the_other() {
        let (mut into, mut out_of, mut daemon, joined) = bridge();
        into.write_all(b"question").unwrap();
        into.shutdown(Shutdown::Write).unwrap();
        let mut question = String::new();
        daemon.read_to_string(&mut question).unwrap();
        assert_eq!(question, "question");
        daemon.write_all(b"answer").unwrap();
        drop(daemon);
        let mut answer = String::new();
        out_of.read_to_string(&mut answer).unwrap();
        assert_eq!((answer.as_str(), joined.join().unwrap()), ("answer", Ok(Exit::Ok)));
    }

    #[test]
    fn more_than_fits_into_both_buffers_goes_both_ways_at_once() {
        let (into, mut out_of, daemon, joined) = bridge();
        let long = vec![7; 4 * 1024 * 1024];
        let writers = [into.try_clone().unwrap(), daemon.try_clone().unwrap()].map(|mut to| {
            let long = long.clone();
            thread::spawn(move || {
                to.write_all(&long).unwrap();
                to.shutdown(Shutdown::Write).unwrap();
            })
        });
        let (mut there, mut back) = (Vec::new(), Vec::new());
        (&daemon).read_to_end(&mut there).unwrap();
        out_of.read_to_end(&mut back).unwrap();
        assert!(there == long && back == long);
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(joined.join().unwrap(), Ok(Exit::Ok));
    }

    #[test]
    fn a_daemon_that_goes_without_a_word_and_a_reader_that_goes_are_told_apart() {
        let (into, _out_of, daemon, joined) = bridge();
        drop(daemon);
        let problem = joined.join().unwrap().unwrap_err();
        assert_eq!((problem.exit, problem.message.as_str()), (Exit::NoConnection, "the daemon closed the connection"));
        drop(into);

        let (_into, out_of, mut daemon, joined) = bridge();
        drop(out_of);
        daemon.write_all(b"answer").unwrap();
        assert_eq!(joined.join().unwrap().unwrap_err().exit, Exit::Ok);
    }
}
