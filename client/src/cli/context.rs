//! `vmwire context`: names for daemons, one of which counts where nothing else is said. No daemon is asked.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{Align, Table};
use super::problem::Problem;
use super::target::{URI_VARIABLE, file, in_force, origin_word, origin_words};
use super::{Context, Exit};
use crate::contexts::{Context as Entry, Contexts, ContextsError, Origin, Target};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Give a daemon a name, which -c and -H take in place of its URI
    #[command(after_help = "Examples:\n  vmwire context add vm1 qemu+ssh://root@vm1.example.org/system\n  \
                            vmwire context add vm2 qemu+tls://vm2.example.org/system --group prod --group web\n  \
                            vmwire -H prod vm list\n")]
    Add(Add),
    /// Make a context the one that counts where neither -c nor VMWIRE_URI says another
    #[command(after_help = "Examples:\n  vmwire context use vm1\n  vmwire context use --none\n")]
    Use(Use),
    /// All contexts, and which of them counts
    #[command(after_help = "Examples:\n  vmwire context list\n  \
                            vmwire context list -o json | jq -r '.[] | select(.counts) | .uri'\n")]
    List,
    /// What would be connected to, and what says so
    #[command(after_help = "Examples:\n  vmwire context show\n  vmwire -c vm1 context show -o json | jq -r .uri\n")]
    Show,
    /// Forget contexts
    #[command(after_help = "Examples:\n  vmwire context remove vm1\n  vmwire context remove vm1 vm2\n")]
    Remove {
        /// The contexts
        #[arg(value_name = "CONTEXT", required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// What the daemon is to be called: letters, digits and . _ -
    #[arg(value_name = "NAME")]
    name: String,
    /// Which daemon, as -c takes it
    #[arg(value_name = "URI")]
    uri: String,
    /// A group that it is in, all of which -H takes by the group's name; can be given several times
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Take the place of the context of that name
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Use {
    /// The context
    #[arg(value_name = "CONTEXT", required_unless_present = "none", conflicts_with = "none")]
    name: Option<String>,
    /// None: what is usual counts again
    #[arg(long)]
    none: bool,
}

#[derive(Serialize)]
struct EntryJson {
    name: String,
    uri: String,
    groups: BTreeSet<String>,
    current: bool,
    counts: bool,
}

#[derive(Serialize)]
struct TargetJson {
    uri: String,
    context: Option<String>,
    groups: BTreeSet<String>,
    origin: &'static str,
    file: String,
}

pub(crate) fn run(verb: &Verb, context: &mut Context<'_>) -> Result<Exit, Problem> {
    match verb {
        Verb::Add(add) => {
            let uri = add.uri.parse().map_err(ContextsError::from)?;
            let groups = add.groups.iter().cloned().collect();
            file()?.add(Entry { name: add.name.clone(), uri, groups }, add.replace)?;
        }
        Verb::Use(Use { name, .. }) => {
            file()?.set_current(name.as_deref())?;
            if let (Some(name), Some(variable)) = (name, super::target::variable()) {
                context.output.note(&format!("{URI_VARIABLE} is set to {variable} and stands above {name}: unset it"));
            }
        }
        Verb::List => list(context)?,
        Verb::Show => show(context)?,
        Verb::Remove { names } => {
            if file()?.remove(names)? {
                let now = match in_force(None) {
                    Ok(target) => format!("{} counts now, {}", target.uri, origin_words(target.origin)),
                    Err(problem) => problem.message,
                };
                context.output.note(&format!("the current context is gone: {now}"));
            }
        }
    }
    Ok(Exit::Ok)
}

fn list(context: &mut Context<'_>) -> Result<(), Problem> {
    let contexts = file()?.read()?;
    let target = context.target();
    let counting = target.as_ref().ok().and_then(|target| target.context.as_ref()).map(|entry| entry.name.as_str());
    let rows: Vec<EntryJson> = contexts
        .iter()
        .map(|entry| EntryJson {
            name: entry.name.clone(),
            uri: entry.uri.to_string(),
            groups: entry.groups.clone(),
            current: is_current(&contexts, entry),
            counts: counting == Some(&entry.name),
        })
        .collect();
    let origin = target.as_ref().map_or(Origin::Default, |target| target.origin);
    context.output.listing(&rows, |rows| table(rows, origin))?;
    match target {
        Ok(Target { context: Some(_), .. }) => {}
        Ok(target) => {
            let words = origin_words(target.origin);
            context.output.note(&format!("no context counts, but {}, {words}", target.uri));
        }
        Err(problem) => context.output.note(&problem.message),
    }
    Ok(())
}

fn is_current(contexts: &Contexts, entry: &Entry) -> bool {
    contexts.current().is_some_and(|current| current.name == entry.name)
}

fn table(rows: &[EntryJson], origin: Origin) -> Table {
    let columns = ["name", "uri", "groups", "counts"];
    let mut table = Table::new(columns.map(|column| (column, Align::Left)));
    for row in rows {
        let counts = match (row.counts, row.current) {
            (true, _) => format!("yes, {}", origin_words(origin)),
            (false, true) => format!("no, {} stands above the current one", origin_word_shown(origin)),
            (false, false) => String::new(),
        };
        let groups: Vec<&str> = row.groups.iter().map(String::as_str).collect();
        table.row([row.name.clone(), row.uri.clone(), groups.join(" "), counts]);
    }
    table
}

fn origin_word_shown(origin: Origin) -> &'static str {
    if origin == Origin::Option { "-c" } else { URI_VARIABLE }
}

fn show(context: &mut Context<'_>) -> Result<(), Problem> {
    let target = context.target()?;
    let shown = TargetJson {
        uri: target.uri.to_string(),
        groups: target.context.as_ref().map(|entry| entry.groups.clone()).unwrap_or_default(),
        context: target.context.map(|entry| entry.name),
        origin: origin_word(target.origin),
        file: file()?.path().display().to_string(),
    };
    context.output.thing(&shown, |shown| {
        let mut table = Table::labels();
        table.label("uri", shown.uri.as_str());
        table.label("context", shown.context.clone().unwrap_or_default());
        table.label("groups", shown.groups.iter().map(String::as_str).collect::<Vec<_>>().join(" "));
        table.label("because", origin_words(target.origin));
        table.label("contexts in", shown.file.as_str());
        table
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::keys::{documented, paths};
    use super::*;

    fn keys(value: &impl Serialize) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        paths(&serde_json::to_value(value).unwrap(), "", &mut found);
        found
    }

    #[test]
    fn the_page_for_programs_names_every_key() {
        let groups = BTreeSet::from(["prod".to_owned()]);
        let (name, uri) = ("vm1".to_owned(), "qemu:///system".to_owned());
        let entry =
            EntryJson { name: name.clone(), uri: uri.clone(), groups: groups.clone(), current: true, counts: true };
        assert_eq!(keys(&[entry]), documented("context list"));
        let shown = TargetJson { uri, context: Some(name), groups, origin: "option", file: "/f".to_owned() };
        assert_eq!(keys(&shown), documented("context show"));
    }
}
