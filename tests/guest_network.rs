//! A guest that can reach its host by network, and a host that listens on plain TCP.

use std::fmt::Write as _;

use vmwire_protocol::message::{ClientData, VmCall};
use vmwire_protocol::xdr::Text;

use crate::harness::{Guest, Setup, Shell, Way, packet};

/// Bytes as `printf` of a shell takes them.
fn octal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "\\{byte:03o}").unwrap();
        text
    })
}

#[test]
fn a_guest_cannot_stop_itself_through_a_plain_listener_of_its_host() {
    let Some(guest) = Guest::find("a_guest_cannot_stop_itself_through_a_plain_listener_of_its_host") else { return };
    let daemon = Setup::qemu().networked().start();
    daemon.define(&guest.definition("web", "", "", "[[nic]]\nnetwork = \"user\"\noutbound = true\n"));
    daemon.ok(&["vm", "start", "web"]);
    let (mut shell, _) = Shell::booted(&daemon, "web");
    assert!(shell.asks("net up").iter().any(|line| line.starts_with("GUEST-NET 10.0.2.")));

    let port = daemon.address(Way::Tcp).port();
    // QEMU brings what goes to 10.0.2.2 to the loopback of the host. The guest may look, as anybody who gets there may,
    let call = |data: &ClientData| {
        let mut body = Vec::new();
        data.encode(&mut body).unwrap();
        octal(&packet(1, 0, data.number(), &body[4..]))
    };
    let vm = || VmCall { vm: Text::clipped("web") };
    let mut says = |data: &ClientData| {
        let line = format!("printf '{}' | nc -w 5 10.0.2.2 {port} | tr -cd ' -~'; echo", call(data));
        shell.asks(&line).concat()
    };
    let shown = says(&ClientData::VmShow(vm()));
    assert!(shown.contains("VMW") && shown.contains("web"), "{shown}");
    // and is told no when it would do anything.
    for (data, name) in [
        (ClientData::VmStop(vm()), "vm-stop"),
        (ClientData::VmReboot(vm()), "vm-reboot"),
        (ClientData::VmUndefine(vm()), "vm-undefine"),
    ] {
        let told = says(&data);
        assert!(told.contains(&format!("{name} needs the role ")), "{told}");
        assert!(told.contains("; yours is observer"), "{told}");
        assert_eq!(daemon.state("web"), "running");
    }
    daemon.ok(&["vm", "stop", "web"]);
}
