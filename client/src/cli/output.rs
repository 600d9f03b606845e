//! What the program prints: data on standard output as a table or as JSON, everything else on standard error with the
//! program's name in front.
//!
//! - A table is for people: sizes and times in units, foreign text with what acts on a terminal escaped, no colour. A
//!   listing fits the terminal; what is printed elsewhere is whole.
//! - JSON is an interface: one value a line, exact numbers, keys as `docs/cli.md` lists them. Control characters beyond
//!   those that JSON demands are escaped there too, which changes nothing for a parser.
//! - What is printed for one of several hosts is handed over as a [`Piece`] to who prints it for all of them.
//! - A reader that goes away (`vmwire vm list | head -1`) ends the program quietly and successfully.

use std::io::{self, IsTerminal, Write};

use rustix::termios::tcgetwinsize;
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

pub(crate) use super::table::{Align, Table};

use super::problem::Problem;
use super::text;

/// The name in front of every line on standard error.
pub(crate) const PROGRAM: &str = "vmwire";

/// How data are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Padded columns for people
    #[default]
    Table,
    /// One JSON value a line for programs
    Json,
}

/// The program's two mouths.
pub struct Output {
    format: Format,
    header: bool,
    terminal: bool,
    progress: bool,
    raw: bool,
    columns: Option<usize>,
    mouths: Mouths,
}

enum Mouths {
    /// Standard output and standard error, or what stands for them.
    Own { out: Box<dyn Write>, err: Box<dyn Write> },
    /// Somebody who prints it.
    Others(Box<dyn FnMut(Piece) -> io::Result<()>>),
}

/// Something printed by one of several hosts' share of a command.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Items of JSON: the rows of a listing, or one thing.
    Values(Vec<Value>),
    /// A table, and whether it is one with a header.
    Table(Table, bool),
    /// A line of ours.
    Line(String),
    /// A text that is not ours.
    Text(String),
    /// Neither data nor an error.
    Note(String),
    /// An error beside what was done.
    Problem(Problem),
}

impl Output {
    /// Prints to the given places. `terminal` says whether the first of them is one.
    #[must_use]
    pub fn new(out: Box<dyn Write>, err: Box<dyn Write>, terminal: bool) -> Self {
        let mouths = Mouths::Own { out, err };
        Self { format: Format::Table, header: true, terminal, progress: false, raw: false, columns: None, mouths }
    }

    /// Hands everything over, for another to print it as `like` would.
    pub(crate) fn handing_over(like: (Format, bool), to: impl FnMut(Piece) -> io::Result<()> + 'static) -> Self {
        let mouths = Mouths::Others(Box::new(to));
        Self { format: like.0, header: like.1, terminal: false, progress: false, raw: false, columns: None, mouths }
    }

    /// Prints to standard output and standard error.
    #[must_use]
    pub fn of_process() -> Self {
        let terminal = io::stdout().is_terminal();
        let size = if terminal { tcgetwinsize(io::stdout()).ok() } else { None };
        let columns = size.map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0);
        let progress = io::stderr().is_terminal();
        Self { columns, progress, ..Self::new(Box::new(io::stdout()), Box::new(io::stderr()), terminal) }
    }

    /// The same, for a person at a terminal.
    #[cfg(test)]
    pub(crate) fn with_progress(self) -> Self {
        Self { progress: true, ..self }
    }

    /// Says whether the terminal is one on which a line feed goes down and not back, so that notes have to.
    pub(crate) fn set_raw(&mut self, raw: bool) {
        self.raw = raw;
    }

    /// Sets what the command line asked for.
    pub(crate) fn set(&mut self, format: Format, header: bool) {
        (self.format, self.header) = (format, header);
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Format and header, for another that is to print alike.
    pub(crate) fn manner(&self) -> (Format, bool) {
        (self.format, self.header)
    }

    /// Prints what another has handed over, or hands it on.
    pub(crate) fn table(&mut self, table: Table, header: bool) -> io::Result<()> {
        if let Mouths::Others(to) = &mut self.mouths {
            return to(Piece::Table(table, header));
        }
        let text = if header { table.render(self.header, self.columns) } else { table.render(false, None) };
        self.write(text.as_bytes())
    }

    /// Prints a listing: `items` as one JSON array, or `table`.
    pub(crate) fn listing<T: Serialize>(&mut self, items: &[T], table: impl FnOnce(&[T]) -> Table) -> io::Result<()> {
        match self.format {
            Format::Json => self.json(&items),
            Format::Table => self.table(table(items), true),
        }
    }

    /// Prints one thing: as a JSON object, or as rows of a label and a value.
    pub(crate) fn thing<T: Serialize>(&mut self, thing: &T, rows: impl FnOnce(&T) -> Table) -> io::Result<()> {
        match self.format {
            Format::Json => self.json(thing),
            Format::Table => self.table(rows(thing), false),
        }
    }

    /// Prints one value as a line of JSON.
    pub(crate) fn json<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        if let Mouths::Others(to) = &mut self.mouths {
            return to(Piece::Values(match serde_json::to_value(value)? {
                Value::Array(items) => items,
                one => vec![one],
            }));
        }
        let line = to_json(value)?;
        self.write(&line)
    }

    /// Prints a line of ours.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        if let Mouths::Others(to) = &mut self.mouths {
            return to(Piece::Line(text.to_owned()));
        }
        self.write(format!("{}\n", text::line(text)).as_bytes())
    }

    /// Prints a text that is not ours byte for byte; on a terminal with what acts on it escaped.
    pub(crate) fn foreign_text(&mut self, text: &str) -> io::Result<()> {
        if self.terminal {
            let safe = text::lines(text).into_owned();
            return self.write(safe.as_bytes());
        }
        self.write(text.as_bytes())
    }

    /// Prints bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.mouths {
            Mouths::Own { out, .. } => {
                out.write_all(bytes)?;
                out.flush()
            }
            Mouths::Others(to) => to(Piece::Text(String::from_utf8_lossy(bytes).into_owned())),
        }
    }

    /// Says something on standard error that is neither data nor an error. Not said when JSON was asked for: there
    /// standard error has errors and nothing else.
    pub(crate) fn note(&mut self, text: &str) {
        self.note_of(PROGRAM, text);
    }

    /// The same, with another name in front.
    pub(crate) fn note_of(&mut self, who: &str, text: &str) {
        if self.format == Format::Table {
            let (before, behind) = if self.raw { ("\r\n", "\r\n") } else { ("", "\n") };
            let line = format!("{before}{}: {}{behind}", text::line(who), text::line(text));
            self.say(&|| Piece::Note(text.to_owned()), line.as_bytes());
        }
    }

    /// Begins a line of its own on a terminal where something else has left the cursor in the middle of one.
    pub(crate) fn begin_line(&mut self) {
        self.say_here(b"\n");
    }

    /// Tells a person at the keyboard that what they typed goes nowhere.
    pub(crate) fn bell(&mut self) {
        self.say_here(b"\x07");
    }

    /// Prints the help where something else was expected of the person.
    pub(crate) fn help(&mut self, text: &str) {
        self.say_here(text.as_bytes());
    }

    /// Whether somebody at a terminal would like to see how far it has come.
    pub(crate) fn shows_progress(&self) -> bool {
        self.progress && self.format == Format::Table
    }

    /// Shows how far it has come, in place of what was shown of it; an empty text takes that away.
    pub(crate) fn progress(&mut self, text: &str) {
        self.say_here(format!("\r\x1b[K{}", text::line(text)).as_bytes());
    }

    /// Tells of an error on standard error, in the format asked for.
    pub(crate) fn problem(&mut self, problem: &Problem) {
        let text = match self.format {
            Format::Table => problem.to_text(PROGRAM).into_bytes(),
            Format::Json => to_json(&problem.to_json()).unwrap_or_default(),
        };
        self.say(&|| Piece::Problem(problem.clone()), &text);
    }

    /// The same of one of several hosts.
    pub(crate) fn problem_of(&mut self, host: &str, problem: &Problem) {
        let text = match self.format {
            Format::Table => problem.to_text(&format!("{PROGRAM}: {}", text::line(host))).into_bytes(),
            Format::Json => to_json(&problem.to_json_of(host)).unwrap_or_default(),
        };
        self.say_here(&text);
    }

    /// Says something on standard error, or hands it over. If even standard error is gone, there is nobody left to tell;
    /// the exit code still does.
    fn say(&mut self, piece: &dyn Fn() -> Piece, text: &[u8]) {
        if let Mouths::Others(to) = &mut self.mouths {
            let _ = to(piece());
        }
        self.say_here(text);
    }

    fn say_here(&mut self, text: &[u8]) {
        if let Mouths::Own { err, .. } = &mut self.mouths {
            // As above.
            let _ = err.write_all(text).and_then(|()| err.flush());
        }
    }
}

fn to_json<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut line, Quiet)).map_err(io::Error::from)?;
    line.push(b'\n');
    Ok(line)
}

/// Compact JSON whose strings hold no character that acts on a terminal.
struct Quiet;

impl Formatter for Quiet {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, bad)) = rest.char_indices().find(|&(_, c)| text::acts(c)) {
            CompactFormatter.write_string_fragment(writer, &rest[..at])?;
            for unit in bad.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + bad.len_utf8()..];
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn json_has_no_character_that_acts_and_reads_back_the_same() {
        let value =
            json!({"name": "a\u{1b}b\u{9b}c\u{202e}d\u{e0041}\"e\\f\ng", "k\u{85}": 18_446_744_073_709_551_615_u64});
        let line = String::from_utf8(to_json(&value).unwrap()).unwrap();
        assert_eq!(line.trim_end_matches('\n').find(text::acts), None, "{line}");
        assert!(line.contains("\\u009b") && line.contains("\\u202ed\\udb40\\udc41"), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }

    proptest! {
        #[test]
        fn any_string_survives_json(text in any::<String>()) {
            let line = to_json(&text).unwrap();
            prop_assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), text);
        }
    }
}
