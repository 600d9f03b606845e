//! The SHA-256 of a public key or a certificate, and the one way both ends write and read it.

use std::fmt;
use std::str::FromStr;

const BYTES: usize = 32;

/// What a fingerprint begins with when it is written.
const PREFIX: &str = "sha256:";

/// A SHA-256, written `sha256:` and 64 lower-case hexadecimal digits, as `sha256sum` shows them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; BYTES]);

/// A text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoFingerprint;

impl Fingerprint {
    /// That of `bytes`: of the DER of a SubjectPublicKeyInfo or of a whole certificate.
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = [0; BYTES];
        sum.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
        Self(sum)
    }

    /// The bytes of the sum.
    pub fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// The first 16 digits, for tables and log lines; never to decide by.
    pub fn short(&self) -> String {
        self.0[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Fingerprint {
    /// As openssl and browsers show that of a certificate: upper case, pairs with colons between them.
    pub fn as_openssl(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }
}

impl From<[u8; BYTES]> for Fingerprint {
    fn from(sum: [u8; BYTES]) -> Self {
        Self(sum)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    /// Takes what [`fmt::Display`] writes and what other programs do: upper case, pairs with colons, no prefix.
    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let digits = match text.get(..PREFIX.len()) {
            Some(start) if start.eq_ignore_ascii_case(PREFIX) => &text[PREFIX.len()..],
            _ => text,
        };
        let pairs: Vec<&[u8]> = match digits.len() {
            64 => digits.as_bytes().chunks(2).collect(),
            95 => digits.as_bytes().split(|byte| *byte == b':').collect(),
            _ => return Err(NoFingerprint),
        };
        let mut sum = [0; BYTES];
        if pairs.len() != BYTES {
            return Err(NoFingerprint);
        }
        for (byte, pair) in sum.iter_mut().zip(pairs) {
            let [high, low] = *pair else { return Err(NoFingerprint) };
            *byte = nibble(high)? << 4 | nibble(low)?;
        }
        Ok(Self(sum))
    }
}

fn nibble(digit: u8) -> Result<u8, NoFingerprint> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(NoFingerprint),
    }
}

impl fmt::Display for NoFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no fingerprint: wanted \"sha256:\" and 64 hexadecimal digits")
    }
}

impl std::error::Error for NoFingerprint {}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn is_written_as_sha256sum_writes_it() {
        assert_eq!(Fingerprint::of(b"").to_string(), EMPTY);
        assert_eq!(Fingerprint::of(b"").short(), "e3b0c44298fc1c14");
    }

    #[test]
    fn is_read_back_in_the_forms_of_other_programs() {
        let sum = Fingerprint::of(b"");
        let digits = &EMPTY[7..];
        let colons: Vec<String> = sum.0.iter().map(|byte| format!("{byte:02X}")).collect();
        for text in [EMPTY.to_owned(), digits.to_owned(), EMPTY.to_uppercase(), colons.join(":")] {
            assert_eq!(text.parse(), Ok(sum), "{text}");
        }
    }

    #[test]
    fn is_not_read_from_anything_else() {
        let digits = &EMPTY[7..];
        let rows =
            ["", "sha256:", &digits[1..], &format!("{digits}0"), &digits.replace('e', "g"), &":".repeat(95), "é"];
        for text in rows {
            assert_eq!(text.parse::<Fingerprint>(), Err(NoFingerprint), "{text}");
        }
    }
}
