//! Debian's libvirt drives two guests that are alike but for their agent, qemu-ga and ours: whatever virsh asks for, it
//! says the same of both, and the same has happened in both.

mod host;

use host::{Host, Said};
use serde_json::Value;

use crate::compare::normalise;
use crate::effects::{begin_to_write, is_written, wait_until_written};
use crate::port::Port;

/// The two guests; the first one's agent is qemu-ga.
const GUESTS: [(&str, &str); 2] = [("theirs", "/bin/qemu-ga"), ("ours", "/bin/vmwire-ga")];

struct Pair {
    host: Host,
    observers: [Port; 2],
}

impl Pair {
    fn start(test: &str) -> Option<Pair> {
        let mut host = Host::start(test)?;
        for (name, program) in GUESTS {
            host.boot(name, program);
        }
        for (name, _) in GUESTS {
            host.wait_for(name);
        }
        let mut observers = GUESTS.map(|(name, _)| host.observer(name));
        // The router of QEMU's user network tells the prefix when it likes.
        for observer in &mut observers {
            observer.run_until("ip -6 addr show dev eth0", |said| said.contains("inet6 fec0:"));
        }
        Some(Pair { host, observers })
    }

    /// The same of both guests, `DOMAIN` in it being the guest: what virsh says of each. It may not differ.
    fn virsh(&self, command: &str) -> Said {
        let [theirs, ours] = self.each(command);
        assert_eq!(theirs, ours, "virsh {command}");
        ours
    }

    fn each(&self, command: &str) -> [Said; 2] {
        GUESTS.map(|(name, _)| {
            let words: Vec<String> = command.split(' ').map(|word| word.replace("DOMAIN", name)).collect();
            self.host.virsh(&words.iter().map(String::as_str).collect::<Vec<_>>())
        })
    }

    /// What must not fail.
    fn well(&self, command: &str) -> String {
        let said = self.virsh(command);
        assert!(said.well, "virsh {command}: {said:?}");
        said.out
    }

    /// What must fail: with which error.
    fn refused(&self, command: &str) -> String {
        let said = self.virsh(command);
        assert!(!said.well, "virsh {command}: {said:?}");
        said.err
    }

    /// Each guest's clock is this machine's.
    fn assert_clocks(&self) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        for said in self.each("domtime DOMAIN") {
            let time: u64 = said.out.strip_prefix("Time: ").unwrap_or_else(|| panic!("{said:?}")).parse().unwrap();
            assert!(time.abs_diff(now) < 60, "{time} is not {now}");
        }
    }

    /// What a command says in both guests.
    fn run(&mut self, command: &str) -> String {
        let [theirs, ours] = &mut self.observers;
        let (theirs, ours) = (theirs.run(command), ours.run(command));
        assert_eq!(theirs, ours, "{command}");
        ours
    }

    /// The answer to a request that virsh passes on.
    fn asked(&self, request: &str) -> String {
        let [theirs, ours] = GUESTS.map(|(name, _)| {
            let said = self.host.virsh(&["qemu-agent-command", name, request]);
            match serde_json::from_str::<Value>(&said.out) {
                Ok(mut value) => {
                    normalise("", &mut value);
                    value.to_string()
                }
                Err(_) => said.err,
            }
        });
        assert_eq!(theirs, ours, "{request}");
        ours
    }
}

#[test]
fn virsh_says_the_same_of_both_agents() {
    let Some(pair) = Pair::start("virsh_says_the_same_of_both_agents") else { return };
    assert_eq!(pair.well("domfsinfo DOMAIN"), "/mnt   vda   ext4   vda");
    assert!(pair.well("domifaddr DOMAIN --source agent").contains("192.0.2.7/24"));
    assert!(pair.well("domifaddr DOMAIN --source agent --full").contains("eth0       52:54:00:12:34:56    ipv4"));
    assert_eq!(pair.well("domhostname DOMAIN --source agent"), "guest");
    assert!(pair.well("guestvcpus DOMAIN").contains("online         : 0-1"));
    let all = pair.well("guestinfo DOMAIN");
    for line in [
        "os.name             : A Guest",
        "fs.0.disk.0.alias   : vda",
        "disk.0.alias        : vda",
        "if.count            : 2",
    ] {
        assert!(all.contains(line), "{line} is not in\n{all}");
    }
    for part in ["user", "os", "timezone", "hostname", "filesystem", "disk", "interface"] {
        let part = pair.well(&format!("guestinfo DOMAIN --{part}"));
        for line in part.lines() {
            assert!(all.contains(line), "{line} is not in\n{all}");
        }
    }
    pair.assert_clocks();

    assert!(pair.refused("guestvcpus DOMAIN --cpulist 7 --enable").contains("guest is missing vCPUs '7'"));
    assert!(pair.refused("guestvcpus DOMAIN --cpulist 0 --disable").contains("not offlinable"));
    assert!(pair.refused("set-user-password DOMAIN nobody-here x").contains("child process has failed"));
    assert!(pair.refused("get-user-sshkeys DOMAIN alice").contains("No such file or directory"));
    assert!(pair.refused("get-user-sshkeys DOMAIN nobody-here").contains("nobody-here"));
    assert!(pair.refused("domfsthaw DOMAIN --mountpoint /mnt").contains("not supported"));

    for request in [
        "guest-ping",
        "guest-info",
        "guest-get-osinfo",
        "guest-get-vcpus",
        "guest-get-fsinfo",
        "guest-get-disks",
        "guest-network-get-interfaces",
        "guest-fsfreeze-status",
    ] {
        let answer = pair.asked(&format!("{{\"execute\":\"{request}\"}}"));
        assert!(answer.starts_with("{\"return\":"), "{answer}");
    }
    let nope = pair.asked("{\"execute\":\"guest-nope\"}");
    assert!(nope.contains("The command guest-nope has not been found"), "{nope}");
    let bare = pair.asked("{\"execute\":\"guest-exec\"}");
    assert!(bare.contains("Parameter 'path' is missing"), "{bare}");
}

#[test]
fn what_virsh_changes_is_changed_in_both_guests() {
    let Some(mut pair) = Pair::start("what_virsh_changes_is_changed_in_both_guests") else { return };
    pair.well("guestvcpus DOMAIN --cpulist 1 --disable");
    assert_eq!(pair.run("cat /sys/devices/system/cpu/online"), "0\n");
    assert!(pair.well("guestvcpus DOMAIN").contains("online         : 0\n"));
    pair.well("setvcpus DOMAIN --guest 2");
    assert_eq!(pair.run("cat /sys/devices/system/cpu/online"), "0-1\n");

    // What was set has a salt of its own in each guest: each is asked whether it is the password.
    pair.well("set-user-password DOMAIN alice secret");
    let check = "set=$(grep ^alice: /etc/shadow | cut -d: -f2); salt=$(echo \"$set\" | cut -d'$' -f3); \
                 [ \"$(openssl passwd -6 -salt \"$salt\" secret)\" = \"$set\" ] && echo it is";
    assert_eq!(pair.run(check), "it is\n");
    pair.well("set-user-password DOMAIN alice $6$x$y --encrypted");
    assert_eq!(pair.run("grep ^alice: /etc/shadow | cut -d: -f2"), "$6$x$y\n");

    let keys = pair.host.write("keys", b"ssh-ed25519 AAAA one\nssh-ed25519 BBBB two\n");
    pair.well(&format!("set-user-sshkeys DOMAIN alice --file {keys}"));
    assert_eq!(pair.run("cat /home/alice/.ssh/authorized_keys"), "ssh-ed25519 AAAA one\nssh-ed25519 BBBB two\n");
    let gone = pair.host.write("gone", b"ssh-ed25519 AAAA one\n");
    pair.well(&format!("set-user-sshkeys DOMAIN alice --file {gone} --remove"));
    assert_eq!(pair.well("get-user-sshkeys DOMAIN alice"), "ssh-ed25519 BBBB two");

    pair.well("domtime DOMAIN --time 2000000000");
    assert_eq!(pair.run("date -u +%Y-%m-%d"), "2033-05-18\n");
    pair.well("domtime DOMAIN --now");
    pair.assert_clocks();
    for said in pair.each("domtime DOMAIN --pretty") {
        assert!(said.out.starts_with("Time: 20") && !said.out.contains("2033"), "{said:?}");
    }

    pair.well("domfstrim DOMAIN");
    freezing(&mut pair);
    leaving(&mut pair);
}

fn freezing(pair: &mut Pair) {
    pair.well("domfsfreeze DOMAIN");
    for observer in &mut pair.observers {
        begin_to_write(observer);
        observer.run("sleep 0.3");
        assert!(!is_written(observer));
    }
    assert!(pair.refused("domfsfreeze DOMAIN").contains("the agent is in frozen state"));
    assert!(pair.refused("domtime DOMAIN").contains("the agent is in frozen state"));
    assert!(pair.asked("{\"execute\":\"guest-fsfreeze-status\"}").contains("frozen"));
    pair.well("domfsthaw DOMAIN");
    pair.observers.iter_mut().for_each(wait_until_written);

    pair.well("domfsfreeze DOMAIN --mountpoint /mnt");
    assert!(pair.asked("{\"execute\":\"guest-fsfreeze-status\"}").contains("frozen"));
    pair.well("domfsthaw DOMAIN");
    // libvirt freezes and thaws around it.
    let place = pair.host.place("DOMAIN.snapshot");
    let snapshot = "snapshot-create-as DOMAIN s --disk-only --quiesce --no-metadata --diskspec";
    pair.well(&format!("{snapshot} vda,file={place}"));
    assert!(pair.asked("{\"execute\":\"guest-fsfreeze-status\"}").contains("thawed"));
    pair.observers.iter_mut().for_each(begin_to_write);
    pair.observers.iter_mut().for_each(wait_until_written);
}

fn leaving(pair: &mut Pair) {
    // What virsh says of it is a race of libvirt's own: the guest may be gone before its agent is known to have been asked.
    pair.each("shutdown DOMAIN --mode agent");
    for (name, _) in GUESTS {
        // It was never defined, so that nobody knows it any more.
        pair.host.wait_for_state(name, "");
    }
}
