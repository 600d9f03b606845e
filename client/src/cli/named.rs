//! How things of the wire are called and shown in output: names of numbers, references, failures.

use serde::Serialize;
use vmwire_protocol::message::{Cursor, Failure, Procedure, VmRef, code, operation_state, vm_state};
use vmwire_protocol::xdr::Text;

use super::problem::Problem;
use crate::vms::show_uuid;

/// The name of a number out of a set that may grow; `#9` for one that this version does not know.
pub(crate) fn name_of(number: u32, name: fn(u32) -> Option<&'static str>) -> String {
    name(number).map_or_else(|| format!("#{number}"), str::to_owned)
}

/// The name of a VM's state.
pub(crate) fn state(number: u32) -> String {
    name_of(number, vm_state::name)
}

/// The name of an operation's state.
pub(crate) fn operation_state(number: u32) -> String {
    name_of(number, operation_state::name)
}

/// The name of a procedure.
pub(crate) fn procedure(number: u32) -> String {
    name_of(number, |number| Procedure::of(number).map(|procedure| procedure.name))
}

/// The name of a failure's code; one that is not known reads as `INTERNAL`, as the protocol has it.
pub(crate) fn failure_code(number: u32) -> &'static str {
    code::name(number).unwrap_or("INTERNAL")
}

/// 16 bytes without a form of their own.
pub(crate) fn hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what [`hex`] wrote.
pub(crate) fn read_hex(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

/// A bounded text out of an argument of the command line.
pub(crate) fn text<const MAX: usize>(what: &str, argument: &str) -> Result<Text<MAX>, Problem> {
    Text::new(argument).map_err(|_| Problem::usage(format!("the {what} is longer than {MAX} bytes, or has a NUL byte")))
}

/// A virtual machine in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct VmRefJson {
    pub(crate) uuid: String,
    pub(crate) name: String,
}

impl From<&VmRef> for VmRefJson {
    fn from(vm: &VmRef) -> Self {
        Self { uuid: show_uuid(&vm.uuid.0), name: vm.name.to_string() }
    }
}

/// A place in the sequence of events in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct CursorJson {
    pub(crate) epoch: String,
    pub(crate) sequence: u64,
}

impl From<&Cursor> for CursorJson {
    fn from(cursor: &Cursor) -> Self {
        Self { epoch: hex(&cursor.epoch.0), sequence: cursor.sequence }
    }
}

/// A failure inside of data in JSON: of an operation, not of the call.
#[derive(Debug, Serialize)]
pub(crate) struct FailureJson {
    code: &'static str,
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    hint: Option<String>,
}

impl From<&Failure> for FailureJson {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure_code(failure.code),
            message: failure.message.to_string(),
            causes: failure.causes.iter().map(ToString::to_string).collect(),
            hint: Some(failure.hint.to_string()).filter(|hint| !hint.is_empty()),
        }
    }
}

/// `None` for the empty text, by which the wire says that there is none.
pub(crate) fn unless_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// `None` for zero, by which the wire says that there is none.
pub(crate) fn unless_zero(number: u64) -> Option<u64> {
    Some(number).filter(|&number| number != 0)
}

/// `yes` or `no`, for tables.
pub(crate) fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use vmwire_protocol::message::number;

    use super::*;

    #[test]
    fn epochs_read_back_and_nothing_else_does() {
        let bytes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 254, 255];
        assert_eq!(read_hex(&hex(&bytes)), Some(bytes));
        for text in ["", "00", &"+".repeat(32), &"g".repeat(32), &"0".repeat(33), &"é".repeat(16)] {
            assert_eq!(read_hex(text), None, "{text}");
        }
    }

    #[test]
    fn what_this_version_does_not_know_is_shown_by_its_number() {
        assert_eq!(state(3), "running");
        assert_eq!(state(99), "#99");
        assert_eq!(procedure(number::VM_START), "vm-start");
        assert_eq!(procedure(0x999), "#2457");
        assert_eq!(failure_code(11), "NOT_FOUND");
        assert_eq!(failure_code(99), "INTERNAL");
    }
}
