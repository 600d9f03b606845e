//! TOML that people write by hand, read key by key: hands out values of the wanted type, refuses keys that nobody
//! knows, and says of every fault where it stands. Definitions and the daemon's configuration are read with it.
//!
//! A `Keys` lists what may be written. A key is named with its table, as in `disk.path`, in every call and every
//! fault; the table may be one (`[cpu]`) or a list of them (`[[disk]]`).

mod error;
mod keys;

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(crate) use self::error::{Fault, Quoted};
pub use self::error::{Position, TomlError, TomlErrorKind};
pub(crate) use self::keys::{Keys, nearest};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Found<T> {
    /// The value.
    pub(crate) value: T,
    /// Its bytes in the text.
    pub(crate) span: Range<usize>,
    /// Its key, with the table.
    pub(crate) key: &'static str,
}

impl<T> Found<T> {
    /// Turns the value into something narrower, or says why it cannot be.
    pub(crate) fn narrow<U>(self, convert: impl FnOnce(T) -> Result<U, String>) -> Result<U, Fault> {
        let Self { value, span, key } = self;
        convert(value).map_err(|why| Fault::value(&span, key, why))
    }
}

/// A table that holds known keys only.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    keys: &'static Keys,
    entries: &'a DeTable<'a>,
    span: Range<usize>,
}

impl Keys {
    /// Reads a text: what `build` makes of its top table, or the first fault.
    pub(crate) fn read<T>(
        &'static self,
        text: &str,
        build: impl FnOnce(&Table<'_>) -> Result<T, Fault>,
    ) -> Result<T, TomlError> {
        let read = || {
            let document = DeTable::parse(text).map_err(|error| Fault {
                at: error.span().map_or(0, |span| span.start),
                kind: TomlErrorKind::Syntax(error.message().trim().replace('\n', ", ")),
            })?;
            // What is missing at the top is missing from the first line on.
            build(&Table::open(self, "", document.get_ref(), 0..0)?)
        };
        read().map_err(|fault: Fault| fault.located(text))
    }
}

impl<'a> Table<'a> {
    /// Takes up a table; the first unknown key, in the order of the text, is refused.
    fn open(
        keys: &'static Keys,
        name: &'static str,
        entries: &'a DeTable<'a>,
        span: Range<usize>,
    ) -> Result<Self, Fault> {
        let unknown = entries
            .keys()
            .filter(|key| !keys.names_in(name).any(|known| known == key.get_ref()))
            .min_by_key(|key| key.span().start);
        match unknown {
            Some(key) => Err(Fault {
                at: key.span().start,
                kind: TomlErrorKind::UnknownKey {
                    table: name,
                    key: key.get_ref().to_string(),
                    nearest: keys.nearest(name, key.get_ref()),
                },
            }),
            None => Ok(Self { keys, entries, span }),
        }
    }

    /// A string without U+0000, which no C program could be handed.
    pub(crate) fn string(&self, key: &'static str) -> Result<Option<Found<&'a str>>, Fault> {
        self.entry(key).map(|value| string(key, value)).transpose()
    }

    /// A boolean.
    pub(crate) fn boolean(&self, key: &'static str) -> Result<Option<bool>, Fault> {
        let Some(value) = self.entry(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Boolean(value) => Ok(Some(*value)),
            _ => Err(wrong_type(key, "true or false", value)),
        }
    }

    /// An integer within bounds.
    pub(crate) fn integer(&self, key: &'static str, least: u64, most: u64) -> Result<Option<u64>, Fault> {
        let Some(value) = self.entry(key) else { return Ok(None) };
        let DeValue::Integer(integer) = value.get_ref() else { return Err(wrong_type(key, "an integer", value)) };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(Fault { at: value.span().start, kind: TomlErrorKind::OutOfBounds { key, least, most } }),
        }
    }

    /// A list of strings.
    pub(crate) fn strings(&self, key: &'static str, most: usize) -> Result<Option<Vec<Found<&'a str>>>, Fault> {
        let items = self.items(key, "a list of strings", most)?;
        items.map(|items| items.iter().map(|item| string(key, item)).collect()).transpose()
    }

    /// A table.
    pub(crate) fn table(&self, name: &'static str) -> Result<Option<Table<'a>>, Fault> {
        self.entry(name).map(|value| self.open_value(name, "a table", value)).transpose()
    }

    /// A list of tables; an absent one is as good as an empty one.
    pub(crate) fn tables(&self, name: &'static str, most: usize) -> Result<Vec<Table<'a>>, Fault> {
        const EXPECTED: &str = "a list of tables";
        let items = self.items(name, EXPECTED, most)?.unwrap_or_default();
        items.iter().map(|item| self.open_value(name, EXPECTED, item)).collect()
    }

    /// Whether a key that may be either holds a list of tables, and not of strings.
    pub(crate) fn holds_tables(&self, key: &'static str) -> bool {
        let first = self.entry(key).and_then(|value| value.get_ref().as_array()).and_then(|items| items.first());
        first.is_some_and(|item| matches!(item.get_ref(), DeValue::Table(_)))
    }

    /// What was asked for must be there.
    pub(crate) fn required<T>(&self, key: &'static str, found: Option<T>) -> Result<T, Fault> {
        found.ok_or(Fault { at: self.span.start, kind: TomlErrorKind::MissingKey { key } })
    }

    /// A fault of the value of `key`; of the table, if there is none.
    pub(crate) fn wrong(&self, key: &'static str, why: impl Into<String>) -> Fault {
        Fault::value(&self.entry(key).map_or(self.span.clone(), Spanned::span), key, why)
    }

    /// Where it begins in the text.
    pub(crate) fn start(&self) -> usize {
        self.span.start
    }

    /// The entry of a dotted key, by its last part.
    fn entry(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        debug_assert!(self.keys.lists(key), "{key} is read but not listed");
        self.entries.get(key.rsplit('.').next().unwrap_or(key))
    }

    fn items(
        &self,
        key: &'static str,
        expected: &'static str,
        most: usize,
    ) -> Result<Option<&'a [Spanned<DeValue<'a>>]>, Fault> {
        let Some(value) = self.entry(key) else { return Ok(None) };
        let DeValue::Array(items) = value.get_ref() else { return Err(wrong_type(key, expected, value)) };
        if items.len() > most {
            let kind = TomlErrorKind::TooMany { key, entries: items.len(), most };
            return Err(Fault { at: value.span().start, kind });
        }
        Ok(Some(items))
    }

    fn open_value(
        &self,
        name: &'static str,
        expected: &'static str,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Result<Table<'a>, Fault> {
        match value.get_ref() {
            DeValue::Table(entries) => Table::open(self.keys, name, entries, value.span()),
            _ => Err(wrong_type(name, expected, value)),
        }
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
    Fault { at, kind: TomlErrorKind::WrongType { key, expected, found } }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: Keys = Keys {
        keys: &["name", "size", "on", "tags", "door.path", "door.mode", "home.path"],
        tables: &["door", "home"],
    };

    fn read<T>(
        text: &str,
        build: impl FnOnce(&Table<'_>) -> Result<T, Fault>,
    ) -> Result<T, (usize, usize, TomlErrorKind)> {
        KEYS.read(text, build).map_err(|error| (error.position.line, error.position.column, error.kind))
    }

    #[test]
    fn each_type_is_read_and_every_other_refused_at_its_place() {
        let text =
            "name = \"ä\"\nsize = 0x1_0\non = true\ntags = [\"a\", 'b']\n[[door]]\npath = 'x'\n[[door]]\n[home]\n";
        read(text, |top| {
            assert_eq!(top.string("name")?.unwrap().value, "ä");
            assert_eq!(top.integer("size", 16, 16)?, Some(16));
            assert_eq!(top.boolean("on")?, Some(true));
            let tags: Vec<&str> = top.strings("tags", 2)?.unwrap().into_iter().map(|found| found.value).collect();
            assert_eq!(tags, ["a", "b"]);
            let doors = top.tables("door", 2)?;
            assert_eq!(doors[0].string("door.path")?.unwrap().value, "x");
            assert!(doors[1].string("door.path")?.is_none());
            assert!(top.table("home")?.is_some());
            assert!(top.holds_tables("door"));
            assert!(!top.holds_tables("tags") && !top.holds_tables("name") && !top.holds_tables("door.path"));
            for fault in [
                top.string("size").map(drop),
                top.integer("on", 0, 9).map(drop),
                top.boolean("tags").map(drop),
                top.strings("name", 9).map(drop),
                top.tables("home", 9).map(drop),
                top.table("door").map(drop),
            ] {
                let fault = fault.unwrap_err();
                assert!(matches!(fault.kind, TomlErrorKind::WrongType { .. }), "{fault:?}");
            }
            Ok(())
        })
        .unwrap();
        let wrong = |found| TomlErrorKind::WrongType { key: "tags", expected: "a string", found };
        assert_eq!(
            read("\ntags = ['a', 2]", |top| top.strings("tags", 9).map(drop)),
            Err((2, 14, wrong("an integer")))
        );
    }

    #[test]
    fn what_is_absent_is_told_from_what_is_empty() {
        let count = |text| read(text, |top| Ok(top.strings("tags", 9)?.map(|tags| tags.len())));
        assert_eq!(count(""), Ok(None));
        assert_eq!(count("tags = []"), Ok(Some(0)));
        let missing = read("\n[[door]]\n", |top| {
            let doors = top.tables("door", 9)?;
            doors[0].required("door.path", doors[0].string("door.path")?).map(drop)
        });
        assert_eq!(missing, Err((2, 1, TomlErrorKind::MissingKey { key: "door.path" })));
    }

    #[test]
    fn a_key_within_a_table_is_told_with_its_table_and_the_one_that_was_meant() {
        let unknown = |table, key: &str, nearest| TomlErrorKind::UnknownKey { table, key: key.to_owned(), nearest };
        let doors = |text| read(text, |top| top.tables("door", 9).map(drop));
        assert_eq!(
            doors("[[door]]\n[[door]]\n\"pahts\" = 1"),
            Err((3, 1, unknown("door", "pahts", Some("door.path"))))
        );
        assert_eq!(doors("zzz = 1\naaa = 1"), Err((1, 1, unknown("", "zzz", None))));
        assert_eq!(doors(" path = 1"), Err((1, 2, unknown("", "path", Some("door.path")))));
    }

    #[test]
    fn numbers_and_lists_beyond_their_bounds_are_refused() {
        for wrong in ["-1", "1", "10", "18446744073709551616"] {
            let kind = TomlErrorKind::OutOfBounds { key: "size", least: 2, most: 9 };
            assert_eq!(read(&format!("size = {wrong}"), |top| top.integer("size", 2, 9)), Err((1, 8, kind)));
        }
        let many = |key| TomlErrorKind::TooMany { key, entries: 2, most: 1 };
        let tags = read("tags = ['a', 'b']", |top| top.strings("tags", 1).map(drop));
        assert_eq!(tags, Err((1, 8, many("tags"))));
        let doors = read("[[door]]\n[[door]]", |top| top.tables("door", 1).map(drop)).unwrap_err();
        assert_eq!(doors.2, many("door"));
    }

    #[test]
    fn a_narrower_value_is_refused_at_its_place() {
        let narrowed = read("tags = ['a', 'b']", |top| {
            let tags = top.strings("tags", 9)?.unwrap();
            tags.into_iter().try_for_each(|tag| tag.narrow(|tag| if tag == "a" { Ok(()) } else { Err("no".into()) }))
        });
        assert_eq!(narrowed, Err((1, 14, TomlErrorKind::Value { key: "tags", why: "no".to_owned() })));
        let nul = read("name = \"a\\u0000\"", |top| top.string("name").map(drop)).unwrap_err();
        assert!(matches!(nul.2, TomlErrorKind::Value { .. }), "{nul:?}");
    }

    #[test]
    fn text_that_is_no_toml_is_told_with_its_place() {
        for (text, line, column) in [("name = 'a'\nsize = = 5\n", 2, 8), ("name = 1\nname = 2\n", 2, 1)] {
            let told = read(text, |_| Ok(())).unwrap_err();
            assert_eq!((told.0, told.1), (line, column), "{told:?}");
            assert!(matches!(told.2, TomlErrorKind::Syntax(_)), "{told:?}");
        }
    }
}
