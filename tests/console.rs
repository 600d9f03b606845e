//! Consoles: history, several readers, one writer, and how it is taken over.

use std::process::Command;

use crate::harness::{Daemon, Running, Setup, Way, by_ways, vmwire};

by_ways!(by_unix_as_admin Unix: a_guest_that_says_a_lot_is_read_whole_by_whoever_reads_on);
by_ways!(by_tls_as_admin Tls: a_guest_that_says_a_lot_is_read_whole_by_whoever_reads_on);

fn start(test: &str) -> Daemon {
    let daemon = Setup::test().start();
    daemon.define(&format!("name = \"web\"\nmemory = \"64 MiB\"\n[test]\n{test}\n"));
    daemon.ok(&["vm", "start", "web"]);
    daemon
}

#[test]
fn what_is_typed_reaches_the_guest_and_what_it_says_every_reader() {
    let daemon = start("console = \"login: \"");
    let mut writer = daemon.begin(&["vm", "console", "web", "--history", "1KiB"]);
    writer.expect("login: ");
    let mut readers: Vec<_> =
        (0..2).map(|_| daemon.begin(&["vm", "console", "web", "--read-only", "--history", "1KiB"])).collect();
    for reader in &mut readers {
        reader.expect("login: ");
    }
    writer.write("root\n");
    writer.expect("root");
    for reader in &mut readers {
        reader.expect("root");
    }
    let shown = daemon.json(&["vm", "show", "web"]);
    assert_eq!((&shown["console"]["readers"], &shown["console"]["writer"]), (&3.into(), &"uid 0".into()), "{shown:#}");

    // A console ends with its guest.
    daemon.ok(&["vm", "stop", "web"]);
    for reader in readers {
        let ran = reader.wait();
        assert_eq!(ran.code, 0, "{ran:?}");
    }
}

#[test]
fn the_end_of_what_is_typed_is_not_the_end_of_what_is_read() {
    let daemon = start("console = \"hello\\n\"\nshutdown_ms = 50");
    let mut console = daemon.begin(&["vm", "console", "web", "--history", "1KiB"]);
    console.write("poweroff\n");
    let ran = console.end();
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(ran.out.starts_with("hello") && ran.out.contains("poweroff"), "{ran:?}");
    daemon.wait_for("web", "stopped");
}

#[test]
fn history_is_as_long_as_was_asked_for_and_a_late_reader_has_it_too() {
    let daemon = start("console = \"0123456789\"");
    for (asked, expected) in [("4", "6789"), ("64KiB", "0123456789")] {
        let mut reader = daemon.begin(&["vm", "console", "web", "--read-only", "--history", asked]);
        assert_eq!(reader.expect(expected), "", "{asked}");
    }
    // The history of a guest that has gone can be read as well.
    daemon.ok(&["vm", "stop", "web"]);
    let ran = daemon.vmwire(&["vm", "console", "web", "--read-only", "--history", "64KiB"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "0123456789"), "{ran:?}");
}

#[test]
fn a_second_writer_is_told_who_writes_and_may_take_over() {
    let daemon = start("");
    let mut first = daemon.begin(&["vm", "console", "web"]);
    first.write("first\n");
    first.expect("first");
    let told = daemon.vmwire(&["vm", "console", "web"]).fails(1);
    for part in ["uid 0", "--take-over", "--read-only"] {
        assert!(told.contains(part), "{told}");
    }
    let mut second = daemon.begin(&["vm", "console", "web", "--take-over"]);
    second.write("second\n");
    second.expect("second");
    let ran = first.wait();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("uid 0"), "it is told who took over: {ran:?}");
    second.write("third\n");
    second.expect("third");
    let writers = daemon.ok(&["event", "follow", "--since", "0", "--kind", "console-writer", "--count", "2"]);
    assert_eq!(writers.matches("console-writer: uid 0").count(), 2, "{writers}");
}

#[test]
fn a_reader_may_leave_when_it_likes() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nconsole_bytes = 10000000\n");
    daemon.ok(&["vm", "start", "--paused", "web"]);
    let readers = |count: u32| {
        crate::harness::eventually("so many read", || {
            (daemon.json(&["vm", "show", "web"])["console"]["readers"] == count).then_some(())
        });
    };
    let mut gone = daemon.begin(&["vm", "console", "web", "--read-only"]);
    // A reader whose own reader goes away ends quietly and well.
    let mut command = Command::new("sh");
    let line = "{ \"$0\" vm console web --read-only; echo \"ended with $?\" >&2; } | head -c 100000 | wc -c";
    command.args(["-c", line]).arg(vmwire().get_program()).env("VMWIRE_URI", daemon.uri());
    let piped = Running::start(command);
    readers(2);
    daemon.ok(&["vm", "resume", "web"]);
    gone.expect("abc");
    drop(gone);
    let ran = piped.end();
    // Whoever is slow is told what is lost.
    let quietly: Vec<&str> = ran.err.lines().filter(|line| !line.ends_with(" are lost here")).collect();
    assert_eq!((ran.out.trim(), &quietly[..]), ("100000", &["ended with 0"][..]), "{ran:?}");
    readers(0);
    daemon.ok(&["vm", "stop", "web"]);
}

fn a_guest_that_says_a_lot_is_read_whole_by_whoever_reads_on(way: Way) {
    // No more at once than a reader may have before it says that it has room for more, and a daemon keeps.
    const BYTES: usize = 150_016;
    let daemon = way.setup().start();
    daemon.define(&format!("name = \"web\"\nmemory = \"64 MiB\"\n[test]\nconsole_bytes = {BYTES}\n"));
    daemon.ok(&["vm", "start", "--paused", "web"]);
    let reader = daemon.begin_at(&daemon.uri_by(way), &["vm", "console", "web", "--read-only"]);
    crate::harness::eventually("it reads", || {
        (daemon.json(&["vm", "show", "web"])["console"]["readers"] == 1).then_some(())
    });
    for (said, verb) in ["resume", "reset", "reset", "reset", "reset", "reset"].into_iter().enumerate() {
        crate::harness::eventually("all is read", || (reader.out().len() >= said * BYTES).then_some(()));
        daemon.ok(&["vm", verb, "web"]);
    }
    crate::harness::eventually("all is said", || {
        (daemon.json(&["vm", "show", "web"])["console"]["offset"] == 6 * BYTES).then_some(())
    });
    daemon.ok(&["vm", "stop", "web"]);
    let out = reader.wait().ok();
    assert_eq!(out.len(), 6 * BYTES);
    let line = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_\n";
    assert!(out.as_bytes().chunks(64).all(|chunk| line.as_bytes().starts_with(chunk)), "something is out of place");
}

#[test]
fn a_machine_without_a_console_says_so() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\nconsole = false\n");
    daemon.ok(&["vm", "start", "web"]);
    let told = daemon.vmwire(&["vm", "console", "web"]).fails(1);
    assert!(told.contains("console"), "{told}");
}

#[test]
fn what_a_guest_says_to_a_terminal_passes_without_what_makes_the_terminal_answer() {
    let said = "\u{1b}[31mred\u{1b}[0m \u{1b}[6n\u{1b}]52;c;ZXZpbA==\u{7}\u{5}done";
    let daemon = start(r#"console = "\u001b[31mred\u001b[0m \u001b[6n\u001b]52;c;ZXZpbA==\u0007\u0005done""#);
    let read = ["vm", "console", "web", "--read-only", "--history", "1KiB"];

    let mut terminal = Command::new("script");
    let line = format!("{} {}", vmwire().get_program().to_str().unwrap(), read.join(" "));
    terminal.args(["-qefc", &line, "/dev/null"]).env("VMWIRE_URI", daemon.uri());
    let mut terminal = Running::start(terminal);
    terminal.expect("\u{1b}[31mred\u{1b}[0m done");
    terminal.write("\u{1d}");
    let seen = terminal.wait().out;
    assert!(!seen.contains("[6n") && !seen.contains("]52") && !seen.contains('\u{5}'), "{seen:?}");

    // In a file nothing acts, unless every byte is asked for.
    let mut file = daemon.begin(&read);
    file.expect(r"\u{1b}[31mred\u{1b}[0m \u{1b}[6n\u{1b}]52;c;ZXZpbA==\u{7}\u{5}done");
    let mut raw = daemon.begin(&[&read[..], &["--raw"]].concat());
    raw.expect(said);
}
