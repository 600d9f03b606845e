//! By the ssh program, against a real ssh server: who is let in, and every way not to be, with its words.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};

use crate::harness::{
    Daemon, Far, NobodysPort, Place, Running, SOON, Setup, Sshd, SshdSetup, eventually, keygen, line_of, public,
};

/// A daemon with a virtual machine, and an ssh server before it.
struct Story {
    daemon: Daemon,
    sshd: Sshd,
}

impl Story {
    fn start(setup: SshdSetup) -> Self {
        let daemon = Setup::test().start();
        daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
        Self { daemon, sshd: setup.start() }
    }

    fn uri(&self) -> String {
        self.sshd.uri(&self.daemon.socket(), "&transport=ssh")
    }

    /// Lists the virtual machines, which has to work.
    fn lists(&self, uri: &str) {
        let listed = self.sshd.vmwire(&["-c", uri, "-o", "json", "vm", "list"]).json();
        assert_eq!(listed[0]["name"], "web", "{listed}");
    }

    /// Tries to, which has to fail with this code; answers the error.
    fn error(&self, uri: &str, code: i32) -> Value {
        self.sshd.vmwire(&["-c", uri, "-o", "json", "vm", "list"]).error(code)
    }

    /// The same with the usual URI: the message has to be this one, and a hint has to hold this.
    #[track_caller]
    fn fails(&self, code: i32, message: &str, hint: &str) -> Value {
        self.fails_at(&self.uri(), code, message, hint)
    }

    #[track_caller]
    fn fails_at(&self, uri: &str, code: i32, message: &str, hint: &str) -> Value {
        let error = self.error(uri, code);
        assert_eq!(error["message"], message, "{error}");
        assert!(error["hint"].as_str().unwrap_or_default().contains(hint), "{error}");
        error
    }
}

/// Whether something that somebody else said is among the causes.
fn is_caused_by(error: &Value, words: &str) -> bool {
    error["causes"].as_array().unwrap().iter().any(|cause| cause.as_str().unwrap().contains(words))
}

#[test]
fn what_ends_a_capture_ends_its_ssh_program_as_well_and_is_no_failure() {
    let story = Story::start(SshdSetup::default());
    let path = story.daemon.place().join("both.pcapng");
    let mut command = story.sshd.command(&["-c", &story.uri(), "capture", "-w", path.to_str().unwrap()]);
    // As a shell begins it: ^C goes to all of them.
    command.process_group(0);
    let capture = Running::start(command);
    eventually("it has begun", || capture.err().contains("capturing into").then_some(()));
    let ssh = children(capture.pid())[0];
    // It hears of it once ssh has ended.
    capture.signal(Signal::STOP);
    let group = Pid::from_raw(i32::try_from(capture.pid()).unwrap()).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    eventually("ssh has ended", || {
        let state = std::fs::read_to_string(format!("/proc/{ssh}/stat")).ok()?;
        state.rsplit(')').next()?.starts_with(" Z ").then_some(())
    });
    capture.signal(Signal::CONT);
    let ran = capture.wait();
    assert!(ran.code == 0 && ran.err.contains(": 0 packets, "), "{ran:?}");
}

/// The processes that one has begun.
fn children(pid: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    listed.split_ascii_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

#[test]
fn whoever_is_let_in_by_ssh_is_served_as_the_user_over_there() {
    let story = Story::start(SshdSetup::default());
    let version = story.sshd.vmwire(&["-c", &story.uri(), "-o", "json", "version"]).json()["daemon"].clone();
    assert_eq!((&version["transport"], &version["role"]), (&json!("ssh"), &json!("admin")), "{version}");
    assert_eq!(version["uri"], story.uri());
    // All in the URI, and nothing of the settings.
    let (sshd, port) = (&story.sshd, story.sshd.address().port());
    let (key, hosts) = (sshd.key().display().to_string(), sshd.known_hosts().display().to_string());
    let socket = story.daemon.socket().display().to_string();
    let uri = format!(
        "test+ssh://root@127.0.0.1:{port}/default?socket={socket}&keyfile={key}&known_hosts={hosts}&transport=ssh"
    );
    sshd.place().write("ssh_config", "BatchMode yes\n");
    story.lists(&uri);
    // What the user has set for a shell is not in the way of a pipe.
    sshd.settings("RemoteCommand echo hello\nRequestTTY force\nLocalForward 127.0.0.1:1 127.0.0.1:2\nPermitLocalCommand yes\nLocalCommand echo hello\nSessionType none\nStdinNull yes\nForkAfterAuthentication yes\n");
    story.lists(&story.uri());
}

#[test]
fn nothing_is_left_of_ssh_when_its_client_is_gone() {
    let story = Story::start(SshdSetup::default());
    story.sshd.leaves_nothing_behind(&story.daemon, &story.uri());
}

#[test]
fn a_far_side_that_is_not_as_it_should_be_is_told_with_its_own_words() {
    let story = Story::start(SshdSetup::default());
    let far = |script: &str| story.sshd.far(Far::Script(script));
    far("printf 'Welcome to vm1\\n\\033]0;x\\007'; cat >&2");
    let noise = "vm1 printed \"Welcome to vm1\\n\\u{1b}]0;x\\u{7}\" before the daemon's first packet";
    let error = story.fails(3, noise, "ssh vm1 true");
    assert_eq!(error["code"], "SSH");
    far("printf '\\211VMX\\0\\0\\0\\0'; cat >&2");
    story.fails(3, "vm1 printed \"\u{fffd}VMX\\0\\0\\0\\0\" before the daemon's first packet", "start-up file");
    far("exit 0");
    story.fails(3, "what was run on vm1 ended without a word", "ForceCommand");
    far("echo 'this account is closed' >&2; exit 1");
    let error = story.fails(3, "ssh to vm1 ended with exit status: 1", "ssh vm1 vmwire version");
    assert!(is_caused_by(&error, "this account is closed"), "{error}");
    far(r#"echo '{"error":{"code":"USAGE","exit":2,"message":"unrecognized subcommand"}}' >&2; exit 2"#);
    story.fails(3, "vmwire on vm1 is too old to be a bridge", "update vmwire on vm1");
    story.sshd.far(Far::Nothing);
    let error = story.fails(3, "there is no vmwire on vm1", "install vmwire on vm1 where ssh finds it");
    assert!(is_caused_by(&error, "vmwire: command not found") || is_caused_by(&error, "not found"), "{error}");
    far("exit 126");
    story.fails(3, "vmwire on vm1 cannot be run", "make it executable");
    // On a terminal nothing of it acts.
    far("printf '\\033[2Jgone\\n' >&2; exit 1");
    let told = story.sshd.vmwire(&["-c", &story.uri(), "vm", "list"]).fails(3);
    assert!(told.contains("cause: \\u{1b}[2Jgone\n") && !told.contains('\u{1b}'), "{told}");

    story.sshd.far(Far::Built);
    let nowhere = story.sshd.uri(Path::new("/nonexistent/s"), "&transport=ssh");
    let message = "on vm1: cannot connect to /nonexistent/s";
    let error = story.fails_at(&nowhere, 3, message, "is the daemon running there?");
    assert!(is_caused_by(&error, "No such file or directory"), "{error}");
    story.lists(&story.uri());
}

#[test]
fn a_host_that_is_not_to_be_trusted_and_one_that_does_not_trust_us_are_told() {
    let story = Story::start(SshdSetup::default());
    let known = line_of(&story.sshd.known_hosts());
    let knows = |text: &str| drop(story.sshd.place().write("known_hosts", text));
    knows("");
    story.fails(3, "the key of vm1 is not known, and nobody is there to be asked", "ssh vm1 true");
    keygen(&story.sshd.place().join("other"), &["-t", "ed25519"]);
    let (name, _) = known.split_once(' ').unwrap();
    let other = line_of(&public(&story.sshd.place().join("other")));
    knows(&format!("{name} {other}\n"));
    let print = |line: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), line).unwrap();
        let output = Command::new("ssh-keygen").args(["-l", "-f"]).arg(file.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
    };
    let file = story.sshd.known_hosts();
    let message = format!(
        "vm1 shows another key than the one it is known by: ED25519 {} and not ED25519 {}, which line 1 of {} has",
        print(&known.replacen(&format!("{name} "), "", 1)),
        print(&other),
        file.display()
    );
    // Also where the program alone would let it pass.
    for checking in ["yes", "ask", "accept-new", "no"] {
        story.sshd.settings(&format!("StrictHostKeyChecking {checking}"));
        let error = story.fails(3, &message, &format!("if it is new: ssh-keygen -R '{name}' -f {}", file.display()));
        assert_eq!(error["causes"], json!([]), "it is all in the message: {error}");
    }
    story.sshd.settings("");
    knows(&format!("@revoked {known}\n"));
    let error = story.fails(3, "vm1 shows a key that was revoked", "before its admin has said why");
    assert!(!is_caused_by(&error, "@"), "{error}");
    // A marker makes the program the one that is taken.
    let error = story.error(&story.sshd.uri(&story.daemon.socket(), ""), 3);
    assert_eq!(error["message"], "vm1 shows a key that was revoked", "{error}");
    assert!(is_caused_by(&error, "by the ssh program, because line 1 of"), "{error}");
    knows(&format!("\u{0}\u{7f}garbage\n|1|x\n{known}\n@\n"));
    story.lists(&story.uri());

    story.sshd.place().write("authorized_keys", "");
    let hint =
        format!("put your public key ({}.pub) into ~/.ssh/authorized_keys on vm1; for", story.sshd.key().display());
    let error = story.fails(4, "vm1 does not let this user in", &hint);
    assert!(error["code"] == "DENIED" && is_caused_by(&error, "Permission denied (publickey)"), "{error}");
}

#[test]
fn a_host_that_cannot_be_reached_is_told() {
    let story = Story::start(SshdSetup::default());
    let nobodys = NobodysPort::take();
    let free = nobodys.port();
    let at = |host: &str| format!("test+ssh://{host}/default?transport=ssh");
    let refused = format!("cannot connect to 127.0.0.1:{free}: connection refused");
    story.fails_at(&at(&format!("127.0.0.1:{free}")), 3, &refused, "does sshd run there");
    let message = "cannot connect to no-such-host.invalid: its name cannot be looked up";
    story.fails_at(&at("no-such-host.invalid"), 3, message, "is the host called no-such-host.invalid?");

    // Somebody who listens and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = at(&silent.local_addr().unwrap().to_string());
    let began = Instant::now();
    let told = story.sshd.vmwire(&["-c", &uri, "--timeout", "2s", "-o", "json", "vm", "list"]).error(6);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(told["code"], "DEADLINE_EXCEEDED", "{told}");
}

#[test]
fn settings_that_ssh_does_not_understand_and_no_ssh_are_told() {
    let story = Story::start(SshdSetup::default());
    story.sshd.settings("Nonsense yes");
    let error = story.fails(3, "ssh does not understand what is set for vm1", "ssh vm1");
    assert!(is_caused_by(&error, "Bad configuration option: nonsense"), "{error}");
    story.sshd.settings("Match exec \"sleep 60\"\n  User you");
    let began = Instant::now();
    let uri = story.uri();
    let told = story.sshd.vmwire(&["-c", &uri, "--timeout", "3s", "-o", "json", "vm", "list"]).error(6);
    assert_eq!(told["message"], "ssh does not say in time what is set for vm1", "{told}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    story.sshd.settings("ProxyJump other");
    let error = story.error(&uri.replace("transport=ssh", "transport=ssh2"), 3);
    let message = "vm1 cannot be reached by ssh2 as the URI wants it: its settings have ProxyJump other";
    assert_eq!(error["message"], message, "{error}");

    let mut without = story.sshd.command(&["-c", &uri, "-o", "json", "vm", "list"]);
    without.env("PATH", "/nonexistent");
    let error = Running::start(without).end().error(3);
    assert_eq!(error["message"], "there is no ssh program, and it is needed: the URI says transport=ssh", "{error}");
    assert_eq!(error["hint"], "install it: apt install openssh-client");
}

#[test]
fn a_server_that_is_too_old_is_told() {
    let old = SshdSetup::default().line("KexAlgorithms diffie-hellman-group1-sha1");
    let story = Story::start(old);
    let error = story.fails(3, "vm1 offers only algorithms that ssh does not take any more", "update it");
    assert!(is_caused_by(&error, "Their offer: diffie-hellman-group1-sha1"), "{error}");
}

#[test]
fn hosts_on_the_way_and_hosts_with_certificates_are_for_the_program() {
    let jump = SshdSetup::default().start();
    let ca = jump.place().join("ca");
    keygen(&ca, &["-t", "ed25519"]);
    let key = jump.place().join("certified");
    keygen(&key, &["-t", "ed25519"]);
    let mut signing = Command::new("ssh-keygen");
    let signed = signing.arg("-s").arg(&ca).args(["-I", "vm1", "-h", "-n", "vm1"]).arg(public(&key)).output().unwrap();
    assert!(signed.status.success(), "{signed:?}");
    let certificate = jump.place().join("certified-cert.pub");
    let story =
        Story::start(SshdSetup::default().host_key(&key).line(&format!("HostCertificate {}", certificate.display())));

    // It is known by nothing but its authority, and reached through the other.
    story.sshd.place().write("known_hosts", format!("@cert-authority vm1 {}\n", line_of(&public(&ca))));
    let through = format!(
        "Host jump\n  HostName 127.0.0.1\n  Port {}\n  IdentityFile {}\n  UserKnownHostsFile {}\nHost vm1\n  \
         ProxyJump jump\n  HostKeyAlias vm1\nHost *",
        jump.address().port(),
        jump.key().display(),
        jump.known_hosts().display()
    );
    story.sshd.settings(&through);
    let uri = story.sshd.uri(&story.daemon.socket(), "");
    let mut listing = story.sshd.command(&["-c", &uri, "vm", "list"]);
    listing.env("VMWIRE_LOG", "debug");
    let listed = Running::start(listing).end();
    assert!(listed.code == 0 && listed.out.contains("web"), "{listed:?}");
    assert!(listed.err.contains("vm1: by the ssh program, because its settings have ProxyJump jump"), "{listed:?}");
    eventually("it came through there", || jump.log().contains("Accepted publickey").then_some(()));

    story.sshd.settings("Host vm1\n  HostKeyAlias vm1\nHost *");
    let mut listing = story.sshd.command(&["-c", &uri, "vm", "list"]);
    listing.env("VMWIRE_LOG", "debug");
    let listed = Running::start(listing).end();
    assert!(listed.code == 0 && listed.out.contains("web"), "{listed:?}");
    assert!(listed.err.contains("because line 1 of") && listed.err.contains("has a marker"), "{listed:?}");
}

#[test]
fn a_connection_that_the_user_shares_is_shared() {
    let story = Story::start(SshdSetup::default());
    let path = story.sshd.place().join("master");
    story.sshd.settings(&format!("ControlMaster auto\nControlPath {}\nControlPersist 60", path.display()));
    let began = Instant::now();
    story.lists(&story.uri());
    story.lists(&story.uri());
    assert!(began.elapsed() < SOON, "the master that stays is not waited for");
    // Each session is told when it is let in, by a process of its own, which a busy machine runs later.
    eventually("it is let in", || story.sshd.log().contains("Accepted publickey").then_some(()));
    assert_eq!(story.sshd.log().matches("Accepted publickey").count(), 1, "{}", story.sshd.log());
    let mut over = Command::new(story.sshd.place().join("near/ssh"));
    let over = over.args(["-O", "exit", "vm1"]).output().unwrap();
    assert!(over.status.success(), "{over:?}");

    // One that would not stay is not made.
    story.sshd.settings(&format!("ControlMaster auto\nControlPath {}", path.display()));
    story.lists(&story.uri());
    assert!(!path.exists());
}

/// Passes on what somebody says to an address, and so many bytes of its answer. Then it hangs up, or says nothing more.
fn passes(to: SocketAddr, bytes: usize, hangs_up: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let passed = Arc::new(AtomicUsize::new(0));
    let count = passed.clone();
    thread::spawn(move || {
        let (near, _) = listener.accept().unwrap();
        let far = TcpStream::connect(to).unwrap();
        let (mut from, mut into) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        thread::spawn(move || {
            // Whoever goes, goes.
            let _ = std::io::copy(&mut from, &mut into);
            let _ = into.shutdown(Shutdown::Write);
        });
        let (mut left, mut buffer) = (bytes, [0; 4096]);
        while left > 0 {
            let wanted = buffer.len().min(left);
            let Ok(came @ 1..) = (&far).read(&mut buffer[..wanted]) else { break };
            left -= came;
            count.fetch_add(came, Ordering::SeqCst);
            if (&near).write_all(&buffer[..came]).is_err() {
                break;
            }
        }
        if !hangs_up {
            // Until the other end goes.
            let _ = (&near).read(&mut [0]);
            while matches!((&near).read(&mut buffer), Ok(1..)) {}
        }
        let _ = near.shutdown(Shutdown::Both);
        let _ = far.shutdown(Shutdown::Both);
    });
    (address, passed)
}

#[test]
fn a_connection_that_is_cut_at_any_stage_ends_in_words() {
    let story = Story::start(SshdSetup::default());
    let host = line_of(&story.sshd.known_hosts());
    let (name, _) = host.split_once(' ').unwrap();
    let settings = format!("HostKeyAlias {name}\nHost *");
    story.sshd.settings(&settings);
    let socket = story.daemon.socket();
    let at = |address: SocketAddr| format!("test+ssh://{address}/default?socket={}&transport=ssh", socket.display());
    let (address, passed) = passes(story.sshd.address(), usize::MAX, true);
    story.lists(&at(address));
    let whole = passed.load(Ordering::SeqCst);
    assert!(whole > 1000, "{whole}");

    // The whole of it in steps: version, keys, login, the bridge, the daemon's answers.
    let stages = 14;
    let cuts: Vec<usize> = (0..stages).map(|stage| whole * stage / stages).chain([1, 30]).collect();
    thread::scope(|scope| {
        for cuts in cuts.chunks(4) {
            let tried = cuts.iter().map(|&cut| {
                let (story, at) = (&story, &at);
                scope.spawn(move || {
                    let (address, _) = passes(story.sshd.address(), cut, true);
                    let error = story.error(&at(address), 3);
                    let message = error["message"].as_str().unwrap();
                    let words = [
                        format!("the connection to {address} was cut"),
                        format!("the connection to {address} was lost"),
                        // A second attempt finds nobody who passes anything on.
                        format!("cannot connect to {address}: connection refused"),
                    ];
                    assert!(words.iter().any(|words| words == message), "after {cut} of {whole}: {error}");
                    assert_ne!(error["hint"], Value::Null, "after {cut} of {whole}: {error}");
                })
            });
            let tried: Vec<_> = tried.collect();
            tried.into_iter().for_each(|one| one.join().unwrap());
        }
    });
    for silent in [whole / 3, whole * 2 / 3] {
        let (address, _) = passes(story.sshd.address(), silent, false);
        let words = ["-c", &at(address), "--timeout", "2s", "-o", "json", "vm", "list"];
        let began = Instant::now();
        let error = story.sshd.vmwire(&words).error(6);
        assert_eq!(error["code"], "DEADLINE_EXCEEDED", "{error}");
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
}

#[test]
fn a_client_that_is_interrupted_while_it_logs_in_leaves_no_ssh_behind() {
    let story = Story::start(SshdSetup::default());
    story.sshd.far(Far::Script("echo began >&2; exec cat >/dev/null"));
    let mut command = story.sshd.command(&["-c", &story.uri(), "vm", "list"]);
    command.env("VMWIRE_LOG", "debug");
    let listing = Running::start(command);
    eventually("the far side runs", || listing.err().contains(": began").then_some(()));
    let pid = Pid::from_raw(i32::try_from(listing.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    eventually("its session is over", || (story.sshd.sessions() == 0).then_some(()));
}

/// Runs the command line on a terminal of its own.
fn at_a_terminal(sshd: &Sshd, words: &str) -> Running {
    let inner = sshd.command(&[]);
    let mut command = Command::new("script");
    command.args(["-qec", &format!("'{}' {words}", inner.get_program().display()), "/dev/null"]);
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Running::start(command)
}

#[test]
fn a_person_at_a_terminal_is_asked_by_ssh_and_told_what_the_host_says() {
    let place = Place::new();
    let words = place.write("words", "Authorized uses only\n\u{1b}[2J\n");
    let story = Story::start(SshdSetup::default().line(&format!("Banner {words}")));
    story.sshd.settings("BatchMode no\nStrictHostKeyChecking ask\nHashKnownHosts no");
    let known = line_of(&story.sshd.known_hosts());
    story.sshd.place().write("known_hosts", "");
    // With several hosts at once, programs would read each other's answers.
    let told = at_a_terminal(&story.sshd, &format!("-H '{}' vm list", story.uri())).end();
    assert!(told.out.contains("the key of vm1 is not known, and nobody is there to be asked"), "{told:?}");

    let mut listing = at_a_terminal(&story.sshd, &format!("-c '{}' --timeout 20s vm list", story.uri()));
    listing.expect("Are you sure you want to continue connecting");
    // Whoever looks a fingerprint up takes longer than a daemon may.
    thread::sleep(Duration::from_secs(21));
    listing.write("yes\n");
    listing.expect("vm1: Warning: Permanently added ");
    listing.expect("vm1: Authorized uses only\r");
    listing.expect("web");
    assert_eq!(listing.end().code, 0);
    assert!(known.starts_with(&line_of(&story.sshd.known_hosts())), "the same but for the comment");
}
