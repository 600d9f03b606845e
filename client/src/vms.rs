//! Lists of virtual machines: chosen fields of chosen ones, from a daemon of any minor.
//!
//! Minor 1 answers in one round trip per page. A daemon of minor 0 is asked for the names, then for each one by itself,
//! all in flight at once; filters and choice of fields are then done here, by the same rules.

use std::collections::VecDeque;
use std::time::Duration;

use vmwire_protocol::message::{
    Cursor, ListCall, VmCall, VmCell, VmCondition, VmFilter, VmInfo, VmListCall, code, vm_field,
};
use vmwire_protocol::xdr::{List, Text};

use crate::connection::Connection;
use crate::error::Error;
use crate::pages::{Allowance, Order, Page, Row as _};
use crate::request;

/// How many are asked for at once where they have to be asked for one by one. Well under what a daemon takes.
const IN_FLIGHT: usize = 64;

/// What was asked for, ordered by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The newest event that the list includes: subscribe behind it, and nothing is missed.
    pub cursor: Cursor,
    /// A row per virtual machine, its cells in the order of the fields asked for.
    pub rows: Vec<Vec<VmCell>>,
}

impl Connection {
    /// Lists fields of the virtual machines for which all `filters` hold. Fields bear the numbers of [`vm_field`].
    /// `deadline` is for the whole, of however many calls it is made.
    ///
    /// # Errors
    /// As [`Connection::call`]; and when the list takes more than is kept of one, 64 MiB or 65,536 pages.
    pub fn list_vms(
        &mut self,
        fields: &[u32],
        filters: &[VmFilter],
        deadline: Option<Duration>,
    ) -> Result<Listing, Error> {
        // Whichever end filters, the same filters are refused.
        let conditions = filters.iter().map(VmFilter::condition).collect::<Result<Vec<_>, _>>();
        let conditions = conditions.map_err(|why| Error::Request(why.to_string()))?;
        let asked = || fields.iter().copied().chain(filters.iter().map(|filter| filter.field));
        if self.minor() < 2 && asked().any(|field| field == vm_field::LABELS) {
            let minor = self.minor();
            return Err(Error::Request(format!("labels came with version 1.2, and this daemon speaks 1.{minor}")));
        }
        let mut allowance = Allowance::new(deadline);
        if self.minor() >= 1 {
            match self.list_rows(fields, filters, &mut allowance) {
                // The daemon that answers after a reconnection may be an older one.
                Err(error) if error.is(code::UNSUPPORTED) || error.is(code::UNKNOWN_PROCEDURE) => {}
                done => return done,
            }
        }
        self.list_one_by_one(fields, &conditions, &mut allowance)
    }

    fn list_rows(&mut self, fields: &[u32], filters: &[VmFilter], allowance: &mut Allowance) -> Result<Listing, Error> {
        let fields = List::new(fields).map_err(|_| Error::Request("too many fields".to_owned()))?;
        let filters = List::new(filters).map_err(|_| Error::Request("too many filters".to_owned()))?;
        let mut rows = Vec::new();
        let ask = |after, deadline| {
            let call = VmListCall { fields: fields.clone(), filters: filters.clone(), after, rows_max: 0 };
            let answer = self.call(request::VmList(call), deadline)?;
            let rows = answer.rows.into_vec().into_iter().map(|row| row.cells.into_vec());
            Ok(Page { told: answer.cursor, rows, next: answer.next })
        };
        // The first page's cursor holds for the whole: events behind it may repeat a later page, none is missing.
        let cursor = Order::Name.each_page(allowance, ask, |row| rows.push(row))?;
        Ok(Listing { cursor, rows })
    }

    fn list_one_by_one(
        &mut self,
        fields: &[u32],
        conditions: &[VmCondition<'_>],
        allowance: &mut Allowance,
    ) -> Result<Listing, Error> {
        let (cursor, names) = self.names(allowance)?;
        let mut names = names.into_iter();
        let mut pending = VecDeque::new();
        let mut rows = Vec::new();
        loop {
            while pending.len() < IN_FLIGHT
                && let Some(name) = names.next()
            {
                let call = request::VmShow(VmCall { vm: Text::clipped(&name) });
                pending.push_back(self.begin(call, allowance.deadline()?).map_err(|error| allowance.told(error))?);
            }
            let Some(next) = pending.pop_front() else {
                return Ok(Listing { cursor, rows });
            };
            match self.wait(next) {
                Ok(answer)
                    if conditions.iter().all(|condition| condition.holds(&cell(&answer.vm, condition.field()))) =>
                {
                    let row: Vec<VmCell> = fields.iter().map(|&field| cell(&answer.vm, field)).collect();
                    allowance.hold(row.bytes())?;
                    rows.push(row);
                }
                Ok(_) => {}
                // It was undefined between the two questions.
                Err(error) if error.is(code::NOT_FOUND) => {}
                Err(error) => return Err(allowance.told(error)),
            }
        }
    }

    /// The names of all virtual machines, in order, and the newest event that they include. `deadline` is for all pages
    /// together.
    ///
    /// # Errors
    /// As [`Connection::list_vms`].
    pub fn vm_names(&mut self, deadline: Option<Duration>) -> Result<(Cursor, Vec<String>), Error> {
        self.names(&mut Allowance::new(deadline))
    }

    fn names(&mut self, allowance: &mut Allowance) -> Result<(Cursor, Vec<String>), Error> {
        let mut names = Vec::new();
        let ask = |after, deadline| {
            let answer = self.call(request::VmNames(ListCall { after, rows_max: 0 }), deadline)?;
            Ok(Page { told: answer.cursor, rows: answer.names.into_vec(), next: answer.next })
        };
        let cursor = Order::Name.each_page(allowance, ask, |name| names.push(name.into_string()))?;
        Ok((cursor, names))
    }
}

/// A field of what is known of a virtual machine, as minor 1 would answer it.
fn cell(vm: &VmInfo, field: u32) -> VmCell {
    let number = |number: u64| VmCell::Number(number);
    let unless_zero = |number: u64| if number == 0 { VmCell::Absent } else { VmCell::Number(number) };
    let text = |text: &str| VmCell::Text(Text::clipped(text));
    match field {
        vm_field::NAME => text(&vm.name),
        vm_field::UUID => text(&show_uuid(&vm.uuid.0)),
        vm_field::STATE => number(vm.state.into()),
        vm_field::REASON => number(vm.reason.into()),
        vm_field::SINCE_NS => number(vm.since_ns),
        vm_field::TITLE => text(&vm.title),
        vm_field::MEMORY_BYTES => number(vm.memory_bytes),
        vm_field::CPUS => number(vm.cpus.into()),
        vm_field::MACHINE => text(&vm.machine),
        vm_field::ACCELERATOR if vm.accelerator.is_empty() => VmCell::Absent,
        vm_field::ACCELERATOR => text(&vm.accelerator),
        vm_field::PID => unless_zero(vm.pid.into()),
        vm_field::AUTOSTART => number(vm.autostart.into()),
        vm_field::OPERATION => unless_zero(vm.operation),
        vm_field::DISKS => items(vm.disks.iter().map(|disk| &*disk.path)),
        vm_field::FORWARDS => items(vm.nics.iter().flat_map(|nic| nic.forwards.iter().map(|forward| &**forward))),
        vm_field::CHANNELS => items(vm.channels.iter().map(|channel| &**channel)),
        _ => VmCell::Absent,
    }
}

fn items<'a>(texts: impl Iterator<Item = &'a str>) -> VmCell {
    VmCell::Items(List::clipped(texts.map(Text::clipped)))
}

/// A uuid in the form of RFC 9562.
#[must_use]
pub fn show_uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_shown_in_their_canonical_form() {
        let bytes = [0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00];
        assert_eq!(show_uuid(&bytes), "123e4567-e89b-12d3-a456-426614174000");
    }
}
