//! Lists: pages of names, rows of chosen fields, and which virtual machines are meant.

use vmwire_protocol::message::{
    Failure, ListCall, VmCell, VmFilter, VmListAnswer, VmListCall, VmNamesAnswer, VmRow, code, filter_comparison,
    vm_field,
};
use vmwire_protocol::xdr::{List, Text};

use super::page;
use super::refusal::invalid;
use super::{Dispatch, convert};
use crate::model::Vm;

impl Dispatch {
    pub(super) fn vm_names(&self, call: &ListCall) -> VmNamesAnswer {
        let names = self.vms.after(&call.after).map(|vm| Text::clipped(vm.name().as_str()));
        let (names, next) = page::rows(names, call.rows_max, ToString::to_string);
        VmNamesAnswer { cursor: self.cursor(), names, next }
    }

    pub(super) fn vm_list(&self, call: &VmListCall) -> Result<VmListAnswer, Failure> {
        if call.fields.is_empty() {
            return Err(Failure::new(code::INVALID, "a list needs at least one field").detail("field", "fields"));
        }
        for field in &call.fields {
            check_field(*field)?;
        }
        for filter in &call.filters {
            check_filter(filter)?;
        }
        let chosen = self.vms.after(&call.after).filter(|vm| call.filters.iter().all(|filter| holds(filter, vm)));
        let rows = chosen.map(|vm| (vm.name().as_str(), row(vm, &call.fields)));
        let (rows, next) = page::rows::<_, 4096>(rows, call.rows_max, |(name, _)| (*name).to_owned());
        let rows = List::clipped(rows.into_iter().map(|(_, row)| row));
        Ok(VmListAnswer { cursor: self.cursor(), rows, next })
    }
}

fn check_field(field: u32) -> Result<(), Failure> {
    vm_field::name(field)
        .map(drop)
        .ok_or_else(|| invalid("fields", field, &format!("there is no field {field} in this version")))
}

fn check_filter(filter: &VmFilter) -> Result<(), Failure> {
    check_field(filter.field)?;
    let wants = match filter.comparison {
        filter_comparison::EQUAL | filter_comparison::NOT_EQUAL => return Ok(()),
        filter_comparison::MATCHES if !matches!(filter.value, VmCell::Text(_)) => "a pattern",
        filter_comparison::AT_LEAST | filter_comparison::AT_MOST if !matches!(filter.value, VmCell::Number(_)) => {
            "a number"
        }
        filter_comparison::MATCHES | filter_comparison::AT_LEAST | filter_comparison::AT_MOST => return Ok(()),
        other => return Err(invalid("filters", other, &format!("there is no comparison {other} in this version"))),
    };
    Err(invalid("filters", filter.comparison, &format!("this comparison needs {wants}")))
}

fn row(vm: &Vm, fields: &[u32]) -> VmRow {
    VmRow { cells: List::clipped(fields.iter().map(|field| cell(vm, *field))) }
}

fn cell(vm: &Vm, field: u32) -> VmCell {
    let definition = &vm.definition;
    let text = |text: &str| VmCell::Text(Text::clipped(text));
    let present = |present: bool, cell: VmCell| if present { cell } else { VmCell::Absent };
    match field {
        vm_field::NAME => text(vm.name().as_str()),
        vm_field::UUID => text(&vm.id.to_string()),
        vm_field::STATE => VmCell::Number(vm.state as u64),
        vm_field::REASON => VmCell::Number(vm.reason as u64),
        vm_field::SINCE_NS => VmCell::Number(vm.since_ns),
        vm_field::TITLE => text(&definition.title),
        vm_field::MEMORY_BYTES => VmCell::Number(definition.memory_bytes),
        vm_field::CPUS => VmCell::Number(definition.cpu.count.into()),
        vm_field::MACHINE => text(convert::machine(definition.machine)),
        vm_field::ACCELERATOR => present(!vm.accelerator.is_empty(), text(vm.accelerator)),
        vm_field::PID => present(vm.pid != 0, VmCell::Number(vm.pid.into())),
        vm_field::AUTOSTART => VmCell::Number(definition.autostart.into()),
        vm_field::OPERATION => vm.current.map_or(VmCell::Absent, |operation| VmCell::Number(operation.0)),
        vm_field::DISKS => items(definition.disks.iter().map(|disk| disk.path.to_string_lossy().into_owned())),
        vm_field::FORWARDS => items(definition.nics.iter().flat_map(|nic| &nic.forwards).map(convert::forward)),
        vm_field::CHANNELS => items(definition.channels.iter().cloned()),
        _ => VmCell::Absent,
    }
}

fn items(items: impl Iterator<Item = String>) -> VmCell {
    VmCell::Items(List::clipped(items.map(|item| Text::clipped(&item))))
}

/// Whether a virtual machine satisfies a filter. Where the cell is absent or of another sort, only `NOT_EQUAL` holds.
fn holds(filter: &VmFilter, vm: &Vm) -> bool {
    let cell = cell(vm, filter.field);
    match (filter.comparison, &cell, &filter.value) {
        (filter_comparison::EQUAL, cell, value) => cell == value,
        (filter_comparison::NOT_EQUAL, cell, value) => cell != value,
        (filter_comparison::MATCHES, VmCell::Text(text), VmCell::Text(pattern)) => matches(pattern, text),
        (filter_comparison::MATCHES, VmCell::Items(items), VmCell::Text(pattern)) => {
            items.iter().any(|item| matches(pattern, item))
        }
        (filter_comparison::AT_LEAST, VmCell::Number(number), VmCell::Number(least)) => number >= least,
        (filter_comparison::AT_MOST, VmCell::Number(number), VmCell::Number(most)) => number <= most,
        _ => false,
    }
}

/// Whether `text` matches a pattern in which `*` stands for any text and `?` for one character. In linear memory and at
/// most quadratic time, whatever the pattern.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and how far its text reaches at present.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, reach)) => {
                    star = Some((at, reach + 1));
                    p = at + 1;
                    t = reach + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_stand_for_what_a_shell_user_expects() {
        let rows = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("web*", "web-1", true),
            ("web*", "db", false),
            ("*-1", "web-1", true),
            ("w?b", "web", true),
            ("w?b", "wb", false),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c", "xxaxxbxxcxx", false),
            ("?", "ä", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
    }

    fn model(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), None) => model(rest, text),
            (Some(('*', rest)), Some((_, tail))) => model(rest, text) || model(pattern, tail),
            (Some((p, rest)), Some((t, tail))) => (*p == '?' || p == t) && model(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matches_as_the_obvious_definition_does(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(matches(&pattern, &text), model(&p, &t));
        }
    }
}
