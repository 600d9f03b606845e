//! `vmwire.x` is the authority: its constants and the arms of its unions are those of the code. What its bodies look like is
//! held by the exchange with the C that `rpcgen` makes of it.

use std::collections::{BTreeMap, BTreeSet};

use vmwire_protocol::message::*;
use vmwire_protocol::token::Token;
use vmwire_protocol::version;
use vmwire_protocol::xdr::{Fixed, Opaque, Secret, Text, Wire as _};

use super::marked::marked;

pub(crate) const AUTHORITY: &str = include_str!("../../vmwire.x");

/// Every constant, without its prefix.
pub(crate) fn constants() -> BTreeMap<&'static str, u32> {
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

/// The constants that begin so, ascending by number, without that.
pub(crate) fn members(prefix: &str) -> Vec<(u32, &'static str)> {
    let of_set = |name: &&str| name.starts_with(prefix) && !OTHERS.contains(name);
    let members = constants().into_iter().filter(|(name, _)| of_set(name));
    let members: BTreeSet<_> = members.map(|(name, number)| (number, &name[prefix.len()..])).collect();
    members.into_iter().collect()
}

/// The numbers of the constants that begin so, ascending.
fn numbers(prefix: &str) -> Vec<u32> {
    members(prefix).into_iter().map(|(number, _)| number).collect()
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
        ("CLIENT_STATE_", client_state::ALL),
        ("CLIENT_CHANGE_", client_change::ALL),
        ("CERTIFICATE_CHANGE_", certificate_change::ALL),
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
        let (_, comment) = declared.split_once("/* ").unwrap();
        let minor = comment.split([',', ' ']).next().unwrap();
        assert_eq!(minor, format!("1.{}", procedure.minor), "{declared}");
    }
}

/// A struct's name as `vmwire.x` writes it.
pub(crate) fn with_underscores(name: &str) -> String {
    let mut written = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !written.is_empty() {
            written.push('_');
        }
        written.extend(character.to_lowercase());
    }
    written
}

#[test]
fn each_field_marked_as_secret_cannot_be_printed_and_no_other_is_withheld() {
    let mut found = [ClientData::secret_fields(), ServerData::secret_fields()].concat();
    Token::secret_fields(&mut found);
    let found = found.into_iter().map(|(of, field)| (with_underscores(of), field.to_owned()));
    assert_eq!(found.collect::<BTreeSet<_>>(), marked(AUTHORITY));
    assert!(!marked(AUTHORITY).is_empty());
}

#[test]
fn what_is_printed_of_a_packet_does_not_tell_its_secrets() {
    let call = EnrollCall { secret: Secret::new(Fixed([0xc5; 16])), name: Text::default(), request: Opaque::default() };
    let printed = format!("{:?} {:#?}", ClientData::Enroll(call.clone()), call);
    assert!(printed.contains("[secret]") && !printed.contains("c5") && !printed.contains("197"), "{printed}");
}
