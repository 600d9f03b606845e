//! What the audit adds to a call: nothing to reads where changes are told, and a line to each where all is.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use vmwire_protocol::message::ClientData;

use super::vm_show;
use crate::Outcome;
use crate::daemon::{Daemon, Setup};
use crate::lab::Lab;
use crate::load::{Exchange, Lane};
use crate::report::Row;

/// Packets in one write of a flood.
const BATCH: usize = 64;

/// How long a flood lasts: its lines are kept.
const FLOOD_TIME: Duration = Duration::from_secs(1);

/// In half of this everything is written.
const SETTLE_TIME: Duration = Duration::from_millis(500);

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
    rows.extend(flood(&start("all")?, &off)?);
    Ok(rows)
}

/// As many calls as there can be, each of which is told.
fn flood(told: &Daemon, off: &Daemon) -> Outcome<Vec<Row>> {
    let lane = |daemon: &Daemon| Lane::to_daemon(daemon.socket(), &Exchange::learn(daemon.socket(), &vm_show())?);
    let (mut lane_told, mut lane_off) = (lane(told)?, lane(off)?);
    let rate = lane_told.pipelined(FLOOD_TIME, BATCH)?;
    let without = lane_off.pipelined(FLOOD_TIME, BATCH)?;
    let (lines, lost) = settled(told.audit())?;
    std::fs::remove_file(told.audit())?;
    let what = format!("audit of all: vm show (test driver), {BATCH} in a write, and without");
    Ok(vec![
        Row::beside(what, rate, without, |rate| format!("{:.0} k/s", rate / 1e3)),
        Row::of("audit of all: of the lines of these calls, lost", format!("{lost} of {lines}")).at_most(lost, 0.0, ""),
    ])
}

/// How many calls are told in a file that grows no more, and how many lines were lost.
fn settled(path: &Path) -> Outcome<(f64, f64)> {
    let mut before = 0;
    loop {
        std::thread::sleep(SETTLE_TIME);
        let length = std::fs::metadata(path)?.len();
        if std::mem::replace(&mut before, length) == length {
            break;
        }
    }
    let (mut told, mut lost) = (0.0, 0.0);
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        if line.contains("\"vm-show\"") {
            told += 1.0;
        } else if let Some((_, count)) = line.split_once("\"lost\":") {
            lost += count.trim_end_matches('}').parse::<f64>()?;
        }
    }
    Ok((told + lost, lost))
}
