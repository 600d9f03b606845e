//! What a scripted daemon listens and talks on: a socket of the file system, a port, a port with TLS.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use vmwire_tls::config::{KeyPair, ServerContext, ServerMaterial, ServerOptions};
use vmwire_tls::date::{Clock, Date};
use vmwire_tls::pki::{Authority, HostNames, NewAuthority};
use vmwire_tls::stream::{End, ServerTls, Stream};

use crate::uri::Uri;

/// The transports there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Unix,
    Tcp,
    Tls,
}

/// A connected socket of a scripted daemon.
pub(crate) enum Wire {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsEnd>),
}

/// The daemon's end of TLS; says its farewell when it is dropped.
pub(crate) struct TlsEnd {
    pub(crate) socket: TcpStream,
    pub(crate) tls: ServerTls,
    /// As many bytes as it takes or gives at once.
    piece: usize,
    scratch: Vec<u8>,
    /// Goes without a farewell.
    pub(crate) rude: bool,
    /// How the client ended it.
    pub(crate) end: Option<End>,
}

/// A socket that takes and gives bytes in pieces.
struct Dribble<'a>(&'a TcpStream, usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.1);
        self.0.read(&mut buffer[..length])
    }
}

impl Write for Dribble<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(self.1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsEnd {
    pub(crate) fn new(socket: TcpStream, context: ServerContext) -> Self {
        Self::in_pieces(socket, context, usize::MAX)
    }

    /// One whose socket takes and gives so many bytes at once, each of them a packet of its own on the way.
    pub(crate) fn in_pieces(socket: TcpStream, context: ServerContext, piece: usize) -> Self {
        socket.set_nodelay(true).unwrap();
        Self { socket, tls: ServerTls::new(context), piece, scratch: vec![0; 32 * 1024], rude: false, end: None }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let came = self.tls.read(&mut Dribble(&self.socket, self.piece), &mut self.scratch, buffer)?;
            let written = self.tls.write(&mut Dribble(&self.socket, self.piece), &[]);
            self.end = came.end;
            if came.end.is_none() {
                written?;
            }
            match came {
                came if came.plaintext > 0 => return Ok(came.plaintext),
                came if came.end.is_some() => return Ok(0),
                came if came.taken == 0 => return Err(io::ErrorKind::TimedOut.into()),
                _ => {}
            }
        }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.tls.write(&mut Dribble(&self.socket, self.piece), bytes)?;
            if sent.blocked || sent.taken == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            bytes = &bytes[sent.taken..];
        }
        Ok(())
    }
}

impl Drop for TlsEnd {
    fn drop(&mut self) {
        if !self.rude {
            self.tls.close();
        }
        // The client may be gone.
        let _ = self.tls.write(&mut self.socket, &[]);
    }
}

impl Wire {
    pub(super) fn set_write_timeout(&mut self, time: Duration) {
        match self {
            Self::Unix(socket) => socket.set_write_timeout(Some(time)).unwrap(),
            Self::Tcp(socket) => socket.set_write_timeout(Some(time)).unwrap(),
            Self::Tls(end) => end.socket.set_write_timeout(Some(time)).unwrap(),
        }
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8], time: Duration) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => {
                socket.set_read_timeout(Some(time)).unwrap();
                socket.read(buffer)
            }
            Self::Tcp(socket) => {
                socket.set_read_timeout(Some(time)).unwrap();
                socket.read(buffer)
            }
            Self::Tls(end) => {
                end.socket.set_read_timeout(Some(time)).unwrap();
                end.read(buffer)
            }
        }
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.write_all(bytes),
            Self::Tcp(socket) => socket.write_all(bytes),
            Self::Tls(end) => end.write_all(bytes),
        }
    }
}

impl From<UnixStream> for Wire {
    fn from(socket: UnixStream) -> Self {
        Self::Unix(socket)
    }
}

/// Where a scripted daemon can be found again and again.
pub(crate) struct Place {
    /// Socket, certificates and keys.
    pub(crate) _directory: tempfile::TempDir,
    pub(crate) listener: Listener,
    pub(crate) uri: Uri,
}

pub(crate) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
    Tls(TcpListener, ServerContext),
}

impl Listener {
    pub(crate) fn accept(&self) -> Wire {
        match self {
            Self::Unix(listener) => Wire::Unix(listener.accept().unwrap().0),
            Self::Tcp(listener) => Wire::Tcp(listener.accept().unwrap().0),
            Self::Tls(listener, context) => {
                Wire::Tls(Box::new(TlsEnd::new(listener.accept().unwrap().0, context.clone())))
            }
        }
    }
}

pub(crate) fn place(over: Over) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (listener, uri) = match over {
        Over::Unix => {
            let socket = directory.path().join("s");
            (Listener::Unix(UnixListener::bind(&socket).unwrap()), Uri::from_socket(&socket))
        }
        Over::Tcp => {
            let listener = listen();
            let uri = format!("qemu+tcp://{}/system", listener.local_addr().unwrap());
            (Listener::Tcp(listener), uri.parse().unwrap())
        }
        Over::Tls => {
            write_credentials(directory.path());
            let listener = listen();
            let address = listener.local_addr().unwrap();
            let uri = format!("qemu+tls://{address}/system?pkipath={}", directory.path().display());
            (Listener::Tls(listener, server_context()), uri.parse().unwrap())
        }
    };
    Place { _directory: directory, listener, uri }
}

/// Connects and goes, as somebody does who wakes a listener.
pub(crate) fn knock(uri: &Uri) {
    match uri.host() {
        Some(host) => drop(TcpStream::connect((host.host(), host.port())).unwrap()),
        None => drop(UnixStream::connect(uri.socket().unwrap()).unwrap()),
    }
}

/// An authority, a daemon on 127.0.0.1 and a client, each with its key; made once for all tests.
pub(crate) struct Pki {
    pub(crate) authority: Authority,
    pub(crate) authority_pem: String,
    pub(crate) server: (String, String),
    pub(crate) client: (String, String),
}

pub(crate) fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| made("scripted"))
}

fn made(name: &str) -> Pki {
    let now = Date::from(SystemTime::now());
    let NewAuthority { authority, .. } = Authority::create(name, now).unwrap();
    let names = HostNames::new(["127.0.0.1".parse().unwrap(), "localhost".parse().unwrap()]).unwrap();
    let (server_key, server) = authority.issue_server(&names, now).unwrap();
    let (client_key, client) = authority.issue_client(&"alice".parse().unwrap(), now).unwrap();
    Pki {
        authority_pem: authority.pem(),
        authority,
        server: (server.pem, server_key),
        client: (client.pem, client_key),
    }
}

pub(crate) fn server_context() -> ServerContext {
    context_of(pki(), ServerOptions::default())
}

pub(crate) fn context_of(pki: &Pki, options: ServerOptions) -> ServerContext {
    let pair = KeyPair { certificates: pki.server.0.as_bytes(), key: pki.server.1.as_bytes() };
    let material = ServerMaterial { pair, authorities: pki.authority_pem.as_bytes(), revocation_lists: &[] };
    ServerContext::build(&material, Clock::new(SystemTime::now), options).unwrap()
}

/// Another pair of authority and client, whom nobody here knows.
pub(crate) fn strangers() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| made("strangers"))
}

/// Writes what a client needs.
pub(crate) fn write_credentials(directory: &Path) {
    write_those(directory, &pki().authority_pem, &pki().client);
}

/// Writes what a client would need elsewhere.
pub(crate) fn write_those(directory: &Path, authority: &str, client: &(String, String)) {
    for (name, text) in [("ca.crt", authority), ("client.crt", &client.0), ("client.key", &client.1)] {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(directory.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}
