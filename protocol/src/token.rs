//! The text of a token: what an invited client is handed, by whatever way, and hands to `vmwire enroll`.
//!
//! ```text
//!   vmw1-  base64url without padding (RFC 4648, section 5) of:
//!            address (string), fingerprint of the root (32 bytes), secret (16 bytes)    the XDR of `token` in vmwire.x
//!            CRC-32 of these (u32)
//! ```
//! The checksum tells a slip of the hand from a token that is refused, before anybody is asked.

use std::fmt;

use crate::wire_struct;
use crate::xdr::{self, Fixed, Secret, Text};

/// What every token of this form begins with.
pub const PREFIX: &str = "vmw1-";

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

wire_struct! {
    /// What the text of a token holds.
    pub struct Token {
        /// Where the daemon is, as in `host:port`.
        pub address: Text<256>,
        /// The SHA-256 of the public key of the authority that issued the daemon's certificate.
        pub ca: Fixed<32>,
        /// What shows that the client was invited.
        pub secret: Secret<Fixed<16>>,
    }
}

/// Why a text is no token. It says nothing of the text, for most of that may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// It does not begin like one.
    NotAToken,
    /// It is a token of a form that came later.
    NewerForm,
    /// It has a character that no token has; which one it is, counted from 1.
    Character(usize),
    /// It ends too early.
    Cut,
    /// It goes on where it should end.
    TooLong,
    /// Something in it is another than it was.
    Mistyped,
}

impl Token {
    /// The text, on one line.
    pub fn to_text(&self) -> Secret<Text<512>> {
        let mut bytes = Vec::new();
        let encoded = xdr::encode(&mut bytes, self);
        debug_assert!(encoded.is_ok(), "its fields are within their bounds");
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        // At most 312 bytes become 416 characters.
        Secret::new(Text::clipped(&format!("{PREFIX}{}", base64(&bytes))))
    }

    /// Reads a text, white space around it put aside.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let Some(digits) = text.strip_prefix(PREFIX) else {
            return Err(match text.split_once('-') {
                Some((form, _)) if is_a_later_form(form) => TokenError::NewerForm,
                _ if !text.is_empty() && PREFIX.starts_with(text) => TokenError::Cut,
                _ => TokenError::NotAToken,
            });
        };
        let (bytes, left_over) = bytes(digits)?;
        // The address says how long the whole is, and so whether the end is missing or something in between is wrong.
        let (length, _) = bytes.split_first_chunk().ok_or(TokenError::Cut)?;
        let address = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let whole = address.checked_next_multiple_of(4).and_then(|address| address.checked_add(4 + 32 + 16 + 4));
        let whole = whole.filter(|_| address <= 256).ok_or(TokenError::Mistyped)?;
        if bytes.len() < whole {
            return Err(TokenError::Cut);
        }
        if bytes.len() > whole {
            return Err(TokenError::TooLong);
        }
        if left_over {
            return Err(TokenError::Mistyped);
        }
        let (body, sum) = bytes.split_last_chunk().ok_or(TokenError::Cut)?;
        if crc32fast::hash(body) != u32::from_be_bytes(*sum) {
            return Err(TokenError::Mistyped);
        }
        xdr::decode(body).map_err(|_| TokenError::Mistyped)
    }
}

/// Whether this is `vmw` and a number other than ours.
fn is_a_later_form(form: &str) -> bool {
    form.strip_prefix("vmw").is_some_and(|number| number.parse::<u32>().is_ok_and(|number| number > 1))
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for shift in [18, 12, 6, 0].into_iter().take(chunk.len() + 1) {
            let digit = usize::try_from(bits >> shift & 63).unwrap_or(0);
            text.push(char::from(ALPHABET[digit]));
        }
    }
    text
}

/// What base64url stands for, and whether something is left over behind the last byte: a token has one text, without that.
fn bytes(digits: &str) -> Result<(Vec<u8>, bool), TokenError> {
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for (at, character) in digits.chars().enumerate() {
        let digit = ALPHABET.iter().position(|known| char::from(*known) == character);
        let digit = digit.ok_or(TokenError::Character(PREFIX.len() + at + 1))?;
        bits = bits << 6 | u32::try_from(digit).unwrap_or(0);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap_or(0));
        }
        bits &= (1 << count) - 1;
    }
    Ok((bytes, count == 6 || bits != 0))
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAToken => write!(f, "this is no token: a token begins with {PREFIX}"),
            Self::NewerForm => f.write_str("this token was made by a newer daemon, and this program cannot read it"),
            Self::Character(at) => write!(f, "character {at} of the token cannot stand in one"),
            Self::Cut => f.write_str("the end of the token is missing"),
            Self::TooLong => f.write_str("something stands behind the end of the token"),
            Self::Mistyped => f.write_str("the token is not as it was made: a character in it is another one"),
        }
    }
}

impl std::error::Error for TokenError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(address: &str) -> Token {
        Token {
            address: Text::new(address).unwrap(),
            ca: Fixed(std::array::from_fn(|at| u8::try_from(at * 7).unwrap())),
            secret: Secret::new(Fixed(std::array::from_fn(|at| u8::try_from(255 - at).unwrap()))),
        }
    }

    fn text(token: &Token) -> String {
        token.to_text().reveal().to_string()
    }

    #[test]
    fn a_token_comes_back_from_its_text() {
        for length in 0..=256 {
            let token = token(&"a".repeat(length));
            let text = text(&token);
            assert!(text.len() <= 421 && text.starts_with(PREFIX));
            assert_eq!(Token::parse(&format!(" {text}\n")), Ok(token));
        }
    }

    #[test]
    fn the_text_of_a_token_is_frozen() {
        assert_eq!(
            text(&token("vm1:16515")),
            "vmw1-AAAACXZtMToxNjUxNQAAAAAHDhUcIyoxOD9GTVRbYmlwd36FjJOaoaivtr3Ey9LZ__79_Pv6-fj39vX08_Lx8D5Ev90"
        );
    }

    #[test]
    fn a_slip_of_the_hand_is_told_before_anybody_is_asked() {
        let text = text(&token("vm1.example.org:16515"));
        for end in 0..text.len() {
            let wanted = if end == 0 { TokenError::NotAToken } else { TokenError::Cut };
            assert_eq!(Token::parse(&text[..end]), Err(wanted), "cut at {end}");
        }
        for at in PREFIX.len()..text.len() {
            for other in ['A', 'k', '_'] {
                let typed = [&text[..at], &other.to_string(), &text[at + 1..]].concat();
                assert!(typed == text || Token::parse(&typed).is_err(), "{other} at {at}");
            }
            let swapped = [&text[..at], &text[at + 1..]].concat();
            assert!(Token::parse(&swapped).is_err(), "without the character at {at}");
        }
        assert_eq!(Token::parse(&format!("{text}AAAA")), Err(TokenError::TooLong));
        assert_eq!(Token::parse(&text.replacen('Z', "+", 1)), Err(TokenError::Character(12)));
        let other_last = self::text(&token("vm1:16515")).strip_suffix('0').unwrap().to_owned() + "1";
        assert_eq!(Token::parse(&other_last), Err(TokenError::Mistyped), "the same bytes in another text");
        assert_eq!(Token::parse("vmw2-AAAA"), Err(TokenError::NewerForm));
        assert_eq!(Token::parse("hunter2-x"), Err(TokenError::NotAToken));
        assert_eq!(Token::parse("vmw1-_____w"), Err(TokenError::Mistyped), "an address of 4 GiB");
    }

    #[test]
    fn neither_a_token_nor_what_is_wrong_with_one_tells_its_secret() {
        let token = token("vm1:16515");
        let printed = format!("{token:?} {:?}", token.to_text());
        assert!(
            printed.contains("[secret]") && !printed.contains("fffe") && !printed.contains("AAAACXZt"),
            "{printed}"
        );
    }
}
