//! Connections that have had their say and are silent: what each weighs, and whether it makes others wait.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use vmwire_protocol::message::{ServerData, vm_field};

use super::list::list;
use super::vm_show;
use crate::Outcome;
use crate::daemon::{Daemon, Setup, process, subscribe};
use crate::lab::Lab;
use crate::load::{Exchange, Lane};
use crate::papers::Papers;
use crate::report::Row;
use crate::socket::Address;
use crate::statistics::Comparison;
use crate::wire::Wire;
use crate::yardstick::Yardstick;

/// Connections to a daemon in its default configuration.
const CONNECTIONS: u32 = 5000;

/// Connections to one that may have more than that.
const MANY: u32 = 10_000;

/// Of those, for who sets things up and measures.
const BESIDE: usize = 100;

/// For how long they are silent.
const SILENCE: Duration = Duration::from_secs(10);

/// What each has been answered at least.
const REPLY_BYTES: usize = 64 * 1024;

/// What a crowd of silent connections does to a daemon.
struct Weighed {
    /// Bytes of heap for each of them.
    each: f64,
    /// Of the daemon, in MiB.
    rss: f64,
    /// A call beside them, and without any.
    beside: Comparison,
    crowd: Vec<OwnedFd>,
}

pub(super) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let crowded = Daemon::with_guests(lab, &lab.vmwired)?;
    let weighed = weigh(lab, &crowded, crowded.socket(), CONNECTIONS)?;
    let what = format!("{CONNECTIONS} idle connections");
    let each = Row::of(format!("{what}: heap of each"), format!("{:.0} bytes", weighed.each));
    let mut rows = vec![each.at_most(weighed.each, 1024.0, " bytes")];
    rows.extend(rows_beside(&what, &weighed));
    Ok(rows)
}

pub(super) fn many(lab: &Lab) -> Outcome<Vec<Row>> {
    let most = Some(usize::try_from(MANY)? + BESIDE);
    let mut rows = Vec::new();
    {
        let setup = Setup { connections_max: most, ..Setup::default() };
        let crowded = Daemon::with_guests_as(lab, &lab.vmwired, Some(&setup))?;
        let weighed = weigh(lab, &crowded, crowded.socket(), MANY)?;
        let what = format!("{MANY} idle unix connections");
        let each = Row::of(format!("{what}: heap of each"), format!("{:.0} bytes", weighed.each));
        rows.push(each.at_most(weighed.each, 1024.0, " bytes"));
        rows.extend(rows_beside(&what, &weighed));
    }
    let papers = Papers::make(&lab.room()?)?;
    let setup = Setup { connections_max: most, ..Setup::tls(&papers) };
    let crowded = Daemon::with_guests_as(lab, &lab.vmwired, Some(&setup))?;
    let tls = crowded.tls(false)?;
    let mut weighed = weigh(lab, &crowded, &tls, MANY)?;
    let exchange = Exchange::learn(&tls, &list(&[vm_field::TITLE; 32]))?;
    drop((crowded, std::mem::take(&mut weighed.crowd)));
    let bare = weigh_bare(&papers, &exchange)?;
    let what = format!("{MANY} idle TLS connections");
    let ratio = weighed.each / bare;
    rows.push(
        Row::beside(format!("{what}: heap of each"), weighed.each, bare, |bytes| format!("{bytes:.0} bytes"))
            .at_most(ratio, 1.3, "x"),
    );
    rows.extend(rows_beside(&what, &weighed));
    Ok(rows)
}

fn rows_beside(what: &str, weighed: &Weighed) -> [Row; 2] {
    let p50 = &weighed.beside;
    [
        Row::of(format!("{what}: VmRSS of the daemon"), format!("{:.1} MiB", weighed.rss)),
        Row::times(format!("{what}: vm show beside them and without any, p50"), p50).at_most(p50.ratio, 1.2, "x"),
    ]
}

/// Lets `count` come to `address`, have their say and be silent.
fn weigh(lab: &Lab, crowded: &Daemon, address: &Address, count: u32) -> Outcome<Weighed> {
    let alone = Daemon::with_guests(lab, &lab.vmwired)?;
    // One connection goes ahead: what the first one leaves behind for all is not theirs.
    let first = idle(address)?;
    let heap_before = process::status(crowded.pid(), "RssAnon")?;
    let crowd = (0..count).map(|_| idle(address)).collect::<Outcome<Vec<OwnedFd>>>()?;
    std::thread::sleep(SILENCE);
    let heap = process::status(crowded.pid(), "RssAnon")? - heap_before;
    let rss = process::status(crowded.pid(), "VmRSS")? / 1024.0;

    let exchange = Exchange::learn(crowded.socket(), &vm_show())?;
    let mut busy = Lane::to_daemon(crowded.socket(), &exchange)?;
    let mut quiet = Lane::to_daemon(alone.socket(), &exchange)?;
    let [beside] = lab.alternate(
        |time| busy.ping_pong(time).map(|run| [run.p50]),
        |time| quiet.ping_pong(time).map(|run| [run.p50]),
    )?;
    drop(first);
    Ok(Weighed { each: heap * 1024.0 / f64::from(count), rss, beside, crowd })
}

/// The same to a bare echo behind rustls: a reply of as many bytes, and silence. Bytes of heap for each.
fn weigh_bare(papers: &Papers, exchange: &Exchange) -> Outcome<f64> {
    let echo = Yardstick::start_tls(papers, false, exchange.request_bytes(), exchange.reply_bytes())?;
    let (request, mut reply) = (vec![0; exchange.request_bytes()], vec![0; exchange.reply_bytes()]);
    let mut idle = || {
        let mut socket = echo.address().connect()?;
        socket.write_all(&request)?;
        socket.read_exact(&mut reply)?;
        Ok(socket.into_silence())
    };
    let first = idle()?;
    let heap_before = process::status(echo.pid(), "RssAnon")?;
    let crowd = (0..MANY).map(|_| idle()).collect::<Outcome<Vec<OwnedFd>>>()?;
    std::thread::sleep(SILENCE);
    let heap = process::status(echo.pid(), "RssAnon")? - heap_before;
    drop((first, crowd));
    Ok(heap * 1024.0 / f64::from(MANY))
}

/// HELLO, a long reply, a subscription, and silence.
fn idle(address: &Address) -> Outcome<OwnedFd> {
    let mut wire = Wire::greet(address)?;
    let ServerData::VmList(answer) = wire.call(&list(&[vm_field::TITLE; 32]))? else { return Err("no list".into()) };
    let bytes: usize = answer.rows.iter().map(|row| row.cells.len() * 250).sum();
    if bytes < REPLY_BYTES {
        return Err(format!("the reply has only some {bytes} bytes").into());
    }
    wire.call(&subscribe(&[]))?;
    Ok(wire.into_parts().0.into_silence())
}
