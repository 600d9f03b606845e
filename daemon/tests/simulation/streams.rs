//! One console stream, held against what the guest really said.

use vmwire_daemon::model::VmId;

use crate::truth::Truth;

/// A stream as its client sees it.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) vm: VmId,
    /// Which of the consoles that the virtual machine had in its lives.
    generation: u64,
    pub(crate) writes: bool,
    /// The position of the next byte to come.
    position: u64,
    /// Marks typed.
    pub(crate) typed: u64,
    /// Data were sent although it was opened only to read.
    pub(crate) abused: bool,
    /// Bytes read and not taken over yet.
    pub(crate) untaken: usize,
    pub(crate) they_ended: bool,
    pub(crate) we_ended: bool,
}

impl Stream {
    /// The daemon has opened a stream that was asked for when the console was `generation`.
    pub(crate) fn open(vm: VmId, generation: u64, writes: bool, offset: u64, truth: &Truth) -> Result<Self, String> {
        if generation == truth.generation(vm) && offset > truth.said_bytes(vm) {
            return Err(format!("a console begins at {offset}, and only {} was said", truth.said_bytes(vm)));
        }
        Ok(Self {
            vm,
            generation,
            writes,
            position: offset,
            typed: 0,
            abused: false,
            untaken: 0,
            they_ended: false,
            we_ended: false,
        })
    }

    /// The virtual machine was undefined since: its console is no more, and cannot be compared with.
    pub(crate) fn is_void(&self, truth: &Truth) -> bool {
        self.generation != truth.generation(self.vm)
    }

    /// Data came; answers whether there is a hole before them.
    pub(crate) fn data(&mut self, offset: u64, data: &[u8], truth: &Truth) -> Result<bool, String> {
        let Self { vm, position, .. } = *self;
        if self.is_void(truth) {
            self.untaken += data.len();
            return Ok(false);
        }
        if self.they_ended {
            return Err(format!("data of {vm} at {offset} behind the end"));
        }
        if offset < position || offset > position && position >= truth.console_first(vm) {
            return Err(format!("data of {vm} at {offset}, but {position} is next and was not lost"));
        }
        if !truth.did_say(vm, offset, data) {
            return Err(format!("{} bytes at {offset} are not what {vm} said", data.len()));
        }
        self.position = offset + u64::try_from(data.len()).unwrap();
        self.untaken += data.len();
        Ok(offset > position)
    }

    /// The daemon sends no more: the guest is down and all it said was sent.
    pub(crate) fn ended(&mut self, truth: &Truth) -> Result<(), String> {
        self.they_ended = true;
        if self.is_void(truth) || truth.may_end(self.vm, self.position) {
            return Ok(());
        }
        Err(format!("the console of {} ended at {}, where it never went down", self.vm, self.position))
    }

    /// Everything was read that will come.
    pub(crate) fn complete(&self, truth: &Truth) -> Result<(), String> {
        if self.they_ended || self.is_void(truth) || self.position == truth.said_bytes(self.vm) {
            return Ok(());
        }
        Err(format!("the console of {} stands at {} of {}", self.vm, self.position, truth.said_bytes(self.vm)))
    }

    /// The next marks of a client, at most so many.
    pub(crate) fn marks(&mut self, client: u8, length: usize) -> Vec<u8> {
        let first = self.typed;
        self.typed += u64::try_from(length).unwrap();
        (first..self.typed).map(|count| 0x80 | client << 4 | u8::try_from(count % 16).unwrap()).collect()
    }

    /// The last mark that was typed.
    pub(crate) fn last_mark(&self) -> Option<u8> {
        Some(u8::try_from(self.typed.checked_sub(1)? % 16).unwrap())
    }
}
