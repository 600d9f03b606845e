//! What connects the agent with its host: a serial port, or a socket that it listens on. Both are asked the same: is something to be
//! read, may something be written, is the other end gone. None of it ever waits.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::PollFlags;

mod listener;
mod port;

pub use listener::Listener;
pub use port::Port;

/// How a channel is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A port of a virtio console.
    VirtioSerial,
    /// A serial line.
    IsaSerial,
    /// A unix socket.
    UnixListen,
    /// A vsock, which leads to the host.
    VsockListen,
}

impl Method {
    /// The method of that name.
    pub fn named(name: &str) -> Option<Method> {
        match name {
            "virtio-serial" => Some(Method::VirtioSerial),
            "isa-serial" => Some(Method::IsaSerial),
            "unix-listen" => Some(Method::UnixListen),
            "vsock-listen" => Some(Method::VsockListen),
            _ => None,
        }
    }
}

/// What came of reading.
#[derive(Debug)]
pub enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The other end is gone, and sends nothing more. What is written may still reach it, on a socket.
    End,
    /// The other end is gone, but what was sent last may be of somebody who comes in its place.
    Changing,
    /// Somebody is there who was not before.
    Connected,
    /// The channel itself is gone and will not come back.
    Broken(io::Error),
}

/// A way to the host.
#[derive(Debug)]
pub enum Channel {
    /// A serial port.
    Port(Port),
    /// A socket.
    Listener(Listener),
}

impl Channel {
    /// Reads what there is.
    pub fn read(&mut self, buffer: &mut [u8], now: Instant) -> Got {
        match self {
            Channel::Port(port) => port.read(buffer, now),
            Channel::Listener(listener) => listener.read(buffer),
        }
    }

    /// Writes what can be written; 0 if that is nothing for now, an error if nobody is there.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Channel::Port(port) => port.write(bytes),
            Channel::Listener(listener) => listener.write(bytes),
        }
    }

    /// The conversation is over: all was answered of a peer that said its last.
    pub fn end(&mut self) {
        if let Channel::Listener(listener) = self {
            listener.close_client();
        }
    }

    /// Whether who is to read an answer has left.
    pub fn has_left(&mut self, now: Instant) -> bool {
        match self {
            Channel::Port(port) => port.has_left(now),
            // Writing tells.
            Channel::Listener(_) => false,
        }
    }

    /// What to wait for, if somebody wants to read, or has something to write, or only to know who leaves.
    pub fn interest(&self, reading: bool, writing: bool) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match self {
            Channel::Port(port) => port.interest(),
            Channel::Listener(listener) => listener.interest(reading, writing),
        }
    }

    /// When something is to be looked at or, by who reads, tried again.
    pub fn deadline(&self, reading: bool) -> Option<Instant> {
        match self {
            Channel::Port(port) => port.deadline(reading),
            Channel::Listener(_) => None,
        }
    }

    /// Takes away what was made to be found.
    pub fn remove(&mut self) {
        if let Channel::Listener(listener) = self {
            listener.remove();
        }
    }
}
