//! One call at a time: how much of a round trip is ours. First the judgement whether the machine was quiet enough to
//! tell: the bare mio echo beside a blocking one.

use super::vm_show;
use crate::Outcome;
use crate::daemon::Daemon;
use crate::lab::Lab;
use crate::load::{Exchange, Lane};
use crate::report::Row;
use crate::statistics::Comparison;
use crate::yardstick::{Kind, Yardstick};
use vmwire_protocol::message::ClientData;

pub(super) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    {
        let daemon = Daemon::with_guests(lab, &lab.vmwired)?;
        let ping = Exchange::learn(daemon.socket(), &ClientData::Ping)?;
        let [p50, _] = echoes(lab, &ping)?;
        rows.push(Row::times("void? mio echo beside a blocking echo, p50", &p50).at_most(p50.ratio, 1.5, "x"));
        let [p50, p99] = against_echo(lab, &daemon, &ping)?;
        rows.push(Row::times("PING, p50", &p50).at_most(p50.ratio, 1.25, "x"));
        rows.push(Row::times("PING, p99", &p99));
    }
    let daemon = Daemon::with_test_guests(lab, &lab.vmwired, None)?;
    let show = Exchange::learn(daemon.socket(), &vm_show())?;
    let [p50, p99] = against_echo(lab, &daemon, &show)?;
    let bytes = format!("{} and {} bytes", show.request_bytes(), show.reply_bytes());
    rows.push(Row::times(format!("vm show (test driver; {bytes}), p50"), &p50).at_most(p50.ratio, 1.5, "x"));
    rows.push(Row::times("vm show (test driver), p99", &p99));
    Ok(rows)
}

/// Round trips to the daemon beside those to the mio echo.
pub(super) fn against_echo(lab: &Lab, daemon: &Daemon, exchange: &Exchange) -> Outcome<[Comparison; 2]> {
    let echo = Yardstick::start(Kind::MioEcho, &lab.room()?, exchange.request_bytes(), exchange.reply_bytes())?;
    let mut ours = Lane::to_daemon(daemon.socket(), exchange)?;
    let mut theirs = Lane::to_echo(echo.address(), exchange)?;
    lab.alternate(
        |time| ours.ping_pong(time).map(|run| [run.p50, run.p99]),
        |time| theirs.ping_pong(time).map(|run| [run.p50, run.p99]),
    )
}

fn echoes(lab: &Lab, exchange: &Exchange) -> Outcome<[Comparison; 2]> {
    let (request, reply) = (exchange.request_bytes(), exchange.reply_bytes());
    let mio = Yardstick::start(Kind::MioEcho, &lab.room()?, request, reply)?;
    let blocking = Yardstick::start(Kind::BlockingEcho, &lab.room()?, request, reply)?;
    let mut mio = Lane::to_echo(mio.address(), exchange).map(|lane| (lane, mio))?;
    let mut blocking = Lane::to_echo(blocking.address(), exchange).map(|lane| (lane, blocking))?;
    lab.alternate(
        |time| mio.0.ping_pong(time).map(|run| [run.p50, run.p99]),
        |time| blocking.0.ping_pong(time).map(|run| [run.p50, run.p99]),
    )
}
