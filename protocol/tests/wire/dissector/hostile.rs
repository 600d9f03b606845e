//! What is wrong in a capture: every row of the table of hostile input, with the answers that a real session gives, and
//! damage of every sort. There is never an error of the script, and the complaints are those that `complaints.txt` lists.

use std::fmt::Write as _;
use std::path::Path;

use vmwire_protocol::message::{ClientData, Failure, ServerData, code};
use vmwire_protocol::version::NEWEST_MINOR;
use vmwire_protocol::xdr::Sampler;

use super::capture::{Capture, PORT, Side};
use super::talk::Talk;
use super::tshark::{Frame, Tshark};
use crate::hostile::rows::To::{Agreed, AgreedObserver, AgreedVmAdmin};
use crate::hostile::rows::rows;
use crate::hostile::session;
use crate::support::packets::{packet, raw};
use crate::support::server::{Server, hello};

/// What the session writes about bytes.
fn answered(server: &mut Server, bytes: &[u8]) -> Vec<u8> {
    server.show(bytes);
    let unsent = server.session.outbox().unsent().to_vec();
    server.session.outbox().advance(unsent.len());
    server.session.flushed();
    unsent
}

#[test]
fn each_hostile_row_gets_the_complaints_that_are_listed_and_no_other() {
    let test = "each_hostile_row_gets_the_complaints_that_are_listed_and_no_other";
    let mut capture = Capture::new();
    let rows = rows();
    for row in &rows {
        let flow = capture.flow();
        let mut server = session(row.to);
        if matches!(row.to, Agreed | AgreedObserver | AgreedVmAdmin) {
            // `session` has agreed already; the capture has what was said.
            let said = packet(1, &hello(1, NEWEST_MINOR, &[1]));
            let answer = answered(&mut Server::new(), &said);
            capture.say(flow, Side::Client, &said);
            capture.say(flow, Side::Server, &answer);
        }
        capture.say(flow, Side::Client, &row.bytes);
        let answer = answered(&mut server, &row.bytes);
        if !answer.is_empty() {
            capture.say(flow, Side::Server, &answer);
        }
        capture.end(flow, Side::Client);
    }
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_read();
    let frames = tshark.frames(&[]);
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        writeln!(text, "{}", row.name).unwrap();
        for frame in frames.iter().filter(|frame| frame.stream() == number) {
            let side = if frame.one("tcp.dstport") == PORT.to_string() { "client" } else { "server" };
            let complaints = frame.complaints();
            // Whoever is refused before its call is taken gets no answer to it, and whoever stops in the middle neither.
            let complaints: Vec<_> = complaints.into_iter().filter(|complaint| complaint != "unanswered").collect();
            writeln!(text, "    {side}: {}", complaints.join(", ")).unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/dissector/complaints.txt");
    super::hold(&path, &text);
}

#[test]
fn what_looks_like_another_protocol_is_called_what_the_daemon_calls_it() {
    let test = "what_looks_like_another_protocol_is_called_what_the_daemon_calls_it";
    let mut capture = Capture::new();
    let mut expected = Vec::new();
    for row in rows() {
        // Those that come on a port of TLS are TLS.
        if row.to != crate::hostile::rows::To::Fresh || row.name == "TLS" {
            continue;
        }
        let mut server = session(row.to);
        let heard = server.exchange(&row.bytes).1;
        let Some(ServerData::Failure(failure)) = heard.last().map(|said| &said.data) else { continue };
        let Some(like) = failure.fact("looks_like").filter(|like| like.starts_with('a') && failure.code == 7) else {
            continue;
        };
        let flow = capture.flow();
        capture.say(flow, Side::Client, &row.bytes);
        expected.push(format!("this looks like {like}"));
    }
    assert!(expected.len() >= 6, "{expected:?}");
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    assert_eq!(tshark.sentences(&[]), expected);
}

#[test]
fn an_operation_that_is_no_number_is_that_of_no_call() {
    let test = "an_operation_that_is_no_number_is_that_of_no_call";
    let told = ["abc", "", "nan", "-inf", "1e999", "0x", "12"];
    let mut capture = Capture::new();
    let mut talk = Talk::new(&mut capture);
    for operation in told {
        let serial = talk.call(&mut capture, &ClientData::Ping);
        talk.fail(&mut capture, serial, Failure::new(code::DRIVER, "no").detail("operation", operation));
    }
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_sound();
    let complaints: Vec<String> = tshark.frames(&[]).iter().flat_map(Frame::complaints).collect();
    assert_eq!(complaints, ["failure"; 7]);
}

#[test]
fn damage_of_every_sort_is_no_error_of_the_script() {
    let test = "damage_of_every_sort_is_no_error_of_the_script";
    let mut capture = Capture::new();
    let mut sampler = Sampler::sparing(5, 300);
    let damage = |sampler: &mut Sampler, mut bytes: Vec<u8>| {
        let length = bytes.len();
        let mut index = |below: usize| usize::try_from(sampler.bits() % u64::try_from(below).unwrap()).unwrap();
        for _ in 0..=index(3) {
            match index(4) {
                0 => bytes.truncate(index(length) + 1),
                1 => bytes.insert(index(bytes.len()), 0xff),
                2 => bytes.extend_from_slice(&[0; 5]),
                _ => {
                    let at = index(bytes.len());
                    bytes[at] = u8::try_from(index(256)).unwrap();
                }
            }
        }
        bytes
    };
    for _ in 0..3 {
        for number in ClientData::NUMBERS {
            let flow = capture.flow();
            let bytes = packet(1, &ClientData::sample(*number, &mut sampler).unwrap());
            let bytes = damage(&mut sampler, bytes);
            capture.say(flow, Side::Client, &bytes);
            capture.say(flow, Side::Client, &packet(2, &ClientData::Ping));
        }
        for number in ServerData::NUMBERS {
            let flow = capture.flow();
            let mut body = Vec::new();
            ServerData::sample(*number, &mut sampler).unwrap().encode(&mut body).unwrap();
            let bytes = damage(&mut sampler, raw(1, 1, *number, &body[4..]));
            capture.say(flow, Side::Client, &packet(1, &ClientData::Ping));
            capture.say(flow, Side::Server, &bytes);
            capture.say(flow, Side::Server, &raw(2, 1, 2, &[]));
        }
    }
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    tshark.is_read();
    assert!(tshark.path().exists());
}
