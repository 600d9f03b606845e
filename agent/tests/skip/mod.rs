//! Stories that cannot be told here.

use std::fs::File;
use std::io::Write;

/// Says so where `make test` counts; with `CI=true` that is a failure.
pub(crate) fn skip(test: &str, why: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{test} may not be skipped with CI=true: {why}");
    let line = format!("SKIPPED: {test}: {why}\n");
    match std::env::var_os("VMWIRE_SKIPS") {
        Some(path) => File::options().append(true).create(true).open(path).unwrap().write_all(line.as_bytes()).unwrap(),
        None => print!("{line}"),
    }
}
