//! What the launcher (`vmwired --launch`) is told, and how it is started and answers.
//!
//! The request waits for it in a file of memory as its standard input, so that the loop never waits for a reader. What
//! it has to say against the request it says as JSON on standard error, which becomes QEMU's.

use std::io::{self, Seek, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::argv::File;
use super::record::Record;
use crate::driver::{DriverError, DriverErrorKind};

/// The argument that makes `vmwired` a launcher.
pub const ARGUMENT: &str = "--launch";
/// The launcher's exit status when QEMU never came to be.
pub(crate) const EXIT_REFUSED: u8 = 70;
/// Where programs are sought that are not named by a path.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the launcher does.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// QEMU.
    pub(crate) program: PathBuf,
    /// Its arguments; those for `files` are added.
    pub(crate) argv: Vec<String>,
    /// What to open and hand over.
    pub(crate) files: Vec<File>,
    /// The run record to complete, and where it is.
    pub(crate) record: Option<(PathBuf, Record)>,
    /// Whether it has to end with the daemon.
    pub(crate) dies_with_parent: bool,
    /// The daemon. If it is gone, nothing is launched.
    pub(crate) parent: u32,
}

/// Why the launcher launched nothing.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// In words.
    pub(crate) message: String,
    /// The chain of causes, outermost first.
    pub(crate) causes: Vec<String>,
    /// What the person could do.
    pub(crate) hint: String,
}

impl From<Refusal> for DriverError {
    fn from(refusal: Refusal) -> Self {
        let Refusal { message, causes, hint } = refusal;
        Self { kind: DriverErrorKind::Failed, message, causes, hint }
    }
}

/// A child on its way to be QEMU.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    /// What it and later QEMU write to standard error, or another child to standard output.
    pub(super) output: mio::unix::pipe::Receiver,
}

/// Starts the launcher. The sockets of `kept` stay open in the child under the same numbers.
pub(super) fn launch(program: &Path, request: &Request, kept: &[BorrowedFd<'_>]) -> io::Result<Launched> {
    let text = serde_json::to_vec(request)?;
    let memory = rustix::fs::memfd_create("vmwire-launch", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut memory = std::fs::File::from(memory);
    memory.write_all(&text)?;
    memory.rewind()?;
    // Nobody else starts a child in between: there is one thread.
    for socket in kept {
        rustix::io::fcntl_setfd(socket, FdFlags::empty())?;
    }
    let child = Command::new(program)
        .arg(ARGUMENT)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(memory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    for socket in kept {
        rustix::io::fcntl_setfd(socket, FdFlags::CLOEXEC)?;
    }
    let mut child = child?;
    let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    watchable(&child, stderr.into())
}

/// Starts the KVM probe (`vmwired --probe-kvm`).
pub(super) fn probe_kvm(program: &Path) -> io::Result<Launched> {
    let mut child = Command::new(program)
        .arg(crate::probe_kvm::ARGUMENT)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    watchable(&child, stdout.into())
}

fn watchable(child: &Child, output: OwnedFd) -> io::Result<Launched> {
    let output = mio::unix::pipe::Receiver::from(ChildStdout::from(output));
    output.set_nonblocking(true)?;
    // The number is still its own: nobody has waited for the child.
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    Ok(Launched { pid: child.id(), pidfd, output })
}
