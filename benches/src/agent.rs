//! A guest agent on a unix socket, ours or qemu-ga, and the loop that drives either: bare lines there and back, nothing is
//! parsed but the number that a figure needs. What it is asked harms no machine: it says that it is there, runs `true`,
//! and reads and writes files in a directory of the bench.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::lab::Lab;
use crate::statistics::percentile;

/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is moved in one request: a few hundred kilobytes are what hosts ask for.
pub(crate) const CHUNK_BYTES: usize = 384 << 10;

/// The size of a file.
pub(crate) const FILE_BYTES: usize = 64 << 20;

/// Read at once from the socket.
const READ_BYTES: usize = 256 << 10;

/// An agent that runs; it ends with this value.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    stream: UnixStream,
    dir: PathBuf,
    reply: Vec<u8>,
    buffer: Vec<u8>,
}

impl Agent {
    /// Starts it and connects.
    pub(crate) fn start(lab: &Lab, program: &Path) -> Outcome<Self> {
        let dir = lab.room()?;
        let socket = dir.join("socket");
        let child = Command::new(program)
            .args(["-m", "unix-listen", "-p"])
            .arg(&socket)
            .arg("-t")
            .arg(&dir)
            .arg("-f")
            .arg(dir.join("pid"))
            .env("QGA_CONF", dir.join("none"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut agent =
            Self { child, stream: UnixStream::pair()?.0, dir, reply: Vec::new(), buffer: vec![0; READ_BYTES] };
        let end = Instant::now() + PATIENCE;
        agent.stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > end => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        agent.stream.set_read_timeout(Some(PATIENCE))?;
        agent.stream.set_write_timeout(Some(PATIENCE))?;
        std::fs::write(agent.file("read"), vec![0x5a; FILE_BYTES])?;
        Ok(agent)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// One request, one line.
    fn ask(&mut self, request: &[u8]) -> Outcome<&[u8]> {
        self.stream.write_all(request)?;
        self.reply.clear();
        while self.reply.last() != Some(&b'\n') {
            let count = self.stream.read(&mut self.buffer)?;
            if count == 0 {
                return Err("the agent hung up".into());
            }
            self.reply.extend_from_slice(self.buffer.get(..count).unwrap_or_default());
        }
        if self.reply.starts_with(b"{\"return\"") {
            Ok(&self.reply)
        } else {
            Err(String::from_utf8_lossy(self.reply.get(..self.reply.len().min(200)).unwrap_or_default()).into())
        }
    }

    /// A request whose answer is or has a number behind this.
    fn number(&mut self, request: &str, before: &str) -> Outcome<usize> {
        let reply = self.ask(request.as_bytes())?;
        let place = reply.windows(before.len()).position(|window| window == before.as_bytes());
        let rest = place.and_then(|place| reply.get(place + before.len()..)).ok_or("no such number in an answer")?;
        let digits: Vec<u8> = rest.iter().copied().take_while(u8::is_ascii_digit).collect();
        Ok(String::from_utf8(digits)?.parse()?)
    }

    /// Pings: the p50 and p99 of a round trip, in microseconds.
    pub(crate) fn pings(&mut self, time: Duration) -> Outcome<[f64; 2]> {
        let mut samples = sampled(time, || self.ask(b"{\"execute\":\"guest-ping\"}\n").map(|_| ()))?;
        Ok([percentile(&mut samples, 0.5), percentile(&mut samples, 0.99)])
    }

    /// Runs of `true`, from the request until it is told to have ended: the p50 in microseconds.
    pub(crate) fn runs_of_true(&mut self, time: Duration) -> Outcome<[f64; 1]> {
        let mut samples = sampled(time, || {
            let pid =
                self.number("{\"execute\":\"guest-exec\",\"arguments\":{\"path\":\"/bin/true\"}}\n", "\"pid\": ")?;
            let status = format!("{{\"execute\":\"guest-exec-status\",\"arguments\":{{\"pid\":{pid}}}}}\n");
            let end = Instant::now() + PATIENCE;
            while !holds(self.ask(status.as_bytes())?, b"\"exited\": true") {
                if Instant::now() > end {
                    return Err("true does not end".into());
                }
            }
            Ok(())
        })?;
        Ok([percentile(&mut samples, 0.5)])
    }

    /// A file read to its end, as often as time allows: bytes a second.
    pub(crate) fn reads(&mut self, time: Duration) -> Outcome<[f64; 1]> {
        self.moved(time, "read", "r", |agent, handle| {
            let request = format!(
                "{{\"execute\":\"guest-file-read\",\"arguments\":{{\"handle\":{handle},\"count\":{CHUNK_BYTES}}}}}\n"
            );
            agent.number(&request, "\"count\": ")
        })
    }

    /// A file written, as often as time allows: bytes a second.
    pub(crate) fn writes(&mut self, time: Duration) -> Outcome<[f64; 1]> {
        // Three bytes are four letters.
        let data = "Wlpa".repeat(CHUNK_BYTES / 3);
        self.moved(time, "written", "w", |agent, handle| {
            let request = format!(
                "{{\"execute\":\"guest-file-write\",\"arguments\":{{\"handle\":{handle},\"buf-b64\":\"{data}\"}}}}\n"
            );
            agent.number(&request, "\"count\": ")
        })
    }

    fn moved(
        &mut self,
        time: Duration,
        name: &str,
        mode: &str,
        mut chunk: impl FnMut(&mut Self, usize) -> Outcome<usize>,
    ) -> Outcome<[f64; 1]> {
        let open = format!(
            "{{\"execute\":\"guest-file-open\",\"arguments\":{{\"path\":\"{}\",\"mode\":\"{mode}\"}}}}\n",
            self.file(name).display()
        );
        let begin = Instant::now();
        let mut files: u32 = 0;
        while files == 0 || begin.elapsed() < time {
            let handle = self.number(&open, "\"return\": ")?;
            let mut bytes = 0;
            while bytes < FILE_BYTES {
                bytes += chunk(self, handle)?;
            }
            let close = format!("{{\"execute\":\"guest-file-close\",\"arguments\":{{\"handle\":{handle}}}}}\n");
            self.ask(close.as_bytes())?;
            files += 1;
        }
        let bytes = f64::from(files) * f64::from(u32::try_from(FILE_BYTES)?);
        Ok([bytes / begin.elapsed().as_secs_f64()])
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn holds(reply: &[u8], what: &[u8]) -> bool {
    reply.windows(what.len()).any(|window| window == what)
}

/// How long each took, in microseconds.
fn sampled(time: Duration, mut once: impl FnMut() -> Outcome<()>) -> Outcome<Vec<f64>> {
    let mut samples = Vec::new();
    let begin = Instant::now();
    while samples.is_empty() || begin.elapsed() < time {
        let sent = Instant::now();
        once()?;
        samples.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    Ok(samples)
}
