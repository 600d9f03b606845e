//! What may stand for each name of a value in the definition of the command line: `VM`, `FIELD,...` and so on.

use std::ffi::OsStr;
use std::sync::Arc;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use vmwire_protocol::message::{event_kind, role, vm_state};
use vmwire_tls::pki::Reason;

use super::super::vm::{field_names, filter_values};
use crate::contexts::Contexts;

/// The URIs that need nothing to be filled in.
const URIS: [&str; 3] = ["qemu:///system", "qemu:///session", "test:///default"];

/// What tells a script to offer files. No value begins with a colon.
const FILES: &str = ":files";

/// The same for directories.
const DIRECTORIES: &str = ":directories";

/// What is not known beforehand: the names of virtual machines, which a daemon is asked for, and contexts.
#[derive(Debug, Clone)]
pub(super) struct Known<N> {
    pub(super) names: N,
    pub(super) contexts: Arc<Contexts>,
}

impl<N> Known<N> {
    fn contexts(&self) -> Vec<String> {
        self.contexts.iter().map(|context| context.name.clone()).collect()
    }

    fn groups(&self) -> Vec<String> {
        self.contexts.groups().into_iter().map(str::to_owned).collect()
    }
}

/// Attaches to every argument what its value may be.
pub(super) fn attach<N>(command: clap::Command, known: &Known<N>) -> clap::Command
where
    N: Fn() -> Vec<String> + Clone + Send + Sync + 'static,
{
    let command = command.mut_args(|argument| {
        let name = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        let Some(name) = name.filter(|name| is_known(name)) else { return argument };
        let known = known.clone();
        argument.add(ArgValueCompleter::new(move |current: &OsStr| {
            let Some(current) = current.to_str() else { return Vec::new() };
            let offered = offers(&name, current, &known).unwrap_or_default();
            let fitting = offered.into_iter().filter(|value| value.starts_with(current) || value.starts_with(':'));
            fitting.map(CompletionCandidate::new).collect()
        }))
    });
    command.mut_subcommands(|child| attach(child, known))
}

fn is_known(name: &str) -> bool {
    offers(name, "", &Known { names: Vec::new, contexts: Arc::default() }).is_some()
}

/// The values that there are for the name of a value; `None` for one that the definition enumerates itself, or of which
/// any may be meant.
fn offers<N: Fn() -> Vec<String>>(name: &str, current: &str, known: &Known<N>) -> Option<Vec<String>> {
    let all = |all: &[(u32, &str)]| all.iter().map(|(_, name)| (*name).to_owned()).collect::<Vec<_>>();
    Some(match name {
        "VM" => (known.names)(),
        "FIELD,..." => field_names().map(str::to_owned).collect(),
        "CONDITION" => conditions(current, &known.names),
        "state=STATE,..." => match current.rfind([',', '=']) {
            Some(at) => all(vm_state::ALL).into_iter().map(|state| with(&current[..=at], &state)).collect(),
            None => vec!["state=".to_owned()],
        },
        "KIND" => all(event_kind::ALL),
        "ROLE" => all(role::ALL),
        "URI" => URIS.map(str::to_owned).into(),
        "URI|CONTEXT" => URIS.map(str::to_owned).into_iter().chain(known.contexts()).collect(),
        "HOST,..." => {
            let (before, _) = current.split_at(current.rfind(',').map_or(0, |at| at + 1));
            known.contexts().into_iter().chain(known.groups()).map(|host| with(before, &host)).collect()
        }
        "CONTEXT" => known.contexts(),
        "GROUP" => known.groups(),
        "REASON" => Reason::ALL.map(|(_, word)| word.to_owned()).into(),
        "FILE" | "FILE|DIR" | "FILE|SERIAL|NAME|FINGERPRINT" => vec![FILES.to_owned()],
        "DIR" => vec![DIRECTORIES.to_owned()],
        _ => return None,
    })
}

/// A condition comes in two steps: the field with its sign, then the value.
fn conditions(current: &str, names: &dyn Fn() -> Vec<String>) -> Vec<String> {
    let Some(at) = current.find('=') else {
        return field_names().map(|field| format!("{field}=")).collect();
    };
    let (before, _) = current.split_at(at + 1);
    let field = before.trim_end_matches(['=', '!']);
    let values = if field == "name" { names() } else { filter_values(field).map(str::to_owned).collect() };
    values.iter().map(|value| with(before, value)).collect()
}

fn with(before: &str, value: &str) -> String {
    format!("{before}{value}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::super::command;
    use super::*;

    fn value_names(command: &clap::Command, found: &mut BTreeSet<String>) {
        let takes = command
            .get_arguments()
            .filter(|argument| argument.get_action().takes_values() && argument.get_possible_values().is_empty());
        found
            .extend(takes.flat_map(|argument| argument.get_value_names().unwrap_or_default()).map(ToString::to_string));
        command.get_subcommands().for_each(|child| value_names(child, found));
    }

    #[test]
    fn whoever_adds_a_value_says_what_it_may_be() {
        let mut found = BTreeSet::new();
        value_names(&command(), &mut found);
        let nobody_knows = [
            "[EPOCH:]SEQUENCE",
            "BYTES",
            "DURATION",
            "FINGERPRINT",
            "HOST",
            "HOST[:PORT]",
            "ID",
            "NAME",
            "NUMBER",
            "WORD",
        ];
        found.retain(|name| !is_known(name));
        assert_eq!(found, nobody_knows.map(str::to_owned).into());
    }
}
