//! Targets without a state: cutting a stream into packets, and bodies.

use super::script::{Script, framed};
use crate::frame::Deframer;
use crate::header::HeaderError;
use crate::message::{ClientData, ServerData};

/// Any cutting of a stream gives the same packets and the same end; nothing is held but what was received.
///
/// # Panics
/// When it does not.
pub fn frame(data: &[u8]) {
    let mut script = Script::new(data);
    let piece = script.index(64) + 1;
    let bytes_max = [64, 4096, 65_536][script.index(3)];
    let mut stream = Vec::new();
    while let Some(byte) = script.next() {
        let count = usize::from(byte >> 1);
        if byte & 1 == 0 {
            let payload = script.take(count);
            let mut body = payload.to_vec();
            body.resize(count.next_multiple_of(4), byte);
            stream.extend(framed(1, 2, 3, &body));
        } else if byte & 6 == 0 {
            // A header that lies.
            stream.extend_from_slice(&crate::header::MAGIC);
            stream.extend_from_slice(&(u32::from(script.byte()) << (8 * (byte >> 3 & 3))).to_be_bytes());
        } else {
            stream.extend_from_slice(script.take(count % 16));
        }
    }
    let whole = walk(&stream, stream.len().max(1), bytes_max, usize::MAX);
    for keep in [usize::MAX, 3, 1] {
        assert_eq!(walk(&stream, piece, bytes_max, keep), whole);
    }
}

/// What came of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Walk {
    payloads: Vec<Vec<u8>>,
    end: Option<HeaderError>,
    held: usize,
}

/// Shows a stream in pieces. One in `keep` pieces is not looked at when it comes, as while a connection is blocked, and the
/// piece behind it while packets are left over.
fn walk(stream: &[u8], piece: usize, bytes_max: usize, keep: usize) -> Walk {
    let mut deframer = Deframer::new();
    let mut payloads = Vec::new();
    let mut shown = 0;
    let pieces = stream.len().div_ceil(piece);
    for (at, mut input) in stream.chunks(piece).enumerate() {
        shown += input.len();
        let mut patience = usize::MAX;
        if at % keep == keep - 1 {
            deframer.keep(&mut input);
            patience = usize::from(at % 2 == 1);
        }
        if at + 1 == pieces {
            patience = usize::MAX;
        }
        for _ in 0..patience {
            match deframer.next(&mut input, bytes_max) {
                Ok(Some(packet)) => {
                    let payload = deframer.payload(packet).to_vec();
                    assert!(payload.len() <= bytes_max && payload.len().is_multiple_of(4) && payload.len() >= 12);
                    shown -= payload.len() + 8;
                    payloads.push(payload);
                }
                Ok(None) => {
                    assert!(input.is_empty() && deframer.held() == shown, "{} held of {shown}", deframer.held());
                    break;
                }
                Err(error) => return Walk { payloads, end: Some(error), held: 0 },
            }
        }
    }
    Walk { payloads, end: None, held: deframer.held() }
}

/// Both backends say the same of a body of either union, and what they accept has one encoding.
///
/// # Panics
/// When they do not.
pub fn packet(data: &[u8]) {
    let mut script = Script::new(data);
    let of_client = script.byte() & 1 == 0;
    let numbers = if of_client { ClientData::NUMBERS } else { ServerData::NUMBERS };
    let number = numbers.get(script.index(numbers.len())).copied().unwrap_or(1);
    let mut body = if script.byte() & 1 == 0 {
        script.take(usize::MAX).to_vec()
    } else if of_client {
        let mut bytes = Vec::new();
        let packet = ClientData::sample(number, &mut script.sampler());
        assert!(packet.is_some_and(|packet| packet.encode(&mut bytes).is_ok()));
        bytes.split_off(4)
    } else {
        let mut bytes = Vec::new();
        let packet = ServerData::sample(number, &mut script.sampler());
        assert!(packet.is_some_and(|packet| packet.encode(&mut bytes).is_ok()));
        bytes.split_off(4)
    };
    while let Some(byte) = script.next() {
        match byte % 8 {
            0 => body.truncate(script.index(body.len() + 1)),
            1 => body.extend_from_slice(script.take(4)),
            _ => script.damage(&mut body),
        }
    }
    let compared = if of_client {
        ClientData::compare_backends(number, &body)
    } else {
        ServerData::compare_backends(number, &body)
    };
    assert!(compared.is_some(), "{number:#x} is in the union");
}
