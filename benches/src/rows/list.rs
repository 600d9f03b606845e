//! A thousand virtual machines in one round trip, beside the same bytes raw.

use vmwire_protocol::message::{ClientData, VmListCall, vm_field};
use vmwire_protocol::xdr::{List, Text};

use super::ping_pong::against_echo;
use crate::Outcome;
use crate::daemon::{Daemon, Driver};
use crate::lab::Lab;
use crate::load::Exchange;
use crate::report::Row;

/// Virtual machines.
const VMS: usize = 1000;

pub(super) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let daemon = Daemon::start(lab, &lab.vmwired, Driver::Test)?;
    daemon.define(VMS, "memory = \"16 MiB\"\n")?;
    let fields = [vm_field::NAME, vm_field::STATE, vm_field::MEMORY_BYTES, vm_field::CPUS];
    let exchange = Exchange::learn(daemon.socket(), &list(&fields))?;
    let [p50, p99] = against_echo(lab, &daemon, &exchange)?;
    let what = format!("{VMS} VMs (test driver; {} bytes), p50", exchange.reply_bytes());
    Ok(vec![
        Row::times(what, &p50).at_most(p50.ours / 1e3, 3.0, " ms"),
        Row::times(format!("{VMS} VMs (test driver), p99"), &p99),
    ])
}

/// All virtual machines, with these fields.
pub(super) fn list(fields: &[u32]) -> ClientData {
    let fields = List::clipped(fields.iter().copied());
    ClientData::VmList(VmListCall { fields, filters: List::default(), after: Text::default(), rows_max: 0 })
}
