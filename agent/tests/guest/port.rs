//! The host's end of a port, driven as a careful host does: FF and a number before every conversation.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// An emulated guest on a busy machine answers in a tenth of this, whatever it is asked for.
const PATIENCE: Duration = Duration::from_secs(180);

/// When a careful host gives a number up and sends another.
const REPEATS_AFTER: Duration = Duration::from_secs(5);

pub(crate) struct Port {
    stream: UnixStream,
    unread: Vec<u8>,
    number: u64,
}

impl Port {
    pub(crate) fn new(stream: UnixStream) -> Port {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Port { stream, unread: Vec::new(), number: 1 << 40 }
    }

    /// The stream behind the last line that was read.
    pub(crate) fn into_stream(self) -> UnixStream {
        assert!(self.unread.is_empty(), "{}", self.unread.escape_ascii());
        self.stream
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> Vec<u8> {
        self.line_by(Instant::now() + PATIENCE).unwrap_or_else(|| panic!("no answer came in time"))
    }

    /// The same; `None` when it does not come in time.
    fn line_by(&mut self, end: Instant) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=end).collect();
                line.pop();
                return Some(line);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("QEMU hung up"),
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Sends a number and returns every line that comes before it does. Who comes just when another leaves may be taken for
    /// the other, and what it said be lost; so a number that does not come back is followed by the next one.
    pub(crate) fn synchronise(&mut self) -> Vec<Vec<u8>> {
        let (first, end) = (self.number + 1, Instant::now() + PATIENCE);
        let mut lines = Vec::new();
        while Instant::now() < end {
            self.number += 1;
            let sync = json!({"execute": "guest-sync-delimited", "arguments": {"id": self.number}});
            self.send(b"\xff");
            self.send(sync.to_string().as_bytes());
            self.send(b"\n");
            let repeat = Instant::now() + REPEATS_AFTER;
            while let Some(line) = self.line_by(repeat) {
                match number_in(&line).filter(|number| (first..=self.number).contains(number)) {
                    None => lines.push(line),
                    Some(number) => {
                        // The answer to FF itself.
                        lines.pop();
                        if number == self.number {
                            self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
                            return lines;
                        }
                    }
                }
            }
        }
        panic!("no number comes back; said was {lines:?}")
    }

    /// Sends bytes and returns what is answered to them.
    pub(crate) fn answers(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.send(bytes);
        self.send(b"\n");
        self.synchronise()
    }

    /// Asks for one thing.
    pub(crate) fn ask(&mut self, command: &str, arguments: &Value) -> Value {
        self.send(format!("{}\n", json!({"execute": command, "arguments": arguments})).as_bytes());
        let line = self.line();
        serde_json::from_slice(&line).unwrap_or_else(|error| panic!("{}: {error}", line.escape_ascii()))
    }

    /// Asks for what must not fail.
    pub(crate) fn ask_well(&mut self, command: &str, arguments: &Value) -> Value {
        let mut answer = self.ask(command, arguments);
        assert!(answer.get("return").is_some(), "{command} {arguments}: {answer}");
        answer["return"].take()
    }

    /// Runs a command in the guest; returns what it says.
    pub(crate) fn run(&mut self, command: &str) -> String {
        let arguments = json!({"path": "/bin/sh", "arg": ["-c", command], "capture-output": true});
        let pid = self.ask_well("guest-exec", &arguments)["pid"].clone();
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.ask_well("guest-exec-status", &json!({"pid": pid}));
            if status["exited"] == json!(true) {
                let data = status["out-data"].as_str().unwrap_or_default();
                return String::from_utf8(vmwire_agent::base64::decode(data).unwrap()).unwrap();
            }
            assert!(Instant::now() < end, "{command} does not end");
        }
    }

    /// Waits until somebody in the guest has done all they had to, and for longer than they wait for what a host may do: what `look`
    /// says of them, which has to have `sleeping` in it, stays as it is.
    ///
    /// Nobody may be asked meanwhile: the ports of a device share an interrupt, and while no host is there the kernel wakes whoever
    /// has a port on which something was written before, for every byte on any other.
    pub(crate) fn wait_until_idle(&mut self, look: &str) {
        let command = format!(
            "rm -f /run/idle; (before=$({look}); sleep 1.5; after=$({look}); [ \"$before\" = \"$after\" ] && echo \"$after\" \
             >/run/idle) >/dev/null 2>&1 &"
        );
        // The guest's time may be slower than ours.
        for seconds in [2, 3, 4, 8, 16, 32, 64] {
            self.run(&command);
            std::thread::sleep(Duration::from_secs(seconds));
            if self.run("cat /run/idle 2>/dev/null").contains("sleeping") {
                return;
            }
        }
        panic!("it does not come to rest: {}", self.run(look));
    }

    /// Runs a command until it says what is expected.
    pub(crate) fn run_until(&mut self, command: &str, expected: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let said = self.run(command);
            if expected(&said) {
                return said;
            }
            assert!(Instant::now() < end, "{command}: {said}");
        }
    }
}

/// The number that is answered, perhaps behind FF.
fn number_in(line: &[u8]) -> Option<u64> {
    let line = line.strip_prefix(b"\xff").unwrap_or(line);
    serde_json::from_slice::<Value>(line).ok()?["return"].as_u64()
}
