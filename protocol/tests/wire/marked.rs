//! What `vmwire.x` marks as secret. The story that plants a canary in each of these reads this page, too.

use std::collections::BTreeSet;

/// The fields that `authority` marks, with their structs.
pub(crate) fn marked(authority: &str) -> BTreeSet<(String, String)> {
    let mut marked = BTreeSet::new();
    let mut of = "";
    for line in authority.lines() {
        if let Some(rest) = line.strip_prefix("struct ") {
            of = rest.split(' ').next().unwrap();
        } else if line.ends_with("/* secret */") {
            let name = line.split_once(';').unwrap().0.split_whitespace().last().unwrap();
            marked.insert((of.to_owned(), name.split(['[', '<']).next().unwrap().to_owned()));
        }
    }
    marked
}
