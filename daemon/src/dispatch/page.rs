//! Cutting a list into pages.

use vmwire_protocol::limits::SERVER_BYTES_MAX;
use vmwire_protocol::message::{Failure, code};
use vmwire_protocol::xdr::{List, Text};

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

/// The first of `rows`, as many as asked for and allowed and as fit into a packet, and where the list goes on. `bytes` is
/// what a row takes on the wire, or more. The first row is taken however long it is.
pub(super) fn rows<T, const MAX: usize>(
    rows: impl Iterator<Item = T>,
    rows_max: u32,
    key: impl Fn(&T) -> String,
    bytes: impl Fn(&T) -> usize,
) -> (List<T, MAX>, Text<128>) {
    let asked = usize::try_from(rows_max).unwrap_or(usize::MAX);
    let most = if asked == 0 { MAX } else { asked.min(MAX) };
    let mut rows = rows.peekable();
    let mut taken = Vec::new();
    let mut left = ROWS_BYTES_MAX;
    while taken.len() < most
        && let Some(row) = rows.next_if(|row| taken.is_empty() || bytes(row) <= left)
    {
        left = left.saturating_sub(bytes(&row));
        taken.push(row);
    }
    let next = match (rows.peek(), taken.last()) {
        (Some(_), Some(last)) => Text::clipped(&key(last)),
        _ => Text::default(),
    };
    (List::clipped(taken), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_say_where_the_list_goes_on_and_only_then() {
        let (key, bytes) = (|n: &u32| n.to_string(), |_: &u32| 4);
        assert_eq!(rows::<_, 4>(0..3_u32, 0, key, bytes).1, "");
        assert_eq!(rows::<_, 4>(0..4_u32, 0, key, bytes).1, "");
        let (taken, next) = rows::<_, 4>(0..5_u32, 0, key, bytes);
        assert_eq!((taken.as_slice(), next.as_str()), (&[0, 1, 2, 3][..], "3"));
        let (taken, next) = rows::<_, 4>(0..5_u32, 2, key, bytes);
        assert_eq!((taken.as_slice(), next.as_str()), (&[0, 1][..], "1"));
        assert!(number_after("x").is_err() && number_after("+7").is_err());
        assert_eq!(number_after("7"), Ok(7));
    }

    #[test]
    fn a_page_ends_where_a_packet_would() {
        let key = |n: &u32| n.to_string();
        let (taken, next) = rows::<_, 4096>(0..9_u32, 0, key, |_| ROWS_BYTES_MAX / 3);
        assert_eq!((taken.len(), next.as_str()), (3, "2"));
        let (taken, next) = rows::<_, 4096>(0..9_u32, 7, key, |n| if *n < 2 { 4 } else { ROWS_BYTES_MAX });
        assert_eq!((taken.len(), next.as_str()), (2, "1"));
        let (taken, next) = rows::<_, 4096>(0..2_u32, 0, key, |_| usize::MAX);
        assert_eq!((taken.len(), next.as_str()), (1, "0"), "a list goes on, whatever its rows");
    }
}
