//! Programs that a command has done for it: the one place where the agent waits for anything but its channel, and it does so in its
//! loop, with a deadline. A program gets a group of its own, and who overstays is killed with all it started.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::error::CommandError;
use crate::feed::Feed;
use crate::leaving::{Leaving, Purpose};
use crate::process::Process;
use crate::starter::{self, Start};

/// What is kept of what a helper says: at least the longest answer of a child of ours, which is a file of keys, each byte of it escaped.
const OUTPUT_BYTES_MAX: usize = 32 << 20;
/// So often is read before others have their turn: more than a pipe holds.
const READS_MAX: usize = 64;

/// A program to be run.
#[derive(Debug)]
pub struct Program {
    /// Its path, or its name to be looked for.
    pub path: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it reads.
    pub input: Vec<u8>,
    /// How long it may take.
    pub span: Duration,
    /// What it is there for.
    pub purpose: Purpose,
}

/// What became of a helper.
#[derive(Debug)]
pub enum End {
    /// It ended, having said this.
    Exited(ExitStatus, Vec<u8>),
    /// It never began.
    NotStarted(io::Error),
    /// It took too long, and was killed.
    TooLong,
}

impl End {
    /// Whether it did what it was to do.
    pub fn is_success(&self) -> bool {
        matches!(self, End::Exited(status, _) if status.success())
    }

    /// What to answer if it did not: `failed` if it said so itself.
    ///
    /// # Errors
    /// It did not.
    pub fn demand(&self, failed: &str) -> Result<(), CommandError> {
        match self {
            End::Exited(status, _) if status.success() => Ok(()),
            End::Exited(status, _) if status.code().is_some() => Err(CommandError::generic(failed)),
            End::Exited(..) => Err(CommandError::generic("child process has terminated abnormally")),
            End::NotStarted(error) => {
                Err(CommandError::generic(format!("failed to create child process: {}", crate::error::reason(error))))
            }
            End::TooLong => Err(CommandError::generic("child process took too long and was killed")),
        }
    }

    /// Its exit code, if it ended by itself.
    pub fn code(&self) -> Option<i32> {
        match self {
            End::Exited(status, _) => status.code(),
            _ => None,
        }
    }

    /// Whether there is no such program.
    pub fn is_not_found(&self) -> bool {
        matches!(self, End::NotStarted(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// A program that runs.
#[derive(Debug)]
pub struct Helper {
    child: Process,
    start: Start,
    stdin: Feed,
    stdout: Option<PipeReader>,
    output: Vec<u8>,
    deadline: Instant,
    purpose: Purpose,
}

impl Helper {
    /// Starts a program. Its standard error is nobody's.
    pub fn start(program: Program, now: Instant) -> Result<Helper, End> {
        let started = || {
            let nothing = starter::nothing()?;
            let (stdin, theirs) = Feed::new((!program.input.is_empty()).then_some(program.input))?;
            let (stdout, output) = io::pipe()?;
            rustix::io::ioctl_fionbio(&stdout, true)?;
            let mut command = Command::new(&program.path);
            command.args(&program.arguments).current_dir("/").process_group(0);
            let (child, start) = Start::begin(command, [theirs.as_fd(), output.as_fd(), nothing.as_fd()])?;
            let deadline = now + program.span;
            let (stdout, output, purpose) = (Some(stdout), Vec::new(), program.purpose);
            Ok(Helper { child, start, stdin, stdout, output, deadline, purpose })
        };
        started().map_err(End::NotStarted)
    }

    /// Until when it has to be done.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// A command has to be done by then.
    pub fn hasten(&mut self, until: Instant) {
        if self.purpose == Purpose::Command {
            self.deadline = self.deadline.min(until);
        }
    }

    /// What has to be waited for.
    pub fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let output = self.stdout.as_ref().map(AsFd::as_fd);
        fds.extend(self.stdin.waits_for().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
        fds.extend(
            output.into_iter().chain(self.start.waits_for()).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
        );
    }

    /// Moves what can be moved. Returns how it ended, or itself if it has not yet.
    ///
    /// # Errors
    /// It goes on.
    pub fn progress(mut self: Box<Self>, now: Instant, leaving: &mut Leaving) -> Result<End, Box<Self>> {
        if let Err(error) = self.start.has_begun() {
            // Whatever it was to do, it will not.
            leaving.kill_group(self.child, Purpose::Other);
            return Ok(End::NotStarted(error));
        }
        self.stdin.progress();
        self.drain();
        // Who inherited its output does not keep us, once it ended itself; but what it said last may have come since we looked.
        if let Ok(Some(status)) = self.child.try_wait() {
            self.drain();
            return Ok(End::Exited(status, self.output));
        }
        if now >= self.deadline {
            self.kill(leaving);
            return Ok(End::TooLong);
        }
        Err(self)
    }

    /// Reads what there is, at most so much at a time that others have their turn.
    fn drain(&mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..READS_MAX {
            let Some(pipe) = &mut self.stdout else { return };
            match pipe.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    let kept = count.min(OUTPUT_BYTES_MAX - self.output.len());
                    self.output.extend_from_slice(&buffer[..kept]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => self.stdout = None,
            }
        }
    }

    /// Ends it and all it started. What hangs in the kernel is left behind.
    pub fn kill(self, leaving: &mut Leaving) {
        leaving.kill_group(self.child, self.purpose);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn who_talks_without_end_is_not_listened_to_without_end() {
        let program = Program {
            path: "sleep".to_owned(),
            arguments: vec!["1000".to_owned()],
            input: Vec::new(),
            span: Duration::from_secs(1000),
            purpose: Purpose::Other,
        };
        let now = Instant::now();
        let mut helper = Helper::start(program, now).unwrap();
        helper.stdout = Some(OwnedFd::from(File::open("/dev/zero").unwrap()).into());
        let mut leaving = Leaving::default();
        let helper = Box::new(helper).progress(now, &mut leaving).unwrap_err();
        // What a child said before its end is in the pipe, and all of it is read.
        assert!(helper.output.len() > 64 << 10, "{}", helper.output.len());
        helper.kill(&mut leaving);
    }
}
