//! The daemon's bytes through a channel of a session. Nothing here waits.
//!
//! What libssh2 and the pipe under it have taken off the socket is announced by no poll, and what could not be sent keeps
//! libssh2 from sending anything else; so both are asked for before each wait.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Instant;

use ssh2::{BlockDirections, Channel};
use vmwire_protocol::header::MAGIC;

use super::error::{NativeError, Stage};
use super::pipe::{Carried, TooMuch};
use super::session::{SOCKET_GONE, Talk, code};
use crate::error::Error;
use crate::transport::SshPlace;
use crate::transport::socket::{Came, Ending, Written};
use crate::transport::ssh::error::{Ended, SshError, Verdict};
use crate::transport::ssh::said::Said;
use crate::transport::ssh::verdict::verdict;
use crate::uri::SshTarget;

/// How often standard error is read for once that bytes are: whoever fills it does not keep the others waiting.
const HEARD_MAX: usize = 16;

/// How many portions are carried for one reading: others want their turn, too.
const PORTIONS_MAX: usize = 4;

/// No signal has a longer name.
const SIGNAL_CHARS_MAX: usize = 16;

/// How much is shown of what is no packet.
const NOISE_BYTES_MAX: usize = 160;

/// A connected channel.
pub(crate) struct SshSocket {
    talk: Talk,
    channel: Channel,
    place: SshTarget,
    bridge: Option<Bridge>,
    begun: Instant,
    /// libssh2 has bytes that the pipe did not take.
    stuck: bool,
    /// The other end has not said that it takes more.
    full: bool,
    /// Nothing can be read before what is stuck has gone.
    starved: bool,
    /// The end of the bytes has come, but not the end of the channel, which says how it ended.
    closing: bool,
    /// The end of the channel may have been taken off the pipe since it was last asked for.
    unasked: bool,
}

/// A program on the far side that stands between us and the daemon.
pub(super) struct Bridge {
    /// Sockets at which the server did not get anybody.
    closed: Vec<PathBuf>,
    user: String,
    /// How much has come of what every packet begins with.
    first: usize,
    said: Said,
    /// The line that is not whole yet.
    line: Vec<u8>,
}

impl Bridge {
    pub(super) fn new(closed: Vec<PathBuf>, user: String, said: Said) -> Self {
        Self { closed, user, first: 0, said, line: Vec::new() }
    }

    fn is_open(&self) -> bool {
        self.first >= MAGIC.len()
    }

    /// What is wrong with the first bytes, if they are not those of a packet.
    fn noise(&mut self, bytes: &[u8]) -> Option<String> {
        let rest = MAGIC.get(self.first..).unwrap_or_default();
        let compared = rest.len().min(bytes.len());
        if rest.get(..compared) == bytes.get(..compared) {
            self.first += compared;
            if compared > 0 && self.is_open() {
                self.said.opened();
            }
            return None;
        }
        let said = [MAGIC.get(..self.first).unwrap_or_default(), bytes].concat();
        let shown = said.get(..NOISE_BYTES_MAX).unwrap_or(&said);
        Some(String::from_utf8_lossy(shown).trim_end().to_owned())
    }
}

impl SshSocket {
    pub(super) fn new(talk: Talk, channel: Channel, place: &SshPlace, bridge: Option<Bridge>) -> Self {
        talk.pipe.opened();
        Self {
            talk,
            channel,
            place: place.target.clone(),
            bridge,
            begun: Instant::now(),
            stuck: false,
            full: false,
            starved: false,
            closing: false,
            unasked: false,
        }
    }

    /// Whether something can be read that no poll announces.
    pub(crate) fn has_more(&self) -> bool {
        self.channel.read_window().available > 0
            || !self.closing && self.channel.eof()
            || self.closing && self.unasked
            || !self.starved && self.talk.pipe.has_unread()
    }

    /// Whether reading makes sense when the socket has something.
    pub(crate) fn wants_read(&self) -> bool {
        !self.starved
    }

    pub(crate) fn wants_write(&self, unsent: bool) -> bool {
        self.stuck || self.talk.pipe.has_unsent() || unsent && (!self.full || self.channel.write_window().remaining > 0)
    }

    /// Why nothing has come yet, where that is not for the daemon to say.
    pub(crate) fn late(&self) -> Option<SshError> {
        let bridge = self.bridge.as_ref().filter(|bridge| !bridge.is_open())?;
        let said = bridge.said.lines();
        Some(SshError::Late { place: self.place.clone(), time: self.begun.elapsed(), said })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<Written> {
        // Without bytes of ours it is a word of libssh2's own that is stuck, which goes when it is asked for anything.
        let written = if bytes.is_empty() { self.channel.read(&mut []).map(|_| 0) } else { self.channel.write(bytes) };
        self.unasked = true;
        self.look_back();
        // Who says too much is told so where it is read.
        let _ = self.talk.pipe.carry();
        match written {
            Ok(0) => Ok(Written { taken: 0, blocked: true }),
            Ok(taken) => {
                self.full = false;
                Ok(Written { taken, blocked: false })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.full = !bytes.is_empty() && !self.stuck;
                Ok(Written { taken: 0, blocked: true })
            }
            Err(error) => Err(if self.is_gone() { io::ErrorKind::BrokenPipe.into() } else { error }),
        }
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Came> {
        self.starved = false;
        let mut bytes = 0;
        let mut end = None;
        let mut portions = 0;
        let mut carried = self.carry();
        while let (Ok(portion), Some(room)) = (carried, buffer.get_mut(bytes..).filter(|room| !room.is_empty())) {
            match self.channel.read(room) {
                Ok(0) => {
                    end = self.ending();
                    break;
                }
                Ok(count) => bytes += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    portions += 1;
                    if portion.came == 0 || portions == PORTIONS_MAX {
                        break;
                    }
                    carried = self.carry();
                }
                Err(_) if self.is_gone() => {
                    end = Some(Ending::Cut);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.look_back();
        if carried.is_ok() {
            // What libssh2 says of its own accord: that it takes more.
            carried = self.carry();
        }
        if carried == Err(TooMuch) {
            let error = SshError::native(&self.place, NativeError::TooMuch(Stage::Open));
            return Ok(Came { bytes: 0, alive: true, end: Some(refused(error)) });
        }
        self.talk.pipe.delivered(bytes);
        let window = self.channel.read_window();
        // libssh2 first says that it takes more, and reads only when that has been sent.
        let narrow = u64::from(window.remaining) < u64::from(window.window_size_initial) / 4 * 3 + buffer.len() as u64;
        self.starved = bytes == 0 && end.is_none() && self.stuck && narrow;
        let heard = self.hear();
        if self.closing && end.is_none() {
            // Whoever listened for words may have been given the end of the channel with them.
            end = self.ending();
        }
        if let (Some(bridge), Some(came)) = (&mut self.bridge, buffer.get(..bytes).filter(|came| !came.is_empty()))
            && let Some(text) = bridge.noise(came)
        {
            let noise = SshError::Noise { place: self.place.clone(), text };
            return Ok(Came { bytes: 0, alive: true, end: Some(refused(noise)) });
        }
        Ok(Came { bytes, alive: bytes > 0 || heard, end })
    }

    /// Reads what the far side says beside the bytes.
    fn hear(&mut self) -> bool {
        let Some(bridge) = &mut self.bridge else { return false };
        let (mut stderr, mut buffer, mut heard) = (self.channel.stderr(), [0; 2048], false);
        for _ in 0..HEARD_MAX {
            match stderr.read(&mut buffer) {
                Ok(count @ 1..) => {
                    bridge.said.hear(&mut bridge.line, buffer.get(..count).unwrap_or_default());
                    self.talk.pipe.delivered(count);
                    heard = true;
                }
                // Where it is broken, the bytes have told of it, or will.
                Ok(0) | Err(_) => break,
            }
        }
        heard
    }

    /// What the end of the bytes means; nothing yet where a program's own end is still to come.
    fn ending(&mut self) -> Option<Ending> {
        if self.bridge.is_none() {
            return Some(Ending::Closed);
        }
        self.closing = true;
        self.unasked = false;
        match self.channel.wait_close() {
            Err(error) if code(&error) == super::session::AGAIN => return None,
            // Who has gone has said all that is to be had.
            Ok(()) | Err(_) => {}
        }
        // What was said before the end is there by now.
        while self.hear() {}
        let status = self.channel.exit_status().ok();
        let bridge = self.bridge.as_mut()?;
        bridge.said.add(&std::mem::take(&mut bridge.line));
        let said = bridge.said.lines();
        let open = bridge.is_open();
        // Of a program that was ended from outside libssh2 says status 0, too.
        let signal = self.channel.exit_signal().ok().and_then(|signal| signal.exit_signal);
        let status = status.filter(|_| signal.is_none());
        let words = match (signal, status) {
            (Some(signal), _) => format!("signal: {}", signal.chars().take(SIGNAL_CHARS_MAX).collect::<String>()),
            (None, Some(status)) => format!("exit status: {status}"),
            (None, None) => "no exit status".to_owned(),
        };
        let verdict = match verdict(status, &words, &said) {
            Verdict::Nothing if open => return Some(Ending::Closed),
            Verdict::NoVmwire if !bridge.closed.is_empty() => {
                let error = NativeError::Unreached { sockets: bridge.closed.clone(), user: bridge.user.clone() };
                return Some(refused(SshError::native(&self.place, error)));
            }
            told @ Verdict::Told(_) => told,
            _ if open => Verdict::Lost,
            other => other,
        };
        Some(refused(SshError::Ended(Ended { place: self.place.clone(), verdict, said, reason: None, key: None })))
    }

    fn carry(&self) -> Result<Carried, TooMuch> {
        self.talk.pipe.carry()
    }

    fn look_back(&mut self) {
        let directions = self.talk.session.block_directions();
        self.stuck = matches!(directions, BlockDirections::Outbound | BlockDirections::Both);
    }

    /// Whether the last error was that the other end is not there any more.
    fn is_gone(&self) -> bool {
        let error = ssh2::Error::last_session_error(&self.talk.session);
        error.is_some_and(|error| SOCKET_GONE.contains(&code(&error)))
    }

    /// Says farewell, and does not wait for one.
    pub(crate) fn close(&mut self) {
        // Whoever has gone already is told nothing; and what does not fit into the socket is not waited for.
        let _ = self.channel.close();
        let _ = self.talk.session.disconnect(None, "done", None);
        // Without this, libssh2 would keep all it has for a farewell of the other end.
        let _ = self.talk.pipe.carry();
        self.talk.pipe.close();
    }
}

fn refused(error: SshError) -> Ending {
    Ending::Refused(Box::new(Error::from(error)))
}

impl Drop for SshSocket {
    fn drop(&mut self) {
        self.close();
    }
}

impl AsFd for SshSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.talk.pipe.as_fd()
    }
}

impl fmt::Debug for SshSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshSocket").field("place", &self.place).field("stuck", &self.stuck).finish_non_exhaustive()
    }
}
