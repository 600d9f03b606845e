//! Builds values out of tokens, in one pass and in bounded memory, and says what cannot be a value.
//!
//! A message that went wrong is answered once, where it went wrong, and nothing of what is left of it is taken for a message:
//!
//! ```text
//!              wrong token                        closed, or { at the beginning of a line
//!   Reading ───────────────▶ Counting (brackets) ────────────────────────────────────────▶ Reading
//!      │        stray byte or a bound                       { at the beginning of a line
//!      └─────────────────────────────▶ Skipping (bytes) ─────────────────────────────────▶ Reading
//! ```
//!
//! A control character, FE or FF brings every state back to reading, and is answered itself, as those wait for who send FF before
//! they synchronise. An object that begins a line where none may begin is the first request of somebody else, whose
//! predecessor on the channel left in the middle of one: the half is answered with an error, the object is read.

use std::fmt;

use super::Value;
use super::lexer::{Kind, Lexer, TOKEN_BYTES_MAX};

/// The most bytes of all tokens of a message.
const MESSAGE_BYTES_MAX: usize = TOKEN_BYTES_MAX;
/// The most tokens of a message.
const TOKENS_MAX: usize = 2 << 20;
/// How deep lists and objects may be in each other.
const DEPTH_MAX: usize = 1 << 10;

/// What comes out of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// A whole value.
    Value(Value),
    /// What was not one. It is to be answered by an error.
    Refused(Refusal),
}

/// Why something was not a value. The texts are qemu-ga's, but repeat nothing of what was sent: on a serial port it may be the half
/// of somebody else's password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A byte that begins or continues nothing; itself, if nothing stood before it.
    Stray(Option<u8>),
    /// Something else than a value where one had to be.
    NoValue,
    /// A key that is no string.
    KeyIsNoString,
    /// No colon behind a key.
    NoColon,
    /// Neither a comma nor the end behind a member of an object.
    NoSeparatorInObject,
    /// The same in a list.
    NoSeparatorInList,
    /// A key that was there before.
    DuplicateKey,
    /// A word that is none of `true`, `false`, `null`.
    UnknownKeyword,
    /// A backslash before what cannot follow one.
    UnknownEscape,
    /// This escape means no character.
    NotACharacter(String),
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A number that no double holds.
    NumberTooBig,
    /// A token too long, or all of them.
    TooManyBytes,
    /// Too many tokens.
    TooManyTokens,
    /// Brackets too deep.
    TooDeep,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Refusal::TooManyBytes => return f.write_str("JSON token size limit exceeded"),
            Refusal::TooManyTokens => return f.write_str("JSON token count limit exceeded"),
            Refusal::TooDeep => return f.write_str("JSON nesting depth limit exceeded"),
            Refusal::NotACharacter(escape) => {
                return write!(f, "JSON parse error, {escape} is not a valid Unicode character");
            }
            Refusal::Stray(Some(0)) => "stray ''",
            Refusal::Stray(Some(byte)) if *byte < 0x80 => {
                return write!(f, "JSON parse error, stray '{}'", char::from(*byte));
            }
            Refusal::Stray(Some(_)) => "stray '\u{fffd}'",
            Refusal::Stray(None) => "stray input",
            Refusal::NoValue => "expecting value",
            Refusal::KeyIsNoString => "key is not a string in object",
            Refusal::NoColon => "missing : in object pair",
            Refusal::NoSeparatorInObject => "expected separator in dict",
            Refusal::NoSeparatorInList => "expected separator in list",
            Refusal::DuplicateKey => "duplicate key",
            Refusal::UnknownKeyword => "invalid keyword",
            Refusal::UnknownEscape => "invalid escape sequence in string",
            Refusal::NotUtf8 => "invalid UTF-8 sequence in string",
            Refusal::NumberTooBig => "number out of range",
        };
        write!(f, "JSON parse error, {what}")
    }
}

/// A list or an object that is not closed yet.
#[derive(Debug)]
enum Open {
    Array(Vec<Value>),
    /// With the key whose value comes next.
    Object(Vec<(String, Value)>, Option<String>),
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Reading,
    /// So many objects and lists of a refused message are open.
    Counting {
        objects: i64,
        arrays: i64,
    },
    /// Whether a line begins here.
    Skipping {
        line_begins: bool,
    },
}

/// Reads values from a stream of bytes, whoever wrote them and however they are cut.
#[derive(Debug)]
pub struct Reader {
    lexer: Lexer,
    mode: Mode,
    open: Vec<Open>,
    expect: Expect,
    tokens: usize,
    bytes: usize,
    /// Garbage between messages was answered, and goes on.
    garbage: bool,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader::new()
    }
}

impl Reader {
    /// A reader at the beginning of a stream.
    pub fn new() -> Reader {
        Reader {
            lexer: Lexer::new(),
            mode: Mode::Reading,
            open: Vec::new(),
            expect: Expect::Value,
            tokens: 0,
            bytes: 0,
            garbage: false,
        }
    }

    /// Whether nothing is begun: what comes next is the beginning of something.
    pub fn is_idle(&self) -> bool {
        self.mode == Mode::Reading && self.open.is_empty() && self.lexer.is_idle()
    }

    /// Takes bytes from `input` until there is something to answer. `None` when all was taken.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Incoming> {
        loop {
            if let Mode::Skipping { line_begins } = self.mode {
                self.skip(line_begins, input)?;
            }
            let kind = self.lexer.next(input)?;
            match self.accept(kind) {
                Ok(None) => {}
                Ok(Some(value)) => return Some(Incoming::Value(value)),
                Err(refusal) => return Some(Incoming::Refused(refusal)),
            }
        }
    }

    /// Passes over bytes up to where a message may begin. `None` when there are no more.
    fn skip(&mut self, mut line_begins: bool, input: &mut &[u8]) -> Option<()> {
        while let Some((&byte, rest)) = input.split_first() {
            if (byte == b'{' && line_begins) || is_reset(byte) {
                self.lexer.reset();
                self.mode = Mode::Reading;
                return Some(());
            }
            *input = rest;
            line_begins = byte == b'\n';
        }
        self.mode = Mode::Skipping { line_begins };
        None
    }

    fn accept(&mut self, kind: Kind) -> Result<Option<Value>, Refusal> {
        match kind {
            Kind::LineEnd => {
                self.garbage &= !self.open.is_empty();
                return Ok(None);
            }
            Kind::Stray => return self.stray(),
            Kind::TooLong => {
                self.abandon(Mode::Skipping { line_begins: false });
                return Err(Refusal::TooManyBytes);
            }
            _ => {}
        }
        if let Mode::Counting { objects, arrays } = self.mode {
            if kind != Kind::BeginObject || !self.lexer.begins_line() {
                self.count(objects, arrays, kind);
                return Ok(None);
            }
            self.mode = Mode::Reading;
        } else if kind == Kind::BeginObject && self.lexer.begins_line() && !self.may_begin_value() {
            let refusal = self.wrong(kind);
            self.abandon(Mode::Reading);
            self.begin(Open::Object(Vec::new(), None), Expect::KeyOrEnd)?;
            return Err(refusal);
        }
        let was_begun = !self.open.is_empty();
        self.build(kind).map_or_else(|refusal| self.refuse(refusal, kind, was_begun), Ok)
    }

    /// A byte that fits nowhere. It takes the place in the stream with it.
    fn stray(&mut self) -> Result<Option<Value>, Refusal> {
        let text = self.lexer.text();
        let byte = text.last().copied().unwrap_or_default();
        let refusal = Refusal::Stray((text.len() == 1).then_some(byte));
        let was_begun = !self.open.is_empty();
        if is_reset(byte) {
            self.abandon(Mode::Reading);
            self.garbage = false;
            return Err(refusal);
        }
        if self.mode != Mode::Reading {
            self.abandon(Mode::Skipping { line_begins: byte == b'\n' });
            return Ok(None);
        }
        let quiet = self.garbage && !was_begun;
        self.abandon(if was_begun { Mode::Skipping { line_begins: byte == b'\n' } } else { Mode::Reading });
        if quiet { Ok(None) } else { Err(refusal) }
    }

    /// One more token of a message that was refused.
    fn count(&mut self, mut objects: i64, mut arrays: i64, kind: Kind) {
        match kind {
            Kind::BeginObject => objects += 1,
            Kind::EndObject => objects -= 1,
            Kind::BeginArray => arrays += 1,
            Kind::EndArray => arrays -= 1,
            _ => {}
        }
        let closed = objects < 0 || arrays < 0 || (objects == 0 && arrays == 0);
        self.mode = if closed { Mode::Reading } else { Mode::Counting { objects, arrays } };
    }

    /// A token was wrong, of a message that had begun before it or not.
    fn refuse(&mut self, refusal: Refusal, kind: Kind, was_begun: bool) -> Result<Option<Value>, Refusal> {
        let (mut objects, mut arrays) = (0, 0);
        for open in &self.open {
            match open {
                Open::Object(..) => objects += 1,
                Open::Array(_) => arrays += 1,
            }
        }
        let quiet = self.garbage && !was_begun;
        self.abandon(Mode::Reading);
        // The end of an object that is refused for what is in it was taken off the list of what is open.
        if was_begun && refusal != Refusal::DuplicateKey {
            self.count(objects, arrays, kind);
        } else if objects + arrays > 0 {
            self.mode = Mode::Counting { objects, arrays };
        }
        if quiet { Ok(None) } else { Err(refusal) }
    }

    /// Forgets the message.
    fn abandon(&mut self, mode: Mode) {
        self.open = Vec::new();
        self.expect = Expect::Value;
        (self.tokens, self.bytes) = (0, 0);
        self.mode = mode;
        self.garbage = true;
    }

    fn may_begin_value(&self) -> bool {
        matches!(self.expect, Expect::Value | Expect::ValueOrEnd)
    }

    /// What is wrong with a token that does not fit.
    fn wrong(&self, kind: Kind) -> Refusal {
        match self.expect {
            Expect::Value | Expect::ValueOrEnd => Refusal::NoValue,
            Expect::Key | Expect::KeyOrEnd => match kind {
                Kind::Integer | Kind::Double | Kind::Keyword | Kind::BeginArray | Kind::BeginObject => {
                    Refusal::KeyIsNoString
                }
                _ => Refusal::NoValue,
            },
            Expect::Colon => Refusal::NoColon,
            Expect::CommaOrEnd => match self.open.last() {
                Some(Open::Array(_)) => Refusal::NoSeparatorInList,
                _ => Refusal::NoSeparatorInObject,
            },
        }
    }

    /// Adds a token to the message, and returns the value that it closes.
    fn build(&mut self, kind: Kind) -> Result<Option<Value>, Refusal> {
        self.tokens += 1;
        self.bytes += self.lexer.text().len();
        if self.bytes > MESSAGE_BYTES_MAX {
            return Err(Refusal::TooManyBytes);
        }
        if self.tokens > TOKENS_MAX {
            return Err(Refusal::TooManyTokens);
        }
        match (self.expect, kind) {
            (Expect::Value | Expect::ValueOrEnd, Kind::BeginObject) => {
                self.begin(Open::Object(Vec::new(), None), Expect::KeyOrEnd)
            }
            (Expect::Value | Expect::ValueOrEnd, Kind::BeginArray) => {
                self.begin(Open::Array(Vec::new()), Expect::ValueOrEnd)
            }
            (Expect::Value | Expect::ValueOrEnd, Kind::String) => {
                let text = string(self.lexer.take_text())?;
                Ok(self.complete(Value::String(text)))
            }
            (Expect::Value | Expect::ValueOrEnd, Kind::Integer | Kind::Double) => {
                let number = number(self.lexer.text())?;
                Ok(self.complete(number))
            }
            (Expect::Value | Expect::ValueOrEnd, Kind::Keyword) => {
                let value = match self.lexer.text() {
                    b"null" => Value::Null,
                    b"true" => Value::Bool(true),
                    b"false" => Value::Bool(false),
                    _ => return Err(Refusal::UnknownKeyword),
                };
                Ok(self.complete(value))
            }
            (Expect::Key | Expect::KeyOrEnd, Kind::String) => {
                let text = string(self.lexer.take_text())?;
                if let Some(Open::Object(_, key)) = self.open.last_mut() {
                    *key = Some(text);
                }
                self.expect = Expect::Colon;
                Ok(None)
            }
            (Expect::Colon, Kind::Colon) => {
                self.expect = Expect::Value;
                Ok(None)
            }
            (Expect::CommaOrEnd, Kind::Comma) => {
                self.expect = match self.open.last() {
                    Some(Open::Object(..)) => Expect::Key,
                    _ => Expect::Value,
                };
                Ok(None)
            }
            (Expect::KeyOrEnd | Expect::ValueOrEnd | Expect::CommaOrEnd, Kind::EndObject | Kind::EndArray) => {
                self.end(kind)
            }
            _ => Err(self.wrong(kind)),
        }
    }

    fn begin(&mut self, open: Open, expect: Expect) -> Result<Option<Value>, Refusal> {
        if self.open.len() == DEPTH_MAX {
            return Err(Refusal::TooDeep);
        }
        self.open.push(open);
        self.expect = expect;
        Ok(None)
    }

    fn end(&mut self, kind: Kind) -> Result<Option<Value>, Refusal> {
        let value = match (self.open.pop(), kind) {
            (Some(Open::Object(mut members, _)), Kind::EndObject) => {
                if has_duplicates(&members) {
                    return Err(Refusal::DuplicateKey);
                }
                members.shrink_to_fit();
                Value::Object(members)
            }
            (Some(Open::Array(mut values)), Kind::EndArray) => {
                values.shrink_to_fit();
                Value::Array(values)
            }
            (other, _) => {
                self.open.extend(other);
                return Err(self.wrong(kind));
            }
        };
        Ok(self.complete(value))
    }

    /// Puts a value where it belongs; returns it if that is nowhere but in the stream.
    fn complete(&mut self, value: Value) -> Option<Value> {
        match self.open.last_mut() {
            None => {
                (self.tokens, self.bytes) = (0, 0);
                self.expect = Expect::Value;
                self.garbage = false;
                return Some(value);
            }
            Some(Open::Array(values)) => values.push(value),
            Some(Open::Object(members, key)) => members.push((key.take().unwrap_or_default(), value)),
        }
        self.expect = Expect::CommaOrEnd;
        None
    }
}

/// Bytes that bring a reader back to where a message may begin, whatever stood before them.
fn is_reset(byte: u8) -> bool {
    byte >= 0xfe || (byte < 0x20 && !matches!(byte, b'\t' | b'\r' | b'\n'))
}

fn has_duplicates(members: &[(String, Value)]) -> bool {
    let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    keys.windows(2).any(|pair| pair[0] == pair[1])
}

fn number(text: &[u8]) -> Result<Value, Refusal> {
    let text = str::from_utf8(text).map_err(|_| Refusal::NotUtf8)?;
    if let Ok(value) = text.parse::<i64>() {
        return Ok(Value::Integer(value));
    }
    if let Ok(value) = text.parse::<u64>() {
        return Ok(Value::Unsigned(value));
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(Value::Double(value)),
        _ => Err(Refusal::NumberTooBig),
    }
}

/// What a string token means, which stands in quotes.
fn string(mut text: Vec<u8>) -> Result<String, Refusal> {
    text.pop();
    if !text.is_empty() {
        text.remove(0);
    }
    if text.contains(&b'\\') {
        text = unescaped(&text)?;
    }
    if text.contains(&0xc0) {
        text = with_plain_zeros(&text);
    }
    let text = String::from_utf8(text).map_err(|_| Refusal::NotUtf8)?;
    if !text.is_ascii() && text.chars().any(is_noncharacter) {
        return Err(Refusal::NotUtf8);
    }
    Ok(text)
}

/// U+0000 may be written as C0 80, as "modified UTF-8" has it.
fn with_plain_zeros(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let (byte, behind) = match behind.split_first() {
            Some((0x80, behind)) if byte == 0xc0 => (0, behind),
            _ => (byte, behind),
        };
        plain.push(byte);
        rest = behind;
    }
    plain
}

fn is_noncharacter(character: char) -> bool {
    let code = u32::from(character);
    (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

fn unescaped(text: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.iter().position(|&byte| byte == b'\\') {
        plain.extend_from_slice(&rest[..place]);
        let escape = &rest[place..];
        rest = escape.get(2..).unwrap_or_default();
        plain.push(match escape.get(1) {
            Some(&byte @ (b'"' | b'\'' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x8,
            Some(b'f') => 0xc,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let (character, length) = character_of(escape)?;
                plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &escape[length..];
                continue;
            }
            _ => return Err(Refusal::UnknownEscape),
        });
    }
    plain.extend_from_slice(rest);
    Ok(plain)
}

/// The character of `\uXXXX`, or of two of them, and how long they are.
fn character_of(escape: &[u8]) -> Result<(char, usize), Refusal> {
    let refusal = || {
        let shown = escape.iter().take(6).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'\\');
        Refusal::NotACharacter(shown.map(|&byte| char::from(byte)).collect())
    };
    let first = code_unit(escape).ok_or_else(refusal)?;
    let (code, length) = match first {
        0xd800..=0xdbff => match escape.get(6..).and_then(code_unit) {
            Some(second @ 0xdc00..=0xdfff) => (0x10000 + ((first & 0x3ff) << 10) + (second & 0x3ff), 12),
            _ => return Err(refusal()),
        },
        _ => (first, 6),
    };
    match char::from_u32(code) {
        Some(character) if !is_noncharacter(character) => Ok((character, length)),
        _ => Err(refusal()),
    }
}

/// The number in `\uXXXX`.
fn code_unit(escape: &[u8]) -> Option<u32> {
    let digits = escape.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |code, &digit| Some(code * 16 + char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests;
