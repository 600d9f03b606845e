//! Clients that are known by their keys: who they are, who was invited, and how an invitation becomes a certificate. Pure:
//! time, secrets and the authority's signature are handed in, and what has to be kept is handed out as text.
//!
//! ```text
//!   invite ─▶ invitation ─▶ enroll: secret right? ─▶ signed ─▶ client     add ─▶ client
//!               │ an hour, another invitation, or removal                  │ removal
//!               ▼                                                          ▼
//!              past                                                      nobody
//! ```
//! A change is a whole new [`Registry`] ([`Change::apply`]), which takes the old one's place only when it is durable. Changes
//! are made one after the other, so the second use of a token finds it spent. The same key gets the same certificate again for an
//! hour: the answer may have been lost on the way.

mod address;
mod file;
mod registry;
mod signer;
mod tries;

pub use self::address::address;
pub use self::file::{FILE_BYTES_MAX, FileError};
pub use self::registry::{
    CLIENTS_MAX, Certificate, Change, Client, Done, INVITATIONS_MAX, Invitation, Origin, Refused, Registry, Secret,
};
pub use self::signer::{Authority, Signed, Signer};
pub use self::tries::{TRIES_MAX, Tries};
