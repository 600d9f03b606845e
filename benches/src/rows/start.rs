//! From exec to the first answer, and what an idle daemon weighs.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use vmwire_protocol::message::ClientData;

use crate::Outcome;
use crate::daemon::{Daemon, Driver, process};
use crate::lab::Lab;
use crate::report::Row;
use crate::statistics::percentile;
use crate::wire::Wire;

/// How many starts a pair of runs is worth.
const STARTS_PER_PAIR: u32 = 5;

/// After which the daemon is idle.
const SETTLE_TIME: Duration = Duration::from_secs(2);

pub(super) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let mut times = Vec::new();
    for _ in 0..lab.pairs() * STARTS_PER_PAIR {
        let begin = Instant::now();
        let daemon = Daemon::start(lab, &lab.vmwired, Driver::Test)?;
        Wire::connect(daemon.socket())?.call(&ClientData::Ping)?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let (p50, most) = (percentile(&mut times, 0.5), percentile(&mut times, 1.0));
    let what = format!("exec to first answer (test driver), p50 of {}", times.len());
    let start = Row::of(what, format!("{p50:.1} ms, slowest {most:.1} ms")).at_most(p50, 20.0, " ms");

    read_anew(&lab.vmwired)?;
    let daemon = Daemon::start(lab, &lab.vmwired, Driver::Qemu)?;
    // With the first definition comes the child that writes it, which then stays.
    daemon.define(1, "memory = \"16 MiB\"\n")?;
    std::thread::sleep(SETTLE_TIME);
    let family = process::family(daemon.pid())?;
    let each = family.iter().map(|pid| process::status(*pid, "VmRSS")).collect::<Outcome<Vec<f64>>>()?;
    let sum = each.iter().sum::<f64>() / 1024.0;
    let threads = process::status(daemon.pid(), "Threads")?;
    let parts: Vec<String> = each.iter().map(|kib| format!("{:.1}", kib / 1024.0)).collect();
    let parts = format!("{sum:.1} MiB = {}", parts.join(" + "));
    Ok(vec![
        start,
        Row::of("VmRSS of an idle daemon and its children", parts).at_most(sum, 8.0, " MiB"),
        Row::of("threads", format!("{threads:.0}")).at_most(threads, 1.0, ""),
    ])
}

/// Has the kernel forget what it keeps of a program's file, so that it is read as after a boot. A file that was just
/// written lies in the page cache in large pieces, and Linux 6.18 maps the whole piece when a byte of it is touched: a
/// program that was installed a minute ago would be charged for pages that it never runs.
fn read_anew(program: &Path) -> Outcome<()> {
    let file = File::open(program)?;
    file.sync_all()?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    Ok(())
}
