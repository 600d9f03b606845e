//! Golden bytes: every packet of both unions with every field filled, byte for byte, a file for each minor.
//!
//! A row is at most four words in hexadecimal and what they are; the rows are type and body, as they stand behind serial and
//! deadline or reply.

mod v1_0;
mod v1_1;
mod v1_2;

use std::collections::BTreeSet;
use std::fmt::Debug;

use vmwire_protocol::message::{ClientData, Cursor, Failure, FailureDetail, Procedure, ServerData, event_kind};
use vmwire_protocol::version::NEWEST_MINOR;
use vmwire_protocol::xdr::{self, DecodeError, Fixed, List, Text, Wire};

/// A packet and its bytes.
struct Golden<T> {
    packet: T,
    rows: &'static str,
}

const EPOCH: Fixed<16> = Fixed([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
const UUID: Fixed<16> = Fixed(*b"\x6f\x1d\x3c\x2a\x5b\x4e\x4f\x6d\x8a\x7b\x9c\x0d\x1e\x2f\x3a\x4b");

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).unwrap()
}

fn list<T, const MAX: usize>(values: impl Into<Vec<T>>) -> List<T, MAX> {
    List::new(values).unwrap()
}

fn cursor(sequence: u64) -> Cursor {
    Cursor { epoch: EPOCH, sequence }
}

fn failure() -> Failure {
    Failure {
        code: 13,
        message: text("busy"),
        object_kind: text("vm"),
        object_name: text("web1"),
        causes: list([text("one"), text("two")]),
        hint: text("wait"),
        retry_after_ms: 500,
        details: list([FailureDetail { key: text("holder"), value: text("uid 0") }]),
    }
}

fn bytes<T: Wire>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    xdr::encode(&mut bytes, value).unwrap();
    bytes
}

/// The bytes of annotated rows.
fn read(rows: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let words = row.split(' ').take_while(|word| word.len() == 8 && word.bytes().all(|b| b.is_ascii_hexdigit()));
        for word in words.take(4) {
            bytes.extend_from_slice(&u32::from_str_radix(word, 16).unwrap().to_be_bytes());
        }
    }
    bytes
}

/// Encodes a packet and decodes one.
trait Union: Sized + PartialEq + Debug {
    fn written(&self) -> Vec<u8>;
    fn read(number: u32, body: &[u8]) -> Option<Result<Self, DecodeError>>;
    fn number_of(&self) -> u32;
}

macro_rules! union {
    ($($name:ident)+) => {$(
        impl Union for $name {
            fn written(&self) -> Vec<u8> {
                let mut bytes = Vec::new();
                self.encode(&mut bytes).unwrap();
                bytes
            }

            fn read(number: u32, body: &[u8]) -> Option<Result<Self, DecodeError>> {
                Self::decode_body(number, body)
            }

            fn number_of(&self) -> u32 {
                self.number()
            }
        }
    )+};
}

union!(ClientData ServerData);

/// Holds packets to their bytes; answers their numbers.
fn hold<T: Union>(packets: Vec<Golden<T>>) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    for Golden { packet, rows } in packets {
        let (bytes, written) = (read(rows), packet.written());
        assert!(written == bytes, "{packet:?} is written as {written:02x?}");
        let number = packet.number_of();
        assert_eq!(T::read(number, &bytes[4..]), Some(Ok(packet)));
        numbers.insert(number);
    }
    numbers
}

/// Every golden packet of both sides, and every golden detail of events.
pub(crate) struct Everything {
    pub(crate) client: Vec<ClientData>,
    pub(crate) server: Vec<ServerData>,
    pub(crate) details: Vec<(u32, Vec<u8>)>,
}

pub(crate) fn everything() -> Everything {
    let client = [v1_0::client(), v1_1::client(), v1_2::client()].into_iter().flatten();
    let server = [v1_0::server(), v1_1::server(), v1_2::server()].into_iter().flatten();
    let details = [v1_0::details(), v1_2::details()].into_iter().flatten();
    Everything {
        client: client.map(|golden| golden.packet).collect(),
        server: server.map(|golden| golden.packet).collect(),
        details: details.map(|(kind, bytes, _)| (kind, bytes)).collect(),
    }
}

fn numbers_of_minor(numbers: &[u32], minor: u32) -> BTreeSet<u32> {
    let of_minor = |number: &u32| Procedure::of(*number).map_or(0, |procedure| procedure.minor) == minor;
    numbers.iter().copied().filter(of_minor).collect()
}

#[test]
fn every_minor_has_its_file() {
    assert_eq!(
        NEWEST_MINOR, 2,
        "freeze what the new minor brings in a file of its own, with two tests like those below"
    );
}

#[test]
fn what_clients_of_1_0_send_is_frozen() {
    assert_eq!(hold(v1_0::client()), numbers_of_minor(ClientData::NUMBERS, 0));
}

#[test]
fn what_servers_of_1_0_send_is_frozen() {
    assert_eq!(hold(v1_0::server()), numbers_of_minor(ServerData::NUMBERS, 0));
}

#[test]
fn the_details_of_events_are_frozen() {
    let details = [v1_0::details(), v1_2::details()].concat();
    let kinds: Vec<u32> = details.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, event_kind::ALL.iter().map(|(kind, _)| *kind).collect::<Vec<_>>());
    for (kind, bytes, rows) in details {
        assert!(bytes == read(rows), "the detail of kind {kind} is written as {bytes:02x?}");
    }
}

#[test]
fn what_streams_of_1_2_carry_is_frozen() {
    for (bytes, rows) in v1_2::records() {
        assert!(bytes == read(rows), "a record is written as {bytes:02x?}");
    }
}

#[test]
fn what_clients_of_1_1_send_besides_is_frozen() {
    assert_eq!(hold(v1_1::client()), numbers_of_minor(ClientData::NUMBERS, 1));
}

#[test]
fn what_servers_of_1_1_send_besides_is_frozen() {
    assert_eq!(hold(v1_1::server()), numbers_of_minor(ServerData::NUMBERS, 1));
}

#[test]
fn what_clients_of_1_2_send_besides_is_frozen() {
    assert_eq!(hold(v1_2::client()), numbers_of_minor(ClientData::NUMBERS, 2));
}

#[test]
fn what_servers_of_1_2_send_besides_is_frozen() {
    assert_eq!(hold(v1_2::server()), numbers_of_minor(ServerData::NUMBERS, 2));
}
