//! What a session does with a packet: the verdicts in their order, and the answers.

use std::sync::Arc;
use std::time::Instant;

use super::{Call, Peer, ServerConfig, Step, Ticket};
use crate::fault::{self, Fault};
use crate::limits::{CALLS_IN_FLIGHT_MAX, CLIENT_BYTES_MAX, CLIENT_BYTES_MAX_BEFORE_HELLO, EVENT_UNSENT_BYTES_MAX};
use crate::message::{
    CancelAnswer, ClientData, Failure, HelloAnswer, HelloCall, Procedure, Progress, ServerData, StreamEnd, capability,
    code, number,
};
use crate::serial::Serials;
use crate::session::outbox::{Outbox, Unsendable};
use crate::session::refusal::{denied, malformed, too_many_calls, unknown, unsupported, version_mismatch};
use crate::session::stream::{self, Received, Streams};
use crate::session::words;
use crate::version::MAJOR;
use crate::xdr::{self, List, Text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Fresh,
    Refused,
    Agreed,
    Closed,
}

/// A call that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenCall {
    pub(super) serial: u32,
    /// Whether PROGRESS had been granted when it came: HELLO holds for the packets behind it alone.
    pub(super) progress: bool,
}

/// All but the half packet, which is lent out while the rest is at work.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: Arc<ServerConfig>,
    pub(super) peer: Peer,
    pub(super) phase: Phase,
    pub(super) minor: u32,
    pub(super) progress_granted: bool,
    pub(super) name: Text<128>,
    pub(super) serials: Serials,
    pub(super) outbox: Outbox,
    /// The calls that wait for their answers.
    pub(super) open: Vec<OpenCall>,
    /// The latest progress of open calls that found no room yet.
    pub(super) progress: Vec<(u32, Progress)>,
    pub(super) streams: Streams,
    pub(super) calls: u64,
    /// The code of the last packet.
    pub(super) closed_with: Option<u32>,
}

impl Core {
    pub(super) fn client_bytes_max(&self) -> usize {
        if self.phase == Phase::Agreed { CLIENT_BYTES_MAX } else { CLIENT_BYTES_MAX_BEFORE_HELLO }
    }

    fn is_open(&self, serial: u32) -> bool {
        self.open.iter().any(|call| call.serial == serial)
    }

    /// Judges a payload, in the order in which verdicts win.
    pub(super) fn packet<'a>(&mut self, now: Instant, payload: &'a [u8]) -> Step<'a> {
        let Some((head, body)) = payload.split_first_chunk::<12>() else {
            return self.closing(Failure::new(code::BAD_LENGTH, "the payload is shorter than its head"));
        };
        let [serial, deadline_ms, number] = words(head);
        if let Err(error) = self.serials.check(serial) {
            return self.closing(
                Failure::new(code::SERIAL, &error.to_string())
                    .detail("expected", &error.expected.to_string())
                    .detail("received", &error.received.to_string()),
            );
        }
        if self.is_open(serial) {
            return self.closing(Failure::new(code::SERIAL, "the serial is that of a call that is still open"));
        }
        if self.phase == Phase::Refused && number != number::HELLO && number != number::PING {
            return self.refuse(serial, number, version_mismatch(None));
        }
        match number {
            number::HELLO => self.hello(serial, body),
            number::PING if body.is_empty() => self.reply(serial, &ServerData::Ping),
            number::PING => self.refuse(serial, number, malformed("PING has no body")),
            number::STREAM_DATA => self.stream_data(serial, body),
            number::CANCEL | number::UNSUBSCRIBE | number::STREAM_CREDIT | number::STREAM_END => {
                match ClientData::decode_body(number, body) {
                    Some(Ok(data)) => self.control(serial, data),
                    Some(Err(error)) => self.refuse(serial, number, malformed(&error.to_string())),
                    None => self.refuse(serial, number, unknown(number)),
                }
            }
            _ => self.call(now, serial, deadline_ms, number, body),
        }
    }

    fn call(&mut self, now: Instant, serial: u32, deadline_ms: u32, number: u32, body: &[u8]) -> Step<'static> {
        let Some(procedure) = Procedure::of(number).filter(|procedure| procedure.minor <= self.config.newest_minor)
        else {
            return self.refuse(serial, number, unknown(number));
        };
        if procedure.minor > self.minor {
            return self.refuse(serial, number, unsupported(procedure));
        }
        let role = self.peer.role_over(procedure.right.over);
        if role < procedure.right.role {
            return self.refuse(serial, number, denied(procedure, role));
        }
        if self.open.len() >= usize::try_from(CALLS_IN_FLIGHT_MAX).unwrap_or(usize::MAX) {
            return self.refuse(serial, number, too_many_calls());
        }
        match ClientData::decode_body(number, body) {
            Some(Ok(data)) => {
                self.open.push(OpenCall { serial, progress: self.progress_granted });
                self.calls += 1;
                let ticket = Ticket { serial, number };
                Step::Call(Call { ticket, procedure, deadline: now + procedure.deadline(deadline_ms), data })
            }
            Some(Err(error)) => self.refuse(serial, number, malformed(&error.to_string())),
            None => self.refuse(serial, number, unknown(number)),
        }
    }

    fn hello(&mut self, serial: u32, body: &[u8]) -> Step<'static> {
        let again = || Failure::new(code::INVALID, "a version was agreed already");
        // Of a major that is not ours only the first word is ours to read.
        let Some((major, _)) = body.split_first_chunk().map(|(word, rest)| (u32::from_be_bytes(*word), rest)) else {
            return self.refuse(serial, number::HELLO, malformed("HELLO has no major"));
        };
        if major != MAJOR {
            if self.phase == Phase::Agreed {
                return self.refuse(serial, number::HELLO, again());
            }
            self.phase = Phase::Refused;
            return self.refuse(serial, number::HELLO, version_mismatch(Some(major)));
        }
        let call: HelloCall = match xdr::decode(body) {
            Ok(call) => call,
            Err(error) => return self.refuse(serial, number::HELLO, malformed(&error.to_string())),
        };
        if self.phase == Phase::Agreed {
            return self.refuse(serial, number::HELLO, again());
        }
        self.phase = Phase::Agreed;
        self.minor = call.minor.min(self.config.newest_minor);
        self.progress_granted = call.capabilities.contains(&capability::PROGRESS);
        self.name = call.name;
        let granted = self.progress_granted.then_some(capability::PROGRESS);
        let answer = HelloAnswer {
            major: MAJOR,
            minor: self.minor,
            newest_minor: self.config.newest_minor,
            capabilities: List::clipped(granted),
            packet_bytes_max: u32::try_from(CLIENT_BYTES_MAX).unwrap_or(u32::MAX),
            calls_in_flight_max: CALLS_IN_FLIGHT_MAX,
            epoch: self.config.epoch,
            server: self.config.server.clone(),
            identity: self.peer.identity.clone(),
            role: self.peer.role,
        };
        self.reply(serial, &ServerData::Hello(answer))
    }

    /// What is handled where it is read, is never counted and never refused for load.
    fn control(&mut self, serial: u32, data: ClientData) -> Step<'static> {
        match data {
            ClientData::Cancel(cancel) => {
                let found = self.is_open(cancel.serial);
                self.reply(serial, &ServerData::Cancel(CancelAnswer { found }));
                if found { Step::Cancelled(cancel.serial) } else { Step::Handled }
            }
            ClientData::Unsubscribe => {
                self.reply(serial, &ServerData::Unsubscribe);
                Step::Unsubscribed
            }
            ClientData::StreamCredit(credit) => match self.streams.handle_credit(&credit) {
                Received::Room => Step::StreamRoom(credit.stream),
                _ => Step::Handled,
            },
            ClientData::StreamEnd(end) => match self.streams.handle_end(&end) {
                Received::Ended => Step::StreamEnded(end.stream),
                Received::Over => Step::StreamOver { stream: end.stream, why: end.why },
                _ => Step::Handled,
            },
            _ => Step::Handled,
        }
    }

    fn stream_data<'a>(&mut self, serial: u32, body: &'a [u8]) -> Step<'a> {
        let Some((head, data)) = stream::split_data(body) else {
            return self.refuse(serial, number::STREAM_DATA, malformed("STREAM_DATA is not as it has to be"));
        };
        match self.streams.handle_data(head, data.len()) {
            Received::Data => Step::StreamData { stream: head.stream, flags: head.flags, offset: head.offset, data },
            Received::Violated(failure) => {
                let why = Some(failure);
                self.send_data(0, &ServerData::StreamEnd(StreamEnd { stream: head.stream, why: why.clone() }));
                Step::StreamOver { stream: head.stream, why }
            }
            _ => Step::Handled,
        }
    }

    pub(super) fn end_stream(&mut self, stream: u32, why: Option<Failure>) {
        if self.phase != Phase::Closed && self.streams.end(stream, why.is_some()) {
            self.send_data(0, &ServerData::StreamEnd(StreamEnd { stream, why }));
        }
    }

    /// Answers a call that was counted.
    pub(super) fn conclude(&mut self, serial: u32, data: &ServerData) {
        let Some(at) = self.open.iter().position(|call| call.serial == serial) else {
            debug_assert!(self.phase == Phase::Closed, "a call was answered twice");
            return;
        };
        if !fault::strikes(Fault::LeakedTicket) {
            self.open.swap_remove(at);
        }
        if self.open.is_empty() && self.open.capacity() > 16 {
            self.open = Vec::new();
        }
        self.progress.retain(|(of, _)| *of != serial);
        if self.phase == Phase::Closed || fault::strikes(Fault::LostReply) {
            return;
        }
        self.reply(serial, data);
        if fault::strikes(Fault::DoubleReply) {
            self.reply(serial, data);
        }
    }

    /// Sends an answer, or says why it cannot be sent.
    fn reply(&mut self, serial: u32, data: &ServerData) -> Step<'static> {
        let instead = match self.outbox.push(serial, |out| data.encode(out)) {
            Ok(_) => return Step::Handled,
            Err(Unsendable::TooLarge { bytes, bytes_max }) => {
                Failure::new(code::ANSWER_TOO_LARGE, "the answer does not fit into a packet")
                    .detail("limit", &bytes_max.to_string())
                    .detail("bytes", &bytes.to_string())
                    .hint("ask for fewer rows or fields at once")
            }
            Err(Unsendable::Encode(error)) => Failure::new(code::INTERNAL, &error.to_string()),
        };
        self.send_data(serial, &ServerData::Failure(instead));
        Step::Handled
    }

    fn refuse(&mut self, serial: u32, number: u32, failure: Failure) -> Step<'static> {
        let data = ServerData::Failure(failure);
        self.reply(serial, &data);
        match data {
            ServerData::Failure(failure) => Step::Refused { number, failure },
            _ => Step::Handled,
        }
    }

    pub(super) fn send_data(&mut self, reply_to: u32, data: &ServerData) {
        self.send(reply_to, |out| data.encode(out));
    }

    /// Sends what is known to fit: bounded types within the longest payload.
    pub(super) fn send(&mut self, reply_to: u32, body: impl FnOnce(&mut Vec<u8>) -> Result<(), xdr::EncodeError>) {
        let outcome = self.outbox.push(reply_to, body);
        debug_assert!(outcome.is_ok(), "{outcome:?}");
    }

    pub(super) fn send_progress(&mut self) {
        while self.outbox.unsent().len() < EVENT_UNSENT_BYTES_MAX {
            let Some((serial, progress)) = self.progress.pop() else { return };
            self.send_data(serial, &ServerData::Progress(progress));
        }
    }

    fn closing(&mut self, failure: Failure) -> Step<'static> {
        self.close(failure);
        Step::Closed
    }

    pub(super) fn close(&mut self, failure: Failure) {
        if self.phase != Phase::Closed {
            self.closed_with = Some(failure.code);
            self.send_data(0, &ServerData::Failure(failure));
            self.phase = Phase::Closed;
            self.progress = Vec::new();
            self.open = Vec::new();
            self.streams = Streams::default();
        }
    }
}
