//! What all rows stand on: a directory, the programs to be measured, and running by turns.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::statistics::Comparison;
use crate::{Arguments, Outcome};

/// Where and how long is measured.
#[derive(Debug)]
pub(crate) struct Lab {
    scratch: TempDir,
    rooms: Cell<u32>,
    /// The program as installed.
    pub(crate) vmwired: PathBuf,
    /// The command line that was installed beside it.
    pub(crate) vmwire: PathBuf,
    /// The same with XDR of our own.
    pub(crate) own_xdr: Option<PathBuf>,
    agent: Option<PathBuf>,
    agent_package: Option<PathBuf>,
    pairs: u32,
    run: Duration,
}

impl Lab {
    /// Made of what the command line says.
    pub(crate) fn new(arguments: &Arguments) -> Outcome<Self> {
        raise_descriptor_limit()?;
        keep_to_one_processor()?;
        let vmwired = arguments.vmwired.canonicalize()?;
        Ok(Self {
            // Paths of sockets are short, so that a long TMPDIR would not do.
            scratch: tempfile::Builder::new().prefix("vmwire-bench-").tempdir_in("/tmp")?,
            rooms: Cell::new(0),
            vmwire: vmwired.with_file_name("vmwire"),
            vmwired,
            own_xdr: arguments.own_xdr.as_ref().map(|path| path.canonicalize()).transpose()?,
            agent: arguments.agent.as_ref().map(|path| path.canonicalize()).transpose()?,
            agent_package: arguments.agent_package.clone(),
            pairs: arguments.pairs.max(1),
            run: Duration::from_millis(arguments.run_ms),
        })
    }

    /// A fresh directory.
    pub(crate) fn room(&self) -> Outcome<PathBuf> {
        self.rooms.set(self.rooms.get() + 1);
        let room = self.scratch.path().join(self.rooms.get().to_string());
        std::fs::create_dir(&room)?;
        Ok(room)
    }

    /// How many pairs of runs are made.
    pub(crate) fn pairs(&self) -> u32 {
        self.pairs
    }

    /// Lets ours and the yardstick run by turns; each answers `N` figures a run. A short turn of both goes ahead, so that
    /// neither pays for being first.
    pub(crate) fn alternate<const N: usize>(
        &self,
        mut ours: impl FnMut(Duration) -> Outcome<[f64; N]>,
        mut yardstick: impl FnMut(Duration) -> Outcome<[f64; N]>,
    ) -> Outcome<[Comparison; N]> {
        ours(self.run / 10)?;
        yardstick(self.run / 10)?;
        let mut pairs = Vec::new();
        for _ in 0..self.pairs {
            pairs.push((ours(self.run)?, yardstick(self.run)?));
        }
        Ok(std::array::from_fn(|figure| {
            let of = |figures: &[f64; N]| figures.get(figure).copied().unwrap_or(f64::NAN);
            Comparison::of(&pairs.iter().map(|(ours, yardstick)| (of(ours), of(yardstick))).collect::<Vec<_>>())
        }))
    }

    /// The guest agent.
    pub(crate) fn agent(&self) -> Outcome<&Path> {
        self.agent.as_deref().ok_or_else(|| "needs --agent".into())
    }

    /// Its package, if there is one.
    pub(crate) fn agent_package(&self) -> Option<&Path> {
        self.agent_package.as_deref()
    }

    /// The program with XDR of our own.
    pub(crate) fn own_xdr(&self) -> Outcome<&Path> {
        self.own_xdr.as_deref().ok_or_else(|| "needs --own-xdr".into())
    }
}

fn raise_descriptor_limit() -> Outcome<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(())
}

/// Everything that is started from here, the daemon and the yardsticks too, stays on the processor that this runs on. Two
/// processes that wake each other are four times as slow on two idle processors as on one, and where they are put
/// changes from run to run and with what else runs; on one, work and nothing else decides.
fn keep_to_one_processor() -> Outcome<()> {
    use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
    let mut one = CpuSet::new();
    one.set(sched_getcpu());
    sched_setaffinity(None, &one)?;
    Ok(())
}
