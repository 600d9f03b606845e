//! The stories: what vmwire does from end to end, told by real processes over real sockets.
//!
//! One file a story. Those about what every daemon does use the test driver; those about QEMU use a real guest, which
//! `contrib/guest/build` makes, and are skipped without one.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod agents;
mod audit;
mod bad_input;
mod capture;
mod clients;
mod clocks;
mod completion;
mod connections;
mod console;
mod contexts;
mod dissector;
mod enrolment;
mod events;
mod every_way;
mod exits;
mod guest_adoption;
mod guest_agent;
mod guest_channels;
mod guest_faults;
mod guest_keys;
mod guest_kvm;
mod guest_life;
mod guest_network;
mod harness;
mod hostile_bytes;
mod hosts;
mod leaving;
mod life;
mod network;
mod operations;
mod overload;
mod pki;
mod pki_openssl;
mod reconnect;
mod remote;
mod rights;
mod rights_everywhere;
mod secrets;
mod ssh_accounts;
mod ssh_hardware;
mod ssh_hostile;
mod ssh_hosts;
mod ssh_keys;
mod ssh_names;
mod ssh_native;
mod ssh_newcomer;
mod ssh_program;
mod starting;
mod stdio;
mod tls_openssl;
mod tls_refusals;
mod tls_reload;
mod two_hosts;
mod unknown_peers;
mod versions;
