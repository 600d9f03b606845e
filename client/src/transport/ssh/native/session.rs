//! A session of SSH with a host: its handshake, and every wait in it with an end.
//!
//! libssh2 never blocks here: what would is asked again when something was carried for it, and not after the deadline.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use ssh2::{ErrorCode, MethodType, Session};

use super::error::{NativeError, Stage};
use super::host_key::HostKey;
use super::pipe::{Pipe, TooMuch};
use super::{Wanted, offers};
use crate::ask::Asking;

/// What libssh2 answers where it would have to wait, and other answers of its that decide something here.
pub(super) const AGAIN: i32 = -37;
const NO_KEX: [i32; 3] = [-5, -8, -17];
pub(super) const SOCKET_GONE: [i32; 3] = [-7, -13, -43];

/// What is agreed on, best first; what libssh2 was built without drops out. There is nothing with SHA-1, MD5, CBC, DSA or a
/// group under 2048 bits in it. libssh2 adds by itself that it does the strict key exchange, which defeats Terrapin.
pub(super) const KEX: &str = "mlkem768x25519-sha256,curve25519-sha256,curve25519-sha256@libssh.org,\
     ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group16-sha512,\
     diffie-hellman-group18-sha512,diffie-hellman-group-exchange-sha256,diffie-hellman-group14-sha256";
pub(super) const CIPHERS: &str = "aes256-gcm@openssh.com,aes128-gcm@openssh.com,chacha20-poly1305@openssh.com,\
     aes256-ctr,aes192-ctr,aes128-ctr";
pub(super) const MACS: &str = "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,hmac-sha2-512";
const SIGNATURES: &str = "rsa-sha2-512,rsa-sha2-256";

/// A session and what carries its bytes.
pub(super) struct Talk {
    pub(super) session: Session,
    pub(super) pipe: Arc<Pipe>,
}

impl Talk {
    /// A session of which nothing has been said.
    pub(super) fn new(socket: OwnedFd, host_keys: &str) -> Result<Self, NativeError> {
        let pipe = Pipe::new(socket).map_err(|error| NativeError::Library(error.to_string()))?;
        let session = Session::new().and_then(|mut session| {
            for (kind, list) in [
                (MethodType::Kex, KEX),
                (MethodType::HostKey, host_keys),
                (MethodType::CryptCs, CIPHERS),
                (MethodType::CryptSc, CIPHERS),
                (MethodType::MacCs, MACS),
                (MethodType::MacSc, MACS),
                (MethodType::SignAlgo, SIGNATURES),
            ] {
                session.method_pref(kind, list)?;
            }
            session.set_blocking(false);
            session.set_tcp_stream(pipe.near());
            Ok(session)
        });
        let session = session.map_err(|error| NativeError::Library(error.to_string()))?;
        Ok(Self { session, pipe: Arc::new(pipe) })
    }

    /// The same, for another thread.
    pub(super) fn another(&self) -> Self {
        Self { session: self.session.clone(), pipe: self.pipe.clone() }
    }

    /// Agrees on keys; answers the one that the host showed.
    pub(super) fn shake_hands(
        &self,
        wanted: &Wanted,
        host_keys: &str,
        asking: &Asking,
    ) -> Result<HostKey, NativeError> {
        let mut session = self.session.clone();
        let shaken = self.drive(|| asking.until(), || session.handshake());
        shaken.map_err(|failed| self.unshaken(wanted, host_keys, asking, failed))?;
        let method = |kind| self.session.methods(kind).unwrap_or("?").to_owned();
        let banner = String::from_utf8_lossy(self.session.banner_bytes().unwrap_or_default()).into_owned();
        log::debug!(
            "{}: {}, {}, {}, {}",
            wanted.place,
            banner.escape_debug(),
            method(MethodType::Kex),
            method(MethodType::HostKey),
            method(MethodType::CryptCs)
        );
        let shown = self.session.host_key().map(|(blob, _)| blob.to_vec());
        shown.and_then(HostKey::read).ok_or_else(|| NativeError::Library("the host has shown no key".to_owned()))
    }

    fn unshaken(&self, wanted: &Wanted, host_keys: &str, asking: &Asking, failed: Failed) -> NativeError {
        let said = self.session.banner_bytes().unwrap_or_default();
        let speaks = [&b"SSH-2.0-"[..], b"SSH-1.99-"].iter().any(|version| said.starts_with(version));
        let stage = if speaks { Stage::Keys } else { Stage::Banner };
        match failed {
            Failed::Ssh(error) if stage == Stage::Banner && !said.is_empty() => {
                NativeError::Broken { stage, words: error.message().to_owned() }
            }
            Failed::Ssh(error) if NO_KEX.contains(&code(&error)) => {
                match offers::missing(&wanted.host, host_keys, asking) {
                    Some(missing) => NativeError::NothingInCommon(missing),
                    None => self.failure(stage, Failed::Ssh(error)),
                }
            }
            other => self.failure(stage, other),
        }
    }

    /// What a failure at a stage means.
    pub(super) fn failure(&self, stage: Stage, failed: Failed) -> NativeError {
        match failed {
            Failed::Late => NativeError::Silent(stage),
            Failed::Endless => NativeError::Endless(stage),
            Failed::TooMuch => NativeError::TooMuch(stage),
            Failed::Gone => NativeError::Closed(stage),
            Failed::Ssh(error) if SOCKET_GONE.contains(&code(&error)) => NativeError::Closed(stage),
            Failed::Ssh(error) => NativeError::Broken { stage, words: error.message().to_owned() },
            Failed::System(error) => NativeError::Broken { stage, words: error.to_string() },
        }
    }

    /// Repeats a step until it is done, and no longer than there is time.
    pub(super) fn drive<T>(
        &self,
        until: impl Fn() -> Instant,
        mut step: impl FnMut() -> Result<T, ssh2::Error>,
    ) -> Result<T, Failed> {
        loop {
            let before = self.pipe.carry()?;
            let done = step();
            let after = self.pipe.carry()?;
            match done {
                Ok(done) => return Ok(done),
                Err(error) if code(&error) != AGAIN => return Err(Failed::Ssh(error)),
                // Whoever always has something more to say would be listened to for ever.
                Err(_) if Instant::now() >= until() => {
                    // What has come in this very turn is news, however long ago a busy machine began it.
                    let talks = before.came + after.came > 0 || self.pipe.is_talking();
                    return Err(if talks { Failed::Endless } else { Failed::Late });
                }
                Err(_) if before.came + after.came + after.went == 0 => self.wait(until())?,
                Err(_) => {}
            }
        }
    }

    /// Until something can be carried, or the time is over.
    fn wait(&self, until: Instant) -> Result<(), Failed> {
        let unsent = if self.pipe.has_unsent() { PollFlags::OUT } else { PollFlags::empty() };
        let timeout = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::new(&*self.pipe, PollFlags::IN | unsent)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(Failed::System(error)),
        }
    }
}

/// Why a step was not done.
pub(super) enum Failed {
    /// There was no time left, and nothing to read.
    Late,
    /// There was no time left, though there was something to read all the time.
    Endless,
    /// There was more to read than can be of use.
    TooMuch,
    /// The host has gone.
    Gone,
    /// libssh2 says so.
    Ssh(ssh2::Error),
    /// The system says so.
    System(Errno),
}

impl From<TooMuch> for Failed {
    fn from(_: TooMuch) -> Self {
        Self::TooMuch
    }
}

/// The number of an error of libssh2.
pub(super) fn code(error: &ssh2::Error) -> i32 {
    match error.code() {
        ErrorCode::Session(code) | ErrorCode::SFTP(code) => code,
    }
}
