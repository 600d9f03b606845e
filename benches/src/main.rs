//! `vmwire-bench`: the figures of BENCHMARKS.md.
//!
//! ```text
//!   this process: generator ──▶ vmwired, as installed         A
//!                           └─▶ a yardstick, another process  B      A B A B ..., at least 7 pairs of 2 s
//! ```
//! Ours and the yardstick are driven by the same code with the same bytes. Nothing is asserted: a figure that is missed
//! stands in the table as such. `yardstick` says what ours is compared with, `rows` has a room for each group of figures.

mod agent;
mod daemon;
mod lab;
mod load;
mod papers;
mod report;
mod rows;
mod socket;
mod sshd;
mod statistics;
mod wire;
mod yardstick;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use self::lab::Lab;
use self::report::Report;

/// What may go wrong: the machine, not the figures. A person reads it and nothing looks inside.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Measures vmwired beside the least that anything could do.
#[derive(Debug, Parser)]
#[command(name = "vmwire-bench", max_term_width = 100)]
struct Arguments {
    /// The program to be measured: as `make install` puts it in place
    #[arg(long, value_name = "PATH")]
    vmwired: PathBuf,

    /// The same, built with XDR of our own
    #[arg(long, value_name = "PATH")]
    own_xdr: Option<PathBuf>,

    /// The guest agent: as `make agent` builds it
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,

    /// Its Debian package
    #[arg(long, value_name = "PATH")]
    agent_package: Option<PathBuf>,

    /// Only the rows whose group begins like this; can be given several times
    #[arg(long, value_name = "GROUP")]
    row: Vec<String>,

    /// Pairs of runs, ours and the yardstick's
    #[arg(long, default_value_t = 7)]
    pairs: u32,

    /// How long a run is
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    run_ms: u64,

    /// Put the table into this file, between its marks
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
}

fn main() -> ExitCode {
    let raw: Vec<OsString> = std::env::args_os().collect();
    let outcome = match raw.get(1..) {
        Some([first, rest @ ..]) if first == yardstick::ARGUMENT => yardstick::run(rest),
        _ => measure(&Arguments::parse()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vmwire-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Outcome<()> {
    let lab = Lab::new(arguments)?;
    let mut report = Report::begin();
    for group in rows::GROUPS {
        if arguments.row.is_empty() || arguments.row.iter().any(|wanted| group.name.starts_with(wanted.as_str())) {
            eprintln!("vmwire-bench: {} ...", group.name);
            match (group.measure)(&lab) {
                Ok(rows) => report.add(group.name, rows),
                Err(error) => report.failed(group.name, &error.to_string()),
            }
        }
    }
    report.end();
    print!("{report}");
    match &arguments.table {
        Some(file) => report.write_into(file),
        None => Ok(()),
    }
}
