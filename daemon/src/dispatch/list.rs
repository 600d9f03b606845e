//! Lists: pages of names, rows of chosen fields, and which virtual machines are meant.

use vmwire_protocol::fault::{self, Fault};
use vmwire_protocol::message::{
    Failure, ListCall, VmCell, VmCondition, VmFilter, VmListAnswer, VmListCall, VmNamesAnswer, VmRow, code, vm_field,
};
use vmwire_protocol::xdr::{List, Text, Wire};

use super::client::ConnectionId;
use super::page::{Page, ROW_WORK};
use super::refusal::invalid;
use super::{Dispatch, convert};
use crate::access::Grants;
use crate::model::Vm;

/// What holding a condition against a cell costs, however short the cell is.
const CELL_WORK: usize = 32;

impl Dispatch {
    /// Those behind `after` that a connection may see. The others are no candidates of a page: where it goes on must not
    /// name them.
    fn seen_after(&self, asker: ConnectionId, after: &str) -> impl Iterator<Item = &Vm> {
        let grants = self.grants(asker);
        let sees = move |vm: &&Vm| grants.is_some_and(|grants| grants.sees(vm.name().as_str(), &vm.definition.labels));
        self.vms.after(after).filter(move |vm| sees(vm) || fault::is_planted(Fault::LeakyNames))
    }

    pub(super) fn vm_names(&self, asker: ConnectionId, call: &ListCall) -> VmNamesAnswer {
        let names = self.seen_after(asker, &call.after).map(|vm| (vm.name(), vm.name()));
        let Page { rows: names, next, .. } =
            Page::of(names, call.rows_max, |name, _| Some(Text::clipped(name.as_str())), |_| Text::<64>::BYTES_MAX);
        VmNamesAnswer { cursor: self.cursor(), names, next }
    }

    /// A page of rows, and the work that it was.
    pub(super) fn vm_list(&self, asker: ConnectionId, call: &VmListCall) -> Result<(VmListAnswer, usize), Failure> {
        let minor = self.clients.get(asker).map_or(0, |client| client.session.minor());
        let Page { rows, next, work } = chosen(self.seen_after(asker, &call.after), call, minor)?;
        // Passing over what may not be seen is work too.
        let unseen = if self.grants(asker).is_some_and(Grants::sees_all) { 0 } else { self.vms.len() };
        Ok((VmListAnswer { cursor: self.cursor(), rows, next }, work + unseen * ROW_WORK))
    }
}

/// The rows that a call asks for, out of those behind where it begins.
fn chosen<'a>(vms: impl Iterator<Item = &'a Vm>, call: &VmListCall, minor: u32) -> Result<Page<VmRow, 4096>, Failure> {
    if call.fields.is_empty() {
        return Err(Failure::new(code::INVALID, "a list needs at least one field").detail("field", "fields"));
    }
    for field in &call.fields {
        check_field(*field, minor)?;
    }
    let conditions = call.filters.iter().map(|filter| condition(filter, minor)).collect::<Result<Vec<_>, _>>()?;
    let look = |vm: &Vm, work: &mut usize| {
        let is_meant = conditions.iter().all(|condition| {
            let cell = cell(vm, condition.field());
            *work += CELL_WORK + cell_bytes(&cell);
            condition.holds(&cell)
        });
        is_meant.then(|| row(vm, &call.fields))
    };
    let candidates = vms.map(|vm| (vm.name(), vm));
    let page = Page::of(candidates, call.rows_max, look, row_bytes);
    // To make a condition ready is as much as to look at a row.
    Ok(Page { work: page.work + ROW_WORK * conditions.len(), ..page })
}

/// Whether there is such a field in the minor that was agreed.
fn check_field(field: u32, minor: u32) -> Result<(), Failure> {
    vm_field::name(field)
        .filter(|_| minor >= 2 || field != vm_field::LABELS)
        .map(drop)
        .ok_or_else(|| invalid("fields", field, &format!("there is no field {field} in this version")))
}

/// What a filter asks for; why it makes no sense, as a refusal.
fn condition(filter: &VmFilter, minor: u32) -> Result<VmCondition<'_>, Failure> {
    check_field(filter.field, minor)?;
    filter.condition().map_err(|why| invalid("filters", filter.comparison, &why.to_string()))
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
        vm_field::DISKS => items(definition.disks.iter().map(|disk| disk.path.to_string_lossy())),
        vm_field::FORWARDS => items(definition.nics.iter().flat_map(|nic| &nic.forwards).map(convert::forward)),
        vm_field::CHANNELS => items(definition.channels.iter()),
        vm_field::LABELS => items(definition.labels.iter()),
        _ => VmCell::Absent,
    }
}

/// What a row takes on the wire, or a little more.
fn row_bytes(row: &VmRow) -> usize {
    4 + row.cells.iter().map(cell_bytes).sum::<usize>()
}

fn cell_bytes(cell: &VmCell) -> usize {
    let text = |text: &Text<1024>| text.len() + 8;
    match cell {
        VmCell::Absent => 4,
        VmCell::Number(_) => 12,
        VmCell::Text(value) => 4 + text(value),
        VmCell::Items(items) => 8 + items.iter().map(text).sum::<usize>(),
    }
}

fn items<S: AsRef<str>>(items: impl Iterator<Item = S>) -> VmCell {
    VmCell::Items(List::clipped(items.map(|item| Text::clipped(item.as_ref()))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vmwire_protocol::message::filter_comparison;
    use vmwire_protocol::xdr::{self, Sampler};

    use super::super::page::WORK_MAX;
    use super::*;
    use crate::model::{Definition, VmId, Vms};

    /// A list of the names of those that have a disk which a pattern fits; seven other patterns fit disks of everybody.
    fn call(pattern: &str, after: &Text<128>) -> VmListCall {
        let filter = |pattern: &str| VmFilter {
            field: vm_field::DISKS,
            comparison: filter_comparison::MATCHES,
            value: VmCell::Text(Text::clipped(pattern)),
        };
        VmListCall {
            fields: List::clipped([vm_field::NAME]),
            filters: List::clipped((0..7).map(|_| filter("*a*a")).chain([filter(pattern)])),
            after: after.clone(),
            rows_max: 0,
        }
    }

    /// A hundred machines with sixteen disks of a thousand bytes; every seventh has one that ends with a `b`.
    fn hostile() -> Vms {
        let mut vms = Vms::default();
        for n in 0..100_u128 {
            let mut text = format!("name = \"f{n}\"\nmemory = \"64 MiB\"\n");
            for disk in 0..16 {
                let end = if n % 7 == 0 && disk == 9 { 'b' } else { 'a' };
                text.push_str(&format!("[[disk]]\nformat = \"raw\"\npath = \"/{}{disk:x}{end}\"\n", "a".repeat(999)));
            }
            let id = VmId(uuid::Uuid::from_u128(n + 1));
            vms.insert(Vm::new(id, Definition::parse(&text).unwrap(), 0));
        }
        vms
    }

    /// One list of this sort held the loop for 1.4 s: each pattern was tried at every place of every path, all in one go.
    #[test]
    fn a_filter_that_makes_much_work_makes_many_pages_and_misses_nobody() {
        let vms = hostile();
        // The most that one more row can add: each filter looks at each disk, and a name is told.
        let row_work = ROW_WORK + 8 * (CELL_WORK + 8 + 16 * (1002 + 8)) + 32;
        for (pattern, rows) in [(format!("*{}b", "a".repeat(100)), 0), ("*9b".to_owned(), 15)] {
            let (mut names, mut empty, mut works) = (Vec::new(), 0, Vec::new());
            let mut after = Text::default();
            loop {
                let page = chosen(vms.after(&after), &call(&pattern, &after), 1).unwrap();
                assert!(page.work <= WORK_MAX + row_work + 8 * ROW_WORK, "{}", page.work);
                works.push(page.work);
                empty += usize::from(page.rows.is_empty());
                names.extend(page.rows.iter().map(|row| row.cells[0].clone()));
                if page.next.is_empty() {
                    break;
                }
                assert!(page.next > after && page.work >= WORK_MAX);
                after = page.next;
            }
            let filter = &call(&pattern, &after).filters[7];
            let condition = filter.condition().unwrap();
            let all = vms.after("").filter(|vm| condition.holds(&cell(vm, vm_field::DISKS)));
            assert!(names.iter().eq(all.map(|vm| cell(vm, vm_field::NAME)).collect::<Vec<_>>().iter()));
            assert_eq!(names.len(), rows);
            let whole: usize = works.iter().sum();
            let least = 100 * 8 * 16 * 1000;
            assert!((least..=100 * row_work + works.len() * 8 * ROW_WORK).contains(&whole), "each is looked at once");
            assert!(works.len() > least / (WORK_MAX + row_work), "{works:?}");
            assert_eq!(empty == works.len(), rows == 0);
        }
    }

    #[test]
    fn a_list_that_asks_little_is_one_page() {
        let mut vms = Vms::default();
        for n in 0..4096_u128 {
            let text = format!("name = \"a-name-that-a-person-would-give-{n}\"\nmemory = \"64 MiB\"\n");
            vms.insert(Vm::new(VmId(uuid::Uuid::from_u128(n + 1)), Definition::parse(&text).unwrap(), 0));
        }
        let filter = |field| VmFilter {
            field,
            comparison: filter_comparison::MATCHES,
            value: VmCell::Text(Text::clipped("*that*")),
        };
        let mut call = call("", &Text::default());
        call.filters = List::clipped([filter(vm_field::NAME)]);
        let page = chosen(vms.after(&call.after), &call, 1).unwrap();
        assert_eq!((page.rows.len(), page.next.as_str()), (4096, ""));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_row_takes_no_more_than_it_is_counted_with(seed: u64) {
            let row: VmRow = Sampler::new(seed).value();
            let mut encoded = Vec::new();
            xdr::encode(&mut encoded, &row).unwrap();
            prop_assert!((encoded.len()..=2 * encoded.len()).contains(&row_bytes(&row)), "{}", row_bytes(&row));
        }
    }
}
