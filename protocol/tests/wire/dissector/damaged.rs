//! Bodies that were cut or damaged: where our decoder refuses one the dissector complains of it, and nowhere else.

use vmwire_protocol::message::{ClientData, Event, ServerData, event_kind, number};
use vmwire_protocol::version::MAJOR;
use vmwire_protocol::xdr::{DecodeError, Fixed, Opaque};

use super::capture::{Capture, Side};
use super::rendered;
use super::tshark::Tshark;
use crate::golden;
use crate::support::packets::raw;

/// What the dissector has to say about a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Sound,
    Malformed,
    Trailing,
}

impl Verdict {
    fn of<T>(decoded: &Result<T, DecodeError>) -> Self {
        match decoded {
            Ok(_) => Self::Sound,
            Err(DecodeError::Trailing) => Self::Trailing,
            Err(_) => Self::Malformed,
        }
    }
}

fn of_client(number: u32, body: &[u8]) -> Verdict {
    // Of another major only the first word is read.
    if number == number::HELLO && body.first_chunk().is_some_and(|major| u32::from_be_bytes(*major) != MAJOR) {
        return Verdict::Sound;
    }
    Verdict::of(&ClientData::decode_body(number, body).unwrap())
}

fn of_server(number: u32, body: &[u8]) -> Verdict {
    let decoded = ServerData::decode_body(number, body).unwrap();
    match &decoded {
        Ok(ServerData::Event(event)) => of_detail(event),
        _ => Verdict::of(&decoded),
    }
}

/// A detail is opaque to who does not know its kind, and a struct to who does.
fn of_detail(event: &Event) -> Verdict {
    let has_detail = event_kind::name(event.kind).is_some() && event.kind != event_kind::VM_UNDEFINED;
    match rendered::detail(event.kind, &event.detail) {
        None if has_detail => Verdict::Malformed,
        _ => Verdict::Sound,
    }
}

/// A body cut behind each of its words, with a word more, and with each of its bytes damaged.
fn variants(body: &[u8]) -> Vec<Vec<u8>> {
    let cut = (0..body.len()).step_by(4).map(|length| body[..length].to_vec());
    let longer = [body, &[0; 4]].concat();
    let damaged = (0..body.len()).map(|at| {
        let mut damaged = body.to_vec();
        damaged[at] = !damaged[at];
        damaged
    });
    cut.chain([longer]).chain(damaged).collect()
}

#[test]
fn a_body_is_complained_of_where_our_decoder_refuses_it() {
    let test = "a_body_is_complained_of_where_our_decoder_refuses_it";
    let mut capture = Capture::new();
    let mut expected = Vec::new();
    let mut say = |side, second, number, body: &[u8], verdict: fn(u32, &[u8]) -> Verdict| {
        let flow = capture.flow();
        for (serial, body) in (1..).zip(variants(body)) {
            capture.say(flow, side, &raw(serial, second, number, &body));
            expected.push((number, verdict(number, &body), body));
        }
    };
    let golden = golden::everything();
    let encoded = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        bytes.split_off(4)
    };
    for data in &golden.client {
        say(Side::Client, 0, data.number(), &encoded(&|out| data.encode(out).unwrap()), of_client);
    }
    let details = golden.details.into_iter().map(|(kind, detail)| {
        let detail = Opaque::new(detail).unwrap();
        ServerData::Event(Event {
            epoch: Fixed([7; 16]),
            sequence: 1,
            time_ns: 1,
            operation: 0,
            vm: None,
            kind,
            detail,
        })
    });
    for data in golden.server.into_iter().chain(details) {
        say(Side::Server, 7, data.number(), &encoded(&|out| data.encode(out).unwrap()), of_server);
    }
    let Some(tshark) = Tshark::of(test, &capture) else { return };
    let fields = ["-T", "fields", "-e", "vmwire.expert.malformed", "-e", "vmwire.expert.trailing"];
    let shown = tshark.run(&[&["-Y", "vmwire || _ws.lua.error"][..], &fields].concat());
    let shown = shown.lines().map(|line| match line.split_once('\t').unwrap() {
        ("", "") => Verdict::Sound,
        ("", _) => Verdict::Trailing,
        _ => Verdict::Malformed,
    });
    let shown: Vec<Verdict> = shown.collect();
    assert_eq!(shown.len(), expected.len());
    for (shown, (number, verdict, body)) in shown.iter().zip(&expected) {
        assert_eq!(shown, verdict, "{number:#x} {body:02x?}");
    }
    let many = |wanted| expected.iter().filter(|(_, verdict, _)| *verdict == wanted).count();
    assert!(many(Verdict::Sound) > 100 && many(Verdict::Malformed) > 100 && many(Verdict::Trailing) > 20);
}
