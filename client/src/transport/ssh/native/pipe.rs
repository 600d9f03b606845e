//! Between libssh2 and the host: a pair of sockets, through which bytes are carried so many at a time.
//!
//! ```text
//!   libssh2 ── near ══ far ── carry ── net ── host
//! ```
//! libssh2 stays in a call for as long as there is something to read, and keeps every packet that it did not wait for. On the
//! host's own socket a host that never stops talking would have us for as long as it likes, and all memory. Here libssh2
//! runs dry after each portion, so that somebody can look at the clock; and what it was given is counted against what came
//! out of it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown, socketpair,
};

/// How much is carried at once, each way.
const PORTION: usize = 64 * 1024;

/// How much a host may say before the way to the daemon is open: keys, banners, questions. OpenSSH says some 3 KiB.
const GREETING_BYTES_MAX: u64 = 1024 * 1024;

/// How much more it may say than it has delivered: by each byte, for the smallest packet of a daemon becomes three times as
/// long; by time, for it may ask each second whether we are there; and once, for all else.
const PER_BYTE: u64 = 4;
const PER_SECOND: u64 = 256;
const BESIDES: u64 = 4 * 1024 * 1024;

/// A host counts as talking that has said something so shortly ago.
const JUST_NOW: Duration = Duration::from_millis(500);

/// The host has said more than it may that is nothing of the daemon's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

/// What was carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// From the host.
    pub(super) came: usize,
    /// To the host.
    pub(super) went: usize,
}

/// The pair of sockets, and the host's.
#[derive(Debug)]
pub(super) struct Pipe {
    near: Arc<OwnedFd>,
    far: OwnedFd,
    net: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    buffer: Box<[u8]>,
    /// What the host has not taken yet.
    unsent: Vec<u8>,
    /// What has come and has no room in the pair.
    untaken: Vec<u8>,
    /// The host says nothing more.
    ended: bool,
    /// The host hears nothing more.
    deaf: bool,
    came: u64,
    came_last: Option<Instant>,
    allowed: u64,
    /// When the way was open: from then on time counts.
    opened: Option<Instant>,
}

impl Pipe {
    pub(super) fn new(net: OwnedFd) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let state = State {
            buffer: vec![0; PORTION].into_boxed_slice(),
            unsent: Vec::new(),
            untaken: Vec::new(),
            ended: false,
            deaf: false,
            came: 0,
            came_last: None,
            allowed: GREETING_BYTES_MAX,
            opened: None,
        };
        Ok(Self { near: Arc::new(near), far, net, state: Mutex::new(state) })
    }

    /// The end that libssh2 has.
    pub(super) fn near(&self) -> Arc<OwnedFd> {
        self.near.clone()
    }

    /// Carries what can be carried at once: all that libssh2 has written, and from the host a portion when it has none left.
    pub(super) fn carry(&self) -> Result<Carried, TooMuch> {
        let mut state = self.locked();
        let went = self.carry_out(&mut state);
        let came = self.carry_in(&mut state);
        state.came += came as u64;
        if came > 0 {
            state.came_last = Some(Instant::now());
        }
        let by_time = state.opened.map_or(0, |opened| opened.elapsed().as_secs().saturating_mul(PER_SECOND));
        if state.came > state.allowed.saturating_add(by_time) {
            return Err(TooMuch);
        }
        Ok(Carried { came, went })
    }

    /// The way to the daemon is open.
    pub(super) fn opened(&self) {
        let mut state = self.locked();
        state.allowed = state.came + BESIDES;
        state.opened = Some(Instant::now());
    }

    /// So many bytes were for us.
    pub(super) fn delivered(&self, bytes: usize) {
        let mut state = self.locked();
        state.allowed = state.allowed.saturating_add(PER_BYTE.saturating_mul(bytes as u64));
    }

    /// Whether something waits for the host to take it.
    pub(super) fn has_unsent(&self) -> bool {
        !self.locked().unsent.is_empty()
    }

    /// Whether libssh2 has something to read that is not with the system's socket any more.
    pub(super) fn has_unread(&self) -> bool {
        !self.is_dry() || !self.locked().untaken.is_empty()
    }

    /// Whether the host has said something just now.
    pub(super) fn is_talking(&self) -> bool {
        self.locked().came_last.is_some_and(|last| last.elapsed() < JUST_NOW)
    }

    /// Ends it, both ways.
    pub(super) fn close(&self) {
        // Where the host has gone there is nobody to tell.
        let _ = shutdown(&self.net, Shutdown::Both);
        let _ = shutdown(&self.far, Shutdown::Both);
    }

    fn carry_out(&self, state: &mut State) -> usize {
        let mut went = 0;
        loop {
            if state.deaf {
                state.unsent.clear();
            }
            if !state.unsent.is_empty() {
                match send(&self.net, &state.unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                    Ok(count) => {
                        went += count;
                        state.unsent.drain(..count);
                        continue;
                    }
                    Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => return went,
                    Err(_) => state.deaf = true,
                }
            }
            let State { buffer, unsent, .. } = &mut *state;
            match recv(&self.far, &mut **buffer, RecvFlags::DONTWAIT) {
                Ok((_, count @ 1..)) => unsent.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return went,
            }
        }
    }

    fn carry_in(&self, state: &mut State) -> usize {
        let mut came = 0;
        if state.untaken.is_empty() && !state.ended && self.is_dry() {
            let State { buffer, untaken, .. } = &mut *state;
            match recv(&self.net, &mut **buffer, RecvFlags::DONTWAIT) {
                Ok((_, count @ 1..)) => {
                    came = count;
                    untaken.extend_from_slice(buffer.get(..count).unwrap_or_default());
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Ok(_) | Err(_) => state.ended = true,
            }
        }
        while !state.untaken.is_empty() {
            match send(&self.far, &state.untaken, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => drop(state.untaken.drain(..count)),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        if state.ended && state.untaken.is_empty() {
            // It may have been told already.
            let _ = shutdown(&self.far, Shutdown::Write);
        }
        came
    }

    fn is_dry(&self) -> bool {
        ioctl_fionread(&*self.near).is_ok_and(|unread| unread == 0)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Pipe {
    /// The host's socket, which is what can be waited for.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.net.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pipe() -> (Pipe, UnixStream) {
        let (net, host) = UnixStream::pair().unwrap();
        host.set_nonblocking(true).unwrap();
        (Pipe::new(net.into()).unwrap(), host)
    }

    fn read(pipe: &Pipe) -> Vec<u8> {
        let mut buffer = vec![0; 1024 * 1024];
        let count = recv(&*pipe.near, &mut buffer, RecvFlags::DONTWAIT).map_or(0, |(_, count)| count);
        buffer.truncate(count);
        buffer
    }

    #[test]
    fn bytes_get_there_both_ways_and_the_end_does_too() {
        let (pipe, mut host) = pipe();
        assert_eq!(pipe.carry(), Ok(Carried::default()));
        host.write_all(b"SSH-2.0-").unwrap();
        send(&*pipe.near, b"hello", SendFlags::NOSIGNAL).unwrap();
        assert_eq!(pipe.carry(), Ok(Carried { came: 8, went: 5 }));
        assert!(pipe.has_unread() && pipe.is_talking() && !pipe.has_unsent());
        assert_eq!(read(&pipe), b"SSH-2.0-");
        let mut heard = [0; 5];
        host.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"hello");
        host.write_all(b"bye").unwrap();
        drop(host);
        send(&*pipe.near, b"nobody hears it", SendFlags::NOSIGNAL).unwrap();
        pipe.carry().unwrap();
        assert_eq!(read(&pipe), b"bye");
        pipe.carry().unwrap();
        assert_eq!(recv(&*pipe.near, &mut [0; 8], RecvFlags::DONTWAIT).map(|(_, count)| count), Ok(0));
        assert!(!pipe.has_unsent());
    }

    #[test]
    fn whoever_does_not_read_gets_no_more_and_what_a_host_does_not_take_stays() {
        let (pipe, mut host) = pipe();
        while host.write(&[7; PORTION]).is_ok() {}
        let Carried { came, .. } = pipe.carry().unwrap();
        assert!((1..=PORTION).contains(&came), "{came}");
        assert_eq!(pipe.carry().unwrap().came, 0, "the first portion is not read yet");
        assert_eq!(read(&pipe).len(), came);
        assert!(pipe.carry().unwrap().came > 0);

        while send(&*pipe.near, &[9; PORTION], SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
            || pipe.carry().unwrap().went > 0
        {}
        assert!(pipe.has_unsent());
        let held = pipe.locked().unsent.len();
        assert!(held <= PORTION, "{held}");
    }

    #[test]
    fn a_host_that_says_more_than_it_delivers_is_found_out() {
        let (pipe, mut host) = pipe();
        let mut talk = |bytes: u64| -> Result<(), TooMuch> {
            for _ in 0..bytes / 1024 {
                host.write_all(&[0; 1024]).unwrap();
                pipe.carry()?;
                read(&pipe);
            }
            Ok(())
        };
        assert_eq!(talk(GREETING_BYTES_MAX), Ok(()));
        assert_eq!(talk(1024), Err(TooMuch));
        pipe.opened();
        assert_eq!(talk(BESIDES), Ok(()));
        assert_eq!(talk(1024), Err(TooMuch));
        pipe.delivered(1024 * 1024);
        assert_eq!(talk(1024 * 1024 * (PER_BYTE - 1)), Ok(()));
        // An hour of questions whether we are there is no offence.
        pipe.delivered(1024 * 1024);
        pipe.locked().opened = Instant::now().checked_sub(Duration::from_secs(3600));
        assert_eq!(talk(1024 * 1024 + 1024 * 512), Ok(()));
        assert_eq!(talk(8 * 1024 * 1024), Err(TooMuch));
    }
}
