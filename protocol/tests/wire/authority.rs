//! `vmwire.x` is the authority: its constants and the arms of its unions are those of the code. What its bodies look like is
//! held by the exchange with the C that `rpcgen` makes of it.

use std::collections::{BTreeMap, BTreeSet};

use vmwire_protocol::message::*;
use vmwire_protocol::version;

const AUTHORITY: &str = include_str!("../../vmwire.x");

/// Every constant, without its prefix.
fn constants() -> BTreeMap<&'static str, u32> {
    let constant = |line: &'static str| {
        let (name, value) = line.strip_prefix("const VMWIRE_")?.split_once(';')?.0.split_once(" = ")?;
        let value = value.strip_prefix("0x").map_or_else(|| value.parse(), |hex| u32::from_str_radix(hex, 16));
        Some((name, value.unwrap()))
    };
    AUTHORITY.lines().filter_map(constant).collect()
}

/// Bounds and procedures whose names begin like those of a set.
const OTHERS: [&str; 6] =
    ["STATES_MAX", "EVENT_DETAIL_MAX", "CONSOLE_OPEN", "OPERATION_LIST", "OPERATION_SHOW", "OPERATION_WAIT"];

/// The numbers of the constants that begin so, ascending.
fn numbers(prefix: &str) -> Vec<u32> {
    let of_set = |name: &&str| name.starts_with(prefix) && !OTHERS.contains(name);
    let numbers: BTreeSet<u32> =
        constants().into_iter().filter(|(name, _)| of_set(name)).map(|(_, number)| number).collect();
    numbers.into_iter().collect()
}

fn known(all: &[(u32, &str)]) -> Vec<u32> {
    all.iter().map(|(number, _)| *number).collect()
}

#[test]
fn sets_of_numbers_are_those_of_the_code() {
    let sets = [
        ("CAPABILITY_", capability::ALL),
        ("ROLE_", role::ALL),
        ("CODE_", code::ALL),
        ("STATE_", vm_state::ALL),
        ("REASON_", state_reason::ALL),
        ("OPERATION_", operation_state::ALL),
        ("SHUTDOWN_THEN_", shutdown_then::ALL),
        ("CONSOLE_", console_mode::ALL),
        ("FIELD_", vm_field::ALL),
        ("FILTER_", filter_comparison::ALL),
        ("EVENT_", event_kind::ALL),
        ("STREAM_FLAG_", stream_flag::ALL),
    ];
    for (prefix, all) in sets {
        assert_eq!(numbers(prefix), known(all), "{prefix}");
    }
    for (number, name) in code::ALL {
        assert_eq!(constants().get(format!("CODE_{name}").as_str()), Some(number));
    }
}

#[test]
fn versions_are_those_of_the_code() {
    assert_eq!(constants()["MAJOR"], version::MAJOR);
    assert_eq!(constants()["NEWEST_MINOR"], version::NEWEST_MINOR);
}

/// The numbers of the arms of a union.
fn arms(union: &str) -> Vec<u32> {
    let body = AUTHORITY.split(&format!("union {union} ")).nth(1).unwrap().split("};").next().unwrap();
    assert!(body.contains("default:\n    void;"), "{union} does not end in a void default");
    let cases = body.lines().filter_map(|line| line.strip_prefix("case VMWIRE_")?.strip_suffix(':'));
    cases.map(|name| constants()[name]).collect()
}

#[test]
fn the_outer_unions_have_the_arms_of_the_code_and_end_in_void() {
    assert_eq!(arms("client_data"), ClientData::NUMBERS);
    assert_eq!(arms("server_data"), ServerData::NUMBERS);
}

#[test]
fn each_procedure_has_its_name_and_states_the_minor_that_brought_it() {
    for procedure in PROCEDURES {
        let name = procedure.name.replace('-', "_").to_uppercase();
        assert_eq!(constants().get(name.as_str()), Some(&procedure.number), "{name}");
        let declared = AUTHORITY.lines().find(|line| line.starts_with(&format!("const VMWIRE_{name} = "))).unwrap();
        assert!(declared.ends_with(&format!("/* 1.{} */", procedure.minor)), "{declared}");
    }
}
