//! Signals that come as something to read.

use std::fs;
use std::io::{self, PipeReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::low_level::{pipe, unregister};

/// Signals that end the program, where nobody watches for them.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Those of them that were not ignored when somebody watched for the first time.
static ENDS: Mutex<Option<Ends>> = Mutex::new(None);

/// The signals that end this program. What is ignored when it begins, as under nohup or in the background of a script, is
/// to stay so, and watching for it would end that.
#[derive(Clone)]
struct Ends {
    signals: Vec<i32>,
    /// Whether they do: a handler stays when nobody watches any more, and without this nothing would come of them.
    unwatched: Arc<AtomicBool>,
}

impl Ends {
    fn get() -> io::Result<Self> {
        let mut kept = ENDS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ends) = &*kept {
            return Ok(ends.clone());
        }
        let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
        let signals = ENDING.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0).collect();
        let ends = Self { signals, unwatched: Arc::new(AtomicBool::new(true)) };
        for &signal in &ends.signals {
            flag::register_conditional_default(signal, ends.unwatched.clone())?;
        }
        Ok(kept.insert(ends).clone())
    }

    fn are_watched(&self, watched: bool) {
        self.unwatched.store(!watched, Ordering::SeqCst);
    }
}

/// The signals that a process ignores, by its status: the first one is the lowest bit.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// The signals that would end the program; for as long as this lives they can be read instead.
pub(super) struct Signals {
    pub(super) all: Vec<Watched>,
    ends: Ends,
}

/// One of them.
pub(super) struct Watched {
    pub(super) signal: i32,
    id: SigId,
    /// Readable when it came.
    pub(super) came: PipeReader,
}

impl Signals {
    pub(super) fn watch() -> io::Result<Self> {
        let mut watching = Self { all: Vec::new(), ends: Ends::get()? };
        for &signal in &watching.ends.signals {
            watching.all.push(Watched::of(signal)?);
        }
        watching.ends.are_watched(true);
        Ok(watching)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.ends.are_watched(false);
    }
}

impl Watched {
    fn of(signal: i32) -> io::Result<Self> {
        let (came, tell) = io::pipe()?;
        Ok(Self { signal, id: pipe::register(signal, tell)?, came })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        unregister(self.id);
    }
}

/// Those signals as one thing to read, for a program that has to finish something before it ends, whichever it is. A file
/// that may not become longer is an error of its write meanwhile, and no signal.
pub(super) struct Ending {
    ids: Vec<SigId>,
    ends: Ends,
    /// Readable when one of them came.
    pub(super) came: PipeReader,
}

impl Ending {
    pub(super) fn watch() -> io::Result<Self> {
        let (came, tell) = io::pipe()?;
        let mut ending = Self { ids: Vec::new(), ends: Ends::get()?, came };
        for &signal in &ending.ends.signals {
            ending.ids.push(pipe::register(signal, tell.try_clone()?)?);
        }
        ending.ids.push(flag::register(SIGXFSZ, Arc::default())?);
        ending.ends.are_watched(true);
        Ok(ending)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.ends.are_watched(false);
        for id in &self.ids {
            unregister(*id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_status() {
        let of = |status: &str| ENDING.map(|signal| ignored(status) >> (signal - 1) & 1 == 1);
        assert_eq!(
            of("SigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"),
            [true, false, false, false]
        );
        assert_eq!(of("SigIgn:\t0000000000000006\n"), [false, true, true, false]);
        assert_eq!(of(""), [false; 4], "where nothing is known, nothing is");
    }
}
