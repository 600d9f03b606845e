//! `vmwire`: parses nothing, decides nothing; see [`vmwire_client::cli`].

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use vmwire_client::cli::{self, Output};

fn main() -> ExitCode {
    env_logger::Builder::new().parse_env("VMWIRE_LOG").init();
    let terminal = io::stdout().is_terminal();
    let mut output = Output::new(Box::new(io::stdout()), Box::new(io::stderr()), terminal);
    cli::run(std::env::args_os(), &mut output).into()
}
