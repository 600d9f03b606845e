//! A fresh directory for a story, and the end of everything that was started in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A directory of its own. When it goes, so do the guests whose run records lay in it, whatever became of the records.
#[derive(Debug)]
pub(crate) struct Place {
    dir: TempDir,
    guests: Mutex<BTreeSet<(i32, u64)>>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("vmwire-").tempdir().unwrap();
        Self { dir, guests: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file into it; answers where.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The directory of sockets and run records.
    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.join("run")
    }

    /// The run records in it.
    pub(crate) fn records(&self) -> Vec<(PathBuf, Value)> {
        let Ok(entries) = std::fs::read_dir(self.runtime_dir()) else { return Vec::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let records = paths.filter(|path| path.extension().is_some_and(|extension| extension == "run"));
        let read = |path: PathBuf| {
            let record: Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
            Some((path, record))
        };
        let records: Vec<_> = records.filter_map(read).collect();
        self.guests.lock().unwrap().extend(records.iter().filter_map(|(_, record)| {
            let process = record.get("process")?;
            Some((i32::try_from(process.get("pid")?.as_u64()?).ok()?, process.get("start_time")?.as_u64()?))
        }));
        records
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.records();
        for (pid, begun) in self.guests.lock().unwrap().iter() {
            // A number alone may be another process by now.
            if start_time(*pid) == Some(*begun) {
                let _gone_already = Pid::from_raw(*pid).map(|guest| kill_process(guest, Signal::KILL));
            }
        }
    }
}

/// When a process began, in ticks since the host's boot.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}
