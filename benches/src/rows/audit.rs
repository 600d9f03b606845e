//! What the audit adds to a call: nothing to reads where changes are told, and a line to each where all is.

use vmwire_protocol::message::ClientData;

use super::vm_show;
use crate::Outcome;
use crate::daemon::{Daemon, Setup};
use crate::lab::Lab;
use crate::load::{Exchange, Lane};
use crate::report::Row;

pub(super) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let start = |level| {
        let setup = Setup { audit: Some(level), ..Setup::default() };
        Daemon::with_test_guests(lab, &lab.vmwired, Some(&setup))
    };
    let off = start("off")?;
    let mut rows = Vec::new();
    for level in ["changes", "all"] {
        let told = start(level)?;
        for (name, data) in [("PING", ClientData::Ping), ("vm show (test driver)", vm_show())] {
            let lane = |daemon: &Daemon| {
                let exchange = Exchange::learn(daemon.socket(), &data)?;
                Lane::to_daemon(daemon.socket(), &exchange)
            };
            let (mut told, mut off) = (lane(&told)?, lane(&off)?);
            let [p50] = lab.alternate(
                |time| told.ping_pong(time).map(|run| [run.p50]),
                |time| off.ping_pong(time).map(|run| [run.p50]),
            )?;
            rows.push(Row::times(format!("audit of {level}: {name}, and without, p50"), &p50));
        }
    }
    Ok(rows)
}
