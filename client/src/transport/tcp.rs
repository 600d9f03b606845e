//! From a host and a port to a connected socket: the name looked up, its addresses tried one after the other.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};

use crate::uri::HostPort;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// How long a quiet connection is left alone before the system asks whether the other end is still there, how long it
/// waits between questions, and how many stay without an answer. While somebody waits, the link asks by itself and sooner.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 6;

/// Connects to a host, at the latest until `until`.
pub(super) fn reach(host: &HostPort, until: Instant) -> io::Result<OwnedFd> {
    let addresses = look_up(host, until)?;
    let mut errors = Vec::new();
    let count = addresses.len();
    for (number, address) in addresses.into_iter().enumerate() {
        // A fair share of what is left, so that one that swallows everything does not take the others' time.
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(count - number).unwrap_or(u32::MAX);
        match reach_address(address, Instant::now() + share) {
            Ok(socket) => {
                log::debug!("connected to {address}");
                return Ok(socket);
            }
            Err(error) => {
                log::debug!("{address}: {error}");
                errors.push((address, error));
            }
        }
    }
    Err(summary(errors))
}

/// One address speaks for itself; of several all are told, for each may fail for a reason of its own.
fn summary(mut errors: Vec<(SocketAddr, io::Error)>) -> io::Error {
    match errors.len() {
        0 => io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
        1 => errors.remove(0).1,
        _ => {
            let kind = errors[errors.len() - 1].1.kind();
            let kind = if errors.iter().all(|(_, error)| error.kind() == kind) { kind } else { io::ErrorKind::Other };
            let words: Vec<String> = errors.iter().map(|(address, error)| format!("{address}: {error}")).collect();
            io::Error::new(kind, words.join("; "))
        }
    }
}

/// The addresses of a host. The system's look-up cannot be given up, so it is left alone on a thread of its own when it
/// takes too long.
fn look_up(host: &HostPort, until: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.host().parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, host.port())]);
    }
    let (sender, receiver) = mpsc::channel();
    let (name, port) = (host.host().to_owned(), host.port());
    std::thread::Builder::new().name("look-up".to_owned()).spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(|all| all.take(ADDRESSES_MAX).collect());
        // Whoever asked may have given up.
        let _ = sender.send(found);
    })?;
    match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(io::Error::new(io::ErrorKind::NotFound, NoSuchHost(error.to_string()))),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "its name was not looked up in time")),
    }
}

/// The name has no address, in the words of the system.
#[derive(Debug)]
struct NoSuchHost(String);

impl std::fmt::Display for NoSuchHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = self.0.strip_prefix("failed to lookup address information: ").unwrap_or(&self.0);
        write!(f, "its name cannot be looked up: {words}")
    }
}

impl std::error::Error for NoSuchHost {}

fn reach_address(address: SocketAddr, until: Instant) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_COUNT)?;
    match connect(&socket, &address) {
        Ok(()) => return Ok(socket),
        Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&socket, PollFlags::OUT)], timeout.as_ref()) {
            Ok(0) if Instant::now() >= until => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody answered in time"));
            }
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let stream = TcpStream::from(socket);
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn soon(milliseconds: u64) -> Instant {
        Instant::now() + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_name_with_several_addresses_is_reached_at_the_one_that_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = HostPort::new("localhost", listener.local_addr().unwrap().port()).unwrap();
        let socket = TcpStream::from(reach(&host, soon(60_000)).unwrap());
        assert!(socket.nodelay().unwrap());
        assert!(sockopt::socket_keepalive(&socket).unwrap());
    }

    #[test]
    fn nobody_there_a_name_that_is_none_and_silence_have_their_words() {
        // Bound, so that nobody else comes by it meanwhile, and nobody listens.
        let nobodys = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&nobodys, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let port = SocketAddr::try_from(rustix::net::getsockname(&nobodys).unwrap()).unwrap().port();
        let refused = reach(&HostPort::new("127.0.0.1", port).unwrap(), soon(60_000)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        let nowhere = reach(&HostPort::new("no-such-host.invalid", 1).unwrap(), soon(60_000)).unwrap_err();
        assert_eq!(nowhere.kind(), io::ErrorKind::NotFound);
        assert!(nowhere.to_string().starts_with("its name cannot be looked up: "), "{nowhere}");

        // A queue that is full swallows those who knock.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let host = HostPort::new("127.0.0.1", listener.local_addr().unwrap().port()).unwrap();
        let mut inside = Vec::new();
        let began = loop {
            let began = Instant::now();
            match reach(&host, soon(300)) {
                Ok(socket) if inside.len() < 16 => inside.push(socket),
                Ok(_) => panic!("the queue has no end"),
                Err(error) => {
                    assert_eq!(error.to_string(), "nobody answered in time");
                    break began;
                }
            }
        };
        assert!((Duration::from_millis(300)..Duration::from_secs(30)).contains(&began.elapsed()));
    }

    #[test]
    fn all_that_several_addresses_said_is_told() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let error = |kind: io::ErrorKind| io::Error::from(kind);
        let told = summary(vec![
            (at("[::1]:1"), error(io::ErrorKind::ConnectionRefused)),
            (at("127.0.0.1:1"), error(io::ErrorKind::TimedOut)),
        ]);
        assert_eq!(told.to_string(), "[::1]:1: connection refused; 127.0.0.1:1: timed out");
        assert_eq!(told.kind(), io::ErrorKind::Other);
    }
}
