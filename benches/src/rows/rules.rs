//! What rules add to a call: to an observer of some virtual machines, whom 20 rules name.

use vmwire_protocol::message::{ClientData, vm_field};

use super::list::list;
use super::vm_show;
use crate::Outcome;
use crate::daemon::{Daemon, Driver, Setup};
use crate::lab::Lab;
use crate::load::{Exchange, Lane};
use crate::report::Row;
use crate::statistics::Comparison;

/// Rules that name the caller; the last one is about what it asks for.
const RULES: usize = 20;

/// Virtual machines of the list.
const VMS: usize = 1000;

pub(super) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let setup = Setup { rules: RULES, ..Setup::default() };
    let mut rows = Vec::new();
    {
        let daemon = Daemon::with_test_guests(lab, &lab.vmwired, Some(&setup))?;
        for (name, data) in [("PING", ClientData::Ping), ("vm show (test driver)", vm_show())] {
            let p50 = with_and_without(lab, &daemon, &data)?;
            rows.push(Row::times(format!("{RULES} rules: {name}, and without them, p50"), &p50));
        }
    }
    let daemon = Daemon::start_as(lab, &lab.vmwired, Driver::Test, Some(&setup))?;
    daemon.define(VMS, "memory = \"16 MiB\"\n")?;
    let fields = [vm_field::NAME, vm_field::STATE, vm_field::MEMORY_BYTES, vm_field::CPUS];
    let p50 = with_and_without(lab, &daemon, &list(&fields))?;
    rows.push(Row::times(format!("{RULES} rules: {VMS} VMs (test driver), and without them, p50"), &p50));
    Ok(rows)
}

/// One daemon, asked by one for whom rules decide, and by its own user for whom none does.
fn with_and_without(lab: &Lab, daemon: &Daemon, data: &ClientData) -> Outcome<Comparison> {
    let exchange = Exchange::learn(daemon.ruled_socket(), data)?;
    let mut ruled = Lane::to_daemon(daemon.ruled_socket(), &exchange)?;
    let mut free = Lane::to_daemon(daemon.socket(), &Exchange::learn(daemon.socket(), data)?)?;
    let [p50] = lab.alternate(
        |time| ruled.ping_pong(time).map(|run| [run.p50]),
        |time| free.ping_pong(time).map(|run| [run.p50]),
    )?;
    Ok(p50)
}
