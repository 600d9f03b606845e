//! Consoles: each guest's output is kept once, each reader is a position in it, and at most one connection writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use vmwire_protocol::message::{
    ConsoleOpenAnswer, ConsoleOpenCall, EventConsoleWriter, Failure, code, console_mode, event_kind,
};
use vmwire_protocol::xdr::Text;

use super::client::ConnectionId;
use super::convert::count;
use super::refusal::{invalid, state_name, too_many_streams};
use super::stream::{ConsoleStream, Open, StreamKey};
use super::{Dispatch, Turn, is_up};
use crate::model::VmId;

/// Who has which console open.
///
/// Invariant: a writer is a reader as well; every stream here is one of its connection's `streams`.
#[derive(Debug, Default)]
pub(super) struct Consoles {
    readers: BTreeMap<VmId, BTreeSet<StreamKey>>,
    writers: BTreeMap<VmId, StreamKey>,
}

impl Consoles {
    pub(super) fn readers(&self, vm: VmId) -> u32 {
        self.readers.get(&vm).map_or(0, |readers| count(readers.len()))
    }

    /// How many streams read, and how many write.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.readers.values().map(BTreeSet::len).sum(), self.writers.len())
    }

    fn of(&self, vm: VmId) -> Vec<StreamKey> {
        self.readers.get(&vm).map(|readers| readers.iter().copied().collect()).unwrap_or_default()
    }

    fn leave(&mut self, vm: VmId, key: StreamKey) {
        if let Some(readers) = self.readers.get_mut(&vm) {
            readers.remove(&key);
            if readers.is_empty() {
                self.readers.remove(&vm);
            }
        }
    }
}

impl Dispatch {
    pub(super) fn console_open(
        &mut self,
        turn: &mut Turn<'_>,
        id: ConnectionId,
        call: &ConsoleOpenCall,
    ) -> Result<ConsoleOpenAnswer, Failure> {
        let vm = self.find(&call.vm)?;
        let (vm_id, name) = (vm.id, vm.name().to_string());
        if !vm.definition.console {
            return Err(Failure::new(code::INVALID, "the virtual machine has no console")
                .about("vm", &name)
                .hint("set console = true in its definition"));
        }
        let writes = match call.mode {
            console_mode::READ => false,
            console_mode::WRITE | console_mode::TAKE_OVER => true,
            other => return Err(invalid("mode", other, &format!("there is no console mode {other} in this version"))),
        };
        if writes && !is_up(vm) {
            let state = state_name(vm.state);
            return Err(Failure::new(code::INVALID, &format!("nobody reads what is typed: it is {state}"))
                .about("vm", &name)
                .detail("state", state)
                .hint("start it first, or open its console only to read"));
        }
        let start = vm.console.start();
        let position = vm.console.end().saturating_sub(call.history_bytes.into()).max(start);
        let holder = self.consoles.writers.get(&vm_id).copied();
        if let Some(holder) = holder.filter(|_| call.mode == console_mode::WRITE) {
            let identity = self.identity(holder.0);
            return Err(console_busy(&name, holder.0, &identity, &format!("{identity} writes to the console already"))
                .hint("open it with take-over to write instead, or only to read"));
        }
        let Some(client) = self.clients.get_mut(id) else {
            return Err(Failure::new(code::INTERNAL, "the connection is gone"));
        };
        let stream = client.session.stream_open().map_err(|_| too_many_streams())?;
        let open =
            ConsoleStream { vm: vm_id, position, writes, typed: VecDeque::new(), input_ended: false, ends_at: None };
        client.streams.insert(stream, Open::Console(open));
        self.consoles.readers.entry(vm_id).or_default().insert((id, stream));
        if writes {
            self.take_over(turn, vm_id, &name, (id, stream));
        }
        // The answer goes first; what is to be read follows behind it, at the latest when it was written.
        self.clients.mark_dirty(id);
        Ok(ConsoleOpenAnswer { stream, offset: position, writer: Text::clipped(&self.console_writer_identity(vm_id)) })
    }

    /// Makes a stream the writer; the former writer's stream ends.
    fn take_over(&mut self, turn: &mut Turn<'_>, vm: VmId, name: &str, key: StreamKey) {
        let identity = self.identity(key.0);
        if let Some(former) = self.consoles.writers.insert(vm, key) {
            let why = console_busy(name, key.0, &identity, &format!("{identity} took the console over"));
            self.consoles.leave(vm, former);
            if let Some(client) = self.clients.get_mut(former.0) {
                client.streams.remove(former.1);
                client.session.stream_end(former.1, Some(why));
                self.clients.mark_dirty(former.0);
            }
        }
        self.emit_writer(turn, vm, &identity);
    }

    fn emit_writer(&mut self, turn: &Turn<'_>, vm: VmId, identity: &str) {
        let name = self.vms.get(vm).map(|known| known.name().to_string()).unwrap_or_default();
        let detail = EventConsoleWriter { identity: Text::clipped(identity) };
        self.emit(turn, event_kind::CONSOLE_WRITER, Some((vm, name)), None, &detail);
    }

    pub(super) fn console_writer_identity(&self, vm: VmId) -> String {
        self.consoles.writers.get(&vm).map(|(id, _)| self.identity(*id)).unwrap_or_default()
    }

    /// The guest wrote something.
    pub(super) fn console_said(&mut self, vm: VmId, data: &[u8]) {
        let Some(known) = self.vms.get_mut(vm) else { return };
        known.console.push(data);
        for (id, stream) in self.consoles.of(vm) {
            self.console_output(id, stream);
            self.clients.mark_dirty(id);
        }
    }

    /// Sends a reader what it has not seen, within its credit and while its connection has little unsent. A reader that was
    /// too slow for what is kept jumps; `offset` tells it.
    pub(super) fn console_output(&mut self, id: ConnectionId, stream: u32) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let (session, streams) = client.parts();
        let Some(open) = streams.console_mut(stream) else { return };
        let Some(vm) = self.vms.get(open.vm) else { return };
        if open.ends_at.is_none() && !is_up(vm) {
            open.ends_at = Some(vm.console.end());
        }
        let end = open.ends_at.unwrap_or(u64::MAX);
        loop {
            let from = open.position.max(vm.console.start());
            let left = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
            let (position, data) = vm.console.read(from, session.stream_room(stream).min(left));
            if data.is_empty() || session.stream_send(stream, 0, position, data).is_err() {
                break;
            }
            open.position = position + u64::try_from(data.len()).unwrap_or(0);
        }
        if open.position.max(vm.console.start()) >= end {
            // What was lost at the very end has nothing behind it whose offset would tell; these are no bytes, and cost no
            // credit.
            if open.position < end {
                let _over_already = session.stream_send(stream, 0, end, b"");
            }
            session.stream_end(stream, None);
            self.console_close(id, stream);
        }
    }

    /// A guest is gone: its readers get the rest of what it said, then the end.
    pub(super) fn console_ended(&mut self, turn: &mut Turn<'_>, vm: VmId) {
        if self.consoles.writers.remove(&vm).is_some() {
            self.emit_writer(turn, vm, "");
        }
        for (id, stream) in self.consoles.of(vm) {
            self.console_output(id, stream);
            self.clients.mark_dirty(id);
        }
    }

    /// A virtual machine is undefined: its readers get no more.
    pub(super) fn console_forgotten(&mut self, vm: VmId, name: &str) {
        for (id, stream) in self.consoles.of(vm) {
            if let Some(client) = self.clients.get_mut(id) {
                let why = Failure::new(code::NOT_FOUND, "the virtual machine was undefined").about("vm", name);
                client.session.stream_end(stream, Some(why));
            }
            self.console_close(id, stream);
            self.clients.mark_dirty(id);
        }
    }

    /// Forgets a stream. It has been ended.
    fn console_close(&mut self, id: ConnectionId, stream: u32) {
        let removed = self.clients.get_mut(id).and_then(|client| client.streams.remove(stream));
        if let Some(Open::Console(open)) = removed {
            self.consoles.leave(open.vm, (id, stream));
        }
    }

    /// Something was typed: the guest gets as much of it as it takes.
    pub(super) fn console_input(&mut self, turn: &mut Turn<'_>, id: ConnectionId, stream: u32) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let (session, streams) = client.parts();
        let Some(open) = streams.console_mut(stream) else { return };
        if !open.writes {
            let why = Failure::new(code::INVALID, "the console was opened only to read");
            session.stream_end(stream, Some(why));
            return self.console_close(id, stream);
        }
        if open.ends_at.is_some() {
            // The guest that it was meant for is no more; the end is on its way.
            return open.typed.clear();
        }
        loop {
            let (typed, _) = open.typed.as_slices();
            if typed.is_empty() {
                break;
            }
            let taken = self.driver.console_write(turn.now, turn.host, open.vm, typed);
            if taken == 0 {
                break;
            }
            open.typed.drain(..taken);
            session.stream_taken(stream, taken);
        }
        if open.input_ended && open.typed.is_empty() {
            self.stop_writing(turn, id, stream);
        }
    }

    /// Writers whose guests have room again.
    pub(super) fn console_inputs(&mut self, turn: &mut Turn<'_>) {
        let writers: Vec<(VmId, StreamKey)> = self.consoles.writers.iter().map(|(vm, key)| (*vm, *key)).collect();
        for (vm, (id, stream)) in writers {
            let waits = self
                .clients
                .get_mut(id)
                .and_then(|client| client.streams.console_mut(stream))
                .is_some_and(|open| !open.typed.is_empty());
            if waits && self.driver.console_room(vm) > 0 {
                self.console_input(turn, id, stream);
                self.clients.mark_dirty(id);
            }
        }
    }

    /// A client types no more; it reads on, and the guest still gets what was typed.
    pub(super) fn console_input_ended(&mut self, turn: &mut Turn<'_>, id: ConnectionId, stream: u32) {
        let open = self.clients.get_mut(id).and_then(|client| client.streams.console_mut(stream));
        if let Some(open) = open.filter(|open| open.writes) {
            open.input_ended = true;
            self.console_input(turn, id, stream);
        }
    }

    /// The stream of a console is over, or its connection is.
    pub(super) fn console_over(&mut self, turn: &mut Turn<'_>, id: ConnectionId, stream: u32) {
        self.stop_writing(turn, id, stream);
        self.console_close(id, stream);
    }

    fn stop_writing(&mut self, turn: &mut Turn<'_>, id: ConnectionId, stream: u32) {
        let vm = self.clients.get_mut(id).and_then(|client| client.streams.console_mut(stream)).map(|open| open.vm);
        if let Some(vm) = vm
            && self.consoles.writers.get(&vm) == Some(&(id, stream))
        {
            self.consoles.writers.remove(&vm);
            self.emit_writer(turn, vm, "");
        }
    }
}

fn console_busy(name: &str, holder: ConnectionId, identity: &str, message: &str) -> Failure {
    Failure::new(code::BUSY, message)
        .about("vm", name)
        .detail("holder", identity)
        .detail("connection", &holder.number.to_string())
}
