//! Making a listening socket: nobody's is taken away, a dead one is replaced, and there is no moment at which others
//! could connect. A lock beside the socket decides between two daemons that start at once.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use mio::net::UnixListener;
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{Door, Listener, Place};
use crate::store::{Lock, LockError};

/// How many peers may wait to be accepted; the kernel's own limit is below.
pub(super) const BACKLOG: i32 = i32::MAX;

/// Why a socket could not be made.
#[derive(Debug)]
pub enum BindError {
    /// Another daemon has it.
    Locked(LockError),
    /// Something answers there.
    InUse(PathBuf),
    /// Something is there that is no socket.
    NoSocket(PathBuf),
    /// What the kernel says.
    System {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What the kernel says to a network address.
    Address {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
}

#[expect(clippy::disallowed_methods, reason = "at start-up there is nobody yet to keep waiting")]
pub(super) fn bind(path: &Path, mode: u32, gid: Option<u32>) -> Result<Listener, BindError> {
    let system = |error| BindError::System { path: path.to_owned(), error };
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock = Lock::take(Path::new(&lock_path)).map_err(BindError::Locked)?;

    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(system)?;
            }
            // A full backlog or a lack of rights are answers too: whoever gives them is alive.
            Ok(_) | Err(_) => return Err(BindError::InUse(path.to_owned())),
        },
        Ok(_) => return Err(BindError::NoSocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(system(error)),
    }

    let socket = listen(path, mode, gid).map_err(system)?;
    let made = std::fs::symlink_metadata(path).map_err(system)?;
    let place = Place { path: path.to_owned(), made, _lock: lock };
    Ok(Listener::new(Door::Unix { socket, place }))
}

/// The socket is its owner's alone when its name appears: Linux takes the mode from the socket, less the umask, which belongs
/// to the whole process. Others are let in before it listens: until then nobody can connect, whatever the mode.
#[expect(clippy::disallowed_methods, reason = "at start-up there is nobody yet to keep waiting")]
fn listen(path: &Path, mode: u32, gid: Option<u32>) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    if gid.is_some() {
        std::os::unix::fs::lchown(path, None, gid)?;
    }
    if mode != 0o600 {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from_std(socket.into()))
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(error @ LockError::Held { .. }) => write!(f, "another vmwired listens there: {error}"),
            Self::Locked(error) => error.fmt(f),
            Self::InUse(path) => write!(f, "cannot listen at {}: another program listens there", path.display()),
            Self::NoSocket(path) => {
                write!(f, "cannot listen at {}: something that is no socket is there", path.display())?;
                write!(f, "; move it away or listen elsewhere")
            }
            Self::System { path, error } => write!(f, "cannot listen at {}: {error}", path.display()),
            Self::Address { address, error } => write!(f, "cannot listen at {address}: {error}"),
        }
    }
}

impl std::error::Error for BindError {}
