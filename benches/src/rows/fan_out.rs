//! One event to a thousand subscribers, beside a bare loop of a thousand writes.
//!
//! The event is that of a console's writer, which needs no word of a hypervisor. The generator sleeps on the subscriber
//! that is served last; then it looks whether all others have the event, and waits for those that have not.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, recv};
use vmwire_protocol::limits::HEADER_BYTES;
use vmwire_protocol::message::{
    ClientData, ConsoleOpenCall, Failure, ServerData, StreamEnd, code, console_mode, event_kind,
};
use vmwire_protocol::xdr::Text;

use crate::Outcome;
use crate::daemon::{Daemon, name, subscribe};
use crate::lab::Lab;
use crate::report::Row;
use crate::socket::Socket;
use crate::statistics::percentile;
use crate::wire::{Wire, word};
use crate::yardstick::{Kind, Yardstick};

/// Subscribers.
const SUBSCRIBERS: usize = 1000;

/// Before each event, so that it finds the other side at rest: that a thousand replies were taken is told to a daemon
/// in as many wake-ups, which belong to the event before.
const PAUSE: Duration = Duration::from_millis(3);

pub(super) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let daemon = Daemon::with_guests(lab, &lab.vmwired)?;
    let mut crowd = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let mut wire = Wire::greet(daemon.socket())?;
        wire.call(&subscribe(&[event_kind::CONSOLE_WRITER]))?;
        crowd.push(wire.into_parts().0);
    }
    let mut ours = Ours { crowd, wire: Wire::greet(daemon.socket())?, bytes: 0 };
    ours.open_and_close(&mut Vec::new())?;

    let yardstick = Yardstick::start(Kind::FanOut, &lab.room()?, SUBSCRIBERS, ours.bytes)?;
    let crowd = (0..SUBSCRIBERS).map(|_| yardstick.address().connect()).collect::<Outcome<Vec<_>>>()?;
    let mut trigger = yardstick.address().connect()?;

    let [p50, p99] = lab.alternate(
        |time| run(time, |samples| ours.open_and_close(samples)),
        |time| {
            run(time, |samples| {
                std::thread::sleep(PAUSE);
                let begin = Instant::now();
                trigger.write_all(&[0])?;
                samples.push(last(&crowd, begin)?.0);
                Ok(())
            })
        },
    )?;
    Ok(vec![
        Row::times(format!("an event to the last of {SUBSCRIBERS}, p50"), &p50).at_most(p50.ratio, 2.0, "x"),
        Row::times(format!("an event to the last of {SUBSCRIBERS}, p99"), &p99),
    ])
}

fn run(time: Duration, mut once: impl FnMut(&mut Vec<f64>) -> Outcome<()>) -> Outcome<[f64; 2]> {
    let mut samples = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < time {
        once(&mut samples)?;
    }
    Ok([percentile(&mut samples, 0.5), percentile(&mut samples, 0.99)])
}

struct Ours {
    crowd: Vec<Socket>,
    wire: Wire,
    bytes: usize,
}

impl Ours {
    /// Two events: a writer comes, and goes.
    fn open_and_close(&mut self, samples: &mut Vec<f64>) -> Outcome<()> {
        std::thread::sleep(PAUSE);
        let begin = Instant::now();
        let opened = self.wire.send(&ClientData::ConsoleOpen(ConsoleOpenCall {
            vm: Text::clipped(&name(0)),
            mode: console_mode::TAKE_OVER,
            history_bytes: 0,
        }))?;
        let (time, bytes) = last(&self.crowd, begin)?;
        samples.push(time);
        self.bytes = self.bytes.max(bytes);
        let ServerData::ConsoleOpen(console) = self.wire.answer(opened)? else { return Err("no console".into()) };

        std::thread::sleep(PAUSE);
        let begin = Instant::now();
        let why = Some(Failure::new(code::CANCELLED, "that is all"));
        self.wire.send(&ClientData::StreamEnd(StreamEnd { stream: console.stream, why }))?;
        samples.push(last(&self.crowd, begin)?.0);
        Ok(())
    }
}

/// When all have an event, in microseconds after `begin`, and how many bytes the first one got.
fn last(crowd: &[Socket], begin: Instant) -> Outcome<(f64, usize)> {
    let mut buffer = [0; 4096];
    let (last, others) = crowd.split_last().ok_or("nobody is there")?;
    receive(last, &mut buffer, RecvFlags::empty())?;
    let mut time = begin.elapsed();
    let mut bytes = 0;
    for stream in others {
        bytes = match receive(stream, &mut buffer, RecvFlags::DONTWAIT) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let bytes = receive(stream, &mut buffer, RecvFlags::empty())?;
                time = begin.elapsed();
                bytes
            }
            Err(error) => return Err(error.into()),
        };
    }
    Ok((time.as_secs_f64() * 1e6, bytes))
}

/// One event, which comes whole because it is written whole.
fn receive(stream: &Socket, buffer: &mut [u8], flags: RecvFlags) -> std::io::Result<usize> {
    let (bytes, _) = recv(stream, &mut *buffer, flags)?;
    let announced = word(buffer, 4).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    // The yardstick announces nothing.
    if bytes == 0 || (announced != 0 && bytes != announced + HEADER_BYTES) {
        return Err(std::io::Error::other(format!("{bytes} bytes came, and {announced} were announced")));
    }
    Ok(bytes)
}
