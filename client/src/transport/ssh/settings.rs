//! What the user has set for a host, as `ssh -G` says it. Where there is no ssh program, what is usual.
//!
//! ssh's configuration has conditions, patterns and commands, and decides about keys: whoever read it a second time would
//! come to something else one day. What `ssh -G` prints is a key and its value a line.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::SshError;
use crate::uri::SshTarget;

/// The program that is asked.
pub(super) const PROGRAM: &str = "ssh";

/// How long it may take: `Match exec` runs commands of the user's.
const TIME_MAX: Duration = Duration::from_secs(5);

/// How much it may say. Today it is 6 KiB.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// How long between two looks for the end of a child whose output is at its end.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A file that ssh would use, or why that cannot be said.
type Expanded = Result<PathBuf, String>;

/// What holds for one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pairs: Vec<(String, String)>,
    target: SshTarget,
    home: PathBuf,
    /// Whether there is an ssh program.
    pub(crate) program: bool,
}

impl Settings {
    /// Asks for those of a host, at the latest until `until`.
    pub(super) fn of(target: &SshTarget, until: Instant) -> Result<Self, SshError> {
        let home = home();
        let until = until.min(Instant::now() + TIME_MAX);
        let mut command = Command::new(PROGRAM);
        command.arg("-G").args(destination(target));
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                log::debug!("there is no ssh program; settings for {target} are the usual ones");
                return Ok(Self { pairs: Vec::new(), target: target.clone(), home, program: false });
            }
            Err(error) => return Err(SshError::Spawn(error.into())),
        };
        match outcome(&mut child, until) {
            Ok(Some(Output { success: true, out, .. })) => {
                Ok(Self { pairs: read(&String::from_utf8_lossy(&out)), target: target.clone(), home, program: true })
            }
            Ok(Some(Output { err, .. })) => {
                let said = String::from_utf8_lossy(&err).lines().map(|line| line.trim_end().to_owned()).collect();
                Err(SshError::Settings { place: target.clone(), said })
            }
            Ok(None) => Err(SshError::SettingsLate { place: target.clone() }),
            Err(error) => Err(SshError::Spawn(error.into())),
        }
    }

    /// Those that a text in the form of `ssh -G` says.
    #[cfg(test)]
    pub(super) fn from_text(target: &SshTarget, home: &std::path::Path, text: &str) -> Self {
        Self { pairs: read(text), target: target.clone(), home: home.to_owned(), program: true }
    }

    /// The value of a key in lower case, where there is one and it is not `none`.
    pub(crate) fn value<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        self.values(key).next()
    }

    /// The value of a key as it is, `none` too.
    pub(super) fn raw(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// All values of a key, in order.
    pub(crate) fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.pairs.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty() && *value != "none")
    }

    /// Whether something is set that is off unless said otherwise.
    pub(crate) fn is_on(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| !matches!(value, "no" | "false"))
    }

    /// The host to connect to.
    pub(crate) fn host_name(&self) -> &str {
        self.value("hostname").unwrap_or_else(|| self.target.host())
    }

    /// The port to connect to.
    pub(crate) fn port(&self) -> u16 {
        let set = self.value("port").and_then(|port| port.parse().ok()).filter(|&port| port > 0);
        set.or(self.target.port()).unwrap_or(22)
    }

    /// Who comes.
    pub(crate) fn user(&self) -> String {
        let named = self.value("user").or(self.target.user()).map(str::to_owned);
        named.or_else(local_user).unwrap_or_else(|| "root".to_owned())
    }

    /// The name by which known_hosts knows the host.
    pub(crate) fn known_as(&self) -> String {
        if let Some(alias) = self.value("hostkeyalias") {
            // As ssh has it, which compares in small letters.
            return alias.to_ascii_lowercase();
        }
        match self.port() {
            22 => self.host_name().to_ascii_lowercase(),
            port => format!("[{}]:{port}", self.host_name().to_ascii_lowercase()),
        }
    }

    /// Keys that may be shown, in order: the one that the URI names, and no other then.
    pub(crate) fn identity_files(&self) -> Vec<PathBuf> {
        match self.target.keyfile() {
            Some(keyfile) => vec![keyfile.to_owned()],
            None if self.pairs.is_empty() => {
                ["id_rsa", "id_ecdsa", "id_ed25519"].map(|name| self.home.join(".ssh").join(name)).to_vec()
            }
            None => self.files("identityfile"),
        }
    }

    #[cfg(any(feature = "ssh2", test))]
    /// Whether keys of the agent are shown only where a file names them.
    pub(crate) fn identities_only(&self) -> bool {
        self.target.keyfile().is_some() || self.is_on("identitiesonly")
    }

    #[cfg(any(feature = "ssh2", test))]
    /// Where the agent listens.
    pub(crate) fn agent(&self) -> Option<PathBuf> {
        let socket = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        match self.raw("identityagent") {
            None | Some("" | "SSH_AUTH_SOCK") => socket("SSH_AUTH_SOCK"),
            Some("none") => None,
            Some(value) => match value.strip_prefix('$') {
                Some(name) => socket(name.trim_start_matches('{').trim_end_matches('}')),
                None => self.expand(value).ok(),
            },
        }
    }

    /// Certificates to go with the keys.
    pub(crate) fn certificate_files(&self) -> Vec<PathBuf> {
        self.files("certificatefile")
    }

    /// The user's files of known hosts; new ones go into the first.
    pub(crate) fn user_known_hosts(&self) -> Vec<PathBuf> {
        match self.target.known_hosts() {
            Some(file) => vec![file.to_owned()],
            None if self.pairs.is_empty() => {
                ["known_hosts", "known_hosts2"].map(|name| self.home.join(".ssh").join(name)).to_vec()
            }
            None => self.lists("userknownhostsfile"),
        }
    }

    /// The host's files of known hosts.
    pub(crate) fn global_known_hosts(&self) -> Vec<PathBuf> {
        if self.pairs.is_empty() {
            return ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"].map(PathBuf::from).to_vec();
        }
        self.lists("globalknownhostsfile")
    }

    /// Values of paths with something in them that only ssh itself can expand.
    pub(super) fn beyond_us(&self) -> Option<String> {
        let keys = ["identityfile", "certificatefile", "identityagent"];
        let mut values = keys.iter().flat_map(|key| self.values(key).map(move |value| (key, value)));
        values.find_map(|(key, value)| {
            let asked = self.target.keyfile().is_some() && *key == "identityfile"
                || *key == "identityagent" && value.starts_with('$');
            (!asked).then(|| self.expand(value).err()).flatten().map(|why| format!("{key} {value}: {why}"))
        })
    }

    fn files(&self, key: &str) -> Vec<PathBuf> {
        self.values(key).filter_map(|value| self.expand(value).ok()).collect()
    }

    /// Several paths on a line. ssh prints them without the quotes that they may have had, so that a space is taken to end
    /// one only where another begins.
    fn lists(&self, key: &str) -> Vec<PathBuf> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let mut paths: Vec<String> = Vec::new();
        for word in value.split(' ') {
            match paths.last_mut() {
                Some(last) if !word.starts_with(['/', '~', '%']) => {
                    last.push(' ');
                    last.push_str(word);
                }
                _ => paths.push(word.to_owned()),
            }
        }
        paths.iter().filter_map(|path| self.expand(path).ok()).collect()
    }

    /// A path with `~`, tokens and variables in it, which `ssh -G` leaves there.
    fn expand(&self, value: &str) -> Expanded {
        let mut path = OsString::new();
        let mut rest = value;
        if let Some(behind) = value.strip_prefix('~') {
            if !behind.is_empty() && !behind.starts_with('/') {
                return Err("the home of another user".to_owned());
            }
            path.push(&self.home);
            rest = behind;
        }
        while let Some(at) = rest.find(['%', '$']) {
            path.push(&rest[..at]);
            let (sign, behind) = rest[at..].split_at(1);
            rest = if sign == "%" {
                let token = behind.chars().next().ok_or("a % at its end")?;
                path.push(self.token(token).ok_or_else(|| format!("the token %{token}"))?);
                &behind[token.len_utf8()..]
            } else if let Some((name, after)) = behind.strip_prefix('{').and_then(|behind| behind.split_once('}')) {
                path.push(std::env::var_os(name).ok_or_else(|| format!("the variable {name} is not set"))?);
                after
            } else {
                path.push("$");
                behind
            };
        }
        path.push(rest);
        let path = PathBuf::from(path);
        // ssh takes it from where it runs.
        Ok(if path.is_absolute() { path } else { std::env::current_dir().unwrap_or_default().join(path) })
    }

    fn token(&self, token: char) -> Option<OsString> {
        Some(match token {
            '%' => "%".into(),
            'd' => self.home.clone().into(),
            'h' => self.host_name().into(),
            'i' => rustix::process::getuid().as_raw().to_string().into(),
            'k' => self.value("hostkeyalias").unwrap_or_else(|| self.target.host()).into(),
            'n' => self.target.host().into(),
            'p' => self.port().to_string().into(),
            'r' => self.user().into(),
            'u' => local_user()?.into(),
            'L' | 'l' => {
                let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
                if token == 'l' { name } else { name.split('.').next()?.to_owned() }.into()
            }
            _ => return None,
        })
    }
}

/// What leads ssh to a host, behind the other options.
pub(super) fn destination(target: &SshTarget) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    if let Some(user) = target.user() {
        words.extend(["-l".into(), user.into()]);
    }
    if let Some(port) = target.port() {
        words.extend(["-p".into(), port.to_string().into()]);
    }
    words.extend(["--".into(), target.host().into()]);
    words
}

fn read(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        (key.to_ascii_lowercase(), value.trim().to_owned())
    };
    text.lines().map(pair).filter(|(key, _)| !key.is_empty()).collect()
}

/// The line of the password file that is this user's: ssh goes by it, and not by `HOME`.
fn password_line() -> Option<Vec<String>> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let file = File::open("/etc/passwd").ok()?;
    let mut text = String::new();
    file.take(1024 * 1024).read_to_string(&mut text).ok()?;
    let lines = text.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
    lines.into_iter().find(|fields| fields.get(2) == Some(&uid) && fields.len() >= 6)
}

fn home() -> PathBuf {
    let named = password_line().map(|fields| PathBuf::from(&fields[5])).filter(|home| home.is_absolute());
    named.or_else(std::env::home_dir).unwrap_or_else(|| PathBuf::from("/"))
}

/// Who runs this.
pub(crate) fn local_user() -> Option<String> {
    let named = |name: &str| std::env::var(name).ok().filter(|name| !name.is_empty());
    password_line().map(|fields| fields[0].clone()).or_else(|| named("LOGNAME")).or_else(|| named("USER"))
}

/// What a child said until its end.
struct Output {
    success: bool,
    out: Vec<u8>,
    err: Vec<u8>,
}

/// Waits for a child's end; `None` when it took too long or said too much, and was killed.
fn outcome(child: &mut Child, until: Instant) -> io::Result<Option<Output>> {
    let collected = collect(child, until);
    if !matches!(collected, Ok(Some(_))) {
        // Whatever it is doing, it does not do it for us any more.
        let _ = child.kill();
        let _ = child.wait();
    }
    collected
}

fn collect(child: &mut Child, until: Instant) -> io::Result<Option<Output>> {
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else { return Ok(None) };
    let mut pipes = [Pipe::new(out.into()), Pipe::new(err.into())];
    while pipes.iter().any(|pipe| pipe.open) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || pipes.iter().any(|pipe| pipe.said.len() > OUTPUT_BYTES_MAX) {
            return Ok(None);
        }
        let open = pipes.iter().filter(|pipe| pipe.open);
        let mut fds: Vec<_> = open.map(|pipe| PollFd::new(&pipe.file, PollFlags::IN)).collect();
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (pipe, ready) in pipes.iter_mut().filter(|pipe| pipe.open).zip(ready) {
            if ready {
                pipe.read()?;
            }
        }
    }
    let [out, err] = pipes.map(|pipe| pipe.said);
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(Output { success: status.success(), out, err })),
            None if Instant::now() >= until => return Ok(None),
            None => std::thread::sleep(LOOK_AGAIN),
        }
    }
}

/// One of a child's two outputs.
struct Pipe {
    file: File,
    open: bool,
    said: Vec<u8>,
}

impl Pipe {
    fn new(pipe: OwnedFd) -> Self {
        Self { file: pipe.into(), open: true, said: Vec::new() }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let count = self.file.read(&mut buffer)?;
        self.open = count > 0;
        self.said.extend_from_slice(&buffer[..count]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::uri::Uri;

    fn settings(uri: &str, text: &str) -> Settings {
        let uri: Uri = uri.parse().unwrap();
        Settings::from_text(uri.ssh().unwrap(), Path::new("/home/me"), text)
    }

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn what_ssh_says_stands_above_what_is_usual() {
        let told = "host vm1\nuser you\nhostname VM1.example.org\nport 2222\nidentityfile ~/.ssh/%n-%r\nIdentityFile /k\n\
                    identityfile none\nuserknownhostsfile /home/me/.ssh/a b %d/c\nglobalknownhostsfile none\nbatchmode yes\n\
                    identityagent none\nhostkeyalgorithms ssh-ed25519,ssh-rsa\nconnecttimeout none\n";
        let told = settings("qemu+ssh://vm1/system", told);
        assert_eq!((told.host_name(), told.port(), told.user().as_str()), ("VM1.example.org", 2222, "you"));
        assert_eq!(told.known_as(), "[vm1.example.org]:2222");
        assert_eq!(told.identity_files(), paths(&["/home/me/.ssh/vm1-you", "/k"]));
        assert_eq!(told.user_known_hosts(), paths(&["/home/me/.ssh/a b", "/home/me/c"]));
        assert_eq!(told.global_known_hosts(), paths(&[]));
        assert_eq!(told.value("hostkeyalgorithms"), Some("ssh-ed25519,ssh-rsa"));
        assert_eq!((told.value("connecttimeout"), told.raw("connecttimeout")), (None, Some("none")));
        assert!(told.is_on("batchmode") && !told.is_on("compression") && !told.identities_only());
        assert_eq!(told.agent(), None);
        assert_eq!(settings("qemu+ssh://vm1/system", "identityagent ~/agent\n").agent(), Some("/home/me/agent".into()));

        let usual = settings("qemu+ssh://root@vm1:7/system", "");
        assert_eq!((usual.host_name(), usual.port(), usual.user().as_str()), ("vm1", 7, "root"));
        assert_eq!(usual.known_as(), "[vm1]:7");
        assert_eq!(usual.identity_files().last(), Some(&PathBuf::from("/home/me/.ssh/id_ed25519")));
        assert_eq!(usual.user_known_hosts()[0], PathBuf::from("/home/me/.ssh/known_hosts"));
        assert_eq!(settings("qemu+ssh://vm1/system", "hostkeyalias Gate\n").known_as(), "gate");
    }

    #[test]
    fn the_files_that_the_uri_names_are_the_only_ones() {
        let uri = "qemu+ssh://vm1/system?keyfile=/k&known_hosts=/h%20h";
        let named = settings(uri, "identityfile ~/x\nuserknownhostsfile ~/y\nidentitiesonly no\n");
        assert_eq!((named.identity_files(), named.user_known_hosts()), (paths(&["/k"]), paths(&["/h h"])));
        assert!(named.identities_only());
        assert_eq!(named.beyond_us(), None);
    }

    #[test]
    fn what_only_ssh_can_expand_is_told() {
        let beyond = |text: &str| settings("qemu+ssh://vm1/system", text).beyond_us();
        assert_eq!(beyond("identityfile ~/.ssh/%h%%\nidentityagent SSH_AUTH_SOCK\n"), None);
        assert_eq!(beyond("identityfile /%C\n"), Some("identityfile /%C: the token %C".into()));
        assert_eq!(beyond("certificatefile ~you/c\n"), Some("certificatefile ~you/c: the home of another user".into()));
        let unset = "identityfile ${NO_SUCH_VARIABLE_HERE}/k\n";
        assert!(beyond(unset).is_some_and(|why| why.ends_with("the variable NO_SUCH_VARIABLE_HERE is not set")));
        assert_eq!(beyond("identityfile a%\n"), Some("identityfile a%: a % at its end".into()));
    }

    #[test]
    fn a_child_that_hangs_or_talks_without_end_is_killed() {
        let run = |script: &str, milliseconds: u64| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let until = Instant::now() + Duration::from_millis(milliseconds);
            outcome(&mut child, until).unwrap().map(|output| (output.success, output.out, output.err))
        };
        assert_eq!(run("echo a; echo b >&2; exit 3", 60_000), Some((false, b"a\n".to_vec(), b"b\n".to_vec())));
        let began = Instant::now();
        assert_eq!(run("exec sleep 600", 50), None);
        assert_eq!(run("exec >&- 2>&-; exec sleep 600", 50), None);
        assert_eq!(run("exec yes", 60_000), None);
        assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
    }
}
