//! Starting a daemon of one's own where none runs.
//!
//! Two clients may do so at once: both start one, the lock in the state directory lets one of the two run, and both
//! clients find its socket. So a daemon that ends at once is no failure as long as a socket may still appear.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Start;

/// The variable that names the daemon to start.
pub const DAEMON_VARIABLE: &str = "VMWIRE_DAEMON";

/// The daemon's name where nothing names it.
const DAEMON: &str = "vmwired";

/// How long, in seconds, a daemon stays that nobody needs.
const IDLE_EXIT: &str = "60";

/// How long the other of two daemons started at once may take to listen after ours found the lock taken.
const OTHER_STARTS: Duration = Duration::from_secs(3);

/// A log that has grown beyond this begins anew with the next daemon.
const LOG_BYTES_MAX: u64 = 1024 * 1024;

/// How much of the log's end is shown when a daemon does not come up.
const TAIL_BYTES: u64 = 2048;

/// The daemons that this process has started, until they have ended and were looked after: they stay its children.
static STARTED: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// A daemon that was started and is not connected to yet.
#[derive(Debug)]
pub(super) struct Starting {
    child: Option<Child>,
    program: PathBuf,
    log: PathBuf,
    ended: Option<(ExitStatus, Instant)>,
}

/// Starts the daemon that belongs at `socket`. One that leaves when it is idle begins by leaving our session.
pub(super) fn start(socket: &Path, how: &Start) -> Result<Starting, StartError> {
    start_program(find_daemon().ok_or(StartError::NoProgram)?, socket, how)
}

fn start_program(program: PathBuf, socket: &Path, how: &Start) -> Result<Starting, StartError> {
    let log = how.state_dir.join("vmwired.log");
    let file = open_log(&how.state_dir, &log)
        .map_err(|error| StartError::Log { path: log.clone(), error: Arc::new(error) })?;
    let mut listen = std::ffi::OsString::from("unix:");
    listen.push(socket);
    log::debug!("starting {}", program.display());
    let child = Command::new(&program)
        .args(["--driver", how.driver, "--idle-exit", IDLE_EXIT])
        .arg("--listen")
        .arg(listen)
        .arg("--state-dir")
        .arg(&how.state_dir)
        .arg("--runtime-dir")
        .arg(&how.runtime_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .current_dir("/")
        .spawn()
        .map_err(|error| StartError::Spawn { program: program.clone(), error: Arc::new(error) })?;
    Ok(Starting { child: Some(child), program, log, ended: None })
}

impl Starting {
    /// Waits a little for the socket to appear. Fails when the daemon has ended and no other can be on its way, or it
    /// is too late.
    pub(super) fn wait_a_little(&mut self, pause: Duration, until: Instant) -> Result<(), StartError> {
        if self.ended.is_none()
            && let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait)
        {
            self.ended = Some((status, Instant::now()));
        }
        match self.ended {
            Some((status, since)) if since.elapsed() >= OTHER_STARTS || Instant::now() >= until => {
                Err(StartError::Ended { program: self.program.clone(), status: status.to_string(), tail: self.tail() })
            }
            None if Instant::now() >= until => {
                Err(StartError::TooSlow { program: self.program.clone(), tail: self.tail() })
            }
            _ => {
                std::thread::sleep(pause);
                Ok(())
            }
        }
    }

    fn tail(&self) -> Vec<String> {
        read_tail(&self.log).unwrap_or_default()
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        started.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        started.extend(self.child.take());
    }
}

/// The daemon to start: named by the environment, else beside this program, else in the search path.
fn find_daemon() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(DAEMON_VARIABLE).filter(|named| !named.is_empty()) {
        return Some(PathBuf::from(named));
    }
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(DAEMON)).filter(|path| path.is_file());
    beside.or_else(|| {
        let directories = std::env::var_os("PATH")?;
        std::env::split_paths(&directories)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(DAEMON))
            .find(|path| path.is_file())
    })
}

fn open_log(directory: &Path, log: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
    if file.metadata()?.len() > LOG_BYTES_MAX {
        file.set_len(0)?;
    }
    Ok(file)
}

fn read_tail(log: &Path) -> io::Result<Vec<String>> {
    let mut file = File::open(log)?;
    let from = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    Ok(lines.iter().rev().take(8).rev().cloned().collect())
}

/// Why no daemon could be started.
#[derive(Debug, Clone)]
pub enum StartError {
    /// There is none on this machine, as far as one can see.
    NoProgram,
    /// Its log cannot be written.
    Log {
        /// The log.
        path: PathBuf,
        /// Why.
        error: Arc<io::Error>,
    },
    /// The system would not start it.
    Spawn {
        /// The daemon.
        program: PathBuf,
        /// Why.
        error: Arc<io::Error>,
    },
    /// It ended, and nobody listens.
    Ended {
        /// The daemon.
        program: PathBuf,
        /// How it ended.
        status: String,
        /// The last lines of its log.
        tail: Vec<String>,
    },
    /// It runs, and nobody listens.
    TooSlow {
        /// The daemon.
        program: PathBuf,
        /// The last lines of its log.
        tail: Vec<String>,
    },
}

impl StartError {
    /// The last lines of the daemon's log, if it got so far.
    #[must_use]
    pub fn tail(&self) -> &[String] {
        match self {
            Self::Ended { tail, .. } | Self::TooSlow { tail, .. } => tail,
            Self::NoProgram | Self::Log { .. } | Self::Spawn { .. } => &[],
        }
    }

    /// What the person could do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoProgram => "put vmwired beside vmwire or into PATH, or name it with VMWIRE_DAEMON",
            Self::Log { .. } => "make the directory writable, or set XDG_STATE_HOME to one that is",
            Self::Spawn { .. } => "check the file, and VMWIRE_DAEMON if it is set",
            Self::Ended { .. } | Self::TooSlow { .. } => {
                "start it by hand to see more: VMWIRE_LOG=debug vmwire ... shows how"
            }
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProgram => f.write_str("no daemon runs, and there is no vmwired to start"),
            Self::Log { path, .. } => {
                write!(f, "no daemon runs, and the log {} of a new one cannot be written", path.display())
            }
            Self::Spawn { program, .. } => write!(f, "no daemon runs, and {} cannot be started", program.display()),
            Self::Ended { program, status, .. } => {
                write!(f, "no daemon runs, and {} ended at once ({status})", program.display())
            }
            Self::TooSlow { program, .. } => {
                write!(f, "no daemon runs, and {} was started but does not listen", program.display())
            }
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Log { error, .. } | Self::Spawn { error, .. } => Some(error.as_ref()),
            Self::NoProgram | Self::Ended { .. } | Self::TooSlow { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(directory: &Path) -> Start {
        Start { driver: "test", state_dir: directory.join("state"), runtime_dir: directory.join("state/run") }
    }

    #[test]
    fn a_daemon_that_ends_is_told_with_the_end_of_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let how = how(directory.path());
        drop(open_log(&how.state_dir, &how.state_dir.join("vmwired.log")).unwrap());
        std::fs::write(how.state_dir.join("vmwired.log"), "first\nthe disk is on fire\n").unwrap();
        let mut starting = start_program(PathBuf::from("/bin/false"), &directory.path().join("s"), &how).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        let error = loop {
            if let Err(error) = starting.wait_a_little(Duration::from_millis(5), until) {
                break error;
            }
        };
        assert!(matches!(&error, StartError::Ended { status, .. } if status.contains('1')), "{error:?}");
        assert_eq!(error.tail(), ["first", "the disk is on fire"]);
    }

    #[test]
    fn a_daemon_that_cannot_be_run_is_told_with_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("nothing");
        let error = start_program(program, &directory.path().join("s"), &how(directory.path())).unwrap_err();
        assert!(matches!(&error, StartError::Spawn { .. }), "{error:?}");
        assert!(error.to_string().contains("nothing") && std::error::Error::source(&error).is_some());
    }

    #[test]
    fn the_log_is_for_its_owner_only_and_does_not_grow_for_ever() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let (state, log) = (directory.path().join("a/b"), directory.path().join("a/b/vmwired.log"));
        drop(open_log(&state, &log).unwrap());
        assert_eq!(std::fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&log, vec![b'x'; 2 * 1024 * 1024]).unwrap();
        drop(open_log(&state, &log).unwrap());
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
    }
}
