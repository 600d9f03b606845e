//! Stories of the agent as a process, over sockets and terminals of its own. Nothing here changes the machine that it runs on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

mod bad_input;
mod channels;
mod clients;
mod files;
mod handshake;
mod helpers;
mod log;
mod process;
mod programs;
mod promises;
