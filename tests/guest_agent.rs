//! The agents of a real guest, Debian's qemu-ga and our own: one after the other they have the channel, the daemon pings
//! them over it, and Wireshark reads what was said.

use std::path::Path;

use crate::agents::{LAST, answers, begin, end, has_tshark, nobody_listens, tells_of_a_ping};
use crate::harness::{Guest, Setup, Shell, VMWIRE_GA, skip};

/// The agent that everybody knows.
const QEMU_GA: &str = "/usr/sbin/qemu-ga";

#[test]
fn both_real_agents_are_pinged_over_their_channel_and_wireshark_tells_what_they_said() {
    let test = "both_real_agents_are_pinged_over_their_channel_and_wireshark_tells_what_they_said";
    if !has_tshark(test) {
        return;
    }
    if !Path::new(QEMU_GA).exists() {
        skip(test, "qemu-ga is not here: install qemu-guest-agent");
        return;
    }
    let Some(guest) = Guest::find(test) else { return };
    let daemon = Setup::qemu().start();
    let programs = [("/bin/qemu-ga", Path::new(QEMU_GA)), ("/bin/vmwire-ga", Path::new(VMWIRE_GA))];
    let channels = "channels = [\"org.qemu.guest_agent.0\"]";
    let definition = guest.definition_with(&programs, daemon.place().path(), "linux", channels);
    daemon.define(&format!("{definition}{LAST}"));
    daemon.ok(&["vm", "start", "linux"]);
    let (mut shell, _) = Shell::booted(&daemon, "linux");
    nobody_listens(&daemon, "linux");
    for agent in ["qemu-ga", "vmwire-ga"] {
        let file = daemon.place().join(&format!("{agent}.pcapng"));
        let capture = begin(&daemon, &file, &["--agents", "--vm", "linux"]);
        let words = "-m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run";
        shell.asks(&format!("{agent} {words} -f /run/{agent} 2>/run/errors </dev/null &"));
        answers(&daemon, "linux");
        daemon.ok(&["agent", "ping", "linux", "--timeout", "1m"]);
        daemon.ok(&["vm", "definition", "linux"]);
        end(capture, &file);
        tells_of_a_ping(&daemon, &file, "linux");
        shell.asks(&format!("killall -9 {agent}"));
        nobody_listens(&daemon, "linux");
    }
    daemon.ok(&["vm", "stop", "linux"]);
}
