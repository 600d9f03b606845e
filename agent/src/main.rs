//! The guest agent's program: words in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    vmwire_agent::start::run(&words)
}
