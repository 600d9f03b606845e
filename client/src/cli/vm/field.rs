//! The fields of a list and the conditions on them: how they are written on the command line, shown in a table, and
//! called in JSON.

use serde_json::Value;
use vmwire_protocol::message::{VmCell, VmFilter, filter_comparison, state_reason, vm_field, vm_state};
use vmwire_protocol::xdr::Text;

use super::super::named::{name_of, yes};
use super::super::output::Align;
use super::super::quantity::{read_bytes, show_bytes, show_time};

/// A field of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its number on the wire.
    pub(crate) number: u32,
    /// Its name on the command line and above its column.
    pub(crate) name: &'static str,
    /// Its key in JSON, unit included.
    pub(crate) key: &'static str,
    sort: Sort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Text,
    Number,
    Bytes,
    Time,
    State,
    Reason,
    Flag,
    Items,
}

const FIELDS: &[Field] = &[
    Field { number: vm_field::NAME, name: "name", key: "name", sort: Sort::Text },
    Field { number: vm_field::UUID, name: "uuid", key: "uuid", sort: Sort::Text },
    Field { number: vm_field::STATE, name: "state", key: "state", sort: Sort::State },
    Field { number: vm_field::REASON, name: "reason", key: "reason", sort: Sort::Reason },
    Field { number: vm_field::SINCE_NS, name: "since", key: "since_ns", sort: Sort::Time },
    Field { number: vm_field::TITLE, name: "title", key: "title", sort: Sort::Text },
    Field { number: vm_field::MEMORY_BYTES, name: "memory", key: "memory_bytes", sort: Sort::Bytes },
    Field { number: vm_field::CPUS, name: "cpus", key: "cpus", sort: Sort::Number },
    Field { number: vm_field::MACHINE, name: "machine", key: "machine", sort: Sort::Text },
    Field { number: vm_field::ACCELERATOR, name: "accelerator", key: "accelerator", sort: Sort::Text },
    Field { number: vm_field::PID, name: "pid", key: "pid", sort: Sort::Number },
    Field { number: vm_field::AUTOSTART, name: "autostart", key: "autostart", sort: Sort::Flag },
    Field { number: vm_field::OPERATION, name: "operation", key: "operation", sort: Sort::Number },
    Field { number: vm_field::DISKS, name: "disks", key: "disks", sort: Sort::Items },
    Field { number: vm_field::FORWARDS, name: "forwards", key: "forwards", sort: Sort::Items },
    Field { number: vm_field::CHANNELS, name: "channels", key: "channels", sort: Sort::Items },
    Field { number: vm_field::LABELS, name: "labels", key: "labels", sort: Sort::Items },
];

/// The names of all fields.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|field| field.name)
}

/// The values that a field of this name can have, where they can be counted.
pub(crate) fn values(name: &str) -> impl Iterator<Item = &'static str> {
    let named = |all: &'static [(u32, &'static str)]| all.iter().map(|(_, name)| *name).collect();
    let values: Vec<&str> = match Field::read(name).map(|field| field.sort) {
        Ok(Sort::State) => named(vm_state::ALL),
        Ok(Sort::Reason) => named(state_reason::ALL),
        Ok(Sort::Flag) => vec!["yes", "no"],
        _ => Vec::new(),
    };
    values.into_iter()
}

/// What is listed where nothing is chosen.
pub(crate) const USUAL: &str = "name,state,since,cpus,memory,title";

impl Field {
    /// The field of a name.
    pub(crate) fn read(name: &str) -> Result<Self, String> {
        FIELDS.iter().find(|field| field.name == name || field.key == name).copied().ok_or_else(|| {
            let names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
            format!("there is no field {name:?}; there are {}", names.join(", "))
        })
    }

    pub(crate) fn align(self) -> Align {
        match self.sort {
            Sort::Number | Sort::Bytes => Align::Right,
            _ => Align::Left,
        }
    }

    /// A value for a table.
    pub(crate) fn show(self, cell: &VmCell) -> String {
        match (cell, self.sort) {
            (VmCell::Absent, _) => String::new(),
            (VmCell::Number(number), Sort::Bytes) => show_bytes(*number),
            (VmCell::Number(number), Sort::Time) => show_time(*number),
            (VmCell::Number(number), Sort::State) => named(*number, vm_state::name),
            (VmCell::Number(number), Sort::Reason) => named(*number, state_reason::name),
            (VmCell::Number(number), Sort::Flag) => yes(*number != 0).to_owned(),
            (VmCell::Number(number), _) => number.to_string(),
            (VmCell::Text(text), _) => text.to_string(),
            (VmCell::Items(items), _) => items.iter().map(Text::as_str).collect::<Vec<_>>().join(" "),
        }
    }

    /// A value for JSON: exact, `null` where there is none.
    pub(crate) fn json(self, cell: &VmCell) -> Value {
        match (cell, self.sort) {
            (VmCell::Absent, _) => Value::Null,
            (VmCell::Number(number), Sort::State) => named(*number, vm_state::name).into(),
            (VmCell::Number(number), Sort::Reason) => named(*number, state_reason::name).into(),
            (VmCell::Number(number), Sort::Flag) => (*number != 0).into(),
            (VmCell::Number(number), _) => (*number).into(),
            (VmCell::Text(text), _) => text.as_str().into(),
            (VmCell::Items(items), _) => items.iter().map(|item| Value::from(item.as_str())).collect(),
        }
    }
}

fn named(number: u64, name: fn(u32) -> Option<&'static str>) -> String {
    u32::try_from(number).map_or_else(|_| format!("#{number}"), |number| name_of(number, name))
}

/// Reads a condition: `state=running`, `memory>=1GiB`, `name~web*`, `pid!=0`.
pub(crate) fn read_filter(text: &str) -> Result<VmFilter, String> {
    let end = text.find(|c: char| !c.is_ascii_alphabetic() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let field = Field::read(name)?;
    // The longer ones first: `>=` begins like nothing else, but `=` ends it.
    let (comparison, value) = [">=", "<=", "!=", "=", "~"]
        .into_iter()
        .find_map(|sign| Some((filter_comparison::number(sign)?, rest.strip_prefix(sign)?)))
        .ok_or_else(|| format!("{text:?} has none of =, !=, ~, >=, <= behind the field"))?;
    let numeric = !matches!(field.sort, Sort::Text | Sort::Items);
    match comparison {
        filter_comparison::AT_LEAST | filter_comparison::AT_MOST
            if !matches!(field.sort, Sort::Number | Sort::Bytes | Sort::Time) =>
        {
            let signs = match field.sort {
                Sort::Text => "=, != or ~",
                Sort::Items => "~",
                _ => "= or !=",
            };
            return Err(format!("the field {name} has no order; compare it with {signs}"));
        }
        filter_comparison::MATCHES if numeric => {
            return Err(format!("the field {name} is no text; compare it with = or !="));
        }
        filter_comparison::EQUAL | filter_comparison::NOT_EQUAL if field.sort == Sort::Items => {
            return Err(format!("the field {name} is a list; compare its items with ~"));
        }
        _ => {}
    }
    Ok(VmFilter { field: field.number, comparison, value: read_value(field, value)? })
}

fn read_value(field: Field, text: &str) -> Result<VmCell, String> {
    let number = match field.sort {
        Sort::Text | Sort::Items => {
            return Text::new(text).map(VmCell::Text).map_err(|_| "the value is too long".to_owned());
        }
        Sort::Number | Sort::Time => text.parse().map_err(|_| format!("{text:?} is no whole number"))?,
        Sort::Bytes => read_bytes(text).map_err(|error| error.to_string())?,
        Sort::State => by_name(text, vm_state::number, vm_state::ALL)?,
        Sort::Reason => by_name(text, state_reason::number, state_reason::ALL)?,
        Sort::Flag => match text {
            "yes" | "true" => 1,
            "no" | "false" => 0,
            _ => return Err(format!("{text:?} is neither yes nor no")),
        },
    };
    Ok(VmCell::Number(number))
}

fn by_name(text: &str, number: fn(&str) -> Option<u32>, all: &[(u32, &str)]) -> Result<u64, String> {
    number(text).map(u64::from).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(_, name)| *name).collect();
        format!("there is no {text:?}; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vmwire_protocol::xdr::List;

    use super::*;

    #[test]
    fn every_field_of_the_wire_has_its_row() {
        let numbers: Vec<u32> = FIELDS.iter().map(|field| field.number).collect();
        let known: Vec<u32> = vm_field::ALL.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, known);
        for field in FIELDS {
            assert_eq!(vm_field::name(field.number), Some(field.name), "one thing, one name");
        }
        let page = include_str!("../../../../docs/cli.md");
        for field in FIELDS {
            let row = format!("| `{}` | `{}` |", field.name, field.key);
            assert!(page.contains(&row), "docs/cli.md lacks {row}");
        }
        for name in USUAL.split(',') {
            assert!(Field::read(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn conditions_are_read() {
        let text = |text: &str| VmCell::Text(Text::clipped(text));
        let table = [
            ("state=running", vm_field::STATE, filter_comparison::EQUAL, VmCell::Number(3)),
            ("state!=lost", vm_field::STATE, filter_comparison::NOT_EQUAL, VmCell::Number(6)),
            ("memory>=1GiB", vm_field::MEMORY_BYTES, filter_comparison::AT_LEAST, VmCell::Number(1 << 30)),
            ("memory_bytes<=4096", vm_field::MEMORY_BYTES, filter_comparison::AT_MOST, VmCell::Number(4096)),
            ("name~web*", vm_field::NAME, filter_comparison::MATCHES, text("web*")),
            ("title=a=b", vm_field::TITLE, filter_comparison::EQUAL, text("a=b")),
            ("title=", vm_field::TITLE, filter_comparison::EQUAL, text("")),
            ("disks~*.qcow2", vm_field::DISKS, filter_comparison::MATCHES, text("*.qcow2")),
            ("autostart=yes", vm_field::AUTOSTART, filter_comparison::EQUAL, VmCell::Number(1)),
            ("reason=guest", vm_field::REASON, filter_comparison::EQUAL, VmCell::Number(2)),
            ("cpus>=2", vm_field::CPUS, filter_comparison::AT_LEAST, VmCell::Number(2)),
        ];
        for (condition, field, comparison, value) in table {
            assert_eq!(read_filter(condition), Ok(VmFilter { field, comparison, value }), "{condition}");
        }
    }

    #[test]
    fn a_condition_that_makes_no_sense_is_refused_in_words() {
        let table = [
            ("", "no field"),
            ("sate=running", "no field"),
            ("state", "none of"),
            ("state>running", "none of"),
            ("state=runing", "there are stopped"),
            ("state>=running", "no order"),
            ("name<=a", "no order"),
            ("memory~1*", "no text"),
            ("disks=/a", "a list"),
            ("memory>=1GB", "no unit"),
            ("cpus=two", "no whole number"),
            ("autostart=maybe", "neither"),
        ];
        for (condition, words) in table {
            let error = read_filter(condition).unwrap_err();
            assert!(error.contains(words), "{condition}: {error}");
        }
    }

    #[test]
    fn tables_have_units_and_json_has_exact_numbers() {
        let field = |name: &str| Field::read(name).unwrap();
        let items = VmCell::Items(List::clipped([Text::clipped("a"), Text::clipped("b")]));
        let table = [
            ("memory", VmCell::Number(1 << 30), "1 GiB", json!(1_u64 << 30)),
            ("since", VmCell::Number(0), "1970-01-01T00:00:00.000Z", json!(0)),
            ("state", VmCell::Number(4), "paused", json!("paused")),
            ("state", VmCell::Number(u64::MAX), "#18446744073709551615", json!("#18446744073709551615")),
            ("autostart", VmCell::Number(0), "no", json!(false)),
            ("pid", VmCell::Absent, "", Value::Null),
            ("disks", items, "a b", json!(["a", "b"])),
        ];
        for (name, cell, shown, value) in table {
            assert_eq!(field(name).show(&cell), shown);
            assert_eq!(field(name).json(&cell), value);
        }
    }
}
