//! What a daemon behind an ssh server costs a client: a call, a connection, a long console, and ten hosts at once. Ours is
//! the command line as installed.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ssh2::Channel;
use vmwire_protocol::message::{ClientData, ServerData, VmCall, VmDefineCall, VmInfo, VmStartCall};
use vmwire_protocol::xdr::Text;

use crate::Outcome;
use crate::daemon::{Daemon, Driver, name};
use crate::lab::Lab;
use crate::load::Exchange;
use crate::report::Row;
use crate::socket::Address;
use crate::sshd::{Sshd, done};
use crate::statistics::percentile;
use crate::wire::{Wire, packet};
use crate::yardstick::{Kind, Yardstick};

/// How many calls are worth a second of a run.
const CALLS_PER_SECOND: f64 = 2000.0;

/// What a guest says, and how much of it in a millisecond: more than comes through.
const CONSOLE_BYTES: u32 = 64 << 20;
const CONSOLE_BURST: u32 = 65_536;

/// Bytes read at once from a pipe.
const READ_BYTES: usize = 64 * 1024;

/// How many hosts are asked at once.
const HOSTS: usize = 10;

pub(super) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let sshd = Sshd::start(lab)?;
    let daemon = Daemon::with_test_guests(lab, &lab.vmwired, None)?;
    let mut rows = calls(lab, &sshd, path(daemon.socket())?, daemon.socket())?;
    rows.extend(connections(lab, &sshd, path(daemon.socket())?)?);
    rows.extend(console(lab, &sshd)?);
    rows.extend(hosts(lab, &sshd)?);
    Ok(rows)
}

/// A call, beside the same bytes through a bare channel, and beside a command run through a session that is there already.
fn calls(lab: &Lab, sshd: &Sshd, socket: &Path, address: &Address) -> Outcome<Vec<Row>> {
    let exchange = Exchange::learn(address, &ClientData::Ping)?;
    let echo = Yardstick::start(Kind::MioEcho, &lab.room()?, exchange.request_bytes(), exchange.reply_bytes())?;
    drop(echo.address().connect()?);
    let (_session, mut channel) = sshd.bare(path(echo.address())?)?;
    let request = packet(1, &ClientData::Ping)?;
    let mut reply = vec![0; exchange.reply_bytes()];
    let mut rows = Vec::new();
    for by in ["ssh2", "ssh"] {
        let uri = sshd.uri(by, socket);
        let [p50] = lab.alternate(
            |time| Ok([pings(sshd, &uri, time)?]),
            |time| Ok([echoes(&mut channel, &request, &mut reply, time)?]),
        )?;
        let what = format!("PING by {by}, and as many bytes through a bare channel of libssh2, p50");
        rows.push(Row::times(what, &p50));
    }
    done(sshd.ssh(&["-f", "-N", "-M", "-o", "ControlPersist=yes"], &[]).stdout(Stdio::null()).stderr(Stdio::null()))?;
    let uri = sshd.uri("ssh2", socket);
    let [p50] = lab
        .alternate(|time| Ok([pings(sshd, &uri, time)?]), |time| Ok([processes(time, || sshd.ssh(&[], &["true"]))?]))?;
    rows.push(Row::times("PING by ssh2, and `ssh HOST true` through a session that is there, p50", &p50));
    done(&mut sshd.ssh(&["-O", "exit"], &[]))?;
    Ok(rows)
}

/// From the start of the program to its end.
fn connections(lab: &Lab, sshd: &Sshd, socket: &Path) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for by in ["ssh2", "ssh"] {
        let uri = sshd.uri(by, socket);
        let [p50] = lab.alternate(
            |time| Ok([processes(time, || sshd.vmwire(&["-c", &uri, "ping"]))?]),
            |time| Ok([processes(time, || sshd.ssh(&["-o", "ControlPath=none"], &["true"]))?]),
        )?;
        rows.push(Row::times(format!("`vmwire ping` by {by}, and `ssh HOST true`, whole processes, p50"), &p50));
    }
    Ok(rows)
}

/// A guest that says 64 MiB, and a file of as many bytes.
fn console(lab: &Lab, sshd: &Sshd) -> Outcome<Vec<Row>> {
    let daemon = Daemon::start(lab, &lab.vmwired, Driver::Test)?;
    let text = format!(
        "name = \"{}\"\nmemory = \"16 MiB\"\n[test]\nconsole_bytes = {CONSOLE_BYTES}\nconsole_burst = {CONSOLE_BURST}\n",
        name(0)
    );
    let mut wire = Wire::greet(daemon.socket())?;
    wire.call(&ClientData::VmDefine(VmDefineCall { definition: Text::new(text)?, replace: false }))?;
    let file = lab.room()?.join("bytes");
    std::fs::write(&file, vec![b'x'; usize::try_from(CONSOLE_BYTES)?])?;
    let uri = sshd.uri("ssh2", path(daemon.socket())?);
    let mut came = Vec::new();
    let [rate] = lab.alternate(
        |_| {
            let bytes = listen(sshd, &uri, &mut wire)?;
            came.push(bytes.0 / f64::from(CONSOLE_BYTES) * 100.0);
            Ok([bytes.0 / bytes.1 / 1e6])
        },
        |_| {
            let begin = Instant::now();
            let mut command = sshd.ssh(&["-o", "ControlPath=none"], &["cat", &file.to_string_lossy()]);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
            let (bytes, last) = drain(child.stdout.take().ok_or("no output")?);
            child.wait()?;
            Ok([bytes / (last - begin).as_secs_f64() / 1e6])
        },
    )?;
    let share = percentile(&mut came, 0.5);
    let what = format!("a console of 64 MiB by ssh2 ({share:.0} % of it came), and `ssh HOST cat` of a file");
    Ok(vec![Row::compared(what, &rate, |value| format!("{value:.0} MB/s"))])
}

/// Reads all that the guest says; how many bytes came, and in how many seconds of its saying.
fn listen(sshd: &Sshd, uri: &str, wire: &mut Wire) -> Outcome<(f64, f64)> {
    let vm = Text::<128>::new(name(0))?;
    wire.call(&ClientData::VmStart(VmStartCall { vm: vm.clone(), paused: true }))?;
    let mut child = sshd
        .vmwire(&["-c", uri, "vm", "console", "--read-only", "--raw", vm.as_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let output = child.stdout.take().ok_or("no output")?;
    // What is said is counted over all starts of a guest.
    let end = loop {
        let guest = shown(wire, &vm)?;
        if guest.console_readers > 0 {
            break guest.console_offset + u64::from(CONSOLE_BYTES);
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let begin = Instant::now();
    wire.call(&ClientData::VmResume(VmCall { vm: vm.clone() }))?;
    let reading = std::thread::spawn(move || drain(output));
    while shown(wire, &vm)?.console_offset < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    wire.call(&ClientData::VmStop(VmCall { vm }))?;
    let (bytes, last) = reading.join().map_err(|_| "the reader failed")?;
    child.wait()?;
    Ok((bytes, (last - begin).as_secs_f64()))
}

fn shown(wire: &mut Wire, vm: &Text<128>) -> Outcome<VmInfo> {
    match wire.call(&ClientData::VmShow(VmCall { vm: vm.clone() }))? {
        ServerData::VmShow(answer) => Ok(answer.vm),
        other => Err(format!("no machine but {:#x}", other.number()).into()),
    }
}

/// Reads to the end: how many bytes, and when the last ones came.
fn drain(mut from: impl Read) -> (f64, Instant) {
    let (mut bytes, mut last) = (0.0, Instant::now());
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        bytes += f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        last = Instant::now();
    }
    (bytes, last)
}

/// Ten daemons at once, and one alone.
fn hosts(lab: &Lab, sshd: &Sshd) -> Outcome<Vec<Row>> {
    let daemons =
        (0..HOSTS).map(|_| Daemon::with_test_guests(lab, &lab.vmwired, None)).collect::<Outcome<Vec<Daemon>>>()?;
    let names: Vec<String> = (0..HOSTS).map(|number| format!("host{number}")).collect();
    for (daemon, name) in daemons.iter().zip(&names) {
        let uri = sshd.uri("ssh2", path(daemon.socket())?);
        done(&mut sshd.vmwire(&["context", "add", name, &uri]))?;
    }
    let (all, one) = (names.join(","), names.first().ok_or("no hosts")?);
    let [p50] = lab.alternate(
        |time| Ok([processes(time, || sshd.vmwire(&["-H", &all, "vm", "list"]))?]),
        |time| Ok([processes(time, || sshd.vmwire(&["-H", one, "vm", "list"]))?]),
    )?;
    Ok(vec![Row::times(
        format!("`vmwire -H ... vm list` of {HOSTS} hosts by ssh2, and of one, whole processes, p50"),
        &p50,
    )])
}

/// How long `vmwire ping` says that half of its calls took at most, in microseconds.
fn pings(sshd: &Sshd, uri: &str, time: Duration) -> Outcome<f64> {
    let count = format!("{:.0}", (CALLS_PER_SECOND * time.as_secs_f64()).max(1.0));
    let said = String::from_utf8(done(&mut sshd.vmwire(&["-c", uri, "-o", "json", "ping", "-n", &count]))?)?;
    let median = said.split_once("\"median_ns\":").map(|(_, rest)| rest.trim_start());
    let digits = median.and_then(|rest| rest.split(|digit: char| !digit.is_ascii_digit()).next());
    Ok(digits.ok_or("ping says no median")?.parse::<f64>()? / 1e3)
}

/// The same bytes through a bare channel to an echo.
fn echoes(channel: &mut Channel, request: &[u8], reply: &mut [u8], time: Duration) -> Outcome<f64> {
    let (begin, mut samples) = (Instant::now(), Vec::new());
    while begin.elapsed() < time {
        let before = Instant::now();
        channel.write_all(request)?;
        channel.read_exact(reply)?;
        samples.push(before.elapsed().as_secs_f64() * 1e6);
    }
    Ok(percentile(&mut samples, 0.5))
}

/// Runs a command again and again: how long half of them took at most, from start to end, in microseconds.
fn processes(time: Duration, make: impl Fn() -> Command) -> Outcome<f64> {
    let (begin, mut samples) = (Instant::now(), Vec::new());
    while samples.is_empty() || begin.elapsed() < time {
        let before = Instant::now();
        done(&mut make())?;
        samples.push(before.elapsed().as_secs_f64() * 1e6);
    }
    Ok(percentile(&mut samples, 0.5))
}

fn path(address: &Address) -> Outcome<&Path> {
    match address {
        Address::Unix(path) => Ok(path),
        Address::Tls(..) => Err("not a unix socket".into()),
    }
}
