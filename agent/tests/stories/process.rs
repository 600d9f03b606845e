//! The program: its words, its daemon, its files, its end.

use std::os::unix::net::UnixStream;
use std::process::{Command, Output};

use crate::harness::{Agent, Client, eventually, program};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vmwire-ga")).env("QGA_CONF", "/nonexistent/vmwire").args(words).output().unwrap()
}

#[test]
fn what_is_asked_before_the_start_is_printed_and_touches_nothing() {
    for (words, begin) in [
        (&["-V"][..], "QEMU Guest Agent 11."),
        (&["--help"], "Usage: vmwire-ga"),
        (&["-b", "help"], "guest-sync-delimited\nguest-sync\n"),
        (&["-a", "?"], "guest-sync-delimited\n"),
        (
            &["-D", "-t", "/nonexistent", "-m", "isa-serial"],
            "[general]\ndaemon=false\nmethod=isa-serial\npath=/dev/ttyS0\n",
        ),
    ] {
        let output = run(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).starts_with(begin), "{words:?}: {output:?}");
    }
}

#[test]
fn what_cannot_start_exits_with_1_and_says_why() {
    for (words, why) in [
        (&["--foo"][..], "Unknown option, try"),
        (&["-p"], "requires an argument"),
        (&["-m", "unix-listen"], "must specify a path for this channel"),
        (
            &["-m", "unix-listen", "-p", "/x", "-t", "/nonexistent"],
            "failed to load persistent state: /nonexistent/qga.state",
        ),
        (&["-c", "/nonexistent"], "error loading configuration from path: /nonexistent"),
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{words:?}: {output:?}");
    }
    let directory = tempfile::tempdir().unwrap();
    for (words, why) in [
        (&["-m", "foo", "-p", "/x"][..], "unsupported channel method/type: foo"),
        (&["-p", "/nonexistent"], "error opening channel '/nonexistent': No such file or directory"),
        (&["-m", "vsock-listen", "-p", "x"], "not of the form cid:port"),
        (&["-l", "/nonexistent/log"], "unable to open specified log file /nonexistent/log: No such file or directory"),
    ] {
        let output = program(&directory).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(why), "{words:?}: {output:?}");
    }
}

#[test]
fn it_leaves_on_a_signal_with_its_socket() {
    let mut agent = Agent::start();
    agent.connect().ping();
    assert!(agent.socket().exists());
    assert_eq!(agent.stop().code(), Some(0));
    assert!(!agent.socket().exists());
}

#[test]
fn a_socket_that_somebody_listens_on_is_not_taken_away() {
    let agent = Agent::start();
    let second = program(&agent.directory).args(["-m", "unix-listen", "-p"]).arg(agent.socket()).output().unwrap();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    agent.connect().ping();
}

#[test]
fn a_socket_that_a_killed_agent_left_is_replaced() {
    let mut agent = Agent::start();
    agent.child.kill().unwrap();
    agent.child.wait().unwrap();
    assert!(agent.socket().exists());
    let child = program(&agent.directory).args(["-m", "unix-listen", "-p"]).arg(agent.socket()).spawn().unwrap();
    agent.child = child;
    agent.connect().ping();
}

#[test]
fn a_socket_that_took_its_place_is_left_alone() {
    let mut agent = Agent::start();
    std::fs::remove_file(agent.socket()).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(agent.socket()).unwrap();
    assert!(agent.stop().success());
    UnixStream::connect(agent.socket()).unwrap();
}

#[test]
fn a_daemon_is_ready_when_its_launcher_leaves_and_a_second_one_fails() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let launch = || program(&directory).args(["-d", "-m", "unix-listen", "-p"]).arg(&socket).output().unwrap();
    let first = launch();
    assert!(first.status.success(), "{first:?}");
    let pid_file = directory.path().join("pid");
    let pid: i32 = std::fs::read_to_string(&pid_file).unwrap().trim_end().parse().unwrap();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&pid_file).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    Client::new(UnixStream::connect(&socket).unwrap()).ping();
    let second = launch();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("cannot lock pid file"), "{second:?}");
    assert_eq!(std::fs::read_to_string(&pid_file).unwrap(), format!("{pid}\n"));
    Client::new(UnixStream::connect(&socket).unwrap()).ping();
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap().to_str(), Some("/"));
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::TERM).unwrap();
    eventually("the daemon leaves", || (!pid_file.exists() && !socket.exists()).then_some(()));
}

#[test]
fn an_idle_agent_sleeps() {
    let agent = Agent::start();
    let mut client = agent.connect();
    client.ping();
    let (wakeups, ticks) = (agent.wait_until_asleep(), agent.ticks());
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(agent.wakeups(), wakeups);
    assert!(agent.ticks() - ticks <= 1, "it spins");
    client.ping();
}
