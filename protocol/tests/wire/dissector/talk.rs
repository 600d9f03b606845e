//! Conversations made up for captures: both sides' serials are kept, and the clock is the capture's.

use vmwire_protocol::message::{ClientData, Failure, HelloAnswer, ServerData, role};
use vmwire_protocol::version::{MAJOR, NEWEST_MINOR};
use vmwire_protocol::xdr::{Fixed, List, Text, Wire};
use vmwire_protocol::{limits, xdr};

use super::capture::{Capture, Flow, Side};
use crate::support::packets::raw;
use crate::support::server::hello;

/// The epoch of all of their events.
pub(crate) const EPOCH: Fixed<16> = Fixed(*b"the daemon's own");

/// One connection.
pub(crate) struct Talk {
    flow: Flow,
    client: u32,
    server: u32,
}

impl Talk {
    pub(crate) fn new(capture: &mut Capture) -> Self {
        Self { flow: capture.flow(), client: 0, server: 0 }
    }

    /// The same ends once more: a port that is used again.
    pub(crate) fn again(&self, capture: &mut Capture) -> Self {
        capture.open_again(self.flow);
        Self { flow: self.flow, client: 0, server: 0 }
    }

    /// One that agreed on a minor, of a daemon that speaks the newest.
    pub(crate) fn agreed(capture: &mut Capture, minor: u32, identity: &str, role: u32) -> Self {
        let mut talk = Self::new(capture);
        let serial = talk.call(capture, &hello(MAJOR, minor, &[1]));
        capture.pass_us(400);
        talk.say(capture, serial, &hello_answer(minor, identity, role));
        talk
    }

    /// Sends a call; answers its serial.
    pub(crate) fn call(&mut self, capture: &mut Capture, data: &ClientData) -> u32 {
        self.call_within(capture, 0, data)
    }

    pub(crate) fn call_within(&mut self, capture: &mut Capture, deadline_ms: u32, data: &ClientData) -> u32 {
        self.client += 1;
        let mut body = Vec::new();
        data.encode(&mut body).unwrap();
        capture.say(self.flow, Side::Client, &raw(self.client, deadline_ms, data.number(), &body[4..]));
        self.client
    }

    /// Lets the client acknowledge, with so much room for more.
    pub(crate) fn window(&self, capture: &mut Capture, bytes: u16) {
        capture.window(self.flow, Side::Client, bytes);
    }

    /// A packet of the daemon that the capture lacks.
    pub(crate) fn skip(&mut self) {
        self.server += 1;
    }

    /// What the daemon says.
    pub(crate) fn say(&mut self, capture: &mut Capture, reply_to: u32, data: &ServerData) {
        let bytes = self.packet(reply_to, data);
        capture.say(self.flow, Side::Server, &bytes);
    }

    fn packet(&mut self, reply_to: u32, data: &ServerData) -> Vec<u8> {
        self.server += 1;
        let mut body = Vec::new();
        data.encode(&mut body).unwrap();
        raw(self.server, reply_to, data.number(), &body[4..])
    }

    pub(crate) fn fail(&mut self, capture: &mut Capture, reply_to: u32, failure: Failure) {
        self.say(capture, reply_to, &ServerData::Failure(failure));
    }
}

pub(crate) fn hello_answer(minor: u32, identity: &str, role: u32) -> ServerData {
    ServerData::Hello(HelloAnswer {
        major: MAJOR,
        minor,
        newest_minor: NEWEST_MINOR,
        capabilities: List::new([1]).unwrap(),
        packet_bytes_max: u32::try_from(limits::CLIENT_BYTES_MAX).unwrap(),
        calls_in_flight_max: limits::CALLS_IN_FLIGHT_MAX,
        epoch: EPOCH,
        server: text("vmwired 0.1.0"),
        identity: text(identity),
        role,
    })
}

/// An admin's identity and role, the plain case.
pub(crate) const ADMIN: (&str, u32) = ("uid 0", role::ADMIN);

pub(crate) fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).unwrap()
}

/// The XDR of a value.
pub(crate) fn encoded<T: Wire>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    xdr::encode(&mut bytes, value).unwrap();
    bytes
}
