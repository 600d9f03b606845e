//! The text of the contexts: reading it, with line and column of what is wrong, and editing it, so that what a person
//! wrote beside it stays.
//!
//! An edit is tried on the text itself; what comes out is read, and where it is not exactly what was to be, the text is
//! written anew from what is known. So the worst that an unusual text costs is its comments.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::quoted;
use super::{CONTEXTS_MAX, Context, Contexts, GROUPS_MAX, Position, is_name};
use crate::uri::Uri;

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) position: Position,
    pub(super) why: String,
    pub(super) hint: String,
}

/// The same, as long as only the byte is known.
struct At {
    byte: usize,
    why: String,
    hint: String,
}

type Item<'a> = Spanned<DeValue<'a>>;

impl At {
    fn new(byte: usize, why: impl Into<String>) -> Self {
        Self { byte, why: why.into(), hint: String::new() }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }
}

/// Reads contexts.
pub(super) fn read(text: &str) -> Result<Contexts, Fault> {
    contexts(text).map_err(|At { byte, why, hint }| Fault { position: position(text, byte), why, hint })
}

fn position(text: &str, byte: usize) -> Position {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

fn contexts(text: &str) -> Result<Contexts, At> {
    let document = DeTable::parse(text).map_err(|error| {
        At::new(error.span().map_or(0, |span| span.start), error.message().trim().replace('\n', ", "))
    })?;
    let top = document.get_ref();
    only(top, "", &["current", "context"])?;
    let mut contexts = Contexts::default();
    let items = match top.get("context") {
        Some(item) => list(item, "context", "a list of tables, each behind [[context]]", CONTEXTS_MAX)?.iter(),
        None => [].iter(),
    };
    let mut names = Vec::new();
    for item in items {
        let (context, name) = context(item)?;
        if contexts.get(&context.name).is_some() {
            return Err(At::new(name.start, format!("two contexts are called {:?}", context.name)));
        }
        names.push(name);
        contexts.all.push(context);
    }
    let groups: BTreeSet<String> = contexts.groups().into_iter().map(str::to_owned).collect();
    for (context, name) in contexts.all.iter().zip(names) {
        if groups.contains(&context.name) {
            return Err(At::new(name.start, format!("{:?} is a context and a group", context.name))
                .hint("-H takes both, so that it would not be clear who is meant: another name"));
        }
    }
    if let Some(item) = top.get("current") {
        let current = string(item, "current")?;
        if contexts.get(current).is_none() {
            let at = At::new(item.span().start, format!("the current context {} is not there", quoted(current)));
            return Err(at.hint("choose another: vmwire context use NAME; or take the line out"));
        }
        contexts.current = Some(current.to_owned());
    }
    Ok(contexts)
}

fn context(item: &Item<'_>) -> Result<(Context, Range<usize>), At> {
    let DeValue::Table(table) = item.get_ref() else {
        return Err(At::new(item.span().start, "context is to be a list of tables, each behind [[context]]"));
    };
    only(table, "context.", &["name", "uri", "groups"])?;
    let needed =
        |key: &str| table.get(key).ok_or_else(|| At::new(item.span().start, format!("the context has no {key}")));
    let (name, uri) = (needed("name")?, needed("uri")?);
    let parsed = string(uri, "uri")?.parse::<Uri>();
    let uri = parsed.map_err(|error| At::new(uri.span().start, error.to_string()).hint(error.hint()))?;
    let groups = match table.get("groups") {
        Some(item) => list(item, "groups", "a list of strings", GROUPS_MAX)?.iter(),
        None => [].iter(),
    };
    let groups = groups.map(|item| a_name(item, "groups")).collect::<Result<_, _>>()?;
    Ok((Context { name: a_name(name, "name")?, uri, groups }, name.span()))
}

/// Only keys that are known, or the first of the others in the order of the text.
fn only(table: &DeTable<'_>, prefix: &str, known: &[&str]) -> Result<(), At> {
    let unknown = table.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
    match unknown.min_by_key(|key| key.span().start) {
        None => Ok(()),
        Some(key) => {
            let why = format!("there is no key {}", quoted(&format!("{prefix}{}", key.get_ref())));
            Err(At::new(key.span().start, why).hint(format!("there are {}", known.join(", "))))
        }
    }
}

fn list<'a, 'b>(item: &'b Item<'a>, key: &str, expected: &str, most: usize) -> Result<&'b DeArray<'a>, At> {
    match item.get_ref() {
        DeValue::Array(items) if items.len() > most => {
            Err(At::new(item.span().start, format!("{key} has {} entries, and may have {most}", items.len())))
        }
        DeValue::Array(items) => Ok(items),
        _ => Err(At::new(item.span().start, format!("{key} is to be {expected}"))),
    }
}

fn string<'a>(item: &'a Item<'_>, key: &str) -> Result<&'a str, At> {
    match item.get_ref() {
        DeValue::String(text) => Ok(text),
        _ => Err(At::new(item.span().start, format!("{key} is to be a string"))),
    }
}

fn a_name(item: &Item<'_>, key: &str) -> Result<String, At> {
    let name = string(item, key)?;
    if is_name(name) {
        return Ok(name.to_owned());
    }
    Err(At::new(item.span().start, format!("{} cannot be a name", quoted(name)))
        .hint("a name has 1 to 64 letters, digits and . _ -, and begins with a letter or digit"))
}

/// A text and what it says.
#[derive(Debug, Clone)]
pub(super) struct Book {
    text: String,
    contexts: Contexts,
}

impl Book {
    pub(super) fn read(text: String) -> Result<Self, Fault> {
        let contexts = read(&text)?;
        Ok(Self { text, contexts })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn contexts(&self) -> &Contexts {
        &self.contexts
    }

    /// Adds a context at the end.
    pub(super) fn add(&mut self, context: Context) {
        let mut text = self.text.clone();
        if !text.is_empty() {
            text.push_str(if text.ends_with('\n') { "\n" } else { "\n\n" });
        }
        write_context(&mut text, &context);
        let mut contexts = self.contexts.clone();
        contexts.all.push(context);
        self.become_one_of(text, contexts);
    }

    /// Takes a context away; the current one, too.
    pub(super) fn remove(&mut self, name: &str) {
        let mut text = self.text.clone();
        if let Some(lines) = self.lines_of(name) {
            text.replace_range(lines, "");
        }
        let mut contexts = self.contexts.clone();
        contexts.all.retain(|context| context.name != name);
        if contexts.current.as_deref() == Some(name) {
            contexts.current = None;
            drop_current(&mut text);
        }
        self.become_one_of(text, contexts);
    }

    /// Puts another context in the place of the one of the same name.
    pub(super) fn replace(&mut self, context: Context) {
        let mut text = self.text.clone();
        if let Some(lines) = self.lines_of(&context.name) {
            let mut block = String::new();
            write_context(&mut block, &context);
            if lines.end < text.len() {
                block.push('\n');
            }
            text.replace_range(lines, &block);
        }
        let mut contexts = self.contexts.clone();
        if let Some(place) = contexts.all.iter_mut().find(|old| old.name == context.name) {
            *place = context;
        }
        self.become_one_of(text, contexts);
    }

    /// Makes a context the current one, or none.
    pub(super) fn set_current(&mut self, name: Option<&str>) {
        let mut text = self.text.clone();
        drop_current(&mut text);
        if let Some(name) = name {
            let between = if text.is_empty() || text.starts_with('\n') { "" } else { "\n" };
            text = format!("current = \"{name}\"\n{between}{text}");
        }
        let contexts = Contexts { current: name.map(str::to_owned), ..self.contexts.clone() };
        self.become_one_of(text, contexts);
    }

    /// The lines of a context: from its header to the next one.
    fn lines_of(&self, name: &str) -> Option<Range<usize>> {
        let document = DeTable::parse(&self.text).ok()?;
        let DeValue::Array(items) = document.get_ref().get("context")?.get_ref() else { return None };
        let inside = items.iter().find_map(|item| {
            let DeValue::Table(table) = item.get_ref() else { return None };
            let found = table.get("name")?;
            (string(found, "name").ok()? == name).then(|| found.span().start)
        })?;
        let begin = header_lines(&self.text).take_while(|&at| at < inside).last()?;
        let end = header_lines(&self.text).find(|&at| at > inside).unwrap_or(self.text.len());
        // What a person wrote above the next one is about that.
        let kept = self.text[begin..end].trim_end();
        let kept = kept.rsplit_once('\n').map_or(kept, |_| without_comments_at_the_end(kept));
        let behind = begin + kept.len();
        let line_end = self.text[behind..end].find('\n').map_or(end, |at| behind + at + 1);
        let blank = self.text[line_end..end].bytes().take_while(|&byte| byte == b'\n').count();
        Some(begin..line_end + blank)
    }

    fn become_one_of(&mut self, text: String, contexts: Contexts) {
        self.text = if read(&text).as_ref() == Ok(&contexts) { text } else { write(&contexts) };
        self.contexts = contexts;
    }
}

/// Where lines begin that open a table.
fn header_lines(text: &str) -> impl Iterator<Item = usize> {
    let mut at = 0;
    text.split_inclusive('\n').filter_map(move |line| {
        let begin = at;
        at += line.len();
        line.trim_start().starts_with('[').then_some(begin)
    })
}

fn without_comments_at_the_end(lines: &str) -> &str {
    let mut kept = lines;
    while let Some((before, last)) = kept.rsplit_once('\n') {
        if !last.trim_start().starts_with('#') {
            return kept;
        }
        kept = before.trim_end();
    }
    kept
}

/// Takes out the line that names the current context, and the blank one behind it.
fn drop_current(text: &mut String) {
    let Ok(document) = DeTable::parse(text) else { return };
    let Some((key, value)) = document.get_ref().get_key_value("current") else { return };
    let begin = text[..key.span().start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[value.span().end..].find('\n').map_or(text.len(), |at| value.span().end + at + 1);
    let blank = usize::from(text[end..].starts_with('\n'));
    text.replace_range(begin..end + blank, "");
}

/// Everything, written anew.
fn write(contexts: &Contexts) -> String {
    let mut text = String::new();
    if let Some(current) = &contexts.current {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "current = \"{current}\"");
    }
    for context in &contexts.all {
        if !text.is_empty() {
            text.push('\n');
        }
        write_context(&mut text, context);
    }
    text
}

/// Names hold nothing that TOML would have escaped; a URI may.
fn write_context(text: &mut String, context: &Context) {
    let Context { name, uri, groups } = context;
    let uri = toml::Value::from(uri.to_string());
    // As above.
    let _ = writeln!(text, "[[context]]\nname = \"{name}\"\nuri = {uri}");
    if !groups.is_empty() {
        let groups: Vec<String> = groups.iter().map(|group| format!("\"{group}\"")).collect();
        let _ = writeln!(text, "groups = [{}]", groups.join(", "));
    }
}
