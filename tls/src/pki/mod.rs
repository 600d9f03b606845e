//! A small authority of one's own: it makes and signs certificates and keeps the list of those that were revoked.
//!
//! Everything here turns bytes into bytes: no file is read or written, and the moment is an argument. `vmwire pki`
//! keeps the files, the daemon signs what its enrolled clients ask for, and both come here. An authority of another
//! make is as good for the handshake; nothing outside this room knows which one it was.
//!
//! ```text
//!   Authority::create ─▶ ca.crt, ca.key
//!   Request::new ─▶ key, CSR ──▶ Authority::sign_client ─▶ certificate      the key never travels
//!   Authority::issue_… ─▶ key, certificate                                  or is made here
//!   Authority::sign_revocations ─▶ crl.pem, whole, with its number one higher
//! ```

mod authority;
mod describe;
mod error;
mod index;
mod names;
mod pem;
mod request;
mod revocation;
mod serial;
#[cfg(test)]
mod tests;
mod validity;

pub use self::authority::{Authority, Issued, NewAuthority};
pub use self::describe::{Description, Purpose, check_signature, describe};
pub use self::error::PkiError;
pub use self::index::{Entry, INDEX_FILE, Index, issued_line, revoked_line};
pub use self::names::{AUTHORITY_NAME_CHARACTERS_MAX, CLIENT_NAME_BYTES_MAX, ClientName, HostName, HostNames};
pub use self::pem::{certificates, certificates_pem, key_fingerprint, request};
pub use self::request::{CSR_BYTES_MAX, Request, request_key};
pub use self::revocation::{CRL_ENTRIES_MAX, Reason, RevocationList, Revoked};
pub use self::serial::Serial;
pub use self::validity::{AUTHORITY_DAYS, CERTIFICATE_DAYS, SKEW_SECONDS};
