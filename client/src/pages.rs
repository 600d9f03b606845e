//! Lists that come in pages: asked for one after the other, and never round for ever.

use vmwire_protocol::xdr::Text;

use crate::error::Error;

/// What a list is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Names, by their bytes.
    Name,
    /// Numbers, in decimal.
    Number,
}

impl Order {
    /// Asks for page after page. `ask` is told behind what the page begins, and answers what it is of the list as a whole
    /// that the page tells, and where the list goes on; the page may be without rows all the same. Answers what the first
    /// page told.
    ///
    /// # Errors
    /// What `ask` says; and a list that does not go forward is an error, for it would send us round for ever.
    pub(crate) fn each_page<T>(
        self,
        mut ask: impl FnMut(Text<128>) -> Result<(T, Text<128>), Error>,
    ) -> Result<T, Error> {
        let mut after = Text::default();
        let mut whole = None;
        loop {
            let (told, next) = ask(after.clone())?;
            let told = whole.take().unwrap_or(told);
            if next.is_empty() {
                return Ok(told);
            }
            whole = Some(told);
            if !self.is_further(&after, &next) {
                return Err(Error::Protocol("a list goes on before the place where it was".to_owned()));
            }
            after = next;
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
    use super::*;

    /// Behind what each page was asked for, and how it ended.
    fn walk(order: Order, nexts: &[&str]) -> (Vec<String>, Result<(), Error>) {
        let mut asked = Vec::new();
        let mut nexts = nexts.iter();
        let end = order.each_page(|after| {
            asked.push(after.to_string());
            Ok(((), Text::clipped(nexts.next().expect("it goes on and on"))))
        });
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
}
