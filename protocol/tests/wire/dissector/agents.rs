//! What passes between the daemon and agents in guests, as captures have it: lines of JSON, which Wireshark's own dissector
//! is given, and what no agent should say.

use std::net::{IpAddr, Ipv4Addr};

use vmwire_protocol::message::ClientData;

use super::capture::{AGENT_PORT, Capture, Flow, Side};
use super::tshark::Tshark;
use crate::support::packets::packet;

const SYNC: &[u8] = b"\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":4711}}\n";
const PING: &[u8] = b"{\"execute\":\"guest-ping\",\"id\":8}\n";
const SYNCHRONISED: &[u8] = b"\xff{\"return\": 4711}\n";
const PONG: &[u8] = b"{\"return\": {}, \"id\": 8}\n";
/// What agents say about a byte FF.
const STRAY: &[u8] = br#"{"error": {"class": "GenericError", "desc": "JSON parse error, stray '\\xFF'"}}
"#;
const UNKNOWN: &[u8] =
    br#"{"error": {"class": "CommandNotFound", "desc": "The command guest-ping has not been found"}, "id": 8}
"#;

/// Frames that have these, each with these columns.
fn rows(tshark: &Tshark, filter: &str, columns: &[&str]) -> Vec<String> {
    let columns: Vec<&str> = columns.iter().flat_map(|column| ["-e", column]).collect();
    let said = tshark.run(&[&["-2", "-Y", filter, "-T", "fields"], &columns[..]].concat());
    said.lines().map(str::to_owned).collect()
}

fn sentences(tshark: &Tshark) -> Vec<String> {
    rows(tshark, "vmwire_agent", &["_ws.col.Info"])
}

/// The whole of what a ping is.
fn ping(capture: &mut Capture, lane: Flow) {
    capture.say(lane, Side::Client, SYNC);
    capture.pass_us(2400);
    capture.say(lane, Side::Server, &[STRAY, SYNCHRONISED].concat());
    capture.say(lane, Side::Client, PING);
    capture.pass_us(400);
    capture.say(lane, Side::Server, PONG);
}

#[test]
fn each_line_is_a_sentence_and_wiresharks_own_dissector_reads_it() {
    let test = "each_line_is_a_sentence_and_wiresharks_own_dissector_reads_it";
    let mut capture = Capture::new();
    let lane = capture.lane(7);
    ping(&mut capture, lane);
    capture.say(lane, Side::Client, PING);
    capture.say(lane, Side::Server, UNKNOWN);
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let expected = [
        "resynchronisation | guest-sync-delimited 4711",
        "FAILED: GenericError, JSON parse error, stray '\\xFF' | resynchronisation | \
         guest-sync-delimited 4711: returned 4711 (2.5 ms)",
        "guest-ping",
        "guest-ping: returned (0.5 ms)",
        "guest-ping",
        "guest-ping FAILED: CommandNotFound, The command guest-ping has not been found (0.1 ms)",
    ];
    assert_eq!(sentences(&tshark), expected);
    let columns =
        ["execute", "error", "resync", "request_in", "response_in", "time"].map(|of| format!("vmwire_agent.{of}"));
    let columns: Vec<&str> = ["frame.number"].into_iter().chain(columns.iter().map(String::as_str)).collect();
    let expected = [
        "1\tguest-sync-delimited\t\tff\t\t2\t",
        "2\t\tGenericError\tff\t1\t\t0.002500000",
        "3\tguest-ping\t\t\t\t4\t",
        "4\t\t\t\t3\t\t0.000500000",
        "5\tguest-ping\t\t\t\t6\t",
        "6\t\tCommandNotFound\t\t5\t\t0.000100000",
    ];
    assert_eq!(rows(&tshark, "vmwire_agent", &columns), expected);
    assert_eq!(rows(&tshark, "json.value.string == \"guest-ping\"", &["frame.number"]), ["3", "5"]);
    assert_eq!(rows(&tshark, "json.value.number == 4711", &["frame.number"]), ["1", "2"]);
    assert_eq!(rows(&tshark, "json", &["_ws.col.Protocol"]), ["vmwire agent"; 6]);
}

#[test]
fn lines_are_found_wherever_segments_end() {
    let test = "lines_are_found_wherever_segments_end";
    let bytes = [SYNC, PING].concat();
    let mut capture = Capture::new();
    for (number, cut) in (0..).zip(1..bytes.len()) {
        let lane = capture.lane(number);
        capture.say(lane, Side::Client, &bytes[..cut]);
        capture.say(lane, Side::Client, &bytes[cut..]);
        capture.say(lane, Side::Server, PONG);
    }
    let singly = capture.lane(u16::MAX);
    bytes.chunks(1).for_each(|byte| capture.say(singly, Side::Client, byte));
    PONG.chunks(1).for_each(|byte| capture.say(singly, Side::Server, byte));
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let told = rows(&tshark, "vmwire_agent", &["tcp.stream", "_ws.col.Info"]);
    let answered = rows(&tshark, "vmwire_agent.request_in", &["tcp.stream"]);
    for stream in 0..bytes.len() {
        let start = format!("{stream}\t");
        let mut said: Vec<&str> =
            told.iter().filter_map(|row| row.strip_prefix(&start)).flat_map(|said| said.split(" | ")).collect();
        let answer = said.pop().unwrap();
        assert_eq!(said, ["resynchronisation", "guest-sync-delimited 4711", "guest-ping"], "cut at {}", stream + 1);
        assert!(answer.starts_with("guest-ping: returned ("), "{answer}");
        assert!(answered.contains(&stream.to_string()));
    }
}

#[test]
fn what_is_no_json_is_shown_as_what_it_is() {
    let test = "what_is_no_json_is_shown_as_what_it_is";
    let deep = ["[".repeat(65), "]".repeat(65)].concat();
    let no_json: [&[u8]; 15] = [
        deep.as_bytes(),
        b"{\"return\": }",
        b"{\"return\": {}",
        b"{\"return\": {}} {}",
        b"{\"return\": 01}",
        b"{\"return\": \"\x01\"}",
        b"{\"return\": \"\\x\"}",
        b"{\"return\": \"\xc0\x80\"}",
        b"{'return': 1}",
        b"{\"return\"; 1}",
        b"{\"a\": 1,}",
        b"[1 2]",
        b"\0\x01\x02",
        b"\x89VMW\0\0\0\x0c",
        b"HTTP/1.1 400 Bad Request\r",
    ];
    let mut capture = Capture::new();
    for (number, bytes) in (0..).zip(no_json) {
        let lane = capture.lane(number);
        capture.say(lane, Side::Client, PING);
        capture.say(lane, Side::Server, &[bytes, b"\n", PONG].concat());
    }
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let expected: Vec<String> = no_json
        .iter()
        .map(|bytes| format!("{} bytes that are no JSON | guest-ping: returned (0.1 ms)", bytes.len()))
        .collect();
    assert_eq!(rows(&tshark, "vmwire_agent.expert.no_json", &["_ws.col.Info"]), expected);
}

/// What is JSON, and neither request nor answer.
#[test]
fn json_that_says_nothing_that_agents_say_is_told_as_that() {
    let test = "json_that_says_nothing_that_agents_say_is_told_as_that";
    let mut capture = Capture::new();
    let lane = capture.lane(1);
    for text in ["4711", "[{}]", "{}", "{\"execute\": {}}", "\"\\u0000\"", "null", "-1.5e+3", "{\"event\": \"x\"}"] {
        capture.say(lane, Side::Server, format!("{text}\n").as_bytes());
    }
    capture.say(lane, Side::Server, b"{\"error\": \"x\"}\n");
    capture.say(lane, Side::Server, b"{\"error\": {\"class\": []}}\n");
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let told = sentences(&tshark);
    assert_eq!(told[..8], ["neither a request nor an answer"; 8]);
    assert_eq!(told[8..], ["FAILED: no class"; 2]);
}

#[test]
fn a_line_without_an_end_is_shown_when_it_is_longer_than_any() {
    let test = "a_line_without_an_end_is_shown_when_it_is_longer_than_any";
    let mut capture = Capture::new();
    let lane = capture.lane(1);
    capture.say(lane, Side::Client, PING);
    for _ in 0..70 {
        capture.say(lane, Side::Server, &[b'{'; 2000]);
    }
    capture.say(lane, Side::Server, b"\n");
    capture.say(lane, Side::Server, PONG);
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let told = sentences(&tshark);
    let expected = ["66000 bytes that are no JSON", "66000 bytes that are no JSON", "8000 bytes that are no JSON"];
    assert_eq!(told[1..4], expected);
    assert!(told[4].starts_with("guest-ping: returned ("), "{told:?}");
}

#[test]
fn nothing_that_a_guest_says_is_an_error_of_the_script() {
    let test = "nothing_that_a_guest_says_is_an_error_of_the_script";
    let mut capture = Capture::new();
    let said = [STRAY, SYNCHRONISED, PONG, UNKNOWN].concat();
    let mut lanes = 0..;
    let mut lane = |capture: &mut Capture| {
        let lane = capture.lane(lanes.next().unwrap());
        capture.say(lane, Side::Client, &[SYNC, PING].concat());
        lane
    };
    for at in 0..said.len() {
        let lane = lane(&mut capture);
        let marked = [&said[..at], b"\xff", &said[at..]].concat();
        capture.say(lane, Side::Server, &marked);
        let mut damaged = said.clone();
        damaged[at] = !damaged[at];
        capture.say(lane, Side::Server, &damaged);
        capture.say(lane, Side::Server, &said[at..]);
        capture.say(lane, Side::Server, &said[..at]);
    }
    let deep =
        |open: &str, close: &str, levels: usize| [open.repeat(levels), close.repeat(levels), "\n".to_owned()].concat();
    let most = [
        deep("[", "]", 64),
        deep("[", "]", 65),
        deep("[", "]", 30_000),
        deep("{\"a\":", "}", 12_000),
        "{}\n".repeat(21_000),
        format!("[{}0]\n", "0,".repeat(32_000)),
        format!("{{{}\"a\":0}}\n", "\"a\":0,".repeat(10_000)),
        format!("{{\"execute\": \"{}\"}}\n", "\u{e9}".repeat(30_000)),
        format!("{{\"error\": {{\"class\": \"{0}\", \"desc\": \"{0}\"}}}}\n", "\u{e9}".repeat(15_000)),
        format!("{}\n", "9".repeat(60_000)),
    ];
    for text in most {
        let lane = lane(&mut capture);
        capture.say(lane, Side::Server, text.as_bytes());
    }
    let lane_of_marks = lane(&mut capture);
    capture.say(lane_of_marks, Side::Server, &[0xff; 60_000]);
    let junk: Vec<u8> = (0..60_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    capture.say(lane_of_marks, Side::Server, &junk);
    capture.lose(lane_of_marks, Side::Server, b"{");
    capture.say(lane_of_marks, Side::Server, PONG);
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_read();
}

#[test]
fn the_port_is_left_to_others_and_agents_elsewhere_are_found_by_decode_as() {
    let test = "the_port_is_left_to_others_and_agents_elsewhere_are_found_by_decode_as";
    let mut capture = Capture::new();
    let elsewhere = capture.flow_to(9999);
    capture.say(elsewhere, Side::Client, SYNC);
    let foreign = capture.flow_to(AGENT_PORT);
    capture.say(foreign, Side::Client, PING);
    // One of ours, by chance at that port.
    let ours = capture.flow_to(AGENT_PORT);
    capture.say(ours, Side::Client, &packet(1, &ClientData::Ping));
    let address = |last| IpAddr::from(Ipv4Addr::new(192, 0, 2, last));
    let from = capture.flow_between((address(1), AGENT_PORT), (address(2), 80));
    capture.say(from, Side::Client, PING);
    let lane = capture.lane(3);
    capture.say(lane, Side::Server, b"junk\n");
    capture.say(lane, Side::Server, PONG);
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let streams = |arguments: &[&str], filter| {
        let mut said = tshark.run(&[arguments, &["-Y", filter, "-T", "fields", "-e", "tcp.stream"]].concat());
        said = said.replace('\n', " ");
        said
    };
    assert_eq!(streams(&[], "vmwire_agent"), "4 ");
    assert_eq!(streams(&[], "vmwire"), "2 ");
    assert_eq!(streams(&["-d", "tcp.port==9999,vmwire_agent"], "vmwire_agent"), "0 4 ");
    assert_eq!(streams(&["-o", "vmwire.ports:16515,16530-16540"], "vmwire_agent"), "4 ");
}

#[test]
fn an_answer_that_comes_late_is_not_taken_for_another() {
    let test = "an_answer_that_comes_late_is_not_taken_for_another";
    let mut capture = Capture::new();
    let lane = capture.lane(1);
    let other = capture.lane(2);
    capture.say(lane, Side::Client, PING);
    capture.say(lane, Side::Client, SYNC);
    capture.say(lane, Side::Server, PONG);
    capture.say(lane, Side::Server, b"\xff{\"return\": 4710}\n");
    capture.say(other, Side::Server, SYNCHRONISED);
    // A guest that asks: nobody answers it, least of all itself.
    capture.say(lane, Side::Server, PING);
    capture.say(lane, Side::Server, SYNCHRONISED);
    capture.say(lane, Side::Server, PONG);
    capture.say(lane, Side::Client, PING);
    capture.say(lane, Side::Server, b"{\"return\": {}, \"id\": 7}\n");
    capture.say(lane, Side::Server, PONG);
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    assert_eq!(
        rows(&tshark, "vmwire_agent.request_in", &["frame.number", "vmwire_agent.request_in"]),
        ["7\t2", "11\t9"]
    );
    assert_eq!(rows(&tshark, "vmwire_agent.response_in", &["frame.number"]), ["2", "9"]);
}

/// As when somebody selects it: the dissector of JSON has written into the column meanwhile.
#[test]
fn a_line_that_is_shown_again_says_the_same_again() {
    let test = "a_line_that_is_shown_again_says_the_same_again";
    let mut capture = Capture::new();
    let lane = capture.lane(1);
    capture.say(lane, Side::Client, &SYNC[..20]);
    capture.say(lane, Side::Client, &[&SYNC[20..], PING].concat());
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    let Some(shown) = tshark.shown_by_sharkd(test, &[2, 2, 2]) else { return };
    assert_eq!(shown, ["guest-sync-delimited 4711 | guest-ping"; 3]);
}
