//! What a program reads, given to it as it takes it.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ChildStdin;

/// A pipe into a program, and what goes through it.
#[derive(Debug)]
pub struct Feed {
    pipe: Option<ChildStdin>,
    input: Vec<u8>,
    given: usize,
}

impl Feed {
    /// Begins to feed a program; `None` for one that reads nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(pipe: Option<ChildStdin>, input: Vec<u8>) -> io::Result<Feed> {
        if let Some(pipe) = &pipe {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        Ok(Feed { pipe, input, given: 0 })
    }

    /// What is waited for, to write.
    pub fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// How much is kept until it is taken.
    pub fn waiting_bytes(&self) -> usize {
        self.input.len()
    }

    /// Gives what is taken.
    pub fn progress(&mut self) {
        while let Some(pipe) = &mut self.pipe {
            match pipe.write(&self.input[self.given..]) {
                Ok(count) if self.given + count < self.input.len() => self.given += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // All is given, or nobody takes it any more.
                _ => {
                    self.input = Vec::new();
                    self.given = 0;
                    self.pipe = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn more_than_a_pipe_holds_arrives_whole() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input: Vec<u8> = (0..1_000_000_u32).map(|place| place.to_le_bytes()[1]).collect();
        let mut feed = Feed::new(child.stdin.take(), input.clone()).unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            stdout.read_to_end(&mut read).unwrap();
            read
        });
        while feed.waits_for().is_some() {
            feed.progress();
            std::thread::yield_now();
        }
        assert!(reader.join().unwrap() == input);
        child.wait().unwrap();
    }
}
