use super::*;
use crate::audit::{Level, Rate};
use crate::regular_file::each_impostor;

fn unix(path: &str) -> Listen {
    Listen::Unix(UnixListen::own(PathBuf::from(path)))
}

const SAMPLE: &str = include_str!("../../../contrib/vmwired.toml");

fn root() -> Environment {
    Environment { root: true, current_dir: "/cwd".into(), ..Environment::default() }
}

fn user() -> Environment {
    Environment {
        home: Some("/home/u".into()),
        runtime_dir: Some("/run/user/1000".into()),
        current_dir: "/cwd".into(),
        ..Environment::default()
    }
}

fn resolve(text: &str, arguments: &Arguments, environment: &Environment) -> Result<Config, String> {
    Config::resolve(Some((Path::new("/f.toml"), text)), arguments, environment).map_err(|error| error.to_string())
}

#[test]
fn the_sample_holds_every_key_with_its_default() {
    // What is commented out and looks like a key is a key.
    let keys = || file::KEYS.keys.iter().map(|key| key.rsplit('.').next().unwrap());
    let uncommented: String = SAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if ["[qemu]", "[tls]", "[audit]"].contains(&rest)
                    || keys().any(|key| rest.starts_with(&format!("{key} ="))) =>
            {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    for key in file::KEYS.keys {
        let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
        // The tables of listeners stand beside the list that is their short form, so they are shown and not written.
        let line =
            if ["listen", "rule"].contains(&table) { format!("#     {name} = ") } else { format!("\n{name} = ") };
        assert!(uncommented.contains(&line), "the sample lacks {key}");
    }
    let tls = Arguments { listen: vec!["tls:127.0.0.1".to_owned()], ..Arguments::default() };
    let files = |text| {
        let mut files = resolve(text, &tls, &root()).unwrap().tls.unwrap();
        (files.crl.required, files.ca_key.required) = (false, false);
        files
    };
    assert_eq!(files(&uncommented), files(""));
    let arguments = Arguments::default();
    assert_eq!(resolve(&uncommented, &arguments, &root()), resolve("", &arguments, &root()));
    assert_eq!(resolve(SAMPLE, &arguments, &root()), resolve("", &arguments, &root()));
}

#[test]
fn the_audit_is_kept_with_the_state_unless_it_is_told_otherwise() {
    let audit = |text: &str| resolve(text, &Arguments::default(), &root()).unwrap().audit;
    let default = Settings {
        path: "/var/lib/vmwire/audit.jsonl".into(),
        level: Level::Changes,
        rotate_bytes: 16 * 1024 * 1024,
        keep: 8,
        rate: Rate { burst: 1000, interval: Duration::from_secs(600) },
    };
    assert_eq!(audit(""), Some(default.clone()));
    assert_eq!(audit("[audit]\nlevel = \"all\""), Some(Settings { level: Level::All, ..default }));
    let other = audit("[audit]\npath = \"/a\"\nrotate_bytes = 65536\nkeep = 1").unwrap();
    assert_eq!((other.path, other.rotate_bytes, other.keep), ("/a".into(), 65536, 1));
    assert_eq!(audit("[audit]\nlevel = \"off\"\npath = \"/a\""), None);
    let rate = |text: &str| audit(text).unwrap().rate;
    let (burst, interval) = (0, Duration::from_secs(60));
    assert_eq!(rate("[audit]\nburst = 0\ninterval_s = 60"), Rate { burst, interval });

    // The directory of a daemon that runs does not change, so what is in it by default stays there.
    let kept = |text: &str| resolve(text, &Arguments::default(), &root()).unwrap().audit_kept_in(Path::new("/old"));
    assert_eq!(kept("state_dir = \"/new\"").unwrap().path, Path::new("/old/audit.jsonl"));
    assert_eq!(kept("state_dir = \"/new\"\n[audit]\npath = \"/a\"").unwrap().path, Path::new("/a"));
}

#[test]
fn listeners_are_addresses_or_tables() {
    let text = "[[listen]]\npath = \"/a\"\n[[listen]]\ntls = \"::\"\n[[listen]]\ntls = \"192.0.2.1:9\"\n\
                [[listen]]\ntcp = \"127.0.0.1:8\"\ninsecure = true\n";
    let tls = |address: &str| Listen::Tls(address.parse().unwrap());
    let expected = [unix("/a"), tls("[::]:16515"), tls("192.0.2.1:9"), Listen::Tcp("127.0.0.1:8".parse().unwrap())];
    assert_eq!(resolve(text, &Arguments::default(), &user()).unwrap().listen, expected);
    let config = resolve("listen = [\"tls:[::1]\", \"tls:0.0.0.0:1\"]", &Arguments::default(), &user()).unwrap();
    assert_eq!(config.listen, [tls("[::1]:16515"), tls("0.0.0.0:1")]);
    let files = config.tls.unwrap();
    assert_eq!(files.key, Path::new("/home/u/.config/vmwire/pki/server.key"));
    assert_eq!(files.crl.path, Path::new("/home/u/.config/vmwire/pki/crl.pem"));
    assert!(!files.crl.required && !files.key_log);
    let files = "listen = [\"tls:::1\"]\n[tls]\ncrl = \"/c\"\nkey = \"/k\"\nkey_log = true\n";
    let files = resolve(files, &Arguments::default(), &user()).unwrap().tls.unwrap();
    assert_eq!(files.crl, OptionalFile { path: "/c".into(), required: true });
    assert_eq!((files.key.as_path(), files.key_log), (Path::new("/k"), true));
    assert_eq!(resolve("", &Arguments::default(), &user()).unwrap().tls, None);

    for (text, told) in [
        ("[[listen]]\ntcp = \"127.0.0.1:1\"", "line 2, column 7: anybody who can reach it would see all there is"),
        ("[[listen]]\ntcp = \"::1:1\"\ninsecure = false", "line 2, column 7: anybody who can reach it would see"),
        ("[[listen]]\ntcp = \"127.0.0.1\"\ninsecure = true", "line 2, column 7: \"127.0.0.1\" has no port; write one"),
        ("[[listen]]\ntls = \"localhost\"", "line 2, column 7: \"localhost\" is no IP address; write one"),
        ("[[listen]]\ntls = \"1.2.3.4:70000\"", "line 2, column 7: \"1.2.3.4:70000\" is no IP address"),
        ("[[listen]]\n", "line 1, column 1: a place to listen at has one of path, tls and tcp"),
        ("[[listen]]\npath = \"/a\"\ntls = \"::\"", "line 1, column 1: a place to listen at has one of"),
        ("[[listen]]\npath = \"/a\"\ninsecure = true", "line 3, column 12: it is for tcp; the others are not"),
        ("[[listen]]\ntls = \"::\"\n[[listen]]\ntls = \"[::]:16515\"", "\"tls:[::]:16515\" is to be listened at twice"),
        ("[[listen]]\nprot = 1", "line 2, column 1: unknown key \"listen.prot\""),
        ("listen = [\"tls:\"]", "line 1, column 11: \"\" is no IP address"),
        ("[tls]\nkey = \"k\"", "line 2, column 7: \"k\" is not absolute"),
        ("[tls]\nkey = \"/k/\"", "line 2, column 7: \"/k/\" is the name of a directory"),
        ("[audit]\npath = \"a\"", "line 2, column 8: \"a\" is not absolute"),
        ("[audit]\npath = \"/a/\"", "line 2, column 8: \"/a/\" is the name of a directory"),
        (
            "[audit]\nlevel = \"change\"",
            "line 2, column 9: \"change\" is nothing that audit.level can be; did you mean \"changes\"?",
        ),
        ("[audit]\nrotate_bytes = 65535", "line 2, column 16: "),
        ("[audit]\nkeep = 0", "line 2, column 8: "),
        ("[audit]\nfile = \"/a\"", "line 2, column 1: unknown key \"audit.file\""),
        ("[tls]\nkeys = \"/k\"", "line 2, column 1: unknown key \"tls.keys\"; did you mean tls.key?"),
    ] {
        let error = resolve(text, &Arguments::default(), &user()).unwrap_err();
        assert!(error.contains(told), "{text}: {error}");
    }
}

#[test]
fn root_uses_the_directories_of_the_system_and_others_their_own() {
    let config = resolve("", &Arguments::default(), &root()).unwrap();
    assert_eq!(config.listen, [unix("/run/vmwire/vmwired.sock")]);
    let config = resolve("", &Arguments::default(), &user()).unwrap();
    assert_eq!(config.listen, [unix("/run/user/1000/vmwire/vmwired.sock")]);
    assert_eq!(config.state_dir, Path::new("/home/u/.local/state/vmwire"));
    assert_eq!(config.runtime_dir, Path::new("/home/u/.local/state/vmwire/run"));
    let moved = Environment { state_home: Some("/s".into()), config_home: Some("/c".into()), ..user() };
    assert_eq!(resolve("", &Arguments::default(), &moved).unwrap().runtime_dir, Path::new("/s/vmwire/run"));
    assert_eq!(moved.config_file().as_deref(), Some(Path::new("/c/vmwire/vmwired.toml")));
}

#[test]
fn without_a_session_the_socket_lies_in_the_runtime_directory() {
    let no_session = Environment { runtime_dir: None, ..user() };
    let config = resolve("", &Arguments::default(), &no_session).unwrap();
    assert_eq!(config.listen, [unix("/home/u/.local/state/vmwire/run/vmwired.sock")]);
    let own = Arguments { runtime_dir: Some("own".into()), ..Arguments::default() };
    assert_eq!(resolve("", &own, &user()).unwrap().listen, [unix("/cwd/own/vmwired.sock")]);
}

#[test]
fn a_file_is_read_through_links_and_what_is_no_file_or_has_no_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmwired.toml");
    let arguments = Arguments { config: Some(path.clone()), ..Arguments::default() };
    let load = || Source { arguments: arguments.clone(), environment: user() }.load();
    each_impostor(&path, |what| {
        assert!(matches!(load(), Err(ConfigError::File { .. })), "{what}");
    });
    std::fs::File::create(dir.path().join("long")).unwrap().set_len(1 << 40).unwrap();
    std::fs::write(dir.path().join("good"), "log = \"trace\"").unwrap();
    std::os::unix::fs::symlink("good", &path).unwrap();
    assert_eq!(load().unwrap().log, "trace");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("long", &path).unwrap();
    assert!(load().unwrap_err().to_string().contains("more than 262144 bytes"));
}

#[test]
fn the_drivers_share_no_directory_by_default() {
    let arguments = Arguments { driver: Some(DriverKind::Test), ..Arguments::default() };
    let test = resolve("", &arguments, &user()).unwrap();
    let qemu = resolve("", &Arguments::default(), &user()).unwrap();
    assert_eq!(test.listen, [unix("/run/user/1000/vmwire/test/vmwired.sock")]);
    assert_ne!(test.state_dir, qemu.state_dir);
    assert_ne!(test.runtime_dir, qemu.runtime_dir);
}

#[test]
fn the_command_line_wins_over_the_file() {
    let file = "connections_max = 5\ndriver = \"test\"\nlisten = [\"unix:/a\", \"unix:/b\"]\nstate_dir = \"/s\"\nruntime_dir = \"/r\"\nlog = \"debug\"\n[qemu]\nbinary = \"/q\"\naccel = \"tcg\"\n";
    let config = resolve(file, &Arguments::default(), &user()).unwrap();
    assert_eq!((config.driver, config.log.as_str()), (DriverKind::Test, "debug"));
    assert_eq!(config.listen, [unix("/a"), unix("/b")]);
    assert_eq!(config.connections_max, 5);
    assert_eq!((config.qemu.as_path(), config.force_tcg), (Path::new("/q"), true));
    assert_eq!((config.state_dir.as_path(), config.runtime_dir.as_path()), (Path::new("/s"), Path::new("/r")));
    let arguments = Arguments {
        driver: Some(DriverKind::Qemu),
        listen: vec!["unix:c".into()],
        state_dir: Some("t".into()),
        runtime_dir: Some("/q".into()),
        idle_exit: Some(60),
        ..Arguments::default()
    };
    let config = resolve(file, &arguments, &user()).unwrap();
    assert_eq!(config.driver, DriverKind::Qemu);
    assert_eq!(config.listen, [unix("/cwd/c")]);
    assert_eq!((config.state_dir.as_path(), config.runtime_dir.as_path()), (Path::new("/cwd/t"), Path::new("/q")));
    assert_eq!(config.idle_exit, Some(Duration::from_secs(60)));
}

#[test]
fn every_mistake_is_told_with_its_place_and_a_way_out() {
    for (text, told) in [
        ("lisen = []", "/f.toml: line 1, column 1: unknown key \"lisen\"; did you mean listen?"),
        ("listen = []", "/f.toml: line 1, column 10: nobody could reach a daemon that listens nowhere"),
        (
            "listen = [\"tcp:1\"]",
            "/f.toml: line 1, column 11: \"tcp:1\" would let in whoever can reach it, unencrypted; if",
        ),
        ("listen = [\"unix:a\"]", "/f.toml: line 1, column 11: \"a\" is not absolute; begin it with a /"),
        (
            "\ndriver = \"qmeu\"",
            "/f.toml: line 2, column 10: \"qmeu\" is nothing that driver can be; did you mean \"qemu\"?",
        ),
        ("log = \"loud\"", "/f.toml: line 1, column 7: \"loud\" is nothing that log can be; it is one of \"off\""),
        ("[qemu]\nacel = 1", "/f.toml: line 2, column 1: unknown key \"qemu.acel\"; did you mean qemu.accel?"),
        ("[qemu]\naccel = \"kvm\"", "/f.toml: line 2, column 9: \"kvm\" is nothing that qemu.accel can be"),
        ("connections_max = 0", "/f.toml: line 1, column 19: it has to be from 1 to 4294967295"),
        ("connections_max = 4294967296", "/f.toml: line 1, column 19: it has to be from 1 to 4294967295"),
        ("connections_max = -1", "/f.toml: line 1, column 19: it has to be from 1 to 4294967295"),
        ("state_dir = \"x\"", "/f.toml: line 1, column 13: \"x\" is not absolute"),
        ("state_dir = 5", "/f.toml: line 1, column 13: state_dir has to be a string, and is an integer"),
    ] {
        let error = resolve(text, &Arguments::default(), &user()).unwrap_err();
        assert!(error.starts_with(told), "{text}: {error}");
    }
    let arguments = Arguments { listen: vec!["/run/x".into()], ..Arguments::default() };
    assert!(resolve("", &arguments, &user()).unwrap_err().starts_with("\"/run/x\" is no address to listen at"));
    let nowhere = Environment { current_dir: "/".into(), ..Environment::default() };
    assert!(resolve("", &Arguments::default(), &nowhere).unwrap_err().contains("HOME is not set"));
}

#[test]
fn paths_that_no_socket_can_have_are_refused_at_the_start() {
    for (bytes, fits) in [(62, true), (63, false)] {
        let dir = format!("/{}", "d".repeat(bytes - 1));
        let arguments = Arguments { runtime_dir: Some(dir.into()), ..Arguments::default() };
        let resolved = resolve("", &arguments, &user());
        assert_eq!(resolved.is_ok(), fits, "{bytes}: {resolved:?}");
    }
    for (bytes, fits) in [(107, true), (108, false)] {
        let address = format!("unix:/{}", "s".repeat(bytes - 1));
        let arguments = Arguments { listen: vec![address], ..Arguments::default() };
        assert_eq!(resolve("", &arguments, &user()).is_ok(), fits, "{bytes}");
    }
}

#[test]
fn a_value_that_cannot_be_used_is_told_where_it_stands() {
    let long = |bytes: usize| format!("/{}", "d".repeat(bytes - 1));
    let many = vec!["\"unix:/a\""; 65].join(", ");
    for (text, told) in [
        (r#"state_dir = """#.to_owned(), "1, column 13: \"\" is not absolute; begin it with a /".to_owned()),
        (r#"runtime_dir = "run""#.into(), "1, column 15: \"run\" is not absolute; begin it with a /".into()),
        (r#"state_dir = "/a\u0000b""#.into(), "1, column 13: the character U+0000 cannot stand in it".into()),
        (
            r#"state_dir = "/a\u001b[31m""#.into(),
            r#"1, column 13: "/a\u{1b}[31m" has the control character '\u{1b}' in it; write it without"#.into(),
        ),
        (
            format!("runtime_dir = {:?}", long(63)),
            format!(
                "1, column 15: {:?} is too long for the sockets of guests: it has 63 bytes, at most 62 fit",
                long(63)
            ),
        ),
        (
            format!("state_dir = {:?}", long(3969)),
            format!(
                "1, column 13: {:?} is too long to keep definitions in: it has 3969 bytes, at most 3968 fit",
                long(3969)
            ),
        ),
        (
            format!("listen = [\n  \"unix:/a\",\n  \"unix:{}\"]", long(108)),
            format!("3, column 3: {:?} is too long to listen at: it has 108 bytes, at most 107 fit", long(108)),
        ),
        (
            r#"listen = ["unix:/a/x", "unix:/b", "unix:/a//./x"]"#.into(),
            "1, column 35: \"/a//./x\" is to be listened at twice".into(),
        ),
        (r#"listen = ["unix:"]"#.into(), "1, column 11: \"\" is not absolute".into()),
        (
            r#"listen = ["unix:/run/"]"#.into(),
            "1, column 11: \"/run/\" is the name of a directory; write that of a file behind it".into(),
        ),
        (r#"listen = ["unix:/run/.."]"#.into(), "1, column 11: \"/run/..\" is the name of a directory".into()),
        (r#"listen = ["unix:/a\u007f"]"#.into(), "1, column 11: \"/a\\u{7f}\" has the control character".into()),
        (r#"listen = "unix:/a""#.into(), "1, column 10: listen has to be a list of strings, and is a string".into()),
        (r#"listen = ["unix:/a", 5]"#.into(), "1, column 22: listen has to be a string, and is an integer".into()),
        (format!("listen = [{many}]"), "1, column 10: listen has 65 entries, and 64 is the most".into()),
        (
            r#"connections_max = "5""#.into(),
            "1, column 19: connections_max has to be an integer, and is a string".into(),
        ),
        ("connections_max = 1.0".into(), "1, column 19: connections_max has to be an integer, and is a number".into()),
        ("qemu = 1".into(), "1, column 8: qemu has to be a table, and is an integer".into()),
        ("[[qemu]]".into(), "1, column 1: qemu has to be a table, and is a list".into()),
        (
            "[qemu]\nbinary = \"\"".into(),
            "2, column 10: an empty text names no program; write a path, or a name alone".into(),
        ),
        (
            "[qemu]\nbinary = \"bin/qemu\"".into(),
            "2, column 10: \"bin/qemu\" is neither absolute nor a name alone; begin it with a /, or write no / at all"
                .into(),
        ),
        ("[qemu]\nbinary = \"..\"".into(), "2, column 10: \"..\" is neither absolute nor a name alone".into()),
        ("[qemu]\nbinary = \"/usr/bin/\"".into(), "2, column 10: \"/usr/bin/\" is the name of a directory".into()),
        ("[qemu]\nbinary = \"q\\n\"".into(), r#"2, column 10: "q\n" has the control character '\n' in it"#.into()),
        ("[qemu]\nbinary = \"/q\\u0000\"".into(), "2, column 10: the character U+0000 cannot stand in it".into()),
        ("log = \"\"".into(), "1, column 7: \"\" is nothing that log can be; it is one of \"off\"".into()),
        ("[qemu]\nlog = 1".into(), "2, column 1: unknown key \"qemu.log\"; did you mean log?".into()),
        ("\"\\u001b\" = 1".into(), "1, column 1: unknown key \"\\u{1b}\"; the keys here are driver, listen".into()),
    ] {
        let error = resolve(&text, &Arguments::default(), &user()).unwrap_err();
        assert!(error.starts_with(&format!("/f.toml: line {told}")), "{text}: {error}");
    }
    for good in
        ["state_dir = '/ä b'", "listen = ['unix:/a', 'unix:/b']", "[qemu]\nbinary = '/opt/q'", "[qemu]\nbinary = 'q'"]
    {
        assert!(resolve(good, &Arguments::default(), &user()).is_ok(), "{good}");
    }
}

#[test]
fn the_command_line_is_held_to_the_same() {
    let dir = |dir: &str| Arguments { state_dir: Some(dir.into()), ..Arguments::default() };
    let runtime_dir = Arguments { runtime_dir: Some("".into()), ..Arguments::default() };
    let listen = |paths: &[&str]| Arguments {
        listen: paths.iter().map(|path| format!("unix:{path}")).collect(),
        ..Arguments::default()
    };
    for (arguments, told) in [
        (dir(""), "an empty path names no directory; choose another one with --state-dir"),
        (runtime_dir, "an empty path names no directory; choose another one with --runtime-dir"),
        (dir("/a\u{1b}"), "\"/a\\u{1b}\" has the control character '\\u{1b}' in it; write it without"),
        (listen(&["/a", "b", "/cwd/b"]), "\"/cwd/b\" is to be listened at twice; choose another one with --listen"),
        (listen(&["a/"]), "\"/cwd/a/\" is the name of a directory"),
        (listen(&["a\n"]), "\"/cwd/a\\n\" has the control character"),
        (listen(&[""]), "\"unix:\" is no address to listen at"),
    ] {
        let error = resolve("", &arguments, &user()).unwrap_err();
        assert!(error.starts_with(told), "{error}");
    }
}

#[test]
fn root_listens_for_operators_where_the_host_has_a_group_for_them() {
    let users = Users::parse("", "vmwire:x:70:\n");
    let with_group = Environment { users: users.clone(), ..root() };
    let config = resolve("", &Arguments::default(), &with_group).unwrap();
    let operators = UnixListen {
        path: PathBuf::from("/run/vmwire/operator.sock"),
        mode: 0o660,
        gid: Some(70),
        role: Some(Role::Operator),
    };
    assert_eq!(config.listen, [unix("/run/vmwire/vmwired.sock"), Listen::Unix(operators)]);
    // Guests' sockets are not where others can get.
    assert_eq!(config.runtime_dir, Path::new("/run/vmwire/guests"));
    let of_user = Environment { users, ..user() };
    assert_eq!(resolve("", &Arguments::default(), &of_user).unwrap().listen.len(), 1);
}

#[test]
fn the_socket_for_operators_is_left_out_where_others_are_written_and_the_daemon_knows_it() {
    let users = Users::parse("", "vmwire:x:70:\n");
    let left_out =
        |text: &str, environment: &Environment| resolve(text, &Arguments::default(), environment).unwrap().left_out;
    let with_group = Environment { users: users.clone(), ..root() };
    let operators = Path::new("/run/vmwire/operator.sock");
    let written = "[[listen]]\npath = \"/run/vmwire/vmwired.sock\"\n";
    assert_eq!(left_out(written, &with_group).as_deref(), Some(operators));
    let both = format!("{written}[[listen]]\npath = \"{}\"\n", operators.display());
    assert_eq!(left_out(&both, &with_group), None);
    assert_eq!(left_out("", &with_group), None);
    assert_eq!(left_out(written, &root()), None, "there is no group");
    assert_eq!(left_out(written, &Environment { users, ..user() }), None);
}

#[test]
fn a_socket_for_others_and_rules_are_read_as_they_are_written() {
    let environment = Environment { users: Users::parse("alice:x:1000:1000::/:\n", "web:x:71:\n"), ..root() };
    let text = "[[listen]]\npath = \"/run/a.sock\"\nmode = \"0660\"\ngroup = \"web\"\nrole = \"observer\"\n\
        [[rule]]\nidentity = \"user:alice\"\nrole = \"operator\"\nvms = [\"web-*\"]\nlabels = [\"prod\"]\n";
    let config = resolve(text, &Arguments::default(), &environment).unwrap();
    let socket =
        UnixListen { path: PathBuf::from("/run/a.sock"), mode: 0o660, gid: Some(71), role: Some(Role::Observer) };
    assert_eq!(config.listen, [Listen::Unix(socket)]);
    let access = crate::access::Access { own_uid: 0, rules: config.rules };
    let alice = crate::access::Identity::unix(1000, 1000);
    let grants = access.judge(&alice, crate::access::Base::Owners, None).unwrap();
    assert!(grants.sees("web-1", &["prod".to_owned()]) && !grants.sees("web-1", &[]) && !grants.sees("db", &[]));

    for (text, told) in [
        ("[[rule]]\nrole = \"admin\"", "line 1, column 1: rule.identity is missing"),
        ("[[rule]]\nidentity = \"uid:0\"", "line 1, column 1: rule.role is missing"),
        ("[[rule]]\nidentity = \"user:bob\"\nrole = \"admin\"", "line 2, column 12: there is no user \"bob\""),
        (
            "[[rule]]\nidentity = \"uid:0\"\nrole = \"amdin\"",
            "line 3, column 8: \"amdin\" is nothing that rule.role can be",
        ),
        ("[[rule]]\nidentity = \"uid:0\"\nrole = \"admin\"\nvms = []", "line 4, column 7: an empty list"),
        ("[[rule]]\nidentity = \"uid:0\"\nrole = \"admin\"\nvm = []", "line 4, column 1: unknown key \"rule.vm\""),
        ("[[listen]]\npath = \"/a\"\nmode = \"rw\"", "line 3, column 8: \"rw\" are no permissions"),
        ("[[listen]]\npath = \"/a\"\nmode = \"0770\"", "line 3, column 8: \"0770\" are no permissions"),
        ("[[listen]]\npath = \"/a\"\nmode = \"0060\"", "line 3, column 8: \"0060\" are no permissions"),
        ("[[listen]]\npath = \"/a\"\ngroup = \"vm\"", "line 3, column 9: there is no group \"vm\""),
        ("[[listen]]\ntls = \"::1\"\nrole = \"admin\"", "line 3, column 8: it is for a unix socket"),
        ("[[listen]]\npath = \"/a\"\n[[listen]]\npath = \"/a\"\nmode = \"0666\"", "line 3, column 1"),
    ] {
        let error = resolve(text, &Arguments::default(), &environment).unwrap_err();
        assert!(error.contains(told), "{text}: {error}");
    }
}
