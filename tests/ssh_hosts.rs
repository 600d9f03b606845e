//! By ssh2: which hosts are believed to be who they say, against real servers with real keys.

use std::path::Path;

use serde_json::json;

use crate::harness::{Native, Running, SshdSetup, eventually, keygen, known, line_of, public};

/// A story, and the directory of the server's keys.
struct Keyed {
    story: Native,
    _keys: tempfile::TempDir,
}

impl std::ops::Deref for Keyed {
    type Target = Native;

    fn deref(&self) -> &Native {
        &self.story
    }
}

/// The public half of a key, without its comment.
fn bare(key: &Path) -> String {
    line_of(&public(key)).rsplit_once(' ').unwrap().0.to_owned()
}

/// A server with keys of three kinds, and its name in known hosts.
fn with_keys() -> (Keyed, String, [String; 3]) {
    // sshd reads them again for each connection.
    let keys = tempfile::Builder::new().prefix("vmwire-").tempdir().unwrap();
    let mut setup = SshdSetup::default();
    let lines = ["ed25519", "ecdsa", "rsa"].map(|kind| {
        let key = keys.path().join(kind);
        keygen(&key, &["-t", kind]);
        bare(&key)
    });
    for kind in ["ed25519", "ecdsa", "rsa"] {
        setup = setup.host_key(keys.path().join(kind));
    }
    let story = Native::start(setup);
    let name = format!("[127.0.0.1]:{}", story.sshd.address().port());
    (Keyed { story, _keys: keys }, name, lines)
}

/// A key as ssh-keygen tells of it.
fn fingerprint(line: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), line).unwrap();
    let output = std::process::Command::new("ssh-keygen").args(["-l", "-f"]).arg(file.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
}

fn another(story: &Native) -> String {
    let key = story.path("another");
    if !key.exists() {
        keygen(&key, &["-t", "ed25519"]);
    }
    line_of(&public(&key))
}

#[test]
fn only_the_kinds_of_keys_that_are_stored_are_asked_for() {
    let (story, name, [ed25519, ecdsa, rsa]) = with_keys();
    let file = story.sshd.known_hosts();
    for line in [&ed25519, &ecdsa, &rsa] {
        known(&file, &[format!("{name} {line}")]);
        story.lists("");
        known(&file, &[format!("{name} {}", another(&story)), format!("*,!vm2 {line}")]);
        if line != &ed25519 {
            continue;
        }
        story.lists("");
    }
    // One of a kind that the server does not have.
    let key = story.path("p521");
    keygen(&key, &["-t", "ecdsa", "-b", "521"]);
    known(&file, &[format!("{name} {}", line_of(&public(&key)))]);
    let message = "vm1 offers nothing for the host key that is taken here";
    let error = story.fails("", 3, message, "if the host has new keys, ask its admin");
    let causes = error["causes"].as_array().unwrap();
    assert_eq!(causes[1], "taken are ecdsa-sha2-nistp521", "{error}");
    let offered = causes[0].as_str().unwrap();
    assert!(offered.contains("ssh-ed25519") && offered.contains("ecdsa-sha2-nistp256"), "{error}");
}

#[test]
fn hosts_are_found_by_every_kind_of_name() {
    let (story, name, [ed25519, ..]) = with_keys();
    let (file, port) = (story.sshd.known_hosts(), story.sshd.address().port());
    known(&file, &[format!("{name} {ed25519}")]);
    let hashed = std::process::Command::new("ssh-keygen").arg("-H").arg("-f").arg(&file).output().unwrap();
    assert!(hashed.status.success() && line_of(&file).starts_with("|1|"));
    story.lists("");
    for names in
        [format!("[127.0.0.1]:{port},vm9"), format!("[127.0.*]:{port}"), "[*]:*,!vm9".to_owned(), "*".to_owned()]
    {
        known(&file, &[format!("{names} {ed25519}")]);
        story.lists("");
    }
    let message = format!(
        "{name} is not known, and StrictHostKeyChecking forbids it: its ED25519 key is {}",
        fingerprint(&ed25519)
    );
    // Names of port 22 say nothing of others.
    for names in ["127.0.0.1", "vm1", "[127.0.0.1]:22", "*,![127.0.0.1]:*"] {
        known(&file, &[format!("{names} {ed25519}")]);
        story.fails("", 3, &message, "ssh-keyscan");
    }
    story.sshd.settings("HostKeyAlias My-Host\n");
    known(&file, &[format!("my-host {ed25519}")]);
    story.lists("");
    story.sshd.settings("");
    // The one of the URI stands in for the user's.
    let other = known(&story.path("others"), &[format!("{name} {ed25519}")]);
    known(&file, &[]);
    story.lists(&format!("&known_hosts={other}"));
    // The host's file counts as much as the user's.
    story.sshd.settings(&format!("GlobalKnownHostsFile {other}\n"));
    story.lists("");
}

#[test]
fn a_key_that_has_changed_is_refused_however_little_is_checked() {
    let (story, name, [ed25519, ..]) = with_keys();
    let file = story.sshd.known_hosts();
    let stored = another(&story);
    known(&file, &["# mine".to_owned(), format!("{name} {stored}")]);
    let message = format!(
        "{name} shows another ED25519 key than the one that is stored: {} and not {}, which line 2 of {} has",
        fingerprint(&ed25519),
        fingerprint(&stored),
        file.display()
    );
    let before = line_of(&file);
    for checking in ["yes", "ask", "accept-new", "no"] {
        story.sshd.settings(&format!("StrictHostKeyChecking {checking}\n"));
        let hint = format!("if it is new: ssh-keygen -R '{name}' -f {}", file.display());
        let error = story.fails("", 3, &message, &hint);
        assert_eq!(error["code"], "SSH");
    }
    assert_eq!(line_of(&file), before);
    // What the hint says leads on.
    let forgotten = std::process::Command::new("ssh-keygen").args(["-R", &name, "-f"]).arg(&file).output().unwrap();
    assert!(forgotten.status.success());
    story.sshd.settings("StrictHostKeyChecking accept-new\n");
    story.lists("");
}

#[test]
fn a_revoked_key_is_refused_though_it_is_stored() {
    let (story, name, [ed25519, ..]) = with_keys();
    let file = story.sshd.known_hosts();
    known(&file, &[format!("{name} {ed25519}"), format!("@revoked * {ed25519}")]);
    let message =
        format!("{name} shows a key that was revoked: {}, by line 2 of {}", fingerprint(&ed25519), file.display());
    story.fails("", 3, &message, "do not trust this host");
    // For another host it says nothing.
    known(&file, &[format!("{name} {ed25519}"), format!("@revoked vm9 {ed25519}")]);
    story.lists("");
}

#[test]
fn a_host_with_a_certificate_is_left_to_the_program_and_ssh2_says_why() {
    let (story, name) = with_certificate();
    let file = story.sshd.known_hosts();
    let authority = line_of(&public(&story.path("authority")));
    known(&file, &[format!("@cert-authority [127.0.0.1]:* {authority}")]);
    let message =
        format!("{name} has to show a certificate, because of line 1 of {}, and ssh2 cannot judge one", file.display());
    story.fails("", 3, &message, "write transport=ssh in the URI, or nothing");
    for transport in ["", "&transport=auto", "&transport=ssh"] {
        story.lists_at(&story.sshd.uri(&story.daemon.socket(), transport));
    }
}

/// A server with a key that an authority has signed.
fn with_certificate() -> (Keyed, String) {
    // sshd reads them again for each connection.
    let keys = tempfile::Builder::new().prefix("vmwire-").tempdir().unwrap();
    let (authority, host) = (keys.path().join("authority"), keys.path().join("host"));
    keygen(&authority, &["-t", "ed25519"]);
    keygen(&host, &["-t", "ed25519"]);
    let mut sign = std::process::Command::new("ssh-keygen");
    sign.arg("-q").arg("-s").arg(&authority).args(["-I", "vm1", "-h", "-n", "127.0.0.1"]).arg(public(&host));
    assert!(sign.status().unwrap().success());
    let certificate = keys.path().join("host-cert.pub");
    let setup = SshdSetup::default().host_key(&host).line(&format!("HostCertificate {}", certificate.display()));
    let story = Native::start(setup);
    std::fs::copy(public(&authority), public(&story.path("authority"))).unwrap();
    let name = format!("[127.0.0.1]:{}", story.sshd.address().port());
    (Keyed { story, _keys: keys }, name)
}

#[test]
fn an_unknown_host_without_anybody_to_ask_is_refused_unless_the_settings_let_it_pass() {
    let (story, name, [ed25519, ..]) = with_keys();
    let file = story.sshd.known_hosts();
    known(&file, &["# nobody".to_owned()]);
    let refused = |why: &str| {
        let print = fingerprint(&ed25519);
        let message = format!("{name} is not known, and {why}: its ED25519 key is {print}");
        let hint = if why.contains("terminal") { "try it once at a terminal" } else { "remember its key" };
        let error = story.fails("", 3, &message, hint);
        // What the hint says leads on.
        let (_, command) = error["hint"].as_str().unwrap().split_once(": ").unwrap();
        let ran = std::process::Command::new("sh").args(["-c", command]).output().unwrap();
        assert!(ran.status.success(), "{command}: {ran:?}");
        story.lists("");
        known(&file, &["# nobody".to_owned()]);
    };
    refused("StrictHostKeyChecking forbids it");
    story.sshd.settings("StrictHostKeyChecking ask\nBatchMode no\n");
    refused("there is no terminal to ask at");
    for checking in ["accept-new", "no"] {
        known(&file, &["# nobody".to_owned()]);
        story.sshd.settings(&format!("StrictHostKeyChecking {checking}\n"));
        story.lists("");
        assert_eq!(line_of(&file), format!("# nobody\n{name} {ed25519}"));
        story.lists("");
    }
}

#[test]
fn at_a_terminal_an_unknown_host_is_asked_about_and_remembered() {
    let (story, name, [ed25519, ..]) = with_keys();
    let (place, print) = (story.path("home"), fingerprint(&ed25519));
    let file = place.join("known_hosts");
    let (shown, uri) = (file.display(), story.uri(&format!("&known_hosts={}", file.display())));
    let ask = |answers: &[&str]| {
        let mut asked = story.at_terminal(&["-c", &uri, "vm", "list"]);
        let question = asked.expect("(yes/no/the fingerprint itself) ").replace("\r\n", "\n");
        let expected = format!(
            "The host {name} is not known here. Its ED25519 key has the fingerprint\n  {print}\nGo on, and remember it in \
             {shown}? "
        );
        assert_eq!(question, expected);
        let mut answers = answers.iter();
        asked.write(answers.next().unwrap());
        for answer in answers {
            asked.expect("yes, no, or the fingerprint itself: ");
            asked.write(answer);
        }
        asked
    };
    story.sshd.settings("StrictHostKeyChecking ask\nBatchMode no\nHashKnownHosts no\n");
    let refused = ask(&["no\n"]).wait();
    let message =
        format!("vmwire: {name} is not known, and it is not the one that is meant: its ED25519 key is {print}");
    assert!(refused.code == 3 && refused.out.contains(&message), "{refused:?}");
    assert!(!file.exists());
    let mut listed = ask(&["\n", "perhaps\n", "SHA256:AAAA\n", "YES\n"]);
    listed.expect("web");
    assert_eq!(listed.wait().code, 0);
    assert_eq!(line_of(&file), format!("{name} {ed25519}"));
    let mode = |path: &Path| std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions());
    assert_eq!((mode(&file) & 0o777, mode(&place) & 0o777), (0o600, 0o700));
    story.lists(&format!("&known_hosts={shown}"));

    // Hashed where the settings say so; the fingerprint is an answer, too.
    std::fs::remove_file(&file).unwrap();
    story.sshd.settings("StrictHostKeyChecking ask\nBatchMode no\nHashKnownHosts yes\n");
    ask(&[&format!("{print}\n")]).expect("web");
    eventually("it is remembered", || file.exists().then_some(()));
    let line = line_of(&file);
    assert!(line.starts_with("|1|") && line.ends_with(&ed25519) && !line.contains("127.0.0.1"), "{line}");
    story.lists(&format!("&known_hosts={shown}"));
}

#[test]
fn garbage_among_the_known_hosts_is_skipped_and_told_and_no_file_is_read_for_ever() {
    let (story, name, [ed25519, ..]) = with_keys();
    let file = story.sshd.known_hosts();
    let garbage =
        ["\0\u{1}\u{7f}", "@", "@unknown * x y", "a", "* ssh-ed25519", "* ssh-ed25519 !!!!", "|1|x|y ssh-rsa AAAA"];
    let mut lines: Vec<String> = garbage.map(str::to_owned).to_vec();
    lines.push(format!("{name} {ed25519}"));
    known(&file, &lines);
    let mut command = story.alone(&["-c", &story.uri(""), "-o", "json", "vm", "list"]);
    command.env("VMWIRE_LOG", "warn");
    let listed = Running::start(command).end();
    assert!(listed.code == 0 && listed.out.contains("web"), "{listed:?}");
    let skipped = |number: usize, why: &str| {
        let told = format!("{}:{number} is skipped: {why}", file.display());
        assert!(listed.err.contains(&told), "{told}: {listed:?}");
    };
    skipped(2, "its marker is not known");
    skipped(4, "it has no key");
    skipped(6, "its key is not base64");
    assert!(!listed.err.contains('\u{7f}'), "{listed:?}");

    std::fs::write(&file, vec![b'#'; 10 * 1024 * 1024 + 1]).unwrap();
    let message = format!("{} has more than 10485760 bytes", file.display());
    let error = story.fails("", 3, &message, "?known_hosts=PATH");
    assert_eq!(error["exit"], json!(3));
}
