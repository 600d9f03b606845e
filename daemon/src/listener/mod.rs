//! Where clients knock: a unix socket with its lock, its mode and its removal, or a TCP socket, and what comes out of it.
//!
//! Every peer is accepted, also when there are too many: only who was accepted can be told why not. What becomes of
//! them is decided by `dispatch`.

mod bind;
mod tcp;

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::sockopt::socket_peercred;
use rustix::process::Pid;

pub use self::bind::BindError;
use crate::connection::Stream;
use crate::store::Lock;

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    door: Door,
    /// A descriptor to give up when there is none left, so that one more peer can be accepted and told.
    reserve: Option<OwnedFd>,
}

#[derive(Debug)]
enum Door {
    Unix { socket: UnixListener, place: Place },
    Tcp { socket: TcpListener, address: SocketAddr },
}

/// The name of a unix socket, which goes when its listener goes.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// What `path` was when we made it: another's socket of the same name is not ours to remove.
    made: Metadata,
    /// Held as long as the socket is there.
    _lock: Lock,
}

/// Somebody who connected.
#[derive(Debug)]
pub struct Peer {
    /// The connection.
    pub stream: Stream,
    /// Who they were when they connected, as the kernel says.
    pub origin: Origin,
    /// Accepted with the last descriptor: all that can be done is to say so.
    pub last_descriptor: bool,
}

/// Where somebody came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A process of this machine.
    Unix(Credentials),
    /// An address; who is behind it is not known by it.
    Network(SocketAddr),
}

/// Who connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Process; 0 if it is of another pid namespace.
    pub pid: u32,
}

/// What came out of the listener.
#[derive(Debug)]
pub enum Accepted {
    /// Somebody.
    Peer(Peer),
    /// Nobody is left; the next one wakes the loop.
    Nobody,
    /// There may be more, but not a descriptor for them: to be tried again after a while, or when one was closed.
    NoDescriptor,
}

impl Listener {
    /// Listens at `path`: only its owner can connect. A socket left behind by a daemon that is gone is replaced.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        bind::bind(path, 0o600, None)
    }

    /// Listens at `path` with these permissions and for this group. They are in force before anybody can connect.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind_for(path: &Path, mode: u32, gid: Option<u32>) -> Result<Self, BindError> {
        bind::bind(path, mode, gid)
    }

    /// Listens at `address`, for whoever can reach it.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind_tcp(address: SocketAddr) -> Result<Self, BindError> {
        let socket = tcp::listen(address).map_err(|error| BindError::Address { address, error })?;
        Ok(Self::new(Door::Tcp { socket, address }))
    }

    fn new(door: Door) -> Self {
        Self { door, reserve: reserve() }
    }

    /// What to watch.
    pub fn source(&mut self) -> &mut dyn Source {
        match &mut self.door {
            Door::Unix { socket, .. } => socket,
            Door::Tcp { socket, .. } => socket,
        }
    }

    /// The address that the system gave to one that listens at port 0.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.door {
            Door::Unix { .. } => None,
            Door::Tcp { socket, .. } => socket.local_addr().ok(),
        }
    }

    /// Takes the next peer.
    pub fn accept(&mut self) -> Accepted {
        loop {
            // Before anybody is let in: whoever took the place of the reserve would leave nobody after them to be told.
            self.reserve = self.reserve.take().or_else(reserve);
            match self.door.accept(false) {
                Ok(peer) => return Accepted::Peer(peer),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Accepted::Nobody,
                    // Whoever gave up before their turn is of no interest.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => return self.accept_last(&error),
                },
            }
        }
    }

    /// Accepts one more with the descriptor in reserve.
    fn accept_last(&mut self, error: &io::Error) -> Accepted {
        let Some(held) = self.reserve.take() else { return Accepted::NoDescriptor };
        drop(held);
        match self.door.accept(true) {
            Ok(peer) => {
                log::warn!("{}: no descriptor is left for another connection: {error}", self.door);
                Accepted::Peer(peer)
            }
            Err(error) => {
                // The system says that there is no descriptor even when nobody is there to have one.
                self.reserve = reserve();
                if error.kind() == io::ErrorKind::WouldBlock { Accepted::Nobody } else { Accepted::NoDescriptor }
            }
        }
    }
}

impl Door {
    fn accept(&self, last_descriptor: bool) -> io::Result<Peer> {
        match self {
            Self::Unix { socket, .. } => {
                let (stream, _) = socket.accept()?;
                let of = socket_peercred(&stream)?;
                // A process of another pid namespace has none here, which the kernel says with 0.
                let pid = u32::try_from(Pid::as_raw(Some(of.pid))).unwrap_or(0);
                let credentials = Credentials { uid: of.uid.as_raw(), gid: of.gid.as_raw(), pid };
                Ok(Peer { stream: Stream::Unix(stream), origin: Origin::Unix(credentials), last_descriptor })
            }
            Self::Tcp { socket, .. } => {
                let (stream, address) = socket.accept()?;
                Ok(Peer { stream: Stream::Tcp(stream), origin: Origin::Network(address), last_descriptor })
            }
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { place, .. } => place.path.display().fmt(f),
            Self::Tcp { address, .. } => address.fmt(f),
        }
    }
}

impl Drop for Place {
    /// Removes the socket, if it is still ours.
    #[expect(clippy::disallowed_methods, reason = "on the way out there is nobody left to keep waiting")]
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|there| there.dev() == self.made.dev() && there.ino() == self.made.ino());
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// A descriptor that costs next to nothing and comes from no disk.
fn reserve() -> Option<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::os::unix::net::UnixStream as Client;

    use super::*;

    /// Accepts until somebody or nobody is there for certain: a connect that has returned is in the backlog.
    fn accept(listener: &mut Listener) -> Peer {
        match listener.accept() {
            Accepted::Peer(peer) => peer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_peer_comes_with_what_the_kernel_knows_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let mut listener = Listener::bind(&path).unwrap();
        assert!(matches!(listener.accept(), Accepted::Nobody));
        let _client = Client::connect(&path).unwrap();
        let peer = accept(&mut listener);
        let Origin::Unix(credentials) = peer.origin else { panic!("{:?}", peer.origin) };
        assert_eq!(credentials.pid, std::process::id());
        assert_eq!(credentials.uid, rustix::process::getuid().as_raw());
        assert!(!peer.last_descriptor);
        assert!(matches!(listener.accept(), Accepted::Nobody));
    }

    #[test]
    fn only_the_owner_can_connect_and_the_socket_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let listener = Listener::bind(&path).unwrap();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
    }

    /// Somebody looks and tries to connect all the time: what they see of a socket for others is one that is its owner's
    /// alone, and whoever is let in is let in by the mode that was asked for.
    #[test]
    fn nobody_can_connect_before_the_mode_is_in_force_and_it_is_never_a_wider_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        /// Set when dropped, so that a failure here does not leave the onlooker looking for ever.
        struct Stop<'a>(&'a std::sync::atomic::AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let stop = std::sync::atomic::AtomicBool::new(false);
        let mode = || std::fs::symlink_metadata(&path).map(|metadata| metadata.permissions().mode() & 0o7777).ok();
        let (seen, connected) = std::thread::scope(|scope| {
            let onlooker = scope.spawn(|| {
                let (mut seen, mut connected) = (std::collections::BTreeSet::new(), 0);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    seen.extend(mode());
                    if Client::connect(&path).is_ok() {
                        connected += 1;
                        // It is the last one, if there still is one.
                        assert!(mode().is_none_or(|mode| mode == 0o620), "{:?}", mode());
                    }
                }
                (seen, connected)
            });
            let over = Stop(&stop);
            for _ in 0..2000 {
                let listener = Listener::bind_for(&path, 0o620, Some(rustix::process::getgid().as_raw())).unwrap();
                assert_eq!(mode(), Some(0o620));
                drop(listener);
            }
            drop(over);
            onlooker.join().unwrap()
        });
        assert!(connected > 0, "nobody came in time to see anything");
        assert!(seen.iter().all(|mode| [0o600, 0o620].contains(mode)), "{seen:?}");
    }

    #[test]
    fn a_socket_of_somebody_else_under_our_name_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let listener = Listener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
    }

    #[test]
    fn what_a_daemon_left_behind_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let mut listener = Listener::bind(&path).unwrap();
        let _client = Client::connect(&path).unwrap();
        accept(&mut listener);
    }

    #[test]
    fn a_socket_in_use_is_refused_whoever_uses_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let ours = Listener::bind(&path).unwrap();
        let told = Listener::bind(&path).unwrap_err().to_string();
        assert!(told.contains(&format!("process {}", std::process::id())), "{told}");
        drop(ours);
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let told = Listener::bind(&path).unwrap_err().to_string();
        assert!(told.contains("another program listens there"), "{told}");
    }

    #[test]
    fn what_is_no_socket_is_never_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        std::fs::write(&path, "precious").unwrap();
        let told = Listener::bind(&path).unwrap_err().to_string();
        assert!(told.contains("something that is no socket"), "{told}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
