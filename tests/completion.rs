//! What a person gets who presses the tabulator: a real bash, with its own way to split words.

use std::process::Command;

use crate::harness::{Daemon, Running, Setup, eventually, vmwire};

/// A bash in which `vmwire` is the program, and which has nothing of the person's own.
fn bash(daemon: &Daemon) -> Running {
    let bin = daemon.place().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(vmwire().get_program(), bin.join("vmwire")).unwrap();
    let mut command = Command::new("bash");
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", bin.display())).env("VMWIRE_URI", daemon.uri()).env("HOME", &bin);
    command.env_remove("INPUTRC").env("TERM", "dumb").current_dir(daemon.place().path());
    command.args(["--norc", "--noprofile", "-i"]);
    Running::start(command)
}

/// Lines of which the last word is begun, and what becomes of them.
const LINES: [(&str, &str); 13] = [
    ("vm sta", "vm start"),
    ("vm start we", "vm start web"),
    ("vm start d we", "vm start d web"),
    ("agent ping we", "agent ping web"),
    ("vm wait web --for st", "vm wait web --for state="),
    ("vm wait web --for state=ru", "vm wait web --for state=running"),
    ("vm wait web --for=state=running,pa", "vm wait web --for=state=running,paused"),
    ("vm wait --for state=running we", "vm wait --for state=running web"),
    ("vm list --filter 'state=ru", "vm list --filter state=running"),
    ("vm list --fields name,ti", "vm list --fields name,title"),
    ("event follow --kind vm-s", "event follow --kind vm-state"),
    ("-c test+unix:///default?socket=/none vm start we", "-c test+unix:///default?socket=/none vm start we"),
    ("vm define ./defin", "vm define ./definition.toml"),
];

#[test]
fn bash_completes_verbs_options_values_names_and_files() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    let mut bash = bash(&daemon);
    // In place of the program itself, which the script still finds, stands what shows how it is called.
    bash.write("source <(command vmwire completion bash)\nvmwire() { echo \"ran: $*\"; }\n");
    for (begun, whole) in LINES {
        // The daemon has a third of a second to say names; where that is not enough, a person presses the key once more.
        eventually(&format!("{whole:?} is made of {begun:?}"), || {
            bash.write(&format!("vmwire {begun}\t\n"));
            bash.expect("ran: ");
            let made = bash.expect("\n");
            assert!(made == whole || made == begun.replace('\'', ""), "{made:?} is made of {begun:?}");
            (made == whole).then_some(())
        });
    }
    let ran = bash.end();
    assert_eq!(ran.code, 0, "{ran:?}");
}
