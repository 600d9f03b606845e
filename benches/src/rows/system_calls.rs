//! System calls of the daemon for a call that comes while it sleeps, counted by strace.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use vmwire_protocol::message::ClientData;

use super::vm_show;
use crate::Outcome;
use crate::daemon::{Daemon, Setup, process};
use crate::lab::Lab;
use crate::load::{Exchange, Lane};
use crate::papers::Papers;
use crate::report::Row;
use crate::socket::Address;

/// Calls that are counted.
const CALLS: u32 = 200;

/// Long enough for a daemon to fall asleep, under strace too.
const PAUSE: Duration = Duration::from_millis(3);

pub(super) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let mut rows = {
        let daemon = Daemon::with_guests(lab, &lab.vmwired)?;
        count(lab, &daemon, daemon.socket(), "")?
    };
    let setup = Setup::tls(&Papers::make(&lab.room()?)?);
    let daemon = Daemon::with_guests_as(lab, &lab.vmwired, Some(&setup))?;
    rows.extend(count(lab, &daemon, &daemon.tls(false)?, " over TLS")?);
    Ok(rows)
}

fn count(lab: &Lab, daemon: &Daemon, address: &Address, how: &str) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, data) in [("PING", ClientData::Ping), ("vm show", vm_show())] {
        let exchange = Exchange::learn(address, &data)?;
        let mut lane = Lane::to_daemon(address, &exchange)?;
        // Until the audit has written that the connection came, which is no call's.
        lane.unhurried(100, PAUSE)?;
        let file = lab.room()?.join("strace");
        let mut strace = Command::new("strace")
            .args(["-f", "-q", "-c", "-U", "name,calls", "-p", &daemon.pid().to_string(), "-o"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let attached = attached(daemon, &mut strace);
        let calls = attached.and_then(|()| lane.unhurried(CALLS, PAUSE));
        kill_process(Pid::from_child(&strace), Signal::INT)?;
        strace.wait()?;
        calls?;
        let counted = counted(&std::fs::read_to_string(file)?);
        let sum: f64 = counted.iter().map(|(_, count)| count).sum();
        // The one that the daemon slept in when strace came is no call's.
        let per_call = (sum / f64::from(CALLS) * 100.0).round() / 100.0;
        let parts: Vec<String> = counted
            .iter()
            .map(|(name, count)| (name, count / f64::from(CALLS)))
            .filter(|(_, count)| *count >= 0.01)
            .map(|(name, count)| format!("{name} {count:.2}"))
            .collect();
        rows.push(
            Row::of(format!("an unhurried {name}{how}"), format!("{per_call:.2}: {}", parts.join(", ")))
                .at_most(per_call, 4.0, ""),
        );
    }
    Ok(rows)
}

fn attached(daemon: &Daemon, strace: &mut Child) -> Outcome<()> {
    let end = Instant::now() + Duration::from_secs(10);
    while process::status(daemon.pid(), "TracerPid")? < 1.0 {
        if strace.try_wait()?.is_some() || Instant::now() > end {
            return Err("strace could not attach to the daemon".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Names and counts out of strace's table, most frequent first.
fn counted(table: &str) -> Vec<(String, f64)> {
    let mut counted: Vec<(String, f64)> = table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, count) = (words.next()?, words.next()?.parse().ok()?);
            (name != "total").then(|| (name.to_owned(), count))
        })
        .collect();
    counted.sort_by(|one, other| other.1.total_cmp(&one.1));
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read_without_its_frame_and_sum() {
        let table = "syscall              calls\n---------------- ---------\nread                   100\n\
                     epoll_wait             201\n---------------- ---------\ntotal                  301\n";
        assert_eq!(counted(table), [("epoll_wait".to_owned(), 201.0), ("read".to_owned(), 100.0)]);
    }
}
