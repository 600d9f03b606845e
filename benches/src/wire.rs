//! A connection for setting things up: one call at a time, whole answers, everything unasked skipped. What is measured
//! goes through `load`.

use std::io::{Read, Write};

use vmwire_protocol::header::{self, MAGIC};
use vmwire_protocol::limits::{HEADER_BYTES, SERVER_BYTES_MAX};
use vmwire_protocol::message::{ClientData, HelloCall, ServerData, number};
use vmwire_protocol::version::{MAJOR, NEWEST_MINOR};
use vmwire_protocol::xdr::{List, Text};

use crate::Outcome;
use crate::socket::{Address, Socket};

/// A packet of a client. The serial is at [`SERIAL_AT`].
pub(crate) fn packet(serial: u32, data: &ClientData) -> Outcome<Vec<u8>> {
    let mut bytes = [MAGIC, [0; 4], serial.to_be_bytes(), [0; 4]].concat();
    data.encode(&mut bytes).map_err(|error| error.to_string())?;
    let length = u32::try_from(bytes.len() - HEADER_BYTES)?;
    bytes.splice(4..8, length.to_be_bytes());
    Ok(bytes)
}

/// Where the serial is in a packet.
pub(crate) const SERIAL_AT: usize = HEADER_BYTES;

/// Where in a server's packet stands what it answers.
pub(crate) const REPLY_TO_AT: usize = HEADER_BYTES + 4;

/// A connection on which the calling serial is known.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Socket,
    serial: u32,
}

impl Wire {
    /// Connects and says nothing.
    pub(crate) fn connect(address: &Address) -> Outcome<Self> {
        Ok(Self { stream: address.connect()?, serial: 0 })
    }

    /// Connects and agrees on the newest version.
    pub(crate) fn greet(address: &Address) -> Outcome<Self> {
        let mut wire = Self::connect(address)?;
        wire.call(&ClientData::Hello(HelloCall {
            major: MAJOR,
            minor: NEWEST_MINOR,
            capabilities: List::default(),
            name: Text::clipped("vmwire-bench"),
        }))?;
        Ok(wire)
    }

    /// Calls and waits for the answer.
    pub(crate) fn call(&mut self, data: &ClientData) -> Outcome<ServerData> {
        let serial = self.send(data)?;
        self.answer(serial)
    }

    /// Sends a packet; answers its serial.
    pub(crate) fn send(&mut self, data: &ClientData) -> Outcome<u32> {
        self.serial += 1;
        self.stream.write_all(&packet(self.serial, data)?)?;
        Ok(self.serial)
    }

    /// Waits for the answer to the call of this serial.
    pub(crate) fn answer(&mut self, serial: u32) -> Outcome<ServerData> {
        loop {
            let (reply_to, data) = self.receive()?;
            match data {
                ServerData::Failure(failure) => {
                    let hint = failure.hint.as_str();
                    return Err(format!("the daemon answered: {} {hint}", failure.message.as_str()).into());
                }
                data if data.number() < number::UNANSWERED && reply_to == serial => return Ok(data),
                _ => {}
            }
        }
    }

    /// The next packet, whatever it is, and what it answers.
    pub(crate) fn receive(&mut self) -> Outcome<(u32, ServerData)> {
        let mut header = [0; HEADER_BYTES];
        self.stream.read_exact(&mut header)?;
        let length = header::parse(header, SERVER_BYTES_MAX).map_err(|error| format!("{error:?}"))?;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        let (Some(reply_to), Some(number)) = (word(&payload, 4), word(&payload, 8)) else {
            return Err("a packet is too short".into());
        };
        match ServerData::decode_body(number, payload.get(12..).unwrap_or_default()) {
            Some(Ok(data)) => Ok((reply_to, data)),
            Some(Err(error)) => Err(error.to_string().into()),
            None => Err(format!("a packet has the unknown number {number:#x}").into()),
        }
    }

    /// The socket, and the serial of the last packet that was sent.
    pub(crate) fn into_parts(self) -> (Socket, u32) {
        (self.stream, self.serial)
    }
}

/// The big-endian word at a place.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}
