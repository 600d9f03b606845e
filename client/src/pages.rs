//! Lists that come in pages: asked for one after the other, and never without end.
//!
//! A daemon may end a page early, even an empty one, and go on: it looks at so much at a time, whatever of it is meant. So
//! what bounds a list is the list as a whole, the [`Allowance`]: of time, where the program has set some, and of room.

use std::time::{Duration, Instant};

use vmwire_protocol::message::{ClientInfo, ConnectionInfo, Failure, OperationInfo, VmCell};
use vmwire_protocol::xdr::{Text, Wire, encode};

use crate::error::Error;

/// What the rows of a list may take here.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a page is counted for at least, so that empty ones have an end as well: 65,536 of them. A real daemon ends a page
/// after a megabyte of work, which eight filters of the longest kind make of two virtual machines: that is 2,048 pages
/// for 4,096 of them.
const PAGE_BYTES: usize = 1024;

/// What a list as a whole may take.
#[derive(Debug)]
pub(crate) struct Allowance {
    began: Instant,
    deadline: Option<Duration>,
    bytes: usize,
}

impl Allowance {
    /// For a list that begins now and whose calls have one deadline together.
    pub(crate) fn new(deadline: Option<Duration>) -> Self {
        Self { began: Instant::now(), deadline, bytes: BYTES_MAX }
    }

    /// The deadline of the next call: what is left of the time.
    ///
    /// # Errors
    /// When nothing is left.
    pub(crate) fn deadline(&self) -> Result<Option<Duration>, Error> {
        let Some(whole) = self.deadline else { return Ok(None) };
        let left = whole.saturating_sub(self.began.elapsed());
        if left.is_zero() { Err(Error::Deadline(whole)) } else { Ok(Some(left)) }
    }

    /// What went wrong with one of the calls, told of the list: the program knows of one deadline only.
    pub(crate) fn told(&self, error: Error) -> Error {
        match (error, self.deadline) {
            (Error::Deadline(_), Some(whole)) => Error::Deadline(whole),
            (error, _) => error,
        }
    }

    /// Takes room for what has come.
    ///
    /// # Errors
    /// When there is none left.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        let left = self.bytes.checked_sub(bytes).ok_or_else(|| {
            let (mebibytes, pages) = (BYTES_MAX / (1024 * 1024), BYTES_MAX / PAGE_BYTES);
            Error::Protocol(format!("a list takes more than {mebibytes} MiB or {pages} pages"))
        })?;
        self.bytes = left;
        Ok(())
    }
}

/// A row, counted before it is kept.
pub(crate) trait Row {
    /// What it takes here, or more.
    fn bytes(&self) -> usize;
}

impl Row for Text<64> {
    fn bytes(&self) -> usize {
        Self::BYTES_MAX
    }
}

impl Row for ConnectionInfo {
    fn bytes(&self) -> usize {
        Self::BYTES_MAX
    }
}

impl Row for ClientInfo {
    fn bytes(&self) -> usize {
        Self::BYTES_MAX
    }
}

impl Row for OperationInfo {
    /// Only a failure is long, and few operations have one.
    fn bytes(&self) -> usize {
        let mut failure = Vec::new();
        let encoded = self.failure.as_ref().map_or(Ok(()), |value| encode(&mut failure, value));
        let failure_bytes = if encoded.is_ok() { failure.len() } else { Failure::BYTES_MAX };
        Self::BYTES_MAX - Failure::BYTES_MAX + failure_bytes
    }
}

impl Row for Vec<VmCell> {
    fn bytes(&self) -> usize {
        let text = |text: &Text<1024>| size_of::<Text<1024>>() + text.len();
        let beside = |cell: &VmCell| match cell {
            VmCell::Absent | VmCell::Number(_) => 0,
            VmCell::Text(value) => value.len(),
            VmCell::Items(items) => items.iter().map(text).sum(),
        };
        size_of::<Self>() + self.iter().map(|cell| size_of::<VmCell>() + beside(cell)).sum::<usize>()
    }
}

/// What came of one call for a page.
pub(crate) struct Page<T, R> {
    /// What it tells of the list as a whole.
    pub(crate) told: T,
    /// Its rows; there may be none, although the list goes on.
    pub(crate) rows: R,
    /// Where the list goes on; empty at its end.
    pub(crate) next: Text<128>,
}

/// What a list is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Names, by their bytes.
    Name,
    /// Numbers, in decimal.
    Number,
}

impl Order {
    /// Asks for page after page and hands each row to `keep`. `ask` is told behind what the page begins and what is left
    /// of the time. Answers what the first page told.
    ///
    /// # Errors
    /// What `ask` says; and a list that is more than its allowance, or does not go forward, for it would send us round
    /// for ever.
    pub(crate) fn each_page<T, R>(
        self,
        allowance: &mut Allowance,
        mut ask: impl FnMut(Text<128>, Option<Duration>) -> Result<Page<T, R>, Error>,
        mut keep: impl FnMut(R::Item),
    ) -> Result<T, Error>
    where
        R: IntoIterator<Item: Row>,
    {
        let mut after = Text::default();
        let mut whole = None;
        loop {
            let page = ask(after.clone(), allowance.deadline()?).map_err(|error| allowance.told(error))?;
            allowance.hold(PAGE_BYTES)?;
            for row in page.rows {
                allowance.hold(row.bytes())?;
                keep(row);
            }
            let told = whole.take().unwrap_or(page.told);
            if page.next.is_empty() {
                return Ok(told);
            }
            whole = Some(told);
            if !self.is_further(&after, &page.next) {
                return Err(Error::Protocol("a list goes on before the place where it was".to_owned()));
            }
            after = page.next;
        }
    }

    fn is_further(self, after: &str, next: &str) -> bool {
        match self {
            Self::Name => next > after,
            Self::Number => match (number(after), number(next)) {
                (after, Some(next)) => after.is_none_or(|after| next > after),
                (_, None) => false,
            },
        }
    }
}

/// Digits alone: the parser of numbers would take a sign as well.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use vmwire_protocol::xdr::List;

    use super::*;

    /// Behind what each page was asked for, and how it ended.
    fn walk(order: Order, nexts: &[&str]) -> (Vec<String>, Result<(), Error>) {
        let mut asked = Vec::new();
        let mut nexts = nexts.iter();
        let ask = |after: Text<128>, _: Option<Duration>| {
            asked.push(after.to_string());
            let next = Text::clipped(nexts.next().expect("it goes on and on"));
            Ok(Page { told: (), rows: Vec::<Text<64>>::new(), next })
        };
        let end = order.each_page(&mut Allowance::new(None), ask, drop);
        (asked, end)
    }

    #[test]
    fn a_list_of_names_goes_forward_or_ends() {
        let (asked, end) = walk(Order::Name, &["a", "a-", "b", ""]);
        assert_eq!(asked, ["", "a", "a-", "b"]);
        end.unwrap();
        for nexts in [["b", "b"], ["b", "a"], ["9", "10"]] {
            let (asked, end) = walk(Order::Name, &nexts);
            assert_eq!(asked, ["", nexts[0]]);
            assert!(matches!(end, Err(Error::Protocol(_))), "{end:?}");
        }
    }

    #[test]
    fn a_list_of_numbers_goes_forward_by_their_value() {
        let (asked, end) = walk(Order::Number, &["9", "10", "18446744073709551615", ""]);
        assert_eq!(asked, ["", "9", "10", "18446744073709551615"]);
        end.unwrap();
        for nexts in [["9", "9"], ["9", "8"], ["9", "009"], ["9", "+10"], ["9", "x"], ["9", "18446744073709551616"]] {
            let (asked, end) = walk(Order::Number, &nexts);
            assert_eq!(asked, ["", "9"]);
            assert!(matches!(end, Err(Error::Protocol(_))), "{nexts:?}: {end:?}");
        }
        assert!(walk(Order::Number, &["-"]).1.is_err());
    }

    /// A daemon whose list goes forward for ever, with such rows on each page. Answers how many pages and rows were asked
    /// for and kept, and how that ended.
    fn endless<R: Row + Clone>(deadline: Option<Duration>, rows: &[R], takes: Duration) -> (usize, usize, Error) {
        let (mut asked, mut kept) = (0_usize, 0_usize);
        let ask = |_: Text<128>, left: Option<Duration>| {
            asked += 1;
            assert!(asked < 1_000_000, "it does not end");
            assert_eq!(left.is_some(), deadline.is_some());
            assert!(left <= deadline);
            std::thread::sleep(takes.min(left.unwrap_or(takes)));
            Ok(Page { told: (), rows: rows.to_vec(), next: Text::clipped(&asked.to_string()) })
        };
        let end = Order::Number.each_page(&mut Allowance::new(deadline), ask, |_| kept += 1);
        (asked, kept, end.unwrap_err())
    }

    #[test]
    fn all_pages_of_a_list_have_one_deadline() {
        let deadline = Duration::from_secs(2);
        let began = Instant::now();
        let (asked, _, error) = endless::<Text<64>>(Some(deadline), &[], Duration::from_millis(400));
        assert!(matches!(error, Error::Deadline(time) if time == deadline), "{error:?}");
        assert!((1..=5).contains(&asked), "{asked} pages");
        assert!(began.elapsed() >= deadline);
        let late = |_: Text<128>, left: Option<Duration>| -> Result<Page<(), Vec<Text<64>>>, _> {
            Err(Error::Deadline(left.unwrap() / 2))
        };
        let error = Order::Name.each_page(&mut Allowance::new(Some(deadline)), late, drop).unwrap_err();
        assert!(matches!(error, Error::Deadline(time) if time == deadline), "what is told is the whole: {error:?}");
    }

    #[test]
    fn a_list_that_goes_forward_for_ever_ends_when_it_takes_too_much() {
        let (pages, _, error) = endless::<Text<64>>(None, &[], Duration::ZERO);
        assert_eq!(pages, BYTES_MAX / PAGE_BYTES + 1);
        let text = error.to_string();
        assert!(text.ends_with("a list takes more than 64 MiB or 65536 pages"), "{text}");

        let names = vec![Text::<64>::clipped(""); 4096];
        let (_, kept, error) = endless(None, &names, Duration::ZERO);
        assert!(matches!(error, Error::Protocol(_)), "{error:?}");
        assert!((900_000..1_000_000).contains(&kept), "{kept} names");

        let long = VmCell::Items(List::clipped(vec![Text::clipped(&"z".repeat(1024)); 64]));
        let (pages, kept, _) = endless(None, &[vec![long.clone(); 4], vec![long; 4]], Duration::ZERO);
        assert!((200..256).contains(&kept) && pages <= 128, "{kept} rows on {pages} pages");

        let operation = |failure: Option<Failure>| OperationInfo {
            id: 1,
            procedure: 1,
            vm: None,
            identity: Text::default(),
            state: 1,
            queued_ns: 1,
            begun_ns: 0,
            ended_ns: 0,
            failure,
        };
        let causes = List::clipped([Text::clipped(&"z".repeat(1024))]);
        let failed = operation(Some(Failure { causes, ..Failure::default() }));
        assert!(failed.bytes() > 1024 && operation(None).bytes() < 1024);
    }
}
