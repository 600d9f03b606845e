//! The promises of the guide, each of which names the test that would break with it.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_promise_names_a_test_that_there_is() {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    sources(&crate_directory.join("src"), &mut paths);
    sources(&crate_directory.join("tests"), &mut paths);
    let text: String = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let guide = fs::read_to_string(crate_directory.join("../docs/guest-agent.md")).unwrap();
    let (_, promises) = guide.split_once("## What it promises\n").unwrap();
    let promises = promises.split("\n## ").next().unwrap();
    let rows: Vec<&str> = promises.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    assert!(rows.len() >= 18, "{} promises", rows.len());
    for row in rows {
        let (promise, tests) = row.trim_matches(['|', ' ']).rsplit_once(" | ").unwrap();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {promise}");
        for name in names {
            assert!(
                text.contains(&format!("#[test]\nfn {name}() {{")) || text.contains(&format!("    fn {name}() {{")),
                "{name}: {promise}"
            );
        }
    }
}
