//! TOML read key by key, for people who mistype: an unknown key is an error that names the nearest known one, and
//! every error says line and column.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TomlProblem {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// Lower case, without a full stop.
    pub message: String,
    /// What the person could write instead. May be empty.
    pub hint: String,
}

/// One table of a text, of which every key is known to be a known one.
#[derive(Debug)]
pub(super) struct TomlKeys<'t> {
    text: &'t str,
    /// Where the table stands: `""` at the top, else as in `qemu.`.
    path: String,
    at: Range<usize>,
    table: DeTable<'t>,
}

impl<'t> TomlKeys<'t> {
    /// Reads the top table of `text`, in which only the keys of `known` may stand.
    ///
    /// # Errors
    /// The first thing that is no TOML, else the first unknown key.
    pub(super) fn parse(text: &'t str, known: &[&str]) -> Result<Self, TomlProblem> {
        match DeTable::parse(text) {
            Ok(table) => Self::checked(text, String::new(), table.span(), table.into_inner(), known),
            Err(error) => {
                let message = error.message().trim().replace('\n', ", ");
                Err(problem_at(text, error.span().unwrap_or_default().start, message, String::new()))
            }
        }
    }

    /// The text under `key`.
    ///
    /// # Errors
    /// It is no text.
    pub(super) fn string(&self, key: &str) -> Result<Option<String>, TomlProblem> {
        self.read(key, "a text in quotes", |value| value.as_str().map(str::to_owned))
    }

    /// The whole number under `key`.
    ///
    /// # Errors
    /// It is no whole number, negative, or above 2^64 - 1.
    pub(super) fn integer(&self, key: &str) -> Result<Option<u64>, TomlProblem> {
        self.read(key, "a whole number of 0 or more", as_integer)
    }

    /// The texts of the array under `key`.
    ///
    /// # Errors
    /// It is no array, or something in it is no text.
    pub(super) fn strings(&self, key: &str) -> Result<Option<Vec<String>>, TomlProblem> {
        self.read(key, "an array of texts, as in [\"a\", \"b\"]", |value| {
            value.as_array()?.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
        })
    }

    /// Takes the table under `key`, in which only the keys of `known` may stand.
    ///
    /// # Errors
    /// It is no table, or has an unknown key.
    pub(super) fn table(&mut self, key: &str, known: &[&str]) -> Result<Option<TomlKeys<'t>>, TomlProblem> {
        let Some((at, value)) = self.take(key) else { return Ok(None) };
        let DeValue::Table(table) = value else { return Err(self.wrong_type(key, at.start, "a table", &value)) };
        Self::checked(self.text, format!("{}{key}.", self.path), at, table, known).map(Some)
    }

    /// A problem with the value of `key`, or with the table if the key is absent.
    pub(super) fn problem(&self, key: &str, message: impl Into<String>, hint: impl Into<String>) -> TomlProblem {
        let at = self.find(key).map_or(self.at.start, |(_, value)| value.span().start);
        problem_at(self.text, at, message.into(), hint.into())
    }

    /// A problem with the value of `key`, told with the one of `choices` that is nearest to what was written.
    pub(super) fn no_such(&self, key: &str, written: &str, choices: &[&str]) -> TomlProblem {
        let message = format!("{written:?} is nothing that {}{key} can be", self.path);
        let choices_listed = choices.iter().map(|choice| format!("\"{choice}\"")).collect::<Vec<_>>().join(", ");
        let hint = match nearest(written, choices.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"? it is one of {choices_listed}"),
            None => format!("it is one of {choices_listed}"),
        };
        self.problem(key, message, hint)
    }

    fn checked(
        text: &'t str,
        path: String,
        at: Range<usize>,
        table: DeTable<'t>,
        known: &[&str],
    ) -> Result<Self, TomlProblem> {
        let unknown = table.iter().map(|(key, _)| key).filter(|key| !known.contains(&key.get_ref().as_ref()));
        if let Some(key) = unknown.min_by_key(|key| key.span().start) {
            let written = key.get_ref();
            let message = format!("unknown key {:?}", format!("{path}{written}"));
            let hint = match nearest(written, known.iter().copied()) {
                Some(near) => format!("did you mean {path}{near}?"),
                None => format!("the keys here are {}", known.join(", ")),
            };
            return Err(problem_at(text, key.span().start, message, hint));
        }
        Ok(Self { text, path, at, table })
    }

    fn find(&self, key: &str) -> Option<(&Spanned<toml::de::DeString<'t>>, &Spanned<DeValue<'t>>)> {
        self.table.iter().find(|(name, _)| name.get_ref() == key)
    }

    fn take(&mut self, key: &str) -> Option<(Range<usize>, DeValue<'t>)> {
        let value = self.table.remove(key)?;
        Some((value.span(), value.into_inner()))
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        as_type: impl Fn(&DeValue<'t>) -> Option<T>,
    ) -> Result<Option<T>, TomlProblem> {
        let Some((_, value)) = self.find(key) else { return Ok(None) };
        match as_type(value.get_ref()) {
            Some(read) => Ok(Some(read)),
            None => Err(self.wrong_type(key, value.span().start, expected, value.get_ref())),
        }
    }

    fn wrong_type(&self, key: &str, at: usize, expected: &str, found: &DeValue<'_>) -> TomlProblem {
        let found = match found {
            DeValue::Integer(number) if number.as_str().starts_with('-') => number.to_string(),
            _ => format!("of type {}", found.type_str()),
        };
        let message = format!("{}{key} has to be {expected}, and is {found}", self.path);
        problem_at(self.text, at, message, String::new())
    }
}

impl fmt::Display for TomlProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for TomlProblem {}

/// The one of `choices` that `written` was probably meant to be.
fn nearest<'c>(written: &str, choices: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // A text of any length may come; one much longer than every key is near to none of them.
    if written.len() > 64 {
        return None;
    }
    let changes_max = 1 + written.chars().count() / 3;
    choices
        .map(|choice| (strsim::osa_distance(written, choice), choice))
        .filter(|(changes, _)| *changes <= changes_max)
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, choice)| choice)
}

fn as_integer(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn problem_at(text: &str, at: usize, message: String, hint: String) -> TomlProblem {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    TomlProblem {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message,
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["name", "memory", "autostart", "tags", "boot"];

    fn problem(text: &str) -> String {
        match TomlKeys::parse(text, KNOWN) {
            Ok(_) => panic!("{text:?} was taken"),
            Err(problem) => problem.to_string(),
        }
    }

    #[test]
    fn an_unknown_key_is_told_with_its_place_and_the_nearest_known_one() {
        assert_eq!(
            problem("name = \"a\"\n  memroy = 5\n"),
            "line 2, column 3: unknown key \"memroy\"; did you mean memory?"
        );
        assert_eq!(
            problem("colour = 1"),
            "line 1, column 1: unknown key \"colour\"; \
             the keys here are name, memory, autostart, tags, boot"
        );
    }

    #[test]
    fn the_first_unknown_key_in_the_text_is_the_one_told() {
        assert!(problem("zzz = 1\naaa = 1\n").starts_with("line 1, column 1: unknown key \"zzz\""));
    }

    #[test]
    fn a_key_within_a_table_is_told_with_its_path() {
        let mut keys = TomlKeys::parse("[boot]\n\"kernal\" = \"/k\"\n", KNOWN).unwrap();
        let problem = keys.table("boot", &["kernel"]).unwrap_err();
        assert_eq!(problem.to_string(), "line 2, column 1: unknown key \"boot.kernal\"; did you mean boot.kernel?");
    }

    #[test]
    fn text_that_is_no_toml_is_told_with_its_place() {
        assert!(problem("name = \"a\"\nmemory = = 5\n").starts_with("line 2, column 10: "));
        assert!(problem("name = 1\nname = 2\n").starts_with("line 2, column 1: duplicate key"));
    }

    #[test]
    fn reads_each_type_and_refuses_every_other() {
        let text = "name = \"ä\"\nmemory = 0x1_0\ntags = [\"a\", 'b']\n[boot]\n";
        let mut keys = TomlKeys::parse(text, KNOWN).unwrap();
        assert_eq!(keys.string("name"), Ok(Some("ä".to_owned())));
        assert_eq!(keys.integer("memory"), Ok(Some(16)));
        assert_eq!(keys.strings("tags"), Ok(Some(vec!["a".to_owned(), "b".to_owned()])));
        assert_eq!(keys.string("memory").unwrap_err().line, 2);
        assert!(keys.integer("name").is_err());
        assert!(keys.strings("name").is_err());
        assert!(keys.table("name", &[]).is_err());
    }

    #[test]
    fn numbers_beyond_what_can_be_meant_are_refused() {
        for wrong in ["-1", "18446744073709551616", "1.0", "\"1\""] {
            let text = format!("memory = {wrong}");
            let problem = TomlKeys::parse(&text, KNOWN).unwrap().integer("memory").unwrap_err();
            assert!(problem.message.contains("has to be a whole number"), "{wrong}: {problem}");
        }
    }

    #[test]
    fn a_problem_with_a_value_points_at_the_value() {
        let keys = TomlKeys::parse("\n\n name = \"tgc\"", KNOWN).unwrap();
        assert_eq!(
            keys.no_such("name", "tgc", &["auto", "kvm", "tcg"]).to_string(),
            "line 3, column 9: \"tgc\" is nothing that name can be; \
             did you mean \"tcg\"? it is one of \"auto\", \"kvm\", \"tcg\""
        );
    }
}
