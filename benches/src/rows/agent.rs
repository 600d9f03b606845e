//! The guest agent beside qemu-ga: a ping, a program, a file each way, and what either weighs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Outcome;
use crate::agent::{Agent, CHUNK_BYTES, FILE_BYTES};
use crate::daemon::process;
use crate::lab::Lab;
use crate::report::Row;

/// The one that everybody has.
const QEMU_GA: &str = "/usr/sbin/qemu-ga";

/// How long both are left alone.
const IDLE_TIME: Duration = Duration::from_secs(60);

const MIB: f64 = (1 << 20) as f64;

pub(super) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let program = lab.agent()?;
    if !Path::new(QEMU_GA).exists() {
        return Err("needs qemu-ga: install qemu-guest-agent".into());
    }
    let mut rows = weights(program, lab.agent_package())?;
    {
        let (ours, theirs) = (Agent::start(lab, program)?, Agent::start(lab, Path::new(QEMU_GA))?);
        rows.extend(idle(&ours, &theirs)?);
    }
    let (mut ours, mut theirs) = (Agent::start(lab, program)?, Agent::start(lab, Path::new(QEMU_GA))?);
    let [p50, p99] = lab.alternate(|time| ours.pings(time), |time| theirs.pings(time))?;
    rows.push(Row::times("guest-ping, p50", &p50).at_most(p50.ratio, 1.0, "x"));
    rows.push(Row::times("guest-ping, p99", &p99));
    let [run] = lab.alternate(|time| ours.runs_of_true(time), |time| theirs.runs_of_true(time))?;
    rows.push(Row::times("guest-exec of true until it has ended, p50", &run).at_most(run.ratio, 1.0, "x"));
    let what = format!("{} MiB in pieces of {} KiB", FILE_BYTES >> 20, CHUNK_BYTES >> 10);
    let rate = |value: f64| format!("{:.0} MiB/s", value / MIB);
    let [read] = lab.alternate(|time| ours.reads(time), |time| theirs.reads(time))?;
    rows.push(Row::compared(format!("guest-file-read of {what}"), &read, rate).at_least(read.ratio, 1.0, "x"));
    let [written] = lab.alternate(|time| ours.writes(time), |time| theirs.writes(time))?;
    rows.push(Row::compared(format!("guest-file-write of {what}"), &written, rate).at_least(written.ratio, 1.0, "x"));
    Ok(rows)
}

/// A minute with a client that says nothing.
fn idle(ours: &Agent, theirs: &Agent) -> Outcome<Vec<Row>> {
    let both = |key: &str| -> Outcome<(f64, f64)> {
        Ok((process::status(ours.pid(), key)?, process::status(theirs.pid(), key)?))
    };
    let slept = both("voluntary_ctxt_switches")?;
    std::thread::sleep(IDLE_TIME);
    let woken = both("voluntary_ctxt_switches")?;
    let (ours, theirs) = both("VmRSS")?;
    let (rss, anonymous) = ((ours, theirs), both("RssAnon")?);
    let show = |kib: f64| format!("{:.1} MiB", kib / 1024.0);
    let wakeups = |value: f64| format!("{value:.0}");
    Ok(vec![
        Row::beside("VmRSS when idle", rss.0, rss.1, show).at_most(rss.0 / 1024.0, 4.0, " MiB"),
        Row::beside("RssAnon when idle", anonymous.0, anonymous.1, show),
        Row::of("wakeups in an idle minute", wakeups(woken.0 - slept.0))
            .with_yardstick(wakeups(woken.1 - slept.1))
            .at_most(woken.0 - slept.0, 0.0, ""),
    ])
}

/// What lies on the disk and what is fetched.
fn weights(program: &Path, package: Option<&Path>) -> Outcome<Vec<Row>> {
    let bytes = |path: &Path| -> Outcome<f64> { Ok(f64::from(u32::try_from(std::fs::metadata(path)?.len())?)) };
    let show = |bytes: f64| format!("{:.0} KiB", bytes / 1024.0);
    let libraries = Command::new("ldd").arg(QEMU_GA).output()?;
    let libraries = String::from_utf8_lossy(&libraries.stdout).into_owned();
    let mut all = bytes(Path::new(QEMU_GA))?;
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        all += bytes(Path::new(library))?;
    }
    let ours = bytes(program)?;
    let mut rows = vec![
        Row::beside("the program's file", ours, bytes(Path::new(QEMU_GA))?, show).at_most(ours / MIB, 3.0, " MiB"),
        Row::beside("the same, with the libraries it is linked with", ours, all, show),
    ];
    if let Some(package) = package {
        let known = Command::new("apt-cache").args(["show", "--no-all-versions", "qemu-guest-agent"]).output()?;
        let known = String::from_utf8_lossy(&known.stdout).into_owned();
        let theirs = known.lines().find_map(|line| line.strip_prefix("Size: ")).ok_or("apt does not know qemu-ga")?;
        rows.push(Row::beside("the Debian package", bytes(package)?, theirs.parse()?, show));
    }
    Ok(rows)
}
