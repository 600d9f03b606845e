//! What a guest says, on its way to where a person or a program reads it.
//!
//! A console that a person types at is shown as the guest means it, colours and cursor included, but for what makes a
//! terminal answer in the person's stead or hand over the clipboard: a guest that asks where the cursor is, what the
//! title says or what was copied types the answer into its own console. What is known to do no such thing passes; the
//! rest is dropped. Off a terminal nothing acts at all: what does not print is shown by its number.

use std::mem;

use vte::{Params, Parser, Perform};

use super::text;

/// The longest window title or link that passes; of a longer one the beginning does.
const OPERATING_SYSTEM_COMMAND_BYTES_MAX: usize = 1024;

/// Makes a guest's output fit to be shown. What it says comes in pieces, and a piece may end in the middle of anything.
pub(crate) enum Screen {
    /// Every byte as it is.
    Raw,
    /// For a terminal.
    Terminal(Box<Terminal>),
    /// For a file or a pipe.
    Text(Lines),
}

/// Keeps what draws and drops what makes the terminal answer.
pub(crate) struct Terminal {
    pieces: Pieces,
    parser: Parser<OPERATING_SYSTEM_COMMAND_BYTES_MAX>,
    passed: Passed,
}

/// Keeps lines and what prints.
#[derive(Default)]
pub(crate) struct Lines {
    pieces: Pieces,
}

/// What the last piece ended with and may be the beginning of something: a character, the end of a line.
#[derive(Default)]
struct Pieces {
    begun: Vec<u8>,
}

impl Screen {
    pub(crate) fn terminal() -> Self {
        let (pieces, parser, passed) = (Pieces::default(), Parser::new_with_size(), Passed::default());
        Self::Terminal(Box::new(Terminal { pieces, parser, passed }))
    }

    pub(crate) fn text() -> Self {
        Self::Text(Lines::default())
    }

    /// What of a piece can be shown now.
    pub(crate) fn show(&mut self, piece: &[u8]) -> Vec<u8> {
        match self {
            Self::Raw => piece.to_vec(),
            Self::Terminal(terminal) => {
                // Cut in the middle of a character the parser reads it otherwise than whole.
                let whole = terminal.pieces.whole(piece, false);
                terminal.parser.advance(&mut terminal.passed, &whole);
                mem::take(&mut terminal.passed.0)
            }
            Self::Text(lines) => escaped(&lines.pieces.whole(piece, true)),
        }
    }

    /// What is left when nothing more comes.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        match self {
            Self::Raw | Self::Terminal(_) => Vec::new(),
            Self::Text(lines) => escaped(&mem::take(&mut lines.pieces.begun)),
        }
    }
}

impl Pieces {
    /// What is whole with this piece: characters, or also line ends.
    fn whole(&mut self, piece: &[u8], lines: bool) -> Vec<u8> {
        self.begun.extend_from_slice(piece);
        let unfinished = if lines && self.begun.last() == Some(&b'\r') { 1 } else { unfinished(&self.begun) };
        let whole = self.begun.len() - unfinished;
        let rest = self.begun.split_off(whole);
        mem::replace(&mut self.begun, rest)
    }
}

/// How many bytes at the end may be the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    match bytes.utf8_chunks().last() {
        // Only the beginning of a character is invalid merely for its end: up to three bytes.
        Some(chunk) if !chunk.invalid().is_empty() && std::str::from_utf8(chunk.invalid()).is_err_and(is_cut) => {
            chunk.invalid().len()
        }
        _ => 0,
    }
}

fn is_cut(error: std::str::Utf8Error) -> bool {
    error.error_len().is_none()
}

/// Lines end as the guest ends them; everything else that acts is shown by its number.
fn escaped(bytes: &[u8]) -> Vec<u8> {
    let said = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(said.len());
    for (index, line) in said.split("\r\n").enumerate() {
        if index > 0 {
            shown.push_str("\r\n");
        }
        shown.push_str(&text::lines(line));
    }
    shown.into_bytes()
}

/// What has passed.
#[derive(Default)]
struct Passed(Vec<u8>);

impl Passed {
    fn character(&mut self, c: char) {
        self.0.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

impl Perform for Passed {
    /// A C1 control comes here as the character it is encoded as (U+0080 and up); terminals obey it all the same.
    fn print(&mut self, c: char) {
        if !c.is_control() {
            self.character(c);
        }
    }

    /// C0 but ENQ, which is answered.
    fn execute(&mut self, byte: u8) {
        if matches!(byte, 0x07..=0x0f) {
            self.0.push(byte);
        }
    }

    /// Control sequences (ECMA-48 5.4) that draw, move, scroll and set modes.
    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        let draws = match intermediates {
            [] => {
                matches!(action, '@'..='M' | 'P' | 'S' | 'T' | 'X' | 'Z' | '`' | 'a' | 'b' | 'd'..='h' | 'l' | 'm' | 'r' | 's' | 'u')
            }
            [b'?'] => matches!(action, 'J' | 'K' | 'h' | 'l' | 'r' | 's'),
            [b'!'] => action == 'p',
            [b' '] => action == 'q',
            _ => false,
        };
        if ignore || !draws {
            return;
        }
        self.0.extend_from_slice(b"\x1b[");
        let (private, last) = intermediates.split_at(usize::from(intermediates.first() == Some(&b'?')));
        self.0.extend_from_slice(private);
        for (index, parts) in params.iter().enumerate() {
            if index > 0 {
                self.0.push(b';');
            }
            let parts: Vec<String> = parts.iter().map(u16::to_string).collect();
            self.0.extend_from_slice(parts.join(":").as_bytes());
        }
        self.0.extend_from_slice(last);
        self.character(action);
    }

    /// Escape sequences: save, restore, index, tabs, reset, keypad, character sets.
    fn esc_dispatch(&mut self, intermediates: &[u8], ignore: bool, byte: u8) {
        let draws = match intermediates {
            [] => matches!(byte, b'7' | b'8' | b'=' | b'>' | b'D' | b'E' | b'H' | b'M' | b'c'),
            [b'(' | b')'] => true,
            [b'#'] => matches!(byte, b'3'..=b'6' | b'8'),
            _ => false,
        };
        if draws && !ignore {
            self.0.push(0x1b);
            self.0.extend_from_slice(intermediates);
            self.0.push(byte);
        }
    }

    /// Titles and links. The others read or change colours and fonts, or reach for the clipboard (52).
    fn osc_dispatch(&mut self, params: &[&[u8]], _bell_terminated: bool) {
        let harmless = matches!(params, [b"0" | b"1" | b"2" | b"8", ..]);
        let joined = params.join(&b';');
        let prints = std::str::from_utf8(&joined).is_ok_and(|text| !text.contains(text::acts));
        if harmless && prints {
            self.0.extend_from_slice(b"\x1b]");
            self.0.extend_from_slice(&joined);
            self.0.extend_from_slice(b"\x1b\\");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(mut screen: Screen, said: &[u8], piece: usize) -> Vec<u8> {
        let mut shown: Vec<u8> = said.chunks(piece).flat_map(|piece| screen.show(piece)).collect();
        shown.extend(screen.finish());
        shown
    }

    #[test]
    fn what_draws_passes_to_a_terminal_as_the_guest_said_it() {
        for said in [
            "plain größer 山\r\n\ttab\x07\x08",
            "\x1b[1;31mred\x1b[0m",
            "\x1b[38:2:1:2:3mtrue\x1b[38;5;7m",
            "\x1b[2J\x1b[3;4H\x1b[5A\x1b[6K\x1b[1L\x1b[2;9r",
            "\x1b[?1049h\x1b[?25l\x1b[?1000;1006h",
            "\x1b7\x1b8\x1b(0lqk\x1b(B\x1b=\x1bc\x1b#8",
            "\x1b[2 q\x1b[0!p",
            "\x1b]0;root@guest\x1b\\\x1b]8;;http://a/\x1b\\link\x1b]8;;\x1b\\",
        ] {
            for piece in [1, 2, 3, 1000] {
                let passed = shown(Screen::terminal(), said.as_bytes(), piece);
                assert_eq!(String::from_utf8_lossy(&passed), said, "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_makes_a_terminal_answer_or_reach_for_the_clipboard_is_dropped() {
        for said in [
            "\x05",                                     // ENQ
            "\x1b[c\x1b[0c\x1b[>c\x1b[=c\x1bZ",         // device attributes
            "\x1b[5n\x1b[6n\x1b[?6n\x1b[?15n",          // status, where the cursor is
            "\x1b[x\x1b[1x",                            // terminal parameters
            "\x1b[21t\x1b[18t\x1b[8;1;1t",              // title and size
            "\x1b[?2026$p\x1b[4$p",                     // modes
            "\x1b[1;1;1;1;1;1*y",                       // checksum of a rectangle
            "\x1b[>q\x1b[?u\x1b[>1u\x1b[?4m\x1b[>4;2m", // version, keyboard
            "\x1b[?1;1S\x1b[1$u\x1b[1$w\x1b[\"v\x1b[&u\x1b[#R",
            "\x1bP$qm\x1b\\\x1bP+q544e\x1b\\\x1bP1$tx\x1b\\\x1bPq#0\x1b\\", // device control strings
            "\x1b]52;c;?\x07\x1b]52;c;ZXZpbA==\x1b\\",                      // the clipboard
            "\x1b]4;1;?\x07\x1b]10;?\x07\x1b]11;?\x1b\\\x1b]50;?\x07\x1b]1337;x\x07",
            "\x1b_Gi=1,a=q;AAAA\x1b\\\x1b^x\x1b\\\x1bXx\x1b\\", // application, privacy, start of string
            "\u{9b}6n\u{9d}52;c;?\u{9c}\u{90}$qm\u{9c}",        // the same by C1, as far as it acts
            "\x1b%@\x1b[5i",                                    // another encoding, a printer
            "\x1b]2;a\u{9b}6nb\x07",
        ] {
            for piece in [1, 2, 1000] {
                let passed = shown(Screen::terminal(), format!("a{said}z").as_bytes(), piece);
                let passed = String::from_utf8(passed).unwrap();
                assert!(!passed.contains(text::acts), "{said:?} leaves {passed:?}");
                assert!(passed.starts_with('a') && passed.ends_with('z'), "{said:?} leaves {passed:?}");
            }
        }
    }

    #[test]
    fn a_title_without_an_end_takes_no_memory() {
        let mut screen = Screen::terminal();
        assert_eq!(screen.show(b"\x1b]0;"), b"");
        for _ in 0..1000 {
            assert_eq!(screen.show(&[b'x'; 1000]), b"");
        }
        assert!(screen.show(b"\x07after").len() < 2 * OPERATING_SYSTEM_COMMAND_BYTES_MAX);
    }

    #[test]
    fn off_a_terminal_nothing_acts_and_lines_end_as_they_did() {
        let said = b"login: \x1b[31mroot\r\nnext\n\ttab\rover\xff \xe5\xb1\xb1\xc2\x9b6n\r";
        let expected = "login: \\u{1b}[31mroot\r\nnext\n\ttab\\rover\u{fffd} 山\\u{9b}6n\\r";
        for piece in 1..said.len() + 1 {
            let passed = shown(Screen::text(), said, piece);
            assert_eq!(String::from_utf8(passed).unwrap(), expected, "in pieces of {piece}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_guest_says_and_however_it_is_cut_the_same_is_shown(
            said in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x1b), Just(b'['), Just(b']'), Just(b';')], 0..200),
            piece in 1_usize..20,
        ) {
            prop_assert_eq!(shown(Screen::terminal(), &said, piece), shown(Screen::terminal(), &said, 1000));
            prop_assert_eq!(shown(Screen::text(), &said, piece), shown(Screen::text(), &said, 1000));
            prop_assert_eq!(shown(Screen::Raw, &said, piece), said);
        }

        #[test]
        fn what_passed_once_passes_again(said in proptest::collection::vec(any::<u8>(), 0..200)) {
            let once = shown(Screen::terminal(), &said, 1000);
            prop_assert_eq!(shown(Screen::terminal(), &once, 1000), once);
        }
    }
}
