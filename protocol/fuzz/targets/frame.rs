//! See `vmwire_protocol::fuzzing::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vmwire_protocol::fuzzing::frame(data));
