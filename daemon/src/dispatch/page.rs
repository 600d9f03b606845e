//! Cutting a list into pages.

use vmwire_protocol::message::{Failure, code};
use vmwire_protocol::xdr::{List, Text};

/// The number behind which a list ordered by number goes on.
pub(super) fn number_after(after: &str) -> Result<u64, Failure> {
    if after.is_empty() {
        return Ok(0);
    }
    after.parse().map_err(|_| {
        Failure::new(code::INVALID, "the list is ordered by number: `after` has to be one, in decimal")
            .detail("field", "after")
    })
}

/// The first of `rows`, as many as asked for and allowed, and where the list goes on.
pub(super) fn rows<T, const MAX: usize>(
    rows: impl Iterator<Item = T>,
    rows_max: u32,
    key: impl Fn(&T) -> String,
) -> (List<T, MAX>, Text<128>) {
    let asked = usize::try_from(rows_max).unwrap_or(usize::MAX);
    let most = if asked == 0 { MAX } else { asked.min(MAX) };
    let mut rows = rows.peekable();
    let mut taken = Vec::new();
    while taken.len() < most
        && let Some(row) = rows.next()
    {
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
        let key = |n: &u32| n.to_string();
        assert_eq!(rows::<_, 4>(0..3_u32, 0, key).1, "");
        assert_eq!(rows::<_, 4>(0..4_u32, 0, key).1, "");
        let (taken, next) = rows::<_, 4>(0..5_u32, 0, key);
        assert_eq!((taken.as_slice(), next.as_str()), (&[0, 1, 2, 3][..], "3"));
        let (taken, next) = rows::<_, 4>(0..5_u32, 2, key);
        assert_eq!((taken.as_slice(), next.as_str()), (&[0, 1][..], "1"));
        assert!(number_after("x").is_err());
        assert_eq!(number_after("7"), Ok(7));
    }
}
