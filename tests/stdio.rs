//! The bridge that ssh runs on the far side: standard input and output joined to the daemon's socket.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use vmwire_client::connection::{Connection, Options};
use vmwire_client::request;

use crate::harness::{Place, Running, Setup, VMWIRED, eventually, executable, skip, vmwire};

/// A bridge that runs. Killed when dropped.
struct Bridge(Child);

impl Bridge {
    /// Waits for its end, which has to be a good one without a word.
    fn ends_well(mut self) {
        let status = eventually("the bridge ends", || self.0.try_wait().unwrap());
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(status.success() && said.is_empty(), "{status}: {said}");
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the bridge to a URI with an end of a socket as its input and output; answers the other end.
fn bridge(uri: &str, settings: impl Fn(&mut Command)) -> (UnixStream, Bridge) {
    let (near, far) = UnixStream::pair().unwrap();
    let far = std::os::fd::OwnedFd::from(far);
    let mut command = vmwire();
    command.args(["-c", uri, "stdio"]).stdin(far.try_clone().unwrap()).stdout(far).stderr(Stdio::piped());
    settings(&mut command);
    (near, Bridge(command.spawn().unwrap()))
}

#[test]
fn a_conversation_goes_through_the_bridge_and_ends_it() {
    let mut daemon = Setup::test().start();
    daemon.define("name = \"web\"\nmemory = \"64 MiB\"\n");
    let (near, joined) = bridge(&daemon.uri(), |_| ());
    let mut connection = Connection::from_socket(near, Options::default()).unwrap();
    assert_eq!(connection.call(request::HostInfo, None).unwrap().vms_defined, 1);
    drop(connection);
    joined.ends_well();

    // And a daemon that goes ends it as well.
    let (near, joined) = bridge(&daemon.uri(), |_| ());
    let mut connection = Connection::from_socket(near, Options::default()).unwrap();
    daemon.signal(Signal::TERM);
    daemon.ended();
    assert!(connection.call(request::HostInfo, None).is_err());
    joined.ends_well();
}

#[test]
fn a_daemon_of_ones_own_is_started_for_it() {
    let place = Place::new();
    let (near, joined) = bridge("test:///default", |command| {
        command.env("XDG_STATE_HOME", place.join("state")).env("XDG_RUNTIME_DIR", place.join("run"));
        command.env("VMWIRE_DAEMON", VMWIRED);
    });
    let mut connection = Connection::from_socket(near, Options::default()).unwrap();
    let daemon = connection.call(request::DaemonInfo, None).unwrap();
    drop(connection);
    joined.ends_well();
    // It has a parent no more. Its number stays where nobody asks what became of it, as in a container without an init.
    let pid = Pid::from_raw(i32::try_from(daemon.pid).unwrap()).unwrap();
    let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let at_once = Timespec::default();
    eventually("it has gone", || {
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&at_once)).unwrap();
        (ended == 1).then_some(())
    });
}

#[test]
fn what_cannot_be_joined_is_told() {
    let place = Place::new();
    let run = |words: &[&str]| {
        let mut command = vmwire();
        command.args(["-o", "json"]).args(words);
        Running::start(command).end()
    };
    let socket = place.join("s").display().to_string();
    let nobody = run(&["-c", &format!("qemu:///system?socket={socket}"), "stdio"]).error(3);
    assert_eq!(nobody["message"], format!("cannot connect to {socket}"), "{nobody}");
    let far = run(&["-c", "qemu+tls://vm1/system", "stdio"]).error(2);
    assert_eq!(far["message"], "a bridge leads to a daemon of its own host, and this URI has tls", "{far}");
    assert!(far["hint"].as_str().unwrap().contains("qemu:///system"), "{far}");

    // Whoever listens and hangs up.
    let listener = UnixListener::bind(&socket).unwrap();
    let hangs_up = thread::spawn(move || drop(listener.accept().unwrap()));
    let mut command = vmwire();
    command.args(["-o", "json", "-c", &format!("qemu:///system?socket={socket}"), "stdio"]);
    let closed = Running::start(command).wait().error(3);
    assert_eq!(closed["message"], "the daemon closed the connection", "{closed}");
    hangs_up.join().unwrap();

    // A terminal is nothing to be joined: `script` gives it one.
    let inner = vmwire();
    let mut command = Command::new("script");
    command.args(["-qec", &format!("'{}' stdio", inner.get_program().display()), "/dev/null"]).env_remove("VMWIRE_URI");
    let told = Running::start(command).end();
    assert_eq!(told.code, 2, "{told:?}");
    assert!(told.out.contains("this joins the daemon's socket to a pipe, and here is a terminal"), "{told:?}");
    assert!(told.out.contains("hint: it is what -c qemu+ssh://HOST/system runs on HOST"), "{told:?}");
}

#[test]
fn who_may_not_open_the_hosts_socket_is_served_by_the_operators_one() {
    if !rustix::process::geteuid().is_root() {
        return skip("stdio::who_may_not_open_the_hosts_socket", "only root can have a /run of its own");
    }
    let place = Place::new();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // A host of one's own: nobody else sees this /run. The operators' socket is left to everybody.
    let config = "[[listen]]\npath = \"/run/vmwire/vmwired.sock\"\n[[listen]]\npath = \"/run/vmwire/operator.sock\"\n\
                  mode = \"0666\"\nrole = \"operator\"\n";
    let config = place.write("vmwired.toml", config);
    let program = place.join("vmwire");
    executable(&program, std::fs::read(vmwire().get_program()).unwrap());
    let script = place.write(
        "script",
        format!(
            "set -e\nmount -t tmpfs none /run\nmkdir -m 755 /run/vmwire\n'{VMWIRED}' --config {config} --driver test \
             --state-dir {0}/state --runtime-dir {0}/run 2>{0}/log &\ndaemon=$!\n\
             trap 'kill $daemon; wait $daemon' EXIT\nuntil grep -q 'listening at .*/operator.sock' {0}/log; do sleep 0.01; done\n\
             as() {{ setpriv --reuid 65534 --regid 65534 --clear-groups '{1}' -o json \"$@\"; }}\n\
             as -c qemu:///system version\nas -c qemu:///system stdio </dev/null\nrm /run/vmwire/operator.sock\n\
             as -c qemu:///system vm list 2>&1 || true\n",
            place.path().display(),
            program.display()
        ),
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", &script]);
    command.env_remove("VMWIRE_URI").env_remove("VMWIRE_LOG");
    let ran = Running::start(command).end();
    let log = std::fs::read_to_string(place.join("log")).unwrap_or_default();
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!((ran.code, lines.len()), (0, 2), "{ran:?} {log}");
    let served: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(served["daemon"]["role"], "operator", "{served}");
    let refused: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(refused["error"]["message"], "cannot connect to /run/vmwire/vmwired.sock", "{refused}");
    assert_eq!(refused["error"]["exit"], 4, "{refused}");
    let hint = refused["error"]["hint"].as_str().unwrap();
    assert!(hint.contains("puts into the group: groupadd -f vmwire && usermod -aG vmwire "), "{refused}");
}
