//! `vmwired`: parses, loads, runs, and maps the outcome to an exit code.
//!
//! The same binary is its own helper: a first argument that only the daemon gives says which. Those children come
//! before everything else, so that they stay small.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use vmwire_daemon::arguments::{Arguments, manual_page};
use vmwire_daemon::config::{Environment, Source};
use vmwire_daemon::logging::escape;
use vmwire_daemon::{files, launch, probe_kvm, server};

const FAILED: u8 = 1;
const WRONG_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    if let Some(argument) = std::env::args_os().nth(1) {
        if argument == files::child::ARGUMENT {
            return exit_code(files::child::run());
        }
        if argument == launch::ARGUMENT {
            return launch::main();
        }
        if argument == probe_kvm::ARGUMENT {
            return probe_kvm::main();
        }
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // It quotes what was written, whatever that was.
        Err(error) if error.use_stderr() => {
            error.render().to_string().lines().for_each(|line| eprintln!("{}", escape(line)));
            return ExitCode::from(WRONG_CONFIGURATION);
        }
        Err(help) => help.exit(),
    };
    if arguments.man {
        return exit_code(manual_page().and_then(|page| std::io::stdout().write_all(&page)));
    }
    let source = Source { arguments, environment: Environment::of_process() };
    let config = match source.load() {
        Ok(config) => config,
        Err(error) => {
            complain(&error);
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    if source.arguments.check_config {
        if let Err(server::Unfit { blamed, why }) = server::check(&config) {
            complain(&source.blame(blamed, why));
            return ExitCode::from(WRONG_CONFIGURATION);
        }
        println!("OK");
        return ExitCode::SUCCESS;
    }
    if config.idle_exit.is_some() {
        // A client started us for its user: what its terminal sends, and its end, are not meant for us. Started by hand
        // we lead a group already, the system refuses, and ^C goes on working.
        let _refused = rustix::process::setsid();
    }
    exit_code(server::run(source, config))
}

fn exit_code<E: std::fmt::Display>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(FAILED)
        }
    }
}

/// Names of files and what stands in them are in it.
fn complain(error: &dyn std::fmt::Display) {
    eprintln!("vmwired: {}", escape(&error.to_string()));
}
