//! How the daemon starts, refuses to, and leaves.

use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use vmwire_protocol::message::{ClientData, ServerData};

use crate::harness::{Client, Daemon, ENOUGH, SOON, command, run, start};

#[test]
fn each_signal_that_asks_to_leave_ends_it_well_and_removes_the_socket() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        let daemon = start(&dir);
        let socket = daemon.socket.clone();
        assert!(socket.exists());
        let asked = Instant::now();
        daemon.signal(signal);
        let (code, log) = daemon.end();
        assert_eq!(code, 0, "{log}");
        assert!(asked.elapsed() < SOON);
        assert!(!socket.exists());
        assert!(log.contains(" INFO  listening at "), "{log}");
        assert!(log.contains("; its guests, kept in memory, go with it\n"), "{log}");
    }
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused_and_the_first_is_not_disturbed() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(&dir);
    let (code, _, told) = run(command(dir.path()));
    assert_eq!(code, Some(1));
    let expected = format!("vmwired: another vmwired uses the state directory {}", dir.path().join("state").display());
    assert!(told.contains(&expected), "{told}");
    assert!(told.contains(&format!("process {}", first.child.id())), "{told}");
    UnixStream::connect(&first.socket).unwrap();
}

#[test]
fn a_daemon_that_was_killed_is_followed_by_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(&dir);
    daemon.signal(Signal::KILL);
    let (_, _) = daemon.end();
    assert!(dir.path().join("run/vmwired.sock").exists());
    start(&dir);
}

#[test]
fn two_daemons_that_start_at_once_for_one_socket_become_one() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("one.sock");
    // A dead one is there, so that each of them has something to replace.
    drop(UnixListener::bind(&socket).unwrap());
    let mut daemons: Vec<Daemon> = (0..8)
        .map(|number| {
            let mut command = command(&dir.path().join(number.to_string()));
            command.arg("--listen").arg(format!("unix:{}", socket.display())).stderr(Stdio::null());
            Daemon { child: command.spawn().unwrap(), socket: socket.clone() }
        })
        .collect();
    let end = Instant::now() + ENOUGH;
    while daemons.iter_mut().filter_map(|daemon| daemon.child.try_wait().unwrap()).count() < 7 {
        assert!(Instant::now() < end, "more than one is left");
        std::thread::sleep(Duration::from_millis(2));
    }
    UnixStream::connect(&socket).unwrap();
}

#[test]
fn systemd_is_told_when_it_listens_and_when_it_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let notified = UnixDatagram::bind(&path).unwrap();
    notified.set_read_timeout(Some(ENOUGH)).unwrap();
    let mut command = command(dir.path());
    command.env("NOTIFY_SOCKET", &path);
    let daemon = Daemon::start(command, dir.path().join("run/vmwired.sock"));
    let next = || {
        let mut bytes = [0; 64];
        let count = notified.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    assert_eq!(next(), "READY=1");
    daemon.signal(Signal::TERM);
    assert_eq!(next(), "STOPPING=1");
    assert_eq!(daemon.end().0, 0);
}

#[test]
fn a_configuration_can_be_checked_without_running() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = command(dir.path());
        command.arg("--check-config").arg("--config").arg(&file);
        run(command)
    };
    assert_eq!(check("log = \"warn\"\n"), (Some(0), "OK\n".to_owned(), String::new()));
    assert!(!dir.path().join("state").exists());
    let told = format!("vmwired: {}: line 2, column 1: unknown key \"lag\"; did you mean log?\n", file.display());
    assert_eq!(check("\nlag = \"warn\"\n"), (Some(2), String::new(), told));
    std::fs::remove_file(&file).unwrap();
    let mut command = command(dir.path());
    command.arg("--config").arg(&file);
    let (code, _, told) = run(command);
    assert_eq!(code, Some(2));
    assert!(told.contains("cannot read the configuration"), "{told}");
}

#[test]
fn nothing_that_was_written_drives_the_terminal_on_which_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let hostile = "\u{1b}[31m\u{7}\u{9b}2J";
    let file = dir.path().join("c.toml");
    std::fs::write(&file, format!("log = \"\\u001b[31m{}\"\n\u{1b}", '\u{9b}')).unwrap();
    let arguments: [&[&str]; 6] = [
        &["--config", hostile],
        &["--config", file.to_str().unwrap()],
        &["--listen", hostile],
        &["--state-dir", hostile],
        &["--driver", hostile],
        &[hostile],
    ];
    for arguments in arguments {
        let mut command = command(dir.path());
        command.current_dir(dir.path()).arg("--check-config").args(arguments).env("CLICOLOR_FORCE", "1");
        let (code, _, told) = run(command);
        assert_eq!(code, Some(2), "{arguments:?}: {told:?}");
        assert!(!told.chars().any(|c| c.is_control() && c != '\n'), "{arguments:?}: {told:?}");
    }
}

#[test]
fn a_wrong_option_is_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path());
    command.arg("--no-such-thing");
    assert_eq!(run(command).0, Some(2));
}

#[test]
fn a_hangup_has_the_configuration_read_again_and_what_is_wrong_in_it_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (config, log) = (dir.path().join("vmwired.toml"), dir.path().join("log"));
    std::fs::write(&config, "connections_max = 7\n").unwrap();
    let mut command = command(dir.path());
    command.arg("--config").arg(&config).env_remove("VMWIRE_LOG").stderr(std::fs::File::create(&log).unwrap());
    let daemon = Daemon::start(command, dir.path().join("run/vmwired.sock"));
    let mut client = Client::connect(&daemon.socket);
    for (text, told, connections_max) in [
        ("connections_max = 8\n", " INFO  the configuration was read again\n", 8),
        ("connections_max = 0\n", "vmwired.toml: line 1, column 19: it has to be from 1 to 4294967295\n", 8),
        ("\u{1b} = 1\n", "ERROR the configuration stays as it was: ", 8),
        ("connections_max = 9\nlisten = ['unix:/a']\n", "WARN  listen has changed, which takes effect when vmw", 9),
        ("[qemu]\nbinary = '/nowhere'\n", "WARN  qemu.binary has changed", 10_000),
        (
            "log = 'warn'\nstate_dir = '/a'\nruntime_dir = '/b'\n[qemu]\naccel = 'tcg'\n",
            "WARN  qemu.accel has changed",
            10_000,
        ),
    ] {
        let before = std::fs::read_to_string(&log).unwrap().len();
        std::fs::write(&config, text).unwrap();
        daemon.signal(Signal::HUP);
        let end = Instant::now() + ENOUGH;
        while !std::fs::read_to_string(&log).unwrap()[before..].contains(told) {
            assert!(Instant::now() < end, "{told} is not told of {text}");
            std::thread::sleep(Duration::from_millis(2));
        }
        let ServerData::DaemonInfo(info) = client.ask(&ClientData::DaemonInfo).unwrap() else { panic!() };
        assert_eq!(info.connections_max, connections_max, "after {text}");
    }
    let before = std::fs::read_to_string(&log).unwrap();
    Client::connect(&daemon.socket).ask(&ClientData::DaemonInfo).unwrap();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), before, "warnings alone were wanted");
}
