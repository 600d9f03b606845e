//! The daemon as a process, with the test hypervisor unless a story says otherwise.

#![expect(clippy::disallowed_methods, reason = "tests may wait, for disks and for each other")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;
mod process;
mod serving;
