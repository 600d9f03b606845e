//! Many calls at once on one connection: 64 in one write, and the next when all replies have come, so that what counts
//! is the work per packet and not the waking up.

use std::path::Path;

use vmwire_protocol::message::ClientData;

use super::vm_show;
use crate::Outcome;
use crate::daemon::Daemon;
use crate::lab::Lab;
use crate::load::{Exchange, Lane};
use crate::report::Row;
use crate::statistics::Comparison;
use crate::yardstick::{Kind, Yardstick};

/// Packets in one write.
const BATCH: usize = 64;

pub(super) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    {
        let daemon = Daemon::with_guests(lab, &lab.vmwired)?;
        let ping = against_echo(lab, &daemon, &ClientData::Ping)?;
        rows.push(Row::rates("PING, serde-xdr", &ping).at_least(ping.ratio, 0.5, "x"));
        let show = against_echo(lab, &daemon, &vm_show())?;
        rows.push(Row::rates("vm show, serde-xdr", &show).at_least(show.ratio, 0.333, "x"));
    }
    let own: &Path = lab.own_xdr()?;
    let daemon = Daemon::with_guests(lab, own)?;
    let ping = against_echo(lab, &daemon, &ClientData::Ping)?;
    rows.push(Row::rates("PING, own backend", &ping).at_least(ping.ratio, 0.5, "x"));
    let show = against_echo(lab, &daemon, &vm_show())?;
    rows.push(Row::rates("vm show, own backend", &show).at_least(show.ratio, 0.5, "x"));
    Ok(rows)
}

fn against_echo(lab: &Lab, daemon: &Daemon, data: &ClientData) -> Outcome<Comparison> {
    let exchange = Exchange::learn(daemon.socket(), data)?;
    let echo = Yardstick::start(Kind::MioEcho, &lab.room()?, exchange.request_bytes(), exchange.reply_bytes())?;
    let mut ours = Lane::to_daemon(daemon.socket(), &exchange)?;
    let mut theirs = Lane::to_echo(echo.address(), &exchange)?;
    let [rate] = lab.alternate(
        |time| ours.pipelined(time, BATCH).map(|rate| [rate]),
        |time| theirs.pipelined(time, BATCH).map(|rate| [rate]),
    )?;
    Ok(rate)
}
