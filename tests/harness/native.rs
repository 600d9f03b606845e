//! A daemon behind a real ssh server, reached by ssh2: with nobody to ask, at a terminal, and through a proxy that cuts.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::{Daemon, Running, Setup, Sshd, SshdSetup};

/// A daemon with a virtual machine, and an ssh server before it.
#[derive(Debug)]
pub(crate) struct Native {
    pub(crate) daemon: Daemon,
    pub(crate) sshd: Sshd,
}

impl Native {
    pub(crate) fn start(setup: SshdSetup) -> Self {
        let daemon = Setup::test().start();
        daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
        Self { daemon, sshd: setup.start() }
    }

    /// What a client calls the daemon.
    pub(crate) fn uri(&self, more: &str) -> String {
        self.sshd.uri(&self.daemon.socket(), &format!("&transport=ssh2{more}"))
    }

    /// The same, with another address in place of the server's.
    pub(crate) fn uri_at(&self, address: SocketAddr, more: &str) -> String {
        let socket = self.daemon.socket();
        format!("test+ssh://root@{address}/default?socket={}&transport=ssh2{more}", socket.display())
    }

    /// Sets the client's `ssh_config` to some lines, before what leads to the host and nothing that lets anybody in.
    pub(crate) fn settings(&self, lines: &str) {
        let (dir, port) = (self.sshd.place().path().display(), self.sshd.address().port());
        let usual = format!(
            "Host vm1\n  HostName 127.0.0.1\n  Port {port}\nHost *\n  UserKnownHostsFile {dir}/known_hosts\n  \
             GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
        );
        self.sshd.place().write("ssh_config", format!("{lines}\n{usual}"));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.sshd.place().join(name)
    }

    /// The command line, without a terminal that could be asked.
    pub(crate) fn alone(&self, arguments: &[&str]) -> Command {
        let plain = self.sshd.command(arguments);
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(plain.get_program()).args(plain.get_args());
        environment(&mut command, &plain);
        command
    }

    /// Lists the virtual machines, which has to work.
    #[track_caller]
    pub(crate) fn lists(&self, more: &str) {
        self.lists_at(&self.uri(more));
    }

    #[track_caller]
    pub(crate) fn lists_at(&self, uri: &str) {
        let listed = Running::start(self.alone(&["-c", uri, "-o", "json", "vm", "list"])).end().json();
        assert_eq!(listed[0]["name"], "web", "{listed}");
    }

    /// Tries to, which has to fail with this code; answers the error.
    #[track_caller]
    pub(crate) fn error(&self, more: &str, code: i32) -> Value {
        Running::start(self.alone(&["-c", &self.uri(more), "-o", "json", "vm", "list"])).end().error(code)
    }

    /// The same: the message has to be this one, and a hint has to hold this.
    #[track_caller]
    pub(crate) fn fails(&self, more: &str, code: i32, message: &str, hint: &str) -> Value {
        let error = self.error(more, code);
        assert_eq!(error["message"], message, "{error}");
        assert!(error["hint"].as_str().unwrap_or_default().contains(hint), "{error}");
        error
    }

    /// The command line at a terminal, on which it is shown and typed at.
    pub(crate) fn at_terminal(&self, arguments: &[&str]) -> Running {
        self.shell_at_terminal(&words(&self.sshd.command(arguments)), arguments)
    }

    /// A line of shell at a terminal, in the environment of the command line.
    pub(crate) fn shell_at_terminal(&self, line: &str, arguments: &[&str]) -> Running {
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", line, "/dev/null"]);
        environment(&mut command, &self.sshd.command(arguments));
        command.env("SHELL", "/bin/sh");
        Running::start(command)
    }
}

/// A command as a shell reads it.
pub(crate) fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| format!("'{}'", word.to_str().unwrap())).collect::<Vec<_>>().join(" ")
}

fn environment(command: &mut Command, like: &Command) {
    for (name, value) in like.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

/// Adds what is before the key to a file of known hosts; answers the file.
pub(crate) fn known(file: &Path, lines: &[String]) -> String {
    std::fs::write(file, lines.join("\n") + "\n").unwrap();
    file.to_str().unwrap().to_owned()
}

/// How a proxy stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It hangs up on both.
    Cut,
    /// It does nothing any more.
    Silence,
}

/// What a proxy lets through before it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    ToClient(usize),
    ToServer(usize),
}

/// How many bytes a proxy has let through.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub(crate) to_client: AtomicUsize,
    pub(crate) to_server: AtomicUsize,
}

/// Stands before a server and stops after so many bytes in one direction, for each connection anew.
pub(crate) fn proxy(server: SocketAddr, limit: Limit, stop: Stop) -> (SocketAddr, Arc<Passed>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let passed = Arc::new(Passed::default());
    let counted = passed.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let (down, up) = match limit {
                Limit::ToClient(bytes) => (bytes, usize::MAX),
                Limit::ToServer(bytes) => (usize::MAX, bytes),
            };
            let (from, to, passed) = (server.try_clone().unwrap(), client.try_clone().unwrap(), counted.clone());
            std::thread::spawn(move || pump(from, to, down, stop, &passed.to_client));
            let passed = counted.clone();
            std::thread::spawn(move || pump(client, server, up, stop, &passed.to_server));
        }
    });
    (address, passed)
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut left: usize, stop: Stop, passed: &AtomicUsize) {
    let mut buffer = [0; 4096];
    while left > 0 {
        let room = buffer.len().min(left);
        match from.read(&mut buffer[..room]) {
            Ok(count @ 1..) if to.write_all(&buffer[..count]).is_ok() => {
                left -= count;
                passed.fetch_add(count, Ordering::Relaxed);
            }
            _ => break,
        }
    }
    if left == 0 && stop == Stop::Silence {
        // Held open until the other end has had enough.
        let _ = std::io::copy(&mut from, &mut std::io::sink());
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
