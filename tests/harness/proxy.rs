//! Somebody between a client and a daemon who cuts: after so many bytes, or when told to.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::{Daemon, Way};

/// How many there have been.
static PROXIES: AtomicUsize = AtomicUsize::new(0);

/// When a connection is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// After so many bytes from the daemon.
    Down(usize),
    /// After so many bytes from the client.
    Up(usize),
}

#[derive(Debug)]
enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

/// One end of what is passed on.
#[derive(Debug)]
enum End {
    Unix(UnixStream),
    Tcp(TcpStream),
}

#[derive(Debug, Default)]
struct State {
    cuts: VecDeque<Cut>,
    open: Vec<Arc<End>>,
    came: usize,
    /// From clients, and from the daemon.
    passed: [Arc<AtomicUsize>; 2],
    closed: bool,
    over: bool,
}

/// The one in between. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    state: Arc<Mutex<State>>,
    listener: Arc<Listener>,
    uri: String,
}

impl Proxy {
    /// Stands before a daemon that is reached in some way. The connections are cut as said, one after the other; those that
    /// come after that are left alone.
    pub(crate) fn before(daemon: &Daemon, way: Way, cuts: &[Cut]) -> Self {
        let direct = daemon.uri_by(way);
        if way == Way::Unix {
            let name = format!("proxy-{}", PROXIES.fetch_add(1, Ordering::Relaxed));
            let path = daemon.place().join(&name);
            let uri = direct.replace(daemon.socket().to_str().unwrap(), path.to_str().unwrap());
            let socket = daemon.socket();
            let listener = Listener::Unix(UnixListener::bind(&path).unwrap(), path);
            return Self::start(listener, uri, cuts, move || UnixStream::connect(&socket).map(End::Unix));
        }
        let mut proxy = Self::before_port(daemon.address(way), cuts);
        proxy.uri = direct.replace(&daemon.address(way).to_string(), &proxy.uri);
        proxy
    }

    /// The same before anybody's port of the loopback; clients name it by its own.
    pub(crate) fn before_port(behind: SocketAddr, cuts: &[Cut]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().to_string();
        Self::start(Listener::Tcp(listener), own, cuts, move || TcpStream::connect(behind).map(End::Tcp))
    }

    fn start(
        listener: Listener,
        uri: String,
        cuts: &[Cut],
        behind: impl Fn() -> io::Result<End> + Send + 'static,
    ) -> Self {
        let state = State { cuts: cuts.iter().copied().collect(), ..State::default() };
        let proxy = Self { state: Arc::new(Mutex::new(state)), listener: Arc::new(listener), uri };
        let (state, listener) = (proxy.state.clone(), proxy.listener.clone());
        std::thread::spawn(move || {
            while let Ok(client) = listener.accept() {
                let mut known = state.lock().unwrap();
                if known.over {
                    return;
                }
                if known.closed {
                    continue;
                }
                known.came += 1;
                let cut = known.cuts.pop_front();
                // Whoever comes while the daemon is away is sent away.
                let Ok(daemon) = behind() else { continue };
                let (client, daemon) = (Arc::new(client), Arc::new(daemon));
                known.open.extend([client.clone(), daemon.clone()]);
                let (up, down) = match cut {
                    Some(Cut::Up(bytes)) => (bytes, usize::MAX),
                    Some(Cut::Down(bytes)) => (usize::MAX, bytes),
                    None => (usize::MAX, usize::MAX),
                };
                let (from, to, [ups, downs]) = (client.clone(), daemon.clone(), known.passed.clone());
                std::thread::spawn(move || pass(&from, &to, up, &ups));
                std::thread::spawn(move || pass(&daemon, &client, down, &downs));
            }
        });
        proxy
    }

    /// How a client names it.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// How many have come and were let through.
    pub(crate) fn came(&self) -> usize {
        self.state.lock().unwrap().came
    }

    /// How many bytes were passed on so far, from clients and from the daemon.
    pub(crate) fn passed(&self) -> [usize; 2] {
        self.state.lock().unwrap().passed.each_ref().map(|passed| passed.load(Ordering::Relaxed))
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        for end in self.state.lock().unwrap().open.drain(..) {
            end.close();
        }
    }

    /// Cuts all connections and sends whoever comes away, until it is opened again.
    pub(crate) fn close(&self) {
        self.state.lock().unwrap().closed = true;
        self.cut();
    }

    pub(crate) fn open(&self) {
        self.state.lock().unwrap().closed = false;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.lock().unwrap().over = true;
        self.cut();
        // One more, who sees that it is over.
        match &*self.listener {
            Listener::Unix(_, path) => drop(UnixStream::connect(path)),
            Listener::Tcp(listener) => drop(TcpStream::connect(listener.local_addr().unwrap())),
        }
    }
}

impl Listener {
    fn accept(&self) -> io::Result<End> {
        match self {
            Self::Unix(listener, _) => listener.accept().map(|(socket, _)| End::Unix(socket)),
            Self::Tcp(listener) => listener.accept().map(|(socket, _)| End::Tcp(socket)),
        }
    }
}

impl End {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => (&*socket).read(buffer),
            Self::Tcp(socket) => (&*socket).read(buffer),
        }
    }

    fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(socket) => (&*socket).write_all(bytes),
            Self::Tcp(socket) => (&*socket).write_all(bytes),
        }
    }

    fn close(&self) {
        let _gone_already = match self {
            Self::Unix(socket) => socket.shutdown(Shutdown::Both),
            Self::Tcp(socket) => socket.shutdown(Shutdown::Both),
        };
    }
}

/// Passes on so many bytes and cuts then, or when one of the ends is gone.
fn pass(from: &End, to: &End, mut left: usize, passed: &AtomicUsize) {
    let mut buffer = [0; 4096];
    while left > 0 {
        let room = buffer.len().min(left);
        match from.read(&mut buffer[..room]) {
            Ok(count) if count > 0 && to.write_all(&buffer[..count]).is_ok() => {
                left -= count;
                passed.fetch_add(count, Ordering::Relaxed);
            }
            _ => break,
        }
    }
    from.close();
    to.close();
}
