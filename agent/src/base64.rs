//! Base64 as requests carry it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::error::CommandError;

/// What a text holds. Line ends in it are passed over, as GLib does; what is cut short is refused, which GLib does not.
///
/// # Errors
/// It is no base64.
pub fn decode(text: &str) -> Result<Vec<u8>, CommandError> {
    let decoded = if text.contains('\n') { STANDARD.decode(text.replace('\n', "")) } else { STANDARD.decode(text) };
    decoded.map_err(|error| {
        CommandError::generic(match error {
            base64::DecodeError::InvalidByte(..) => "Base64 data contains invalid characters",
            _ => "Base64 data is cut short",
        })
    })
}

/// Data as text.
pub fn encode(data: &[u8]) -> String {
    STANDARD.encode(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_short_is_refused_and_not_dropped() {
        assert_eq!(decode("YWI=").unwrap(), b"ab");
        assert_eq!(decode("YW\nI=\n").unwrap(), b"ab");
        assert_eq!(decode("").unwrap(), b"");
        assert_eq!(decode("YWI").unwrap_err().text(), "Base64 data is cut short");
        assert_eq!(decode("YW!=").unwrap_err().text(), "Base64 data contains invalid characters");
        assert_eq!(decode(&encode(b"\x00\xff")).unwrap(), b"\x00\xff");
    }
}
