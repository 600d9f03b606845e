//! The ssh program as a child, and the daemon's bytes through it.
//!
//! ```text
//!   link ◀──socketpair──▶ ssh ◀── network ──▶ sshd ──▶ vmwire stdio ◀──unix socket──▶ vmwired
//!                          └─ standard error ─▶ a thread of ours: bounded lines
//! ```
//! Nothing of a URI becomes an option of ssh or is read by the shell of the far side: the host stands behind `--`, the user
//! behind `-l`, and the far command is a fixed text with a URI in which everything but letters, digits and a few signs is
//! written as `%XX`.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::net::Shutdown;
use rustix::process::{Pid, Signal, kill_process};
use vmwire_protocol::header::MAGIC;

use super::error::{Ended, SshError, Verdict};
use super::said::Said;
use super::settings::{PROGRAM, Settings, destination};
use super::verdict::verdict;
use super::{ChangedKey, Reason, SshPlace};
use crate::ask::Asking;
use crate::error::Error;
use crate::transport::socket::{self, Came, Ending, Socket, Unwaiting, Written};
use crate::uri::SshTarget;

/// How long ssh may take in all where it is asking a person.
const PERSON: Duration = Duration::from_secs(120);

/// How far down the processes are looked at that ssh has begun: each jump host is one.
const DESCENT_MAX: u32 = 8;

/// What ssh begins while a security key signs, which waits to be touched for that.
const SIGNS: &str = "ssh-sk-helper";

/// How long ssh may take to end when its output has, or when it was told to go.
const END: Duration = Duration::from_millis(500);

/// How much is shown of what is no packet.
const NOISE_BYTES_MAX: usize = 160;

/// How long between two looks for the end of a child.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Starts ssh. Whether it gets anywhere shows when the daemon answers, or ssh ends.
pub(super) fn connect(
    place: &SshPlace,
    settings: &Settings,
    reason: &Reason,
    asking: &Asking,
) -> Result<Socket, Error> {
    if !settings.program {
        return Err(SshError::NoProgram { place: place.target.clone(), reason: reason.clone() }.into());
    }
    let asks = !settings.is_on("batchmode") && asking.is_alone();
    let time = asking.left();
    let (ours, theirs) = UnixStream::pair().map_err(|error| SshError::Spawn(error.into()))?;
    let theirs = OwnedFd::from(theirs);
    let spawned = theirs.try_clone().and_then(|input| {
        Command::new(PROGRAM)
            .args(arguments(place, settings, asks, time))
            .stdin(input)
            .stdout(theirs)
            .stderr(Stdio::piped())
            .spawn()
    });
    let mut child = spawned.map_err(|error| SshError::Spawn(error.into()))?;
    let said = Said::new(&place.target, asking.teller());
    if let Some(stderr) = child.stderr.take() {
        said.collect(stderr);
    }
    if asking.teller().is_some() {
        let pid = child.id();
        said.ask_for_a_touch_when(move || begun(pid, SIGNS, DESCENT_MAX));
    }
    Ok(Socket::Program(Box::new(ProgramSocket {
        socket: ours.into(),
        place: place.target.clone(),
        child,
        said,
        reason: reason.clone(),
        settings: settings.clone(),
        first: 0,
        asks,
        begun: Instant::now(),
    })))
}

/// What ssh is called with. What the user has set stays as it is, but for what would make it anything else than a pipe.
fn arguments(place: &SshPlace, settings: &Settings, asks: bool, time: Duration) -> Vec<OsString> {
    let target = &place.target;
    let mut words: Vec<OsString> = ["-T", "-a", "-x", "-e", "none"].map(OsString::from).to_vec();
    let mut set = |option: &str, value: &str| words.extend(["-o".into(), format!("{option}={value}").into()]);
    set("ClearAllForwardings", "yes");
    set("PermitLocalCommand", "no");
    if !asks {
        set("BatchMode", "yes");
    }
    // With no, a host whose key has changed would be let pass with a warning that nobody reads; else it means the same.
    if matches!(settings.value("stricthostkeychecking"), Some("no" | "false" | "off")) {
        set("StrictHostKeyChecking", "accept-new");
    }
    // Options that an older ssh does not know are there only where this one has told of them.
    if settings.value("remotecommand").is_some() {
        set("RemoteCommand", "none");
    }
    for (key, option, usual) in [
        ("sessiontype", "SessionType", "default"),
        ("stdinnull", "StdinNull", "no"),
        ("forkafterauthentication", "ForkAfterAuthentication", "no"),
    ] {
        if settings.raw(key).is_some_and(|value| value != usual) {
            set(option, usual);
        }
    }
    // A master without a life of its own would have to stay for others when we go.
    if settings.is_on("controlmaster") && !settings.is_on("controlpersist") {
        set("ControlMaster", "no");
    }
    // The wait for the host's first words is also that for a person whom the ssh of a host on the way asks.
    let on_the_way = ["proxyjump", "proxycommand"].iter().any(|key| settings.value(key).is_some());
    let time = if asks && on_the_way { time.saturating_add(PERSON) } else { time };
    let seconds = time.as_secs().max(1);
    if settings.value("connecttimeout").and_then(|set| set.parse().ok()).is_none_or(|set: u64| set > seconds) {
        set("ConnectTimeout", &seconds.to_string());
    }
    if target.keyfile().is_some() {
        set("IdentitiesOnly", "yes");
    }
    // Not with -i: there ssh looks for the file before it has taken the escapes out of its name.
    for (option, file) in [("IdentityFile", target.keyfile()), ("UserKnownHostsFile", target.known_hosts())] {
        if let Some(file) = file {
            words.extend(["-o".into(), set_to_file(option, file)]);
        }
    }
    words.extend(destination(target));
    words.push(place.command().into());
    words
}

/// An option that is a file, in whose name ssh finds no tokens of its own and no end of its quotes. `${` is refused where the
/// URI is read, for it cannot be escaped; and what is an absolute path is neither `none` nor in the home of somebody.
fn set_to_file(option: &str, file: &Path) -> OsString {
    let mut words = format!("{option}=\"").into_bytes();
    for &byte in file.as_os_str().as_bytes() {
        match byte {
            b'%' => words.extend(b"%%"),
            b'"' | b'\\' => words.extend([b'\\', byte]),
            _ => words.push(byte),
        }
    }
    words.push(b'"');
    OsString::from_vec(words)
}

/// Our end of what ssh reads and writes, and ssh.
pub(crate) struct ProgramSocket {
    socket: OwnedFd,
    place: SshTarget,
    child: Child,
    said: Said,
    /// Why it is the program that goes there.
    reason: Reason,
    settings: Settings,
    /// How much has come of what every packet begins with.
    first: usize,
    /// Whether a person may be asked.
    asks: bool,
    begun: Instant,
}

impl ProgramSocket {
    /// Whether ssh is waiting for a person rather than for the other end.
    pub(crate) fn is_asking(&self) -> bool {
        let may = !self.is_open() && self.begun.elapsed() < PERSON;
        may && (self.said.asks_for_a_touch() || self.asks && holds_terminal(self.child.id(), DESCENT_MAX))
    }

    /// Why it takes so long, where nothing has come yet.
    pub(crate) fn late(&self) -> Option<SshError> {
        let late = || SshError::Late {
            place: self.place.clone(),
            time: self.begun.elapsed(),
            said: self.with_choice(self.said.lines()),
        };
        (!self.is_open()).then(late)
    }

    fn is_open(&self) -> bool {
        self.first >= MAGIC.len()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<Written> {
        socket::write_plainly(self.socket.as_fd(), bytes)
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Came> {
        let came = match Unwaiting(self.socket.as_fd()).read(buffer) {
            Ok(0) => None,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Came::default()),
            Err(error) => return Err(error),
            Ok(count) => buffer.get(..count),
        };
        let Some(bytes) = came else { return Ok(Came { end: Some(self.ending()), ..Came::default() }) };
        let rest = MAGIC.get(self.first..).unwrap_or_default();
        let compared = rest.len().min(bytes.len());
        if rest.get(..compared) != bytes.get(..compared) {
            let text = [MAGIC.get(..self.first).unwrap_or_default(), bytes].concat();
            return Ok(Came { alive: true, end: Some(refused(self.noise(&text))), bytes: 0 });
        }
        self.first += compared;
        if compared > 0 && self.is_open() {
            self.said.opened();
        }
        Ok(Came { bytes: bytes.len(), alive: true, end: None })
    }

    /// What ssh said, and why it was asked at all: whoever looks for the cause would look at ssh2 else.
    fn with_choice(&self, said: Vec<String>) -> Vec<String> {
        let unasked = (self.reason != Reason::Asked).then(|| format!("by the ssh program, because {}", self.reason));
        said.into_iter().chain(unasked).collect()
    }

    fn noise(&self, bytes: &[u8]) -> SshError {
        let text = String::from_utf8_lossy(bytes.get(..NOISE_BYTES_MAX).unwrap_or(bytes)).trim_end().to_owned();
        SshError::Noise { place: self.place.clone(), text }
    }

    /// What the end of ssh's output means: ssh is about to end, or has.
    fn ending(&mut self) -> Ending {
        let status = self.end_within(END);
        let said = self.said.all_within(END);
        let verdict = match &status {
            Some(status) if status.success() && self.is_open() => return Ending::Closed,
            Some(status) => verdict(status.code(), &status.to_string(), &said),
            None => Verdict::Other { status: "closed output".to_owned() },
        };
        let verdict = match verdict {
            Verdict::Told(_) => verdict,
            _ if self.is_open() => Verdict::Lost,
            _ => verdict,
        };
        let (verdict, said) = clear(verdict, said, &self.settings);
        let (place, reason) = (self.place.clone(), Some(self.reason.clone()));
        let key = self.settings.identity_files().into_iter().find(|key| has_public_half(key));
        refused(SshError::Ended(Ended { place, verdict, said: self.with_choice(said), reason, key }))
    }

    fn end_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + time;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

/// Whether there is what a host would have to know a key by.
fn has_public_half(key: &Path) -> bool {
    let mut name = key.as_os_str().to_owned();
    name.push(".pub");
    Path::new(&name).is_file()
}

/// ssh shouts about keys of hosts. What its shouting says is said once, and what is left of it is no cause.
fn clear(verdict: Verdict, mut said: Vec<String>, settings: &Settings) -> (Verdict, Vec<String>) {
    match verdict {
        Verdict::HostKeyChanged(_) => match ChangedKey::of(&said, settings) {
            Some(keys) => (Verdict::HostKeyChanged(Some(Box::new(keys))), Vec::new()),
            None => (Verdict::HostKeyChanged(None), said),
        },
        Verdict::HostKeyRevoked => {
            said.retain(|line| !line.starts_with('@'));
            (Verdict::HostKeyRevoked, said)
        }
        other => (other, said),
    }
}

/// Whether a process, or one that it has begun, has the terminal open by its name, as ssh has it while it asks and only
/// then: what it has from us is a pipe. Where that cannot be seen, it may be.
fn holds_terminal(pid: u32, descent_max: u32) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return descent_max == DESCENT_MAX };
    let mut names = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    if names.any(|name| name == Path::new("/dev/tty")) {
        return true;
    }
    descent_max > 0 && children(pid).any(|pid| holds_terminal(pid, descent_max - 1))
}

/// The process that has this name, of those that a process, or one that it has begun, has begun.
fn begun(pid: u32, name: &str, descent_max: u32) -> Option<u32> {
    let is_named = |pid: u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end_matches('\n') == name)
    };
    let below = descent_max.checked_sub(1)?;
    children(pid).find_map(|pid| if is_named(pid) { Some(pid) } else { begun(pid, name, below) })
}

/// The processes that a process has begun.
fn children(pid: u32) -> impl Iterator<Item = u32> {
    let begun = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids: Vec<u32> = begun.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    pids.into_iter()
}

fn refused(error: SshError) -> Ending {
    Ending::Refused(Box::new(error.into()))
}

impl AsFd for ProgramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for ProgramSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgramSocket")
            .field("place", &self.place)
            .field("child", &self.child.id())
            .finish_non_exhaustive()
    }
}

impl Drop for ProgramSocket {
    /// Whoever was connected goes in order: what was written still gets there. ssh is not left behind in any case.
    fn drop(&mut self) {
        // Where ssh has gone there is nobody to tell.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        if self.is_open() && self.end_within(END).is_some() {
            return;
        }
        let told = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if told.is_err() || self.end_within(END).is_none() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Environment, Location, Place};
    use crate::uri::Uri;

    fn called(uri: &str, text: &str, asks: bool) -> Vec<String> {
        let uri: Uri = uri.parse().unwrap();
        let Place::Ssh(place) = Location::of(&uri, &Environment::default()).unwrap().place else { unreachable!() };
        let settings = Settings::from_text(&place.target, Path::new("/home/me"), text);
        let words = arguments(&place, &settings, asks, Duration::from_millis(9999));
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    const ALWAYS: &str = "-T -a -x -e none -o ClearAllForwardings=yes -o PermitLocalCommand=no";

    #[test]
    fn what_a_uri_says_becomes_no_option_and_no_word_of_a_shell() {
        let uri = "qemu+ssh://you%40corp@vm1:2222/system?socket=/a%20b'$(id)%22&keyfile=/k%25h&known_hosts=/a%22%20b";
        let expected = [
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=9",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "IdentityFile=\"/k%%h\"",
            "-o",
            "UserKnownHostsFile=\"/a\\\" b\"",
            "-l",
            "you@corp",
            "-p",
            "2222",
            "--",
            "vm1",
            "vmwire -o json stdio -c 'qemu+unix:///system?socket=/a%20b%27%24%28id%29%22'",
        ];
        let words = called(uri, "connecttimeout none\n", false);
        assert_eq!(words[..9].join(" "), ALWAYS);
        assert_eq!(words[9..], expected);
    }

    #[test]
    fn what_the_user_has_set_stays_but_for_what_would_be_no_pipe() {
        let far = "-- vm1 vmwire -o json stdio -c 'test:///default'";
        let of = |text: &str| called("test+ssh://vm1/default", text, true)[9..].join(" ");
        assert_eq!(of("connecttimeout 5\nsessiontype default\ncontrolmaster auto\ncontrolpersist 60\n"), far);
        let text = "connecttimeout 20\nremotecommand tmux\nsessiontype none\nstdinnull yes\nforkafterauthentication yes\n\
                    controlmaster auto\ncontrolpersist no\n";
        let options = "-o RemoteCommand=none -o SessionType=default -o StdinNull=no -o ForkAfterAuthentication=no \
                       -o ControlMaster=no -o ConnectTimeout=9";
        assert_eq!(of(text), format!("{options} {far}"));
    }

    #[test]
    fn who_is_asked_on_the_way_has_the_time_of_a_person() {
        let timeout = |text: &str, asks: bool| {
            let words = called("qemu+ssh://vm1/system", text, asks);
            words.into_iter().find(|word| word.starts_with("ConnectTimeout"))
        };
        assert_eq!(timeout("connecttimeout none\nproxyjump me@gate\n", true).as_deref(), Some("ConnectTimeout=129"));
        assert_eq!(timeout("proxycommand nc vm1 22\n", true).as_deref(), Some("ConnectTimeout=129"));
        assert_eq!(timeout("proxyjump me@gate\n", false).as_deref(), Some("ConnectTimeout=9"));
        assert_eq!(timeout("proxyjump me@gate\nconnecttimeout 5\n", true), None);
    }

    #[test]
    fn no_ssh_is_left_behind_even_one_that_does_not_want_to_go() {
        let uri: Uri = "qemu+ssh://vm1/system".parse().unwrap();
        let place = uri.ssh().unwrap().clone();
        for script in ["exec sleep 60", "trap '' TERM; echo >&2; exec sleep 60"] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let mut command = Command::new("/bin/sh");
            let command = command.args(["-c", script]).stdin(OwnedFd::from(theirs)).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            if script.starts_with("trap") {
                child.stderr.take().unwrap().read_exact(&mut [0]).unwrap();
            }
            let pid = Pid::from_child(&child);
            let said = Said::new(&place, None);
            let began = Instant::now();
            drop(ProgramSocket {
                socket: ours.into(),
                place: place.clone(),
                child,
                said,
                reason: Reason::Asked,
                settings: Settings::from_text(&place, Path::new("/"), ""),
                first: 0,
                asks: false,
                begun: began,
            });
            assert!(rustix::process::test_kill_process(pid).is_err(), "{script}");
            assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
        }
    }
}
