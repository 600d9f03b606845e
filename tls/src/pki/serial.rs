//! The number by which an authority knows a certificate.

use std::fmt;
use std::str::FromStr;

use ring::rand::{SecureRandom, SystemRandom};

use super::PkiError;

/// RFC 5280 section 4.1.2.2: at most 20 octets.
const BYTES_MAX: usize = 20;

/// Of our own making.
const RANDOM_BYTES: usize = 16;

/// A serial number without leading zeros, written in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// A new one of 128 random bits. Nobody can guess it, and two are never the same, so no counter has to be kept
    /// where it could be lost or copied.
    pub(super) fn random() -> Result<Self, PkiError> {
        let mut bytes = [0; RANDOM_BYTES];
        // All serials of ours have the same length: neither a zero nor a sign may stand in front.
        while !(0x01..0x80).contains(&bytes[0]) {
            SystemRandom::new().fill(&mut bytes).map_err(|_| PkiError::NoRandomness)?;
        }
        Ok(Self(bytes.to_vec()))
    }

    /// That of a certificate or a revocation, as DER has it. A number without a value becomes 0.
    pub(super) fn of(der: &[u8]) -> Self {
        let start = der.iter().position(|byte| *byte != 0).unwrap_or(der.len());
        Self(if start == der.len() { vec![0] } else { der[start..].to_vec() })
    }

    /// The bytes of the number, the highest first.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Serial {
    type Err = PkiError;

    /// Takes hexadecimal digits in either case, with colons between pairs or without, as other programs show them.
    fn from_str(text: &str) -> Result<Self, PkiError> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        let pairs = digits.chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()));
            pair.filter(|pair| pair.len() == 2).and_then(|pair| u8::from_str_radix(pair, 16).ok())
        });
        match pairs.collect::<Option<Vec<u8>>>() {
            Some(bytes) if (1..=BYTES_MAX + 1).contains(&bytes.len()) => {
                let serial = Self::of(&bytes);
                if serial.0.len() > BYTES_MAX { Err(PkiError::Serial) } else { Ok(serial) }
            }
            _ => Err(PkiError::Serial),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ones_have_one_length_and_differ() {
        let serials: Vec<Serial> = (0..200).map(|_| Serial::random().unwrap()).collect();
        assert!(serials.iter().all(|serial| serial.to_string().len() == 32 && serial.0[0] < 0x80));
        assert!((1..200).all(|index| !serials[..index].contains(&serials[index])));
    }

    #[test]
    fn is_read_as_other_programs_write_it() {
        let serial = Serial::of(&[0, 0xab, 0x01]);
        for text in ["ab01", "AB01", "AB:01", "00ab01", "00:AB:01"] {
            assert_eq!(text.parse(), Ok(serial.clone()), "{text}");
        }
        assert_eq!(serial.to_string(), "ab01");
        assert_eq!(Serial::of(&[0, 0]).to_string(), "00");
    }

    #[test]
    fn nothing_else_is_read() {
        for text in ["", ":", "abc", "xy", "+1", "alice", "é", &"ab".repeat(21), &"00".repeat(1000)] {
            assert_eq!(text.parse::<Serial>(), Err(PkiError::Serial), "{text}");
        }
    }
}
