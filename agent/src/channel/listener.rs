//! A socket that is listened on, with one client at a time. Who comes while another is there waits in the kernel until that one has
//! left and all it asked for was answered.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, getsockname, listen,
    send, socket_with,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::{Got, Method};
use crate::kernel::VsockAddress;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
/// So many clients may wait for the one that is there.
const WAITING_MAX: i32 = 1;
/// Where systemd puts the socket that it made for us.
const ACTIVATED: i32 = 3;

/// A socket and who is connected.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    client: Option<OwnedFd>,
    /// Our file, with device and inode, so that another's is not removed in its place.
    made: Option<(PathBuf, u64, u64)>,
}

impl Listener {
    /// Listens at a path. A socket that nobody listens on any more is replaced; nothing else is.
    ///
    /// # Errors
    /// What the system says, or that somebody listens there already.
    pub fn unix(path: &Path) -> io::Result<Listener> {
        let address = SocketAddrUnix::new(path)?;
        if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
            let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
            match connect(&probe, &address) {
                Ok(()) | Err(Errno::AGAIN) => return Err(Errno::ADDRINUSE.into()),
                Err(_) => std::fs::remove_file(path)?,
            }
        }
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        bind(&socket, &address)?;
        let made = std::fs::symlink_metadata(path)?;
        listen(&socket, WAITING_MAX)?;
        Ok(Listener { socket, client: None, made: Some((path.to_owned(), made.dev(), made.ino())) })
    }

    /// Listens on a vsock, written `cid:port`.
    ///
    /// # Errors
    /// What the system says, or that this is no such address.
    pub fn vsock(address: &str) -> io::Result<Listener> {
        let parsed = address.split_once(':').and_then(|(cid, port)| Some((cid.parse().ok()?, port.parse().ok()?)));
        let (cid, port) =
            parsed.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not of the form cid:port"))?;
        let socket = socket_with(AddressFamily::VSOCK, SocketType::STREAM, FLAGS, None)?;
        bind(&socket, &VsockAddress::new(cid, port))?;
        listen(&socket, WAITING_MAX)?;
        Ok(Listener { socket, client: None, made: None })
    }

    /// The socket that somebody else listens on for us, and what it is. `None` if there is none.
    ///
    /// # Errors
    /// There is more than one, or none of a kind that we know.
    pub fn activated() -> io::Result<Option<(Method, Listener)>> {
        let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
        if number("LISTEN_PID") != Some(std::process::id()) {
            return Ok(None);
        }
        match number("LISTEN_FDS") {
            None | Some(0) => return Ok(None),
            Some(1) => {}
            Some(count) => return Err(io::Error::other(format!("{count} sockets were passed, and one is wanted"))),
        }
        // A copy: that descriptor 3 is ours alone nobody can prove.
        let ourselves = pidfd_open(getpid(), PidfdFlags::empty())?;
        let socket = pidfd_getfd(&ourselves, ACTIVATED, PidfdGetfdFlags::empty())?;
        let method = match getsockname(&socket)?.address_family() {
            AddressFamily::UNIX => Method::UnixListen,
            AddressFamily::VSOCK => Method::VsockListen,
            _ => return Err(io::Error::other("the socket that was passed is neither a unix socket nor a vsock")),
        };
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Some((method, Listener { socket, client: None, made: None })))
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Got {
        let Some(client) = &self.client else { return self.accept() };
        match rustix::io::read(client, buffer) {
            Ok(0) => Got::End,
            Ok(count) => Got::Bytes(count),
            Err(Errno::AGAIN | Errno::INTR) => Got::Nothing,
            // It left without reading what it was sent, which is its own affair.
            Err(_) => Got::End,
        }
    }

    fn accept(&mut self) -> Got {
        match accept_with(&self.socket, FLAGS) {
            Ok(client) => {
                self.client = Some(client);
                Got::Connected
            }
            Err(_) => Got::Nothing,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(client) = &self.client else { return Err(Errno::NOTCONN.into()) };
        match send(client, bytes, SendFlags::NOSIGNAL) {
            Ok(count) => Ok(count),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn close_client(&mut self) {
        self.client = None;
    }

    pub(super) fn interest(&self, reading: bool, writing: bool) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let mut flags = PollFlags::empty();
        if reading {
            flags |= PollFlags::IN;
        }
        if writing {
            flags |= PollFlags::OUT;
        }
        let socket = self.client.as_ref().unwrap_or(&self.socket);
        // Who is not asked anything is not waited for: a client that is gone would be told of for ever.
        (!flags.is_empty()).then(|| (socket.as_fd(), flags))
    }

    pub(super) fn remove(&mut self) {
        let Some((path, device, inode)) = self.made.take() else { return };
        if std::fs::symlink_metadata(&path).is_ok_and(|found| (found.dev(), found.ino()) == (device, inode)) {
            let _ = std::fs::remove_file(path);
        }
    }
}
