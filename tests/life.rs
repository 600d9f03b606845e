//! The life of a virtual machine as one sees it from the command line.

use serde_json::{Value, json};

use crate::harness::Setup;

const UUID: &str = "6f1d5f5c-6f0b-4a3e-9d3c-2f6f3b1d8a11";

/// With what an editor leaves behind, so that it shows if anybody tidies it up.
const WEB: &str = "# the web server\r\nname   = 'web'\nuuid = \"6f1d5f5c-6f0b-4a3e-9d3c-2f6f3b1d8a11\"\n\
                   title = \"größer als \\u202etor\"\nmemory=\"1 GiB\"\n\n[cpu]\ncount = 2\n\
                   [[disk]]\npath = \"/srv/web.qcow2\"\nformat = \"qcow2\"\nreadonly = true\n\
                   [[nic]]\nnetwork = \"user\"\noutbound = false\nforward = [\"8080:80\", \"0.0.0.0:53:53/udp\"]\n# end";

#[test]
fn a_virtual_machine_lives_from_define_to_undefine() {
    let daemon = Setup::test().start();
    let file = daemon.place().write("web.toml", WEB);
    assert_eq!(daemon.ok(&["vm", "define", &file]), "web  defined  operation 1\n");

    let state = |state: &str, reason: &str| {
        let shown = daemon.json(&["vm", "show", "web"]);
        assert_eq!((shown["state"].as_str(), shown["reason"].as_str()), (Some(state), Some(reason)), "{shown:#}");
        let listed = daemon.json(&["vm", "list"]);
        assert_eq!(listed[0]["state"], state);
    };
    state("stopped", "unknown");
    let steps: &[(&[&str], &str, &str, &str)] = &[
        (&["vm", "start", "web"], "running", "running", "requested"),
        (&["vm", "pause", "web"], "paused", "paused", "requested"),
        (&["vm", "resume", "web"], "running", "running", "requested"),
        (&["vm", "reset", "web"], "running", "running", "requested"),
        (&["vm", "reboot", "web"], "running", "running", "requested"),
        (&["vm", "shutdown", "web"], "stopped", "stopped", "guest"),
        (&["vm", "start", "--paused", UUID], "paused", "paused", "requested"),
        (&["vm", "stop", "web"], "stopped", "stopped", "requested"),
    ];
    for (index, (command, answered, then, reason)) in steps.iter().enumerate() {
        let done = daemon.json(command);
        let vm = *command.last().unwrap();
        assert_eq!(done, json!([{"vm": vm, "state": answered, "operation": index + 2}]), "{command:?}");
        state(then, reason);
    }
    assert_eq!(daemon.ok(&["vm", "undefine", "web"]), "VM   STATE    OPERATION\nweb  stopped         10\n");
    assert_eq!(daemon.json(&["vm", "list"]), json!([]));
    assert_eq!(daemon.ok(&["vm", "list"]), "NAME  STATE  SINCE  CPUS  MEMORY  TITLE\n");
}

#[test]
fn a_definition_comes_back_byte_for_byte() {
    let daemon = Setup::test().start();
    let file = daemon.place().write("web.toml", WEB);
    daemon.ok(&["vm", "define", &file]);
    assert_eq!(daemon.ok(&["vm", "definition", "web"]), WEB);
    assert_eq!(daemon.ok(&["vm", "definition", UUID]), WEB);
    assert_eq!(daemon.json(&["vm", "definition", "web"]), json!({"definition": WEB}));

    let mut piped = daemon.begin(&["vm", "define", "--replace", "-"]);
    piped.write(&WEB.replace("1 GiB", "2 GiB"));
    assert_eq!(piped.end().ok(), "web  defined  operation 2\n");
    assert_eq!(daemon.json(&["vm", "show", "web"])["memory_bytes"], 2_u64 << 30);
}

#[test]
fn what_is_shown_is_what_was_defined() {
    let daemon = Setup::test().start();
    let file = daemon.place().write("web.toml", WEB);
    daemon.ok(&["vm", "define", &file]);
    let shown = daemon.json(&["vm", "show", UUID]);
    let expected = json!({
        "name": "web", "uuid": UUID, "title": "größer als \u{202e}tor", "memory_bytes": 1_u64 << 30, "cpus": 2,
        "machine": "q35", "autostart": false, "channels": [], "pid": null, "accelerator": null, "operation": null,
        "disks": [{"path": "/srv/web.qcow2", "format": "qcow2", "bus": "virtio", "readonly": true}],
        "nics": [{"outbound": false, "forwards": ["127.0.0.1:8080:80/tcp", "0.0.0.0:53:53/udp"]}],
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&shown[key], value, "{key}");
    }
    let table = daemon.ok(&["vm", "show", "web"]);
    assert!(table.contains("größer als \\u{202e}tor") && !table.contains('\u{202e}'), "{table}");
    assert!(table.contains("/srv/web.qcow2 (qcow2, virtio, read-only)"), "{table}");
}

#[test]
fn a_list_has_the_fields_and_the_machines_that_were_asked_for() {
    let daemon = Setup::test().start();
    for (name, memory) in [("web-2", "64 MiB"), ("db", "2 GiB"), ("web-1", "128 MiB")] {
        daemon.define(&format!("name = \"{name}\"\nmemory = \"{memory}\"\n"));
    }
    daemon.ok(&["vm", "start", "db", "web-1"]);
    let names = |arguments: &[&str]| -> Vec<String> {
        let list = daemon.json(&[&["vm", "list"], arguments].concat());
        list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["db", "web-1", "web-2"], "in the order of their names");
    assert_eq!(names(&["--filter", "name~web*"]), ["web-1", "web-2"]);
    assert_eq!(names(&["--filter", "state=running", "--filter", "memory<=1GiB"]), ["web-1"]);
    assert_eq!(names(&["--filter", "state!=running"]), ["web-2"]);
    let table = daemon.ok(&["--no-header", "vm", "list", "--fields", "memory,name", "--filter", "memory>=128MiB"]);
    assert_eq!(table, "  2 GiB  db\n128 MiB  web-1\n");
    let error = daemon.vmwire(&["vm", "list", "--fields", "nmae"]).fails(2);
    assert!(error.contains("nmae") && error.contains("name"), "{error}");
}

#[test]
fn a_second_of_the_same_name_or_uuid_is_refused_and_changes_nothing() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    let file = daemon.place().write("again.toml", "name = \"web\"\nmemory = \"128 MiB\"\n");
    let error = daemon.vmwire(&["-o", "json", "vm", "define", &file]).none_done(1);
    assert_eq!((&error["code"], &error["object"]), (&json!("EXISTS"), &json!({"kind": "vm", "name": "web"})));
    assert_eq!(daemon.json(&["vm", "show", "web"])["memory_bytes"], 64 << 20);

    daemon.ok(&["vm", "start", "web"]);
    let error = daemon.vmwire(&["-o", "json", "vm", "define", "--replace", &file]).none_done(1);
    assert_eq!(error["hint"], "stop it first");
    daemon.ok(&["vm", "stop", "web"]);
    daemon.ok(&["vm", "define", "--replace", &file]);
    assert_eq!(daemon.json(&["vm", "show", "web"])["memory_bytes"], 128 << 20);
}

#[test]
fn a_fault_in_a_definition_is_told_with_its_place_and_the_nearest_key() {
    let daemon = Setup::test().start();
    let file = daemon.place().write("bad.toml", "name = \"web\"\nmemmory = \"64 MiB\"\n");
    let told = daemon.vmwire(&["vm", "define", &file]).fails(1);
    for part in ["line 2", "column 1", "memmory", "memory"] {
        assert!(told.contains(part), "{part} is missing: {told}");
    }
    let error = daemon.vmwire(&["-o", "json", "vm", "define", &file]).none_done(1);
    assert_eq!((error["code"].as_str(), error["details"]["line"].as_str()), (Some("INVALID"), Some("2")), "{error}");
    assert_eq!(daemon.json(&["vm", "list"]), json!([]));
}

#[test]
fn host_and_daemon_tell_who_they_are() {
    let daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    daemon.ok(&["vm", "start", "web"]);
    let host = daemon.json(&["host", "info"]);
    assert_eq!((&host["driver"], &host["vms_defined"], &host["vms_running"]), (&json!("test"), &json!(1), &json!(1)));
    assert!(host["memory_bytes"].as_u64().unwrap() > 1 << 28 && host["cpus"].as_u64().unwrap() > 0, "{host}");
    let info = daemon.json(&["daemon", "info"]);
    assert_eq!(info["pid"], daemon.pid());
    assert_eq!(info["sockets"], json!([daemon.socket()]));
    let versions = daemon.json(&["version"]);
    assert_eq!(versions["daemon"]["protocol_agreed"], "1.2");
    assert_eq!(versions["client"]["protocol"], "1.2");
    let pinged = daemon.json(&["ping", "-n", "3"]);
    assert_eq!(pinged["rtts_ns"].as_array().unwrap().len(), 3);
    let capabilities: Value = daemon.json(&["host", "capabilities"]);
    assert!(!capabilities["accelerators"].as_array().unwrap().is_empty(), "{capabilities}");
}
