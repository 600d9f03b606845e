//! A fresh directory for a story, and the end of everything that was started in it.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A directory of its own. When it goes, so do the guests whose run records lie in it.
#[derive(Debug)]
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::Builder::new().prefix("vmwire-").tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
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
        records
            .filter_map(|path| Some((path.clone(), serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?)))
            .collect()
    }

    /// The processes of the guests whose run records lie in it, as far as they are still those of the records.
    fn guests(&self) -> Vec<Pid> {
        let records = self.records();
        let processes = records.iter().filter_map(|(_, record)| {
            let process = record.get("process")?;
            let pid = i32::try_from(process.get("pid")?.as_u64()?).ok()?;
            (start_time(pid)? == process.get("start_time")?.as_u64()?).then(|| Pid::from_raw(pid))?
        });
        processes.collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for guest in self.guests() {
            let _gone_already = kill_process(guest, Signal::KILL);
        }
    }
}

/// When a process began, in ticks since the host's boot.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}
