//! Somebody new, at a terminal: each command is the one that the hint before it says, from no key at all to a list of
//! virtual machines. The host is one of its own, as far as it matters: its sshd sees another `/etc`, `/run` and home of
//! root, and so does the terminal with its home.

use std::cell::RefCell;
use std::fs::File;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Place, Ran, Running, VMWIRED, eventually, executable, has_qemu, keygen, line_of, vmwire};

/// Starts the daemon as the unit would.
const SYSTEMCTL: &str = r#"#!/bin/sh
set -e
case "$*" in
"start vmwired" | "enable --now vmwired") [ ! -S /run/vmwire/vmwired.sock ] || exit 0 ;;
"restart vmwired") kill "$(cat /run/vmwired.pid)" ;;
*) echo "systemctl: $* was not expected" >&2 && exit 1 ;;
esac
wait_until() { left=600; until eval "$1"; do left=$((left - 1)); [ $left -gt 0 ] || exit 1; sleep 0.05; done; }
wait_until '[ ! -S /run/vmwire/vmwired.sock ]'
setsid /run/opt/vmwired --state-dir /run/state </dev/null >>/run/log 2>&1 &
echo $! >/run/vmwired.pid
# Its name is there before it listens.
wait_until '/run/opt/vmwire -c qemu:///system ping >/run/pinged 2>&1'
[ -e /run/defined ] || /run/opt/vmwire -c qemu:///system vm define /run/web.toml >/run/defined
"#;

/// A host with the accounts root and alice, on which nothing of vmwire runs. Ended when dropped.
struct Host {
    place: Place,
    sshd: Child,
    /// What was told, error by error.
    told: RefCell<Vec<String>>,
}

/// Everything that is bound over something else, for `unshare --mount`; what was built may lie in the home.
const HOST: &str = "mount --bind \"$VMWIRE\" run/opt/vmwire && mount --bind \"$VMWIRED\" run/opt/vmwired &&
    mount --bind etc /etc && mount --rbind run /run && mount --bind home \"$ROOT\" &&
    { id alice 2>/dev/null || useradd --password '*' --home-dir /run/alice --create-home --shell /bin/sh alice; } &&
    exec /usr/sbin/sshd -D -e -f sshd_config";
const TERMINAL: &str = "mount --bind \"$VMWIRE\" bin/vmwire && mount --bind near \"$ROOT\" && cd \"$ROOT\" &&
    exec script --quiet --return --flush --command \"$LINE\" /dev/null";

/// A line of shell where the other mounts are seen by nobody else.
fn elsewhere(place: &Place, line: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", line]).current_dir(place.path()).env_clear();
    command.env("VMWIRE", vmwire().get_program()).env("VMWIRED", VMWIRED).env("ROOT", home_of_root());
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn home_of_root() -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let root = passwd.lines().find(|line| line.split(':').nth(2) == Some("0")).unwrap();
    root.split(':').nth(5).unwrap().to_owned()
}

impl Host {
    /// Starts it; nothing where that cannot be.
    fn start(test: &str) -> Option<Self> {
        if !has_qemu(test) {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can make a host of its own");
            return None;
        }
        let place = Place::new();
        let copied = Command::new("cp").args(["-a", "/etc"]).arg(place.join("etc")).status().unwrap();
        assert!(copied.success());
        // What the machine itself has of these is none of the story's.
        for file in ["passwd", "shadow", "group", "gshadow"] {
            let text = std::fs::read_to_string(place.join("etc").join(file)).unwrap();
            let others = text.lines().filter(|line| !line.starts_with("alice:") && !line.starts_with("vmwire:"));
            std::fs::write(place.join("etc").join(file), others.collect::<Vec<_>>().join("\n") + "\n").unwrap();
        }
        let _none_is_there = std::fs::remove_dir_all(place.join("etc/vmwire"));
        for dir in ["run/sshd", "run/vmwire", "run/bin", "run/opt", "home", "near/.ssh", "bin"] {
            std::fs::create_dir_all(place.join(dir)).unwrap();
        }
        for file in ["run/opt/vmwire", "run/opt/vmwired", "bin/vmwire"] {
            place.write(file, "");
        }
        executable(&place.join("run/bin/systemctl"), SYSTEMCTL);
        place.write("run/web.toml", "name = \"web\"\nmemory = \"64 MiB\"\n");
        keygen(&place.join("host_key"), &["-t", "ed25519"]);
        // The port is free now; who takes it meanwhile makes the server end, and then another is tried.
        let sshd = eventually("sshd has a port", || Self::listen(&place));
        Some(Self { place, sshd, told: RefCell::default() })
    }

    fn listen(place: &Place) -> Option<Child> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "HostKey {}\nPort {port}\nListenAddress 127.0.0.1\nPidFile none\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nStrictModes no\nAuthorizedKeysFile .ssh/authorized_keys\n\
             SetEnv PATH=/run/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
            place.join("host_key").display()
        );
        place.write("sshd_config", config);
        place.write("near/.ssh/config", format!("Host vm1\n  HostName 127.0.0.1\n  Port {port}\n"));
        let log = File::create(place.join("log")).unwrap();
        let mut command = elsewhere(place, HOST);
        let mut sshd = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        eventually("sshd listens or ends", || {
            let log = std::fs::read_to_string(place.join("log")).unwrap();
            if sshd.try_wait().unwrap().is_some() {
                assert!(log.contains("Address already in use"), "{log}");
                return Some(false);
            }
            log.contains("Server listening").then_some(true)
        })
        .then_some(sshd)
    }

    /// Somebody who is in does something there.
    fn somebody(&self, line: &str) {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.sshd.id().to_string(), "sh", "-ec", line]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    }

    /// Somebody new types a line, and one answer after the other.
    fn typed(&self, line: &str, answers: &[(&str, &str)]) -> Ran {
        let mut command = elsewhere(&self.place, TERMINAL);
        command.env("LINE", line).env("SHELL", "/bin/sh").env("HOME", home_of_root()).env("TERM", "dumb");
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.place.join("bin").display()));
        let mut terminal = Running::start(command);
        for (question, answer) in answers {
            terminal.expect(question);
            terminal.write(answer);
        }
        terminal.wait()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let daemon = std::fs::read_to_string(self.place.join("run/vmwired.pid")).ok();
        let daemon = daemon.and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?));
        let _ended_already = daemon.map(|pid| kill_process(pid, Signal::KILL));
        let _ended_already = self.sshd.kill();
        let _ = self.sshd.wait();
        if std::thread::panicking() {
            for log in ["log", "run/log"] {
                eprintln!("---- {log} ----\n{}", std::fs::read_to_string(self.place.join(log)).unwrap_or_default());
            }
        }
    }
}

/// What an error says to do, on one line.
fn hint(told: &Ran) -> String {
    let (_, hint) = told.out.split_once("hint: ").unwrap_or_else(|| panic!("there is no hint: {told:?}"));
    hint.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands between two words.
fn between<'a>(text: &'a str, before: &str, behind: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(behind).map(|(between, _)| between)
}

/// Does what a hint says to do first, wherever that is; answers what it was.
fn follow(host: &Host, user: &str, hint: &str) -> String {
    let over_there = |line: &str| {
        let ran = host.typed(&format!("ssh root@vm1 '{line}'"), &[]);
        assert_eq!(ran.code, 0, "{hint}\n{ran:?}");
        line.to_owned()
    };
    if let Some(file) = between(hint, "let somebody who is in put your public key (", ")") {
        let into = between(hint, &format!("{file}) into "), " on vm1").unwrap();
        let key = line_of(&host.place.join("near").join(file.strip_prefix(&home_of_root()).unwrap().trim_matches('/')));
        host.somebody(&format!("mkdir -p $(dirname {into}) && echo '{key}' >>{into}"));
        return into.to_owned();
    }
    if hint.contains("make a key with ssh-keygen") || hint.contains("; ssh-keygen makes one") {
        let answers = [("Enter file", "\r"), ("Enter passphrase", "\r"), ("Enter same passphrase", "\r")];
        assert_eq!(host.typed("ssh-keygen", &answers).code, 0);
        return "ssh-keygen".to_owned();
    }
    if hint.starts_with("install vmwire on vm1 where ssh finds it") {
        return over_there("ln -s /run/opt/vmwire /run/bin/vmwire");
    }
    let rest = hint.strip_prefix(&format!("on vm1 (ssh {user}@vm1): ")).unwrap_or_else(|| panic!("{hint}"));
    if rest.starts_with("is vmwired installed") {
        let lines = rest.split('(').skip(1).filter_map(|part| part.split_once(')'));
        let lines = lines.map(|(line, _)| line).filter(|line| line.contains("vmwire"));
        return lines.map(over_there).collect::<Vec<_>>().join("; ");
    }
    let (first, _) = rest.split_once("; ").unwrap_or_else(|| panic!("{hint}"));
    over_there(first.rsplit_once(": ").unwrap_or_else(|| panic!("{hint}")).1)
}

/// Lists until there is a list, and does what every hint says meanwhile; answers what that was. Whoever comes for the first
/// time is asked whether the host is the right one.
fn follows(host: &Host, user: &str, transport: &str, first: bool) -> Vec<String> {
    let list = format!("vmwire -c 'qemu+ssh://{user}@vm1/system?transport={transport}' vm list");
    let mut done: Vec<String> = Vec::new();
    loop {
        let asked: &[_] = if first && done.is_empty() { &[("(yes/no/", "yes\r")] } else { &[] };
        let told = host.typed(&list, asked);
        if told.code == 0 {
            assert!(told.out.contains("web"), "{told:?}");
            return done;
        }
        host.told.borrow_mut().push(told.out.clone());
        let hint = hint(&told);
        let step = follow(host, user, &hint);
        assert!(!done.contains(&step), "it leads in a circle: {done:?}, {hint}");
        done.push(step);
    }
}

const IN_THE_GROUP: &str = "groupadd -f vmwire && usermod -aG vmwire alice && systemctl restart vmwired";

#[test]
fn the_hints_lead_somebody_new_from_no_key_to_a_list_by_ssh2() {
    let Some(host) = Host::start("the_hints_lead_somebody_new_from_no_key_to_a_list_by_ssh2") else { return };
    host.somebody("ln -s /run/opt/vmwire /run/bin/vmwire");
    let done = follows(&host, "root", "ssh2", true);
    assert_eq!(done, ["ssh-keygen", "~root/.ssh/authorized_keys", "systemctl start vmwired"]);
    let done = follows(&host, "alice", "ssh2", false);
    assert_eq!(done, ["~alice/.ssh/authorized_keys", IN_THE_GROUP]);
    // The page for whoever would rather read first tells the same. What a hint says behind a semicolon it leaves out.
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = one_line(include_str!("../docs/remote.md")).replace("vm1.example.org", "vm1");
    for told in host.told.borrow().iter().filter(|told| !told.contains("~alice/")) {
        let told = one_line(&told[told.find("vmwire: ").unwrap()..]).replace(&home_of_root(), "/home/me");
        let told = told.replace("id_rsa", "id_ed25519");
        let (words, hint) = told.split_once(" hint: ").unwrap();
        let words = format!("{words} hint: {}", hint.split("; ").next().unwrap());
        assert!(page.contains(&words), "{words}");
    }
}

#[test]
fn the_hints_lead_somebody_new_to_a_list_by_ssh2_where_there_is_no_vmwire_to_say_what_is_wrong() {
    let Some(host) =
        Host::start("the_hints_lead_somebody_new_to_a_list_by_ssh2_where_there_is_no_vmwire_to_say_what_is_wrong")
    else {
        return;
    };
    let done = follows(&host, "root", "ssh2", true);
    assert_eq!(done, ["ssh-keygen", "~root/.ssh/authorized_keys", "systemctl enable --now vmwired"]);
    let done = follows(&host, "alice", "ssh2", false);
    assert_eq!(done, ["~alice/.ssh/authorized_keys", &format!("systemctl enable --now vmwired; {IN_THE_GROUP}")]);
}

#[test]
fn the_hints_lead_somebody_new_from_no_key_to_a_list_by_the_program() {
    let Some(host) = Host::start("the_hints_lead_somebody_new_from_no_key_to_a_list_by_the_program") else { return };
    let installed = "ln -s /run/opt/vmwire /run/bin/vmwire";
    let done = follows(&host, "root", "ssh", true);
    assert_eq!(done, ["ssh-keygen", "~root/.ssh/authorized_keys", installed, "systemctl start vmwired"]);
    let done = follows(&host, "alice", "ssh", false);
    assert_eq!(done, ["~alice/.ssh/authorized_keys", IN_THE_GROUP]);
}
