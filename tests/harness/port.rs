//! Ports of the loopback that others may not come by meanwhile.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

/// A port that is free now, for a program that has to take it itself. It is below those that the system gives to whoever
/// asks for any, so nobody comes by it by chance.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Other programs of tests begin elsewhere.
    let first = 10_000 + u16::try_from(std::process::id() % 20_000).unwrap();
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if ["127.0.0.1", "127.0.0.2"].iter().all(|address| TcpListener::bind((*address, port)).is_ok()) {
            return port;
        }
    }
}

/// A port at which whoever comes is refused, for as long as this is held: it is taken, and nobody listens.
#[derive(Debug)]
pub(crate) struct NobodysPort(OwnedFd);

impl NobodysPort {
    pub(crate) fn take() -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self(socket)
    }

    pub(crate) fn port(&self) -> u16 {
        SocketAddr::try_from(getsockname(&self.0).unwrap()).unwrap().port()
    }
}
