//! Programs that a command has done for it: the one place where the agent waits for anything but its channel, and it does so in its
//! loop, with a deadline. A program gets a group of its own, and who overstays is killed with all it started.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::error::CommandError;
use crate::feed::Feed;
use rustix::process::{Pid, Signal, kill_process_group};

/// What is kept of what a helper says.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

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
    child: Child,
    stdin: Feed,
    stdout: Option<ChildStdout>,
    output: Vec<u8>,
    deadline: Instant,
    status: Option<ExitStatus>,
}

impl Helper {
    /// Starts a program. Its standard error is nobody's.
    pub fn start(program: Program, now: Instant) -> Result<Helper, End> {
        let mut child = Command::new(&program.path)
            .args(&program.arguments)
            .current_dir("/")
            .stdin(if program.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(End::NotStarted)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let pipes = Feed::new(stdin, program.input).and_then(|stdin| {
            if let Some(stdout) = &stdout {
                rustix::io::ioctl_fionbio(stdout, true)?;
            }
            Ok(stdin)
        });
        match pipes {
            Ok(stdin) => {
                Ok(Helper { child, stdin, stdout, output: Vec::new(), deadline: now + program.span, status: None })
            }
            Err(error) => {
                kill_group(&mut child);
                Err(End::NotStarted(error))
            }
        }
    }

    /// Until when it has to be done.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What is waited for: to write, to read.
    pub fn pipes(&self) -> (Option<BorrowedFd<'_>>, Option<BorrowedFd<'_>>) {
        (self.stdin.waits_for(), self.stdout.as_ref().map(AsFd::as_fd))
    }

    /// Moves what can be moved. Returns how it ended, once it did.
    pub fn progress(&mut self, now: Instant) -> Option<End> {
        self.stdin.progress();
        self.drain();
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        // Who inherited its output does not keep us, once it ended itself; but what it said last may have come since we looked.
        if let Some(status) = self.status {
            self.drain();
            return Some(End::Exited(status, std::mem::take(&mut self.output)));
        }
        if now >= self.deadline {
            self.kill();
            return Some(End::TooLong);
        }
        None
    }

    fn drain(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(pipe) = &mut self.stdout {
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
    pub fn kill(&mut self) {
        kill_group(&mut self.child);
    }
}

/// Ends a child and all it started, unless the kernel keeps it.
pub(crate) fn kill_group(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.try_wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, span: Duration) -> End {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let program = Program { path: "sh".to_owned(), arguments, input: b"word".to_vec(), span };
        let mut helper = Helper::start(program, Instant::now()).unwrap();
        loop {
            if let Some(end) = helper.progress(Instant::now()) {
                return end;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn nothing_is_lost_of_what_a_helper_said_last() {
        for _ in 0..30 {
            match run("cat; head -c 50000 /dev/zero; echo end", Duration::from_secs(60)) {
                End::Exited(status, said) => {
                    assert!(status.success());
                    assert!(said.starts_with(b"word\0") && said.ends_with(b"end\n"), "{} bytes", said.len());
                }
                end => panic!("{end:?}"),
            }
        }
    }

    #[test]
    fn a_helper_that_hangs_is_killed_with_all_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let started = directory.path().join("started");
        let script = format!("sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait", started.display());
        let begin = Instant::now();
        assert!(matches!(run(&script, Duration::from_secs(5)), End::TooLong));
        assert!(begin.elapsed() < Duration::from_secs(60));
        let pid: i32 = std::fs::read_to_string(started).unwrap().trim().parse().unwrap();
        // It is gone, or waits for somebody to take note.
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        while !(state().is_empty() || state().contains(") Z ")) {
            assert!(begin.elapsed() < Duration::from_secs(60), "{}", state());
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_cannot_be_started_is_told() {
        let program = |path: &str| Program {
            path: path.to_owned(),
            arguments: Vec::new(),
            input: Vec::new(),
            span: Duration::ZERO,
        };
        assert!(Helper::start(program("/nonexistent/x"), Instant::now()).unwrap_err().is_not_found());
    }
}
