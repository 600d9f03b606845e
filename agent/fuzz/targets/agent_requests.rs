//! Requests of a host among what is none, chosen by the fuzzer, each to be answered once.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|choices: &[u8]| vmwire_agent::fuzzing::requests(choices));
