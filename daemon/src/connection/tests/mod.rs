//! A connection between the real core and a socket that fails on demand.

mod closing;
mod exchanging;

use std::collections::VecDeque;

use mio::Token;
use mio::event::Source;
use vmwire_protocol::header::MAGIC;
use vmwire_protocol::limits::{HALF_PACKET_TIME, UNSENT_BYTES_HIGH};
use vmwire_protocol::message::{
    ClientData, Failure, HelloCall, ServerData, VmCall, VmCell, VmDefineCall, VmFilter, VmListCall, code,
    filter_comparison, vm_field,
};
use vmwire_protocol::xdr::{List, Text};

use super::*;
use crate::access::{Access, Base, Identity};
use crate::dispatch::{Arrival, Parts};
use crate::driver::{FileRequest, FileTicket, Host};
use crate::event_loop::Now;

struct NoHost;

impl Host for NoHost {
    fn watch(&mut self, _source: &mut dyn Source) -> io::Result<Token> {
        unreachable!("the test hypervisor has no descriptors")
    }

    fn unwatch(&mut self, _source: &mut dyn Source, _token: Token) {}

    fn file(&mut self, _request: FileRequest) -> FileTicket {
        unreachable!("the memory store has no files")
    }
}

/// What a read finds. When there is nothing, it would block.
enum Incoming {
    Bytes(Vec<u8>),
    End,
    Error(io::ErrorKind),
}

#[derive(Default)]
struct Script {
    incoming: VecDeque<Incoming>,
    reads: usize,
    /// What can be written before it would block.
    room: usize,
    write_error: Option<io::ErrorKind>,
    written: Vec<u8>,
    writes: usize,
    /// Like TLS it takes what it is given into this, and sends it when there is room.
    keeps: Option<Vec<u8>>,
    /// Like TLS it has half of something that it cannot show.
    half: usize,
    /// Sending was shut down.
    shut_down: bool,
}

impl Read for Script {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        match self.incoming.pop_front() {
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(Incoming::End) => Ok(0),
            Some(Incoming::Error(kind)) => Err(kind.into()),
            Some(Incoming::Bytes(mut bytes)) => {
                let count = bytes.len().min(into.len());
                let rest = bytes.split_off(count);
                into[..count].copy_from_slice(&bytes);
                if !rest.is_empty() {
                    self.incoming.push_front(Incoming::Bytes(rest));
                }
                Ok(count)
            }
        }
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        if let Some(kind) = self.write_error {
            return Err(kind.into());
        }
        if let Some(kept) = &mut self.keeps {
            assert!(kept.is_empty() && !self.shut_down, "it was not flushed, or is over");
            kept.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        if self.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(self.room);
        self.room -= count;
        self.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(kept) = &mut self.keeps else { return Ok(()) };
        let count = kept.len().min(self.room);
        self.room -= count;
        self.written.extend(kept.drain(..count));
        if kept.is_empty() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

impl Socket for Script {
    fn below(&self) -> Below {
        Below { unsent: self.keeps.as_ref().map_or(0, Vec::len), half: self.half }
    }

    fn shut_down_sending(&mut self) -> io::Result<()> {
        assert!(self.keeps.as_ref().is_none_or(Vec::is_empty), "what it keeps would never be sent");
        self.shut_down = true;
        Ok(())
    }
}

struct World {
    core: Dispatch,
    now: Now,
    buffers: Buffers,
    connection: Connection<Script>,
    /// The serial of the last packet made.
    serial: u32,
}

impl World {
    fn new() -> Self {
        let now = Now::read();
        let mut core = Dispatch::new(Parts::in_memory(Access::default()), now);
        let identity = Identity::unix(0, 0);
        let arrival = Arrival { identity, base: Base::Owners, refusal: None, first_packet_by: None };
        let id = core.accept(&mut Turn { now, host: &mut NoHost }, arrival);
        let socket = Script { room: usize::MAX, ..Script::default() };
        Self { core, now, buffers: Buffers::new(), connection: Connection::new(socket, id), serial: 0 }
    }

    fn packet(&mut self, data: &ClientData) -> Vec<u8> {
        self.serial += 1;
        let mut body = Vec::new();
        data.encode(&mut body).unwrap();
        let length = u32::try_from(8 + body.len()).unwrap();
        let words = [length, self.serial, 0].map(u32::to_be_bytes).concat();
        [&MAGIC[..], &words, &body].concat()
    }

    fn pings(&mut self, count: usize) -> Vec<u8> {
        (0..count).flat_map(|_| self.packet(&ClientData::Ping)).collect()
    }

    fn arrive(&mut self, incoming: Incoming) {
        self.connection.socket.incoming.push_back(incoming);
    }

    fn ready(&mut self, read_closed: bool) -> Next {
        let hints = Hints { readable: true, read_closed };
        let turn = &mut Turn { now: self.now, host: &mut NoHost };
        self.connection.handle_ready(&mut self.core, turn, &mut self.buffers, hints)
    }

    /// It has as many turns as it asks for.
    fn ready_until_done(&mut self, read_closed: bool) -> Next {
        loop {
            match self.ready(read_closed) {
                Next::Again => {}
                next => return next,
            }
        }
    }

    fn output(&mut self) -> Next {
        let turn = &mut Turn { now: self.now, host: &mut NoHost };
        self.connection.handle_output(&mut self.core, turn, &mut self.buffers)
    }

    /// The connection is gone, and another comes and asks.
    fn vms_as_somebody_else_sees_them(&mut self) -> u32 {
        let mut turn = Turn { now: self.now, host: &mut NoHost };
        self.core.gone(&mut turn, self.connection.id);
        self.core.collect(&mut turn);
        let identity = Identity::unix(0, 0);
        let arrival = Arrival { identity, base: Base::Owners, refusal: None, first_packet_by: None };
        let id = self.core.accept(&mut turn, arrival);
        self.serial = 0;
        self.connection = Connection::new(Script { room: usize::MAX, ..Script::default() }, id);
        let question = self.packet(&ClientData::HostInfo);
        self.arrive(Incoming::Bytes(question));
        self.ready(false);
        match &self.answers()[..] {
            [(1, ServerData::HostInfo(info))] => info.vms_defined,
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self) {
        self.core.leave(&mut Turn { now: self.now, host: &mut NoHost });
    }

    /// What was written so far, packet by packet: what it answers, and what it says.
    fn answers(&self) -> Vec<(u32, ServerData)> {
        let mut rest = self.connection.socket.written.as_slice();
        let mut answers = Vec::new();
        while let Some((head, body)) = rest.split_first_chunk::<20>() {
            let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
            let (body, next) = body.split_at(usize::try_from(word(4)).unwrap() - 12);
            answers.push((word(12), ServerData::decode_body(word(16), body).unwrap().unwrap()));
            rest = next;
        }
        assert!(rest.is_empty(), "half a packet was written");
        answers
    }
}

fn failure(answer: &(u32, ServerData)) -> &Failure {
    match answer {
        (0, ServerData::Failure(failure)) => failure,
        other => panic!("{other:?}"),
    }
}
