//! Which daemon a person means, and which hosts: contexts, groups and URIs made out of what was said.

use std::collections::{BTreeMap, BTreeSet};

use super::file::known;
use super::{Context, Contexts, ContextsError};
use crate::uri::{Uri, UriError};

/// The most hosts that are asked with one command.
pub const HOSTS_MAX: usize = 1024;

/// What says which daemon is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The option `-c`.
    Option,
    /// The variable `VMWIRE_URI`.
    Variable,
    /// The current context.
    Current,
    /// Nobody: it is the usual one.
    Default,
}

/// The daemon that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which.
    pub uri: Uri,
    /// The context that it was named by, if by one.
    pub context: Option<Context>,
    /// What says so.
    pub origin: Origin,
}

/// One of several hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// What it is called in what is printed: its context, or its URI.
    pub name: String,
    /// Which daemon that is.
    pub uri: Uri,
}

/// Finds the daemon that is meant: by what was given with `-c`, else by the variable, else the current context, else the
/// usual one. Contexts are read only where a name or nothing at all was given.
///
/// # Errors
/// Which of them is wrong, and why.
pub fn daemon(
    option: Option<&str>,
    variable: Option<&str>,
    contexts: impl FnOnce() -> Result<Contexts, ContextsError>,
    usual: impl FnOnce() -> Uri,
) -> Result<Target, (Origin, ContextsError)> {
    let (text, origin) = match (option, variable) {
        (Some(text), _) => (text, Origin::Option),
        (None, Some(text)) => (text, Origin::Variable),
        (None, None) => {
            let contexts = contexts().map_err(|error| (Origin::Current, error))?;
            return Ok(match contexts.current() {
                Some(context) => {
                    Target { uri: context.uri.clone(), context: Some(context.clone()), origin: Origin::Current }
                }
                None => Target { uri: usual(), context: None, origin: Origin::Default },
            });
        }
    };
    let found = if is_uri(text) {
        text.parse().map(|uri| (uri, None)).map_err(ContextsError::from)
    } else {
        contexts()
            .and_then(|contexts| known(&contexts, text).map(|context| (context.uri.clone(), Some(context.clone()))))
    };
    let (uri, context) = found.map_err(|error| (origin, error))?;
    Ok(Target { uri, context, origin })
}

/// Whether it is meant to be a URI: no name has a colon or a slash. The empty text is told as a URI that is none.
fn is_uri(text: &str) -> bool {
    text.is_empty() || text.contains([':', '/'])
}

/// Finds the hosts that are meant by lists of contexts, groups and URIs with commas between them, in the order in which
/// they were named.
///
/// # Errors
/// When one of them is not there, or one daemon is meant twice: what is asked for would be done there twice.
pub fn hosts(
    lists: &[String],
    contexts: impl FnOnce() -> Result<Contexts, ContextsError>,
) -> Result<Vec<Host>, ContextsError> {
    let items: Vec<&str> = lists.iter().flat_map(|list| list.split(',')).collect();
    if let Some(list) = lists.iter().find(|list| list.split(',').any(str::is_empty)) {
        return Err(ContextsError::NoHost(list.clone()));
    }
    let contexts = if items.iter().all(|item| is_uri(item)) { Contexts::default() } else { contexts()? };
    let mut hosts = Vec::new();
    for item in items {
        if is_uri(item) {
            let uri: Uri = item.parse().map_err(|error: UriError| ContextsError::from(error))?;
            hosts.push(Host { name: uri.to_string(), uri });
            continue;
        }
        let before = hosts.len();
        let named = contexts.get(item).into_iter().chain(contexts.members(item));
        hosts.extend(named.map(|context| Host { name: context.name.clone(), uri: context.uri.clone() }));
        if hosts.len() == before {
            return Err(ContextsError::UnknownHost {
                name: item.to_owned(),
                nearest: contexts.nearest(item, true).map(str::to_owned),
                any: contexts.iter().next().is_some(),
            });
        }
    }
    if hosts.len() > HOSTS_MAX {
        return Err(ContextsError::TooManyHosts { hosts: hosts.len(), most: HOSTS_MAX });
    }
    each_once(&hosts)?;
    Ok(hosts)
}

fn each_once(hosts: &[Host]) -> Result<(), ContextsError> {
    let mut names = BTreeSet::new();
    let mut uris: BTreeMap<String, &str> = BTreeMap::new();
    for host in hosts {
        if !names.insert(host.name.as_str()) {
            return Err(ContextsError::NameTwice(host.name.clone()));
        }
        if let Some(first) = uris.insert(host.uri.to_string(), &host.name) {
            let (first, second) = (first.to_owned(), host.name.clone());
            return Err(ContextsError::UriTwice { first, second, uri: host.uri.to_string() });
        }
    }
    Ok(())
}
