//! Those who lose their place because something changed: how long the last of them stays when all are judged again, and how
//! long somebody else waits meanwhile.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmwire_protocol::message::ClientData;

use crate::Outcome;
use crate::daemon::{Daemon, Setup};
use crate::lab::Lab;
use crate::papers::Papers;
use crate::report::Row;
use crate::socket::Address;
use crate::wire::Wire;

/// Connections over TLS, each with a certificate of its own.
const CROWD: usize = 10_000;

/// Of those that a daemon may have, for who sets things up and looks on.
const BESIDE: usize = 100;

/// How often somebody else asks for something meanwhile.
const PAUSE: Duration = Duration::from_millis(1);

/// How many seconds the next one may take.
const PATIENCE_S: i64 = 60;

/// A daemon with a crowd.
struct Place {
    papers: Papers,
    setup: Setup,
    daemon: Daemon,
    /// Whoever came first is judged last.
    first: Wire,
    crowd: Vec<OwnedFd>,
}

/// Somebody who asks for something all the time.
struct Onlooker {
    end: Sender<()>,
    longest: JoinHandle<Result<Duration, String>>,
}

pub(super) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let Place { papers, setup, daemon, first, crowd } = Place::fill(lab)?;
    let row = |what: &str, (last, longest): (Duration, Duration)| {
        let figure = format!("{:.2} s; the longest PING meanwhile {} ms", last.as_secs_f64(), longest.as_millis());
        let what = format!("{CROWD} TLS connections, from {what}");
        Row::of(what, figure).at_most(last.as_secs_f64(), 1.0, " s")
    };
    let mut socket = first.into_parts().0;
    let revoked = until(&daemon, || papers.revoke(), || told(&mut socket))?;
    let denied = Setup { denies: true, ..setup };
    let denied = until(&daemon, || daemon.reload(&denied), || all_out(&crowd))?;
    drop((daemon, crowd));
    let Place { papers, daemon, crowd, .. } = Place::fill(lab)?;
    let unknown = until(&daemon, || papers.replace_authority(), || all_out(&crowd))?;
    Ok(vec![
        row("a list that revokes one of them until it is out", revoked),
        row("rules that name none of them until all are out", denied),
        row("another authority of the same name until all are out", unknown),
    ])
}

impl Place {
    fn fill(lab: &Lab) -> Outcome<Self> {
        let papers = Papers::make(&lab.room()?)?;
        let setup = Setup { connections_max: Some(CROWD + BESIDE), ..Setup::tls(&papers) };
        let daemon = Daemon::with_test_guests(lab, &lab.vmwired, Some(&setup))?;
        let first = Wire::greet(&daemon.tls_as(papers.other()?)?)?;
        let crowd = papers.strangers(CROWD)?.map(|stranger| {
            let wire = Wire::greet(&daemon.tls_as(stranger?)?)?;
            Ok(wire.into_parts().0.into_silence())
        });
        let crowd = crowd.collect::<Outcome<_>>()?;
        Ok(Self { papers, setup, daemon, first, crowd })
    }
}

/// How long it takes from a change until it has come to this, and how long the longest PING beside it.
fn until(
    daemon: &Daemon,
    change: impl FnOnce() -> Outcome<()>,
    outcome: impl FnOnce() -> Outcome<()>,
) -> Outcome<(Duration, Duration)> {
    let onlooker = Onlooker::start(daemon.socket())?;
    let begin = Instant::now();
    change()?;
    outcome()?;
    let last = begin.elapsed();
    Ok((last, onlooker.longest()?))
}

/// Waits for the end of who is told why.
fn told(socket: &mut impl Read) -> Outcome<()> {
    let mut told = Vec::new();
    // A failure says why; how the socket ends after it is all one.
    let _ = socket.read_to_end(&mut told);
    if told.is_empty() { Err("nothing was told to who was revoked".into()) } else { Ok(()) }
}

/// Waits until the daemon has said its last word to all of them.
fn all_out(crowd: &[OwnedFd]) -> Outcome<()> {
    // One after the other: looking at all of them again and again would take the daemon's time.
    for fd in crowd {
        if poll(&mut [PollFd::new(fd, PollFlags::RDHUP)], Some(&Timespec { tv_sec: PATIENCE_S, tv_nsec: 0 }))? == 0 {
            return Err("somebody is still there".into());
        }
    }
    Ok(())
}

impl Onlooker {
    fn start(address: &Address) -> Outcome<Self> {
        let mut wire = Wire::greet(address)?;
        let (end, ended) = channel();
        let longest = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                let begin = Instant::now();
                wire.call(&ClientData::Ping).map_err(|error| error.to_string())?;
                longest = longest.max(begin.elapsed());
            }
            Ok(longest)
        });
        Ok(Self { end, longest })
    }

    fn longest(self) -> Outcome<Duration> {
        drop(self.end);
        Ok(self.longest.join().map_err(|_| "whoever looked on panicked")??)
    }
}
