//! Captures: what the file has, whose it is, and when there is none.

use std::collections::BTreeMap;
use std::fs;
use std::io::{PipeWriter, pipe};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use etherparse::{SlicedPacket, TransportSlice};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use vmwire_protocol::message::{ClientData, ServerData};

use crate::harness::{Daemon, Running, Setup, Way, by_ways, eventually, vmwire};

by_ways!(by_unix_as_admin Unix: who_asks_for_it_gets_a_file_that_explains_itself);
by_ways!(by_tls_as_admin Tls: who_asks_for_it_gets_a_file_that_explains_itself);

by_ways!(who_comes_by_unix Unix: those_who_come_are_shown_as_who_they_are_and_when);
by_ways!(who_comes_by_tcp Tcp: those_who_come_are_shown_as_who_they_are_and_when);
by_ways!(who_comes_by_tls Tls: those_who_come_are_shown_as_who_they_are_and_when);

/// What a file of a capture has.
#[derive(Default)]
struct Captured {
    /// The bytes that went from each port and address to the other, as TCP would put them together.
    ways: BTreeMap<String, Vec<u8>>,
    comments: Vec<String>,
    times: Vec<Duration>,
}

fn read(path: &Path) -> Captured {
    read_whole(path).expect("whole blocks")
}

/// The same, unless it ends with half a block, as while it is being written.
fn read_whole(path: &Path) -> Option<Captured> {
    let bytes = fs::read(path).unwrap();
    let mut reader = PcapNgReader::new(&bytes[..]).ok()?;
    let mut captured = Captured::default();
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(block) = block.ok()? else { continue };
        captured.times.push(block.timestamp);
        for option in &block.options {
            if let EnhancedPacketOption::Comment(comment) = option {
                captured.comments.push(comment.to_string());
            }
        }
        let sliced = SlicedPacket::from_ip(&block.data).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
        let Some(etherparse::NetSlice::Ipv6(ip)) = sliced.net else { panic!("no IPv6") };
        let way = format!("{} -> {}", ip.header().source_addr(), ip.header().destination_addr());
        let bytes = captured.ways.entry(way).or_default();
        assert_eq!(usize::try_from(tcp.sequence_number()).unwrap(), bytes.len() + 1, "nothing is missing");
        bytes.extend_from_slice(tcp.payload());
    }
    Some(captured)
}

/// Waits until the answer of HOST_INFO is in the file.
fn host_info_is_shown(path: &Path) {
    let is_it = |data: &ServerData| matches!(data, ServerData::HostInfo(_));
    eventually("it is shown", || read_whole(path)?.said().1.iter().any(is_it).then_some(()));
}

impl Captured {
    /// Everything that was said, as our own decoder has it.
    fn said(&self) -> (Vec<ClientData>, Vec<ServerData>) {
        let (mut clients, mut server) = (Vec::new(), Vec::new());
        for (way, bytes) in &self.ways {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                assert_eq!(&rest[..4], b"\x89VMW", "{way}");
                let word = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().unwrap());
                let end = 8 + usize::try_from(word(4)).unwrap();
                let (number, body) = (word(16), &rest[20..end]);
                if way.starts_with("2001:db8::1 ") {
                    server.push(ServerData::decode_body(number, body).unwrap().unwrap());
                } else {
                    clients.push(ClientData::decode_body(number, body).unwrap().unwrap());
                }
                rest = &rest[end..];
            }
        }
        (clients, server)
    }

    fn holds(&self, text: &str) -> bool {
        self.ways.values().any(|bytes| bytes.windows(text.len()).any(|at| at == text.as_bytes()))
    }
}

/// A capture that has begun.
fn begin(daemon: &Daemon, uri: &str, path: &Path, more: &[&str]) -> Running {
    let words = [&["capture", "-w", path.to_str().unwrap()][..], more].concat();
    let running = daemon.begin_at(uri, &words);
    eventually("it has begun", || running.err().contains("capturing into").then_some(()));
    running
}

/// The same into a pipe.
fn begin_into(daemon: &Daemon, out: PipeWriter) -> Running {
    let mut command = vmwire();
    command.args(["-c", &daemon.uri(), "capture", "-w", "-"]);
    let running = Running::start_into(command, out);
    eventually("it has begun", || running.err().contains("capturing into").then_some(()));
    running
}

/// The same as a shell begins it that was told something before.
fn begin_under(daemon: &Daemon, told: &str, path: &Path) -> Running {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{told}; exec \"$@\""), "sh"]);
    let words = ["-c", &daemon.uri(), "capture", "-w", path.to_str().unwrap()];
    let vmwire = vmwire();
    command.arg(vmwire.get_program()).args(words);
    for (variable, value) in vmwire.get_envs() {
        match value {
            Some(value) => command.env(variable, value),
            None => command.env_remove(variable),
        };
    }
    let running = Running::start(command);
    eventually("it has begun", || running.err().contains("capturing into").then_some(()));
    running
}

/// Ends it as ^C does.
fn end(running: Running) -> String {
    end_by(running, Signal::INT)
}

fn end_by(running: Running, signal: Signal) -> String {
    running.signal(signal);
    let ran = running.wait();
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.err
}

fn who_asks_for_it_gets_a_file_that_explains_itself(way: Way) {
    let daemon = way.setup().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nconsole = \"password: \"\n");
    let (blind, seeing) = (daemon.place().join("blind.pcapng"), daemon.place().join("seeing.pcapng"));
    let without = begin(&daemon, &daemon.uri_by(way), &blind, &[]);
    let with = begin(&daemon, &daemon.uri_by(way), &seeing, &["--payload"]);
    daemon.ok(&["vm", "start", "web"]);
    let mut console = daemon.begin(&["vm", "console", "web", "--history", "1KiB"]);
    console.expect("password: ");
    console.write("hunter2\n");
    console.expect("hunter2");
    daemon.ok(&["vm", "stop", "web"]);
    assert_eq!(console.wait().code, 0);
    let summary = end(without);
    assert!(summary.contains(" packets, ") && !summary.contains("lost"), "{summary}");
    end(with);
    for (path, payload) in [(&blind, false), (&seeing, true)] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        let captured = read(path);
        assert_eq!((captured.holds("hunter2"), captured.holds("password: ")), (payload, payload));
        let (asked, answered) = captured.said();
        assert!(asked.iter().any(|data| matches!(data, ClientData::VmStart(call) if &*call.vm == "web")));
        assert!(answered.iter().any(|data| matches!(data, ServerData::VmStart(_))));
        assert!(asked.iter().any(|data| matches!(data, ClientData::StreamData(_))));
        assert!(!asked.iter().any(|data| matches!(data, ClientData::CaptureOpen(_))), "it is not of itself");
        // Those who came behind it: start, console, stop.
        let by_unix = captured.comments.iter().filter(|comment| comment.ends_with(": uid 0 over unix")).count();
        assert!(by_unix >= 3, "{:?}", captured.comments);
        assert!(captured.times.is_sorted());
    }
}

fn those_who_come_are_shown_as_who_they_are_and_when(way: Way) {
    let daemon = way.setup().start();
    let path = daemon.place().join("who.pcapng");
    let capture = begin(&daemon, &daemon.uri(), &path, &[]);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let before = now();
    let mut command = vmwire();
    command.args(["-c", &daemon.uri_by(way), "host", "info"]);
    Running::start(command).end().ok();
    let after = now();
    host_info_is_shown(&path);
    end(capture);
    let captured = read(&path);
    let who = match way {
        Way::Unix => "uid 0",
        Way::Tcp => "127.0.0.1",
        Way::Tls => "CN=alice",
    };
    let comments = captured.comments;
    let over = format!(" over {}", way.word());
    assert!(comments.len() == 1 && comments[0].contains(who) && comments[0].ends_with(&over), "{comments:?}");
    // A turn bears the time at which it began, and what was sent the one at which it ended.
    let slack = Duration::from_secs(30);
    let around = before - slack..after + slack;
    assert!(captured.times.iter().all(|time| around.contains(time)), "{:?}", captured.times);
    let opened = eventually("it is in the audit", || {
        let audited = fs::read_to_string(daemon.place().join("state/audit.jsonl")).ok()?;
        let opened = audited.lines().find(|line| line.contains("\"capture-open\""))?;
        serde_json::from_str::<serde_json::Value>(opened).ok()
    });
    assert_eq!((&opened["identity"], &opened["verdict"]), (&"uid 0".into(), &"ok".into()), "{opened}");
}

#[test]
fn of_one_machine_is_what_is_about_it() {
    let daemon = Setup::test().start();
    for name in ["mine", "theirs"] {
        daemon.define(&format!("name = \"{name}\"\nmemory = \"64 MiB\"\n"));
    }
    let path = daemon.place().join("mine.pcapng");
    let capture = begin(&daemon, &daemon.uri(), &path, &["--vm", "mine", "-n", "6"]);
    for name in ["theirs", "mine"] {
        daemon.ok(&["vm", "start", name]);
    }
    daemon.ok(&["vm", "show", "mine"]);
    // HELLO and its answer of the three, what was asked of this one, and it ends by itself.
    let ran = capture.wait();
    assert!(ran.code == 0 && ran.err.contains("6 packets, "), "{ran:?}");
    let bytes = fs::read(&path).unwrap();
    let holds = |text: &str| bytes.windows(text.len()).any(|at| at == text.as_bytes());
    assert!(holds("mine") && !holds("theirs"));
}

#[test]
fn a_capture_that_is_refused_leaves_no_file_and_one_that_is_there_is_left_alone() {
    let daemon = Way::Tcp.setup().start();
    let path = daemon.place().join("none.pcapng");
    let path = path.to_str().unwrap();
    let refused = Running::start({
        let mut command = vmwire();
        command.args(["-c", &daemon.uri_by(Way::Tcp), "capture", "-w", path]);
        command
    });
    let refused = refused.wait();
    assert_eq!((refused.code, Path::new(path).exists()), (4, false), "{refused:?}");
    assert!(refused.err.contains("capture-open needs the role admin"), "{refused:?}");

    fs::write(path, "what was there").unwrap();
    let there = daemon.vmwire(&["capture", "-w", path]).fails(1);
    assert!(there.contains("a capture never takes the place of a file"), "{there}");
    assert_eq!(fs::read_to_string(path).unwrap(), "what was there");

    let nobody = daemon.vmwire(&["capture", "--vm", "nobody", "-w", &format!("{path}.2")]).fails(5);
    assert!(nobody.contains("there is no virtual machine of that name"), "{nobody}");
    let several = daemon.vmwire(&["-H", "a,b", "capture", "-w", path]).fails(2);
    assert!(several.contains("a file has the packets of one daemon"), "{several}");
}

#[test]
fn a_capture_ends_with_its_time_and_its_daemon_and_tells_a_program_what_it_came_to() {
    let daemon = Setup::test().start();
    let path = daemon.place().join("timed.pcapng");
    let ran = daemon.json(&["capture", "-w", path.to_str().unwrap(), "--duration", "100ms"]);
    let expected = serde_json::json!({"file": path.to_str().unwrap(), "packets": 0, "bytes": 0, "lost_bytes": 0});
    assert_eq!(ran, expected);

    let path = daemon.place().join("cut.pcapng");
    let capture = begin(&daemon, &daemon.uri(), &path, &[]);
    daemon.ok(&["host", "info"]);
    // Its directory goes with it.
    let _place = daemon.stopped();
    let ran = capture.wait();
    assert!(ran.code == 3 && ran.err.contains("the daemon is leaving"), "{ran:?}");
    assert!(read(&path).said().0.iter().any(|data| matches!(data, ClientData::HostInfo)));
}

#[test]
fn whatever_ends_the_program_it_says_what_the_capture_came_to() {
    let daemon = Setup::test().start();
    for (name, signal) in [("asked", Signal::TERM), ("hung-up", Signal::HUP), ("quit", Signal::QUIT)] {
        let path = daemon.place().join(name);
        let capture = begin(&daemon, &daemon.uri(), &path, &[]);
        daemon.ok(&["host", "info"]);
        host_info_is_shown(&path);
        let summary = end_by(capture, signal);
        assert!(summary.contains(&count(&path)), "{signal:?}: {summary}");
    }
}

#[test]
fn a_capture_that_is_not_to_end_with_its_terminal_goes_on() {
    let daemon = Setup::test().start();
    let path = daemon.place().join("nohup.pcapng");
    let capture = begin_under(&daemon, "trap '' HUP", &path);
    capture.signal(Signal::HUP);
    daemon.ok(&["host", "info"]);
    host_info_is_shown(&path);
    assert!(end(capture).contains(&count(&path)));
}

/// The beginning of what is said of a capture with so many packets.
fn count(path: &Path) -> String {
    let (asked, answered) = read(path).said();
    format!(": {} packets, ", asked.len() + answered.len())
}

#[test]
fn where_there_is_no_more_room_the_file_ends_with_a_whole_packet() {
    let daemon = Setup::test().start();
    let path = daemon.place().join("full.pcapng");
    // Of so many blocks of 512 bytes, to some shells of 1024.
    let capture = begin_under(&daemon, "ulimit -f 16", &path);
    // Calls until it has ended: a definition is longer than a block, so that some block is cut.
    let definition = format!("name = \"long\"\nmemory = \"64 MiB\"\n#{}\n", "x".repeat(700));
    daemon.define(&definition);
    eventually("it has ended", || {
        daemon.ok(&["vm", "definition", "long"]);
        capture.err().contains("cannot write").then_some(())
    });
    let ran = capture.wait();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("File too large") && ran.err.contains("ends with the last packet"), "{ran:?}");
    assert!(ran.err.contains(&count(&path)), "{ran:?}");
}

#[test]
fn nobody_who_does_not_read_keeps_it_from_ending() {
    let daemon = Setup::test().start();
    let (reader, writer) = pipe().unwrap();
    let capture = begin_into(&daemon, writer.try_clone().unwrap());
    let definition = format!("name = \"long\"\nmemory = \"64 MiB\"\n#{}\n", "x".repeat(40_000));
    daemon.define(&definition);
    eventually("the pipe is full", || {
        daemon.ok(&["vm", "definition", "long"]);
        let mut room = [PollFd::new(&writer, PollFlags::OUT)];
        let polled = poll(&mut room, Some(&Timespec::default())).unwrap();
        (polled == 0).then_some(())
    });
    let summary = end(capture);
    assert!(summary.contains(" packets, "), "{summary}");
    drop(reader);
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let daemon = Setup::test().start();
    let (reader, writer) = pipe().unwrap();
    let capture = begin_into(&daemon, writer);
    drop(reader);
    daemon.ok(&["host", "info"]);
    let ran = capture.wait();
    assert!(ran.code == 0 && !ran.err.contains("cannot"), "{ran:?}");
}

#[test]
fn a_daemon_that_is_too_old_for_captures_is_told_apart() {
    let daemon = Setup::test().argument("--newest-minor").argument("1").start();
    let ran = daemon.vmwire(&["capture", "-w", daemon.place().join("none").to_str().unwrap()]);
    assert!(ran.code == 1 && ran.err.contains("the daemon is too old for this"), "{ran:?}");
}
