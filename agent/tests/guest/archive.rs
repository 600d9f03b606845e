//! An archive that a kernel unpacks over the guest's own: programs with their libraries, and the script that starts them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// The archive, in the form "newc".
pub(crate) struct Archive {
    bytes: Vec<u8>,
    taken: Vec<String>,
}

impl Archive {
    pub(crate) fn new() -> Archive {
        Archive { bytes: Vec::new(), taken: Vec::new() }
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) {
        let number = u32::try_from(self.taken.len() + 1).unwrap();
        let length = u32::try_from(data.len()).unwrap();
        let name_length = u32::try_from(name.len() + 1).unwrap();
        // inode, mode, uid, gid, links, mtime, size, device (2), of a device (2), length of the name, checksum
        let fields = [number, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_length, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
        self.taken.push(name.to_owned());
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The directories that a path needs.
    fn directories(&mut self, path: &str) {
        for (place, _) in path.match_indices('/') {
            let directory = path[..place].to_owned();
            if !directory.is_empty() && !self.taken.contains(&directory) {
                self.entry(&directory, 0o40755, b"");
            }
        }
    }

    /// A file at an absolute path.
    pub(crate) fn file(&mut self, path: &str, mode: u32, data: &[u8]) {
        let path = path.trim_start_matches('/');
        if self.taken.iter().any(|taken| taken == path) {
            return;
        }
        self.directories(path);
        self.entry(path, 0o100_000 | mode, data);
    }

    /// A link.
    pub(crate) fn link(&mut self, path: &str, to: &str) {
        let path = path.trim_start_matches('/');
        self.directories(path);
        self.entry(path, 0o120_777, to.as_bytes());
    }

    /// A program of this machine, with the libraries that it is linked with.
    pub(crate) fn program(&mut self, path: &str, from: &Path) {
        let mode = std::fs::metadata(from).unwrap().permissions().mode() & 0o777;
        self.file(path, mode, &std::fs::read(from).unwrap());
        let output = Command::new("ldd").arg(from).output().unwrap();
        for word in String::from_utf8_lossy(&output.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
            self.file(word, 0o755, &std::fs::read(word).unwrap());
        }
    }

    /// The whole of it.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self.bytes
    }
}
