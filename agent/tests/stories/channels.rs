//! Serial ports, for which a terminal stands in, and sockets that somebody else made.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::TempDir;

use crate::harness::{Client, eventually, program};

struct Terminal {
    host: File,
    _directory: TempDir,
    agent: Child,
}

impl Terminal {
    fn start(method: &str) -> Terminal {
        let directory = tempfile::tempdir().unwrap();
        let host: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&host).unwrap();
        unlockpt(&host).unwrap();
        let path = ptsname(&host, Vec::new()).unwrap().into_string().unwrap();
        // A port does not echo; a terminal is told so before the agent has it.
        let other = File::options().read(true).write(true).open(&path).unwrap();
        let mut settings = rustix::termios::tcgetattr(&other).unwrap();
        settings.make_raw();
        rustix::termios::tcsetattr(&other, rustix::termios::OptionalActions::Now, &settings).unwrap();
        let agent = program(&directory).args(["-m", method, "-p", &path]).stderr(Stdio::null()).spawn().unwrap();
        // The agent has its end before ours goes: the terminal is never without one.
        eventually("the agent opens the port", || {
            let fds = std::fs::read_dir(format!("/proc/{}/fd", agent.id())).ok()?;
            fds.flatten().find(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.to_str() == Some(&path)))
        });
        drop(other);
        Terminal { host: File::from(host), _directory: directory, agent }
    }

    /// Whether something is said within a moment.
    fn is_said(&self) -> bool {
        let mut fds = [PollFd::new(&self.host, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 200_000_000 })).unwrap() > 0
    }

    fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.host.write_all(request).unwrap();
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            self.host.read_exact(&mut byte).unwrap();
            line.extend_from_slice(&byte);
        }
        line
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

#[test]
fn a_virtio_port_carries_requests() {
    let mut terminal = Terminal::start("virtio-serial");
    assert_eq!(terminal.ask(b"{\"execute\":\"guest-sync\",\"arguments\":{\"id\":1}}"), b"{\"return\": 1}\n");
    assert_eq!(terminal.ask(b"{\"execute\":\"guest-sync\",\"arguments\":{\"id\":2}}"), b"{\"return\": 2}\n");
}

#[test]
fn a_serial_line_carries_every_byte() {
    let mut terminal = Terminal::start("isa-serial");
    // What waited on the line before it was ours is thrown away; asked again until it is.
    eventually("an answer", || {
        terminal.host.write_all(b"\x04").unwrap();
        terminal.is_said().then_some(())
    });
    // How often it was asked until then nobody knows.
    let ping = b"{\"execute\":\"guest-ping\",\"id\":1}";
    let mut line = terminal.ask(ping);
    while line.starts_with(b"{\"error\"") {
        line = terminal.ask(b"");
    }
    assert_eq!(line, b"{\"return\": {}, \"id\": 1}\n");
    assert_eq!(
        terminal.ask(b"{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":3}}"),
        b"\xff{\"return\": 3}\n"
    );
}

#[test]
fn a_socket_that_was_made_for_it_is_listened_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("activated");
    let listener = UnixListener::bind(&path).unwrap();
    // As systemd does: the socket is descriptor 3, and the number of the process is told.
    let script = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" -t \"$1\" -f \"$1/pid\"";
    let mut agent = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_vmwire-ga")])
        .arg(directory.path())
        .env("QGA_CONF", directory.path().join("no-configuration"))
        .stdin(OwnedFd::from(listener))
        .spawn()
        .unwrap();
    let mut client = Client::new(UnixStream::connect(&path).unwrap());
    client.ping();
    let _ = agent.kill();
    agent.wait().unwrap();
    assert!(path.exists(), "who made the socket keeps its file");
}
