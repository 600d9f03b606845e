//! A process under watch: its end, and the last it wrote.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use mio::Token;
use mio::unix::SourceFd;
use mio::unix::pipe::Receiver;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus};

use super::launch::{EXIT_REFUSED, Launched, Refusal};
use super::lifecycle::Exit;
use crate::driver::Host;

/// How much of its output is kept, counted from its end.
const TAIL_BYTES_MAX: usize = 16 << 10;
/// How many of its last lines are told.
const LINES_MAX: usize = 12;
/// How much of a line is told.
const LINE_CHARS_MAX: usize = 240;

/// A process under watch.
#[derive(Debug)]
pub(super) struct Watched {
    pidfd: OwnedFd,
    pidfd_token: Token,
    output: Option<(Receiver, Token)>,
    tail: Vec<u8>,
}

impl Watched {
    /// Watches a child. If that cannot be done, it is killed.
    pub(super) fn child(host: &mut dyn Host, launched: Launched) -> io::Result<Self> {
        let Launched { pid: _, pidfd, mut output } = launched;
        let output_token = match host.watch(&mut output) {
            Ok(token) => token,
            Err(error) => {
                kill(&pidfd);
                return Err(error);
            }
        };
        match host.watch(&mut SourceFd(&pidfd.as_raw_fd())) {
            Ok(pidfd_token) => Ok(Self { pidfd, pidfd_token, output: Some((output, output_token)), tail: Vec::new() }),
            Err(error) => {
                kill(&pidfd);
                host.unwatch(&mut output, output_token);
                Err(error)
            }
        }
    }

    /// Watches a process that is not our child. Whatever becomes of the watch, nothing is done to it.
    pub(super) fn process(host: &mut dyn Host, pidfd: OwnedFd) -> io::Result<Self> {
        let pidfd_token = host.watch(&mut SourceFd(&pidfd.as_raw_fd()))?;
        Ok(Self { pidfd, pidfd_token, output: None, tail: Vec::new() })
    }

    /// The tokens under which readiness for it comes.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        [Some(self.pidfd_token), self.output.as_ref().map(|(_, token)| *token)].into_iter().flatten()
    }

    /// Ends it now.
    pub(super) fn kill(&self) {
        kill(&self.pidfd);
    }

    pub(super) fn unwatch(&mut self, host: &mut dyn Host) {
        host.unwatch(&mut SourceFd(&self.pidfd.as_raw_fd()), self.pidfd_token);
        if let Some((mut output, token)) = self.output.take() {
            host.unwatch(&mut output, token);
        }
    }

    /// Takes what is there of its output, and says whether the process has ended.
    pub(super) fn has_ended(&mut self, host: &mut dyn Host) -> bool {
        // In this order: what it wrote before its end is then there.
        let ended = has_ended(&self.pidfd);
        self.drain_output(host);
        ended
    }

    /// How it ended. Only to be asked once it has.
    pub(super) fn exit(&mut self) -> Exit {
        // A process that is no child of ours keeps its status to itself.
        let status =
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        let status = status.ok().flatten();
        let exit_status = status.as_ref().and_then(WaitIdStatus::exit_status);
        let refusal: Option<Refusal> = match exit_status {
            Some(status) if status == i32::from(EXIT_REFUSED) => serde_json::from_slice(&self.tail).ok(),
            _ => None,
        };
        Exit {
            status: exit_status,
            signal: status.as_ref().and_then(WaitIdStatus::terminating_signal),
            stderr: lines(&self.tail),
            launcher: refusal.map(Into::into),
        }
    }

    /// The last it wrote.
    pub(super) fn written(&self) -> &[u8] {
        &self.tail
    }

    fn drain_output(&mut self, host: &mut dyn Host) {
        let Some((mut output, token)) = self.output.take() else { return };
        let mut buffer = [0; 4096];
        // As much as a pipe holds: somebody who writes without end must not keep the loop.
        for _ in 0..32 {
            match output.read(&mut buffer) {
                Ok(0) => return host.unwatch(&mut output, token),
                Ok(count) => {
                    self.tail.extend_from_slice(&buffer[..count]);
                    let surplus = self.tail.len().saturating_sub(TAIL_BYTES_MAX);
                    self.tail.drain(..surplus);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return host.unwatch(&mut output, token),
            }
        }
        self.output = Some((output, token));
    }
}

fn kill(pidfd: &OwnedFd) {
    // It can only fail if the process is gone.
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
}

/// Whether a process has ended, noticed by its parent or not.
pub(super) fn has_ended(pidfd: &OwnedFd) -> bool {
    let now = Timespec::try_from(Duration::ZERO).ok();
    let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(rustix::event::poll(&mut polled, now.as_ref()), Ok(count) if count > 0)
}

/// The last lines of what was written, for people. Control characters stay as they are: whoever shows them escapes.
fn lines(tail: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(tail).replace('\0', "\u{fffd}");
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let surplus = lines.len().saturating_sub(LINES_MAX);
    lines[surplus..].iter().map(|line| line.chars().take(LINE_CHARS_MAX).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_standard_error_are_told_and_nothing_without_bounds() {
        assert_eq!(lines(b"a\r\n\n \nb\x1b[2J\0\xff"), ["a", "b\u{1b}[2J\u{fffd}\u{fffd}"]);
        let many: String = (0..100).map(|n| format!("{n}\n")).collect();
        assert_eq!(lines(many.as_bytes()), (88..100).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(lines("ä".repeat(5000).as_bytes())[0].chars().count(), LINE_CHARS_MAX);
    }
}
