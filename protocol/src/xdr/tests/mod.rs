//! Tests of both backends: the types they are tried on, and helpers that never ask one without the other.

mod bounded;
mod differential;
mod hostile;
mod rfc4506;

use super::{DecodeError, Fixed, List, Opaque, Secret, Text, Wire, decode, encode, own_backend, serde_backend};

crate::wire_struct! {
    /// A field of every kind.
    struct Everything {
        unsigned: u32,
        signed: i32,
        hyper: u64,
        signed_hyper: i64,
        flag: bool,
        void: (),
        maybe: Option<u32>,
        text: Text<24>,
        opaque: Opaque<13>,
        numbers: List<u32, 4>,
        texts: List<Text<9>, 3>,
        epoch: Fixed<16>,
        odd: Fixed<7>,
        small: Fixed<3>,
        cell: Cell,
        cells: Option<List<Cell, 3>>,
    }
}

crate::wire_union! {
    /// Arms with gaps, one of them past the positive numbers.
    enum Cell {
        0 => Absent,
        1 => Number(u64),
        7 => Text(Text<16>),
        0xffff_fff0 => List(List<Text<8>, 2>),
    }
}

crate::wire_packets! {
    /// What may be sent.
    enum Packet {
        0x2 => Ping,
        0x1000 => Cell(Cell),
    }
}

crate::wire_struct! {
    /// A field that must not be printed.
    struct Key {
        owner: Text<8>,
        bytes: Secret<Fixed<4>>,
    }
}

crate::wire_struct! {
    /// The same within something within something.
    struct Ring {
        keys: Option<List<Key, 4>>,
        words: List<Secret<Text<8>>, 4>,
    }
}

crate::wire_union! {
    /// Secrets in arms.
    enum Handover {
        1 => Ring(Ring),
        2 => Word(Secret<Text<8>>),
        3 => Cell(Cell),
    }
}

/// Encodes with both backends and expects the same bytes.
fn encoded<T: Wire>(value: &T) -> Vec<u8> {
    let (mut by_serde, mut by_own) = (Vec::new(), Vec::new());
    serde_backend::encode(&mut by_serde, value).unwrap();
    own_backend::encode(&mut by_own, value).unwrap();
    assert_eq!(by_serde, by_own);
    by_own
}

/// Decodes with both backends and expects the same verdict; what is accepted encodes back to the same bytes.
fn decoded<T: Wire + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Result<T, DecodeError> {
    let verdict = own_backend::decode::<T>(bytes);
    assert_eq!(serde_backend::decode::<T>(bytes), verdict);
    if let Ok(value) = &verdict {
        assert_eq!(encoded(value), bytes);
    }
    verdict
}

/// A value with something in every field.
fn every_kind() -> Everything {
    Everything {
        unsigned: 1,
        signed: -2,
        hyper: 3 << 40,
        signed_hyper: -4,
        flag: true,
        void: (),
        maybe: Some(5),
        text: Text::new("grüße, 漢字").unwrap(),
        opaque: Opaque::new([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]).unwrap(),
        numbers: List::new([1, 2, 3, 4]).unwrap(),
        texts: List::new([Text::default(), Text::new("123456789").unwrap()]).unwrap(),
        epoch: Fixed(*b"0123456789abcdef"),
        odd: Fixed(*b"1234567"),
        small: Fixed(*b"123"),
        cell: Cell::Number(9),
        cells: Some(List::new([Cell::Absent, Cell::List(List::clipped([Text::clipped("x")]))]).unwrap()),
    }
}

#[test]
fn every_kind_of_field_survives() {
    assert_eq!(decoded(&encoded(&every_kind())), Ok(every_kind()));
}

#[test]
fn packets_travel_as_number_and_body() {
    let packet = Packet::Cell(Cell::Number(9));
    let mut bytes = vec![0xaa];
    packet.encode(&mut bytes).unwrap();
    assert_eq!(bytes, [0xaa, 0, 0, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]);
    assert_eq!(Packet::decode_body(packet.number(), &bytes[5..]), Some(Ok(packet)));
    assert_eq!(Packet::decode_body(2, &[]), Some(Ok(Packet::Ping)));
    assert_eq!(Packet::decode_body(2, &[0; 4]), Some(Err(DecodeError::Trailing)));
    assert_eq!(Packet::decode_body(3, &[]), None);
    assert_eq!(Packet::NUMBERS, [2, 0x1000]);
    assert_eq!(Packet::BODY_BYTES_MAX, Cell::BYTES_MAX);
}

#[test]
fn a_secret_travels_as_it_is_and_is_found_wherever_it_hides() {
    let key = Key { owner: Text::clipped("me"), bytes: Secret::new(Fixed(*b"open")) };
    let plain = (Text::<8>::clipped("me"), Fixed(*b"open"));
    assert_eq!(encoded(&key), [encoded(&plain.0), encoded(&plain.1)].concat());
    assert_eq!(decoded(&encoded(&key)), Ok(key.clone()));
    assert_eq!(Key::BYTES_MAX, Text::<8>::BYTES_MAX + 4);
    assert_eq!(format!("{key:?}"), "Key { owner: \"me\", bytes: [secret] }");
    assert_eq!(key.bytes.reveal().0, *b"open");
    let mut found = Vec::new();
    Handover::secret_fields(&mut found);
    assert_eq!(found, [("Key", "bytes"), ("Ring", "words"), ("Handover", "Word")]);
    assert_eq!(Packet::secret_fields(), []);
    assert_eq!([2, 0x1000, 3].map(Packet::has_secrets), [Some(false), Some(false), None]);
    assert_eq!(
        [Key::HAS_SECRETS, Ring::HAS_SECRETS, Handover::HAS_SECRETS, Cell::HAS_SECRETS],
        [true, true, true, false]
    );
    assert_eq!(
        (Option::<Key>::HAS_SECRETS, List::<Key, 2>::HAS_SECRETS, List::<Cell, 2>::HAS_SECRETS),
        (true, true, false)
    );
    assert_eq!(Handover::Cell(Cell::Absent).number(), 3);
}

#[test]
fn a_secret_is_written_over_wherever_it_hides_and_nothing_else_is() {
    let ring = |bytes: &[u8; 4], word: &str| {
        let key = Key { owner: Text::clipped("me"), bytes: Secret::new(Fixed(*bytes)) };
        Ring { keys: Some(List::clipped([key])), words: List::clipped([Secret::new(Text::clipped(word))]) }
    };
    let mut handover = Handover::Ring(ring(b"open", "sesame"));
    handover.blank();
    assert!(handover == Handover::Ring(ring(b"****", "******")));
    let mut packet = Packet::Cell(Cell::Text(Text::clipped("plain")));
    packet.blank();
    assert_eq!(packet, Packet::Cell(Cell::Text(Text::clipped("plain"))));
}

#[test]
fn encoding_appends_to_what_is_there() {
    let mut out = vec![1];
    encode(&mut out, &Some(7_u32)).unwrap();
    assert_eq!(out, [1, 0, 0, 0, 1, 0, 0, 0, 7]);
    assert_eq!(decode(&out[1..]), Ok(Some(7_u32)));
}

#[test]
fn arms_have_the_numbers_that_are_written_at_them() {
    let cells = [Cell::Absent, Cell::Number(0), Cell::Text(Text::default()), Cell::List(List::default())];
    for (cell, number) in cells.iter().zip(Cell::NUMBERS) {
        assert_eq!(cell.number(), *number);
        assert_eq!(encoded(cell)[..4], number.to_be_bytes());
    }
}
