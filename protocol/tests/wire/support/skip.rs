//! Saying that a test cannot run here.

use std::fs::OpenOptions;
use std::io::Write;

/// Says that a test is skipped and why, where `make test` looks for it. With `CI=true` it fails instead.
pub(crate) fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{test} may not be skipped with CI=true: {why}");
    let line = format!("SKIPPED: {test}: {why}\n");
    match std::env::var_os("VMWIRE_SKIPS") {
        Some(path) => {
            OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
        }
        None => print!("{line}"),
    }
}
