use super::*;
use crate::regular_file::each_impostor;

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
            Some(rest) if rest == "[qemu]" || keys().any(|key| rest.starts_with(&format!("{key} ="))) => {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    for key in keys() {
        assert!(uncommented.contains(&format!("\n{key} = ")), "the sample lacks {key}");
    }
    let arguments = Arguments::default();
    assert_eq!(resolve(&uncommented, &arguments, &root()), resolve("", &arguments, &root()));
    assert_eq!(resolve(SAMPLE, &arguments, &root()), resolve("", &arguments, &root()));
}

#[test]
fn root_uses_the_directories_of_the_system_and_others_their_own() {
    let config = resolve("", &Arguments::default(), &root()).unwrap();
    assert_eq!(config.listen, [Path::new("/run/vmwire/vmwired.sock")]);
    let config = resolve("", &Arguments::default(), &user()).unwrap();
    assert_eq!(config.listen, [Path::new("/run/user/1000/vmwire/vmwired.sock")]);
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
    assert_eq!(config.listen, [Path::new("/home/u/.local/state/vmwire/run/vmwired.sock")]);
    let own = Arguments { runtime_dir: Some("own".into()), ..Arguments::default() };
    assert_eq!(resolve("", &own, &user()).unwrap().listen, [Path::new("/cwd/own/vmwired.sock")]);
}

#[test]
fn a_file_is_read_through_links_and_what_is_no_file_or_has_no_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vmwired.toml");
    let arguments = Arguments { config: Some(path.clone()), ..Arguments::default() };
    let load = || Config::load(&arguments, &user());
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
    assert_eq!(test.listen, [Path::new("/run/user/1000/vmwire/test/vmwired.sock")]);
    assert_ne!(test.state_dir, qemu.state_dir);
    assert_ne!(test.runtime_dir, qemu.runtime_dir);
}

#[test]
fn the_command_line_wins_over_the_file() {
    let file = "connections_max = 5\ndriver = \"test\"\nlisten = [\"unix:/a\", \"unix:/b\"]\nstate_dir = \"/s\"\nruntime_dir = \"/r\"\nlog = \"debug\"\n[qemu]\nbinary = \"/q\"\naccel = \"tcg\"\n";
    let config = resolve(file, &Arguments::default(), &user()).unwrap();
    assert_eq!((config.driver, config.log.as_str()), (DriverKind::Test, "debug"));
    assert_eq!(config.listen, [Path::new("/a"), Path::new("/b")]);
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
    assert_eq!(config.listen, [Path::new("/cwd/c")]);
    assert_eq!((config.state_dir.as_path(), config.runtime_dir.as_path()), (Path::new("/cwd/t"), Path::new("/q")));
    assert_eq!(config.idle_exit, Some(Duration::from_secs(60)));
}

#[test]
fn every_mistake_is_told_with_its_place_and_a_way_out() {
    for (text, told) in [
        ("lisen = []", "/f.toml: line 1, column 1: unknown key \"lisen\"; did you mean listen?"),
        ("listen = []", "/f.toml: line 1, column 10: nobody could reach a daemon that listens nowhere"),
        ("listen = [\"tcp:1\"]", "/f.toml: line 1, column 11: \"tcp:1\" is no address to listen at; write unix: and"),
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
