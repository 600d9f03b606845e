//! Cutting a list into pages.

use vmwire_protocol::limits::SERVER_BYTES_MAX;
use vmwire_protocol::message::{Failure, code};
use vmwire_protocol::xdr::{List, Text, Wire};

/// What the rows of an answer may take: a packet without its head, the cursor and the place where the list goes on.
const ROWS_BYTES_MAX: usize = SERVER_BYTES_MAX - 1024;

/// The number behind which a list ordered by number goes on.
pub(super) fn number_after(after: &str) -> Result<u64, Failure> {
    if after.is_empty() {
        return Ok(0);
    }
    // Digits alone: the parser of numbers would take a sign as well.
    let number = after.parse().ok().filter(|_| after.bytes().all(|byte| byte.is_ascii_digit()));
    number.ok_or_else(|| {
        Failure::new(code::INVALID, "the list is ordered by number: `after` has to be one, in decimal")
            .detail("field", "after")
    })
}

/// What looking at a row costs, however little it says: finding it, and asking whether it is meant.
pub(super) const ROW_WORK: usize = 128;

/// The work after which a page ends although it could hold more rows. In bytes that are compared with something, a
/// few nanoseconds each: it bounds for how long everybody else waits. 4,096 short rows stay well below it.
pub(super) const WORK_MAX: usize = 1024 * 1024;

/// A part of a list.
#[derive(Debug)]
pub(super) struct Page<T, const MAX: usize> {
    /// The rows.
    pub(super) rows: List<T, MAX>,
    /// Where the list goes on; empty at its end.
    pub(super) next: Text<128>,
    /// The work that was done for it: the looking, and each byte of the rows.
    pub(super) work: usize,
}

impl<T: Wire, const MAX: usize> Page<T, MAX> {
    /// Looks at one candidate after the other: until there are as many rows as asked for and allowed, as many as fit into a
    /// packet, or work enough. The first candidate is looked at whatever that costs, and the first row taken however long
    /// it is, so that every page leads on.
    ///
    /// Each candidate comes with what it is ordered by. `look` makes a row of it, if it belongs into the list, and adds
    /// what it did to the work; `bytes` is what a row takes on the wire, or more.
    pub(super) fn of<K: ToString, C>(
        mut candidates: impl Iterator<Item = (K, C)>,
        rows_max: u32,
        mut look: impl FnMut(C, &mut usize) -> Option<T>,
        bytes: impl Fn(&T) -> usize,
    ) -> Self {
        let asked = usize::try_from(rows_max).unwrap_or(usize::MAX);
        let most = if asked == 0 { MAX } else { asked.min(MAX) };
        let mut rows = Vec::new();
        let (mut left, mut work) = (ROWS_BYTES_MAX, 0);
        let mut last = None;
        let more = loop {
            if rows.len() == most || work >= WORK_MAX {
                break candidates.next().is_some();
            }
            let Some((key, candidate)) = candidates.next() else { break false };
            work += ROW_WORK;
            if let Some(row) = look(candidate, &mut work) {
                let bytes = bytes(&row);
                if bytes > left && !rows.is_empty() {
                    break true;
                }
                left = left.saturating_sub(bytes);
                rows.push(row);
            }
            last = Some(key);
        };
        let next = last.filter(|_| more).map_or_else(Text::default, |last| Text::clipped(&last.to_string()));
        // What a packet holds bounds the page already; whoever asks for many such pages has to wait in between.
        work = work.saturating_add(ROWS_BYTES_MAX - left);
        Self { rows: List::clipped(rows), next, work }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page<const MAX: usize>(candidates: std::ops::Range<u32>, rows_max: u32) -> Page<u32, MAX> {
        Page::of(candidates.map(|n| (n, n)), rows_max, |n, _| Some(n), |_| 4)
    }

    #[test]
    fn pages_say_where_the_list_goes_on_and_only_then() {
        assert_eq!(page::<4>(0..3, 0).next, "");
        assert_eq!(page::<4>(0..4, 0).next, "");
        let part = page::<4>(0..5, 0);
        assert_eq!((part.rows.as_slice(), part.next.as_str()), (&[0, 1, 2, 3][..], "3"));
        let part = page::<4>(0..5, 2);
        assert_eq!((part.rows.as_slice(), part.next.as_str()), (&[0, 1][..], "1"));
        assert!(number_after("x").is_err() && number_after("+7").is_err());
        assert_eq!(number_after("7"), Ok(7));
    }

    #[test]
    fn a_page_ends_where_a_packet_would() {
        let page = |candidates: std::ops::Range<u32>, bytes: fn(&u32) -> usize| {
            Page::<u32, 4096>::of(candidates.map(|n| (n, n)), 0, |n, _| Some(n), bytes)
        };
        let part = page(0..9, |_| ROWS_BYTES_MAX / 3);
        assert_eq!((part.rows.len(), part.next.as_str()), (3, "2"));
        let part = page(0..9, |n| if *n < 2 { 4 } else { ROWS_BYTES_MAX });
        assert_eq!((part.rows.len(), part.next.as_str()), (2, "1"));
        assert_eq!(part.work, 3 * ROW_WORK + 2 * 4, "the one that does not fit was looked at");
        let part = page(0..2, |_| usize::MAX);
        assert_eq!((part.rows.len(), part.next.as_str()), (1, "0"), "a list goes on, whatever its rows");
        assert!(part.work > WORK_MAX, "long rows are work for everybody who waits");
    }

    #[test]
    fn a_page_ends_when_it_was_work_enough_and_goes_on_behind_what_was_looked_at() {
        let page = |candidates: std::ops::Range<u32>, each: usize, chosen: fn(&u32) -> bool| {
            let look = |n: u32, work: &mut usize| {
                *work += each;
                Some(n).filter(chosen)
            };
            Page::<u32, 4096>::of(candidates.map(|n| (n, n)), 0, look, |_| 4)
        };
        let part = page(0..9, WORK_MAX / 3, |n| *n == 1);
        assert_eq!((part.rows.as_slice(), part.next.as_str()), (&[1][..], "2"), "not behind the last row, which is 1");
        let part = page(3..9, WORK_MAX / 3, |n| *n == 1);
        assert_eq!((part.rows.as_slice(), part.next.as_str()), (&[][..], "5"), "a page without rows leads on");
        let part = page(6..9, WORK_MAX / 3, |n| *n == 1);
        assert_eq!((part.rows.as_slice(), part.next.as_str()), (&[][..], ""), "nothing is left to be looked at");
        let part = page(0..9, usize::MAX / 2, |_| true);
        assert_eq!((part.rows.as_slice(), part.next.as_str()), (&[0][..], "0"), "one is looked at, whatever it costs");
        let part = page(0..4096, 0, |_| true);
        assert_eq!((part.rows.len(), part.next.as_str()), (4096, ""), "short rows are no work");
    }
}
