//! The streams of each connection: what stands behind each of them, and so who is to be told what happens on it.

use std::collections::VecDeque;

use super::client::ConnectionId;
use super::{Dispatch, Turn};
use crate::model::VmId;

/// Names a stream of a connection.
pub(super) type StreamKey = (ConnectionId, u32);

/// The streams of a connection that something stands behind.
#[derive(Debug, Default)]
pub(super) struct Streams(Vec<(u32, Open)>);

/// What stands behind a stream.
#[derive(Debug)]
pub(super) enum Open {
    Console(ConsoleStream),
    Capture(CaptureStream),
}

/// A console that a connection has open.
#[derive(Debug)]
pub(super) struct ConsoleStream {
    pub(super) vm: VmId,
    /// Position of the next byte to be sent.
    pub(super) position: u64,
    /// Whether it may write.
    pub(super) writes: bool,
    /// What the client typed and the guest has not taken yet; bounded by the stream's credit.
    pub(super) typed: VecDeque<u8>,
    /// The client types no more: when the guest has taken what is left, the console has no writer.
    pub(super) input_ended: bool,
    /// The guest went down when it had said so much: there the stream ends, although the guest may come up again.
    pub(super) ends_at: Option<u64>,
}

/// A capture that a connection has open.
#[derive(Debug)]
pub(super) struct CaptureStream {
    /// The packet to be shown next.
    pub(super) next: u64,
    /// How much of it was shown.
    pub(super) shown: usize,
    pub(super) vm: Option<VmId>,
    pub(super) payload: bool,
    /// Whether what passes on lanes to agents is shown too.
    pub(super) agents: bool,
    /// Bytes sent on the stream.
    pub(super) offset: u64,
}

/// What stands behind a stream, without what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Console,
    Capture,
}

impl Streams {
    pub(super) fn insert(&mut self, stream: u32, open: Open) {
        self.0.push((stream, open));
    }

    pub(super) fn remove(&mut self, stream: u32) -> Option<Open> {
        let at = self.0.iter().position(|(number, _)| *number == stream)?;
        let (_, removed) = self.0.swap_remove(at);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        Some(removed)
    }

    /// What each of them is.
    fn kinds(&self) -> impl Iterator<Item = (u32, Kind)> {
        self.0.iter().map(|(number, open)| match open {
            Open::Console(_) => (*number, Kind::Console),
            Open::Capture(_) => (*number, Kind::Capture),
        })
    }

    pub(super) fn console(&self, stream: u32) -> Option<&ConsoleStream> {
        self.0.iter().find_map(|(number, open)| match open {
            Open::Console(console) if *number == stream => Some(console),
            _ => None,
        })
    }

    pub(super) fn console_mut(&mut self, stream: u32) -> Option<&mut ConsoleStream> {
        self.0.iter_mut().find_map(|(number, open)| match open {
            Open::Console(console) if *number == stream => Some(console),
            _ => None,
        })
    }

    pub(super) fn capture_mut(&mut self, stream: u32) -> Option<&mut CaptureStream> {
        self.0.iter_mut().find_map(|(number, open)| match open {
            Open::Capture(capture) if *number == stream => Some(capture),
            _ => None,
        })
    }

    /// Whose console each stream is that is one.
    pub(super) fn vms(&self) -> impl Iterator<Item = (u32, VmId)> {
        self.0.iter().filter_map(|(number, open)| match open {
            Open::Console(console) => Some((*number, console.vm)),
            Open::Capture(_) => None,
        })
    }

    /// Whether one of them is a capture.
    pub(super) fn capture(&self) -> bool {
        self.kinds().any(|(_, kind)| kind == Kind::Capture)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes over what was typed. What somebody sends who is only to read is not kept; they are told so when it is looked at.
    pub(super) fn receive(&mut self, stream: u32, data: &[u8]) {
        if let Some(open) = self.console_mut(stream)
            && open.writes
        {
            open.typed.extend(data);
        }
    }
}

impl Dispatch {
    fn stream_kind(&self, id: ConnectionId, stream: u32) -> Option<Kind> {
        self.clients.get(id)?.streams.kinds().find(|(number, _)| *number == stream).map(|(_, kind)| kind)
    }

    /// The streams of a connection, and what each of them is.
    pub(super) fn streams_of(&self, id: ConnectionId) -> Vec<(u32, Kind)> {
        self.clients.get(id).map(|client| client.streams.kinds().collect()).unwrap_or_default()
    }

    /// Data came on a stream.
    pub(super) fn stream_input(&mut self, turn: &mut Turn<'_>, id: ConnectionId, stream: u32) {
        match self.stream_kind(id, stream) {
            Some(Kind::Console) => self.console_input(turn, id, stream),
            Some(Kind::Capture) => self.capture_input(id, stream),
            None => {}
        }
    }

    /// There may be room on a stream.
    pub(super) fn stream_output(&mut self, id: ConnectionId, stream: u32) {
        match self.stream_kind(id, stream) {
            Some(Kind::Console) => self.console_output(id, stream),
            Some(Kind::Capture) => self.capture_output(id, stream),
            None => {}
        }
    }

    /// The same for all streams of a connection.
    pub(super) fn streams_output(&mut self, id: ConnectionId) {
        for (stream, _) in self.streams_of(id) {
            self.stream_output(id, stream);
        }
    }

    /// A client sends no more on a stream; it reads on.
    pub(super) fn stream_input_ended(&mut self, turn: &mut Turn<'_>, id: ConnectionId, stream: u32) {
        if self.stream_kind(id, stream) == Some(Kind::Console) {
            self.console_input_ended(turn, id, stream);
        }
    }

    /// A stream is over, or its connection is.
    pub(super) fn stream_over(&mut self, turn: &mut Turn<'_>, id: ConnectionId, stream: u32) {
        match self.stream_kind(id, stream) {
            Some(Kind::Console) => self.console_over(turn, id, stream),
            Some(Kind::Capture) => self.capture_over(id, stream),
            None => {}
        }
    }
}
