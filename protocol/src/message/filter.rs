//! What the filters of VM_LIST mean, for the daemon and for a client that filters what an older daemon does not.

use std::fmt;

use super::list::{VmCell, VmFilter, filter_comparison};
use super::pattern::{PATTERN_BYTES_MAX, Pattern};

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

/// A filter that makes sense, made ready once to be held against many cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmCondition<'a> {
    field: u32,
    test: Test<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test<'a> {
    Equal(&'a VmCell),
    NotEqual(&'a VmCell),
    Matches(Pattern),
    AtLeast(u64),
    AtMost(u64),
}

impl VmFilter {
    /// What it asks of a row, if the comparison is known and takes the value.
    ///
    /// # Errors
    /// Says why not.
    pub fn condition(&self) -> Result<VmCondition<'_>, FilterError> {
        let test = match (self.comparison, &self.value) {
            (filter_comparison::EQUAL, value) => Test::Equal(value),
            (filter_comparison::NOT_EQUAL, value) => Test::NotEqual(value),
            (filter_comparison::MATCHES, VmCell::Text(pattern)) => Test::Matches(Pattern::new(pattern)?),
            (filter_comparison::MATCHES, _) => return Err(FilterError::NoPattern),
            (filter_comparison::AT_LEAST, VmCell::Number(least)) => Test::AtLeast(*least),
            (filter_comparison::AT_MOST, VmCell::Number(most)) => Test::AtMost(*most),
            (filter_comparison::AT_LEAST | filter_comparison::AT_MOST, _) => return Err(FilterError::NoNumber),
            (unknown, _) => return Err(FilterError::Comparison(unknown)),
        };
        Ok(VmCondition { field: self.field, test })
    }
}

impl VmCondition<'_> {
    /// The field whose cell it is about.
    pub fn field(&self) -> u32 {
        self.field
    }

    /// Whether a cell satisfies it. Where the cell is absent or of another sort than the value, only `NOT_EQUAL` holds.
    pub fn holds(&self, cell: &VmCell) -> bool {
        match (&self.test, cell) {
            (Test::Equal(value), cell) => cell == *value,
            (Test::NotEqual(value), cell) => cell != *value,
            (Test::Matches(pattern), VmCell::Text(text)) => pattern.matches(text),
            (Test::Matches(pattern), VmCell::Items(items)) => items.iter().any(|item| pattern.matches(item)),
            (Test::AtLeast(least), VmCell::Number(number)) => number >= least,
            (Test::AtMost(most), VmCell::Number(number)) => number <= most,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::{List, Text};

    #[test]
    fn an_absent_cell_differs_from_everything_and_compares_with_nothing() {
        let filter = |comparison, value| VmFilter { field: 1, comparison, value };
        let text = |text: &str| VmCell::Text(Text::clipped(text));
        let hold = |comparison, value, cell: &VmCell| filter(comparison, value).condition().unwrap().holds(cell);
        assert!(hold(filter_comparison::NOT_EQUAL, VmCell::Number(1), &VmCell::Absent));
        assert!(!hold(filter_comparison::AT_LEAST, VmCell::Number(0), &VmCell::Absent));
        assert!(!hold(filter_comparison::MATCHES, text("*"), &VmCell::Absent));
        assert!(hold(filter_comparison::AT_LEAST, VmCell::Number(5), &VmCell::Number(5)));
        assert!(!hold(filter_comparison::AT_LEAST, VmCell::Number(6), &VmCell::Number(5)));
        assert!(hold(filter_comparison::AT_MOST, VmCell::Number(5), &VmCell::Number(5)));
        assert!(!hold(filter_comparison::MATCHES, text("5"), &VmCell::Number(5)));
        assert!(hold(filter_comparison::EQUAL, text("t"), &text("t")));
        let items = VmCell::Items(List::clipped([Text::clipped("a"), Text::clipped("web")]));
        assert!(hold(filter_comparison::MATCHES, text("w*"), &items));
        assert!(!hold(filter_comparison::MATCHES, text("x*"), &items));
    }

    #[test]
    fn a_filter_that_makes_no_sense_says_why() {
        let check = |comparison, value| VmFilter { field: 1, comparison, value }.condition().map(drop);
        let text = |text: &str| VmCell::Text(Text::clipped(text));
        assert_eq!(check(9, VmCell::Absent), Err(FilterError::Comparison(9)));
        assert_eq!(check(filter_comparison::MATCHES, VmCell::Number(1)), Err(FilterError::NoPattern));
        assert_eq!(check(filter_comparison::MATCHES, text(&"x".repeat(129))), Err(FilterError::LongPattern));
        assert_eq!(check(filter_comparison::MATCHES, text(&"x".repeat(128))), Ok(()));
        assert_eq!(check(filter_comparison::AT_MOST, text("1")), Err(FilterError::NoNumber));
        assert_eq!(check(filter_comparison::NOT_EQUAL, VmCell::Absent), Ok(()));
    }
}
