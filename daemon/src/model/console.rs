//! The newest output of a guest's console. Readers are positions that walk along here; one that is too slow jumps.

use std::collections::VecDeque;

/// The most output that is kept of a guest.
pub const BYTES_MAX: usize = 128 * 1024;

/// Output `start..end` of a console, counted from the first byte ever seen.
#[derive(Debug, Default)]
pub struct Console {
    bytes: VecDeque<u8>,
    end: u64,
}

impl Console {
    /// The position of the oldest byte that is kept.
    pub fn start(&self) -> u64 {
        self.end - u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }

    /// The position behind the newest byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The guest wrote something.
    pub fn push(&mut self, data: &[u8]) {
        self.end += u64::try_from(data.len()).unwrap_or(u64::MAX);
        let data = data.get(data.len().saturating_sub(BYTES_MAX)..).unwrap_or_default();
        let excess = (self.bytes.len() + data.len()).saturating_sub(BYTES_MAX);
        self.bytes.drain(..excess);
        self.bytes.extend(data);
    }

    /// What stands at `position`, at most `bytes_max` of it, and where it really begins: later than asked for when that
    /// was lost already. Empty at the end.
    pub fn read(&self, position: u64, bytes_max: usize) -> (u64, &[u8]) {
        let position = position.clamp(self.start(), self.end);
        let skip = usize::try_from(position - self.start()).unwrap_or(usize::MAX);
        let (older, newer) = self.bytes.as_slices();
        let rest = match older.get(skip..) {
            Some(rest) if !rest.is_empty() => rest,
            _ => newer.get(skip.saturating_sub(older.len())..).unwrap_or_default(),
        };
        (position, rest.get(..bytes_max.min(rest.len())).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_reader_sees_what_was_written_from_wherever_it_stands(
            writes in prop::collection::vec(1_usize..40_000, 1..20),
            from in any::<prop::sample::Index>(),
            step in 1_usize..50_000,
        ) {
            let mut console = Console::default();
            let mut all = Vec::new();
            for length in writes {
                let data: Vec<u8> = (0..length).map(|i| u8::try_from((all.len() + i) % 251).unwrap()).collect();
                console.push(&data);
                all.extend(data);
            }
            prop_assert_eq!(console.end(), u64::try_from(all.len()).unwrap());
            let asked = u64::try_from(from.index(all.len() + 1)).unwrap();
            let (mut position, mut data) = console.read(asked, step);
            prop_assert_eq!(position, asked.max(console.start()));
            while !data.is_empty() {
                let at = usize::try_from(position).unwrap();
                prop_assert_eq!(data, &all[at..at + data.len()]);
                (position, data) = console.read(position + u64::try_from(data.len()).unwrap(), step);
            }
            prop_assert_eq!(position, console.end());
        }
    }

    #[test]
    fn keeps_the_newest_only() {
        let mut console = Console::default();
        console.push(&vec![1; BYTES_MAX]);
        console.push(&[2, 3]);
        assert_eq!((console.start(), console.end()), (2, 2 + u64::try_from(BYTES_MAX).unwrap()));
        assert_eq!(console.read(u64::MAX, 10).1, b"");
    }
}
