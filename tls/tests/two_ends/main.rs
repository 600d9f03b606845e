//! Both ends of a TLS connection in memory: who gets in, who does not and in which words, and what stays of the bytes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod by_hand;
mod certificates;
mod cutting;
mod handshakes;
mod identities;
mod key_log;
mod material;
mod memory;
mod own_authority;
mod refusals;
mod revocation;
mod strangers;
mod wire;
