//! What a host has to offer where it and we have nothing in common. libssh2 does not tell, but hosts say it in clear, first
//! thing (RFC 4253 section 7.1), so they are asked again.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::error::Missing;
use super::session::{CIPHERS, KEX, MACS};
use crate::ask::Asking;
use crate::transport::tcp;
use crate::uri::HostPort;

/// How much a host may say before its list is at its end. OpenSSH says less than 2 KiB.
const BYTES_MAX: usize = 64 * 1024;

/// How much of a list is repeated to a person.
const SHOWN_BYTES_MAX: usize = 512;

const KEXINIT: u8 = 20;

/// What we need and the host does not have; nothing where that cannot be found out.
pub(super) fn missing(host: &HostPort, host_keys: &str, asking: &Asking) -> Option<Missing> {
    let said = listen(host, asking)?;
    let lists = read(&said)?;
    let ours = [
        ("key exchange", KEX),
        ("host key", host_keys),
        ("cipher", CIPHERS),
        ("cipher", CIPHERS),
        ("MAC", MACS),
        ("MAC", MACS),
    ];
    let common = |ours: &str, theirs: &str| ours.split(',').any(|ours| theirs.split(',').any(|theirs| theirs == ours));
    // A cipher that checks by itself needs no MAC, so that one is missing last.
    ours.iter().zip(&lists).find(|((_, ours), theirs)| !common(ours, theirs)).map(|((what, ours), theirs)| Missing {
        what,
        ours: (*ours).to_owned(),
        theirs: theirs.chars().take(SHOWN_BYTES_MAX).collect(),
    })
}

/// Says hello and listens until the first packet is whole.
fn listen(host: &HostPort, asking: &Asking) -> Option<Vec<u8>> {
    let socket = tcp::reach(host, asking.until()).ok()?;
    send(&socket, b"SSH-2.0-vmwire\r\n", SendFlags::DONTWAIT | SendFlags::NOSIGNAL).ok()?;
    let mut said = Vec::new();
    while said.len() < BYTES_MAX && packet(&said).is_none() {
        let count = receive(&socket, &mut said, asking)?;
        if count == 0 {
            return None;
        }
    }
    Some(said)
}

fn receive(socket: &OwnedFd, said: &mut Vec<u8>, asking: &Asking) -> Option<usize> {
    let mut buffer = [0; 4096];
    loop {
        let timeout = Timespec::try_from(asking.left()).ok();
        match poll(&mut [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)], timeout.as_ref()) {
            Ok(0) if asking.left().is_zero() => return None,
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
        match recv(socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((_, count)) => {
                said.extend_from_slice(buffer.get(..count)?);
                return Some(count);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// The payload of the first packet behind the line that begins with `SSH-`, when it is whole.
fn packet(said: &[u8]) -> Option<&[u8]> {
    let mut rest = said;
    loop {
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        let (line, behind) = rest.split_at(end + 1);
        rest = behind;
        if line.starts_with(b"SSH-") {
            break;
        }
    }
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let body = rest.get(..length)?;
    let (padding, payload) = body.split_first()?;
    payload.get(..payload.len().checked_sub(usize::from(*padding))?)
}

/// The lists in which something has to be found, in their order: key exchange, host key, ciphers and MACs of both ways.
fn read(said: &[u8]) -> Option<Vec<String>> {
    let payload = packet(said)?;
    let (&kind, rest) = payload.split_first()?;
    let mut rest = rest.get(16..)?;
    if kind != KEXINIT {
        return None;
    }
    let mut lists = Vec::new();
    while lists.len() < 6 {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        lists.push(String::from_utf8_lossy(behind.get(..length)?).into_owned());
        rest = behind.get(length..)?;
    }
    Some(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kexinit(lists: &[&str]) -> Vec<u8> {
        let mut payload = vec![KEXINIT];
        payload.extend([0; 16]);
        for list in lists {
            payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
            payload.extend(list.as_bytes());
        }
        let mut said = b"come in\r\nSSH-2.0-x\r\n".to_vec();
        said.extend(u32::try_from(payload.len() + 5).unwrap().to_be_bytes());
        said.push(4);
        said.extend(payload);
        said.extend([0; 4]);
        said
    }

    #[test]
    fn the_lists_are_read_when_they_are_whole_and_not_before() {
        let lists = ["a,b", "c", "d", "e", "f", "", "none"];
        let said = kexinit(&lists);
        assert_eq!(read(&said).unwrap(), lists[..6]);
        for length in 0..said.len() {
            assert_eq!(read(&said[..length]), None, "{length}");
        }
    }

    #[test]
    fn lists_that_lie_about_their_length_are_none() {
        let mut said = kexinit(&["a"; 8]);
        let at = said.iter().position(|&byte| byte == b'a').unwrap();
        said[at - 4] = 0xff;
        assert_eq!(read(&said), None);
        assert_eq!(packet(b"SSH-2.0-x\n\0\0\0\0"), None);
        assert_eq!(packet(b"SSH-2.0-x\n\0\0\0\x02\xff\0"), None);
    }
}
