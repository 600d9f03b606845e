//! The proof of KVM, kept: what `vmwired --probe-kvm` found holds for this boot of the host, until something changes
//! that the finding depends on. Read at start-up; written by the file helper.
//!
//! What stands in the file is believed only if the file is ours alone and everything it was found under is as it is
//! now: the boot, the programs, the device with its rights, and what rights we have. Whatever else is there is proved
//! anew.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{getegid, geteuid, getgroups};
use serde::{Deserialize, Serialize};

use super::Config;
use crate::driver::FileRequest;
use crate::regular_file::{self, Links};

/// Longer than any that was written.
const BYTES_MAX: usize = 16 << 10;
const DEVICE: &str = "/dev/kvm";

/// What was found, and under what.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    under: Circumstances,
    /// The step that refused, and how; absent if KVM is usable.
    why_not: Option<String>,
}

/// What the finding depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Circumstances {
    boot_id: String,
    qemu: PathBuf,
    /// The program that proves; another one may prove in another way.
    program: Option<Node>,
    device: Option<Node>,
    user: u32,
    group: u32,
    groups: Vec<u32>,
}

/// What a path leads to. The moment of change tells of every change of rights, lists of access among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    device: u64,
    inode: u64,
    number: u64,
    mode: u32,
    owner: (u32, u32),
    changed: (i64, i64),
}

impl Node {
    #[expect(clippy::disallowed_methods, reason = "called at start-up, before the loop turns")]
    fn at(path: &Path) -> Option<Self> {
        let stat = std::fs::metadata(path).ok()?;
        Some(Self {
            device: stat.dev(),
            inode: stat.ino(),
            number: stat.rdev(),
            mode: stat.mode(),
            owner: (stat.uid(), stat.gid()),
            changed: (stat.ctime(), stat.ctime_nsec()),
        })
    }
}

impl Circumstances {
    /// Those of this moment.
    pub(super) fn present(boot_id: &str, config: &Config) -> Self {
        let mut groups: Vec<u32> =
            getgroups().unwrap_or_default().into_iter().map(rustix::process::Gid::as_raw).collect();
        groups.sort_unstable();
        Self {
            boot_id: boot_id.to_owned(),
            qemu: config.qemu.clone(),
            program: Node::at(&config.program),
            device: Node::at(Path::new(DEVICE)),
            user: geteuid().as_raw(),
            group: getegid().as_raw(),
            groups,
        }
    }

    /// What was found under the same circumstances, if anything was.
    pub(super) fn recall(&self, runtime_dir: &Path) -> Option<Result<(), String>> {
        let path = path(runtime_dir);
        match read(&path) {
            Ok(kept) if kept.under == *self && !self.boot_id.is_empty() => Some(kept.why_not.map_or(Ok(()), Err)),
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                log::warn!("{}: {error}; KVM is proved anew", path.display());
                None
            }
        }
    }

    /// Asks for a finding to be kept. It has to outlive the daemon, not the host.
    pub(super) fn keep(&self, runtime_dir: &Path, found: &Result<(), String>) -> Option<FileRequest> {
        let kept = Kept { under: self.clone(), why_not: found.clone().err() };
        let data = serde_json::to_vec(&kept).ok().filter(|data| data.len() <= BYTES_MAX)?;
        Some(FileRequest::Write { path: path(runtime_dir), data, durable: false })
    }
}

fn path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("kvm.proof")
}

fn read(path: &Path) -> io::Result<Kept> {
    let file = regular_file::open(path, std::fs::OpenOptions::new().read(true), Links::Refuse)?;
    let stat = file.metadata()?;
    if stat.uid() != geteuid().as_raw() || stat.mode() & 0o022 != 0 {
        return Err(io::Error::other("others could have written it"));
    }
    serde_json::from_slice(&regular_file::read_open(&file, BYTES_MAX)?).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn present(dir: &Path) -> Circumstances {
        Circumstances::present("b00t", &Config::new(dir.to_owned()))
    }

    fn write(dir: &Path, request: Option<FileRequest>) {
        let Some(FileRequest::Write { path, data, durable: false }) = request else { panic!("{request:?}") };
        assert_eq!(path.parent(), Some(dir));
        fs::write(&path, data).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn what_was_found_is_recalled_under_the_same_circumstances_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let now = present(dir.path());
        assert_eq!(now.recall(dir.path()), None);
        for found in [Ok(()), Err("opening /dev/kvm: no".to_owned())] {
            write(dir.path(), now.keep(dir.path(), &found));
            assert_eq!(now.recall(dir.path()), Some(found));
        }
        let node = Node { device: 1, inode: 2, number: 3, mode: 0o20660, owner: (0, 5), changed: (6, 7) };
        let with_device = Circumstances { device: Some(node.clone()), ..now.clone() };
        write(dir.path(), with_device.keep(dir.path(), &Ok(())));
        assert_eq!(with_device.recall(dir.path()), Some(Ok(())));
        for changed in [
            Node { inode: 9, ..node.clone() },
            Node { mode: 0o20666, ..node.clone() },
            Node { owner: (0, 9), ..node.clone() },
            Node { changed: (6, 9), ..node.clone() },
        ] {
            let changed = Circumstances { device: Some(changed), ..now.clone() };
            assert_eq!(changed.recall(dir.path()), None, "{changed:?}");
        }
        for other in [
            Circumstances { boot_id: "other".to_owned(), ..with_device.clone() },
            Circumstances { qemu: "/opt/qemu".into(), ..with_device.clone() },
            Circumstances { program: Some(node), ..with_device.clone() },
            Circumstances { device: None, ..with_device.clone() },
            Circumstances { user: u32::MAX, ..with_device.clone() },
            Circumstances { group: u32::MAX, ..with_device.clone() },
            Circumstances { groups: vec![u32::MAX], ..with_device.clone() },
        ] {
            assert_eq!(other.recall(dir.path()), None, "{other:?}");
        }
        // A system that does not say which boot this is may have booted since.
        let unknown = Circumstances { boot_id: String::new(), ..with_device };
        write(dir.path(), unknown.keep(dir.path(), &Ok(())));
        assert_eq!(unknown.recall(dir.path()), None);
    }

    #[test]
    fn a_change_of_rights_at_the_device_is_another_circumstance() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("device");
        fs::write(&device, "").unwrap();
        let before = Node::at(&device);
        assert!(before.is_some() && before == Node::at(&device));
        fs::set_permissions(&device, Permissions::from_mode(0o606)).unwrap();
        assert_ne!(before, Node::at(&device));
        assert_eq!(Node::at(&dir.path().join("none")), None);
    }

    #[test]
    fn whatever_stands_in_place_of_the_finding_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let now = present(dir.path());
        let place = path(dir.path());
        write(dir.path(), now.keep(dir.path(), &Ok(())));
        let right = fs::read(&place).unwrap();
        for mode in [0o620, 0o602, 0o666] {
            fs::set_permissions(&place, Permissions::from_mode(mode)).unwrap();
            assert_eq!(now.recall(dir.path()), None, "{mode:o}");
        }
        fs::set_permissions(&place, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(now.recall(dir.path()), Some(Ok(())));
        for wrong in [&b""[..], b"{", b"null", b"\xff", &right[..right.len() - 1], &[b' '; BYTES_MAX + 1]] {
            fs::write(&place, wrong).unwrap();
            assert_eq!(now.recall(dir.path()), None, "{wrong:?}");
        }
        regular_file::each_impostor(&place, |what| assert_eq!(now.recall(dir.path()), None, "{what}"));
    }
}
