//! `vmwire`: parses nothing, decides nothing; see [`vmwire_client::cli`].

use std::process::ExitCode;

use vmwire_client::cli::{self, Output};

fn main() -> ExitCode {
    env_logger::Builder::new().parse_env("VMWIRE_LOG").init();
    cli::run(std::env::args_os(), &mut Output::of_process()).into()
}
