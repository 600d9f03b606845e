//! A TCP socket that listens. What it is set to, every connection accepted from it inherits (tcp(7)).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpListener;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use super::bind::BACKLOG;

/// A connection on which nothing happens is asked whether it is still there after so long,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// again after so long,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// and is given up when it has not answered so often.
const KEEPALIVE_COUNT: u32 = 4;

/// What was sent has to be acknowledged within this, in milliseconds: the same patience for a peer that vanished while
/// something was on its way as for one that vanished in silence.
const USER_TIMEOUT_MS: u32 = 120_000;

/// What the kernel keeps of what was sent to a peer that does not read. Left to itself it takes up to 4 MiB, which it has to
/// find while everybody waits, and which nobody counts.
const SEND_BYTES: usize = 256 * 1024;

/// Listens at `address`.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // A daemon that starts again must not wait for connections of the one before.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&socket, KEEPALIVE_COUNT)?;
    sockopt::set_tcp_user_timeout(&socket, USER_TIMEOUT_MS)?;
    sockopt::set_socket_send_buffer_size(&socket, SEND_BYTES)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::super::{Accepted, Listener, Origin};
    use super::*;
    use crate::connection::Stream;

    #[test]
    fn what_is_accepted_is_kept_alive_and_does_not_wait_to_send() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let mut listener = match Listener::bind_tcp(host.parse().unwrap()) {
                Ok(listener) => listener,
                Err(error) if host.starts_with('[') => {
                    // A machine without IPv6 has no loopback of it.
                    assert!(error.to_string().contains("cannot listen at [::1]:0"), "{error}");
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            let client = TcpStream::connect(listener.local_address().unwrap()).unwrap();
            let peer = match listener.accept() {
                Accepted::Peer(peer) => peer,
                other => panic!("{other:?}"),
            };
            assert_eq!(peer.origin, Origin::Network(client.local_addr().unwrap()));
            let Stream::Tcp(stream) = &peer.stream else { panic!("{:?}", peer.stream) };
            assert!(sockopt::tcp_nodelay(stream).unwrap() && sockopt::socket_keepalive(stream).unwrap());
            assert_eq!(sockopt::tcp_keepidle(stream).unwrap(), KEEPALIVE_IDLE);
            assert_eq!(sockopt::tcp_keepintvl(stream).unwrap(), KEEPALIVE_INTERVAL);
            assert_eq!(sockopt::tcp_keepcnt(stream).unwrap(), KEEPALIVE_COUNT);
            assert_eq!(sockopt::tcp_user_timeout(stream).unwrap(), USER_TIMEOUT_MS);
            // The kernel tells twice as much, for what it needs besides (socket(7)).
            assert!(sockopt::socket_send_buffer_size(stream).unwrap() <= 2 * SEND_BYTES);
            let flags = rustix::io::fcntl_getfd(stream).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "a child would keep the connection open");
        }
    }

    #[test]
    fn an_address_in_use_is_refused_in_words() {
        let listener = Listener::bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_address().unwrap();
        let told = Listener::bind_tcp(address).unwrap_err().to_string();
        assert!(told.starts_with(&format!("cannot listen at {address}: ")) && told.contains("in use"), "{told}");
    }
}
