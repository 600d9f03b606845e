//! Lines that wait for a disk, and what became of those that found no room or no disk.
//!
//! ```text
//!   push ──▶ last chunk … first chunk ──▶ take ──▶ with the file helper ──▶ written
//!     └─ no room ─┐                                     └─ failed ─┐
//!                 └────────▶ counted, and told in its place ◀──────┘
//! ```
//! One chunk at a time is with the file helper, so that the place of what was lost is known exactly. A chunk is all that
//! waits, up to a bound: however much happens in a turn of the loop, the next request takes it along. A line goes where the
//! audit was to be kept when it was made.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Settings;
use super::line::Line;

/// What is written at once at most. A file that is to be shorter than this is written in smaller pieces.
const CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that wait at most.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// So many do not wait for more.
const ENOUGH_BYTES: usize = 64 * 1024;

/// Whole lines, for how many records they stand, and where they go.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) records: Records,
    pub(super) to: Arc<Settings>,
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
/// Invariant: `bytes` is the sum of the chunks'. No chunk is empty, none is longer than `chunk_bytes_max` of where it goes,
/// but by lines that tell of losses.
#[derive(Debug, Default)]
pub(super) struct Lines {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// Records that were lost before the first chunk.
    lost_before: u64,
    /// Records that were lost behind the last one.
    lost_behind: u64,
    /// Where a line is made, so that making one allocates nothing.
    scratch: Vec<u8>,
}

impl Lines {
    /// Takes a line that `write` makes. If there is no room, it is counted. Says whether there was.
    pub(super) fn push(&mut self, utc_ns: u64, to: &Arc<Settings>, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.scratch.clear();
        let lost = self.lost_behind;
        if lost > 0 {
            tell_lost(&mut self.scratch, utc_ns, lost);
        }
        write(&mut self.scratch);
        if self.bytes + self.scratch.len() > BYTES_MAX {
            self.lost_behind += 1;
            return false;
        }
        let records = Records { all: 1 + lost, lost };
        self.bytes += self.scratch.len();
        let fits =
            |last: &Chunk| last.bytes.len() + self.scratch.len() <= chunk_bytes_max(to) && Arc::ptr_eq(&last.to, to);
        match self.chunks.back_mut().filter(|last| fits(last)) {
            Some(last) => {
                last.bytes.extend_from_slice(&self.scratch);
                last.records.add(records);
            }
            None => self.chunks.push_back(Chunk { bytes: self.scratch.clone(), records, to: Arc::clone(to) }),
        }
        self.lost_behind = 0;
        true
    }

    /// Takes the oldest lines, which are told to have been lost if they cannot be written.
    pub(super) fn take(&mut self, utc_ns: u64) -> Option<Chunk> {
        let mut chunk = self.chunks.pop_front()?;
        self.bytes -= chunk.bytes.len();
        if self.lost_before > 0 {
            let mut told = Vec::with_capacity(chunk.bytes.len() + ENOUGH_BYTES);
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

    /// How many records wait that were not lost already.
    pub(super) fn records(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.records.all - chunk.records.lost).sum()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Whether so much waits that it is to be written now.
    pub(super) fn is_enough(&self) -> bool {
        self.bytes >= ENOUGH_BYTES
    }
}

/// What is written there at once at most: no more than a file of it may have.
fn chunk_bytes_max(to: &Settings) -> usize {
    usize::try_from(to.rotate_bytes).map_or(CHUNK_BYTES_MAX, |bytes| bytes.min(CHUNK_BYTES_MAX))
}

fn tell_lost(out: &mut Vec<u8>, utc_ns: u64, lost: u64) {
    Line::begin(out, utc_ns, "lost").number("lost", lost).end();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Level, Rate};
    use super::*;

    fn settings(rotate_bytes: u64) -> Arc<Settings> {
        let rate = Rate { burst: 0, interval: Duration::ZERO };
        Arc::new(Settings { path: "/audit".into(), level: Level::All, rotate_bytes, keep: 1, rate })
    }

    /// Numbers the lines, and makes each so long.
    fn push(lines: &mut Lines, to: &Arc<Settings>, number: usize, bytes: usize) -> bool {
        lines.push(0, to, |out| out.extend_from_slice(format!("{}{number:04}\n", "0".repeat(bytes - 5)).as_bytes()))
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
        let (mut lines, to) = (Lines::default(), settings(1 << 40));
        for number in 0..4 {
            assert!(push(&mut lines, &to, number, CHUNK_BYTES_MAX), "{number}");
        }
        for number in 100..107 {
            assert!(!push(&mut lines, &to, number, 100), "{number}");
        }
        assert_eq!((lines.lost_before + lines.lost_behind, lines.bytes), (7, BYTES_MAX));
        let first = lines.take(0).unwrap();
        assert_eq!((read(&first), first.records.all), (vec![0], 1));
        assert!(push(&mut lines, &to, 200, 100));
        assert_eq!(lines.lost_before + lines.lost_behind, 0);
        for number in 1..4 {
            assert_eq!(read(&lines.take(0).unwrap()), [number]);
        }
        let last = lines.take(0).unwrap();
        assert_eq!((read(&last), last.records), (vec![-7, 200], Records { all: 8, lost: 7 }));
        assert!(lines.take(0).is_none() && lines.is_empty() && lines.bytes == 0);
    }

    #[test]
    fn what_could_not_be_written_is_told_before_what_comes_next_also_if_that_was_told_in_vain() {
        let (mut lines, to) = (Lines::default(), settings(1 << 40));
        for number in 0..3 {
            push(&mut lines, &to, number, 100);
        }
        let failed = lines.take(0).unwrap();
        push(&mut lines, &to, 3, 100);
        lines.lose(failed.records.all);
        let again = lines.take(0).unwrap();
        assert_eq!(read(&again), [-3, 3]);
        assert_eq!((again.records, lines.lost_before + lines.lost_behind), (Records { all: 4, lost: 3 }, 0));
        lines.lose(again.records.all);
        push(&mut lines, &to, 4, 100);
        assert_eq!(read(&lines.take(0).unwrap()), [-4, 4]);
    }

    #[test]
    fn all_that_waits_is_one_chunk_unless_that_is_more_than_a_file_may_have() {
        for (rotate_bytes, chunks) in [(1 << 40, 1), (64 * 1024, 5)] {
            let (mut lines, to) = (Lines::default(), settings(rotate_bytes));
            for number in 0..1000 {
                push(&mut lines, &to, number, 300);
            }
            assert!(lines.is_enough());
            let (mut read_back, mut taken) = (Vec::new(), 0);
            while let Some(chunk) = lines.take(0) {
                assert!(chunk.bytes.len() <= chunk_bytes_max(&to) && chunk.bytes.ends_with(b"\n"));
                read_back.extend(read(&chunk));
                taken += 1;
            }
            assert_eq!((read_back, taken), ((0..1000).collect::<Vec<i64>>(), chunks));
        }
    }

    #[test]
    fn a_line_goes_where_the_audit_was_kept_when_it_was_made() {
        let (mut lines, old, new) = (Lines::default(), settings(1 << 40), settings(1 << 20));
        for (number, to) in [(0, &old), (1, &old), (2, &new), (3, &new)] {
            push(&mut lines, to, number, 100);
        }
        for (expected, to) in [([0, 1], &old), ([2, 3], &new)] {
            let chunk = lines.take(0).unwrap();
            assert!(read(&chunk) == expected && Arc::ptr_eq(&chunk.to, to));
        }
    }
}
