//! The QEMU driver against the real QEMU, and against programs that only look like one.

#![expect(clippy::disallowed_methods, reason = "tests may wait, for disks and for each other")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod adoption;
mod channels;
mod fake;
mod guest;
mod keys;
mod life;
mod qmp;
mod stage;
mod start;
