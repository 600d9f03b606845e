//! Starting a program. Looking for it and reading its first bytes takes as long as the file system likes that it lies on, and whoever
//! starts a child as everybody does waits until that is done. So ours is not waited for: it says itself what came of it.
//!
//! ```text
//!   agent ──fork──▶ child ──exec──▶ the program: the pipe is closed with it, it has begun
//!                     └──an error's number──▶ it could not begin
//! ```

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::kernel;
use crate::process::Process;

/// A program that begins, or has begun.
#[derive(Debug)]
pub struct Start {
    pipe: Option<PipeReader>,
}

impl Start {
    /// Has a child become a program, whose standard input, output and error are these.
    ///
    /// # Errors
    /// What the system says of the child.
    pub fn begin(mut command: Command, standard: [BorrowedFd<'_>; 3]) -> io::Result<(Process, Start)> {
        let (pipe, theirs) = io::pipe()?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let pid = kernel::fork(standard, theirs, |ready, mut pipe| {
            let error = ready.err().unwrap_or_else(|| command.exec());
            // Who does not read it is gone.
            let _ = pipe.write_all(&error.raw_os_error().unwrap_or_default().to_ne_bytes());
        })?;
        Ok((pid.into(), Start { pipe: Some(pipe) }))
    }

    /// Whether it has begun by now; an error if it will not.
    ///
    /// # Errors
    /// What the system said of the program.
    pub fn has_begun(&mut self) -> io::Result<bool> {
        let Some(pipe) = &mut self.pipe else { return Ok(true) };
        let mut number = [0; 4];
        match pipe.read(&mut number) {
            Ok(0) => {
                self.pipe = None;
                Ok(true)
            }
            Ok(_) => Err(match i32::from_ne_bytes(number) {
                // Only one thing is not told by the system.
                0 => io::Error::new(io::ErrorKind::InvalidInput, "nul byte found in provided data"),
                number => io::Error::from_raw_os_error(number),
            }),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is waited for, to read.
    pub fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }
}

/// Where nothing comes from and everything may go.
///
/// # Errors
/// What the system says.
pub fn nothing() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null")
}
