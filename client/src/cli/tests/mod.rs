//! The command line as a whole, against a scripted daemon: what is printed where, and how it ends.

mod answers;
pub(super) mod keys;
mod usage;

use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::sync::Mutex;
use std::thread::JoinHandle;

use serde_json::Value;
use vmwire_protocol::version::NEWEST_MINOR;

use super::*;
use crate::connection::scripted::Scripted;

/// What a run of the program left behind.
pub(super) struct Run {
    pub(super) exit: Exit,
    pub(super) out: String,
    pub(super) err: String,
}

impl Run {
    /// What it printed, as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    /// What it printed on standard error, as JSON.
    fn error(&self) -> Value {
        serde_json::from_str(&self.err).unwrap_or_else(|error| panic!("{error}: {}", self.err))
    }
}

/// What takes what is printed, from whichever thread.
#[derive(Clone, Default)]
pub(super) struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that has gone away.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs the program with `words` against a daemon that does what `script` says.
fn vmwire(words: &[&str], script: impl FnOnce(Scripted) + Send + 'static) -> Run {
    let paper = Paper::default();
    let (exit, err) = vmwire_into(Box::new(paper.clone()), words, script);
    Run { exit, out: paper.text(), err }
}

fn vmwire_into(out: Box<dyn Write>, words: &[&str], script: impl FnOnce(Scripted) + Send + 'static) -> (Exit, String) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon: JoinHandle<()> =
        std::thread::spawn(move || script(Scripted::new(listener.accept().unwrap().0, NEWEST_MINOR)));
    let err = Paper::default();
    let uri = Uri::from_socket(socket).to_string();
    let arguments = ["vmwire", "-c", &uri].into_iter().chain(words.iter().copied()).map(OsString::from);
    let exit = run(arguments, &mut Output::new(out, Box::new(err.clone()), false));
    daemon.join().unwrap();
    (exit, err.text())
}
