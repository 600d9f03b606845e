use proptest::prelude::*;

use super::*;
use crate::model::toml_table::{TomlError, TomlErrorKind};

/// Every key of a guest that QEMU can run, none at its default.
const FULL: &str = r#"# kept, byte for byte
name = "web-1"
uuid = "6f1d5f5c-6f0b-4a3e-9d3c-2f6f3b1d8a11"
title = "The web, \"quoted\""
labels = ["web", "prod.2"]
memory = "512 MiB"
machine = "pc"
accel = "tcg"
autostart = true
rng = true
console = false
channels = ["org.qemu.guest_agent.0", "com.example.0"]

[cpu]
count = 8
sockets = 2
cores = 2
threads = 2
model = "qemu64"

[boot]
kernel = "/boot/vmlinuz"
initrd = "/boot/initrd"
cmdline = "console=ttyS0 quiet,comma"

[[disk]]
path = "/srv/a,b.qcow2"
format = "qcow2"

[[disk]]
path = "/srv/b"
format = "raw"
bus = "scsi"
readonly = true

[[nic]]
network = "user"
outbound = false
forward = ["8080:80", "0.0.0.0:5353:53/udp"]
"#;

const TEST: &str = r#"
[test]
start_ms = 1
start_fails = "no"
delay_ms = 2
deaf = true
shutdown_ms = 3
console = "hello\n"
panic_ms = 4
console_bytes = 5
console_burst = 6
agent = "hangs"
"#;

const LEAST: &str = "name = 'a'\nmemory = '16 MiB'\n";

/// What is said of `LEAST` with `more` behind it.
fn told(more: &str) -> String {
    Definition::parse(&format!("{LEAST}{more}")).unwrap_err().to_string()
}

#[test]
fn reads_every_key_and_keeps_the_text() {
    let definition = Definition::parse(FULL).unwrap();
    assert_eq!(
        definition,
        Definition {
            text: FULL.to_owned(),
            name: "web-1".parse().unwrap(),
            uuid: Some(Uuid::from_u128(0x6f1d_5f5c_6f0b_4a3e_9d3c_2f6f_3b1d_8a11)),
            title: "The web, \"quoted\"".to_owned(),
            memory_bytes: 512 << 20,
            cpu: Cpu { count: 8, sockets: 2, cores: 2, threads: 2, model: Some("qemu64") },
            machine: Machine::Pc,
            accel: Accel::Tcg,
            autostart: true,
            boot: Boot::Kernel {
                kernel: "/boot/vmlinuz".into(),
                initrd: Some("/boot/initrd".into()),
                cmdline: "console=ttyS0 quiet,comma".to_owned(),
            },
            disks: vec![
                Disk {
                    path: "/srv/a,b.qcow2".into(),
                    format: DiskFormat::Qcow2,
                    bus: DiskBus::Virtio,
                    readonly: false
                },
                Disk { path: "/srv/b".into(), format: DiskFormat::Raw, bus: DiskBus::Scsi, readonly: true },
            ],
            nics: vec![Nic {
                outbound: false,
                forwards: vec![
                    Forward { udp: false, address: [127, 0, 0, 1].into(), host_port: 8080, guest_port: 80 },
                    Forward { udp: true, address: [0, 0, 0, 0].into(), host_port: 5353, guest_port: 53 },
                ],
            }],
            console: false,
            labels: ["web".to_owned(), "prod.2".to_owned()].into(),
            channels: vec!["org.qemu.guest_agent.0".to_owned(), "com.example.0".to_owned()],
            rng: true,
            test: None,
        }
    );
    assert_eq!(
        Definition::parse(&format!("{LEAST}{TEST}")).unwrap().test,
        Some(TestScript {
            start_ms: 1,
            start_fails: "no".to_owned(),
            delay_ms: 2,
            deaf: true,
            shutdown_ms: 3,
            console: "hello\n".to_owned(),
            panic_ms: 4,
            console_bytes: 5,
            console_burst: 6,
            agent: TestAgent::Hangs,
        })
    );
}

#[test]
fn what_is_not_written_has_a_default() {
    let definition = Definition::parse(LEAST).unwrap();
    assert_eq!(definition.cpu, Cpu { count: 1, sockets: 1, cores: 1, threads: 1, model: None });
    assert_eq!((definition.machine, definition.accel, &definition.boot), (Machine::Q35, Accel::Auto, &Boot::Disk));
    assert!(definition.console && !definition.rng && !definition.autostart);
    assert!(definition.disks.is_empty() && definition.nics.is_empty());
    assert!(definition.channels.is_empty() && definition.labels.is_empty());
    assert_eq!((definition.uuid, definition.title.as_str(), definition.test), (None, "", None));
}

#[test]
fn every_listed_key_is_read_by_the_parser_and_told_in_the_reference() {
    let docs = include_str!("../../../../docs/definition.md");
    let all = format!("{FULL}{TEST}");
    assert!(Definition::parse(&all).is_ok());
    for key in Definition::KEYS {
        // A value of the wrong type is noticed only where the key is read.
        let mut table = String::new();
        let broken: String = all
            .lines()
            .map(|line| {
                if line.starts_with('[') {
                    table = format!("{}.", line.trim_matches(['[', ']']));
                }
                match line.split_once(" = ") {
                    Some((name, _)) if format!("{table}{name}") == *key => format!("{name} = 1979-05-27\n"),
                    _ => format!("{line}\n"),
                }
            })
            .collect();
        assert!(Definition::parse(&broken).is_err(), "{key} is not read");
        assert!(docs.contains(&format!("| `{key}` |")), "docs/definition.md has no row for {key}");
    }
    for model in CPU_MODELS {
        assert!(docs.contains(&format!("`{model}`")), "docs/definition.md does not name {model}");
    }
}

#[test]
fn unknown_keys_are_refused_with_their_place_and_the_nearest_known_one() {
    assert_eq!(
        Definition::parse("name = 'a'\n\nmemmory = '1 GiB'\n").unwrap_err().to_string(),
        "line 3, column 1: unknown key `memmory`; did you mean `memory`?"
    );
    assert_eq!(told("kernel = '/x'"), "line 3, column 1: unknown key `kernel`; did you mean `boot.kernel`?");
    assert_eq!(
        told("[[disk]]\n  red-only = true"),
        "line 4, column 3: unknown key `red-only`; did you mean `readonly`?"
    );
    assert_eq!(told("[frobnicator]\na = 1"), "line 3, column 2: unknown key `frobnicator`");
    assert_eq!(told("cpu.\"çount\" = 1"), "line 3, column 5: unknown key `çount`; did you mean `count`?");
    assert_eq!(told("zz = 1\naa = 2"), "line 3, column 1: unknown key `zz`", "the first in the text is told");
}

#[test]
fn wrong_types_and_values_are_refused_with_their_place() {
    for (more, error) in [
        ("rng = 'yes'", "line 3, column 7: `rng` is true or false, and here stands a string"),
        ("rng = 1", "line 3, column 7: `rng` is true or false, and here stands an integer"),
        ("title = 1979-05-27", "line 3, column 9: `title` is a string, and here stands a date"),
        ("title = \"a\\u001b\"", "line 3, column 9: `title`: control characters such as '\\u{1b}' cannot stand in it"),
        ("title = \"a\\u0000\"", "line 3, column 9: `title`: the character U+0000 cannot stand in it"),
        ("machine = 'isa'", "line 3, column 11: `machine`: must be \"q35\" or \"pc\""),
        ("channels = 'a'", "line 3, column 12: `channels` is a list of strings, and here stands a string"),
        ("channels = ['a', 2]", "line 3, column 18: `channels` is a string, and here stands an integer"),
        ("labels = ['a', 'a']", "line 3, column 16: `labels`: \"a\" is named twice"),
        ("labels = ['a b']", "line 3, column 11: `labels`: a label is 1 to 64 of A-Z a-z 0-9 . _ -"),
        ("channels = ['a', 'a']", "line 3, column 18: `channels`: \"a\" is named twice"),
        ("cpu = 2", "line 3, column 7: `cpu` is a table, and here stands an integer"),
        ("[cpu]\ncount = 0", "line 4, column 9: `cpu.count`: must be from 1 to 255"),
        ("[cpu]\ncount = -1", "line 4, column 9: `cpu.count`: must be from 1 to 255"),
        ("[cpu]\ncount = 99999999999999999999", "line 4, column 9: `cpu.count`: must be from 1 to 255"),
        ("[cpu]\ncount = 1.5", "line 4, column 9: `cpu.count` is an integer, and here stands a number with a fraction"),
        (
            "[cpu]\nmodel = 'HASWELL'",
            "line 4, column 9: `cpu.model`: `HASWELL` is not known; did you mean \"Haswell\"?",
        ),
        ("[boot]\ncmdline = 'x'", "line 4, column 11: `boot.cmdline`: means nothing without `boot.kernel`"),
        (
            "[boot]\nkernel = 'x'",
            "line 4, column 10: `boot.kernel`: must be an absolute path, for the daemon has no directory that you could \
             mean",
        ),
        ("[disk]\npath = '/x'", "line 3, column 1: `disk` is a list of tables, and here stands a table"),
        ("[[disk]]\npath = '/x'", "line 3, column 1: `disk.format` is missing"),
        ("[[nic]]\nnetwork = 'user'", "line 3, column 1: `nic.outbound` is missing"),
        ("[[nic]]\nnetwork = 'bridge'", "line 4, column 11: `nic.network`: must be \"user\""),
        ("name = 'b'", "line 3, column 1: duplicate key"),
        (
            "uuid = ''",
            "line 3, column 8: `uuid`: write a uuid in lower case with hyphens, as in 6f1d5f5c-6f0b-4a3e-9d3c-2f6f3b1d8a11",
        ),
        (
            "uuid = '00000000-0000-0000-0000-000000000000'",
            "line 3, column 8: `uuid`: the uuid of zeros alone means no uuid",
        ),
    ] {
        assert_eq!(told(more), error, "{more}");
    }
    assert_eq!(Definition::parse("memory = '1 GiB'").unwrap_err().to_string(), "line 1, column 1: `name` is missing");
    assert_eq!(
        Definition::parse("memory = '1 GiB'\nname = 'a b'").unwrap_err().to_string(),
        "line 2, column 8: `name`: ' ' cannot stand there: a name is made of A-Z a-z 0-9 . _ - and begins with a \
         letter or digit"
    );
}

#[test]
fn a_user_network_demands_to_say_whether_it_leads_out_and_tells_what_that_means() {
    let error = Definition::parse(&format!("{LEAST}[[nic]]\nnetwork = 'user'")).unwrap_err();
    assert!(error.to_string().ends_with("`nic.outbound` is missing"), "{error}");
    assert!(error.hint().contains("this host's own 127.0.0.1"), "{}", error.hint());
}

#[test]
fn no_port_of_the_host_is_forwarded_twice() {
    let nic = "[[nic]]\nnetwork = 'user'\noutbound = true\n";
    assert_eq!(
        told(&format!("{nic}forward = ['80:80']\n{nic}forward = ['80:81']")),
        "line 10, column 12: `nic.forward`: port 80 is forwarded twice"
    );
    let good = format!("{LEAST}{nic}forward = ['80:80', '80:80/udp', '127.0.0.2:80:80']");
    assert_eq!(Definition::parse(&good).unwrap().nics[0].forwards.len(), 3);
}

#[test]
fn processors_are_sockets_times_cores_times_threads() {
    let cpu = |text: &str| Definition::parse(&format!("{LEAST}[cpu]\n{text}")).map(|d| d.cpu);
    let counted = |count, sockets, cores, threads| Cpu { count, sockets, cores, threads, model: None };
    assert_eq!(cpu("count = 4"), Ok(counted(4, 1, 4, 1)));
    assert_eq!(cpu("count = 4\nsockets = 2"), Ok(counted(4, 2, 2, 1)));
    assert_eq!(cpu("cores = 3\nthreads = 2"), Ok(counted(6, 1, 3, 2)));
    for wrong in ["count = 3\nsockets = 2", "count = 1\nsockets = 2", "count = 4\ncores = 3"] {
        assert!(cpu(wrong).unwrap_err().to_string().starts_with("line 3, column 1: `cpu.count`:"), "{wrong}");
    }
    assert!(cpu("sockets = 2\ncores = 128").unwrap_err().to_string().contains("more than 255"));
}

#[test]
fn a_text_too_long_or_nested_too_deep_is_refused() {
    let long = format!("{LEAST}#{}", "x".repeat(Definition::BYTES_MAX));
    assert_eq!(
        Definition::parse(&long).unwrap_err().to_string(),
        format!("a definition has at most 49152 bytes, this one has {}", long.len())
    );
    let fits = format!("{LEAST}#{}", "x".repeat(Definition::BYTES_MAX - LEAST.len() - 1));
    assert_eq!(Definition::parse(&fits).unwrap().text, fits);
    for deep in ["[".repeat(40_000), "{a=".repeat(15_000), format!("a{}=1", ".a".repeat(20_000))] {
        let error = Definition::parse(&format!("x = {deep}")).unwrap_err();
        let DefinitionError::Content(TomlError { kind: TomlErrorKind::Syntax(_), .. }) = error else {
            panic!("{error}")
        };
    }
}

#[test]
fn what_the_toml_parser_says_is_one_line_with_its_place() {
    for (text, place) in
        [("name = ", "line 1, column 8: "), ("a = 1\n= 2", "line 2, column 1: "), ("\u{1b}", "line 1, ")]
    {
        let error = Definition::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(place) && !error.contains('\n'), "{error:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_what_it_takes_it_keeps(text in "\\PC{0,200}") {
        if let Ok(definition) = Definition::parse(&text) {
            prop_assert_eq!(definition.text, text);
        }
    }

    #[test]
    fn no_change_of_a_good_text_makes_it_panic(
        cut in 0..FULL.len(), lost in 0..20_usize, put in "(\\PC|[\\[\\]{}=\"'.,\n#0-9a-z\u{0}-\u{1f}]){0,8}",
    ) {
        let all = format!("{FULL}{TEST}");
        let text = format!("{}{put}{}", &all[..cut], &all[(cut + lost).min(all.len())..]);
        match Definition::parse(&text) {
            Ok(definition) => prop_assert_eq!(definition.text, text),
            Err(error) => {
                let DefinitionError::Content(TomlError { position, .. }) = &error else { panic!("{error}") };
                prop_assert!(position.line <= text.lines().count() + 1, "{}", error);
                prop_assert!(!error.to_string().chars().any(char::is_control), "{:?}", error.to_string());
            }
        }
    }

    #[test]
    fn any_value_of_a_string_is_taken_whole_or_refused(key in 0..Definition::KEYS.len(), value in any::<String>()) {
        let written = toml::Value::String(value).to_string();
        let text = match Definition::KEYS[key].split_once('.') {
            None => format!("{LEAST}{} = {written}", Definition::KEYS[key]),
            Some((table @ ("disk" | "nic"), name)) => format!("{LEAST}[[{table}]]\n{name} = {written}"),
            Some((table, name)) => format!("{LEAST}[{table}]\n{name} = {written}"),
        };
        if let Ok(definition) = Definition::parse(&text) {
            prop_assert_eq!(definition.text, text);
        }
    }
}
