//! Signals that come as something to read.

use std::io::{self, PipeReader};
use std::sync::Arc;

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::low_level::{pipe, unregister};

/// Signals that end the program, where nobody watches for them.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// The signals that would end the program; for as long as this lives they can be read instead.
pub(super) struct Signals(pub(super) Vec<Watched>);

/// One of them.
pub(super) struct Watched {
    pub(super) signal: i32,
    id: SigId,
    /// Readable when it came.
    pub(super) came: PipeReader,
}

impl Signals {
    pub(super) fn watch() -> io::Result<Self> {
        let mut all = Self(Vec::new());
        for signal in ENDING {
            all.0.push(Watched::of(signal)?);
        }
        Ok(all)
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
    /// Readable when one of them came.
    pub(super) came: PipeReader,
}

impl Ending {
    pub(super) fn watch() -> io::Result<Self> {
        let (came, tell) = io::pipe()?;
        let mut ending = Self { ids: Vec::new(), came };
        for signal in ENDING {
            ending.ids.push(pipe::register(signal, tell.try_clone()?)?);
        }
        ending.ids.push(flag::register(SIGXFSZ, Arc::default())?);
        Ok(ending)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        for id in &self.ids {
            unregister(*id);
        }
    }
}
