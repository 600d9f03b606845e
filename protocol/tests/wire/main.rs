//! The wire held to its rules: sessions against hostile input and against each other, bytes frozen per version, an
//! exchange with C from `rpcgen`, and the worked exchanges of `SPEC.md`. One program, so that it links once.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod authority;
mod client_session;
mod dissector;
mod fuzz;
mod golden;
mod hostile;
mod marked;
mod pairs;
mod round_trip;
mod rpcgen;
mod server_session;
mod spec;
mod support;
mod tapped;
