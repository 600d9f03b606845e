//! Which keys there are, by name, and the one a mistyped key most looks like.

/// The keys and tables that may be written.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Every key that may carry a value, with its table.
    pub(crate) keys: &'static [&'static str],
    /// The tables.
    pub(crate) tables: &'static [&'static str],
}

impl Keys {
    /// The names that may stand in `table` (empty: at the top), tables included.
    pub(crate) fn names_in(&'static self, table: &'static str) -> impl Iterator<Item = &'static str> {
        self.known_in(table).map(move |key| name_in(table, key))
    }

    /// The known key that `written`, which stood in `table`, most looks like: one of the same table, else one of the
    /// same name in another.
    pub(in crate::model) fn nearest(&'static self, table: &'static str, written: &str) -> Option<&'static str> {
        let name = nearest(written, self.names_in(table));
        let own = name.and_then(|name| self.known_in(table).find(|key| name_in(table, key) == name));
        own.or_else(|| {
            let folded = folded(written);
            self.keys.iter().copied().find(|key| key.rsplit('.').next() == Some(folded.as_str()))
        })
    }

    /// Whether a key or table is one of these.
    pub(super) fn lists(&self, key: &str) -> bool {
        self.keys.contains(&key) || self.tables.contains(&key)
    }

    fn known_in(&'static self, table: &'static str) -> impl Iterator<Item = &'static str> {
        let own = self.keys.iter().filter(move |key| key.rsplit_once('.').map_or("", |(of, _)| of) == table);
        let tables = if table.is_empty() { self.tables } else { &[] };
        own.chain(tables).copied()
    }
}

/// The one of `words` that `written` was probably meant to be.
pub(crate) fn nearest(written: &str, words: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    // Longer than any word can be mistyped to; also keeps the comparison cheap.
    if written.len() > 32 {
        return None;
    }
    let folded = folded(written);
    words
        .map(|word| (strsim::osa_distance(&folded, word), word))
        .filter(|(distance, word)| *distance <= word.len().div_ceil(3).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

fn folded(written: &str) -> String {
    written.to_ascii_lowercase().replace('-', "_")
}

/// The name of a key within its table.
fn name_in(table: &str, key: &'static str) -> &'static str {
    if table.is_empty() { key } else { key.rsplit('.').next().unwrap_or(key) }
}
