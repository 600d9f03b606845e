//! What a program reads, given to it as it takes it.

use std::fs::File;
use std::io::{self, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A pipe into a program, and what goes through it.
#[derive(Debug)]
pub struct Feed {
    pipe: Option<PipeWriter>,
    input: Vec<u8>,
    given: usize,
}

impl Feed {
    /// Begins to feed a program, which reads from what is returned, too; with `None` it reads nothing.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(input: Option<Vec<u8>>) -> io::Result<(Feed, OwnedFd)> {
        let Some(input) = input else {
            let feed = Feed { pipe: None, input: Vec::new(), given: 0 };
            return Ok((feed, File::open("/dev/null")?.into()));
        };
        let (reader, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&writer, true)?;
        Ok((Feed { pipe: Some(writer), input, given: 0 }, reader.into()))
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
        let input: Vec<u8> = (0..1_000_000_u32).map(|place| place.to_le_bytes()[1]).collect();
        let (mut feed, stdin) = Feed::new(Some(input.clone())).unwrap();
        let mut child = Command::new("cat").stdin(stdin).stdout(Stdio::piped()).spawn().unwrap();
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
