//! The eight bytes in front of each packet, and what the bytes of strangers look like.

use std::fmt;

use crate::limits::{HEADER_BYTES, PAYLOAD_BYTES_MIN};

/// The first four bytes of each packet. The first is no text, so that no text protocol is taken for ours.
pub const MAGIC: [u8; 4] = *b"\x89VMW";

/// Why eight bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// The first four bytes are not the magic.
    Magic {
        /// What was received.
        header: [u8; HEADER_BYTES],
    },
    /// The length is not a multiple of four, too short or too long.
    Length {
        /// What was received.
        length: u32,
        /// The longest allowed at this moment.
        bytes_max: usize,
    },
}

/// Reads a header; answers the length of the payload behind it.
///
/// # Errors
/// When it is no header, or announces what may not come.
pub fn parse(header: [u8; HEADER_BYTES], bytes_max: usize) -> Result<usize, HeaderError> {
    let [m0, m1, m2, m3, l0, l1, l2, l3] = header;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(HeaderError::Magic { header });
    }
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    match usize::try_from(length) {
        Ok(bytes) if is_length(length, bytes_max) => Ok(bytes),
        _ => Err(HeaderError::Length { length, bytes_max }),
    }
}

/// Whether a payload may be this long.
pub fn is_length(length: u32, bytes_max: usize) -> bool {
    usize::try_from(length).is_ok_and(|bytes| bytes % 4 == 0 && (PAYLOAD_BYTES_MIN..=bytes_max).contains(&bytes))
}

/// A protocol that is known to knock on wrong doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// `GET / HTTP/1.1` and the like.
    Http,
    /// A TLS handshake record with a ClientHello.
    Tls,
    /// `SSH-2.0-...`.
    Ssh,
    /// libvirt's own RPC: length, then a known program number.
    Libvirt,
    /// SunRPC over a stream (RFC 5531 section 11): a record mark with the last-fragment bit.
    SunRpc,
}

impl Stranger {
    /// What the first bytes look like, if they look like anything we know.
    pub fn recognise(header: [u8; HEADER_BYTES]) -> Option<Self> {
        const HTTP: [&[u8]; 10] =
            [b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"CONN", b"PATC", b"TRAC", b"PRI "];
        // Its remote, qemu, admin and keepalive programs.
        const LIBVIRT_PROGRAMS: [u32; 4] = [0x2000_8086, 0x2000_8087, 0x0690_0690, 0x6b65_6570];
        let [b0, b1, b2, b3, b4, b5, b6, b7] = header;
        let first = u32::from_be_bytes([b0, b1, b2, b3]);
        let second = u32::from_be_bytes([b4, b5, b6, b7]);
        if HTTP.iter().any(|method| header.starts_with(method)) {
            Some(Self::Http)
        } else if header.starts_with(b"SSH-") {
            Some(Self::Ssh)
        } else if b0 == 0x16 && b1 == 0x03 && b2 <= 0x04 && b5 == 0x01 {
            Some(Self::Tls)
        } else if LIBVIRT_PROGRAMS.contains(&second) && (28..=32 << 20).contains(&first) {
            Some(Self::Libvirt)
        } else if first & 0x8000_0000 != 0 && (40..1 << 20).contains(&(first & 0x7fff_ffff)) {
            Some(Self::SunRpc)
        } else {
            None
        }
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "an HTTP request",
            Self::Tls => "a TLS ClientHello",
            Self::Ssh => "an SSH banner",
            Self::Libvirt => "a libvirt packet",
            Self::SunRpc => "a SunRPC record",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_length_of_what_follows() {
        assert_eq!(parse(*b"\x89VMW\x00\x00\x00\x0c", 64), Ok(12));
        assert_eq!(parse(*b"\x89VMW\x00\x00\x00\x40", 64), Ok(64));
    }

    #[test]
    fn refuses_lengths_that_may_not_come() {
        for length in [0_u32, 8, 11, 13, 68, 0x7fff_fffc, 0xffff_fffc, 0xffff_ffff] {
            let mut header = *b"\x89VMW\0\0\0\0";
            header[4..].copy_from_slice(&length.to_be_bytes());
            assert_eq!(parse(header, 64), Err(HeaderError::Length { length, bytes_max: 64 }));
        }
    }

    #[test]
    fn names_the_strangers_it_knows() {
        let rows: [(&[u8; 8], Option<Stranger>); 8] = [
            (b"GET / HT", Some(Stranger::Http)),
            (b"PRI * HT", Some(Stranger::Http)),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01", Some(Stranger::Tls)),
            (b"SSH-2.0-", Some(Stranger::Ssh)),
            (b"\x00\x00\x00\x1c\x20\x00\x80\x86", Some(Stranger::Libvirt)),
            (b"\x80\x00\x00\x28\x00\x00\x00\x01", Some(Stranger::SunRpc)),
            (b"\x89VMX\0\0\0\x0c", None),
            (b"\0\0\0\0\0\0\0\0", None),
        ];
        for (bytes, stranger) in rows {
            assert_eq!(Stranger::recognise(*bytes), stranger, "{bytes:?}");
            assert_eq!(parse(*bytes, 64), Err(HeaderError::Magic { header: *bytes }));
        }
    }
}
