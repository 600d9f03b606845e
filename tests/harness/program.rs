//! Programs run by a story: the command line, mostly.

use std::cell::RefCell;
use std::fmt;
use std::io::{PipeWriter, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::eventually;

/// The command line of vmwire, which takes nothing from the surroundings.
pub(crate) fn vmwire() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmwire-copy"));
    for variable in ["VMWIRE_URI", "VMWIRE_LOG", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME"] {
        command.env_remove(variable);
    }
    command.env("VMWIRE_DAEMON", super::daemon::VMWIRED).env("HOME", "/nonexistent");
    command
}

/// No more of what a program printed is shown when a story fails, from the end of it: a log of many stories has to be read.
const SHOWN_BYTES_MAX: usize = 4096;
/// The same in a message of its own, for which a few lines have to do.
const MISSED_BYTES_MAX: usize = 512;

thread_local! {
    /// The last program that this story has seen end.
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What came of the last program that has ended, for whoever waits in vain for what it was to say.
pub(super) fn last_seen() -> String {
    LAST.with_borrow(|last| match last.as_str() {
        "" => "no program has ended before".to_owned(),
        last => format!("the last program that has ended: {last}"),
    })
}

/// The end of a text that may be long.
fn tail(text: &str, bytes_max: usize) -> String {
    let start = text.ceil_char_boundary(text.len().saturating_sub(bytes_max));
    match start {
        0 => text.to_owned(),
        _ => format!("[{start} bytes before] {}", &text[start..]),
    }
}

/// Makes a file that can be run. A child writes it: were it open for writing here, a program that another story starts at
/// this moment would hold it open too for a while, and whoever runs it meanwhile be told that it is busy.
pub(crate) fn executable(path: &Path, content: impl AsRef<[u8]>) {
    let mut install = Command::new("install");
    let mut child = install.args(["-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(content.as_ref()).unwrap();
    assert!(child.wait().unwrap().success(), "{}", path.display());
}

/// What came of a program.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    what: String,
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, out, err, what } = self;
        let (out, err) = (tail(out, SHOWN_BYTES_MAX), tail(err, SHOWN_BYTES_MAX));
        write!(f, "{what}\nended with {code} and printed\n{out}\nand said\n{err}")
    }
}

impl Ran {
    /// It has to have succeeded without a word on standard error; answers what it printed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.code == 0 && self.err.is_empty(), "{self:?}");
        self.out
    }

    /// The same, as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// It has to have failed with this code and nothing on standard output; answers what it said.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert!(self.code == code && self.out.is_empty() && !self.err.is_empty(), "{self:?}");
        self.err
    }

    /// The same of something asked for several, with JSON: none was done; answers the error itself.
    #[track_caller]
    pub(crate) fn none_done(mut self, code: i32) -> Value {
        assert_eq!(std::mem::take(&mut self.out), "[]\n", "{self:?}");
        self.error(code)
    }

    /// The same, as JSON: the error itself.
    #[track_caller]
    pub(crate) fn error(self, code: i32) -> Value {
        let err = self.fails(code);
        let envelope: Value = serde_json::from_str(&err).unwrap_or_else(|error| panic!("{error}: {err}"));
        assert_eq!(envelope["error"]["exit"], code, "{err}");
        envelope["error"].clone()
    }
}

/// A program that runs. Killed when dropped; then what it said is shown if the story failed.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    out: Collected,
    err: Collected,
    /// How much of its output was looked at.
    seen: usize,
    what: String,
}

type Collected = Arc<Mutex<(Vec<u8>, bool)>>;

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let what = format!("{command:?}");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = collect(child.stdout.take().unwrap());
        let err = collect(child.stderr.take().unwrap());
        Self { child, out, err, seen: 0, what }
    }

    /// One that prints into a pipe, which may never be read.
    pub(crate) fn start_into(mut command: Command, out: PipeWriter) -> Self {
        let what = format!("{command:?}");
        let mut child = command.stdin(Stdio::piped()).stdout(out).stderr(Stdio::piped()).spawn().unwrap();
        let err = collect(child.stderr.take().unwrap());
        Self { child, out: Arc::new(Mutex::new((Vec::new(), true))), err, seen: 0, what }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input.
    pub(crate) fn write(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Ends its standard input.
    pub(crate) fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// What it has printed so far.
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.out.lock().unwrap().0).into_owned()
    }

    /// What it has said so far.
    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.err.lock().unwrap().0).into_owned()
    }

    /// Waits until it has printed a text; answers everything that came before it and was not answered yet.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        self.expect_within(text, super::ENOUGH)
    }

    /// The same, with another deadline.
    #[track_caller]
    pub(crate) fn expect_within(&mut self, text: &str, time: Duration) -> String {
        let end = Instant::now() + time;
        loop {
            let (bytes, over) = self.out.lock().unwrap().clone();
            let new = &bytes[self.seen..];
            if let Some(at) = new.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.seen += at + text.len();
                return String::from_utf8_lossy(&new[..at]).into_owned();
            }
            if over || Instant::now() >= end {
                let why = if over { "its output is over" } else { "it says nothing more" };
                let new = tail(&String::from_utf8_lossy(new), MISSED_BYTES_MAX);
                panic!("{text:?} did not come of {}, and {why}; what it printed instead:\n{new}", self.what);
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// The next line that it prints, as JSON.
    #[track_caller]
    pub(crate) fn json_line(&mut self) -> Value {
        let line = self.expect("\n");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends its standard input and waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        self.end_input();
        self.wait()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Ran {
        let end = Instant::now() + Duration::from_secs(120);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end: {}", self.what);
            std::thread::sleep(Duration::from_millis(2));
        };
        eventually("its output ends", || (self.out.lock().unwrap().1 && self.err.lock().unwrap().1).then_some(()));
        let ran = Ran { code: status.code().unwrap_or(-1), out: self.out(), err: self.err(), what: self.what.clone() };
        LAST.set(format!("{ran:?}"));
        ran
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let (out, err) = (tail(&self.out(), SHOWN_BYTES_MAX), tail(&self.err(), SHOWN_BYTES_MAX));
            eprintln!("---- {} printed ----\n{out}\n---- and said ----\n{err}\n----", self.what);
        }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> Collected {
    let collected = Collected::default();
    let to = collected.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let read = from.read(&mut buffer);
            let mut to = to.lock().unwrap();
            match read {
                Ok(0) | Err(_) => {
                    to.1 = true;
                    return;
                }
                Ok(count) => to.0.extend_from_slice(&buffer[..count]),
            }
        }
    });
    collected
}
