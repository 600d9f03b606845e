//! What a path has to be that the daemon is told, in the file or on the command line.

use std::path::Path;

/// What a socket's path may be long: `sun_path` without its final zero byte.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The longest path that Linux takes, without the closing zero.
const PATH_BYTES_MAX: usize = 4095;

/// The longest name of a guest's socket in the runtime directory: `/`, a uuid, `.monitor` or `.console`.
const VM_SOCKET_NAME_BYTES_MAX: usize = 1 + 36 + 8;

/// More than the longest name in the state directory, that of a definition while it is written:
/// `/vms/.UUID.toml.PID-NUMBER.unfinished`.
const STATE_NAME_BYTES_MAX: usize = 127;

/// What is to be at a path.
#[derive(Debug)]
pub(super) struct Purpose {
    what: &'static str,
    bytes_max: usize,
    /// Whether it is a directory.
    directory: bool,
}

/// A socket to listen at.
pub(super) const SOCKET: Purpose = Purpose { what: "to listen at", bytes_max: SOCKET_PATH_BYTES_MAX, directory: false };

/// Where definitions are kept.
pub(super) const STATE_DIR: Purpose =
    Purpose { what: "to keep definitions in", bytes_max: PATH_BYTES_MAX - STATE_NAME_BYTES_MAX, directory: true };

/// Where the sockets of guests are.
pub(super) const RUNTIME_DIR: Purpose = Purpose {
    what: "for the sockets of guests",
    bytes_max: SOCKET_PATH_BYTES_MAX - VM_SOCKET_NAME_BYTES_MAX,
    directory: true,
};

/// The audit; the longest name of an old one is longer by `.1000`.
pub(super) const AUDIT: Purpose = Purpose { what: "for a file", bytes_max: PATH_BYTES_MAX - 5, directory: false };

/// A key, a certificate, a list of what was revoked.
pub(super) const CERTIFICATE: Purpose = Purpose { what: "for a file", bytes_max: PATH_BYTES_MAX, directory: false };

/// QEMU, unless it is a name alone.
const PROGRAM: Purpose = Purpose { what: "for a program", bytes_max: PATH_BYTES_MAX, directory: false };

impl Purpose {
    /// Whether there can be such a thing at `path`; else why not.
    pub(super) fn check(&self, path: &Path) -> Result<(), String> {
        if !path.is_absolute() {
            return Err(format!("{path:?} is not absolute; begin it with a /"));
        }
        no_control(path)?;
        let bytes = path.as_os_str().len();
        if bytes > self.bytes_max {
            let (what, bytes_max) = (self.what, self.bytes_max);
            return Err(format!("{path:?} is too long {what}: it has {bytes} bytes, at most {bytes_max} fit"));
        }
        // The last part of `/a/` and of `/a/.` is `a` for Path, and the directory itself for the system.
        let last = path.as_os_str().as_encoded_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if !self.directory && matches!(last, b"" | b"." | b"..") {
            return Err(format!("{path:?} is the name of a directory; write that of a file behind it"));
        }
        Ok(())
    }
}

/// Whether QEMU can be called so: by an absolute path, or by a name that is sought in the usual directories.
pub(super) fn check_program(text: &str) -> Result<(), String> {
    match text {
        "" => Err("an empty text names no program; write a path, or a name alone".to_owned()),
        name if !name.contains('/') && !matches!(name, "." | "..") => no_control(Path::new(name)),
        path if !path.starts_with('/') => {
            Err(format!("{path:?} is neither absolute nor a name alone; begin it with a /, or write no / at all"))
        }
        path => PROGRAM.check(Path::new(path)),
    }
}

/// Nobody means them, and they are hard to see in whatever shows the path later.
fn no_control(path: &Path) -> Result<(), String> {
    match path.to_string_lossy().chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("{path:?} has the control character {c:?} in it; write it without")),
        None => Ok(()),
    }
}
