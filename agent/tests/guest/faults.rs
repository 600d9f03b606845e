//! What a host leaves behind on a port that nobody else can see it leave, and what the next one gets: from qemu-ga, which shows why we
//! are here, and from ours. Whoever begins with FF and a number is well with either.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::port::Port;

/// A guest, and who looks on.
struct Scene {
    machine: Machine,
    observer: Port,
}

/// One fault.
struct Row {
    name: &'static str,
    /// What the first host does. It may leave something to whom the second is to go on with.
    first: fn(&mut Scene) -> Option<UnixStream>,
    /// What the second host sends, without FF before it.
    second: &'static str,
    /// The answers that the second host gets from qemu-ga, and from ours: the id of each, or what else it is.
    from_qemu_ga: &'static [&'static str],
    from_ours: &'static [&'static str],
    /// What is found in the guest then, and whether by either's doing.
    trace: Option<(&'static str, bool, bool)>,
}

const PINGS: &str = "{\"execute\":\"guest-ping\",\"id\":1}\n{\"execute\":\"guest-ping\",\"id\":2}\n{\"execute\":\"guest-ping\",\"id\":3}\n";
const OURS: &[&str] = &["1", "2", "3"];

const ROWS: &[Row] = &[
    Row {
        name: "half a request",
        first: |scene| scene.leave("{\"execute\":\"guest-ping\""),
        second: PINGS,
        from_qemu_ga: &[],
        from_ours: OURS,
        trace: None,
    },
    Row {
        name: "half a string",
        first: |scene| scene.leave("{\"execute\":\"guest-ping\",\"id\":\"abc"),
        second: PINGS,
        // The first is part of the string; what is left of it goes wrong word by word.
        from_qemu_ga: &["error", "error", "error", "error", "error", "error", "2", "3"],
        from_ours: OURS,
        trace: None,
    },
    Row {
        name: "half of what the second completes",
        first: |scene| {
            let half = "{\"execute\":\"guest-exec\",\"arguments\":{\"path\":\"touch\",\"arg\":[\"/run/harm\"]},\"id\":";
            scene.leave(half)
        },
        second: "{\"execute\":\"guest-ping\",\"id\":1}\n}\n",
        from_qemu_ga: &["{\"execute\":\"guest-ping\",\"id\":1}"],
        from_ours: &["1", "error"],
        trace: Some(("/run/harm", true, false)),
    },
    Row {
        name: "a request whose answer nobody waited for",
        first: |scene| {
            scene.signal("STOP");
            let left = scene.leave("{\"execute\":\"guest-ping\",\"id\":\"A\"}\n");
            scene.signal("CONT");
            left
        },
        second: PINGS,
        from_qemu_ga: &["\"A\"", "1", "2", "3"],
        from_ours: OURS,
        trace: None,
    },
    Row {
        name: "the most of a long answer",
        first: |scene| {
            scene.observer.run("head -c 900000 /dev/zero >/run/long");
            let mut port = scene.machine.agent();
            let handle = port.ask_well("guest-file-open", &json!({"path": "/run/long"}));
            let read = json!({"execute": "guest-file-read", "arguments": {"handle": handle, "count": 900_000}});
            let mut stream = port.into_stream();
            stream.write_all(read.to_string().as_bytes()).unwrap();
            stream.read_exact(&mut [0; 2047]).unwrap();
            None
        },
        second: PINGS,
        from_qemu_ga: &["the end of something", "1", "2", "3"],
        from_ours: OURS,
        trace: None,
    },
    Row {
        // Nobody tells the agent that one left and another came while it did not run: not even ours can know.
        name: "a request to an agent that wakes when the second is there",
        first: |scene| {
            scene.signal("STOP");
            scene.leave("{\"execute\":\"guest-ping\",\"id\":\"A\"}\n");
            let second = scene.machine.bare_agent();
            scene.signal("CONT");
            Some(second)
        },
        second: PINGS,
        from_qemu_ga: &["\"A\"", "1", "2", "3"],
        from_ours: &["\"A\"", "1", "2", "3"],
        trace: None,
    },
    Row {
        // Handles belong to nobody, which a drop-in has to keep.
        name: "an open file",
        first: |scene| {
            scene.machine.agent().ask_well("guest-file-open", &json!({"path": "/etc/passwd"}));
            None
        },
        second: "{\"execute\":\"guest-file-read\",\"arguments\":{\"handle\":1001},\"id\":1}\n",
        from_qemu_ga: &["1"],
        from_ours: &["1"],
        trace: None,
    },
    Row {
        // It is QEMU that takes the second and keeps it waiting.
        name: "nothing, as it stays for a while",
        first: |scene| {
            let mut first = scene.machine.agent();
            let mut second = scene.machine.bare_agent();
            second.write_all(b"{\"execute\":\"guest-ping\",\"id\":\"early\"}\n").unwrap();
            first.ask_well("guest-ping", &json!({}));
            second.set_nonblocking(true).unwrap();
            let nothing = second.read(&mut [0]).unwrap_err();
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "the second is served beside the first");
            second.set_nonblocking(false).unwrap();
            Some(second)
        },
        second: PINGS,
        from_qemu_ga: &["\"early\"", "1", "2", "3"],
        from_ours: &["\"early\"", "1", "2", "3"],
        trace: None,
    },
];

impl Scene {
    fn start(test: &str, program: &str) -> Option<Scene> {
        let machine = Machine::start(test, program, "")?;
        let observer = machine.observer();
        Some(Scene { machine, observer })
    }

    /// Sends this as somebody who leaves at once.
    fn leave(&mut self, what: &str) -> Option<UnixStream> {
        let mut stream = self.machine.bare_agent();
        stream.write_all(what.as_bytes()).unwrap();
        // Where the agent runs, it may have begun to answer, with nobody who reads.
        std::thread::sleep(Duration::from_millis(300));
        // QEMU forgets what it has not read yet of somebody whom it sees go. Who only ends what they say is read to the end,
        // and then QEMU hangs up itself.
        stream.shutdown(Shutdown::Write).unwrap();
        let mut hung_up = [PollFd::new(&stream, PollFlags::empty())];
        let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(poll(&mut hung_up, Some(&patience)), Ok(1), "QEMU does not hang up");
        None
    }

    /// Sends a signal to the agent, and sees that it has come.
    fn signal(&mut self, signal: &str) {
        self.observer.run(&format!("kill -{signal} $(cat /run/first/number)"));
        let stopped = signal == "STOP";
        self.observer
            .run_until("grep ^State /proc/$(cat /run/first/number)/status", |said| said.contains("stopped") == stopped);
    }

    /// Waits until the agent has done all it had to: ours sleeps then. qemu-ga looks ten times a second, or spins.
    fn wait_until_idle(&mut self, is_ours: bool) {
        self.observer.wait_until_idle(if is_ours {
            "grep -e ^voluntary -e ^State /proc/$(cat /run/first/number)/status"
        } else {
            "echo sleeping"
        });
    }

    fn play(&mut self, row: &Row, is_ours: bool) {
        let second = (row.first)(self);
        let second = second.unwrap_or_else(|| {
            // Who comes at once cannot always be told from who left.
            self.wait_until_idle(is_ours);
            self.machine.bare_agent()
        });
        let mut second = Port::new(second);
        let lines = second.answers(row.second.as_bytes());
        let expected = if is_ours { row.from_ours } else { row.from_qemu_ga };
        assert_eq!(lines.iter().map(|line| shown(line)).collect::<Vec<_>>(), expected, "{}", row.name);
        // FF and a number went before this.
        assert_eq!(second.answers(b"{\"execute\":\"guest-ping\",\"id\":9}"), [b"{\"return\": {}, \"id\": 9}"]);
        if let Some((path, by_qemu_ga, by_ours)) = row.trace {
            let found = self.observer.run(&format!("ls {path} 2>/dev/null")) == format!("{path}\n");
            assert_eq!(found, if is_ours { by_ours } else { by_qemu_ga }, "{}: {path}", row.name);
        }
    }
}

/// What an answer is: the id it carries.
fn shown(line: &[u8]) -> String {
    match serde_json::from_slice::<Value>(line) {
        Err(_) => "the end of something".to_owned(),
        Ok(answer) if answer.get("error").is_some() => "error".to_owned(),
        Ok(answer) => answer["id"].to_string(),
    }
}

#[test]
fn what_one_host_leaves_harms_the_next_with_qemu_ga() {
    let Some(mut scene) = Scene::start("what_one_host_leaves_harms_the_next_with_qemu_ga", "/bin/qemu-ga") else {
        return;
    };
    for row in ROWS {
        scene.play(row, false);
    }
}

#[test]
fn what_one_host_leaves_harms_the_next_with_ours_only_where_nobody_can_know() {
    let test = "what_one_host_leaves_harms_the_next_with_ours_only_where_nobody_can_know";
    let Some(mut scene) = Scene::start(test, "/bin/vmwire-ga") else { return };
    for row in ROWS {
        scene.play(row, true);
    }
}

#[test]
fn more_than_an_outbox_of_answers_is_forgotten_with_who_asked() {
    let test = "more_than_an_outbox_of_answers_is_forgotten_with_who_asked";
    let Some(mut scene) = Scene::start(test, "/bin/vmwire-ga") else { return };
    let left = "{\"execute\":\"guest-info\"}\n".repeat(300);
    for behind_its_back in [false, true] {
        if behind_its_back {
            // It finds all at once what otherwise comes bit by bit.
            scene.signal("STOP");
        }
        scene.leave(&left);
        if behind_its_back {
            scene.signal("CONT");
        }
        // Who comes at once cannot always be told from who left.
        scene.wait_until_idle(true);
        let mut second = Port::new(scene.machine.bare_agent());
        for number in 1..=3 {
            second.send(format!("{{\"execute\":\"guest-sync\",\"arguments\":{{\"id\":{number}}}}}\n").as_bytes());
            let line = second.line();
            assert_eq!(line, format!("{{\"return\": {number}}}").as_bytes(), "behind its back: {behind_its_back}");
        }
    }
}

#[test]
fn a_port_may_be_opened_and_closed_as_fast_as_it_goes() {
    let test = "a_port_may_be_opened_and_closed_as_fast_as_it_goes";
    let Some(scene) = Scene::start(test, "/bin/vmwire-ga") else { return };
    for number in 0..1000 {
        let mut port = scene.machine.agent();
        // Some leave with an answer unread, some in the middle of a request.
        match number % 3 {
            0 => port.send(b"{\"execute\":\"guest-info\"}\n"),
            1 => port.send(b"{\"execute\":\"guest-info\",\"id\":\"abc"),
            _ => {}
        }
    }
}

#[test]
fn a_write_to_a_disk_that_somebody_froze_keeps_nobody_else() {
    let test = "a_write_to_a_disk_that_somebody_froze_keeps_nobody_else";
    let Some(machine) = Machine::start(test, "/bin/vmwire-ga", "-c,/etc/longer.conf") else { return };
    let (mut agent, mut observer) = (machine.agent(), machine.observer());
    let handle = agent.ask_well("guest-file-open", &json!({"path": "/mnt/file", "mode": "w"}));
    assert_eq!(observer.ask_well("guest-fsfreeze-freeze", &json!({})), 1);
    let write = json!({"handle": handle, "buf-b64": "eA=="});
    let answer = agent.ask("guest-file-write", &write).to_string();
    assert!(answer.contains("took too long; all handles are closed"), "{answer}");
    let answer = agent.ask("guest-file-write", &write).to_string();
    assert!(answer.contains("has not been found"), "{answer}");
    let other = agent.ask_well("guest-file-open", &json!({"path": "/run/other", "mode": "w"}));
    agent.ask_well("guest-file-write", &json!({"handle": other, "buf-b64": "eA=="}));
    agent.ask_well("guest-file-close", &json!({"handle": other}));
    assert_eq!(observer.ask_well("guest-fsfreeze-thaw", &json!({})), 1);
    // Who was left behind in the kernel ends with the freeze, and is taken note of.
    observer.run_until("ps | grep '[h]older-of-files'; ps | grep '[v]mwire-ga' | grep -c Z", |said| said == "0\n");
}
