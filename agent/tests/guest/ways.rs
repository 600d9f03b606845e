//! The other ways to an agent than a virtio port: a serial line, and vsocks, for which the guest is its own host, as most machines
//! that run tests have no vsock.

use serde_json::json;

use crate::machine::{Machine, Plan};
use crate::port::Port;

const PERL: &str = "/usr/bin/perl";

/// Says to a vsock what it is given, and what it is answered up to so many line ends.
const CLIENT: &str = r#"
    my ($port, $lines) = @ARGV;
    socket(my $socket, 40, 1, 0) or die "socket: $!";
    for (1 .. 2400) {
        last if connect($socket, pack("SSLLx4", 40, 0, $port, 1));
        select(undef, undef, undef, 0.05);
    }
    local $/;
    syswrite($socket, scalar <STDIN>) or die "write: $!";
    while ($lines > 0) {
        sysread($socket, my $byte, 1) or die "read: $!";
        print $byte;
        $lines-- if $byte eq "\n";
    }
"#;

/// Starts an agent for whom somebody else listens on a vsock, as systemd does.
const ACTIVATOR: &str = r#"
    # What is opened is left to who is started.
    $^F = 9;
    my ($port, @words) = @ARGV;
    socket(my $socket, 40, 1, 0) or die "socket: $!";
    bind($socket, pack("SSLLx4", 40, 0, $port, 0xffffffff)) or die "bind: $!";
    listen($socket, 1) or die "listen: $!";
    fileno($socket) == 3 or die "it is not the first";
    @ENV{"LISTEN_PID", "LISTEN_FDS"} = ($$, 1);
    exec(@words) or die "exec: $!";
"#;

#[test]
fn a_serial_line_carries_what_a_host_says() {
    let test = "a_serial_line_carries_what_a_host_says";
    let qemu =
        ["-chardev", "socket,id=line,path={}/line,server=on,wait=off", "-device", "isa-serial,chardev=line,index=1"];
    let words = "-m,isa-serial,-p,/dev/ttyS1";
    let plan = Plan { program: "/bin/vmwire-ga", words, qemu: &qemu, kernel: "", programs: &[] };
    let Some(machine) = Machine::planned(test, &plan) else { return };
    // The one who looks on answers when all is started.
    machine.observer().ask_well("guest-ping", &json!({}));
    let mut agent = machine.connect("line");
    assert_eq!(agent.ask_well("guest-sync", &json!({"id": 7})), 7);
    // All that a line might take for itself: its ends, its flow control, bytes above ASCII.
    assert_eq!(
        agent.answers("{\"execute\":\"guest-ping\",\r\n\"id\":\"é\"}".as_bytes()),
        [br#"{"return": {}, "id": "\u00E9"}"#]
    );
    assert_eq!(agent.answers(b"\x11\x13\x04").len(), 3);
    // More than a line holds.
    let arguments = json!({"path": "head", "arg": ["-c", "20000", "/dev/zero"], "capture-output": true});
    let pid = agent.ask_well("guest-exec", &arguments)["pid"].clone();
    let said = loop {
        let status = agent.ask_well("guest-exec-status", &json!({"pid": pid}));
        if status["exited"] == json!(true) {
            break status["out-data"].as_str().unwrap().len();
        }
    };
    assert_eq!(said, 20000_usize.div_ceil(3) * 4);
}

/// What an agent at a vsock answers to a host that greets it.
fn answers(observer: &mut Port, port: u32) -> String {
    let asked = r#"\377{"execute":"guest-sync-delimited","arguments":{"id":4711}}\n{"execute":"guest-ping"}\n"#;
    observer.run(&format!("printf '{asked}' | {PERL} -e '{CLIENT}' {port} 3 2>&1 | tr '\\377' '#'"))
}

#[test]
fn a_vsock_is_listened_on_whoever_made_it() {
    let test = "a_vsock_is_listened_on_whoever_made_it";
    let words = "-m,vsock-listen,-p,4294967295:1234";
    let plan = Plan { program: "/bin/vmwire-ga", words, qemu: &[], kernel: "", programs: &[PERL] };
    let Some(machine) = Machine::planned(test, &plan) else { return };
    let mut observer = machine.observer();
    let expected = answers(&mut observer, 1234);
    assert!(expected.ends_with("\n#{\"return\": 4711}\n{\"return\": {}}\n"), "{expected}");
    // Who comes next is served as well, and nothing is left of who went.
    assert_eq!(answers(&mut observer, 1234), expected);
    let activated = format!("{PERL} -e '{ACTIVATOR}' 1235 vmwire-ga -t /tmp -f /tmp/pid </dev/null >/tmp/log 2>&1 &");
    observer.run(&activated);
    assert_eq!(answers(&mut observer, 1235), expected);
    // qemu-ga at the same place says the same.
    observer.run("mkdir -p /tmp/theirs; qemu-ga -m vsock-listen -p 4294967295:1236 -t /tmp/theirs >/tmp/log2 2>&1 &");
    assert_eq!(answers(&mut observer, 1236), expected);
}
