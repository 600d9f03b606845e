//! The run record of a guest: what a later daemon needs to find the guest again, and to prove that it is the one.
//!
//! Written before the launch, completed with process and start time by the launcher in QEMU's place (which keeps both),
//! removed when nothing of the guest is left. It has to outlive the daemon, not the host.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::VmId;
use crate::regular_file::{self, Links};

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// The guest.
    #[serde(with = "uuid_as_text")]
    pub(crate) uuid: Uuid,
    /// Its name when it was started, for people who read this.
    pub(crate) name: String,
    /// Which run of the host; processes and start times mean nothing in another.
    pub(crate) boot_id: String,
    /// The socket of its monitor.
    pub(crate) monitor: PathBuf,
    /// The socket of its console.
    pub(crate) console: Option<PathBuf>,
    /// How many channels it has.
    pub(crate) channels: usize,
    /// `kvm` or `tcg`.
    pub(crate) accelerator: String,
    /// QEMU, once there is a process.
    #[serde(default)]
    pub(crate) process: Option<ProcessMark>,
    /// What runs, byte for byte.
    pub(crate) definition: String,
}

/// The uuid as everybody writes it.
mod uuid_as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(uuid: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&uuid.as_hyphenated())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        let text = String::deserialize(deserializer)?;
        Uuid::try_parse(&text).map_err(D::Error::custom)
    }
}

/// What tells a process from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ProcessMark {
    /// Its number.
    pub(crate) pid: u32,
    /// When it began, in ticks since the host's boot.
    pub(crate) start_time: u64,
}

/// A run record found at start-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRecord {
    /// The guest, by the file's name.
    pub vm: VmId,
    /// The file's content, or why it could not be read.
    pub content: Result<Vec<u8>, String>,
}

impl FoundRecord {
    /// A record has at most so many bytes: a definition, each byte of it escaped, and the rest.
    pub const BYTES_MAX: usize = 6 * crate::model::Definition::BYTES_MAX + (64 << 10);

    /// Whose record a file of the runtime directory is, if it is one.
    pub fn vm_of(path: &Path) -> Option<VmId> {
        let name = path.file_name()?.to_str()?.strip_suffix(".run")?;
        let uuid = Uuid::try_parse(name).ok()?;
        (uuid.as_hyphenated().to_string() == name).then_some(VmId(uuid))
    }

    /// Reads every run record of a runtime directory. Waits for the disk: for start-up only.
    ///
    /// # Errors
    /// The directory cannot be listed. A record that cannot be read is found all the same, and its guest lost.
    #[expect(clippy::disallowed_methods, reason = "called at start-up, before the loop turns")]
    pub fn read_all(runtime_dir: &Path) -> std::io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(runtime_dir)? {
            let path = entry?.path();
            let Some(vm) = Self::vm_of(&path) else { continue };
            let content = regular_file::read(&path, Self::BYTES_MAX, Links::Refuse).map_err(|error| error.to_string());
            found.push(Self { vm, content });
        }
        found.sort_by_key(|record| record.vm);
        Ok(found)
    }
}

/// Where a guest's files are.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    dir: PathBuf,
    vm: VmId,
}

impl Paths {
    pub(super) fn new(dir: &Path, vm: VmId) -> Self {
        Self { dir: dir.to_owned(), vm }
    }

    pub(super) fn record(&self) -> PathBuf {
        self.dir.join(format!("{}.run", self.vm))
    }

    pub(super) fn monitor(&self) -> PathBuf {
        self.dir.join(format!("{}.monitor", self.vm))
    }

    pub(super) fn console(&self) -> PathBuf {
        self.dir.join(format!("{}.console", self.vm))
    }

    pub(super) fn channel(&self, index: usize) -> PathBuf {
        self.dir.join(format!("{}.ch{index}", self.vm))
    }
}

/// Where the launcher writes what is to be a record. One that is killed over it leaves it there.
pub(crate) fn unfinished(record: &Path) -> PathBuf {
    record.with_extension(format!("run{}", crate::files::child::UNFINISHED_SUFFIX))
}

/// When a process began, from what `/proc/PID/stat` says: the 22nd word, counted from behind the last parenthesis, for
/// a program may have a name with spaces and parentheses in it.
pub(crate) fn start_time(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        for name in ["qemu", "a b", "x) S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 9", ""] {
            assert_eq!(start_time(&format!("7 ({name}) {rest}")), Some(4711), "{name}");
        }
        for bad in ["", "7 (a", "7 (a) S 1 2", "7 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"] {
            assert_eq!(start_time(bad), None, "{bad}");
        }
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert!(start_time(&own).unwrap() > 0);
    }

    #[test]
    fn only_files_named_by_a_canonical_uuid_are_records() {
        let vm = "6f1d5f5c-6f0b-4a3e-9d3c-2f6f3b1d8a11";
        assert_eq!(
            FoundRecord::vm_of(Path::new(&format!("/run/vmwire/{vm}.run"))).map(|vm| vm.to_string()).as_deref(),
            Some(vm)
        );
        for other in ["a.run", "6F1D5F5C-6f0b-4a3e-9d3c-2f6f3b1d8a11.run", "x", ".run"] {
            assert_eq!(FoundRecord::vm_of(Path::new(other)), None, "{other}");
        }
        assert_eq!(FoundRecord::vm_of(Path::new(&format!("{vm}.monitor"))), None);
    }

    #[test]
    fn what_stands_in_place_of_a_record_is_found_and_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("6f1d5f5c-6f0b-4a3e-9d3c-2f6f3b1d8a11.run");
        let unread = |what: &str| {
            let found = FoundRecord::read_all(dir.path()).unwrap();
            assert!(matches!(&*found, [FoundRecord { content: Err(_), .. }]), "{what}: {found:?}");
        };
        regular_file::each_impostor(&path, unread);
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        unread("a file without an end");
    }
}
