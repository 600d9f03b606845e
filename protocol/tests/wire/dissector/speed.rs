//! What the dissector's speed is measured with, as `contrib/wireshark/README.md` says: a capture of VM_START and its answers,
//! and as many calls and answers of ONC RPC's port mapper, which tshark dissects itself; a packet a segment.

use std::path::Path;

use vmwire_protocol::message::{ClientData, ServerData, VmDoneAnswer, VmStartCall, vm_state};

use super::capture::{Capture, Side};
use super::talk::{Talk, text};
use super::tshark::Tshark;

/// Another script, which says at the end how the collector that all scripts have in common is set.
const PROBE: &str = r#"
local listener = Listener.new("frame")
function listener.draw()
  io.stdout:write(collectgarbage("setpause", 200), " ", collectgarbage("setstepmul", 200), "\n")
end
"#;

/// How many calls there are, where `VMWIRE_CALLS` does not say it.
const CALLS: u32 = 500;
/// Where the port mapper listens.
const RPC_PORT: u16 = 111;

/// A record of ONC RPC over TCP: its mark, and words.
fn record(words: &[u32]) -> Vec<u8> {
    let mark = 0x8000_0000 | u32::try_from(4 * words.len()).unwrap();
    [&[mark], words].concat().into_iter().flat_map(u32::to_be_bytes).collect()
}

fn vm_starts(calls: u32) -> Capture {
    let mut capture = Capture::new();
    let mut talk = Talk::new(&mut capture);
    for number in 1..=calls {
        let call = ClientData::VmStart(VmStartCall { vm: text("web1"), paused: false });
        let serial = talk.call(&mut capture, &call);
        let answer = VmDoneAnswer { operation: u64::from(number), state: vm_state::RUNNING };
        talk.say(&mut capture, serial, &ServerData::VmStart(answer));
    }
    capture
}

fn rpc_calls(calls: u32) -> Capture {
    let mut capture = Capture::new();
    let flow = capture.flow_to(RPC_PORT);
    for xid in 1..=calls {
        // A call of GETPORT, version 2 of program 100000, for NFS 3 over TCP; neither side shows credentials.
        let call = record(&[xid, 0, 2, 100_000, 2, 3, 0, 0, 0, 0, 100_003, 3, 6, 0]);
        capture.say(flow, Side::Client, &call);
        // Accepted, a success: port 2049.
        capture.say(flow, Side::Server, &record(&[xid, 1, 0, 0, 0, 0, 2049]));
    }
    capture
}

#[test]
fn many_calls_are_told_with_their_answers_and_so_are_those_of_the_yardstick() {
    let test = "many_calls_are_told_with_their_answers_and_so_are_those_of_the_yardstick";
    let calls = std::env::var("VMWIRE_CALLS").map_or(CALLS, |calls| calls.parse().expect("a number of calls"));
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let answered =
        [("vmwire.pcap", vm_starts(calls), "vmwire.response_in"), ("rpc.pcap", rpc_calls(calls), "rpc.repframe")];
    for (name, capture, filter) in answered {
        let path = directory.join(name);
        capture.write_to(&path);
        println!("{}", path.display());
        let Some(tshark) = Tshark::of(test, &capture) else { return };
        let frames = tshark.run(&["-2", "-Y", filter, "-T", "fields", "-e", "frame.number"]);
        assert_eq!(frames.lines().count(), usize::try_from(calls).unwrap(), "{filter}");
    }
}

#[test]
fn the_collector_of_other_scripts_is_left_alone_where_no_packet_is_ours() {
    let test = "the_collector_of_other_scripts_is_left_alone_where_no_packet_is_ours";
    let settings = |capture: &Capture| {
        let tshark = Tshark::of(test, capture)?;
        let probe = tshark.home().join("probe.lua");
        std::fs::write(&probe, PROBE).unwrap();
        let probe = format!("lua_script:{}", probe.display());
        Some((tshark.run_installed(&["-q", "-X", &probe]), tshark.run(&["-q", "-X", &probe])))
    };
    let Some((without, with)) = settings(&rpc_calls(5)) else { return };
    assert_eq!(with, without);
    let Some((without, with)) = settings(&vm_starts(5)) else { return };
    assert_ne!(with, without);
}
