//! What TLS costs, beside a bare rustls on a mio loop: the same certificates and ciphers, the same generator.

use vmwire_protocol::message::ClientData;

use super::vm_show;
use crate::Outcome;
use crate::daemon::{Daemon, Setup};
use crate::lab::Lab;
use crate::load::{Exchange, Lane};
use crate::papers::Papers;
use crate::report::Row;
use crate::statistics::Comparison;
use crate::yardstick::Yardstick;

pub(super) fn ping_pong(lab: &Lab) -> Outcome<Vec<Row>> {
    let papers = Papers::make(&lab.room()?)?;
    let setup = Setup::tls(&papers);
    let mut rows = Vec::new();
    {
        let daemon = Daemon::with_guests_as(lab, &lab.vmwired, Some(&setup))?;
        let (_, [p50, p99]) = against_echo(lab, &daemon, &papers, &ClientData::Ping)?;
        rows.push(Row::times("PING, p50", &p50).at_most(p50.ratio, 1.25, "x"));
        rows.push(Row::times("PING, p99", &p99));
    }
    let daemon = Daemon::with_test_guests(lab, &lab.vmwired, Some(&setup))?;
    let (show, [p50, p99]) = against_echo(lab, &daemon, &papers, &vm_show())?;
    let bytes = format!("{} and {} bytes", show.request_bytes(), show.reply_bytes());
    rows.push(Row::times(format!("vm show (test driver; {bytes}), p50"), &p50).at_most(p50.ratio, 1.25, "x"));
    rows.push(Row::times("vm show (test driver), p99", &p99));
    Ok(rows)
}

fn against_echo(
    lab: &Lab,
    daemon: &Daemon,
    papers: &Papers,
    data: &ClientData,
) -> Outcome<(Exchange, [Comparison; 2])> {
    let address = daemon.tls(false)?;
    let exchange = Exchange::learn(&address, data)?;
    let echo = Yardstick::start_tls(papers, false, exchange.request_bytes(), exchange.reply_bytes())?;
    let mut ours = Lane::to_daemon(&address, &exchange)?;
    let mut theirs = Lane::to_echo(echo.address(), &exchange)?;
    let figures = lab.alternate(
        |time| ours.ping_pong(time).map(|run| [run.p50, run.p99]),
        |time| theirs.ping_pong(time).map(|run| [run.p50, run.p99]),
    )?;
    Ok((exchange, figures))
}

pub(super) fn handshakes(lab: &Lab) -> Outcome<Vec<Row>> {
    let papers = Papers::make(&lab.room()?)?;
    let daemon = Daemon::with_guests_as(lab, &lab.vmwired, Some(&Setup::tls(&papers)))?;
    let exchange = Exchange::learn(&daemon.tls(false)?, &ClientData::Ping)?;
    let rates = |resumes| {
        let ours = daemon.tls(resumes)?;
        let echo = Yardstick::start_tls(&papers, resumes, exchange.request_bytes(), exchange.reply_bytes())?;
        let [rate] = lab.alternate(
            |time| Lane::visits(&ours, &exchange, true, time).map(|rate| [rate]),
            |time| Lane::visits(echo.address(), &exchange, false, time).map(|rate| [rate]),
        )?;
        Outcome::Ok(rate)
    };
    let (full, resumed) = (rates(false)?, rates(true)?);
    Ok(vec![
        Row::per_second("full, both ends with certificates", &full).at_least(full.ratio, 0.8, "x"),
        Row::per_second("resumed", &resumed),
    ])
}
