//! The agent: which keys it holds, asked with an end to the waiting.
//!
//! libssh2 speaks to the agent as well, but waits for it without an end. So it is asked here first, and only one that
//! answers is handed over; what then takes long is a person whom the agent asks to confirm, on a thread that can be left.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
};

use super::host_key::HostKey;
use crate::transport::ssh::Settings;

/// How long it may take to list its keys.
const PATIENCE: Duration = Duration::from_secs(3);

/// An answer is no longer, as in the ssh program.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// It holds no more keys, as in the ssh program.
const KEYS_MAX: usize = 2048;

/// The question for the keys, whole: its length and its number.
const REQUEST_IDENTITIES: [u8; 5] = [0, 0, 0, 1, 11];
const IDENTITIES_ANSWER: u8 = 12;

/// An agent that was asked for its keys.
pub(in crate::transport::ssh) struct Held {
    pub(super) path: PathBuf,
    pub(super) keys: Result<Vec<HostKey>, AgentError>,
}

impl Held {
    /// Asks the agent that is set, where keys are shown at all.
    pub(in crate::transport::ssh) fn of(settings: &Settings, until: Instant) -> Option<Self> {
        if matches!(settings.value("pubkeyauthentication"), Some("no" | "false")) {
            return None;
        }
        let path = settings.agent()?;
        Some(Self { keys: keys(&path, until), path })
    }

    /// The kind of a key that may be shown and that only the program can show.
    pub(in crate::transport::ssh) fn only_for_the_program(&self) -> Option<String> {
        let mut kinds = self.keys.iter().flatten().map(HostKey::kind);
        kinds.find(|kind| is_in_a_token(kind) || is_certificate(kind)).map(str::to_owned)
    }
}

/// Whether a key of this kind is one of FIDO, whose signatures libssh2 cuts off.
pub(super) fn is_in_a_token(kind: &str) -> bool {
    kind.starts_with("sk-")
}

/// Whether what is of this kind is a certificate.
pub(super) fn is_certificate(kind: &str) -> bool {
    kind.contains("-cert-")
}

/// Why an agent is of no use.
#[derive(Debug)]
pub(super) enum AgentError {
    /// Nobody listens.
    Unreachable(io::Error),
    /// It does not say anything.
    Silent,
    /// It does not say what an agent says.
    Nonsense,
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "cannot be reached: {error}"),
            Self::Silent => write!(f, "has not answered within {} seconds", PATIENCE.as_secs()),
            Self::Nonsense => f.write_str("does not answer as an agent does"),
        }
    }
}

/// The keys that an agent holds, in its order.
fn keys(path: &Path, until: Instant) -> Result<Vec<HostKey>, AgentError> {
    let until = until.min(Instant::now() + PATIENCE);
    let unreachable = |error: Errno| match error {
        // Its queue is full: it listens and does not accept.
        Errno::AGAIN => AgentError::Silent,
        error => AgentError::Unreachable(error.into()),
    };
    let address = SocketAddrUnix::new(path).map_err(unreachable)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(unreachable)?;
    connect(&socket, &address).map_err(unreachable)?;
    send(&socket, &REQUEST_IDENTITIES, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map_err(unreachable)?;
    let mut said = Vec::new();
    loop {
        if let Some(answer) = whole(&said)? {
            return read(answer).ok_or(AgentError::Nonsense);
        }
        receive(&socket, &mut said, until)?;
    }
}

/// The answer behind its length, when all of it is there.
fn whole(said: &[u8]) -> Result<Option<&[u8]>, AgentError> {
    let Some((length, rest)) = said.split_first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > ANSWER_BYTES_MAX {
        return Err(AgentError::Nonsense);
    }
    Ok(rest.get(..length))
}

fn receive(socket: &OwnedFd, said: &mut Vec<u8>, until: Instant) -> Result<(), AgentError> {
    let left = until.saturating_duration_since(Instant::now());
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], Timespec::try_from(left).ok().as_ref()) {
        Ok(0) if Instant::now() >= until => return Err(AgentError::Silent),
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(AgentError::Unreachable(error.into())),
    }
    let mut buffer = [0; 4096];
    match recv(socket, &mut buffer, RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Err(AgentError::Nonsense),
        Ok((_, count)) => {
            said.extend_from_slice(buffer.get(..count).unwrap_or_default());
            Ok(())
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => Err(AgentError::Unreachable(error.into())),
    }
}

fn read(answer: &[u8]) -> Option<Vec<HostKey>> {
    let (&kind, rest) = answer.split_first()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_be_bytes(*count)).ok().filter(|&count| count <= KEYS_MAX)?;
    if kind != IDENTITIES_ANSWER {
        return None;
    }
    let mut keys = Vec::new();
    for _ in 0..count {
        let (blob, behind) = string(rest)?;
        let (_comment, behind) = string(behind)?;
        rest = behind;
        keys.push(HostKey::read(blob.to_vec())?);
    }
    Some(keys)
}

/// A text of the wire and what is behind it.
pub(super) fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn text(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    fn answer() -> Vec<u8> {
        let blob = [text(b"ssh-ed25519"), text(&[1; 32])].concat();
        let one = [text(&blob), text(b"me@here")].concat();
        text(&[&[IDENTITIES_ANSWER, 0, 0, 0, 2][..], &one, &one].concat())
    }

    fn served(with: impl FnOnce(&mut std::os::unix::net::UnixStream) + Send + 'static) -> Result<usize, String> {
        served_within(Duration::from_secs(60), with)
    }

    fn served_within(
        time: Duration,
        with: impl FnOnce(&mut std::os::unix::net::UnixStream) + Send + 'static,
    ) -> Result<usize, String> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("agent");
        let listener = UnixListener::bind(&path).unwrap();
        let agent = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 5];
            stream.read_exact(&mut question).unwrap();
            assert_eq!(question, REQUEST_IDENTITIES);
            with(&mut stream);
            stream
        });
        let found = keys(&path, Instant::now() + time);
        agent.join().unwrap();
        found.map(|keys| keys.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_are_listed_whatever_the_pieces_they_come_in() {
        let pieces = |stream: &mut std::os::unix::net::UnixStream| {
            for byte in answer() {
                stream.write_all(&[byte]).unwrap();
            }
        };
        assert_eq!(served(pieces), Ok(2));
    }

    #[test]
    fn an_agent_that_is_cut_talks_nonsense_or_is_silent_is_given_up() {
        let nonsense = Err("does not answer as an agent does".to_owned());
        assert_eq!(served(|stream| stream.write_all(&[0xff; 64]).unwrap()), nonsense);
        assert_eq!(served(|stream| stream.write_all(&[0, 0, 0, 1, 5]).unwrap()), nonsense);
        assert_eq!(served(|stream| stream.shutdown(std::net::Shutdown::Both).unwrap()), nonsense);
        let whole = answer();
        for end in 4..whole.len() {
            assert!(read(&whole[4..end]).is_none(), "{end}");
        }
        let silent = Err("has not answered within 3 seconds".to_owned());
        let half = |stream: &mut std::os::unix::net::UnixStream| stream.write_all(&answer()[..20]).unwrap();
        assert_eq!(served_within(Duration::from_secs(1), half), silent);
        let nobody = keys(Path::new("/nonexistent/agent"), Instant::now() + PATIENCE).unwrap_err();
        assert!(matches!(nobody, AgentError::Unreachable(_)), "{nobody}");
        let long = keys(Path::new(&format!("/{}", "a".repeat(300))), Instant::now() + PATIENCE).unwrap_err();
        assert!(matches!(long, AgentError::Unreachable(_)), "{long}");
    }
}
