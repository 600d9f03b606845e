//! A client that keeps to no rule: bytes as they are given, and what comes back.

use std::io::{ErrorKind, Read, Write};

use vmwire_protocol::message::{ClientData, Failure, ServerData};

use super::Socket;

/// The bytes of a packet, header included, whatever they mean.
pub(crate) fn packet(serial: u32, deadline_ms: u32, number: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x89VMW".to_vec();
    bytes.extend(u32::try_from(12 + body.len()).unwrap().to_be_bytes());
    for word in [serial, deadline_ms, number] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(body);
    bytes
}

/// The connection.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) socket: Socket,
    received: Vec<u8>,
    /// The serial of the last packet sent by [`Raw::call`].
    serial: u32,
    /// How many packets the server has sent; their serials have to count so.
    packets: u32,
}

impl Raw {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, received: Vec::new(), serial: 0, packets: 0 }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Sends what is a packet of the protocol, under the next serial; answers that.
    pub(crate) fn call(&mut self, data: &ClientData) -> u32 {
        self.call_within(0, data)
    }

    /// The same, with a deadline.
    pub(crate) fn call_within(&mut self, deadline_ms: u32, data: &ClientData) -> u32 {
        let mut type_and_body = Vec::new();
        data.encode(&mut type_and_body).unwrap();
        self.send_next(deadline_ms, data.number(), &type_and_body[4..])
    }

    /// Sends any body under the next serial; answers that.
    pub(crate) fn send_next(&mut self, deadline_ms: u32, number: u32, body: &[u8]) -> u32 {
        self.serial += 1;
        self.send(&packet(self.serial, deadline_ms, number, body));
        self.serial
    }

    /// The next packet: what it answers, and what it says. `None` at the end of the connection.
    pub(crate) fn receive(&mut self) -> Option<(u32, ServerData)> {
        loop {
            if let Some(length) = self.received.get(4..8) {
                assert_eq!(&self.received[..4], b"\x89VMW");
                let length = usize::try_from(u32::from_be_bytes(length.try_into().unwrap())).unwrap();
                if self.received.len() >= 8 + length {
                    let payload: Vec<u8> = self.received.drain(..8 + length).skip(8).collect();
                    let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
                    self.packets += 1;
                    assert_eq!(word(0), self.packets, "the serials of the daemon count its packets");
                    let data = ServerData::decode_body(word(8), &payload[12..]).unwrap().unwrap();
                    return Some((word(4), data));
                }
            }
            let mut buffer = [0; 65536];
            match self.socket.read(&mut buffer) {
                Ok(0) => {
                    assert!(self.received.is_empty(), "half a packet: {:?}", self.received);
                    return None;
                }
                // The daemon closes what it does not want to read on.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                // A read with a timeout is not begun anew by the system when the process was stopped and goes on.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) => panic!("nothing comes: {error}"),
            }
        }
    }

    /// The answer to a call; what else comes before it is left out.
    #[track_caller]
    pub(crate) fn answer(&mut self, serial: u32) -> ServerData {
        loop {
            match self.receive().expect("the connection lives") {
                (reply_to, data) if reply_to == serial && !matches!(data, ServerData::Progress(_)) => return data,
                (0, ServerData::Failure(failure)) => panic!("it was closed: {failure:?}"),
                _ => {}
            }
        }
    }

    /// The failure of a call.
    #[track_caller]
    pub(crate) fn failure(&mut self, serial: u32) -> Failure {
        match self.answer(serial) {
            ServerData::Failure(failure) => failure,
            other => panic!("no failure: {other:?}"),
        }
    }

    /// The last packet, which says why, and then the end of the connection.
    #[track_caller]
    pub(crate) fn closing(&mut self) -> Failure {
        loop {
            if let (0, ServerData::Failure(failure)) = self.receive().expect("a last packet") {
                // The daemon discards what we say until we are done.
                let _over_already = self.socket.end_writing();
                assert_eq!(self.receive(), None, "something behind the last packet");
                return failure;
            }
        }
    }

    /// Whether the daemon answers at all: in TLS 1.3 one learns only now that one is not let in.
    pub(crate) fn tries_to_ping(&mut self) -> bool {
        self.serial += 1;
        let bytes = packet(self.serial, 0, ClientData::Ping.number(), b"");
        let mut buffer = [0; 65536];
        if self.socket.write_all(&bytes).is_err() {
            return false;
        }
        match self.socket.read(&mut buffer) {
            Ok(count) => buffer[..count].get(16..20) == Some(&ClientData::Ping.number().to_be_bytes()),
            Err(_) => false,
        }
    }

    /// Whether the daemon still answers on this connection.
    #[track_caller]
    pub(crate) fn ping(&mut self) {
        let serial = self.call(&ClientData::Ping);
        assert_eq!(self.answer(serial), ServerData::Ping);
    }
}
