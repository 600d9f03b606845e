//! From segments to packets: cut anywhere, several in one, on any port, with bytes lost.

use vmwire_protocol::message::{ClientData, ListCall, number};
use vmwire_protocol::version::NEWEST_MINOR;
use vmwire_protocol::xdr::Text;

use super::capture::{Capture, Side};
use super::tshark::Tshark;
use crate::support::packets::{packet, raw};
use crate::support::server::hello;

/// Three packets of a client, and what is said of them.
fn client_bytes() -> Vec<u8> {
    let list = ClientData::VmNames(ListCall { after: Text::clipped("db1"), rows_max: 5 });
    [packet(1, &hello(1, NEWEST_MINOR, &[1])), packet(2, &list), packet(3, &ClientData::Ping)].concat()
}

const SENTENCES: [&str; 3] = ["HELLO: speaks 1.2, can progress, is \"test\"", "VM_NAMES", "PING"];

#[test]
fn packets_are_found_wherever_segments_end() {
    let test = "packets_are_found_wherever_segments_end";
    let bytes = client_bytes();
    let mut capture = Capture::new();
    for cut in 1..bytes.len() {
        let flow = capture.flow();
        capture.say(flow, Side::Client, &bytes[..cut]);
        capture.say(flow, Side::Client, &bytes[cut..]);
    }
    let singly = capture.flow();
    bytes.chunks(1).for_each(|byte| capture.say(singly, Side::Client, byte));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let frames = tshark.frames(&[]);
    for flow in 0..bytes.len() {
        let of_flow = || frames.iter().filter(|frame| frame.stream() == flow);
        let serials: Vec<&String> = of_flow().flat_map(|frame| frame.all("vmwire.serial")).collect();
        assert_eq!(serials, ["1", "2", "3"], "cut at {}", flow + 1);
        let complaints: Vec<String> = of_flow().flat_map(super::tshark::Frame::complaints).collect();
        assert_eq!(complaints, ["unanswered"; 3], "cut at {}", flow + 1);
    }
}

#[test]
fn several_packets_of_one_segment_are_all_told_of() {
    let test = "several_packets_of_one_segment_are_all_told_of";
    let mut capture = Capture::new();
    let flow = capture.flow();
    capture.say(flow, Side::Client, &client_bytes());
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    assert_eq!(tshark.sentences(&[]), [SENTENCES.join(" | ")]);
}

#[test]
fn it_is_found_by_its_magic_on_any_port_and_where_one_is_told() {
    let test = "it_is_found_by_its_magic_on_any_port_and_where_one_is_told";
    let mut capture = Capture::new();
    for port in [7777, 22, 8080] {
        let flow = capture.flow_to(port);
        capture.say(flow, Side::Client, &client_bytes()[..9]);
        capture.say(flow, Side::Client, &client_bytes()[9..]);
    }
    let slow = capture.flow_to(9999);
    client_bytes().chunks(3).for_each(|bytes| capture.say(slow, Side::Client, bytes));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    let streams = |arguments: &[&str]| {
        let mut streams: Vec<usize> = tshark.frames(arguments).iter().map(super::tshark::Frame::stream).collect();
        streams.dedup();
        streams
    };
    // 22 is SSH's and 8080 is HTTP's, and neither is asked first.
    assert_eq!(streams(&["-o", "tcp.try_heuristic_first:TRUE"]), [0, 1, 2]);
    assert_eq!(streams(&[]), [0]);
    assert_eq!(streams(&["-d", "tcp.port==9999,vmwire"]), [0, 3]);
    assert_eq!(streams(&["-o", "vmwire.ports:16515,9990-9999"]), [0, 3]);
}

#[test]
fn the_next_magic_is_found_after_bytes_were_lost() {
    let test = "the_next_magic_is_found_after_bytes_were_lost";
    let ping = |serial| raw(serial, 0, number::PING, &[]);
    let long = packet(2, &hello(1, NEWEST_MINOR, &[1; 60]));
    let mut capture = Capture::new();
    let flow = capture.flow();
    capture.say(flow, Side::Client, &ping(1));
    capture.lose(flow, Side::Client, &long[..100]);
    capture.say(flow, Side::Client, &[&long[100..], &ping(3), &ping(4)].concat());
    // Bytes that nobody lost, but that do not belong there.
    capture.say(flow, Side::Client, b"what is this?");
    capture.say(flow, Side::Client, &ping(5));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_read();
    let frames = tshark.frames(&[]);
    let serials: Vec<&String> = frames.iter().flat_map(|frame| frame.all("vmwire.serial")).collect();
    assert_eq!(serials, ["1", "3", "4", "5"]);
    let complaints: Vec<String> = frames.iter().flat_map(super::tshark::Frame::complaints).collect();
    let complaints: Vec<&str> = complaints.iter().map(String::as_str).filter(|of| *of != "unanswered").collect();
    assert_eq!(complaints, ["bad_magic", "serial", "bad_magic"]);
}

/// In the middle of a packet there is no magic, so the first pass does not take the segment for one of ours; later ones do.
#[test]
fn a_segment_that_only_later_passes_show_hides_no_conversation() {
    let test = "a_segment_that_only_later_passes_show_hides_no_conversation";
    let ping = |serial| raw(serial, 0, number::PING, &[]);
    let mut capture = Capture::new();
    let flow = capture.flow_to(7777);
    capture.say(flow, Side::Client, &[&ping(1)[4..], &ping(2)].concat());
    capture.say(flow, Side::Client, &ping(3));
    capture.say(flow, Side::Server, &raw(9, 3, number::PING, &[]));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_read();
    let frames = tshark.frames(&[]);
    let serials: Vec<&String> = frames.iter().flat_map(|frame| frame.all("vmwire.serial")).collect();
    assert_eq!(serials, ["2", "3", "9"], "the first of them is shown in the second pass");
    let (call, answer) = (&frames[1], &frames[2]);
    assert_eq!(call.all("vmwire.response_in"), [answer.one("frame.number")]);
    assert_eq!(answer.all("vmwire.request_in"), [call.one("frame.number")]);
    let sides: Vec<&str> = frames.iter().map(|frame| frame.one("vmwire.from")).collect();
    assert_eq!(sides, ["client", "client", "server"]);
}

/// What was said of a frame in pieces is put together; what was said of it when it was dissected before is not.
#[test]
fn a_frame_that_is_shown_again_says_the_same_again() {
    let test = "a_frame_that_is_shown_again_says_the_same_again";
    let mut capture = Capture::new();
    let flow = capture.flow();
    capture.say(flow, Side::Client, &client_bytes()[..9]);
    capture.say(flow, Side::Client, &client_bytes()[9..]);
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    let Some(shown) = tshark.shown_by_sharkd(test, &[5, 5, 5]) else { return };
    assert_eq!(shown, [SENTENCES.join(" | "), SENTENCES.join(" | "), SENTENCES.join(" | ")]);
}

#[test]
fn a_copy_in_the_folder_of_plugins_is_all_that_it_needs() {
    let test = "a_copy_in_the_folder_of_plugins_is_all_that_it_needs";
    let mut capture = Capture::new();
    let flow = capture.flow();
    capture.say(flow, Side::Client, &client_bytes());
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    let sentences = ["-T", "fields", "-e", "_ws.col.Info", "-Y", "tcp.len > 0"];
    assert!(!tshark.run_installed(&sentences).contains("HELLO"), "it is installed before it was");
    tshark.install();
    assert_eq!(tshark.run_installed(&sentences), format!("{}\n", SENTENCES.join(" | ")));
}
