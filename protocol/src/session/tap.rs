//! What passed a session, for a capture.
//!
//! Secrets are written over before anything is kept, so that no capture, buffer or dump of memory has them twice.

use super::stream::split_data;
use super::words;
use crate::header::MAGIC;
use crate::limits::{HEADER_BYTES, PAYLOAD_BYTES_MIN};
use crate::message::{ClientData, ServerData, number};

/// Where the data of STREAM_DATA begin in a packet: behind header, serials, type, stream, flags, offset and length.
const STREAM_DATA_BEGIN: usize = HEADER_BYTES + PAYLOAD_BYTES_MIN + 20;

/// A packet that passed, whole and in the order in which it did.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// Its own serial.
    pub serial: u32,
    /// The number that says what it is.
    pub number: u32,
    /// What it says.
    pub said: Said,
    /// With its header, and as long as it was. What is secret is written over.
    pub bytes: Vec<u8>,
    /// Where in `bytes` the data of a stream stand; empty in every other packet.
    pub payload: std::ops::Range<usize>,
}

/// What a packet says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// Of the client; `None` where it is a stream's data or cannot be read.
    Client(Option<ClientData>),
    /// Of the server, with what it answers; `None` also where nobody asks for what it says.
    Server(u32, Option<ServerData>),
}

/// What passed and was not fetched yet.
#[derive(Debug, Default)]
pub(super) struct Tap(Vec<Passed>);

/// Reads a body of one of the unions; answers what it says, and where something in it is secret, the body without that.
macro_rules! read {
    ($union:ident, $number:expr, $body:expr, $reads:expr) => {{
        let (number, body): (u32, &[u8]) = ($number, $body);
        let mut data = match number {
            // Its data are the most of what passes, and none of the codec's business.
            number::STREAM_DATA => None,
            // To read a long list again would be more memory, and work, than to make it.
            _ if !$reads(number) => None,
            _ => $union::decode_body(number, body).and_then(Result::ok),
        };
        let blanked = ($union::has_secrets(number) != Some(false)).then(|| {
            let mut bytes = Vec::with_capacity(size_of::<u32>() + body.len());
            let encoded = data.as_mut().map(|data| {
                data.blank();
                data.encode(&mut bytes)
            });
            match encoded {
                Some(Ok(())) => bytes.split_off(size_of::<u32>()),
                // Where the secrets of such a body stand, nobody knows.
                _ => vec![b'*'; body.len()],
            }
        });
        (data, blanked)
    }};
}

/// Whether a capture asks for what a packet of the server says, or has to read it for what is secret in it.
fn is_read(number: u32) -> bool {
    let asked = [number::EVENT, number::STREAM_CREDIT, number::STREAM_END, number::VM_DEFINE, number::CONSOLE_OPEN];
    asked.contains(&number) || ServerData::has_secrets(number) != Some(false)
}

impl Tap {
    /// A client's packet was taken, given without its header.
    pub(super) fn received(&mut self, payload: &[u8]) {
        let Some((head, body)) = payload.split_first_chunk() else { return };
        let [serial, _, number] = words(head);
        let (data, blanked) = read!(ClientData, number, body, |_| true);
        self.push(head, blanked.as_deref().unwrap_or(body), Said::Client(data), (serial, number));
    }

    /// A packet has taken its place in the outbox.
    pub(super) fn sent(&mut self, packet: &[u8]) {
        let Some((head, body)) = packet.get(HEADER_BYTES..).and_then(<[u8]>::split_first_chunk) else { return };
        let [serial, reply_to, number] = words(head);
        let (data, blanked) = read!(ServerData, number, body, is_read);
        self.push(head, blanked.as_deref().unwrap_or(body), Said::Server(reply_to, data), (serial, number));
    }

    fn push(&mut self, head: &[u8; PAYLOAD_BYTES_MIN], body: &[u8], said: Said, (serial, number): (u32, u32)) {
        let length = PAYLOAD_BYTES_MIN + body.len();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + length);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(body);
        let payload = match number {
            number::STREAM_DATA => match split_data(body) {
                Some((_, data)) => STREAM_DATA_BEGIN..STREAM_DATA_BEGIN + data.len(),
                None => HEADER_BYTES + PAYLOAD_BYTES_MIN..bytes.len(),
            },
            _ => 0..0,
        };
        self.0.push(Passed { serial, number, said, bytes, payload });
    }

    /// Fetches what has passed since this was asked before.
    pub(super) fn take(&mut self) -> Vec<Passed> {
        std::mem::take(&mut self.0)
    }
}
