//! What is installed beside the program, by `make install-agent` and by the Debian package.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

#[path = "../skip/mod.rs"]
mod skip;

use skip::skip;

const PROGRAM: &str = env!("CARGO_BIN_EXE_vmwire-ga");
/// Installed and packaged in its place, because it is small and nobody runs it.
const STAND_IN: &str = "/bin/true";
/// What only the package has.
const PACKAGED: [&str; 7] = [
    "usr/sbin",
    "usr/sbin/qemu-ga",
    "usr/share/doc",
    "usr/share/doc/vmwire-ga",
    "usr/share/lintian",
    "usr/share/lintian/overrides",
    "usr/share/lintian/overrides/vmwire-ga",
];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn text(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// Runs what must not fail; what it says.
fn run(command: &mut Command) -> String {
    // What a `make` above this test was told is not for the one below.
    let Output { status, stdout, stderr } = command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").output().unwrap();
    assert!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// The package; where it is.
fn package(directory: &Path) -> String {
    let mut script = Command::new(project().join("contrib/agent-deb"));
    run(script.arg(STAND_IN).arg(directory)).trim().to_owned()
}

/// Everything below a directory: its name, and where it leads or what its mode and its bytes are.
fn everything(root: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut unseen = vec![root.to_owned()];
    while let Some(directory) = unseen.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let what = if kind.is_symlink() {
                (0, std::fs::read_link(&path).unwrap().display().to_string().into_bytes())
            } else if kind.is_dir() {
                unseen.push(path);
                (kind.permissions().mode(), Vec::new())
            } else {
                (kind.permissions().mode(), std::fs::read(&path).unwrap())
            };
            all.insert(name, what);
        }
    }
    all
}

fn install(root: &Path, prefix: &str) {
    let mut make = Command::new("make");
    make.args(["--no-print-directory", "install-agent", &format!("AGENT={STAND_IN}"), &format!("PREFIX={prefix}")]);
    run(make.arg(format!("DESTDIR={}", root.display())).current_dir(project()));
}

fn unpack(package: &str, root: &Path) {
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(root));
}

#[test]
fn the_package_has_what_is_installed_and_little_more() {
    let scratch = tempfile::tempdir().unwrap();
    let (packaged, installed) = (scratch.path().join("packaged"), scratch.path().join("installed"));
    unpack(&package(scratch.path()), &packaged);
    install(&installed, "/usr");
    let (mut packaged, mut installed) = (everything(&packaged), everything(&installed));
    for name in PACKAGED {
        assert!(packaged.remove(name).is_some(), "{name} is not in the package");
    }
    packaged.retain(|name, _| !name.starts_with("usr/share/doc/vmwire-ga/"));
    // Pages are compressed, and the unit is not in conflict with its other name.
    let unit = "usr/lib/systemd/system/vmwire-ga.service";
    for all in [&mut packaged, &mut installed] {
        all.retain(|name, _| !name.starts_with("usr/share/man/man8/"));
        let (_, unit) = all.get_mut(unit).unwrap();
        let lines = String::from_utf8(unit.clone()).unwrap();
        let lines: Vec<&str> =
            lines.lines().filter(|line| !line.starts_with('#') && !line.starts_with("Conflicts=")).collect();
        *unit = lines.join("\n").into_bytes();
    }
    let names = |all: &BTreeMap<String, _>| all.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&packaged), names(&installed));
    for (name, what) in &packaged {
        assert!(installed[name] == *what, "{name} is not the same");
    }
    assert_eq!(packaged["usr/bin/vmwire-ga"], (0o100_755, std::fs::read(STAND_IN).unwrap()));
    assert!(String::from_utf8_lossy(&packaged[unit].1).contains("ExecStart=/usr/bin/vmwire-ga"));
}

#[test]
fn an_installation_keeps_the_configuration_that_is_there() {
    let root = tempfile::tempdir().unwrap();
    install(root.path(), "/usr/local");
    assert!(
        text(root.path().join("usr/local/lib/systemd/system/vmwire-ga.service")).contains("=/usr/local/bin/vmwire-ga")
    );
    let configuration = root.path().join("etc/vmwire/vmwire-ga.conf");
    std::fs::write(&configuration, "[general]\nverbose=true\n").unwrap();
    install(root.path(), "/usr/local");
    assert_eq!(text(&configuration), "[general]\nverbose=true\n");
}

#[test]
fn two_packages_of_the_same_program_are_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| std::fs::read(package(&scratch.path().join(name))).unwrap());
    assert!(one == other);
}

/// A directory that dpkg takes for the root of a system whose `/lib` is a link, as Debian's are.
struct Root(TempDir);

impl Root {
    fn new() -> Root {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "usr/lib", "usr/sbin", "etc"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["status", "available"] {
            std::fs::write(at("var/lib/dpkg").join(name), "").unwrap();
        }
        symlink("usr/lib", at("lib")).unwrap();
        Root(root)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn dpkg(&self, words: &[&str]) {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg("--root").arg(self.0.path()).args(["--force-script-chrootless", "--force-depends"]).args(words);
        run(dpkg.env("DEBIAN_FRONTEND", "noninteractive"));
    }

    fn is_there(&self, name: &str) -> bool {
        self.at(name).symlink_metadata().is_ok()
    }
}

/// A package of the name and with the files of qemu's, as Debian 12 has it.
fn other_package(directory: &Path) -> String {
    let root = directory.join("other");
    for (name, content) in [
        (
            "DEBIAN/control",
            "Package: qemu-guest-agent\nVersion: 1:7.2\nArchitecture: all\nMaintainer: x <x@y>\nDescription: x\n",
        ),
        ("lib/systemd/system/qemu-guest-agent.service", "[Service]\nExecStart=-/usr/sbin/qemu-ga\n"),
        ("usr/sbin/qemu-ga", "the other"),
    ] {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let package = directory.join("other.deb").display().to_string();
    run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(root).arg(&package));
    package
}

#[test]
fn takes_the_place_of_qemu_guest_agent_and_gives_it_back() {
    if !rustix::process::geteuid().is_root() {
        return skip("takes_the_place_of_qemu_guest_agent_and_gives_it_back", "dpkg installs for root only");
    }
    let scratch = tempfile::tempdir().unwrap();
    let (ours, other) = (package(scratch.path()), other_package(scratch.path()));
    let root = Root::new();
    root.dpkg(&["-i", &other]);
    root.dpkg(&["-i", &ours]);
    assert!(std::fs::read(root.at("usr/sbin/qemu-ga")).unwrap() == std::fs::read(STAND_IN).unwrap());
    assert!(!root.is_there("lib/systemd/system/qemu-guest-agent.service"));
    let name = std::fs::read_link(root.at("etc/systemd/system/qemu-guest-agent.service")).unwrap();
    assert_eq!(name, Path::new("/usr/lib/systemd/system/vmwire-ga.service"));
    assert!(root.is_there(name.to_str().unwrap().trim_start_matches('/')));
    // Once more, as an upgrade does.
    root.dpkg(&["-i", &ours]);
    assert!(root.is_there("etc/systemd/system/qemu-guest-agent.service"));

    root.dpkg(&["-r", "vmwire-ga"]);
    root.dpkg(&["-i", &other]);
    assert_eq!(text(root.at("usr/sbin/qemu-ga")), "the other");
    assert!(text(root.at("lib/systemd/system/qemu-guest-agent.service")).contains("qemu-ga"));
    assert!(!root.is_there("etc/systemd/system/qemu-guest-agent.service"));
    assert!(root.is_there("etc/vmwire/vmwire-ga.conf"), "it is there until it is purged");

    root.dpkg(&["-i", &ours]);
    root.dpkg(&["-P", "vmwire-ga"]);
    let left = everything(root.0.path()).into_keys().filter(|name| name.contains("vmwire") || name.contains("qemu"));
    let left: Vec<String> = left.filter(|name| !name.starts_with("var/lib/dpkg/")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn systemd_takes_the_unit_as_it_is_installed() {
    let test = "systemd_takes_the_unit_as_it_is_installed";
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skip(test, "systemd-analyze is not here: install systemd");
    }
    let root = tempfile::tempdir().unwrap();
    install(root.path(), "/usr/local");
    // The program where the unit has it, for whoever verifies it.
    let unit = text(root.path().join("usr/local/lib/systemd/system/vmwire-ga.service"))
        .replace("/usr/local/bin/vmwire-ga", PROGRAM);
    let path = root.path().join("vmwire-ga.service");
    std::fs::write(&path, unit).unwrap();
    let mut analyze = Command::new("systemd-analyze");
    let output = analyze.args(["verify", "--man=no", "--recursive-errors=no"]).arg(path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("vmwire-ga.service"), "{said}");
}

#[test]
fn the_example_of_a_configuration_is_one_and_changes_nothing() {
    let example = text(project().join("contrib/agent/vmwire-ga.conf"));
    let scratch = tempfile::tempdir().unwrap();
    let dumped = |text: &str| {
        let path = scratch.path().join("conf");
        std::fs::write(&path, text).unwrap();
        run(Command::new(PROGRAM).arg("-c").arg(path).arg("-D"))
    };
    assert_eq!(dumped(&example), dumped(""));
    // Every key of it is one, and every one is there.
    let mut keys = BTreeSet::new();
    let set: Vec<String> = example
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once('=').filter(|(key, _)| !key.contains(' ')))
        .map(|(key, value)| {
            keys.insert(key.to_owned());
            format!("{key}={}\n", if value.is_empty() { "x" } else { value })
        })
        .collect();
    let dump = dumped(&format!("[general]\n{}", set.concat()));
    let known: BTreeSet<String> =
        dump.lines().filter_map(|line| line.split_once('=')).map(|(key, _)| key.to_owned()).collect();
    assert_eq!(keys, known);
}

#[test]
fn the_manual_page_has_every_option() {
    let page = text(project().join("contrib/agent/vmwire-ga.8")).replace('\\', "");
    let help = run(Command::new(PROGRAM).arg("--help"));
    let options: Vec<&str> =
        help.split([' ', ',', '\n']).filter(|word| word.starts_with("--") && word.len() > 3).collect();
    assert!(options.len() > 12, "{options:?}");
    for option in options {
        assert!(page.contains(option), "{option} is not in the manual page");
    }
}
