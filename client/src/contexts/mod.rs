//! Contexts: names that a person gives to daemons, and groups of them for those who ask many hosts at once.
//!
//! ```toml
//! current = "vm1"
//!
//! [[context]]
//! name = "vm1"
//! uri = "qemu+tls://vm1.example.org/system"
//! groups = ["prod"]
//! ```
//! Module `text` reads and edits that text, module `file` keeps it on disk, module `target` says which daemon, or which
//! hosts, a person means. Whatever a program writes leaves the rest of the text, comments included, as a person wrote it.

mod error;
mod file;
mod target;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeSet;

pub use error::{ContextsError, Position};
pub use file::ContextsFile;
pub use target::{HOSTS_MAX, Host, Origin, Target, daemon, hosts};

use crate::uri::Uri;

/// The longest name of a context or a group; as long as that of a virtual machine.
pub const NAME_BYTES_MAX: usize = 64;

/// The most contexts that are kept. Bounds the work on a file that a program went on adding to.
pub const CONTEXTS_MAX: usize = 4096;

/// The most groups that one context is in.
pub const GROUPS_MAX: usize = 64;

/// A name for a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// What it is called.
    pub name: String,
    /// Which daemon that is.
    pub uri: Uri,
    /// The groups that it is in.
    pub groups: BTreeSet<String>,
}

/// All contexts of a person.
///
/// Invariant: no two have one name, none is called as a group, and `current` is one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contexts {
    current: Option<String>,
    all: Vec<Context>,
}

impl Contexts {
    /// The one that counts where nothing else is said.
    #[must_use]
    pub fn current(&self) -> Option<&Context> {
        self.current.as_deref().and_then(|name| self.get(name))
    }

    /// The context of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Context> {
        self.all.iter().find(|context| context.name == name)
    }

    /// All of them, in the order in which they stand in the file.
    pub fn iter(&self) -> impl Iterator<Item = &Context> {
        self.all.iter()
    }

    /// The names of all groups that have somebody in them.
    #[must_use]
    pub fn groups(&self) -> BTreeSet<&str> {
        self.all.iter().flat_map(|context| context.groups.iter().map(String::as_str)).collect()
    }

    /// Who is in a group, in the order in which they stand in the file.
    pub fn members(&self, group: &str) -> impl Iterator<Item = &Context> {
        self.all.iter().filter(move |context| context.groups.contains(group))
    }

    /// The name of a context, or of a group, that is most like one that there is not.
    #[must_use]
    pub fn nearest(&self, name: &str, groups_too: bool) -> Option<&str> {
        let groups = if groups_too { self.groups() } else { BTreeSet::new() };
        let folded = name.to_ascii_lowercase();
        let names = self.all.iter().map(|context| context.name.as_str()).chain(groups);
        names
            .map(|known| (strsim::osa_distance(&folded, &known.to_ascii_lowercase()), known))
            .filter(|(distance, known)| *distance <= (known.len().max(name.len()) / 3).max(1))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, known)| known)
    }
}

/// Whether it can be the name of a context or a group: 1 to 64 letters, digits and `.`, `_`, `-`, the first of them a
/// letter or digit. Such a name is no URI, and means nothing to a shell.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}
