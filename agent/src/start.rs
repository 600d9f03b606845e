//! From the command line to the loop, and what the program's exit code says of it.
//!
//! A daemon is a child of our own program, started anew with `DAEMON` before its words: it says over a pipe that all is open and
//! locked, and only then does its launcher leave, with 0 if so and 1 if not.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::agent::{AfterThaw, Agent, Settings};
use crate::channel::{Channel, Listener, Method, Port};
use crate::command::{TABLE, channel::QEMU_GA_VERSION};
use crate::command_helper;
use crate::error::reason;
use crate::event_loop::EventLoop;
use crate::file_helper;
use crate::filesystem_helper;
use crate::kernel;
use crate::log::{Level, Log};
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
    if let Some((first, rest)) = words.split_first() {
        match first.as_str() {
            command_helper::WORD => return command_helper::run(rest),
            filesystem_helper::WORD => return filesystem_helper::run(rest),
            file_helper::WORD => return file_helper::run(),
            _ => {}
        }
    }
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
    kernel::keep_descriptors().map_err(|error| format!("cannot look at our own descriptors: {}", reason(&error)))?;
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
    let pid_file = Rc::new(RefCell::new(None));
    let mut deferred = None;
    let log = if state.was_left_frozen() {
        // What may lie on a frozen file system is opened when it is thawed.
        let (told, pid_file) = (options.clone(), Rc::clone(&pid_file));
        deferred = Some(AfterThaw(Box::new(move |log| {
            match open_log_file(&told) {
                Ok(Some(file)) => log.set_file(file),
                Ok(None) => {}
                Err(wrong) => log.say(Level::Warning, wrong),
            }
            if is_daemon {
                match PidFile::take(Path::new(told.pid_file())) {
                    Ok(taken) => *pid_file.borrow_mut() = Some(taken),
                    Err(error) => log.say(Level::Warning, error),
                }
            }
        })));
        Log::new(None, options.verbose)
    } else {
        let file = open_log_file(options)?;
        if is_daemon {
            *pid_file.borrow_mut() = Some(take_pid_file(options.pid_file())?);
        }
        Log::new(file, options.verbose)
    };
    let result = open_and_run(options, activated, state, log, deferred, is_daemon);
    if let Some(pid_file) = pid_file.take() {
        pid_file.remove();
    }
    result.map(|()| ExitCode::SUCCESS)
}

fn open_log_file(options: &Options) -> Result<Option<File>, Wrong> {
    let Some(path) = &options.log_file else { return Ok(None) };
    let opened = File::options().append(true).create(true).mode(0o600).open(path);
    opened.map(Some).map_err(|error| format!("unable to open specified log file {path}: {}", reason(&error)))
}

fn take_pid_file(path: &str) -> Result<PidFile, Wrong> {
    PidFile::take(Path::new(path)).map_err(|error| format!("{path}: {}", reason(&error)))
}

fn leave_parents() -> io::Result<()> {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    Ok(())
}

fn open_and_run(
    options: &Options,
    activated: Option<(Method, Listener)>,
    state: State,
    log: Log,
    deferred: Option<AfterThaw>,
    is_daemon: bool,
) -> Result<(), Wrong> {
    if is_daemon {
        leave_parents().map_err(|error| format!("failed to daemonize: {}", reason(&error)))?;
    }
    let channel = match activated {
        Some((_, listener)) => Channel::Listener(listener),
        None => open_channel(options)?,
    };
    let settings = Settings {
        request_deadline: options.request_deadline.map_or(Settings::default().request_deadline, Duration::from_secs),
        freeze_lease: match options.freeze_lease {
            None => Settings::default().freeze_lease,
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(seconds)),
        },
        hook: options.hook.clone(),
        blocked: options.blocked.clone(),
        allowed: options.allowed.clone(),
    };
    let mut agent = Agent::new(settings, log, state);
    agent.after_thaw = deferred;
    let event_loop = EventLoop::new(agent, channel).map_err(|error| format!("failed to start: {error}"))?;
    if is_daemon {
        let _ = io::stdout().write_all(READY).and_then(|()| io::stdout().flush());
        leave_terminal().map_err(|error| format!("failed to daemonize: {error}"))?;
    }
    event_loop.run().map_err(|error| format!("error reading channel: {}", reason(&error)))
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
    .map_err(|error| format!("error opening channel '{path}': {}", reason(&error)))
}

fn leave_terminal() -> io::Result<()> {
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    Ok(())
}
