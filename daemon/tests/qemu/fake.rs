//! Monitors that misbehave. This very test program plays QEMU: the driver starts a script, which starts it with the
//! listening socket as standard input.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};
use vmwire_daemon::driver::{Action, DriverErrorKind};
use vmwire_daemon::model::{StateReason, VmState};

use crate::stage::Stage;

/// How long a monitor may take to greet here: long enough for this program to be started on a slow machine.
const GREETING_TIME: Duration = Duration::from_secs(10);

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 1, "minor": 0, "major": 9}}, "capabilities": []}}"#;

/// A driver whose QEMU is this program, playing a part.
fn stage(part: &str) -> Stage {
    let this = std::env::current_exe().unwrap();
    // The answer to what QEMU is, is not played.
    let script = format!(
        "for argument; do case $argument in\n\
         socket,id=monitor,fd=*,server=on*) fd=${{argument#*fd=}}; fd=${{fd%%,*}};;\n\
         esac; done\n\
         test \"$fd\" || exit 1\n\
         export FAKE_QEMU={part}\n\
         eval \"exec '{}' --exact fake::plays_a_part --nocapture <&$fd\"",
        this.display()
    );
    Stage::with(|config| {
        config.qemu = Stage::script(&config.runtime_dir, &script);
        config.greeting = GREETING_TIME;
    })
}

fn is_alive(pid: u32) -> bool {
    test_kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()).is_ok()
}

/// Not a test, unless the environment says which part to play.
#[test]
fn plays_a_part() {
    let Ok(part) = std::env::var("FAKE_QEMU") else { return };
    let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    listener.set_nonblocking(false).unwrap();
    // Whatever becomes of the test, this ends.
    let mut connections = 0;
    while connections < 100 {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        connections += 1;
        if !play(&part, stream, connections) {
            return;
        }
    }
}

/// Plays on one connection; says whether to take another one.
fn play(part: &str, mut stream: UnixStream, connection: usize) -> bool {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    match part {
        "silence" => return lines.next().is_some_and(|line| line.is_ok()),
        "nonsense" => stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap(),
        "endless" => {
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
            return true;
        }
        _ => writeln!(stream, "{GREETING}").unwrap(),
    }
    let mut status = if connection == 1 { "running" } else { "paused" };
    while let Some(Ok(line)) = lines.next() {
        let command: serde_json::Value = serde_json::from_str(&line).unwrap();
        let id = &command["id"];
        let answer = match command["execute"].as_str().unwrap() {
            "query-status" => format!(r#"{{"return": {{"status": "{status}"}}, "id": {id}}}"#),
            "stop" => match part {
                "babbles" => "]]]".to_owned(),
                "leaves" => return true,
                "wrong-id" => r#"{"return": {}, "id": 4711}"#.to_owned(),
                _ => format!(r#"{{"return": {{}}, "id": {id}}}"#),
            },
            "quit" if part == "stays" => continue,
            "quit" => return false,
            _ => format!(r#"{{"return": {{}}, "id": {id}}}"#),
        };
        if command["execute"] == "stop" {
            status = "paused";
        }
        writeln!(stream, "{answer}").unwrap();
    }
    true
}

#[test]
fn a_monitor_that_never_greets_times_the_start_out_and_leaves_no_process() {
    let mut stage = stage("silence");
    let begun = Instant::now();
    let start = stage.begin(Action::Start { definition: Stage::definition(""), paused: false });
    stage.until("the process", |stage| stage.process.is_some());
    let pid = stage.pid();
    let error = stage.result(start).unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::TimedOut, "{error:?}");
    assert!(begun.elapsed() >= GREETING_TIME);
    assert_eq!((stage.state, stage.reason), (VmState::Stopped, StateReason::Failed));
    assert!(!is_alive(pid) && stage.files().is_empty());
}

#[test]
fn a_monitor_that_speaks_something_else_fails_the_start_and_leaves_no_process() {
    for part in ["nonsense", "endless"] {
        let mut stage = stage(part);
        let start = stage.begin(Action::Start { definition: Stage::definition(""), paused: false });
        stage.until("the process", |stage| stage.process.is_some());
        let pid = stage.pid();
        let error = stage.result(start).unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::Failed, "{error:?}");
        assert!(error.causes[0].starts_with("the monitor"), "{error:?}");
        assert!(!is_alive(pid) && stage.files().is_empty());
    }
}

#[test]
fn a_monitor_that_says_nonsense_or_leaves_is_told_and_found_again() {
    for part in ["babbles", "leaves", "wrong-id"] {
        let mut stage = stage(part);
        stage.start("console = false\n").unwrap();
        let error = stage.act(Action::Pause).unwrap_err();
        assert_eq!(error.message, "the connection to QEMU's monitor was lost", "{part}");
        stage.until("the monitor", |stage| stage.count("monitor true") == 1);
        assert_eq!(stage.count("monitor false"), 1, "{:?}", stage.told);
        stage.until_state(VmState::Paused);
        assert_eq!(stage.reason, StateReason::Hypervisor, "it was not our pause");
        stage.act(Action::Stop).unwrap();
    }
}

#[test]
fn a_qemu_that_does_not_hear_quit_is_killed() {
    let mut stage = stage("stays");
    stage.start("console = false\n").unwrap();
    let pid = stage.pid();
    stage.act(Action::Stop).unwrap();
    assert!(!is_alive(pid));
    assert_eq!((stage.state, stage.reason), (VmState::Stopped, StateReason::Requested));
}

/// Unused parts of the stage would be a sign that the fake does not run at all.
#[test]
fn a_fake_that_behaves_is_taken_for_qemu() {
    let mut stage = stage("behaves");
    stage.start("console = false\n").unwrap();
    stage.act(Action::Pause).unwrap();
    assert_eq!(stage.state, VmState::Paused);
    stage.act(Action::Stop).unwrap();
    assert!(Path::new(stage.dir.path()).exists() && stage.files().is_empty());
}
