//! Every field of every message: what tshark shows is what our own decoder says.

use std::collections::BTreeSet;

use vmwire_protocol::message::{ClientData, Event, ServerData};
use vmwire_protocol::version::MAJOR;
use vmwire_protocol::xdr::{Fixed, Opaque, Sampler};

use super::capture::{Capture, Side};
use super::definition::{Body, Definition, Kind};
use super::rendered::{self, Fields};
use super::tshark::{Frame, Tshark};
use crate::golden;
use crate::support::packets::raw;

/// The names of all fields that hold a value, and what they hold.
pub(crate) fn scalars() -> Vec<(String, Kind)> {
    let mut scalars = Vec::new();
    for (name, body) in Definition::read().bodies {
        let fields: Vec<_> = match body {
            Body::Struct(fields) => fields,
            Body::Union(arms) => arms.into_iter().filter_map(|(_, field)| field).collect(),
        };
        let scalar = fields.into_iter().filter(|field| !matches!(field.kind, Kind::Body(_)));
        scalars.extend(scalar.map(|field| (format!("{name}.{}", field.name), field.kind)));
    }
    scalars
}

/// A value as tshark writes it, written as our decoder does.
fn as_ours(kind: &Kind, value: &str) -> String {
    match kind {
        _ if value == "[secret]" => value.to_owned(),
        Kind::Uint if value.starts_with("0x") => u32::from_str_radix(&value[2..], 16).unwrap().to_string(),
        Kind::Bool => (value == "1").to_string(),
        Kind::Uuid | Kind::Fixed(_) => value.replace(['-', ':'], ""),
        Kind::Opaque(_) => format!("{} bytes", if value.is_empty() { 0 } else { value.split(':').count() }),
        _ => value.to_owned(),
    }
}

fn shown(frame: &Frame) -> Fields {
    let mut fields = Fields::new();
    for (name, kind) in scalars() {
        let values = frame.all(&format!("vmwire.{name}"));
        if !values.is_empty() {
            fields.insert(name, values.iter().map(|value| as_ours(&kind, value)).collect());
        }
    }
    fields
}

/// The packets of a capture, one a connection, with what our decoder says of each.
pub(crate) struct Packets {
    pub(crate) capture: Capture,
    pub(crate) expected: Vec<Fields>,
    segment_bytes: usize,
}

impl Packets {
    fn new() -> Self {
        Self { capture: Capture::new(), expected: Vec::new(), segment_bytes: usize::MAX }
    }

    /// Every golden packet, and every detail of an event.
    pub(crate) fn golden() -> Self {
        Self::golden_in_segments(usize::MAX)
    }

    /// The same in segments of so many bytes.
    fn golden_in_segments(segment_bytes: usize) -> Self {
        let golden = golden::everything();
        let mut packets = Self { segment_bytes, ..Self::new() };
        golden.client.into_iter().for_each(|data| packets.client(data));
        golden.server.iter().for_each(|data| packets.server(data));
        for (sequence, (kind, detail)) in (0..).zip(golden.details) {
            let detail = Opaque::new(detail).unwrap();
            let event = Event { epoch: Fixed([7; 16]), sequence, time_ns: 1, operation: 0, vm: None, kind, detail };
            packets.server(&ServerData::Event(event));
        }
        packets
    }

    fn client(&mut self, mut data: ClientData) {
        if let ClientData::Hello(hello) = &mut data {
            // Of another major's only the first word is read.
            hello.major = MAJOR;
        }
        let mut bytes = Vec::new();
        data.encode(&mut bytes).unwrap();
        self.packet(Side::Client, 0, data.number(), &bytes[4..]);
        let decoded = ClientData::decode_body(data.number(), &bytes[4..]).unwrap().unwrap();
        self.expected.push(rendered::fields(&format!("{decoded:?}")));
    }

    fn server(&mut self, data: &ServerData) {
        let mut bytes = Vec::new();
        data.encode(&mut bytes).unwrap();
        self.packet(Side::Server, 7, data.number(), &bytes[4..]);
        let decoded = ServerData::decode_body(data.number(), &bytes[4..]).unwrap().unwrap();
        let mut expected = rendered::fields(&format!("{decoded:?}"));
        if let ServerData::Event(event) = &decoded {
            let detail = rendered::detail(event.kind, &event.detail);
            expected.extend(detail.map(|printed| rendered::fields(&printed)).unwrap_or_default());
        }
        self.expected.push(expected);
    }

    fn packet(&mut self, side: Side, second: u32, number: u32, body: &[u8]) {
        let flow = self.capture.flow();
        let bytes = raw(1, second, number, body);
        bytes.chunks(self.segment_bytes).for_each(|segment| self.capture.say(flow, side, segment));
    }

    /// Compares; answers the names of the fields that were seen.
    fn compare(self, test: &str) -> Option<BTreeSet<String>> {
        let tshark = Tshark::of(test, &self.capture)?;
        tshark.is_sound();
        let mut frames = tshark.frames(&[]);
        // Those that only begin a packet, or go on with it, say nothing.
        frames.retain(|frame| !frame.all("vmwire.type").is_empty());
        assert_eq!(frames.len(), self.expected.len());
        for (frame, expected) in frames.iter().zip(&self.expected) {
            assert_eq!(&shown(frame), expected, "frame {}", frame.one("frame.number"));
        }
        Some(self.expected.into_iter().flat_map(Fields::into_keys).collect())
    }
}

#[test]
fn every_field_of_every_golden_packet_is_what_our_decoder_says() {
    let Some(seen) = Packets::golden().compare("every_field_of_every_golden_packet_is_what_our_decoder_says") else {
        return;
    };
    // A token never travels as such, what a capture carries is packets again, and the outer shape is the header's.
    let others = ["client_packet.", "server_packet.", "client_data.", "server_data.", "token.", "capture_record."];
    let all = scalars().into_iter().map(|(name, _)| name);
    let all: BTreeSet<String> = all.filter(|name| !others.iter().any(|other| name.starts_with(other))).collect();
    assert_eq!(seen, all, "a field that no golden packet fills");
}

#[test]
fn a_packet_of_every_type_cut_at_every_byte_says_the_same() {
    Packets::golden_in_segments(1).compare("a_packet_of_every_type_cut_at_every_byte_says_the_same");
}

#[test]
fn sampled_packets_of_every_type_are_shown_as_our_decoder_says() {
    let mut packets = Packets::new();
    // Each with a seed of its own: a type that is new changes no other's sample.
    let sampler = |number: u32| Sampler::sparing(number.into(), 600);
    for number in ClientData::NUMBERS {
        packets.client(ClientData::sample(*number, &mut sampler(*number)).unwrap());
    }
    for number in ServerData::NUMBERS {
        packets.server(&ServerData::sample(*number, &mut sampler(*number)).unwrap());
    }
    packets.compare("sampled_packets_of_every_type_are_shown_as_our_decoder_says");
}
