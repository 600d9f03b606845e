//! From the command line to the loop, and what the program's exit code says of it.
//!
//! A daemon is a child of our own program, started anew with [`DAEMON`] before its words: it says over a pipe that all is open and
//! locked, and only then does its launcher leave, with 0 if so and 1 if not.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::agent::{Agent, Settings};
use crate::channel::{Channel, Listener, Method, Port};
use crate::command::{TABLE, channel::QEMU_GA_VERSION};
use crate::event_loop::EventLoop;
use crate::log::Log;
use crate::options::{CONFIGURATION_VARIABLE, CONFIGURATIONS, HELP, Options};
use crate::pid_file::PidFile;
use crate::state::State;

/// The first word of a daemon; of no use to people.
const DAEMON: &str = "--daemon-of-vmwire-ga";
/// What a daemon says when it is ready.
const READY: &[u8] = b"ready\n";

/// Why the agent could not start, for a person.
type Wrong = String;

/// Runs the program with these words, the first of which is not its name.
pub fn run(words: &[String]) -> ExitCode {
    let (is_daemon, words) = match words.split_first() {
        Some((first, rest)) if first == DAEMON => (true, rest),
        _ => (false, words),
    };
    match start(words, is_daemon) {
        Ok(code) => code,
        Err(wrong) => {
            // Who reads it may be gone.
            let _ = writeln!(io::stderr(), "vmwire-ga: {wrong}");
            ExitCode::FAILURE
        }
    }
}

fn start(words: &[String], is_daemon: bool) -> Result<ExitCode, Wrong> {
    let options = Options::from_words(words)
        .map_err(|wrong| format!("{wrong}\nUnknown option, try 'vmwire-ga --help' for more information."))?;
    if options.help {
        return print(HELP);
    }
    if options.version {
        return print(&format!("QEMU Guest Agent {QEMU_GA_VERSION} (vmwire-ga {})\n", env!("CARGO_PKG_VERSION")));
    }
    if options.list {
        return print(&TABLE.iter().map(|command| format!("{}\n", command.name)).collect::<String>());
    }
    let options = with_configuration(options)?;
    let activated = Listener::activated().map_err(|error| format!("cannot use the socket that was passed: {error}"))?;
    if options.path().is_none() && activated.is_none() {
        return Err("must specify a path for this channel; add -p PATH".to_owned());
    }
    if options.dump {
        return print(&options.dumped());
    }
    if options.daemon && !is_daemon {
        return launch(words);
    }
    serve(&options, activated, is_daemon)
}

fn print(text: &str) -> Result<ExitCode, Wrong> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn with_configuration(options: Options) -> Result<Options, Wrong> {
    let named = options.config.clone().or_else(|| std::env::var(CONFIGURATION_VARIABLE).ok());
    let paths: Vec<&str> = named.as_deref().map_or(CONFIGURATIONS.to_vec(), |path| vec![path]);
    let mut merged = Options::default();
    for path in paths {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && options.config.is_none() => continue,
            Err(error) => return Err(format!("error loading configuration from path: {path}, {error}")),
        };
        let read = Options::from_file(&text)
            .map_err(|wrong| format!("error loading configuration from path: {path}, {wrong}"))?;
        merged = read.over(merged);
    }
    Ok(options.over(merged))
}

/// Starts the daemon and waits until it is one.
fn launch(words: &[String]) -> Result<ExitCode, Wrong> {
    let mut child = Command::new("/proc/self/exe")
        .arg(DAEMON)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("failed to daemonize: {error}"))?;
    let mut said = Vec::new();
    if let Some(pipe) = &mut child.stdout {
        let _ = pipe.read_to_end(&mut said);
    }
    // A daemon that failed said why on its own.
    Ok(if said == READY { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn serve(options: &Options, activated: Option<(Method, Listener)>, is_daemon: bool) -> Result<ExitCode, Wrong> {
    let state = State::open(Path::new(options.state_directory()))
        .map_err(|error| format!("failed to load persistent state: {error}"))?;
    let log = open_log(options)?;
    let pid_file = if is_daemon { Some(become_daemon(options.pid_file())?) } else { None };
    let result = open_and_run(options, activated, state, log, is_daemon);
    if let Some(pid_file) = pid_file {
        pid_file.remove();
    }
    result.map(|()| ExitCode::SUCCESS)
}

fn open_log(options: &Options) -> Result<Log, Wrong> {
    let file =
        match &options.log_file {
            None => None,
            Some(path) => Some(File::options().append(true).create(true).mode(0o600).open(path).map_err(|error| {
                format!("unable to open specified log file {path}: {}", crate::error::reason(&error))
            })?),
        };
    Ok(Log::new(file, options.verbose))
}

fn become_daemon(pid_file: &str) -> Result<PidFile, Wrong> {
    let taken =
        PidFile::take(Path::new(pid_file)).map_err(|error| format!("{pid_file}: {}", crate::error::reason(&error)))?;
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let alone = rustix::process::setsid().map(drop).and_then(|()| rustix::process::chdir("/"));
    if let Err(error) = alone {
        taken.remove();
        return Err(format!("failed to daemonize: {error}"));
    }
    Ok(taken)
}

fn open_and_run(
    options: &Options,
    activated: Option<(Method, Listener)>,
    state: State,
    log: Log,
    is_daemon: bool,
) -> Result<(), Wrong> {
    let channel = match activated {
        Some((_, listener)) => Channel::Listener(listener),
        None => open_channel(options)?,
    };
    let settings = Settings {
        request_deadline: options.request_deadline.map_or(Settings::default().request_deadline, Duration::from_secs),
        blocked: options.blocked.clone(),
        allowed: options.allowed.clone(),
    };
    let agent = Agent::new(settings, log, state);
    let event_loop = EventLoop::new(agent, channel).map_err(|error| format!("failed to start: {error}"))?;
    if is_daemon {
        let _ = io::stdout().write_all(READY).and_then(|()| io::stdout().flush());
        leave_terminal().map_err(|error| format!("failed to daemonize: {error}"))?;
    }
    event_loop.run().map_err(|error| format!("error reading channel: {}", crate::error::reason(&error)))
}

fn open_channel(options: &Options) -> Result<Channel, Wrong> {
    let path = options.path().unwrap_or_default();
    let method = Method::named(options.method()).ok_or_else(|| {
        format!(
            "unsupported channel method/type: {}; use virtio-serial, isa-serial, unix-listen or vsock-listen",
            options.method()
        )
    })?;
    let port = |is_terminal| Port::open(Path::new(path), is_terminal, options.retry, Instant::now()).map(Channel::Port);
    match method {
        Method::VirtioSerial => port(false),
        Method::IsaSerial => port(true),
        Method::UnixListen => Listener::unix(Path::new(path)).map(Channel::Listener),
        Method::VsockListen => Listener::vsock(path).map(Channel::Listener),
    }
    .map_err(|error| format!("error opening channel '{path}': {}", crate::error::reason(&error)))
}

fn leave_terminal() -> io::Result<()> {
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    Ok(())
}
