//! A child of ours, by its number: who started it does not matter to who waits for it or ends it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};

/// A child that nobody has taken note of the end of. Its number is nobody else's until then.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
}

impl From<Pid> for Process {
    fn from(pid: Pid) -> Process {
        Process { pid }
    }
}

impl From<&Child> for Process {
    fn from(child: &Child) -> Process {
        Process { pid: Pid::from_child(child) }
    }
}

impl Process {
    /// Its number.
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// How it ended, once it has; it may not be asked again then.
    ///
    /// # Errors
    /// It is no child of ours.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        let ended = waitpid(Some(self.pid), WaitOptions::NOHANG)?;
        Ok(ended.map(|(_, status)| ExitStatus::from_raw(status.as_raw())))
    }

    /// Ends it, unless the kernel keeps it.
    pub fn kill(&self) {
        let _ = kill_process(self.pid, Signal::KILL);
    }

    /// The same with all of its group, if it has one of its own.
    pub fn kill_group(&self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
        // It may not have got as far as to have one.
        self.kill();
    }
}
