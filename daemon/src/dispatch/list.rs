//! Lists: pages of names, rows of chosen fields, and which virtual machines are meant.

use vmwire_protocol::message::{
    Failure, ListCall, VmCell, VmFilter, VmListAnswer, VmListCall, VmNamesAnswer, VmRow, code, vm_field,
};
use vmwire_protocol::xdr::{List, Text, Wire};

use super::page;
use super::refusal::invalid;
use super::{Dispatch, convert};
use crate::model::Vm;

impl Dispatch {
    pub(super) fn vm_names(&self, call: &ListCall) -> VmNamesAnswer {
        let names = self.vms.after(&call.after).map(|vm| Text::clipped(vm.name().as_str()));
        let (names, next) = page::rows(names, call.rows_max, ToString::to_string, |_| Text::<64>::BYTES_MAX);
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
        let chosen = self
            .vms
            .after(&call.after)
            .filter(|vm| call.filters.iter().all(|filter| filter.holds(&cell(vm, filter.field))));
        let rows = chosen.map(|vm| (vm.name().as_str(), row(vm, &call.fields)));
        let (rows, next) =
            page::rows::<_, 4096>(rows, call.rows_max, |(name, _)| (*name).to_owned(), |(_, row)| bytes(row));
        let rows = List::clipped(rows.into_iter().map(|(_, row)| row));
        Ok(VmListAnswer { cursor: self.cursor(), rows, next })
    }
}

fn check_field(field: u32) -> Result<(), Failure> {
    vm_field::name(field)
        .map(drop)
        .ok_or_else(|| invalid("fields", field, &format!("there is no field {field} in this version")))
}

/// Why a filter makes no sense, as a refusal.
fn check_filter(filter: &VmFilter) -> Result<(), Failure> {
    check_field(filter.field)?;
    filter.check().map_err(|why| invalid("filters", filter.comparison, &why.to_string()))
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
        vm_field::MACHINE => VmCell::Text(Text::constant(convert::machine(definition.machine))),
        vm_field::ACCELERATOR => present(!vm.accelerator.is_empty(), VmCell::Text(Text::constant(vm.accelerator))),
        vm_field::PID => present(vm.pid != 0, VmCell::Number(vm.pid.into())),
        vm_field::AUTOSTART => VmCell::Number(definition.autostart.into()),
        vm_field::OPERATION => vm.current.map_or(VmCell::Absent, |operation| VmCell::Number(operation.0)),
        vm_field::DISKS => items(definition.disks.iter().map(|disk| disk.path.to_string_lossy().into_owned())),
        vm_field::FORWARDS => items(definition.nics.iter().flat_map(|nic| &nic.forwards).map(convert::forward)),
        vm_field::CHANNELS => items(definition.channels.iter().cloned()),
        _ => VmCell::Absent,
    }
}

/// What a row takes on the wire, or a little more.
fn bytes(row: &VmRow) -> usize {
    let text = |text: &Text<1024>| text.len() + 8;
    let cell = |cell: &VmCell| match cell {
        VmCell::Absent => 4,
        VmCell::Number(_) => 12,
        VmCell::Text(value) => 4 + text(value),
        VmCell::Items(items) => 8 + items.iter().map(text).sum::<usize>(),
    };
    4 + row.cells.iter().map(cell).sum::<usize>()
}

fn items(items: impl Iterator<Item = String>) -> VmCell {
    VmCell::Items(List::clipped(items.map(|item| Text::clipped(&item))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vmwire_protocol::xdr::{self, Sampler};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_row_takes_no_more_than_it_is_counted_with(seed: u64) {
            let row: VmRow = Sampler::new(seed).value();
            let mut encoded = Vec::new();
            xdr::encode(&mut encoded, &row).unwrap();
            prop_assert!((encoded.len()..=2 * encoded.len()).contains(&bytes(&row)), "{}", bytes(&row));
        }
    }
}
