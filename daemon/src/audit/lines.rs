//! Lines that wait for a disk, and what became of those that found no room or no disk.
//!
//! ```text
//!   push ──▶ last chunk … first chunk ──▶ take ──▶ with the file helper ──▶ written
//!     └─ no room ─┐                                     └─ failed ─┐
//!                 └────────▶ counted, and told in its place ◀──────┘
//! ```
//! One chunk at a time is with the file helper, so that the place of what was lost is known exactly.

use std::collections::VecDeque;

use super::line::Line;

/// What is written at once at most.
pub(super) const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// Chunks that wait at most.
const CHUNKS_MAX: usize = 16;

/// Whole lines, and for how many records they stand.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) records: Records,
}

/// How many records lines stand for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Records {
    /// All of them.
    pub(super) all: u64,
    /// Those among them of which a line says that they were lost.
    pub(super) lost: u64,
}

impl Records {
    fn add(&mut self, other: Self) {
        self.all += other.all;
        self.lost += other.lost;
    }
}

/// Lines that wait.
///
/// Invariant: no chunk is empty, none is longer than `CHUNK_BYTES_MAX` but by lines that tell of losses.
#[derive(Debug, Default)]
pub(super) struct Lines {
    chunks: VecDeque<Chunk>,
    /// Records that were lost before the first chunk.
    lost_before: u64,
    /// Records that were lost behind the last one.
    lost_behind: u64,
    /// Where a line is made, so that making one allocates nothing.
    scratch: Vec<u8>,
}

impl Lines {
    /// Takes a line that `write` makes. If there is no room, it is counted. Says whether there was.
    pub(super) fn push(&mut self, utc_ns: u64, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.scratch.clear();
        let lost = self.lost_behind;
        if lost > 0 {
            tell_lost(&mut self.scratch, utc_ns, lost);
        }
        let records = Records { all: 1 + lost, lost };
        write(&mut self.scratch);
        let room = self.chunks.len() < CHUNKS_MAX;
        match self.chunks.back_mut() {
            Some(last) if last.bytes.len() + self.scratch.len() <= CHUNK_BYTES_MAX => {
                last.bytes.extend_from_slice(&self.scratch);
                last.records.add(records);
            }
            _ if room => self.chunks.push_back(Chunk { bytes: self.scratch.clone(), records }),
            _ => {
                self.lost_behind += 1;
                return false;
            }
        }
        self.lost_behind = 0;
        true
    }

    /// Takes the oldest lines, which are told to have been lost if they cannot be written.
    pub(super) fn take(&mut self, utc_ns: u64) -> Option<Chunk> {
        let mut chunk = self.chunks.pop_front()?;
        if self.lost_before > 0 {
            let mut told = Vec::with_capacity(CHUNK_BYTES_MAX);
            tell_lost(&mut told, utc_ns, self.lost_before);
            told.append(&mut chunk.bytes);
            chunk.bytes = told;
            let lost = std::mem::take(&mut self.lost_before);
            chunk.records.add(Records { all: lost, lost });
        }
        Some(chunk)
    }

    /// Records that were taken could not be written.
    pub(super) fn lose(&mut self, records: u64) {
        self.lost_before += records;
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Whether so much waits that it is to be written now.
    pub(super) fn is_full(&self) -> bool {
        self.chunks.len() > 1
    }
}

fn tell_lost(out: &mut Vec<u8>, utc_ns: u64, lost: u64) {
    Line::begin(out, utc_ns, "lost").number("lost", lost).end();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers the lines, and makes each so long.
    fn push(lines: &mut Lines, number: usize, bytes: usize) -> bool {
        lines.push(0, |out| out.extend_from_slice(format!("{number:0>width$}\n", width = bytes - 1).as_bytes()))
    }

    /// What stands in a chunk: numbers of lines, and how many were lost as a negative number.
    fn read(chunk: &Chunk) -> Vec<i64> {
        let lines = std::str::from_utf8(&chunk.bytes).unwrap().lines();
        let read = |line: &str| match serde_json::from_str::<serde_json::Value>(line) {
            Ok(value) if value.is_object() => -value["lost"].as_i64().unwrap(),
            _ => line.parse().unwrap(),
        };
        lines.map(read).collect()
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told_where_it_would_have_stood() {
        let mut lines = Lines::default();
        for number in 0..CHUNKS_MAX {
            assert!(push(&mut lines, number, CHUNK_BYTES_MAX), "{number}");
        }
        for number in 100..107 {
            assert!(!push(&mut lines, number, 100), "{number}");
        }
        assert_eq!(lines.lost_before + lines.lost_behind, 7);
        let first = lines.take(0).unwrap();
        assert_eq!((read(&first), first.records.all), (vec![0], 1));
        assert!(push(&mut lines, 200, 100));
        assert_eq!(lines.lost_before + lines.lost_behind, 0);
        for number in 1..16 {
            assert_eq!(read(&lines.take(0).unwrap()), [number]);
        }
        let last = lines.take(0).unwrap();
        assert_eq!((read(&last), last.records), (vec![-7, 200], Records { all: 8, lost: 7 }));
        assert!(lines.take(0).is_none() && lines.is_empty());
    }

    #[test]
    fn what_could_not_be_written_is_told_before_what_comes_next_also_if_that_was_told_in_vain() {
        let mut lines = Lines::default();
        for number in 0..3 {
            push(&mut lines, number, 100);
        }
        let failed = lines.take(0).unwrap();
        push(&mut lines, 3, 100);
        lines.lose(failed.records.all);
        let again = lines.take(0).unwrap();
        assert_eq!(read(&again), [-3, 3]);
        assert_eq!((again.records, lines.lost_before + lines.lost_behind), (Records { all: 4, lost: 3 }, 0));
        lines.lose(again.records.all);
        push(&mut lines, 4, 100);
        assert_eq!(read(&lines.take(0).unwrap()), [-4, 4]);
    }

    #[test]
    fn a_chunk_is_no_longer_than_it_may_be_and_holds_whole_lines() {
        let mut lines = Lines::default();
        for number in 0..1000 {
            push(&mut lines, number, 300);
        }
        assert!(lines.is_full());
        let mut read_back = Vec::new();
        while let Some(chunk) = lines.take(0) {
            assert!(chunk.bytes.len() <= CHUNK_BYTES_MAX && chunk.bytes.ends_with(b"\n"));
            read_back.extend(read(&chunk));
        }
        assert_eq!(read_back, (0..1000).collect::<Vec<i64>>());
    }
}
