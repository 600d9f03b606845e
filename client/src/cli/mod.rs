//! The command line: `vmwire [-c URI|CONTEXT | -H HOST,...] [-o table|json] [--timeout DURATION] NOUN VERB`.
//!
//! One file per noun, each with its arguments and what it does; this one has what all of them share. Everything that
//! is printed goes through [`Output`], every error through `Problem`, every way to end through [`Exit`].

mod agent;
mod ask;
mod capture;
mod client;
mod complete;
mod connection;
mod context;
mod daemon;
mod enroll;
mod event;
mod exit;
mod hidden;
mod host;
mod hosts;
mod man;
mod named;
mod operation;
mod outage;
mod output;
mod ping;
mod pki;
mod problem;
mod quantity;
mod raw;
mod screen;
mod signals;
mod stdio;
mod stood;
mod table;
mod target;
#[cfg(test)]
mod tests;
mod text;
mod usage;
mod version;
mod vm;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use exit::Exit;
pub use output::{Format, Output};

use vmwire_protocol::message::code;

use crate::connection::{CHOSEN_DEADLINE_GRACE, Connection, Options};
use crate::contexts::{Host, Origin, Target};
use crate::error::{Error, Lost};
use crate::transport::Environment;
use crate::uri::{Transport, Uri};
use output::PROGRAM;
use problem::Problem;
use quantity::read_duration;
use target::URI_VARIABLE;

/// What the program heeds of its surroundings.
const ENVIRONMENT: [(&str, &str); 4] = [
    (URI_VARIABLE, "which daemon, by its URI or context, where -c does not say it"),
    ("VMWIRE_DAEMON", "the vmwired to start for qemu:///session and test:///default"),
    ("VMWIRE_LOG", "what to log on standard error, as in debug"),
    ("SSLKEYLOGFILE", "where to write session keys of TLS, for those who look at captures"),
];

/// Above the options that every verb has.
const EVERYWHERE: &str = "Options of every verb";

/// Manages virtual machines through vmwired
#[derive(Debug, Parser)]
#[command(
    name = PROGRAM,
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 100
)]
struct Arguments {
    /// Which daemon: qemu:///system, qemu:///session, test:///default, one with ?socket=PATH, qemu+ssh://USER@HOST/system,
    /// qemu+tls://HOST/system, or the name of a context [default: $VMWIRE_URI, else the current context, else
    /// qemu:///system for root and qemu:///session for others]
    #[arg(short, long, value_name = "URI|CONTEXT", global = true, help_heading = EVERYWHERE)]
    connect: Option<String>,

    /// Several daemons at once: contexts, groups of contexts, or URIs. Each has as long in all as --timeout says [default:
    /// 30s to look, 90s to change something, 11m where a guest has to go down; no end for wait and follow]
    #[arg(id = "many", short = 'H', long = "hosts", value_name = "HOST,...", global = true, help_heading = EVERYWHERE)]
    hosts: Vec<String>,

    /// How data and errors are printed
    #[arg(short, long, value_name = "FORMAT", global = true, value_enum, default_value_t, help_heading = EVERYWHERE)]
    output: Format,

    /// How long the daemon may take for each call or list, as in 500ms, 5s, 2m; half a second later its answer is waited
    /// for no longer, and the exit code is 6 [default: the daemon's choice]
    #[arg(long, value_name = "DURATION", global = true, value_parser = read_duration, help_heading = EVERYWHERE)]
    timeout: Option<Duration>,

    /// Leave out the first line of tables
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    no_header: bool,

    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Virtual machines
    #[command(subcommand)]
    Vm(vm::Verb),
    /// Agents in guests
    #[command(subcommand)]
    Agent(agent::Verb),
    /// The machine that the guests run on
    #[command(subcommand)]
    Host(host::Verb),
    /// The daemon itself
    #[command(subcommand)]
    Daemon(daemon::Verb),
    /// What happens, as it happens
    #[command(subcommand)]
    Event(event::Verb),
    /// What was asked of virtual machines, and what became of it
    #[command(subcommand)]
    Op(operation::Verb),
    /// Who is connected to the daemon
    #[command(subcommand)]
    Connection(connection::Verb),
    /// Write what passes the daemon into a file for Wireshark
    Capture(capture::Arguments),
    /// Clients that the daemon knows by their keys
    #[command(subcommand)]
    Client(client::Verb),
    /// Names for daemons
    #[command(subcommand)]
    Context(context::Verb),
    /// Certificates, for those who have no authority of their own
    #[command(subcommand)]
    Pki(pki::Verb),
    /// Get a certificate for a daemon elsewhere, with the token that its host's admin has given you
    Enroll(enroll::Arguments),
    /// Measure how long the daemon takes to answer
    Ping(ping::Arguments),
    /// Say which versions this program and the daemon have
    Version(version::Arguments),
    /// Join standard input and output to the daemon's socket, as ssh does on the far side
    Stdio(stdio::Arguments),
    /// Print a completion script for a shell
    Completion(complete::CompletionArguments),
    /// Print what the last word of a command line may become
    #[command(hide = true)]
    Complete(complete::CompleteArguments),
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man(man::ManArguments),
}

/// The definition of the whole command line: parsing, help, completion and manual pages come from it.
fn command() -> clap::Command {
    Arguments::command().after_help(format!(
        "{}\nEnvironment:\n{}",
        Exit::help(),
        ENVIRONMENT.map(|(name, meaning)| format!("  {name:<13}  {meaning}\n")).concat()
    ))
}

/// What a verb is given.
pub(crate) struct Context<'a> {
    pub(crate) output: &'a mut Output,
    meant: Meant,
    pub(crate) timeout: Option<Duration>,
    /// Standard input, for those who read it and are perhaps not alone.
    stdin: Arc<vm::Stdin>,
}

/// Which daemon a verb is to ask.
enum Meant {
    /// What `-c` says, if it says something.
    Said(Option<String>),
    /// One of several.
    Host(Host),
}

impl<'a> Context<'a> {
    /// For the daemon that the option says, or that is meant without.
    pub(crate) fn new(output: &'a mut Output, connect: Option<String>, timeout: Option<Duration>) -> Self {
        Self { output, meant: Meant::Said(connect), timeout, stdin: Arc::default() }
    }

    /// For one of several hosts.
    fn of_host(output: &'a mut Output, host: Host, timeout: Option<Duration>, stdin: Arc<vm::Stdin>) -> Self {
        Self { output, meant: Meant::Host(host), timeout, stdin }
    }
}

impl Context<'_> {
    /// Connects to the daemon that is meant.
    pub(crate) fn connect(&self) -> Result<Connection, Problem> {
        self.connect_with(Options::default())
    }

    /// The same, in a way of one's own. The greeting is a call like others, so it has their deadline; so has the way to
    /// another machine.
    pub(crate) fn connect_with(&self, options: Options) -> Result<Connection, Problem> {
        let uri = self.uri()?;
        let alone = matches!(self.meant, Meant::Said(_));
        let options = Options { ask: Some(Arc::new(ask::Terminal { alone })), ..options };
        let Some(time) = self.timeout else {
            return Ok(Connection::open(&uri, &Environment::of_process(), options)?);
        };
        let limit = time.saturating_add(CHOSEN_DEADLINE_GRACE);
        let mut options = Options { greeting_timeout: limit, ..options };
        if uri.transport() != Transport::Unix {
            options.connect_timeout = limit;
        }
        Connection::open(&uri, &Environment::of_process(), options).map_err(|error| match error {
            Error::Lost(Lost::Silent(_)) => Error::Deadline(time).into(),
            late if late.is_late() => Problem { exit: Exit::Deadline, code: "DEADLINE_EXCEEDED", ..late.into() },
            other => other.into(),
        })
    }

    /// Which daemon is meant.
    pub(crate) fn uri(&self) -> Result<Uri, Problem> {
        match &self.meant {
            Meant::Said(_) => self.target().map(|target| target.uri),
            Meant::Host(host) => Ok(host.uri.clone()),
        }
    }

    /// The same, and what says so.
    pub(crate) fn target(&self) -> Result<Target, Problem> {
        match &self.meant {
            Meant::Said(said) => target::in_force(said.as_deref()),
            Meant::Host(host) => Ok(Target { uri: host.uri.clone(), context: None, origin: Origin::Option }),
        }
    }
}

/// How the program ends for an error of the library, and what it says of it.
#[cfg(test)]
pub(crate) fn told(error: Error) -> (Exit, String) {
    let problem = Problem::from(error);
    (problem.exit, problem.to_text(PROGRAM))
}

/// What went wrong with a call that came with 1.2: an older daemon is told apart from one that refuses.
pub(crate) fn unless_too_old(error: Error) -> Problem {
    let too_old = error.is(code::UNSUPPORTED) || error.is(code::UNKNOWN_PROCEDURE);
    let problem = Problem::from(error);
    if too_old { problem.hint("the daemon is too old for this: it came with protocol 1.2") } else { problem }
}

/// Runs the program: `arguments` as the shell gave them, the program's own name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>, output: &mut Output) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = command()
        .try_get_matches_from(&arguments)
        .and_then(|matches| Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command())));
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return usage::tell(&error, &arguments, output),
    };
    output.set(parsed.output, !parsed.no_header);
    let Arguments { connect, hosts, timeout, noun, .. } = parsed;
    let outcome = match hosts.as_slice() {
        [] => perform(&noun, &mut Context::new(output, connect, timeout)),
        _ if connect.is_some() => Err(Problem::usage("-c names one daemon, and -H names several")
            .hint("leave one of the two out; -H takes contexts and URIs as well")),
        lists => hosts::manner(&noun)
            .and_then(|manner| Ok((manner, target::hosts(lists)?)))
            .and_then(|(manner, hosts)| hosts::run(hosts, noun, manner, timeout, output)),
    };
    match outcome {
        Ok(exit) => exit,
        Err(problem) => {
            if problem.exit != Exit::Ok {
                output.problem(&problem);
            }
            problem.exit
        }
    }
}

/// Does what the command line says, on one daemon.
fn perform(noun: &Noun, context: &mut Context<'_>) -> Result<Exit, Problem> {
    match noun {
        Noun::Vm(verb) => vm::run(verb, context),
        Noun::Agent(verb) => agent::run(verb, context),
        Noun::Host(verb) => host::run(verb, context),
        Noun::Daemon(verb) => daemon::run(verb, context),
        Noun::Event(verb) => event::run(verb, context),
        Noun::Op(verb) => operation::run(verb, context),
        Noun::Connection(verb) => connection::run(verb, context),
        Noun::Capture(arguments) => capture::run(arguments, context),
        Noun::Client(verb) => client::run(verb, context),
        Noun::Context(verb) => context::run(verb, context),
        Noun::Enroll(arguments) => enroll::run(arguments, context),
        Noun::Pki(verb) => pki::run(verb, context),
        Noun::Ping(arguments) => ping::run(arguments, context),
        Noun::Version(arguments) => version::run(arguments, context),
        Noun::Stdio(stdio::Arguments {}) => stdio::run(context),
        Noun::Completion(arguments) => complete::completion(arguments, context),
        Noun::Complete(arguments) => complete::complete(arguments, context),
        Noun::Man(arguments) => man::man(arguments),
    }
}
