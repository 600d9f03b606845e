//! Cuts a stream of bytes into tokens. It knows nothing of what tokens may follow each other, and of a string only where it ends:
//! escapes and UTF-8 are judged by the reader, as QEMU does, so that a wrong one costs a message and not the place in the stream.
//!
//! ```text
//!   Start ──" or '──▶ String ──\──▶ Escape        any other state, on a byte that cannot follow
//!     │ digit or -       ◀──────────┘                          │
//!     ├──▶ Minus, Zero, Digits, Point, Fraction, E, …          ▼
//!     └──a-z──▶ Keyword                                     Recovery ──structural or control byte──▶ Start
//! ```

/// The longest token.
pub(super) const TOKEN_BYTES_MAX: usize = 64 << 20;

/// What a token is. Its text is [`Lexer::text`] until the next one is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    BeginObject,
    EndObject,
    BeginArray,
    EndArray,
    Comma,
    Colon,
    Integer,
    Double,
    Keyword,
    String,
    /// A byte that cannot stand here; the text ends with it.
    Stray,
    /// A line ended outside of all tokens. No token of JSON, but the end of a run of garbage.
    LineEnd,
    /// The token is longer than [`TOKEN_BYTES_MAX`].
    TooLong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// In a string that ends with this byte.
    String(u8),
    /// Behind a backslash in such a string.
    Escape(u8),
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    Keyword,
    Recovery,
}

/// Where one byte leads.
enum Step {
    /// The byte belongs to the token, which goes on.
    Take(State),
    /// The byte ends the token and belongs to it.
    Last(Kind),
    /// The byte is behind the token.
    Behind(Kind),
    /// The byte belongs to no token.
    Skip(State),
    /// The byte belongs to no token and is looked at again in the state `Start`.
    Again,
}

/// The state of a stream between two bytes.
#[derive(Debug)]
pub(super) struct Lexer {
    state: State,
    text: Vec<u8>,
    /// The text is that of a token that is finished, and goes when the next one begins.
    finished: bool,
    /// Only blanks were seen since the line began.
    line_is_blank: bool,
    /// The same, when the token began that is in the text.
    token_begins_line: bool,
}

impl Lexer {
    pub(super) fn new() -> Lexer {
        Lexer { state: State::Start, text: Vec::new(), finished: false, line_is_blank: true, token_begins_line: false }
    }

    /// The text of the token that was returned last.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The same, to keep.
    pub(super) fn take_text(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text)
    }

    /// Whether the token that was returned last is the first of its line, at its very beginning.
    pub(super) fn begins_line(&self) -> bool {
        self.token_begins_line
    }

    /// Whether nothing is begun.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Start | State::Recovery)
    }

    /// Forgets what was begun, as if the stream began here.
    pub(super) fn reset(&mut self) {
        *self = Lexer::new();
    }

    /// Takes bytes from `input` until a token is whole. `None` when all was taken.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Option<Kind> {
        if self.finished {
            self.finished = false;
            // A giant is not kept for the next one's sake.
            if self.text.capacity() > 64 << 10 { self.text = Vec::new() } else { self.text.clear() }
        }
        while let Some((&byte, rest)) = input.split_first() {
            if let State::String(quote) = self.state {
                let run = input.iter().position(|&byte| ends_run(byte, quote)).unwrap_or(input.len());
                let (taken, behind) = input.split_at(run);
                if self.text.len() + run > TOKEN_BYTES_MAX {
                    *input = behind;
                    return Some(self.finish(Kind::TooLong, State::Recovery));
                }
                self.text.extend_from_slice(taken);
                *input = behind;
                if run > 0 {
                    continue;
                }
            }
            if self.state == State::Start && self.text.is_empty() {
                self.token_begins_line = self.line_is_blank;
            }
            match step(self.state, byte) {
                Step::Take(state) => {
                    *input = rest;
                    self.line_is_blank = false;
                    self.text.push(byte);
                    self.state = state;
                    if self.text.len() > TOKEN_BYTES_MAX {
                        return Some(self.finish(Kind::TooLong, State::Recovery));
                    }
                }
                Step::Last(kind) => {
                    *input = rest;
                    self.line_is_blank = matches!(byte, b'\n');
                    self.text.push(byte);
                    let next = if kind == Kind::Stray { State::Recovery } else { State::Start };
                    // What makes the stream begin anew needs no recovery.
                    let next = if !(0x20..0xfe).contains(&byte) { State::Start } else { next };
                    return Some(self.finish(kind, next));
                }
                Step::Behind(kind) => return Some(self.finish(kind, State::Start)),
                Step::Skip(state) => {
                    *input = rest;
                    self.state = state;
                    if byte == b'\n' {
                        self.line_is_blank = true;
                        return Some(self.finish(Kind::LineEnd, state));
                    }
                    self.line_is_blank = false;
                }
                Step::Again => self.state = State::Start,
            }
        }
        None
    }

    fn finish(&mut self, kind: Kind, next: State) -> Kind {
        self.state = next;
        self.finished = true;
        kind
    }
}

/// Whether this byte is not simply one more of a string.
fn ends_run(byte: u8, quote: u8) -> bool {
    byte == quote || byte == b'\\' || !(0x20..0xfe).contains(&byte)
}

fn step(state: State, byte: u8) -> Step {
    let printable = (0x20..0xfe).contains(&byte);
    match (state, byte) {
        (State::Start, b' ' | b'\t' | b'\r' | b'\n') => Step::Skip(State::Start),
        (State::Start, b'{') => Step::Last(Kind::BeginObject),
        (State::Start, b'}') => Step::Last(Kind::EndObject),
        (State::Start, b'[') => Step::Last(Kind::BeginArray),
        (State::Start, b']') => Step::Last(Kind::EndArray),
        (State::Start, b',') => Step::Last(Kind::Comma),
        (State::Start, b':') => Step::Last(Kind::Colon),
        (State::Start, b'"' | b'\'') => Step::Take(State::String(byte)),
        (State::Start, b'-') => Step::Take(State::Minus),
        (State::Start | State::Minus, b'0') => Step::Take(State::Zero),
        (State::Start | State::Minus | State::Digits, b'1'..=b'9') | (State::Digits, b'0') => Step::Take(State::Digits),
        (State::Start | State::Keyword, b'a'..=b'z') => Step::Take(State::Keyword),
        (State::Zero | State::Digits, b'.') => Step::Take(State::Point),
        (State::Zero, b'0'..=b'9') => Step::Last(Kind::Stray),
        (State::Zero | State::Digits | State::Fraction, b'e' | b'E') => Step::Take(State::Exponent),
        (State::Point | State::Fraction, b'0'..=b'9') => Step::Take(State::Fraction),
        (State::Exponent, b'+' | b'-') => Step::Take(State::ExponentSign),
        (State::Exponent | State::ExponentSign | State::ExponentDigits, b'0'..=b'9') => {
            Step::Take(State::ExponentDigits)
        }
        (State::Zero | State::Digits, _) => Step::Behind(Kind::Integer),
        (State::Fraction | State::ExponentDigits, _) => Step::Behind(Kind::Double),
        (State::Keyword, _) => Step::Behind(Kind::Keyword),
        (State::String(quote), _) if byte == quote => Step::Last(Kind::String),
        (State::String(quote), b'\\') => Step::Take(State::Escape(quote)),
        (State::String(quote) | State::Escape(quote), _) if printable => Step::Take(State::String(quote)),
        (State::Recovery, b'{' | b'}' | b'[' | b']' | b',' | b':') => Step::Again,
        (State::Recovery, _) if printable => Step::Skip(State::Recovery),
        (State::Recovery, _) => Step::Again,
        _ => Step::Last(Kind::Stray),
    }
}
