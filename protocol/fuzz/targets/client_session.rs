//! See `vmwire_protocol::fuzzing::client_session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmwire_protocol::fuzzing::client_session(data));
