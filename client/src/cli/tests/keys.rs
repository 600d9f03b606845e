//! The keys of the JSON, held to the page that names them.

use std::collections::BTreeSet;

use serde_json::Value;
use vmwire_protocol::message::ServerData;
use vmwire_protocol::xdr::{Sampler, Text};

use super::*;
use crate::connection::scripted::Came;

/// The paths of all keys that `docs/cli.md` names for a verb.
pub(in crate::cli) fn documented(row: &str) -> BTreeSet<String> {
    let page = include_str!("../../../../docs/cli.md");
    let start = format!("| `{row}` |");
    let line = page.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no row {row}"));
    notated(line[start.len()..].split('`').nth(1).unwrap())
}

/// The paths of all keys in a value: `a`, and `a.b` for what is in it. What is in an array counts as in its key.
pub(in crate::cli) fn paths(value: &Value, above: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
                paths(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, above, found)),
        _ => {}
    }
}

/// The same out of the page's notation: `vm{uuid name} disks[{path}] sockets[]`.
fn notated(notation: &str) -> BTreeSet<String> {
    let (mut found, mut above, mut key) = (BTreeSet::new(), Vec::new(), String::new());
    let mut path = |above: &[String], key: &mut String| {
        if !key.is_empty() {
            found.insert(above.iter().cloned().chain([key.clone()]).collect::<Vec<_>>().join("."));
        }
    };
    for c in notation.chars() {
        match c {
            '{' => {
                path(&above, &mut key);
                above.push(std::mem::take(&mut key));
            }
            '}' | ' ' => {
                path(&above, &mut key);
                key.clear();
                if c == '}' {
                    above.pop();
                }
            }
            '[' | ']' => {}
            c => key.push(c),
        }
    }
    path(&above, &mut key);
    found
}

#[test]
fn the_page_for_programs_names_every_key() {
    let definition = tempfile::NamedTempFile::new().unwrap();
    let file = definition.path().to_str().unwrap();
    let key = format!("sha256:{}", "0".repeat(64));
    let verbs: [(&str, &[&str]); 23] = [
        ("vm show", &["vm", "show", "a"]),
        ("vm define", &["vm", "define", file]),
        ("vm definition", &["vm", "definition", "a"]),
        ("vm undefine start shutdown stop reboot reset pause resume", &["vm", "undefine", "a"]),
        ("vm undefine start shutdown stop reboot reset pause resume", &["vm", "start", "a"]),
        ("vm undefine start shutdown stop reboot reset pause resume", &["vm", "shutdown", "a"]),
        ("vm undefine start shutdown stop reboot reset pause resume", &["vm", "reboot", "a"]),
        ("vm wait", &["vm", "wait", "a", "--for", "state=running"]),
        ("agent ping", &["agent", "ping", "a", "b"]),
        ("host info", &["host", "info"]),
        ("host capabilities", &["host", "capabilities"]),
        ("host certificates", &["host", "certificates"]),
        ("daemon info", &["daemon", "info"]),
        ("op list", &["op", "list"]),
        ("op list", &["op", "show", "1"]),
        ("op list", &["op", "wait", "1"]),
        ("connection list", &["connection", "list"]),
        ("client list", &["client", "list"]),
        ("client invite", &["client", "invite", "a", "--role", "admin"]),
        ("client list", &["client", "add", "a", "--role", "admin", "--key", &key]),
        ("client list", &["client", "role", "a", "admin"]),
        ("ping", &["ping"]),
        ("version", &["version"]),
    ];
    for (row, words) in verbs {
        let mut found = BTreeSet::new();
        // Answers drawn by chance, until every optional part was there.
        for seed in 0..12 {
            let run = vmwire(&[&["-o", "json"], words].concat(), move |mut daemon| {
                while let Some(Came::Call(call)) = daemon.next() {
                    let mut answer = ServerData::sample(call.ticket.number(), &mut Sampler::new(seed)).unwrap();
                    match &mut answer {
                        ServerData::ClientList(answer) => answer.next = Text::clipped(""),
                        ServerData::ConnectionList(answer) => answer.next = Text::clipped(""),
                        ServerData::OperationList(answer) => answer.next = Text::clipped(""),
                        _ => {}
                    }
                    daemon.answer(call.ticket, &answer);
                }
            });
            paths(&run.json(), "", &mut found);
        }
        assert_eq!(found, documented(row), "{words:?}");
    }
}
