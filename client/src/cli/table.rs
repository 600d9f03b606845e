//! Rows of cells in padded columns, for people.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::text;

/// Below so many columns nothing is clipped: what is left would tell nobody anything.
const CLIPPED_LEAST: usize = 8;

/// Where a cell stands in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of cells in padded columns.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a header.
    pub(crate) fn new<S: Into<String>>(columns: impl IntoIterator<Item = (S, Align)>) -> Self {
        Self { columns: columns.into_iter().map(|(name, align)| (name.into(), align)).collect(), rows: Vec::new() }
    }

    /// Rows of a label and a value.
    pub(crate) fn labels() -> Self {
        Self::new([("", Align::Left), ("", Align::Left)])
    }

    /// One table out of those of several hosts, with the host in front of each row, for each kind of table among them; in
    /// the order in which the kinds come.
    pub(crate) fn of_hosts<'a>(tables: impl IntoIterator<Item = (&'a str, Self, bool)>) -> Vec<(Self, bool)> {
        let mut merged: Vec<(Self, bool)> = Vec::new();
        for (host, table, header) in tables {
            let alike = |(known, listing): &(Self, bool)| known.columns[1..] == table.columns && *listing == header;
            let at = merged.iter().position(alike).unwrap_or_else(|| {
                let columns = std::iter::once(("host".to_owned(), Align::Left)).chain(table.columns);
                merged.push((Self { columns: columns.collect(), rows: Vec::new() }, header));
                merged.len() - 1
            });
            let rows = table.rows.into_iter().map(|row| std::iter::once(host.to_owned()).chain(row).collect());
            merged[at].0.rows.extend(rows);
        }
        merged
    }

    /// How much of memory its cells take.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.iter().flatten().map(|cell| cell.len() + size_of::<String>()).sum()
    }

    /// Adds a row. Cells beyond the columns are dropped, missing ones are empty.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Adds a label and its value, unless there is nothing to say.
    pub(crate) fn label(&mut self, label: &str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.row([label.to_owned(), value]);
        }
    }

    /// The lines. With a number of `columns` the cells are clipped so that each line fits, where that can be.
    pub(crate) fn render(&self, header: bool, columns: Option<usize>) -> String {
        let heading: Vec<String> = self.columns.iter().map(|(name, _)| name.to_uppercase()).collect();
        let lines: Vec<Vec<Cow<'_, str>>> = header
            .then_some(&heading)
            .into_iter()
            .chain(&self.rows)
            .map(|row| row.iter().map(|cell| text::line(cell)).collect())
            .collect();
        let width =
            |column: usize| lines.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or(0);
        let mut widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        if let Some(columns) = columns {
            self.narrow(&mut widths, columns);
        }
        let mut text = String::new();
        for row in &lines {
            let mut line = String::new();
            for (index, ((_, align), &width)) in self.columns.iter().zip(&widths).enumerate() {
                let cell = clip(row.get(index).map_or("", |cell| cell.as_ref()), width);
                let padding = " ".repeat(width.saturating_sub(cell.width()));
                let between = if index > 0 { "  " } else { "" };
                match align {
                    Align::Left => line.extend([between, &cell, &padding]),
                    Align::Right => line.extend([between, &padding, &cell]),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Takes from the widest columns until a line has no more than so many. Numbers stay: a clipped one would be another.
    fn narrow(&self, widths: &mut [usize], columns: usize) {
        let gaps = 2 * widths.len().saturating_sub(1);
        let least = |name: &str| name.width().max(CLIPPED_LEAST);
        while widths.iter().sum::<usize>() + gaps > columns {
            let clippable = self.columns.iter().zip(&mut *widths);
            let widest = clippable
                .filter(|((name, align), width)| *align == Align::Left && **width > least(name))
                .max_by_key(|(_, width)| **width);
            let Some((_, widest)) = widest else { return };
            *widest -= 1;
        }
    }
}

/// A cell in no more than so many columns; `…` stands for what is left out.
fn clip(cell: &str, width: usize) -> Cow<'_, str> {
    if cell.width() <= width {
        return Cow::Borrowed(cell);
    }
    let mut room = width.saturating_sub(1);
    let mut clipped: String = cell
        .chars()
        .take_while(|c| {
            let fits = c.width().unwrap_or(0) <= room;
            room = room.saturating_sub(c.width().unwrap_or(0));
            fits
        })
        .collect();
    clipped.push('…');
    Cow::Owned(clipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([("name", Align::Left), ("memory", Align::Right), ("title", Align::Left)]);
        table.row(["a", "1 GiB", ""]);
        table.row(["longer", "256 MiB", "evil\u{1b}[2J\n"]);
        table
    }

    #[test]
    fn columns_are_padded_and_foreign_text_is_escaped() {
        let expected = "NAME     MEMORY  TITLE\n\
                        a         1 GiB\n\
                        longer  256 MiB  evil\\u{1b}[2J\\n\n";
        assert_eq!(table().render(true, None), expected);
        assert!(!table().render(false, None).contains("NAME"));
    }

    #[test]
    fn a_short_row_is_filled_up() {
        let mut table = Table::new([("a", Align::Right), ("b", Align::Left)]);
        table.row(["1"]);
        table.row::<&str>([]);
        assert_eq!(table.render(true, None), "A  B\n1\n\n");
    }

    #[test]
    fn wide_characters_stand_in_line() {
        let mut table = Table::new([("title", Align::Left), ("cpus", Align::Right)]);
        table.row(["山山", "1"]);
        table.row(["größer", "16"]);
        assert_eq!(table.render(true, None), "TITLE   CPUS\n山山       1\ngrößer    16\n");
    }

    #[test]
    fn on_a_terminal_the_widest_columns_are_clipped_and_numbers_are_not() {
        let mut table = Table::new([("name", Align::Left), ("pid", Align::Right), ("title", Align::Left)]);
        table.row(["a-rather-long-name", "1234567", "a title that is longer still 山山山"]);
        table.row(["b", "1", "短短短短短短短短短短短短"]);
        assert_eq!(
            table.render(true, Some(40)),
            "NAME                 PID  TITLE\n\
             a-rather-long-…  1234567  a title that …\n\
             b                      1  短短短短短短…\n"
        );
        for columns in 0..80 {
            let text = table.render(true, Some(columns));
            assert!(text.contains("1234567"), "{text}");
            let longest = text.lines().map(UnicodeWidthStr::width).max();
            assert!(columns < 27 || longest <= Some(columns), "{columns}: {text}");
        }
        let whole = table.render(true, None);
        assert_eq!(table.render(true, Some(80)), whole);
        assert!(whole.contains("still 山山山"), "{whole}");
    }
}
