//! What the kernel tells of network interfaces and their addresses, over a netlink socket. What it says is cut into messages and
//! attributes here; what they mean is for the room that asks.

use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// `RTM_GETLINK` and its answers.
pub const LINKS: (u16, u16) = (18, 16);
/// `RTM_GETADDR` and its answers.
pub const ADDRESSES: (u16, u16) = (22, 20);

const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Larger than what the kernel sends at once.
const BUFFER_BYTES: usize = 64 << 10;

/// A message: what is fixed of it, and the rest.
pub type Message = Vec<u8>;

/// Everything of a kind: (what is asked, what is answered).
///
/// # Errors
/// What the kernel says.
pub fn dump((ask, answer): (u16, u16)) -> Result<Vec<Message>> {
    // No protocol is the one of routes, which is number 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    // Header (length, type, flags, sequence, port), then a family (any) and padding.
    let mut request = Vec::with_capacity(32);
    request.extend_from_slice(&32_u32.to_ne_bytes());
    request.extend_from_slice(&ask.to_ne_bytes());
    request.extend_from_slice(&(REQUEST | DUMP).to_ne_bytes());
    request.extend_from_slice(&1_u32.to_ne_bytes());
    request.resize(32, 0);
    send(&socket, &request, SendFlags::empty())?;
    let mut messages = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = buffer.get(..length).ok_or(Errno::PROTO)?;
        while let Some((kind, body, behind)) = cut(rest) {
            rest = behind;
            match kind {
                DONE => return Ok(messages),
                ERROR => return Err(Errno::PROTO),
                kind if kind == answer => messages.push(body.to_vec()),
                _ => {}
            }
        }
        if length == 0 {
            return Err(Errno::PROTO);
        }
    }
}

/// The first message: its type, its body, what is behind it.
fn cut(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(16..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The attributes behind the fixed part of a message, which has so many bytes.
pub fn attributes(message: &[u8], fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = message.get(fixed..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there() {
        let links = dump(LINKS).unwrap();
        let named = |message: &Message| attributes(message, 16).any(|(kind, value)| kind == 3 && value == b"lo\0");
        assert!(links.iter().any(named));
    }

    #[test]
    fn attributes_that_are_cut_end_the_list() {
        let mut message = vec![0; 16];
        message.extend_from_slice(&[5, 0, 3, 0, b'x', 0, 0, 0]);
        message.extend_from_slice(&[6, 0, 5, 0, b'y', b'z', 0, 0]);
        message.extend_from_slice(&[8, 0, 4, 0, 1, 2]);
        let found: Vec<_> = attributes(&message, 16).collect();
        // Each begins at a multiple of four.
        assert_eq!(found, [(3, &b"x"[..]), (5, b"yz")]);
        assert_eq!(attributes(&[0; 20], 16).count(), 0);
    }
}
