//! The fuzz targets of the crate, driven by mutated scripts: the same seed gives the same run. `make fuzz` drives them with
//! libFuzzer for as long as one likes.
//!
//! When a run fails it prints its script; `VMWIRE_FUZZ_SCRIPT=<hex> cargo test -p vmwire-protocol fuzz` runs that one
//! alone, and `VMWIRE_FUZZ_SEED=<number>` begins elsewhere.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use vmwire_protocol::fuzzing;
use vmwire_protocol::xdr::Sampler;

use crate::support::memory;

/// Runs of each target.
const EXECUTIONS: usize = 20_000;
/// Scripts that are kept to be mutated.
const POOL: usize = 64;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect()
}

fn bytes(sampler: &mut Sampler, count: usize) -> Vec<u8> {
    (0..count).map(|_| u8::try_from(sampler.up_to(255)).unwrap()).collect()
}

/// A new script: a known one changed here and there, two of them joined, or one out of nothing.
fn mutated(pool: &[Vec<u8>], sampler: &mut Sampler, bytes_max: usize) -> Vec<u8> {
    let mut script = sampler.choose(pool).clone();
    for _ in 0..=sampler.up_to(3) {
        let at = sampler.up_to(script.len());
        match sampler.up_to(6) {
            0 => {
                let count = sampler.up_to(bytes_max);
                script = bytes(sampler, count);
            }
            1 => script.truncate(at),
            2 => {
                let other = sampler.choose(pool).clone();
                script.truncate(at);
                script.extend_from_slice(&other[other.len() / 2..]);
            }
            3 => {
                let inserted = bytes(sampler, 3);
                script.splice(at..at, inserted);
            }
            4 if at < script.len() => drop(script.remove(at)),
            _ if at < script.len() => script[at] = u8::try_from(sampler.up_to(255)).unwrap(),
            _ => script.push(u8::try_from(sampler.up_to(255)).unwrap()),
        }
    }
    script.truncate(bytes_max);
    script
}

/// Runs a target on scripts of at most so many bytes; no run may hold more than `memory_max`.
fn drive(target: impl Fn(&[u8]), bytes_max: usize, memory_max: usize) {
    let run = |script: &[u8]| {
        let (outcome, peak) = memory::peak(|| catch_unwind(AssertUnwindSafe(|| target(script))));
        if let Err(panic) = outcome {
            println!("VMWIRE_FUZZ_SCRIPT={}", hex(script));
            resume_unwind(panic);
        }
        assert!(peak <= memory_max, "{peak} bytes for VMWIRE_FUZZ_SCRIPT={}", hex(script));
    };
    if let Ok(script) = std::env::var("VMWIRE_FUZZ_SCRIPT") {
        return run(&from_hex(&script));
    }
    let seed = std::env::var("VMWIRE_FUZZ_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut sampler = Sampler::new(seed);
    let mut pool: Vec<Vec<u8>> = (0..POOL).map(|_| bytes(&mut sampler, bytes_max)).collect();
    for _ in 0..EXECUTIONS {
        let script = mutated(&pool, &mut sampler, bytes_max);
        run(&script);
        // A long script does more; a short one makes room for others now and then.
        let at = sampler.up_to(POOL - 1);
        if script.len() > pool[at].len() / 2 {
            pool[at] = script;
        }
    }
}

#[test]
fn frames_however_they_are_cut() {
    drive(fuzzing::frame, 400, 64 * 1024);
}

#[test]
fn packets_of_both_unions_in_both_backends() {
    drive(fuzzing::packet, 120, 256 * 1024);
}

#[test]
fn server_sessions_against_any_client() {
    let now = Instant::now();
    drive(|script| fuzzing::server_session(script, now), 120, 8 << 20);
}

#[test]
fn client_sessions_against_any_server() {
    drive(fuzzing::client_session, 120, 4 << 20);
}
