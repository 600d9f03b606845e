//! What the expansions of the macros name; nobody else does.

pub use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
    ser::SerializeStruct,
};

use super::{DecodeError, EncodeError, Wire, own_backend, serde_backend};

/// The next field, which has to be there and to be allowed on the wire.
pub fn next<'de, A: SeqAccess<'de>, T: Wire>(access: &mut A) -> Result<T, A::Error> {
    super::bytes::next(access)
}

/// The error for a number that a union has no arm for.
#[cold]
pub fn no_arm<E: serde::de::Error>(number: u32) -> E {
    DecodeError::Discriminant(number).refuse()
}

/// Appends a packet's number and its body; when that fails, `out` is as it was before.
pub fn encode_packet<T: Wire>(out: &mut Vec<u8>, number: u32, body: &T) -> Result<(), EncodeError> {
    let before = out.len();
    out.extend_from_slice(&number.to_be_bytes());
    super::encode(out, body).inspect_err(|_| out.truncate(before))
}

/// Adds a field if it is secret, or else those of its type.
pub fn secret_field<T: Wire>(name: &'static str, field: &'static str, found: &mut Vec<(&'static str, &'static str)>) {
    if T::SECRET {
        found.push((name, field));
    } else {
        T::secret_fields(found);
    }
}

/// The most bytes that parts one after the other can take.
pub const fn sum(parts: &[usize]) -> usize {
    let mut sum: usize = 0;
    let mut rest = parts;
    while let [part, others @ ..] = rest {
        sum = sum.saturating_add(*part);
        rest = others;
    }
    sum
}

/// The most bytes that one of several arms can take.
pub const fn largest(arms: &[usize]) -> usize {
    let mut largest: usize = 0;
    let mut rest = arms;
    while let [arm, others @ ..] = rest {
        if *arm > largest {
            largest = *arm;
        }
        rest = others;
    }
    largest
}

/// Whether something is secret in one of several parts.
pub const fn any(parts: &[bool]) -> bool {
    let mut any = false;
    let mut rest = parts;
    while let [part, others @ ..] = rest {
        any |= *part;
        rest = others;
    }
    any
}

/// Whether no number stands at two arms.
pub const fn distinct(numbers: &[u32]) -> bool {
    let mut rest = numbers;
    while let [number, others @ ..] = rest {
        let mut later = others;
        while let [other, others @ ..] = later {
            if *number == *other {
                return false;
            }
            later = others;
        }
        rest = others;
    }
    true
}

/// Decodes with both backends; answers whether the bytes are a value.
///
/// # Panics
/// When the backends disagree, or when what was decoded encodes to other bytes.
pub fn compare_backends<T: Wire + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> bool {
    let (own, serde) = (own_backend::decode::<T>(bytes), serde_backend::decode::<T>(bytes));
    assert_eq!(own, serde, "the backends disagree about {bytes:02x?}");
    let Ok(value) = own else { return false };
    let (mut by_own, mut by_serde) = (Vec::new(), Vec::new());
    assert!(own_backend::encode(&mut by_own, &value).is_ok() && serde_backend::encode(&mut by_serde, &value).is_ok());
    assert!(by_own == bytes && by_serde == bytes, "{value:?} has another encoding than {bytes:02x?}");
    true
}
