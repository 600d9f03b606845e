//! Who may do what: a socket for operators, and rules, used by another user of the host.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;

use crate::harness::{Daemon, Ran, Running, Setup, eventually, executable, skip, vmwire};

const NOBODY: u32 = 65534;

/// A daemon with its own socket and one more, of which `lines` say whose it is, in places where others can get.
fn daemon(lines: &str, rules: &str) -> Daemon {
    let setup = Setup::test();
    let own = setup.socket();
    let shared = setup.place.join("shared/s.sock");
    let (own, shared) = (own.display(), shared.display());
    let config = format!("[[listen]]\npath = \"{own}\"\n[[listen]]\npath = \"{shared}\"\n{lines}\n{rules}\n");
    std::fs::set_permissions(setup.place.path(), PermissionsExt::from_mode(0o711)).unwrap();
    // The program itself may lie where that user cannot go.
    executable(&setup.place.join("vmwire"), std::fs::read(vmwire().get_program()).unwrap());
    let daemon = setup.config(&config).start();
    eventually("it listens at the other socket too", || {
        std::os::unix::net::UnixStream::connect(daemon.place().join("shared/s.sock")).ok()
    });
    daemon
}

/// What the command line comes to for somebody else at the shared socket.
fn as_nobody(daemon: &Daemon, gid: u32, arguments: &[&str]) -> Ran {
    let uri = format!("test+unix:///default?socket={}", daemon.place().join("shared/s.sock").display());
    let mut command = std::process::Command::new(daemon.place().join("vmwire"));
    command.env_clear().uid(NOBODY).gid(gid).current_dir("/").args(["-c", &uri, "-o", "json"]).args(arguments);
    Running::start(command).end()
}

fn can_become_others(test: &str) -> bool {
    let can = rustix::process::geteuid().is_root();
    if !can {
        skip(test, "only root can become another user");
    }
    can
}

#[test]
fn members_of_the_group_are_operators_at_their_socket_and_others_cannot_connect() {
    if !can_become_others("members_of_the_group_are_operators_at_their_socket_and_others_cannot_connect") {
        return;
    }
    let daemon = daemon("mode = \"0660\"\ngroup = \"daemon\"\nrole = \"operator\"", "");
    let socket = std::fs::symlink_metadata(daemon.place().join("shared/s.sock")).unwrap();
    assert_eq!((socket.permissions().mode() & 0o777, socket.gid()), (0o660, 1));
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");

    let info = as_nobody(&daemon, 1, &["connection", "list"]).json();
    assert_eq!((&info[0]["identity"], &info[0]["role"]), (&"uid 65534".into(), &"operator".into()), "{info}");
    as_nobody(&daemon, 1, &["vm", "start", "web"]).ok();
    assert_eq!(daemon.state("web"), "running");
    let refused = as_nobody(&daemon, 1, &["vm", "undefine", "web"]).none_done(4);
    assert_eq!(refused["code"], "DENIED");
    assert_eq!(refused["message"], "vm-undefine needs the role admin; yours is operator");
    as_nobody(&daemon, 1, &["connection", "kick", "1"]).error(4);

    assert_ne!(as_nobody(&daemon, NOBODY, &["vm", "list"]).code, 0, "who is not of the group");
    daemon.ok(&["vm", "stop", "web"]);
    daemon.ok(&["vm", "undefine", "web"]);
}

#[test]
fn what_a_rule_gives_by_label_is_given_to_the_machines_that_have_it() {
    if !can_become_others("what_a_rule_gives_by_label_is_given_to_the_machines_that_have_it") {
        return;
    }
    let rule = "[[rule]]\nidentity = \"user:nobody\"\nrole = \"operator\"\nlabels = [\"lab\"]";
    let daemon = daemon("mode = \"0666\"", rule);
    daemon.define("name = \"web\"\nlabels = [\"prod\"]\nmemory = \"64 MiB\"\n");
    daemon.define("name = \"toy\"\nlabels = [\"lab\", \"small\"]\nmemory = \"64 MiB\"\n");
    let rows = daemon.json(&["vm", "list", "--fields", "name,labels", "--filter", "labels~la*"]);
    assert_eq!(rows, serde_json::json!([{"name": "toy", "labels": ["lab", "small"]}]));
    let rows = as_nobody(&daemon, NOBODY, &["vm", "list"]).json();
    let names: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["toy"]);
    as_nobody(&daemon, NOBODY, &["vm", "start", "toy"]).ok();
    let invisible = as_nobody(&daemon, NOBODY, &["vm", "start", "web"]).none_done(5);
    let absent = as_nobody(&daemon, NOBODY, &["vm", "start", "wee"]).none_done(5);
    assert_eq!(invisible.to_string().replace("web", "wee"), absent.to_string());
    // At the other socket nobody is asked for rules who could do everything anyway.
    daemon.ok(&["vm", "start", "web"]);

    let file = daemon.place().write("toy.toml", "name = \"toy\"\nmemory = \"64 MiB\"\n");
    daemon.ok(&["vm", "stop", "toy"]);
    daemon.ok(&["vm", "define", "--replace", &file]);
    as_nobody(&daemon, NOBODY, &["vm", "start", "toy"]).none_done(5);
}

#[test]
fn whom_no_rule_names_is_told_at_the_door_what_could_be_done() {
    if !can_become_others("whom_no_rule_names_is_told_at_the_door_what_could_be_done") {
        return;
    }
    let daemon = daemon("mode = \"0666\"", "[[rule]]\nidentity = \"uid:4711\"\nrole = \"admin\"");
    let refused = as_nobody(&daemon, NOBODY, &["vm", "list"]).error(4);
    assert!(refused["message"].as_str().unwrap().starts_with("user 65534 may not connect here"), "{refused}");
    assert!(refused["hint"].as_str().unwrap().contains("\"uid:65534\""), "{refused}");
}
