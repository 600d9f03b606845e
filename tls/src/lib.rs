//! TLS for both ends of vmwire: what moves between a socket's bytes and the protocol's.
//!
//! Of what is shipped this is the only crate that names rustls. It opens no socket, starts no thread and asks no clock of its own: PEM bytes
//! become a context ([`config`]), a context makes a stream ([`stream`]), a stream is shown a socket that does not wait and
//! tells who is at the other end ([`identity`]), or in words why not ([`error`]). Beside them [`pki`]
//! makes certificates.
//!
//! ```text
//!   PEM ──▶ ServerContext ──▶ ServerTls ──▶ PeerIdentity, plaintext
//!   PEM ──▶ ClientContext ──▶ ClientTls ──▶ PeerIdentity, plaintext      or a Refusal, on either side
//! ```

pub mod config;
pub mod date;
pub mod error;
pub mod identity;
mod peer;
pub mod pki;
pub mod stream;
