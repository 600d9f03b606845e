//! What the hosts have said, and how it is printed: for people one table with the host in front of each row, for programs
//! one array in which each object has the key `host`.

use serde::Serialize;
use serde_json::{Map, Value};

use super::super::Exit;
use super::super::output::{Align, Format, Output, PROGRAM, Piece, Table};
use super::super::problem::Problem;

/// What all hosts together may have said that is not printed yet.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// The same for programs: `host` before everything else.
#[derive(Serialize)]
struct Row<'a> {
    host: &'a str,
    #[serde(flatten)]
    row: Map<String, Value>,
}

impl<'a> Row<'a> {
    fn new(host: &'a str, value: Value) -> Self {
        let row = match value {
            Value::Object(row) => row,
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        Self { host, row }
    }
}

/// Everything that was said, by host.
#[derive(Debug)]
pub(super) struct Answers {
    names: Vec<String>,
    said: Vec<Vec<Piece>>,
    bytes: usize,
}

impl Answers {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { said: names.iter().map(|_| Vec::new()).collect(), names, bytes: 0 }
    }

    /// Keeps what a host has said.
    pub(super) fn take(&mut self, index: usize, piece: Piece) -> Result<(), Problem> {
        self.bytes += match &piece {
            Piece::Values(values) => values.iter().map(bytes).sum(),
            Piece::Table(table, _) => table.bytes(),
            Piece::Line(text) | Piece::Text(text) | Piece::Note(text) => text.len(),
            Piece::Problem(problem) => problem.message.len(),
        };
        if self.bytes > BYTES_MAX {
            let text = format!("the answers of all hosts together have more than {} MiB", BYTES_MAX >> 20);
            return Err(Problem::new(Exit::Failed, "LOCAL", text).hint("ask some of the hosts at a time"));
        }
        if let Some(said) = self.said.get_mut(index) {
            said.push(piece);
        }
        Ok(())
    }

    /// Prints everything: first what is data, then, in the same order of the hosts, what is not.
    pub(super) fn print(self, output: &mut Output) -> Result<(), Problem> {
        let (mut tables, mut rows, mut texts, mut asides) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (host, said) in self.names.iter().zip(self.said) {
            let host = host.as_str();
            for piece in said {
                match piece {
                    Piece::Values(values) => rows.extend(values.into_iter().map(|value| Row::new(host, value))),
                    Piece::Table(table, header) => tables.push((host, table, header)),
                    Piece::Line(line) => {
                        let mut table = Table::new([("", Align::Left)]);
                        table.row([line]);
                        tables.push((host, table, false));
                    }
                    Piece::Text(text) => texts.push((host, text)),
                    Piece::Note(_) | Piece::Problem(_) => asides.push((host, piece)),
                }
            }
        }
        if output.format() == Format::Json {
            output.json(&rows)?;
        }
        for (table, header) in Table::of_hosts(tables) {
            output.table(table, header)?;
        }
        for (host, text) in texts {
            output.line(&format!("==> {host} <=="))?;
            output.foreign_text(&text)?;
        }
        for (host, aside) in asides {
            aside_of(host, aside, output);
        }
        Ok(())
    }
}

/// Prints what a host says while it is followed.
pub(super) fn follow(names: &[String], index: usize, piece: Piece, output: &mut Output) -> Result<(), Problem> {
    let host = names.get(index).map_or("", String::as_str);
    match piece {
        Piece::Values(values) => {
            for value in values {
                output.json(&Row::new(host, value))?;
            }
        }
        Piece::Line(text) | Piece::Text(text) => {
            let width = names.iter().map(String::len).max().unwrap_or(0);
            output.line(&format!("{host:width$}  {text}"))?;
        }
        Piece::Table(table, header) => {
            for (table, header) in Table::of_hosts([(host, table, header)]) {
                output.table(table, header)?;
            }
        }
        aside => aside_of(host, aside, output),
    }
    Ok(())
}

fn aside_of(host: &str, aside: Piece, output: &mut Output) {
    match aside {
        Piece::Note(text) => output.note_of(&format!("{PROGRAM}: {host}"), &text),
        Piece::Problem(problem) => output.problem_of(host, &problem),
        Piece::Values(_) | Piece::Table(..) | Piece::Line(_) | Piece::Text(_) => {}
    }
}

/// How much of memory a value takes, about.
fn bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(bytes).sum(),
            Value::Object(map) => map.iter().map(|(key, value)| key.len() + bytes(value)).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}
