//! A seeded simulation of many clients and one daemon core, on a virtual clock and with faults at every step: links that
//! are cut, stand still and take a part of what is written; reports and file answers that come late and out of order;
//! clients that flood, do not read, give up, and come again.
//!
//! Some clients have roles by rules, over everything or over some virtual machines, and the rules change in mid-run: what a
//! packet tells is held against what its receiver might know when it took its place among the bytes.
//!
//! After each step the books are looked at, after each run every call has exactly one answer and nothing is left over. A
//! run depends on its seed alone: `VMWIRE_SEED=17 cargo test --test simulation` runs that one again and prints its log;
//! `VMWIRE_SEEDS=1000` runs so many.

#![expect(clippy::unwrap_used, reason = "all of this is a test")]

mod agents;
mod audit;
mod calls;
mod captures;
mod client;
mod doubles;
mod events;
mod link;
mod random;
mod rights;
mod rules;
mod server;
mod streams;
mod tap;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::client::Tally;
use crate::world::World;

/// Steps of one run.
const STEPS: u64 = 500;
/// Runs that `make test` makes.
#[cfg(not(vmwire_faults))]
const SEEDS: u64 = 72;

/// Runs a seed. Answers what was counted, or what is wrong and what led to it.
fn run(seed: u64, aloud: bool, tally: &mut Tally) -> Result<(), String> {
    let mut world = World::new(seed, aloud);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        (0..STEPS).try_for_each(|_| world.step())?;
        world.finish()
    }));
    let outcome = outcome.unwrap_or_else(|_| Err("a panic, told above".to_owned()));
    for (what, count) in &world.tally {
        *tally.entry(what.clone()).or_default() += count;
    }
    outcome.map_err(|why| {
        let log: Vec<String> = world.log.into();
        format!("seed {seed} (VMWIRE_SEED={seed} runs it again)\n  {}\n{why}", log.join("\n  "))
    })
}

#[cfg(not(vmwire_faults))]
mod honest {
    use vmwire_protocol::message::{PROCEDURES, number};

    use super::*;

    const _: () = assert!(SEEDS * STEPS >= 20_000, "so many steps are promised");

    fn number(variable: &str) -> Option<u64> {
        std::env::var(variable).ok().map(|text| text.parse().unwrap())
    }

    #[test]
    fn every_call_has_exactly_one_answer_and_nothing_is_left_over() {
        let mut tally = Tally::new();
        let seeds = match (number("VMWIRE_SEED"), number("VMWIRE_SEEDS")) {
            (Some(seed), _) => seed..seed + 1,
            (None, seeds) => 0..seeds.unwrap_or(SEEDS),
        };
        for seed in seeds.clone() {
            if let Err(why) = run(seed, seeds.end - seeds.start == 1, &mut tally) {
                panic!("{why}");
            }
        }
        if seeds == (0..SEEDS) {
            went_everywhere(&tally);
        } else {
            println!("{tally:#?}");
        }
    }

    /// A simulation that never comes to what it is for finds nothing.
    fn went_everywhere(tally: &Tally) {
        // Nobody here makes certificates.
        let signed = |of: u32| of == number::CLIENT_INVITE || of == number::ENROLL;
        let answers = PROCEDURES.iter().filter(|procedure| !signed(procedure.number));
        let answers = answers.map(|procedure| format!("{} ok", procedure.name));
        let more = [
            "agent-ping AGENT",
            "agent-ping CANCELLED",
            "agent-ping DEADLINE_EXCEEDED",
            "agent-ping INVALID",
            "agents captured",
            "capture jumps",
            "connection-kick NOT_FOUND",
            "console-open BUSY",
            "console jumps",
            "consoles taken away",
            "denied over one",
            "events",
            "gaps",
            "gaps of unknown place",
            "given up on",
            "hello INVALID",
            "hello VERSION_MISMATCH",
            "invisible or missing",
            "packets to the scoped",
            "progress",
            "resets",
            "rules changed",
            "streams ended",
            "take-overs",
            "told BAD_LENGTH",
            "told BAD_MAGIC",
            "told DEADLINE_EXCEEDED",
            "told DENIED",
            "told GOING_AWAY",
            "told OVERLOADED",
            "told SERIAL",
            "vm-define DRIVER",
            "vm-list UNKNOWN_PROCEDURE",
            "vm-list UNSUPPORTED",
            "vm-reset BUSY",
            "vm-start CANCELLED",
            "vm-start DEADLINE_EXCEEDED",
            "vm-start DRIVER",
            "vm-wait CANCELLED",
            "vm-wait OVERLOADED",
        ];
        let all = answers.chain(more.into_iter().map(str::to_owned));
        let missed: Vec<String> = all.filter(|what| tally.get(what).is_none_or(|count| *count == 0)).collect();
        assert!(missed.is_empty(), "it never came to {missed:?}: {tally:#?}");
    }

    #[test]
    fn a_seed_determines_its_run() {
        let counted = || {
            let mut tally = Tally::new();
            run(3, false, &mut tally).unwrap();
            tally
        };
        assert_eq!(counted(), counted());
    }
}

#[cfg(vmwire_faults)]
mod planted {
    use vmwire_protocol::fault::{Fault, plant};

    use super::*;

    /// Seeds within which a fault has to be found.
    const SEEDS: u64 = 200;

    #[test]
    fn a_planted_fault_is_found_and_nothing_else_is() {
        let honest = |seed| run(seed, false, &mut Tally::new());
        plant(None);
        for seed in 0..4 {
            assert_eq!(honest(seed), Ok(()));
        }
        // What is found by a panic is found; what the panic says is of no interest.
        std::panic::set_hook(Box::new(|_| {}));
        let faults = [
            Fault::LostReply,
            Fault::DoubleReply,
            Fault::LeakedTicket,
            Fault::SkippedSerial,
            Fault::UnboundedOutbox,
            Fault::ForgottenWakeUp,
            Fault::LeakyEvents,
            Fault::LeakyNames,
            Fault::LoudRefusal,
            Fault::ForgottenConsole,
            Fault::ForgottenWait,
            Fault::OverheardAgent,
        ];
        let found = faults.map(|fault| {
            let found = (0..SEEDS).find_map(|seed| {
                plant(Some(fault));
                honest(seed).err().map(|why| (seed, why.lines().last().unwrap_or_default().chars().take(150).collect()))
            });
            (fault, found)
        });
        drop(std::panic::take_hook());
        plant(None);
        for (fault, found) in &found {
            let found: &Option<(u64, String)> = found;
            println!("{fault:?}: {found:?}");
            assert!(found.is_some(), "{fault:?} was not found within {SEEDS} seeds");
        }
    }
}
