//! Stories of the agent in a guest of its own, beside qemu-ga: the same requests to both, and what they do seen by the other's eyes.
//! Everything that changes a machine is told here, and nowhere else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archive;
mod machine;
mod port;
mod script;
#[path = "../skip/mod.rs"]
mod skip;

mod compare;
mod effects;
mod faults;
mod hung;
mod libvirt;
mod sleep;
mod ways;
