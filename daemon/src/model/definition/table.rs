//! One table of a definition's TOML: hands out values of the wanted type, and refuses keys that nobody knows.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{DefinitionError, DefinitionErrorKind, Position};
use super::keys;

/// What is wrong, at a byte of the text.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) kind: DefinitionErrorKind,
}

impl Fault {
    /// A value that cannot be.
    pub(super) fn value(span: &Range<usize>, key: &'static str, why: impl Into<String>) -> Self {
        Self { at: span.start, kind: DefinitionErrorKind::Value { key, why: why.into() } }
    }

    /// The same for people: with line and column.
    pub(super) fn located(self, text: &str) -> DefinitionError {
        DefinitionError { position: Some(Position::of(text, self.at)), kind: self.kind }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
    pub(super) key: &'static str,
}

impl<T> Found<T> {
    /// Turns the value into something narrower, or says why it cannot be.
    pub(super) fn narrow<U>(self, convert: impl FnOnce(T) -> Result<U, String>) -> Result<U, Fault> {
        let Self { value, span, key } = self;
        convert(value).map_err(|why| Fault::value(&span, key, why))
    }
}

/// A table that holds known keys only.
#[derive(Debug)]
pub(super) struct Table<'a> {
    entries: &'a DeTable<'a>,
    span: Range<usize>,
}

impl<'a> Table<'a> {
    /// Takes up a table; the first unknown key, in the order of the text, is refused.
    pub(super) fn open(name: &'static str, entries: &'a DeTable<'a>, span: Range<usize>) -> Result<Self, Fault> {
        let unknown = entries
            .keys()
            .filter(|key| !keys::names_in(name).any(|known| known == key.get_ref()))
            .min_by_key(|key| key.span().start);
        match unknown {
            Some(key) => Err(Fault {
                at: key.span().start,
                kind: DefinitionErrorKind::UnknownKey {
                    key: key.get_ref().to_string(),
                    nearest: keys::nearest(name, key.get_ref()),
                },
            }),
            None => Ok(Self { entries, span }),
        }
    }

    /// A string without U+0000, which no C program could be handed.
    pub(super) fn string(&self, key: &'static str) -> Result<Option<Found<&'a str>>, Fault> {
        self.entry(key).map(|(key, value)| string(key, value)).transpose()
    }

    /// A boolean.
    pub(super) fn boolean(&self, key: &'static str) -> Result<Option<bool>, Fault> {
        let Some((key, value)) = self.entry(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Boolean(value) => Ok(Some(*value)),
            _ => Err(wrong_type(key, "true or false", value)),
        }
    }

    /// An integer within bounds.
    pub(super) fn integer(&self, key: &'static str, least: u64, most: u64) -> Result<Option<u64>, Fault> {
        let Some((key, value)) = self.entry(key) else { return Ok(None) };
        let DeValue::Integer(integer) = value.get_ref() else { return Err(wrong_type(key, "an integer", value)) };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(Fault::value(&value.span(), key, format!("must be from {least} to {most}"))),
        }
    }

    /// A list of strings.
    pub(super) fn strings(&self, key: &'static str, most: usize) -> Result<Vec<Found<&'a str>>, Fault> {
        let Some((key, value)) = self.entry(key) else { return Ok(Vec::new()) };
        let DeValue::Array(items) = value.get_ref() else { return Err(wrong_type(key, "a list of strings", value)) };
        if items.len() > most {
            return Err(Fault::value(
                &value.span(),
                key,
                format!("has {} entries, and {most} is the most", items.len()),
            ));
        }
        items.iter().map(|item| string(key, item)).collect()
    }

    /// A table; an absent one is as good as an empty one.
    pub(super) fn table(&self, name: &'static str) -> Result<Option<Table<'a>>, Fault> {
        let Some((key, value)) = self.entry(name) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(entries) => Table::open(name, entries, value.span()).map(Some),
            _ => Err(wrong_type(key, "a table", value)),
        }
    }

    /// A list of tables.
    pub(super) fn tables(&self, name: &'static str, most: usize) -> Result<Vec<Table<'a>>, Fault> {
        const EXPECTED: &str = "a list of tables";
        let Some((key, value)) = self.entry(name) else { return Ok(Vec::new()) };
        let DeValue::Array(items) = value.get_ref() else { return Err(wrong_type(key, EXPECTED, value)) };
        if items.len() > most {
            return Err(Fault::value(
                &value.span(),
                key,
                format!("has {} entries, and {most} is the most", items.len()),
            ));
        }
        items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::Table(entries) => Table::open(name, entries, item.span()),
                _ => Err(wrong_type(key, EXPECTED, item)),
            })
            .collect()
    }

    /// What was asked for must be there.
    pub(super) fn required<T>(&self, key: &'static str, found: Option<T>) -> Result<T, Fault> {
        found.ok_or(Fault { at: self.span.start, kind: DefinitionErrorKind::MissingKey { key } })
    }

    /// Where it begins in the text.
    pub(super) fn start(&self) -> usize {
        self.span.start
    }

    /// The entry of a dotted key, by its last part.
    fn entry(&self, key: &'static str) -> Option<(&'static str, &'a Spanned<DeValue<'a>>)> {
        debug_assert!(keys::KEYS.contains(&key) || keys::TABLES.contains(&key), "{key} is read but not listed");
        let name = key.rsplit('.').next().unwrap_or(key);
        self.entries.get(name).map(|value| (key, value))
    }
}

fn string<'a>(key: &'static str, value: &'a Spanned<DeValue<'a>>) -> Result<Found<&'a str>, Fault> {
    match value.get_ref() {
        DeValue::String(text) if text.contains('\0') => {
            Err(Fault::value(&value.span(), key, "the character U+0000 cannot stand in it"))
        }
        DeValue::String(text) => Ok(Found { value: text, span: value.span(), key }),
        _ => Err(wrong_type(key, "a string", value)),
    }
}

fn wrong_type(key: &'static str, expected: &'static str, found: &Spanned<DeValue<'_>>) -> Fault {
    let at = found.span().start;
    let found = match found.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    Fault { at, kind: DefinitionErrorKind::WrongType { key, expected, found } }
}
