//! Bytes of a host, whoever it is, to an agent that may do nothing but answer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vmwire_agent::fuzzing::stream(bytes));
