//! Text that is not ours, on its way to a terminal.
//!
//! Names, titles, messages and causes come from definitions, guests and QEMU. Printed as they are they could move the
//! cursor, rename the window or turn the line around; so whatever does not print is shown by its number instead.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character acts on the terminal or on the order and form of its neighbours instead of being seen: C0, DEL,
/// C1, and what is [`unseen`].
pub(crate) fn acts(c: char) -> bool {
    c.is_control() || (c >= UNSEEN_FIRST && unseen(c))
}

/// The least character that is [`unseen`]; most text lies before it.
const UNSEEN_FIRST: char = '\u{ad}';

/// Whether a character is there without being seen, so that two names look alike that are not, or a text says more than
/// it shows: the general category Cf (the bidirectional controls and the joiners among them, in emoji too), the separators
/// of lines and paragraphs, and what Unicode calls default-ignorable (variation selectors, fillers, tags).
fn unseen(c: char) -> bool {
    matches!(
        c,
        UNSEEN_FIRST
            | '\u{034f}'
            | '\u{0600}'..='\u{0605}'
            | '\u{061c}'
            | '\u{06dd}'
            | '\u{070f}'
            | '\u{0890}'..='\u{0891}'
            | '\u{08e2}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
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
            ("we\u{ad}b\u{feff}\u{200b}1", "we\\u{ad}b\\u{feff}\\u{200b}1"),
            ("a\u{e0001}\u{e0041}\u{e007f}z\u{fe0f}\u{e0100}", "a\\u{e0001}\\u{e0041}\\u{e007f}z\\u{fe0f}\\u{e0100}"),
            ("👩\u{200d}🚀 ㅤ", "👩\\u{200d}🚀 \\u{3164}"),
            ("é e\u{301} नमस्ते 👍🏽 ©", "é e\u{301} नमस्ते 👍🏽 ©"),
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
