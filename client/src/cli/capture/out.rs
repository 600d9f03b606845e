//! Where a capture goes: a file, or standard output, on which nobody is waited for longer than the capture runs.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio::stdout;

/// What a pipe takes at once if it takes anything: Linux says of one that it can be written to when it has a page free.
const AT_ONCE_BYTES: usize = 4096;

/// What a capture is written to.
pub(super) enum Out<'a> {
    File(File),
    Stdout(Patient<'a>),
}

/// Standard output. Whoever reads there may take as long as they like, and hold nobody up who has had enough: when it is over
/// and nobody reads, writing fails with [`ErrorKind::WouldBlock`].
pub(super) struct Patient<'a> {
    /// Readable when somebody ends it.
    ends: BorrowedFd<'a>,
    until: Option<Instant>,
}

impl<'a> Out<'a> {
    pub(super) fn stdout(ends: BorrowedFd<'a>, until: Option<Instant>) -> Self {
        Self::Stdout(Patient { ends, until })
    }
}

impl Patient<'_> {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let now = bytes.get(..AT_ONCE_BYTES).unwrap_or(bytes);
        loop {
            let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = [
                PollFd::from_borrowed_fd(stdout(), PollFlags::OUT),
                PollFd::from_borrowed_fd(self.ends, PollFlags::IN),
            ];
            match poll(&mut fds, timeout.as_ref()) {
                Err(Errno::INTR) => continue,
                polled => polled?,
            };
            if !fds[0].revents().is_empty() {
                match rustix::io::write(stdout(), now) {
                    Err(Errno::AGAIN) => {}
                    written => return Ok(written?),
                }
            }
            if !fds[1].revents().is_empty() || left.is_some_and(|left| left.is_zero()) {
                return Err(ErrorKind::WouldBlock.into());
            }
        }
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout(patient) => patient.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
