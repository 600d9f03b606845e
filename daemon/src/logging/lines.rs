//! Lines on their way to a reader who may not read: bounded, handed out in chunks that a pipe takes at once, with a
//! count of what found no room. Pure.

use std::collections::VecDeque;

/// `PIPE_BUF`: what a pipe that polls as writable takes whole, without waiting.
pub(super) const CHUNK_BYTES_MAX: usize = 4096;

/// Invariant: `bytes` is the sum of the lengths in `waiting`; `chunk` is what was taken from there and not yet written.
#[derive(Debug)]
pub(super) struct Lines {
    bytes_max: usize,
    waiting: VecDeque<Box<[u8]>>,
    bytes: usize,
    chunk: Vec<u8>,
    /// Not told yet.
    lost: u64,
    lost_ever: u64,
}

impl Lines {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, waiting: VecDeque::new(), bytes: 0, chunk: Vec::new(), lost: 0, lost_ever: 0 }
    }

    /// Takes a line, or counts it as lost. After a loss nothing is taken until the loss itself has been told, so that
    /// it is told where it happened.
    pub(super) fn push(&mut self, line: &[u8]) {
        if self.lost > 0 || self.bytes + line.len() > self.bytes_max {
            self.lost += 1;
            self.lost_ever += 1;
            return;
        }
        self.bytes += line.len();
        self.waiting.push_back(line.into());
    }

    /// Whole lines to be written next, at most `CHUNK_BYTES_MAX`; a longer line goes alone.
    pub(super) fn chunk(&mut self) -> Option<&[u8]> {
        if self.chunk.is_empty() {
            while let Some(line) = self.waiting.front() {
                if !self.chunk.is_empty() && self.chunk.len() + line.len() > CHUNK_BYTES_MAX {
                    break;
                }
                self.chunk.extend_from_slice(line);
                self.bytes -= line.len();
                self.waiting.pop_front();
            }
        }
        if self.chunk.is_empty() && self.lost > 0 {
            self.chunk = format!("{} log lines lost: standard error was not read\n", self.lost).into_bytes();
            self.lost = 0;
        }
        if self.chunk.is_empty() {
            // A burst leaves no memory behind.
            self.chunk = Vec::new();
            self.waiting.shrink_to(64);
            return None;
        }
        Some(&self.chunk)
    }

    pub(super) fn lost_ever(&self) -> u64 {
        self.lost_ever
    }

    /// The first `written` bytes of the chunk have been written.
    pub(super) fn consume(&mut self, written: usize) {
        self.chunk.drain(..written.min(self.chunk.len()));
    }

    /// Forgets everything: there is nobody to read it.
    pub(super) fn discard(&mut self) {
        self.waiting.clear();
        self.bytes = 0;
        self.chunk.clear();
        self.lost = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(lines: &mut Lines) -> Option<String> {
        lines.chunk().map(|chunk| String::from_utf8(chunk.to_vec()).unwrap())
    }

    #[test]
    fn lines_come_out_whole_in_chunks_that_a_pipe_takes() {
        let mut lines = Lines::new(1 << 20);
        let line = [b"y".repeat(1499).as_slice(), b"\n"].concat();
        for _ in 0..3 {
            lines.push(&line);
        }
        assert_eq!(lines.chunk().map(<[u8]>::len), Some(3000));
        lines.consume(10);
        assert_eq!(lines.chunk().map(<[u8]>::len), Some(2990));
        lines.consume(2990);
        assert_eq!(lines.chunk().map(<[u8]>::len), Some(1500));
        lines.consume(1500);
        assert_eq!(lines.chunk(), None);
    }

    #[test]
    fn a_loss_is_told_once_and_where_it_happened() {
        let mut lines = Lines::new(4);
        for line in [b"aa\n", b"bb\n", b"cc\n"] {
            lines.push(line);
        }
        assert_eq!(chunk(&mut lines).as_deref(), Some("aa\n"));
        lines.consume(3);
        // There is room, but the loss comes first.
        lines.push(b"dd\n");
        assert_eq!(chunk(&mut lines).as_deref(), Some("3 log lines lost: standard error was not read\n"));
        lines.consume(1000);
        lines.push(b"ee\n");
        assert_eq!(chunk(&mut lines).as_deref(), Some("ee\n"));
        lines.consume(3);
        assert_eq!(chunk(&mut lines), None);
    }
}
