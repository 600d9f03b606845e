//! The requests that both agents are asked, in order, each with a label by which a difference is listed.

use serde_json::{Value, json};

mod sleep;

/// A request.
pub(crate) struct Step {
    pub(crate) label: String,
    /// What is sent. `"$pid"` in it is the number of the program that was started last.
    pub(crate) bytes: Vec<u8>,
    /// It is repeated until the program has ended.
    pub(crate) until_exited: bool,
}

/// Bytes that are no request, or a strange one.
const DIALECT: &[&[u8]] = &[
    br#"{"execute":"guest-ping"}"#,
    br#"{"execute":"guest-ping","id":1.5}"#,
    br#"{"execute":"guest-ping","id":1e5}"#,
    br#"{"execute":"guest-ping","id":1.0}"#,
    br#"{"execute":"guest-ping","id":0.1}"#,
    br#"{"execute":"guest-ping","id":1e999}"#,
    br#"{"execute":"guest-ping","id":18446744073709551615}"#,
    br#"{"execute":"guest-ping","id":18446744073709551616}"#,
    br#"{"execute":"guest-ping","id":-9223372036854775809}"#,
    br#"{"execute":"guest-ping","id":-0}"#,
    br#"{"execute":"guest-ping","id":-0.0}"#,
    br#"{"execute":"guest-ping","id":null}"#,
    br#"{"execute":"guest-ping","id":{"z":1,"a":[1,2,{}],"b":[]}}"#,
    br#"{"execute":"guest-ping","id":"a\u0000b\u007f\u00e9\u20ac\ud83d\ude00/\b\f\n\r\t\"\\'"}"#,
    br#"{'execute':'guest-ping','id':'a"\'b'}"#,
    br#"{"execute":"guest-ping","id":"\ud800"}"#,
    br#"{"execute":"guest-ping","id":"\udc00"}"#,
    br#"{"execute":"guest-ping","id":"\uD800\u0041"}"#,
    br#"{"execute":"guest-ping","id":"\x"}"#,
    br#"{"execute":"guest-ping","id":"\u12G4"}"#,
    br#"{"execute":"guest-ping","id":"\uFFFE"}"#,
    br#"{"execute":"guest-ping","id":"\uFDD0"}"#,
    b"{\"execute\":\"guest-ping\",\"id\":\"\xc0\x80\"}",
    b"{\"execute\":\"guest-ping\",\"id\":\"\xed\xa0\x80\"}",
    b"{\"execute\":\"guest-ping\",\"id\":\"\x80\"}",
    b"{\"execute\":\"guest-ping\",\"id\":\"\xef\xbf\xbe\"}",
    b"{\"execute\":\"guest-ping\",\"id\":\"\xf4\x90\x80\x80\"}",
    b"{\"execute\":\"guest-ping\",\"id\":\"\xc3\xa9\"}",
    b"{\"execute\":\"guest-ping\",\"id\":\"\x7f\"}",
    b"{\"execute\":\"guest-ping\",\"id\":\"a\tb\"}",
    b"{\"execute\":\"guest-ping\",\"id\":\"a\nb\"}",
    br#"{"execute":"guest-ping","execute":"guest-ping"}"#,
    br#"{"execute":"guest-ping",}"#,
    br#"{"execute":"guest-ping","id":[1,]}"#,
    br#"{"execute":"guest-ping","id":01}"#,
    br#"{"execute":"guest-ping","id":1.}"#,
    br#"{"execute":"guest-ping","id":.5}"#,
    br#"{"execute":"guest-ping","id":+5}"#,
    br#"{"execute":"guest-ping","id":-}"#,
    br#"{"execute":"guest-ping","id":1e}"#,
    br#"{"execute":"guest-ping","id":nul}"#,
    br#"{"execute":"guest-ping","id":True}"#,
    br#"{"execute":"guest-ping","id":%d}"#,
    br#"{"execute" "guest-ping"}"#,
    br#"{"execute":}"#,
    br#"{"execute"}"#,
    b"{:1}",
    b"{1:2}",
    b"{,}",
    br#"{"a":1 "b":2}"#,
    b"[1 2]",
    b"[1,,2]",
    b"[]",
    b"[1]",
    b"5",
    b"5 ",
    br#""abc""#,
    b"true",
    b"nonsense",
    b"null ",
    b"-1.5e3 ",
    b"]",
    b"}",
    b":",
    b",",
    b"{]",
    b"[}",
    br#"{"a":]"#,
    b"[1}",
    br#"{"a":[}"#,
    br#"{"execute":"guest-ping"]}"#,
    b"garbage here",
    b"hello, world",
    b"@#$",
    br#"@ {"execute":"guest-ping"}"#,
    br#"{"execute":"guest-ping"}{"execute":"guest-ping","id":2}"#,
    br#"{"execute":"guest-ping""#,
    br#"{"execute":"guest-ping"#,
    br#"{"a":1}"#,
    b"{}",
    br#"{"execute":5}"#,
    br#"{"execute":null}"#,
    br#"{"execute":"nope"}"#,
    br#"{"execute":"nope","id":3}"#,
    br#"{"execute":""}"#,
    br#"{"execute":"guest-ping","arguments":[]}"#,
    br#"{"execute":"guest-ping","arguments":null}"#,
    br#"{"execute":"guest-ping","foo":1,"id":7}"#,
    br#"{"exec-oob":"guest-ping","id":7}"#,
    br#"{"id":7}"#,
    br#"{"arguments":{}}"#,
    br#"{"execute":"guest-sync","arguments":{"id":9223372036854775808}}"#,
    br#"{"execute":"guest-sync","arguments":{"id":-9223372036854775808}}"#,
    br#"{"execute":"guest-sync","arguments":{"id":1e2}}"#,
    br#"{"execute":"guest-sync-delimited","arguments":{"id":5},"id":8}"#,
    b"{\"execute\":\"guest-ping\"}\x00",
    b"\x01",
    b"\xfe",
    b"\xff\xff",
    b"{\"execute\xff{\"execute\":\"guest-ping\"}",
    b"\r\n\t {\"execute\":\"guest-ping\"}\r\n",
    b"\x04{\"execute\":\"guest-ping\"}",
    b"\xc3\xa9 {\"execute\":\"guest-ping\"}",
];

/// Every command with arguments that would do, but for what is wrong with them each time.
fn signatures() -> Vec<(&'static str, Vec<(&'static str, Value)>)> {
    let handle = || ("handle", json!(99));
    let keys = || vec![("username", json!("nobody-here")), ("keys", json!(["ssh-x y"]))];
    let vcpu = json!([{"logical-id": 77, "online": true}]);
    let block = json!([{"phys-index": 7777, "online": true}]);
    let password = vec![("username", json!("nobody-here")), ("password", json!("eA==")), ("crypted", json!(false))];
    let mut all = vec![
        ("guest-sync", vec![("id", json!(1))]),
        ("guest-sync-delimited", vec![("id", json!(1))]),
        ("guest-set-time", vec![("time", json!(1))]),
        ("guest-shutdown", vec![("mode", json!("wrong"))]),
        ("guest-file-open", vec![("path", json!("/nonexistent/x")), ("mode", json!("r"))]),
        ("guest-file-close", vec![handle()]),
        ("guest-file-read", vec![handle(), ("count", json!(1))]),
        ("guest-file-write", vec![handle(), ("buf-b64", json!("eA==")), ("count", json!(1))]),
        ("guest-file-seek", vec![handle(), ("offset", json!(0)), ("whence", json!(0))]),
        ("guest-file-flush", vec![handle()]),
        ("guest-fsfreeze-freeze-list", vec![("mountpoints", json!([]))]),
        ("guest-fstrim", vec![("minimum", json!(0))]),
        ("guest-set-vcpus", vec![("vcpus", vcpu)]),
        ("guest-set-user-password", password),
        ("guest-set-memory-blocks", vec![("mem-blks", block)]),
        ("guest-exec-status", vec![("pid", json!(1))]),
        (
            "guest-exec",
            vec![
                ("path", json!("/nonexistent/x")),
                ("arg", json!([])),
                ("env", json!([])),
                ("input-data", json!("eA==")),
                ("capture-output", json!(true)),
            ],
        ),
        ("guest-ssh-get-authorized-keys", vec![("username", json!("nobody-here"))]),
        ("guest-ssh-add-authorized-keys", [keys(), vec![("reset", json!(false))]].concat()),
        ("guest-ssh-remove-authorized-keys", keys()),
    ];
    let bare = [
        "guest-ping",
        "guest-info",
        "guest-get-time",
        "guest-fsfreeze-status",
        "guest-fsfreeze-freeze",
        "guest-fsfreeze-thaw",
        "guest-suspend-disk",
        "guest-suspend-ram",
        "guest-suspend-hybrid",
        "guest-network-get-interfaces",
        "guest-get-vcpus",
        "guest-get-disks",
        "guest-get-fsinfo",
        "guest-get-memory-blocks",
        "guest-get-memory-block-info",
        "guest-get-host-name",
        "guest-get-users",
        "guest-get-timezone",
        "guest-get-osinfo",
        "guest-get-diskstats",
        "guest-get-cpustats",
    ];
    all.extend(bare.map(|name| (name, Vec::new())));
    all
}

/// Whether two values are of one type where arguments are concerned.
fn alike(one: &Value, other: &Value) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other) && one.is_i64() == other.is_i64()
}

struct Script(Vec<Step>);

impl Script {
    fn raw(&mut self, label: String, bytes: &[u8]) {
        self.0.push(Step { label, bytes: bytes.to_vec(), until_exited: false });
    }

    fn ask(&mut self, label: &str, command: &str, arguments: &Value) {
        let request = json!({"execute": command, "arguments": arguments, "id": label});
        self.raw(label.to_owned(), request.to_string().as_bytes());
    }

    /// Runs a program and tells everything of it.
    fn exec(&mut self, label: &str, arguments: &Value) {
        self.ask(&format!("{label} begins"), "guest-exec", arguments);
        self.ask(&format!("{label} ends"), "guest-exec-status", &json!({"pid": "$pid"}));
        if let Some(step) = self.0.last_mut() {
            step.until_exited = true;
        }
        self.ask(&format!("{label} is told once"), "guest-exec-status", &json!({"pid": "$pid"}));
    }

    /// What a command of the guest's shell says.
    fn shell(&mut self, label: &str, command: &str) {
        self.exec(label, &json!({"path": "sh", "arg": ["-c", command], "capture-output": true}));
    }
}

/// The whole script.
pub(crate) fn steps() -> Vec<Step> {
    let mut script = Script(Vec::new());
    for bytes in DIALECT {
        script.raw(format!("dialect {}", bytes.escape_ascii()), bytes);
    }
    arguments(&mut script);
    reading(&mut script);
    files(&mut script);
    programs(&mut script);
    changes(&mut script);
    sleep::sleeping(&mut script);
    freezing(&mut script);
    script.0
}

/// Every argument of every command missing, of each wrong type, and one too many.
fn arguments(script: &mut Script) {
    let samples =
        [json!(null), json!(true), json!(1), json!(1.5), json!("wrong"), json!([]), json!([1]), json!({}), json!([{}])];
    for (command, arguments) in signatures() {
        let with = |name: &str, value: Option<&Value>| {
            let all = arguments.iter().filter(|(other, _)| *other != name);
            let mut object: serde_json::Map<_, _> =
                all.map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            object.extend(value.map(|value| (name.to_owned(), value.clone())));
            Value::Object(object)
        };
        script.ask(&format!("{command} one too many"), command, &with("surplus", Some(&json!(1))));
        for (name, valid) in &arguments {
            // What may be missing may do something when it is.
            let may_be_missing = [
                "time",
                "mode",
                "count",
                "mountpoints",
                "minimum",
                "arg",
                "env",
                "input-data",
                "capture-output",
                "reset",
            ];
            if !may_be_missing.contains(name) {
                script.ask(&format!("{command} without {name}"), command, &with(name, None));
            }
            for sample in
                samples.iter().filter(|sample| !alike(sample, valid) || (valid.is_array() && sample.get(0).is_some()))
            {
                script.ask(&format!("{command} {name} {sample}"), command, &with(name, Some(sample)));
            }
        }
    }
}

fn reading(script: &mut Script) {
    for command in [
        "guest-info",
        "guest-get-time",
        "guest-get-osinfo",
        "guest-get-host-name",
        "guest-get-timezone",
        "guest-get-users",
        "guest-network-get-interfaces",
        "guest-get-vcpus",
        "guest-get-memory-blocks",
        "guest-get-memory-block-info",
        "guest-get-fsinfo",
        "guest-get-disks",
        "guest-get-diskstats",
        "guest-get-cpustats",
        "guest-fsfreeze-status",
        "guest-get-devices",
        "guest-get-load",
        "guest-network-get-route",
        "request-negotiation",
        "qmp_capabilities",
    ] {
        script.ask(command, command, &json!({}));
    }
}

fn files(script: &mut Script) {
    let open = |script: &mut Script, path: &str, mode: &str| {
        script.ask(&format!("open {path} {mode}"), "guest-file-open", &json!({"path": path, "mode": mode}));
    };
    for mode in ["", "q", "rw", "br", "r++", "R"] {
        open(script, "/etc/passwd", mode);
    }
    // Handles count from 1000.
    open(script, "/tmp/one", "w+");
    open(script, "/tmp/one", "r");
    open(script, "/etc", "r");
    open(script, "/etc", "w");
    open(script, "/nonexistent/x", "w");
    let write = |script: &mut Script, label: &str, arguments: Value| {
        script.ask(&format!("write {label}"), "guest-file-write", &arguments);
    };
    write(script, "all", json!({"handle": 1000, "buf-b64": "aGVsbG8gd29ybGQ="}));
    write(script, "part", json!({"handle": 1000, "buf-b64": "aGVsbG8gd29ybGQ=", "count": 5}));
    write(script, "nothing", json!({"handle": 1000, "buf-b64": "", "count": 0}));
    write(script, "too many", json!({"handle": 1000, "buf-b64": "YWI=", "count": 9}));
    write(script, "negative", json!({"handle": 1000, "buf-b64": "YWI=", "count": -1}));
    write(script, "with a line end", json!({"handle": 1000, "buf-b64": "YW\nI="}));
    write(script, "no base64", json!({"handle": 1000, "buf-b64": "YW!="}));
    write(script, "cut short", json!({"handle": 1000, "buf-b64": "YWI"}));
    write(script, "to what is read", json!({"handle": 1001, "buf-b64": "YWI="}));
    script.ask("flush", "guest-file-flush", &json!({"handle": 1000}));
    for (place, arguments) in [
        json!({"handle": 1001}),
        json!({"handle": 1001}),
        json!({"handle": 1001, "count": 0}),
        json!({"handle": 1001, "count": -1}),
        json!({"handle": 1001, "count": 50_331_649}),
        json!({"handle": 1002}),
    ]
    .iter()
    .enumerate()
    {
        script.ask(&format!("read {place}"), "guest-file-read", arguments);
    }
    for (place, (offset, whence)) in [
        (0, json!("set")),
        (3, json!(0)),
        (2, json!("cur")),
        (1, json!(1)),
        (-4, json!("end")),
        (-3, json!(2)),
        (1_000_000, json!("set")),
        (-1, json!("set")),
        (-1_000_001, json!("cur")),
        (0, json!(3)),
        (0, json!(-1)),
        (0, json!("wrong")),
    ]
    .into_iter()
    .enumerate()
    {
        script.ask(
            &format!("seek {place}"),
            "guest-file-seek",
            &json!({"handle": 1001, "offset": offset, "whence": whence}),
        );
        script.ask(&format!("read after seek {place}"), "guest-file-read", &json!({"handle": 1001, "count": 3}));
    }
    script.ask("seek the other", "guest-file-seek", &json!({"handle": 1000, "offset": 2, "whence": 0}));
    script.ask("read what was written", "guest-file-read", &json!({"handle": 1000, "count": 4}));
    write(script, "after reading", json!({"handle": 1000, "buf-b64": "WFla"}));
    for handle in [1000, 1000, 1001, 1002] {
        script.ask(&format!("close {handle}"), "guest-file-close", &json!({"handle": handle}));
    }
    script.shell("what was written", "cat /tmp/one; stat -c %a /tmp/one");
    open(script, "/tmp/one", "a");
    write(script, "behind", json!({"handle": 1003, "buf-b64": "IQ=="}));
    script.ask("close 1003", "guest-file-close", &json!({"handle": 1003}));
    open(script, "/tmp/one", "r+b");
    write(script, "over", json!({"handle": 1004, "buf-b64": "SEVMTE8="}));
    script.ask("close 1004", "guest-file-close", &json!({"handle": 1004}));
    script.shell("what was written over", "cat /tmp/one");
    script.shell("a pipe is made", "mkfifo /tmp/pipe");
    open(script, "/tmp/pipe", "r");
    open(script, "/tmp/pipe", "w");
    script.ask("read of an empty pipe", "guest-file-read", &json!({"handle": 1005}));
    write(script, "into the pipe", json!({"handle": 1006, "buf-b64": "cGlwZQ=="}));
    script.ask("flush of the pipe", "guest-file-flush", &json!({"handle": 1006}));
    script.ask("seek in a pipe", "guest-file-seek", &json!({"handle": 1005, "offset": 0, "whence": 0}));
    script.ask("close 1005", "guest-file-close", &json!({"handle": 1005}));
    script.ask("close 1006", "guest-file-close", &json!({"handle": 1006}));
}

fn programs(script: &mut Script) {
    script.exec("true", &json!({"path": "true"}));
    script.exec("false", &json!({"path": "/bin/false", "capture-output": true}));
    script.exec(
        "says both",
        &json!({"path": "sh", "arg": ["-c", "echo out; echo err >&2; exit 7"], "capture-output": true}),
    );
    script.exec("says nothing", &json!({"path": "sh", "arg": ["-c", "echo out; exit 3"], "capture-output": false}));
    script.exec("is killed", &json!({"path": "sh", "arg": ["-c", "kill -9 $$"]}));
    script.exec("gets a word", &json!({"path": "cat", "input-data": "aGVsbG8=", "capture-output": true}));
    script.exec("gets no word", &json!({"path": "cat", "capture-output": true}));
    script.exec("gets an environment", &json!({"path": "/bin/env", "env": ["A=1", "B=x=y"], "capture-output": true}));
    script.exec(
        "strange words",
        &json!({"path": "echo", "arg": ["", "a b", "é", "$HOME", "-n"], "capture-output": true}),
    );
    script.exec(
        "leaves a child",
        &json!({"path": "sh", "arg": ["-c", "(sleep 1; echo late) & echo early"], "capture-output": true}),
    );
    script.exec("knows where it is", &json!({"path": "pwd", "capture-output": true}));
    script.exec(
        "breaks its pipe",
        &json!({"path": "sh", "arg": ["-c", "yes | head -n 1; echo ${?}"], "capture-output": true}),
    );
    script.exec("says much", &json!({"path": "sh", "arg": ["-c", "head -c 300000 /dev/zero"], "capture-output": true}));
    for (place, arguments) in [
        json!({"path": "/nonexistent/x"}),
        json!({"path": "no-such-program"}),
        json!({"path": "/etc"}),
        json!({"path": "/etc/passwd"}),
        json!({"path": ""}),
        json!({"path": "true", "input-data": "!!"}),
        json!({"path": "true", "capture-output": "wrong"}),
    ]
    .iter()
    .enumerate()
    {
        script.ask(&format!("does not start {place}"), "guest-exec", arguments);
    }
    for pid in [0, 1, -1, i64::MAX] {
        script.ask(&format!("status of {pid}"), "guest-exec-status", &json!({"pid": pid}));
    }
}

fn changes(script: &mut Script) {
    script.ask("support level", "guest-set-support-level", &json!({"major": 1, "minor": 0}));
    for (label, arguments) in [
        ("for nobody", json!({"username": "nobody-here", "keys": ["ssh-x A"]})),
        ("that is a comment", json!({"username": "alice", "keys": ["#x"]})),
        ("of two lines", json!({"username": "alice", "keys": ["a\nx"]})),
        ("first", json!({"username": "alice", "keys": ["ssh-x A", "ssh-x B"]})),
        ("again", json!({"username": "alice", "keys": ["ssh-x B", "ssh-x C"]})),
    ] {
        script.ask(&format!("add keys {label}"), "guest-ssh-add-authorized-keys", &arguments);
    }
    let look =
        "cat /home/alice/.ssh/authorized_keys; stat -c '%a %u %g' /home/alice/.ssh /home/alice/.ssh/authorized_keys";
    script.shell("keys that were added", look);
    script.ask("keys", "guest-ssh-get-authorized-keys", &json!({"username": "alice"}));
    script.ask("keys of nobody", "guest-ssh-get-authorized-keys", &json!({"username": "nobody-here"}));
    script.ask("keys of who has none", "guest-ssh-get-authorized-keys", &json!({"username": "root"}));
    script.ask(
        "remove keys",
        "guest-ssh-remove-authorized-keys",
        &json!({"username": "alice", "keys": ["ssh-x B", "ssh-x Z"]}),
    );
    script.ask(
        "remove keys of who has none",
        "guest-ssh-remove-authorized-keys",
        &json!({"username": "root", "keys": ["ssh-x B"]}),
    );
    script.shell("keys that are left", look);
    script.ask(
        "only these keys",
        "guest-ssh-add-authorized-keys",
        &json!({"username": "alice", "keys": ["ssh-x D"], "reset": true}),
    );
    script.shell("keys after a reset", look);

    let password = |script: &mut Script, label: &str, user: &str, password: &str, crypted: bool| {
        let arguments = json!({"username": user, "password": password, "crypted": crypted});
        script.ask(&format!("password {label}"), "guest-set-user-password", &arguments);
    };
    password(script, "of a strange user", "a:b", "eA==", false);
    password(script, "of a user of two lines", "a\nb", "eA==", false);
    password(script, "of two lines", "alice", "eAo=", false);
    password(script, "that is no base64", "alice", "eA=!", false);
    password(script, "of nobody", "nobody-here", "eA==", false);
    password(script, "that is encrypted", "alice", "JDYkeCR5", true);
    script.shell("password that was set", "grep alice /etc/shadow | cut -d: -f1,2");
    password(script, "that is plain", "alice", "c2VjcmV0", false);
    script.shell("password that was encrypted", "grep alice /etc/shadow | cut -d: -f2 | cut -c1");

    let vcpus = |script: &mut Script, label: &str, vcpus: Value| {
        script.ask(&format!("vcpus {label}"), "guest-set-vcpus", &json!({"vcpus": vcpus}));
        script.shell(&format!("vcpus after {label}"), "grep -c ^processor /proc/cpuinfo");
    };
    vcpus(script, "none", json!([]));
    vcpus(script, "one off", json!([{"logical-id": 1, "online": false}]));
    vcpus(script, "one off again", json!([{"logical-id": 1, "online": false, "can-offline": true}]));
    vcpus(script, "one on", json!([{"logical-id": 1, "online": true}]));
    vcpus(script, "the first off", json!([{"logical-id": 0, "online": false}]));
    vcpus(script, "unknown", json!([{"logical-id": 77, "online": true}]));
    vcpus(
        script,
        "known, then unknown",
        json!([{"logical-id": 1, "online": true}, {"logical-id": 77, "online": true}]),
    );
    vcpus(script, "negative", json!([{"logical-id": -1, "online": true}]));
    script.ask(
        "memory unknown",
        "guest-set-memory-blocks",
        &json!({"mem-blks": [{"phys-index": 7777, "online": true}]}),
    );
    script.ask("memory none", "guest-set-memory-blocks", &json!({"mem-blks": []}));
    script.ask("memory as it is", "guest-set-memory-blocks", &json!({"mem-blks": [{"phys-index": 0, "online": true}]}));
    script.ask("time", "guest-set-time", &json!({"time": 2_000_000_000_123_456_789_i64}));
    script.shell("time that was set", "date -u +%Y-%m-%d");
    script.ask("time from the other clock", "guest-set-time", &json!({}));
    script.shell("time of the other clock", "date -u +%Y-%m-%d");
    script.ask("time before all", "guest-set-time", &json!({"time": -1}));
    script.ask("suspend that there is not", "guest-suspend-hybrid", &json!({}));
}

fn freezing(script: &mut Script) {
    script.ask("trim", "guest-fstrim", &json!({}));
    script.ask("trim of much", "guest-fstrim", &json!({"minimum": 1_048_576}));
    script.ask("thaw of what is not frozen", "guest-fsfreeze-thaw", &json!({}));
    script.ask("freeze of what is not there", "guest-fsfreeze-freeze-list", &json!({"mountpoints": ["/nonexistent"]}));
    script.ask("status after nothing", "guest-fsfreeze-status", &json!({}));
    for (label, command, arguments) in [
        ("all", "guest-fsfreeze-freeze", json!({})),
        ("a list", "guest-fsfreeze-freeze-list", json!({"mountpoints": ["/mnt", "/nonexistent"]})),
        ("every list", "guest-fsfreeze-freeze-list", json!({})),
    ] {
        script.ask(&format!("freeze of {label}"), command, &arguments);
        for frozen in [
            "guest-fsfreeze-status",
            "guest-ping",
            "guest-info",
            "guest-get-time",
            "guest-fsfreeze-freeze",
            "guest-exec",
            "nope",
        ] {
            script.ask(&format!("{frozen} while frozen by {label}"), frozen, &json!({}));
        }
        script.ask(&format!("thaw of {label}"), "guest-fsfreeze-thaw", &json!({}));
        script.ask(&format!("status after {label}"), "guest-fsfreeze-status", &json!({}));
        script.shell(&format!("marker after {label}"), "ls /run/first");
    }
    script.shell("hooks that ran", "cat /run/hook");
}
