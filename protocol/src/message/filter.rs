//! What the filters of VM_LIST mean, for the daemon and for a client that filters what an older daemon does not.

use std::fmt;

use super::list::{VmCell, VmFilter, filter_comparison};

/// The longest pattern, in bytes: matching takes time in proportion to it, for each row.
pub const PATTERN_BYTES_MAX: usize = 128;

/// Why a filter makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterError {
    /// This version has no such comparison.
    Comparison(u32),
    /// The comparison takes a pattern.
    NoPattern,
    /// The pattern has more than [`PATTERN_BYTES_MAX`] bytes.
    LongPattern,
    /// The comparison takes a number.
    NoNumber,
}

impl VmFilter {
    /// Whether the comparison is known and takes the value.
    ///
    /// # Errors
    /// Says why not.
    pub fn check(&self) -> Result<(), FilterError> {
        match (self.comparison, &self.value) {
            (filter_comparison::EQUAL | filter_comparison::NOT_EQUAL, _)
            | (filter_comparison::AT_LEAST | filter_comparison::AT_MOST, VmCell::Number(_)) => Ok(()),
            (filter_comparison::AT_LEAST | filter_comparison::AT_MOST, _) => Err(FilterError::NoNumber),
            (filter_comparison::MATCHES, VmCell::Text(pattern)) if pattern.len() <= PATTERN_BYTES_MAX => Ok(()),
            (filter_comparison::MATCHES, VmCell::Text(_)) => Err(FilterError::LongPattern),
            (filter_comparison::MATCHES, _) => Err(FilterError::NoPattern),
            (unknown, _) => Err(FilterError::Comparison(unknown)),
        }
    }

    /// Whether a cell satisfies the condition. Where it is absent or of another sort than the value, only `NOT_EQUAL` holds.
    pub fn holds(&self, cell: &VmCell) -> bool {
        match (self.comparison, cell, &self.value) {
            (filter_comparison::EQUAL, cell, value) => cell == value,
            (filter_comparison::NOT_EQUAL, cell, value) => cell != value,
            (filter_comparison::MATCHES, VmCell::Text(text), VmCell::Text(pattern)) => matches(pattern, text),
            (filter_comparison::MATCHES, VmCell::Items(items), VmCell::Text(pattern)) => {
                items.iter().any(|item| matches(pattern, item))
            }
            (filter_comparison::AT_LEAST, VmCell::Number(number), VmCell::Number(least)) => number >= least,
            (filter_comparison::AT_MOST, VmCell::Number(number), VmCell::Number(most)) => number <= most,
            _ => false,
        }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Comparison(number) => write!(f, "there is no comparison {number} in this version"),
            Self::NoPattern => write!(f, "this comparison needs a pattern"),
            Self::LongPattern => write!(f, "a pattern has at most {PATTERN_BYTES_MAX} bytes"),
            Self::NoNumber => write!(f, "this comparison needs a number"),
        }
    }
}

impl std::error::Error for FilterError {}

/// Whether `text` matches a pattern in which `*` stands for any text and `?` for one character. In linear memory and at
/// most quadratic time, whatever the pattern.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and how far its text reaches at present.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, reach)) => {
                    star = Some((at, reach + 1));
                    p = at + 1;
                    t = reach + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::xdr::Text;

    #[test]
    fn patterns_stand_for_what_a_shell_user_expects() {
        let rows = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("web*", "web-1", true),
            ("web*", "db", false),
            ("*-1", "web-1", true),
            ("w?b", "web", true),
            ("w?b", "wb", false),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c", "xxaxxbxxcxx", false),
            ("?", "ä", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
    }

    fn model(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), None) => model(rest, text),
            (Some(('*', rest)), Some((_, tail))) => model(rest, text) || model(pattern, tail),
            (Some((p, rest)), Some((t, tail))) => (*p == '?' || p == t) && model(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matches_as_the_obvious_definition_does(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(matches(&pattern, &text), model(&p, &t));
        }
    }

    #[test]
    fn an_absent_cell_differs_from_everything_and_compares_with_nothing() {
        let filter = |comparison, value| VmFilter { field: 1, comparison, value };
        let text = |text: &str| VmCell::Text(Text::clipped(text));
        let hold = |comparison, value, cell: &VmCell| filter(comparison, value).holds(cell);
        assert!(hold(filter_comparison::NOT_EQUAL, VmCell::Number(1), &VmCell::Absent));
        assert!(!hold(filter_comparison::AT_LEAST, VmCell::Number(0), &VmCell::Absent));
        assert!(!hold(filter_comparison::MATCHES, text("*"), &VmCell::Absent));
        assert!(hold(filter_comparison::AT_LEAST, VmCell::Number(5), &VmCell::Number(5)));
        assert!(!hold(filter_comparison::AT_LEAST, VmCell::Number(6), &VmCell::Number(5)));
        assert!(hold(filter_comparison::AT_MOST, VmCell::Number(5), &VmCell::Number(5)));
        assert!(!hold(filter_comparison::MATCHES, text("5"), &VmCell::Number(5)));
        assert!(hold(filter_comparison::EQUAL, text("t"), &text("t")));
    }

    #[test]
    fn a_filter_that_makes_no_sense_says_why() {
        let check = |comparison, value| VmFilter { field: 1, comparison, value }.check();
        let text = |text: &str| VmCell::Text(Text::clipped(text));
        assert_eq!(check(9, VmCell::Absent), Err(FilterError::Comparison(9)));
        assert_eq!(check(filter_comparison::MATCHES, VmCell::Number(1)), Err(FilterError::NoPattern));
        assert_eq!(check(filter_comparison::MATCHES, text(&"x".repeat(129))), Err(FilterError::LongPattern));
        assert_eq!(check(filter_comparison::MATCHES, text(&"x".repeat(128))), Ok(()));
        assert_eq!(check(filter_comparison::AT_MOST, text("1")), Err(FilterError::NoNumber));
        assert_eq!(check(filter_comparison::NOT_EQUAL, VmCell::Absent), Ok(()));
    }
}
