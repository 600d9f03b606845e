//! `vmwired` supervises QEMU guests from one thread and one non-blocking mio loop, and serves the vmwire protocol.
//!
//! The rooms, in the order data passes them: [`event_loop`] turns descriptors into readiness, `listener` and
//! `connection` turn readiness into bytes, `dispatch` turns packets into work on the [`model`], and a [`driver`] does
//! that work. [`access`] decides who may do what, [`audit`] tells what became of it. `model` and `event_loop` import nothing of ours; only `dispatch` knows
//! both wire and model types.

#![cfg_attr(test, expect(clippy::disallowed_methods, reason = "tests may wait, for disks and for each other"))]

pub mod access;
pub mod arguments;
pub mod audit;
pub mod config;
pub mod connection;
pub mod dispatch;
pub mod driver;
pub mod enrolment;
pub mod event_loop;
pub mod files;
pub mod launch;
pub mod listener;
pub mod logging;
pub mod model;
pub mod probe_kvm;
mod regular_file;
pub mod server;
pub mod store;
