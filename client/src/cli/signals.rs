//! Signals that come as something to read.

use std::io::{self, PipeReader};

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
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
    /// ^C alone.
    pub(super) fn interrupt() -> io::Result<Self> {
        Self::of(SIGINT)
    }

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
