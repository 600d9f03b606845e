//! Contexts: a person names daemons, and says by which name the next commands go.

use std::process::Command;

use serde_json::json;

use crate::harness::{Daemon, Place, Ran, Running, Setup, vmwire};

/// Somebody with files of their own.
struct Person(Place);

impl Person {
    fn new() -> Self {
        Self(Place::new())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = vmwire();
        command.env("XDG_CONFIG_HOME", self.0.path()).args(words);
        command
    }

    fn vmwire(&self, words: &[&str]) -> Ran {
        Running::start(self.command(words)).end()
    }

    /// The same, with `VMWIRE_URI`.
    fn with(&self, uri: &str, words: &[&str]) -> Ran {
        let mut command = self.command(words);
        command.env("VMWIRE_URI", uri);
        Running::start(command).end()
    }

    fn write(&self, text: &str) {
        std::fs::create_dir_all(self.0.join("vmwire")).unwrap();
        self.0.write("vmwire/contexts.toml", text);
    }

    fn file(&self) -> String {
        self.0.join("vmwire/contexts.toml").to_str().unwrap().to_owned()
    }
}

/// What is usual for whoever runs the stories.
fn usual() -> (&'static str, &'static str) {
    if rustix::process::geteuid().is_root() {
        ("qemu:///system", "as is usual for root")
    } else {
        ("qemu:///session", "as is usual for users other than root")
    }
}

fn daemon() -> Daemon {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    daemon
}

#[test]
fn a_daemon_is_named_and_used_and_forgotten() {
    let (daemon, person) = (daemon(), Person::new());
    let uri = daemon.uri();
    person.vmwire(&["context", "add", "home", &uri]).ok();
    person.vmwire(&["context", "add", "far", "qemu+tls://VM1.example.org:16515/system", "--group", "prod"]).ok();
    let listed = person.vmwire(&["-c", "home", "-o", "json", "vm", "list", "--fields", "name"]).json();
    assert_eq!(listed, json!([{"name": "web"}]));
    assert_eq!(person.with("home", &["vm", "list", "--fields", "name", "--no-header"]).ok(), "web\n");
    person.vmwire(&["context", "use", "home"]).ok();
    assert_eq!(person.vmwire(&["vm", "list", "--fields", "name", "--no-header"]).ok(), "web\n");

    // As -c takes it, and as it is shown everywhere.
    let canonical = format!("test+unix:///default?socket={}", daemon.socket().display());
    let table = person.vmwire(&["context", "list"]).ok();
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split("  ").filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(lines[0].iter().map(|cell| cell.trim()).collect::<Vec<_>>(), ["NAME", "URI", "GROUPS", "COUNTS"]);
    assert!(table.contains(&canonical) && table.contains("yes, it is the current context"), "{table}");
    let rows = person.vmwire(&["-o", "json", "context", "list"]).json();
    let far = "qemu+tls://vm1.example.org/system";
    assert_eq!(
        rows,
        json!([
            {"name": "home", "uri": canonical, "groups": [], "current": true, "counts": true},
            {"name": "far", "uri": far, "groups": ["prod"], "current": false, "counts": false},
        ])
    );

    // What stands above the current one says so.
    let table = person.with("far", &["context", "list"]).ok();
    assert!(table.contains("no, VMWIRE_URI stands above the current one"), "{table}");
    assert!(table.contains("yes, VMWIRE_URI says so"), "{table}");
    let told = person.with("qemu:///session", &["context", "list"]);
    assert_eq!(told.err, "vmwire: no context counts, but qemu:///session, VMWIRE_URI says so\n");
    let told = person.with("qemu:///session", &["context", "use", "far"]);
    assert_eq!(told.err, "vmwire: VMWIRE_URI is set to qemu:///session and stands above far: unset it\n");

    let told = person.vmwire(&["context", "remove", "far"]);
    let (usual, words) = usual();
    assert_eq!((told.code, told.out.as_str()), (0, ""));
    assert_eq!(told.err, format!("vmwire: the current context is gone: {usual} counts now, {words}\n"));
    person.vmwire(&["context", "remove", "home"]).ok();
    assert_eq!(std::fs::read_to_string(person.file()).unwrap(), "");
}

#[test]
fn what_would_be_connected_to_is_shown_with_what_says_so() {
    let person = Person::new();
    let (usual, _) = usual();
    let show = |ran: Ran| {
        let shown = ran.json();
        assert_eq!(shown["file"], person.file());
        (shown["uri"].clone(), shown["context"].clone(), shown["origin"].clone())
    };
    let words = ["-o", "json", "context", "show"];
    assert_eq!(show(person.vmwire(&words)), (json!(usual), json!(null), json!("default")));
    person.vmwire(&["context", "add", "here", "qemu:///session", "--group", "a", "--group", "b"]).ok();
    person.vmwire(&["context", "use", "here"]).ok();
    assert_eq!(show(person.vmwire(&words)), (json!("qemu:///session"), json!("here"), json!("current")));
    let shown = person.with("test:///default", &words);
    assert_eq!(show(shown), (json!("test:///default"), json!(null), json!("variable")));
    let shown = person.with("test:///default", &[&["-c", "here"], &words[..]].concat());
    assert_eq!(show(shown), (json!("qemu:///session"), json!("here"), json!("option")));
    let told = person.vmwire(&["context", "show"]).ok();
    assert!(told.contains("groups       a b\nbecause      it is the current context\n"), "{told}");
    person.vmwire(&["context", "use", "--none"]).ok();
    assert_eq!(show(person.vmwire(&words)), (json!(usual), json!(null), json!("default")));
}

#[test]
fn what_is_wrong_is_told_in_words_and_with_a_way_out() {
    let person = Person::new();
    person.vmwire(&["context", "add", "web", "qemu:///session", "--group", "prod"]).ok();
    let list = "did you mean web? All there are: vmwire context list";
    let table: [(&[&str], i32, String, &str); 11] = [
        (&["-c", "wbe", "ping"], 2, "-c: there is no context \"wbe\"".into(), list),
        (&["-H", "wbe", "ping"], 2, "-H: there is no context and no group \"wbe\"".into(), list),
        (
            &["-H", "web,prod", "ping"],
            2,
            "-H: the host \"web\" is named twice".into(),
            "name it once; a group names all who are in it",
        ),
        (
            &["-H", "web,qemu:///session", "ping"],
            2,
            "-H: the hosts \"web\" and \"qemu:///session\" are one daemon: qemu:///session".into(),
            "leave one of the two out: what is asked for would be done there twice",
        ),
        (
            &["-H", "web,", "ping"],
            2,
            "-H: an empty name among the hosts \"web,\"".into(),
            "write contexts, groups or URIs with commas between them, as in -H web1,web2; a comma in a URI is %2C",
        ),
        (&["context", "use", "wbe"], 5, "there is no context \"wbe\"".into(), list),
        (&["context", "remove", "wbe"], 5, "there is no context \"wbe\"".into(), list),
        (
            &["context", "add", "web", "qemu:///system"],
            1,
            "there is a context \"web\" already, for qemu:///session".into(),
            "another name, or --replace to put the new one in its place; vmwire context use web uses it",
        ),
        (
            &["context", "add", "a/b", "qemu:///system"],
            2,
            "\"a/b\" cannot be a name".into(),
            "a name has 1 to 64 letters, digits and . _ -, and begins with a letter or digit",
        ),
        (
            &["context", "add", "prod", "qemu:///system"],
            2,
            "\"prod\" would be a context and a group".into(),
            "-H takes both, so that it would not be clear who is meant: another name",
        ),
        (
            &["context", "add", "new", "qemu:///elsewhere"],
            2,
            "qemu has no daemon \"/elsewhere\"".into(),
            "end it in /system or /session, as in qemu:///system or qemu+ssh://USER@HOST/system",
        ),
    ];
    for (words, code, message, hint) in table {
        let told = person.vmwire(words).fails(code);
        assert_eq!(told, format!("vmwire: {message}\n  hint: {hint}\n"), "{words:?}");
    }
    let told = person.with("wbe", &["ping"]).fails(2);
    assert_eq!(told, format!("vmwire: VMWIRE_URI: there is no context \"wbe\"\n  hint: {list}\n"));
    let told = Person::new().vmwire(&["-c", "wbe", "ping"]).fails(2);
    let none = "there are no contexts yet; make one: vmwire context add NAME qemu+ssh://USER@HOST/system";
    assert_eq!(told, format!("vmwire: -c: there is no context \"wbe\"\n  hint: {none}\n"));
}

#[test]
fn a_file_that_is_not_understood_is_told_with_its_line_and_is_in_nobodys_way_who_names_a_daemon() {
    let (daemon, person) = (daemon(), Person::new());
    person.write("current = \"a\"\n\n[[context]]\nname = \"a\"\nurl = \"qemu:///session\"\n");
    let file = person.file();
    let told = person.vmwire(&["vm", "list"]).fails(2);
    assert_eq!(
        told,
        format!(
            "vmwire: file {file}: line 5, column 1: there is no key \"context.url\"\n  hint: there are name, uri, groups\n"
        )
    );
    let error = person.vmwire(&["-o", "json", "-c", "a", "vm", "list"]).error(2);
    assert_eq!(error["object"], json!({"kind": "file", "name": file}));
    assert_eq!((&error["details"]["line"], &error["details"]["column"]), (&json!("5"), &json!("1")));
    person.vmwire(&["-c", &daemon.uri(), "ping"]).ok();
    person.with(&daemon.uri(), &["ping"]).ok();

    // A pipe in its place, whose other end nobody holds.
    std::fs::remove_file(&file).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let told = person.vmwire(&["context", "list"]).fails(1);
    assert_eq!(told, format!("vmwire: cannot read {file}\n  cause: not a regular file\n"));
}

#[test]
fn nobodys_home_is_told_where_it_is_needed() {
    let run = |words: &[&str]| {
        let mut command = vmwire();
        command.env_remove("HOME").args(words);
        Running::start(command).end()
    };
    let words =
        "vmwire: it is not known where contexts are kept: neither XDG_CONFIG_HOME nor HOME is set\n  hint: set HOME\n";
    assert_eq!(run(&["context", "add", "a", "qemu:///system"]).fails(1), words);
    let told = run(&["-c", "test+unix:///default?socket=/nonexistent", "ping"]).fails(3);
    assert!(told.starts_with("vmwire: cannot connect to /nonexistent\n"), "{told}");
}

#[test]
fn names_are_offered_where_they_may_stand() {
    let (daemon, person) = (daemon(), Person::new());
    person.vmwire(&["context", "add", "home", &daemon.uri(), "--group", "prod"]).ok();
    let offered = |words: &[&str]| {
        let out = person.vmwire(&[&["complete", "--", "vmwire"], words].concat()).ok();
        out.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(offered(&["-c", "h"]), ["home"]);
    assert_eq!(offered(&["-H", "home,p"]), ["home,prod"]);
    assert_eq!(offered(&["context", "remove", ""]), ["home"]);
    // And the machines of the daemon that is meant by such a name.
    assert_eq!(offered(&["-c", "home", "vm", "start", "w"]), ["web"]);
    assert_eq!(offered(&["-H", "prod", "vm", "start", "w"]), ["web"]);
}
