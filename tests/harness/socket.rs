//! A connection of a raw client: bytes over a unix socket, over TCP as they are, or over TLS.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;
use vmwire_tls::config::{ClientContext, ClientMaterial, HostName, KeyPair};
use vmwire_tls::date::Clock;
use vmwire_tls::error::Refusal;
use vmwire_tls::stream::{ClientTls, End, Phase, Stream as _};

use super::ENOUGH;

/// The connection. A clone is the same one.
#[derive(Debug, Clone)]
pub(crate) struct Socket(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsSocket>),
}

/// TLS on a socket that does not wait, so that one can read while another writes.
#[derive(Debug)]
struct TlsSocket {
    socket: TcpStream,
    tls: Mutex<ClientTls>,
    write_timeout: Mutex<Duration>,
}

/// What a client of an authority shows and trusts, in the directory that `vmwire pki issue` made.
pub(crate) fn client_context(files: &Path) -> ClientContext {
    let [authorities, certificates, key] =
        ["ca.crt", "client.crt", "client.key"].map(|name| std::fs::read(files.join(name)).unwrap());
    let pair = Some(KeyPair { certificates: &certificates, key: &key });
    let material = ClientMaterial { authorities: &authorities, pair, revocation_lists: &[] };
    ClientContext::build(&material, Clock::new(SystemTime::now)).unwrap()
}

impl Socket {
    pub(crate) fn unix(path: &Path) -> Self {
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(ENOUGH)).unwrap();
        Self::of(Kind::Unix(socket))
    }

    pub(crate) fn tcp(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(ENOUGH)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self::of(Kind::Tcp(socket))
    }

    /// With a handshake that has to be all right in the client's eyes. In TLS 1.3 a server may still refuse it.
    pub(crate) fn tls(address: SocketAddr, context: &ClientContext) -> Result<Self, Refusal> {
        let host = HostName::from(address.ip());
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        let tls = Mutex::new(ClientTls::new(context, &host).unwrap());
        let socket = TlsSocket { socket, tls, write_timeout: Mutex::new(ENOUGH) };
        socket.shake_hands()?;
        Ok(Self::of(Kind::Tls(Box::new(socket))))
    }

    fn of(kind: Kind) -> Self {
        let socket = Self(Arc::new(kind));
        socket.set_write_timeout(ENOUGH);
        socket
    }

    /// How long a write waits for the daemon to read.
    pub(crate) fn set_write_timeout(&self, timeout: Duration) {
        match &*self.0 {
            Kind::Unix(socket) => socket.set_write_timeout(Some(timeout)).unwrap(),
            Kind::Tcp(socket) => socket.set_write_timeout(Some(timeout)).unwrap(),
            Kind::Tls(socket) => *socket.write_timeout.lock().unwrap() = timeout,
        }
    }

    /// Has the system keep little of what the daemon has not read, and of what we have not: on a loopback it would be
    /// megabytes.
    pub(crate) fn keep_little(&self) {
        self.keep(16 * 1024);
    }

    /// Has the system keep as much as it would by itself. With little, a window is a fraction of what the loopback has in
    /// one packet, and each waits for an acknowledgement that is delayed by 40 ms.
    pub(crate) fn keep_much(&self) {
        self.keep(1024 * 1024);
    }

    fn keep(&self, bytes: usize) {
        let socket = match &*self.0 {
            Kind::Unix(_) => return,
            Kind::Tcp(socket) => socket,
            Kind::Tls(socket) => &socket.socket,
        };
        sockopt::set_socket_send_buffer_size(socket, bytes).unwrap();
        sockopt::set_socket_recv_buffer_size(socket, bytes).unwrap();
    }

    /// The fingerprint of the key that the daemon has shown.
    pub(crate) fn peer_key(&self) -> Option<String> {
        match &*self.0 {
            Kind::Unix(_) | Kind::Tcp(_) => None,
            Kind::Tls(socket) => socket.tls().peer().map(|peer| peer.key.to_string()),
        }
    }

    /// Says that no more will be sent.
    pub(crate) fn end_writing(&self) -> io::Result<()> {
        match &*self.0 {
            Kind::Unix(socket) => socket.shutdown(Shutdown::Write),
            Kind::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Kind::Tls(socket) => {
                let mut tls = socket.tls();
                tls.close();
                tls.write(&mut &socket.socket, &[])?;
                socket.socket.shutdown(Shutdown::Write)
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &*self.0 {
            Kind::Unix(socket) => (&*socket).read(into),
            Kind::Tcp(socket) => (&*socket).read(into),
            Kind::Tls(socket) => socket.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &*self.0 {
            Kind::Unix(socket) => (&*socket).write(bytes),
            Kind::Tcp(socket) => (&*socket).write(bytes),
            Kind::Tls(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsSocket {
    fn tls(&self) -> MutexGuard<'_, ClientTls> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, flags: PollFlags, until: Instant) -> io::Result<()> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap();
            match poll(&mut [PollFd::new(&self.socket, flags)], Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                polled => return Ok(polled.map(drop)?),
            }
        }
    }

    fn shake_hands(&self) -> Result<(), Refusal> {
        let until = Instant::now() + ENOUGH;
        let (mut scratch, mut plaintext) = (vec![0; 20_000], vec![0; 40_000]);
        loop {
            let mut tls = self.tls();
            // Who is refused may find the other end gone.
            let _ = tls.write(&mut &self.socket, &[]);
            match tls.phase() {
                Phase::Open => return Ok(()),
                Phase::Ended => return Err(tls.refusal().cloned().unwrap()),
                Phase::Hello | Phase::Handshake => {}
            }
            let received = tls.read(&mut &self.socket, &mut scratch, &mut plaintext).unwrap();
            assert_eq!(received.plaintext, 0, "the daemon says nothing unasked");
            drop(tls);
            if received.taken == 0 && received.end.is_none() {
                self.wait(PollFlags::IN, until).unwrap();
            }
        }
    }

    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let until = Instant::now() + ENOUGH;
        let mut scratch = vec![0; 40_000];
        loop {
            let mut tls = self.tls();
            let received = tls.read(&mut &self.socket, &mut scratch, into)?;
            if received.plaintext > 0 {
                return Ok(received.plaintext);
            }
            match received.end {
                None => {}
                Some(End::Closed | End::Cut) => return Ok(0),
                Some(End::Failed) => return Err(io::Error::other(tls.refusal().cloned().unwrap())),
            }
            drop(tls);
            if received.taken == 0 {
                self.wait(PollFlags::IN, until)?;
            }
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let until = Instant::now() + *self.write_timeout.lock().unwrap();
        let mut taken = 0;
        loop {
            let sent = self.tls().write(&mut &self.socket, &bytes[taken..])?;
            taken += sent.taken;
            if !sent.blocked {
                return Ok(taken);
            }
            match self.wait(PollFlags::OUT, until) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut && taken > 0 => return Ok(taken),
                waited => waited?,
            }
        }
    }
}
