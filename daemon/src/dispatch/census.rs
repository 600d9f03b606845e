//! What the core holds, counted: for those who look whether its books agree and whether anything was left over.

use super::Dispatch;
use crate::model::VmId;

/// What the core holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// Who is connected, ascending by number.
    pub connections: Vec<ConnectionCensus>,
    /// Calls that wait.
    pub calls: usize,
    /// Deadlines of calls.
    pub deadlines: usize,
    /// Connections that are shown events.
    pub subscribers: usize,
    /// Streams that read a console.
    pub console_readers: usize,
    /// Streams that write to a console.
    pub console_writers: usize,
    /// Captures that run.
    pub captures: usize,
    /// Whose agents there are lanes to: kept until their virtual machine is undefined.
    pub lanes: Vec<VmId>,
    /// Lanes on which an answer is waited for.
    pub lanes_awaited: usize,
    /// Lanes whose answer a call waits for.
    pub lanes_called: usize,
    /// Operations that have not ended.
    pub operations: usize,
    /// Shutdowns whose guest has a grace.
    pub graces: usize,
    /// Half packets that have to become whole.
    pub halves: usize,
    /// Definitions that wait to be read.
    pub definitions: usize,
    /// Files to be written on behalf of operations.
    pub files: usize,
    /// Bytes held on behalf of all connections.
    pub held_bytes: usize,
}

/// What is held on behalf of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionCensus {
    /// Its number.
    pub number: u64,
    /// Calls that its session waits to have answered.
    pub calls_open: usize,
    /// Calls of it that wait for something to happen.
    pub calls_waiting: usize,
    /// Streams that are open on the wire.
    pub streams_open: usize,
    /// Streams that have a console or a capture behind them.
    pub streams_served: usize,
    /// Whether it is shown events.
    pub subscribed: bool,
    /// Bytes that were not written yet.
    pub unsent_bytes: usize,
}

impl Census {
    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        let Self {
            connections,
            calls,
            deadlines,
            subscribers,
            console_readers,
            console_writers,
            captures,
            // What was said before is no burden, and bounded by what is defined.
            lanes: _,
            lanes_awaited,
            lanes_called,
            operations,
            graces,
            halves,
            definitions,
            files,
            held_bytes,
        } = self;
        let counts = [calls, deadlines, subscribers, console_readers, console_writers, operations];
        let more = [captures, lanes_awaited, lanes_called, graces, halves, definitions, files, held_bytes];
        connections.is_empty() && counts.into_iter().chain(more).all(|count| *count == 0)
    }
}

impl Dispatch {
    /// Counts what is held. Takes as long as there are connections: not for every turn.
    pub fn census(&self) -> Census {
        let connections = self.clients.ids().into_iter().filter_map(|id| {
            let client = self.clients.get(id)?;
            Some(ConnectionCensus {
                number: id.number,
                calls_open: usize::try_from(client.session.calls_open()).unwrap_or(usize::MAX),
                calls_waiting: self.calls.of_connection(id).len(),
                streams_open: usize::try_from(client.session.streams_open()).unwrap_or(usize::MAX),
                streams_served: client.streams.len(),
                subscribed: client.subscription.is_some(),
                unsent_bytes: client.session.unsent_bytes(),
            })
        });
        let (console_readers, console_writers) = self.consoles.count();
        let (calls, deadlines) = self.calls.count();
        Census {
            connections: connections.collect(),
            calls,
            deadlines,
            subscribers: self.subscribers.len(),
            console_readers,
            console_writers,
            captures: self.captures.len(),
            lanes: self.agents.vms(),
            lanes_awaited: self.agents.count().1,
            lanes_called: self.calls.lanes(),
            operations: self.tasks.len(),
            graces: self.graces.len(),
            halves: self.halves.len(),
            definitions: self.defines.len(),
            files: self.files.len(),
            held_bytes: self.clients.held_bytes(),
        }
    }
}
