//! Connections that have had their say and are silent: what each weighs, and whether it makes others wait.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use vmwire_protocol::message::{ServerData, vm_field};

use super::list::list;
use super::vm_show;
use crate::Outcome;
use crate::daemon::{Daemon, process, subscribe};
use crate::lab::Lab;
use crate::load::{Exchange, Lane};
use crate::report::Row;
use crate::wire::Wire;

/// Connections.
const CONNECTIONS: u32 = 5000;

/// For how long they are silent.
const SILENCE: Duration = Duration::from_secs(10);

/// What each has been answered at least.
const REPLY_BYTES: usize = 64 * 1024;

pub(super) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let alone = Daemon::with_guests(lab, &lab.vmwired)?;
    let crowded = Daemon::with_guests(lab, &lab.vmwired)?;
    // One connection goes ahead: what the first one leaves behind for all is not theirs.
    let first = idle(&crowded)?;
    let heap_before = process::status(crowded.pid(), "RssAnon")?;
    let crowd = (0..CONNECTIONS).map(|_| idle(&crowded)).collect::<Outcome<Vec<UnixStream>>>()?;
    std::thread::sleep(SILENCE);
    let heap = process::status(crowded.pid(), "RssAnon")? - heap_before;
    let rss = process::status(crowded.pid(), "VmRSS")? / 1024.0;
    let each = heap * 1024.0 / f64::from(CONNECTIONS);

    let exchange = Exchange::learn(crowded.socket(), &vm_show())?;
    let mut busy = Lane::to_daemon(crowded.socket(), &exchange)?;
    let mut quiet = Lane::to_daemon(alone.socket(), &exchange)?;
    let [p50] = lab.alternate(
        |time| busy.ping_pong(time).map(|run| [run.p50]),
        |time| quiet.ping_pong(time).map(|run| [run.p50]),
    )?;
    drop((first, crowd));
    let what = format!("{CONNECTIONS} idle connections");
    Ok(vec![
        Row::of(format!("{what}: heap of each"), format!("{each:.0} bytes")).at_most(each, 1024.0, " bytes"),
        Row::of(format!("{what}: VmRSS of the daemon"), format!("{rss:.1} MiB")),
        Row::times(format!("{what}: vm show beside them and without any, p50"), &p50).at_most(p50.ratio, 1.2, "x"),
    ])
}

/// HELLO, a long reply, a subscription, and silence.
fn idle(daemon: &Daemon) -> Outcome<UnixStream> {
    let mut wire = Wire::greet(daemon.socket())?;
    let ServerData::VmList(answer) = wire.call(&list(&[vm_field::TITLE; 32]))? else { return Err("no list".into()) };
    let bytes: usize = answer.rows.iter().map(|row| row.cells.len() * 250).sum();
    if bytes < REPLY_BYTES {
        return Err(format!("the reply has only some {bytes} bytes").into());
    }
    wire.call(&subscribe(&[]))?;
    Ok(wire.into_parts().0)
}
