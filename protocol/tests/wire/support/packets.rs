//! Packets as bytes, and bytes as packets, without help from the sessions that are being tested.

use vmwire_protocol::message::{ClientData, ServerData};

/// Header and payload.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x89VMW".to_vec();
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A packet of whatever number and body.
pub(crate) fn raw(serial: u32, second: u32, number: u32, body: &[u8]) -> Vec<u8> {
    let mut payload = [serial, second, number].map(u32::to_be_bytes).concat();
    payload.extend_from_slice(body);
    frame(&payload)
}

/// A packet of a client without a deadline of its own.
pub(crate) fn packet(serial: u32, data: &ClientData) -> Vec<u8> {
    let mut body = Vec::new();
    data.encode(&mut body).unwrap();
    raw(serial, 0, data.number(), &body[4..])
}

/// What a server said in one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) serial: u32,
    pub(crate) reply_to: u32,
    pub(crate) data: ServerData,
}

/// Takes the packets off what a server wrote; all of it has to be whole packets that every client understands.
pub(crate) fn said(mut bytes: &[u8]) -> Vec<Said> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (header, rest) = bytes.split_first_chunk::<8>().expect("a header");
        assert_eq!(header[..4], *b"\x89VMW");
        let length = usize::try_from(u32::from_be_bytes(*header.last_chunk().unwrap())).unwrap();
        assert!(length >= 12 && length.is_multiple_of(4) && length <= 4 << 20, "length {length}");
        let (payload, rest) = rest.split_at(length);
        let word = |at: usize| u32::from_be_bytes(*payload[at..].first_chunk().unwrap());
        let data = ServerData::decode_body(word(8), &payload[12..]).expect("a known number").expect("a sound body");
        all.push(Said { serial: word(0), reply_to: word(4), data });
        bytes = rest;
    }
    all
}
