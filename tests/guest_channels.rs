//! A guest's channels: whoever in the guest writes to one is not held up, whether somebody on the host wants to hear it or
//! not.

use crate::agents::{answers, nobody_listens};
use crate::harness::{Daemon, Guest, Setup, Shell, eventually};

const CHANNELS: [&str; 2] = ["com.example.0", "org.qemu.guest_agent.0"];

/// The guest writes a mebibyte to each channel, which is more than is held anywhere on the way.
fn writes_to_each(shell: &mut Shell) {
    for channel in CHANNELS {
        let written =
            format!("dd if=/dev/zero of=/dev/virtio-ports/{channel} bs=64k count=16 2>/dev/null && echo 1 MiB");
        assert_eq!(shell.asks(&written), ["1 MiB"], "{channel}");
    }
}

fn taken_up(daemon: &Daemon) -> Shell {
    eventually("the guest is taken up", || {
        (daemon.json(&["vm", "show", "linux"])["reason"] == "adopted").then_some(())
    });
    let shell = Shell(daemon.begin(&["vm", "console", "linux"]));
    eventually("the console is there again", || {
        daemon.json(&["vm", "show", "linux"])["console"]["writer"].is_string().then_some(())
    });
    shell
}

#[test]
fn a_guest_that_writes_to_its_channels_is_not_held_up_not_even_by_the_next_daemon() {
    let test = "a_guest_that_writes_to_its_channels_is_not_held_up_not_even_by_the_next_daemon";
    let Some(guest) = Guest::find(test) else { return };
    let daemon = Setup::qemu().start();
    daemon.define(&guest.definition("linux", "", &format!("channels = {CHANNELS:?}"), ""));
    daemon.ok(&["vm", "start", "linux"]);
    let (mut shell, _) = Shell::booted(&daemon, "linux");
    writes_to_each(&mut shell);
    drop(shell);

    let daemon = daemon.killed().start();
    let mut shell = taken_up(&daemon);
    writes_to_each(&mut shell);
    // Somebody writes while no daemon is there, and goes on when the next one is.
    for channel in CHANNELS {
        shell.asks(&format!("cat /dev/zero >/dev/virtio-ports/{channel} &"));
    }
    drop(shell);
    let daemon = daemon.killed().start();
    let mut shell = taken_up(&daemon);
    // Two that write without end keep neither the guest nor the daemon from anything else.
    assert_eq!(shell.asks("echo 6 times 7").last().map(String::as_str), Some("6 times 7"));
    daemon.ok(&["ping"]);
    daemon.ok(&["vm", "stop", "linux"]);
    assert_eq!(daemon.place().records(), []);
}

/// What the shell runs in place of an agent. While no daemon is connected it reads the end of the file, as every agent does.
const AGENT: &str = "answers() { while :; do IFS= read -r l <&3 || sleep 1; n=${l##*'\"id\":'}; n=${n%%'}'*}; \
    case $l in *sync*) printf '\\377{\"return\": %s}\\n' $n;; *ping*) printf '{\"return\": {}, \"id\": %s}\\n' $n;; \
    esac >&3; done; }";

#[test]
fn the_agent_of_a_real_guest_is_found_lost_and_found_again_by_the_next_daemon() {
    let test = "the_agent_of_a_real_guest_is_found_lost_and_found_again_by_the_next_daemon";
    let Some(guest) = Guest::find(test) else { return };
    let daemon = Setup::qemu().start();
    daemon.define(&guest.definition("linux", "", &format!("channels = {CHANNELS:?}"), ""));
    daemon.ok(&["vm", "start", "linux"]);
    let (mut shell, _) = Shell::booted(&daemon, "linux");
    nobody_listens(&daemon, "linux");
    shell.asks(&format!("exec 3<>/dev/virtio-ports/{}", CHANNELS[1]));
    shell.asks(AGENT);
    shell.asks("answers & p=$!");
    answers(&daemon, "linux");
    drop(shell);

    // The next daemon has to ask: nobody opens the channel again for it.
    let daemon = daemon.killed().start();
    let mut shell = taken_up(&daemon);
    answers(&daemon, "linux");
    shell.asks("kill $p; wait; exec 3>&-");
    nobody_listens(&daemon, "linux");
    // That nobody is there is found as well.
    drop(shell);
    let daemon = daemon.killed().start();
    drop(taken_up(&daemon));
    nobody_listens(&daemon, "linux");
    daemon.ok(&["vm", "stop", "linux"]);
}
