//! Text that is not ours, on its way to a terminal.
//!
//! Names, titles, messages and causes come from definitions, guests and QEMU. Printed as they are they could move the
//! cursor, rename the window or turn the line around; so whatever does not print is shown by its number instead.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character acts on the terminal or on the order of its neighbours instead of being seen: C0, DEL, C1, the
/// bidirectional controls, line and paragraph separator.
pub(crate) fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// One line that is safe to print: every character that [`acts`] is written as its escape.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// Several lines that are safe to print: line feeds and tabs stay, everything else that [`acts`] is escaped.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t'))
}

fn escape(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let must = |c: char| acts(c) && !stays(c);
    if !text.contains(must) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if !must(c) {
            safe.push(c);
            continue;
        }
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            other => {
                // Writing to a String cannot fail.
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(other));
            }
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_shown_by_its_number() {
        let table = [
            ("web-1", "web-1"),
            ("größer 山", "größer 山"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\u{9b}2Jb", "a\\u{9b}2Jb"),
            ("a\u{7f}b\u{0}c", "a\\u{7f}b\\u{0}c"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("abc\u{202e}cba\u{2066}x\u{2028}", "abc\\u{202e}cba\\u{2066}x\\u{2028}"),
        ];
        for (text, safe) in table {
            assert_eq!(line(text), safe);
        }
        assert_eq!(lines("a\n\tb\r\u{1b}c"), "a\n\tb\\r\\u{1b}c");
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text in any::<String>()) {
            prop_assert!(!line(&text).contains(acts));
            prop_assert!(!lines(&text).contains(|c| acts(c) && c != '\n' && c != '\t'));
        }
    }
}
