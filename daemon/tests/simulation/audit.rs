//! What must hold of the audit when all has come to rest: each call that was taken has one line, however it ended.

use std::collections::BTreeMap;

use serde_json::Value;

/// What the session says to packets that never become calls. The core says some of it, too.
const REFUSALS: [&str; 6] =
    ["MALFORMED", "VERSION_MISMATCH", "UNKNOWN_PROCEDURE", "UNSUPPORTED", "DENIED", "OVERLOADED"];

/// Lines of calls of a connection, and how many of them may be of packets that never became one.
#[derive(Default)]
struct Told {
    lines: u64,
    refusals: u64,
}

pub(crate) fn check(lines: &[String]) -> Result<(), String> {
    let mut told: BTreeMap<u64, Told> = BTreeMap::new();
    // Whether a line may be missing: there was no room for it, or refusals came too fast.
    let mut all = true;
    let mut gone = Vec::new();
    for line in lines {
        let line: Value = serde_json::from_str(line).map_err(|error| format!("no JSON: {error}: {line}"))?;
        let connection = line["connection"].as_u64().unwrap_or_default();
        match line["event"].as_str() {
            Some("call") => {
                let told = told.entry(connection).or_default();
                told.lines += 1;
                let refused = line["verdict"].as_str().is_some_and(|verdict| REFUSALS.contains(&verdict));
                // A second HELLO is refused as INVALID.
                told.refusals += u64::from(refused || line["procedure"] == "hello");
            }
            Some("gone") => gone.push((connection, line["calls"].as_u64().unwrap_or_default())),
            Some("left-out") => all = false,
            Some(_) => {}
            None => return Err(format!("a line of nothing: {line}")),
        }
    }
    for (connection, calls) in gone {
        let Told { lines, refusals } = told.remove(&connection).unwrap_or_default();
        if lines < calls && all || lines - refusals > calls {
            return Err(format!(
                "connection {connection} made {calls} calls; the audit has {lines} lines, {refusals} of refusals"
            ));
        }
    }
    Ok(())
}
