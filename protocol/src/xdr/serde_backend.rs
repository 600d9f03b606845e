//! XDR by serde-xdr. This is the only file that names it.
//!
//! Used plainly it believes lengths, skips padding and takes bytes that are left over for granted; so the bounded types ask
//! it for single words alone, and what is left over is looked at here.

use serde_xdr::{CompatDeserializationError, CompatSerializationError, DeserializationError, SerializationError};

use super::{DecodeError, EncodeError, Wire};

/// See [`encode`](super::encode()).
pub fn encode<T: Wire>(out: &mut Vec<u8>, value: &T) -> Result<(), EncodeError> {
    let before = out.len();
    serde_xdr::to_writer(out, value).map_err(|error| {
        // It leaves half a value behind.
        out.truncate(before);
        encode_error(error)
    })
}

/// See [`decode`](super::decode()).
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    match decode_prefix(bytes)? {
        (value, []) => Ok(value),
        _ => Err(DecodeError::Trailing),
    }
}

/// See [`decode_prefix`](super::decode_prefix()).
pub fn decode_prefix<T: Wire>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let mut rest = bytes;
    let value = serde_xdr::from_reader(&mut rest).map_err(decode_error)?;
    Ok((value, rest))
}

/// The verdict at the root of an error that has a layer for each level of the type.
#[cold]
fn decode_error(error: CompatDeserializationError) -> DecodeError {
    let mut error = DeserializationError::from(error);
    loop {
        error = match error {
            DeserializationError::Failure { cause, .. } => DeserializationError::from(*cause),
            DeserializationError::Custom { message } => return DecodeError::from_code(&message),
            DeserializationError::IoError { .. } => return DecodeError::Truncated,
            DeserializationError::InvalidBool { .. } => return DecodeError::Bool,
            DeserializationError::InvalidOption => return DecodeError::Optional,
            _ => return DecodeError::Unsupported,
        };
    }
}

#[cold]
fn encode_error(error: CompatSerializationError) -> EncodeError {
    let mut error = SerializationError::from(error);
    loop {
        error = match error {
            SerializationError::Failure { cause, .. } => SerializationError::from(*cause),
            SerializationError::OpaqueDataIsTooLong { .. } | SerializationError::SequenceTooLong { .. } => {
                return EncodeError::TooLong;
            }
            _ => return EncodeError::Unsupported,
        };
    }
}
