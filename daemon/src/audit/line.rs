//! One line of the audit: a JSON object whose text can neither end the line nor drive a terminal, whoever it came from.

use std::io::Write as _;

use crate::logging::{acts, civil_date};

const SECOND_NS: u64 = 1_000_000_000;

/// Writes a line to the end of a buffer, key by key.
#[derive(Debug)]
pub(super) struct Line<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    /// Begins with what every line has: when it happened, and what sort of thing it is.
    pub(super) fn begin(out: &'a mut Vec<u8>, utc_ns: u64, event: &str) -> Self {
        let (second, nanosecond) = (utc_ns / SECOND_NS, utc_ns % SECOND_NS);
        let (year, month, day) = civil_date(second / 86_400);
        let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
        // A vector takes whatever is written to it, here and below.
        let _ = write!(
            out,
            "{{\"time\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanosecond:09}Z\""
        );
        let mut line = Self { out };
        line.text("event", event);
        line
    }

    /// A key that is a text; an empty one is left out.
    pub(super) fn text(&mut self, key: &'static str, text: &str) -> &mut Self {
        if !text.is_empty() {
            self.key(key);
            self.out.push(b'"');
            escape(self.out, text);
            self.out.push(b'"');
        }
        self
    }

    /// A key that is a number.
    pub(super) fn number(&mut self, key: &'static str, number: impl Into<u64>) -> &mut Self {
        self.key(key);
        let _ = write!(self.out, "{}", number.into());
        self
    }

    /// A key that is true or false.
    pub(super) fn flag(&mut self, key: &'static str, is: bool) -> &mut Self {
        self.key(key);
        self.out.extend_from_slice(if is { b"true" } else { b"false" });
        self
    }

    /// Ends the line.
    pub(super) fn end(&mut self) {
        self.out.extend_from_slice(b"}\n");
    }

    fn key(&mut self, key: &'static str) {
        let _ = write!(self.out, ",\"{key}\":");
    }
}

/// As JSON wants it; and escaped as well is what makes a terminal do something or turns the direction of writing.
fn escape(out: &mut Vec<u8>, text: &str) {
    let mut plain_from = 0;
    for (at, c) in text.char_indices() {
        if !matches!(c, '"' | '\\') && !acts(c) {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[plain_from..at]);
        plain_from = at + c.len_utf8();
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            _ => write!(out, "\\u{:04x}", u32::from(c)),
        };
    }
    out.extend_from_slice(&text.as_bytes()[plain_from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_whose_keys_stand_in_their_order() {
        let mut out = b"before\n".to_vec();
        Line::begin(&mut out, 1_782_907_200_000_000_007, "call")
            .number("connection", 7_u32)
            .text("role", "admin")
            .text("name", "")
            .end();
        let expected = "before\n{\"time\":\"2026-07-01T12:00:00.000000007Z\",\"event\":\"call\",\"connection\":7,\"role\":\"admin\"}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn text_is_read_back_as_it_was_and_stands_on_one_line_in_plain_characters() {
        for hostile in [
            "a\nb\r\t\0\u{1b}]52;c;x\u{7}",
            "\"},{\"x\":\"\\",
            "\u{7f}\u{9b}2J\u{202e}\u{2066}\u{61c}\u{2028}ä\u{1f600}",
            "\\u0041\\",
        ] {
            let mut out = Vec::new();
            Line::begin(&mut out, 0, "call").text("name", hostile).end();
            let line = String::from_utf8(out).unwrap();
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(read["name"], hostile);
            assert_eq!(line.find('\n'), Some(line.len() - 1), "{line:?}");
            let drives = |c: char| c.is_control() && c != '\n' || ('\u{2028}'..='\u{2069}').contains(&c);
            assert!(!line.contains(drives), "{line:?}");
        }
    }
}
