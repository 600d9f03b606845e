//! Captures of real runs, read by real tshark with the dissector of the sources. What it makes of each packet is held by
//! `protocol/tests/wire/dissector`; here it is that it finds them among what is really sent, behind TLS, and in what
//! `vmwire capture` writes.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Daemon, Running, Way, eventually, skip, vmwire};

/// Captures what is sent to a port of the loopback, until it is dropped.
struct Dumpcap(Child);

impl Dumpcap {
    fn start(port: u16, file: &Path) -> Self {
        let filter = format!("tcp port {port}");
        let mut command = Command::new("dumpcap");
        command.args(["-q", "-i", "lo", "-f", &filter, "-w"]).arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        let capturing = Self(command.spawn().unwrap());
        // It opens the file when it captures.
        eventually("dumpcap captures", || std::fs::metadata(file).ok().filter(|metadata| metadata.len() > 0));
        capturing
    }
}

impl Drop for Dumpcap {
    fn drop(&mut self) {
        let _gone = kill_process(Pid::from_child(&self.0), Signal::INT);
        let _ended = self.0.wait();
    }
}

/// What tshark prints of a capture.
pub(crate) fn tshark(daemon: &Daemon, file: &Path, arguments: &[&str]) -> String {
    let lua = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/wireshark/vmwire.lua");
    let mut command = Command::new("tshark");
    command.args(["-n", "-2", "-X", &format!("lua_script:{}", lua.display())]);
    command.args(["-o", &format!("tls.keylog_file:{}", daemon.place().join("keys").display())]);
    command.arg("-r").arg(file).args(arguments).env("HOME", daemon.place().path());
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

fn a_run_is_read(test: &str, way: Way) {
    let may_capture = Command::new("dumpcap").arg("-D").output().is_ok_and(|output| output.status.success());
    if !may_capture {
        skip(test, "dumpcap, which comes with tshark, is not there or may not capture");
        return;
    }
    let daemon = way.setup().start();
    let file = daemon.place().join("run.pcapng");
    let dumpcap = Dumpcap::start(daemon.address(way).port(), &file);
    for arguments in [&["ping"][..], &["vm", "start", "none"]] {
        let mut command = vmwire();
        command.args(["-c", &daemon.uri_by(way)]).args(arguments).env("SSLKEYLOGFILE", daemon.place().join("keys"));
        Running::start(command).end();
    }
    let sentences = ["-Y", "vmwire", "-T", "fields", "-e", "_ws.col.Info"];
    let last = if way.may_change() { "VM_START none FAILED: NOT_FOUND" } else { "VM_START none FAILED: DENIED" };
    let told = eventually("all of it is captured", || {
        let told = tshark(&daemon, &file, &sentences);
        told.contains(last).then_some(told)
    });
    drop(dumpcap);
    assert!(told.starts_with("HELLO: speaks 1.") && told.contains("\nPING: answered ("), "{told}");
    assert_eq!(told.matches(" agreed, of 1.").count(), 2, "{told}");
    assert_eq!(tshark(&daemon, &file, &["-Y", "_ws.lua.error || _ws.malformed"]), "");
    assert_eq!(tshark(&daemon, &file, &["-Y", "vmwire.unanswered || vmwire.expert.serial"]), "");
}

#[test]
fn a_real_run_over_tcp_is_read_on_any_port() {
    a_run_is_read("a_real_run_over_tcp_is_read_on_any_port", Way::Tcp);
}

#[test]
fn a_real_run_over_tls_is_read_with_a_key_log() {
    a_run_is_read("a_real_run_over_tls_is_read_with_a_key_log", Way::Tls);
}

#[test]
fn what_the_daemon_itself_captures_is_read_with_who_it_was() {
    let test = "what_the_daemon_itself_captures_is_read_with_who_it_was";
    if Command::new("tshark").arg("-v").output().is_err() {
        skip(test, "tshark is not there");
        return;
    }
    let daemon = Way::Unix.setup().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nconsole = \"hello\"\n");
    let file = daemon.place().join("run.pcapng");
    let capture = daemon.begin(&["capture", "-w", file.to_str().unwrap()]);
    eventually("it has begun", || capture.err().contains("capturing into").then_some(()));
    daemon.ok(&["vm", "start", "web"]);
    let mut console = daemon.begin(&["vm", "console", "web", "--read-only", "--history", "1KiB"]);
    console.expect("hello");
    daemon.ok(&["vm", "stop", "web"]);
    assert_eq!(console.wait().code, 0);
    capture.signal(Signal::INT);
    assert_eq!(capture.wait().code, 0);
    let told = tshark(&daemon, &file, &["-Y", "vmwire", "-T", "fields", "-e", "_ws.col.Info"]);
    for sentence in ["HELLO: speaks 1.", "VM_START web", "CONSOLE_OPEN web", "VM_STOP web"] {
        assert!(told.contains(sentence), "{sentence}: {told}");
    }
    assert_eq!(tshark(&daemon, &file, &["-Y", "_ws.lua.error || _ws.malformed || tcp.analysis.flags"]), "");
    assert_eq!(tshark(&daemon, &file, &["-Y", "vmwire.unanswered || vmwire.expert.serial"]), "");
    let comments = tshark(&daemon, &file, &["-Y", "frame.comment", "-T", "fields", "-e", "frame.comment"]);
    assert_eq!(comments.matches(": uid 0 over unix").count(), 3, "{comments}");
}
