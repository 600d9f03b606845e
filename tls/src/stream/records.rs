//! Where in a record the bytes stand that came last: rustls keeps what has come of it and does not say how much that is.

/// Type, version and length of a record (RFC 8446 section 5.1); TLS 1.2 has the same.
const HEADER_BYTES: usize = 5;

/// Follows the records of a stream without looking into them.
///
/// Invariant: `missing` is 0 until the header is whole, and the record is whole when it has become 0 again.
#[derive(Debug, Default)]
pub(super) struct Records {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that have come.
    came: usize,
    /// Bytes of the body that have come,
    body: usize,
    /// and that have not.
    missing: usize,
}

impl Records {
    /// Follows what came from the socket.
    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let into = self.header.get_mut(self.came..).unwrap_or_default();
            if into.is_empty() {
                let count = self.missing.min(bytes.len());
                self.body += count;
                self.missing -= count;
                bytes = bytes.get(count..).unwrap_or_default();
            } else {
                let count = into.len().min(bytes.len());
                into[..count].copy_from_slice(&bytes[..count]);
                self.came += count;
                bytes = &bytes[count..];
                if self.came == HEADER_BYTES {
                    let [.., high, low] = self.header;
                    self.missing = usize::from(u16::from_be_bytes([high, low]));
                }
            }
            if self.came == HEADER_BYTES && self.missing == 0 {
                (self.came, self.body) = (0, 0);
            }
        }
    }

    /// Bytes of a record that is not there whole.
    pub(super) fn half(&self) -> usize {
        self.came + self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_record_is_seen_wherever_it_was_cut() {
        let records =
            [[23, 3, 3, 0, 7].as_slice(), b"seven b", &[23, 3, 3, 0, 0], &[21, 3, 3, 1, 0], &[9; 256]].concat();
        let ends = [0, 12, 17, records.len()];
        for first in 0..=records.len() {
            for piece in 1..=9 {
                let mut followed = Records::default();
                followed.add(&records[..first]);
                for bytes in records[first..].chunks(piece) {
                    followed.add(bytes);
                }
                assert_eq!(followed.half(), 0, "cut at {first}, then every {piece}");
            }
            let mut followed = Records::default();
            followed.add(&records[..first]);
            let begun = ends.iter().rfind(|end| **end <= first).unwrap();
            assert_eq!(followed.half(), first - begun, "cut at {first}");
        }
    }
}
