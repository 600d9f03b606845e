//! XDR (RFC 4506): how values become bytes and hostile bytes become values, or are refused.
//!
//! This room holds the bounded types that messages are made of, the macros that make messages of them, and two
//! interchangeable codecs under one pair of functions:
//!
//! ```text
//!   wire_struct!, wire_union!, wire_packets!        what messages are written with
//!   Text, Opaque, List, Fixed                       what their fields are made of; none can hold more than its bound
//!   Secret                                          what must not be printed
//!   Sampler                                         values of every such type out of a seed, for tests
//!   encode, decode, decode_prefix                   what everybody else calls
//!     serde_backend | own_backend                   who does the work; the only place that names serde-xdr is the former
//! ```
//!
//! Three properties hold for every [`Wire`] type under both backends, and tests hold them to it:
//!
//! - **One encoding.** A value has one encoding, and only that is accepted: padding is zero, a boolean is 0 or 1, every
//!   byte is consumed. Whatever decodes encodes back to the very same bytes.
//! - **Bounds first.** A length is compared with its bound before anything is reserved for it, and memory grows with bytes
//!   that arrived, never with bytes that were announced.
//! - **Finite.** There are no recursive types; [`Wire::BYTES_MAX`] cannot be computed for one, so it does not compile.

mod bytes;
mod error;
mod fixed;
mod list;
mod macros;
mod opaque;
pub mod own_backend;
mod sample;
mod secret;
pub mod serde_backend;
#[doc(hidden)]
pub mod support;
mod text;
mod wire;

pub use self::{
    error::{DecodeError, EncodeError, NotText, TooLong},
    fixed::Fixed,
    list::List,
    opaque::Opaque,
    sample::Sampler,
    secret::Secret,
    text::Text,
    wire::{Erase, Wire},
};

/// Whether [`encode`] and [`decode`] use [`own_backend`] instead of [`serde_backend`]; the bytes are the same.
pub const OWN_BACKEND: bool = cfg!(feature = "own-xdr");

/// Appends the XDR of `value` to `out`.
///
/// When it fails, `out` is as it was before.
pub fn encode<T: Wire>(out: &mut Vec<u8>, value: &T) -> Result<(), EncodeError> {
    if OWN_BACKEND { own_backend::encode(out, value) } else { serde_backend::encode(out, value) }
}

/// Makes a value of the whole of `bytes`, or says why they are none.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    if OWN_BACKEND { own_backend::decode(bytes) } else { serde_backend::decode(bytes) }
}

/// Makes a value of the beginning of `bytes` and hands back the rest.
pub fn decode_prefix<T: Wire>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    if OWN_BACKEND { own_backend::decode_prefix(bytes) } else { serde_backend::decode_prefix(bytes) }
}

#[cfg(test)]
mod tests;
