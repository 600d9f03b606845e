//! A real ssh server on the loopback, with keys of its own and a client's, and the `ssh` program set up to go there.
//!
//! ssh takes its user's home from the password file, so that no variable keeps it from the settings of whoever runs the
//! stories. A script `ssh`, first in `PATH`, runs the real one with `-F`; the far side finds `vmwire` the same way.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Daemon, Place, Ran, Running, eventually, executable, vmwire};

/// Where the server lies; it wants to be called by its whole path.
const SSHD: &str = "/usr/sbin/sshd";

/// How long a server has to have been listening for, before it is said to.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Settings of a server, one line of `sshd_config` each.
#[derive(Debug, Default, Clone)]
pub(crate) struct SshdSetup {
    lines: String,
    host_keys: Vec<PathBuf>,
    password: Option<String>,
    variables: Vec<(String, PathBuf)>,
}

/// What the far side finds when it looks for `vmwire`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Far<'a> {
    /// The one that was built.
    Built,
    /// Nothing.
    Nothing,
    /// A script of shell.
    Script(&'a str),
}

impl SshdSetup {
    /// The same, with a line of `sshd_config`.
    pub(crate) fn line(mut self, line: &str) -> Self {
        self.lines.push_str(line);
        self.lines.push('\n');
        self
    }

    /// The same, with these keys in place of an ed25519 of its own.
    pub(crate) fn host_key(mut self, key: impl Into<PathBuf>) -> Self {
        self.host_keys.push(key.into());
        self
    }

    /// The same, with a variable in the server's own environment.
    pub(crate) fn variable(mut self, name: &str, value: impl Into<PathBuf>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// The same, but with accounts of its own, seen by nobody else: `guest`, who is root by another name, has this
    /// password. Takes root.
    pub(crate) fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// Starts it.
    pub(crate) fn start(self) -> Sshd {
        Sshd::start(Place::new(), &self)
    }
}

/// A server that runs. Ended when dropped; then its log is shown if the story failed.
#[derive(Debug)]
pub(crate) struct Sshd {
    server: Server,
    place: Place,
    address: SocketAddr,
}

/// The server's process, which does not outlive this.
#[derive(Debug)]
struct Server(Child);

impl Server {
    /// Ends its sessions, each of which is a process of its own.
    fn cut(&self) {
        for pid in children(self.0.id()).into_iter().flat_map(|child| [children(child), vec![child]].concat()) {
            kill(pid);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cut();
        let _ended_already = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes a key without a passphrase, and its public half beside it.
pub(crate) fn keygen(file: &Path, arguments: &[&str]) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-N", "", "-C", "story", "-f"]).arg(file).args(arguments);
    let output = command.stdin(Stdio::null()).output().expect("ssh-keygen: install openssh-client");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The public half of a key.
pub(crate) fn public(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// The server where the files of accounts are others, for it alone.
fn with_accounts(place: &Place, password: &str) -> Command {
    let hash = Command::new("openssl").args(["passwd", "-6", password]).output().expect("openssl");
    let hash = String::from_utf8(hash.stdout).unwrap();
    let add = |name: &str, line: &str| {
        let text = std::fs::read_to_string(Path::new("/etc").join(name)).unwrap();
        place.write(name, format!("{text}{line}\n"))
    };
    let passwd = add("passwd", &format!("guest:x:0:0::{}:/bin/sh", place.path().display()));
    let shadow = add("shadow", &format!("guest:{}:19000:0:99999:7:::", hash.trim_end()));
    let pam = place
        .write("pam", "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n");
    let mount = [(passwd, "/etc/passwd"), (shadow, "/etc/shadow"), (pam, "/etc/pam.d/sshd")]
        .map(|(file, over)| format!("mount --bind '{file}' {over} && "))
        .concat();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{mount} exec {SSHD} \"$@\""), "sh"]);
    command
}

/// Runs the command line that was built, which takes nothing of the server's surroundings either.
fn built() -> String {
    let command = vmwire();
    let settings = command.get_envs().map(|(name, value)| match value {
        Some(value) => format!("export {}='{}'\n", name.display(), value.display()),
        None => format!("unset {}\n", name.display()),
    });
    settings.collect::<String>() + &format!("exec '{}' \"$@\"", command.get_program().display())
}

/// A file's text, without the end of its line.
pub(crate) fn line_of(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())).trim_end().to_owned()
}

fn script(path: &Path, text: &str) {
    executable(path, format!("#!/bin/sh\n{text}\n"));
}

impl Sshd {
    fn start(place: Place, setup: &SshdSetup) -> Self {
        // Without it, or with one that others may write to, root's does not start.
        let may = rustix::process::geteuid().is_root();
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create("/run/sshd");
        assert!(!may || made.is_ok(), "sshd wants /run/sshd: {made:?}");
        for dir in ["near", "far"] {
            std::fs::create_dir(place.join(dir)).unwrap();
        }
        let host_keys = if setup.host_keys.is_empty() {
            keygen(&place.join("host_key"), &["-t", "ed25519"]);
            vec![place.join("host_key")]
        } else {
            setup.host_keys.clone()
        };
        keygen(&place.join("key"), &["-t", "ed25519"]);
        std::fs::copy(place.join("key.pub"), place.join("authorized_keys")).unwrap();
        // The port is free now; who takes it meanwhile makes the server end, and then another is tried.
        let (server, address) = eventually("sshd has a port", || {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            Self::start_at(&place, setup, &host_keys, address).map(|server| (server, address))
        });
        let public = host_keys.iter().map(|key| line_of(&public(key)));
        let known: String = public.map(|key| format!("[127.0.0.1]:{} {key}\n", address.port())).collect();
        place.write("known_hosts", known);
        let sshd = Self { place, server, address };
        sshd.settings("");
        sshd.far(Far::Built);
        let near = format!("exec /usr/bin/ssh -F '{}' \"$@\"", sshd.place.join("ssh_config").display());
        script(&sshd.place.join("near/ssh"), &near);
        sshd
    }

    /// Starts it on an address; `None` when it ends at once.
    fn start_at(place: &Place, setup: &SshdSetup, host_keys: &[PathBuf], address: SocketAddr) -> Option<Server> {
        let dir = place.path().display();
        let keys: String = host_keys.iter().map(|key| format!("HostKey {}\n", key.display())).collect();
        // Of two lines with one key the first counts.
        let lines = format!(
            "{}{keys}Port {}\nListenAddress {}\nPidFile none\nAuthorizedKeysFile {dir}/authorized_keys\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\nPermitRootLogin yes\n\
             LogLevel VERBOSE\nPrintMotd no\nMaxStartups 100\nSetEnv PATH={dir}/far:/usr/bin:/bin\n",
            setup.lines,
            address.port(),
            address.ip(),
        );
        let config = place.write("sshd_config", lines);
        let log = File::options().create(true).append(true).open(place.join("log")).unwrap();
        let mut command = match &setup.password {
            Some(password) => with_accounts(place, password),
            None => Command::new(SSHD),
        };
        command.envs(setup.variables.iter().map(|(name, value)| (name, value)));
        command.args(["-D", "-e", "-f", &config]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut server = Server(command.spawn().expect("sshd: install openssh-server"));
        eventually("sshd listens or ends", || {
            if server.0.try_wait().unwrap().is_some() {
                let log = std::fs::read_to_string(place.join("log")).unwrap();
                assert!(log.contains("Address already in use"), "{log}");
                return Some(false);
            }
            let log = std::fs::read_to_string(place.join("log")).unwrap();
            let listens = log.contains(&format!("listening on {} port {}.", address.ip(), address.port()));
            if !listens {
                std::thread::sleep(LOOK_AGAIN);
            }
            listens.then_some(true)
        })
        .then_some(server)
    }

    /// Sets what its users find when they look for `vmwire`.
    pub(crate) fn far(&self, vmwire: Far<'_>) {
        let path = self.place.join("far/vmwire");
        match vmwire {
            Far::Built => script(&path, &built()),
            Far::Nothing => std::fs::remove_file(&path).unwrap(),
            Far::Script(text) => script(&path, text),
        }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The client's key, which is let in.
    pub(crate) fn key(&self) -> PathBuf {
        self.place.join("key")
    }

    /// The known hosts, which have this one.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.place.join("known_hosts")
    }

    /// Sets the client's `ssh_config` to some lines, before what every story needs. There the host is also called `vm1`.
    pub(crate) fn settings(&self, lines: &str) {
        let dir = self.place.path().display();
        let usual = format!(
            "Host vm1\n  HostName 127.0.0.1\n  Port {}\nHost *\n  BatchMode yes\n  IdentityFile {dir}/key\n  \
             IdentitiesOnly yes\n  UserKnownHostsFile {dir}/known_hosts\n  GlobalKnownHostsFile none\n  \
             StrictHostKeyChecking yes\n",
            self.address.port()
        );
        self.place.write("ssh_config", format!("{lines}\n{usual}"));
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.place.join("log")).unwrap_or_default()).into_owned()
    }

    /// How a client names a daemon's socket behind it. `more` are further parameters, each behind its `&`.
    pub(crate) fn uri(&self, socket: &Path, more: &str) -> String {
        format!("test+ssh://vm1/default?socket={}{more}", socket.display())
    }

    /// The command line, which finds the `ssh` that is set up to come here.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = vmwire();
        let path = format!("{}:/usr/bin:/bin", self.place.join("near").display());
        command.env("PATH", path).env_remove("SSH_AUTH_SOCK").env_remove("KRB5CCNAME").args(arguments);
        command
    }

    /// Runs it.
    pub(crate) fn vmwire(&self, arguments: &[&str]) -> Ran {
        Running::start(self.command(arguments)).end()
    }

    /// How many sessions there are.
    pub(crate) fn sessions(&self) -> usize {
        children(self.server.0.id()).len()
    }

    /// Somebody follows the events of a daemon by `uri`, and goes: of the one session, and of its connection, nothing is left.
    pub(crate) fn leaves_nothing_behind(&self, daemon: &Daemon, uri: &str) {
        let connections = || daemon.json(&["connection", "list"]).as_array().unwrap().clone();
        let mut following = Running::start(self.command(&["-c", uri, "-o", "json", "event", "follow"]));
        eventually("it is connected", || connections().iter().any(|row| row["subscribed"] == true).then_some(()));
        daemon.ok(&["vm", "start", "web"]);
        assert_eq!(following.json_line()["kind"], "operation");
        // One of before may take a while to end.
        eventually("there is this one session", || (self.sessions() == 1).then_some(()));
        drop(following);
        eventually("its session is over", || (self.sessions() == 0).then_some(()));
        eventually("its connection is over", || (connections().len() == 1).then_some(()));
    }

    /// Ends all the sessions that it has: each is a process of its own.
    pub(crate) fn cut(&self) {
        self.server.cut();
    }
}

/// The processes that a process has begun and that still run.
fn children(pid: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let _gone_already = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
}

impl Drop for Sshd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- log of sshd in {} ----\n{}\n----", self.place.path().display(), self.log());
        }
    }
}
