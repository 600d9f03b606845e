//! The conversation of somebody who has a token and no certificate yet: one packet, one answer, the end. Pure.
//!
//! It is spoken over TLS with a protocol name of its own, so that nothing but ENROLL can come from whoever is not known.

use std::fmt;

use vmwire_protocol::header::{self, HeaderError, MAGIC};
use vmwire_protocol::limits::HEADER_BYTES;
use vmwire_protocol::message::{ClientData, EnrollAnswer, EnrollCall, Failure, ServerData, code, number};
use vmwire_tls::date::Date;
use vmwire_tls::pki::{self, ClientName, PkiError, Purpose, issued_line, request_key};

use crate::enrolment::{Signed, Signer};

/// The longest packet of somebody who enrols, its header left out.
const PACKET_BYTES_MAX: usize = 8 * 1024;

/// Bytes that are read of it at most.
pub(super) const BYTES_MAX: usize = HEADER_BYTES + PACKET_BYTES_MAX;

/// What has come.
#[derive(Debug, PartialEq)]
pub(super) enum Asked {
    /// Not all of it.
    Incomplete,
    /// A token is to be spent.
    Enroll(Box<EnrollCall>),
    /// Something else, answered with this.
    Wrong(Box<Failure>),
}

/// Reads what has come so far.
pub(super) fn read(bytes: &[u8]) -> Asked {
    let Some((head, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Asked::Incomplete };
    let length = match header::parse(*head, PACKET_BYTES_MAX) {
        Ok(length) => length,
        Err(HeaderError::Magic { .. }) => return wrong(code::BAD_MAGIC, "these bytes are no packet of vmwire"),
        Err(HeaderError::Length { .. }) => {
            return wrong(code::BAD_LENGTH, "such a packet has no place in an enrolment");
        }
    };
    let Some((head, body)) = rest.get(..length).and_then(|payload| payload.split_first_chunk::<12>()) else {
        return Asked::Incomplete;
    };
    let [s0, s1, s2, s3, _, _, _, _, n0, n1, n2, n3] = *head;
    if u32::from_be_bytes([s0, s1, s2, s3]) != 1 {
        return wrong(code::SERIAL, "the serial of the first packet is 1");
    }
    let asked = u32::from_be_bytes([n0, n1, n2, n3]);
    if asked != number::ENROLL {
        return wrong(code::DENIED, "whoever enrols can do nothing else on this connection");
    }
    match ClientData::decode_body(asked, body) {
        Some(Ok(ClientData::Enroll(call))) => Asked::Enroll(Box::new(call)),
        Some(Err(error)) => wrong(code::MALFORMED, &error.to_string()),
        _ => wrong(code::INTERNAL, "this is not read as what it is"),
    }
}

fn wrong(code: u32, message: &str) -> Asked {
    Asked::Wrong(Box::new(Failure::new(code, message)))
}

/// The answer as a packet. It is the last one in any case; a failure that does not concern the call answers nothing.
pub(super) fn answer(result: Result<EnrollAnswer, Failure>) -> Vec<u8> {
    let (reply_to, data) = match result {
        Ok(answer) => (1, ServerData::Enroll(answer)),
        Err(failure) => {
            let closes = matches!(failure.code, code::SERIAL | code::BAD_MAGIC | code::BAD_LENGTH);
            (u32::from(!closes), ServerData::Failure(failure))
        }
    };
    let mut body = Vec::new();
    // All of it is bounded, far below the longest packet.
    let encoded = data.encode(&mut body);
    debug_assert!(encoded.is_ok(), "{encoded:?}");
    let length = u32::try_from(8 + body.len()).unwrap_or(0);
    [&MAGIC[..], &length.to_be_bytes(), &1_u32.to_be_bytes(), &reply_to.to_be_bytes(), &body].concat()
}

/// The authority whose key lies on this host.
pub(super) struct PkiSigner {
    authority: pki::Authority,
}

impl PkiSigner {
    /// Reads certificate and key, in PEM.
    pub(super) fn new(certificate: &[u8], key: &[u8]) -> Result<Self, PkiError> {
        Ok(Self { authority: pki::Authority::from_pem(certificate, key)? })
    }

    /// The fingerprint of its key, which tokens carry.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        *self.authority.fingerprint().bytes()
    }
}

impl Signer for PkiSigner {
    fn sign(&self, name: &str, request: &[u8], now_utc_ns: u64) -> Result<Signed, String> {
        let name: ClientName = name.parse().map_err(|error: PkiError| error.to_string())?;
        let now = Date(i64::try_from(now_utc_ns / 1_000_000_000).unwrap_or(i64::MAX));
        let issued = self.authority.sign_client(request, &name, now).map_err(|error| error.to_string())?;
        Ok(Signed {
            key: *issued.key.bytes(),
            serial: issued.serial.to_string(),
            not_after_s: u64::try_from(issued.not_after.seconds()).unwrap_or(0),
            ca: self.authority.der().to_vec(),
            line: issued_line(Purpose::Client, name.as_str(), &issued),
            chain: vec![issued.der],
        })
    }

    fn key(&self, request: &[u8]) -> Result<[u8; 32], String> {
        request_key(request).map(|key| *key.bytes()).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for PkiSigner {
    /// Nothing of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PkiSigner").field("authority", &self.authority.fingerprint()).finish()
    }
}

#[cfg(test)]
mod tests {
    use vmwire_protocol::message::HelloCall;

    use super::*;

    fn packet(serial: u32, data: &ClientData) -> Vec<u8> {
        let mut body = Vec::new();
        data.encode(&mut body).unwrap();
        let length = u32::try_from(8 + body.len()).unwrap();
        [&MAGIC[..], &length.to_be_bytes(), &serial.to_be_bytes(), &[0; 4], &body].concat()
    }

    fn enroll() -> ClientData {
        ClientData::Enroll(EnrollCall {
            secret: Default::default(),
            name: Default::default(),
            request: Default::default(),
        })
    }

    fn code_of(asked: Asked) -> u32 {
        match asked {
            Asked::Wrong(failure) => failure.code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_packet_is_read_however_it_is_cut_and_nothing_behind_it() {
        let whole = packet(1, &enroll());
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), Asked::Incomplete, "{cut}");
        }
        assert!(matches!(read(&whole), Asked::Enroll(_)));
        assert!(matches!(read(&[&whole[..], b"more"].concat()), Asked::Enroll(_)));
    }

    #[test]
    fn whatever_else_is_said_is_refused_and_is_the_end() {
        let hello = HelloCall { major: 1, minor: 2, capabilities: Default::default(), name: Default::default() };
        assert_eq!(code_of(read(&packet(1, &ClientData::Hello(hello)))), code::DENIED);
        assert_eq!(code_of(read(&packet(1, &ClientData::Ping))), code::DENIED);
        assert_eq!(code_of(read(&packet(2, &enroll()))), code::SERIAL);
        assert_eq!(code_of(read(b"GET / HTTP/1.1\r\n")), code::BAD_MAGIC);
        assert_eq!(code_of(read(b"\x89VMW\xff\xff\xff\xff")), code::BAD_LENGTH);
        assert_eq!(code_of(read(&[&b"\x89VMW"[..], &8196_u32.to_be_bytes()].concat())), code::BAD_LENGTH);
        assert_eq!(read(&[&b"\x89VMW"[..], &8192_u32.to_be_bytes()].concat()), Asked::Incomplete);
        let mut long = packet(1, &enroll());
        long[7] += 4;
        long.extend([0; 4]);
        assert_eq!(code_of(read(&long)), code::MALFORMED);
    }

    #[test]
    fn a_failure_of_the_packet_answers_nothing_and_one_of_the_call_does() {
        for (code, reply_to) in [(code::DENIED, 1), (code::MALFORMED, 1), (code::SERIAL, 0), (code::BAD_MAGIC, 0)] {
            let packet = answer(Err(Failure::new(code, "no")));
            let length = header::parse(packet[..8].try_into().unwrap(), 4096).unwrap();
            assert_eq!((length, &packet[8..16]), (packet.len() - 8, &[0, 0, 0, 1, 0, 0, 0, reply_to][..]));
        }
    }
}
