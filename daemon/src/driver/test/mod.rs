//! The test hypervisor: guests that are a few words of memory, with the delays and faults that their definitions
//! script.
//!
//! It stands behind the same trait as QEMU and is held to the same promises, so that most stories can be told against
//! it: quickly, by the thousand, on a virtual clock. It needs no descriptor and asks nothing of its host. `guest` is
//! the life of one guest, `agent` what answers in it; this room finds the guest and keeps the earliest deadline of
//! each.

mod agent;
mod guest;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use mio::Token;

use self::guest::Guest;
use super::{
    Accelerator, Action, Capabilities, Driver, DriverError, DriverErrorKind, FileAnswer, FileTicket, Host, Job, Report,
};
use crate::event_loop::{Now, Timers};
use crate::model::{CPU_MODELS, Definition, VmId};

/// The test hypervisor.
///
/// Invariant: `timers` holds exactly the guests that wait for something, each with the earliest of what it waits for.
#[derive(Debug)]
pub struct TestDriver {
    capabilities: Capabilities,
    /// The guests that are up or coming up; one that stopped is forgotten.
    guests: HashMap<VmId, Guest>,
    timers: Timers<VmId>,
    reports: VecDeque<Report>,
}

impl TestDriver {
    /// A hypervisor without guests.
    pub fn new() -> Self {
        let capabilities = Capabilities {
            hypervisor: "test 1".to_owned(),
            machines: vec!["q35".to_owned(), "pc".to_owned()],
            cpu_models: CPU_MODELS.iter().map(|&model| model.to_owned()).collect(),
            accelerators: vec![Accelerator { name: "test".to_owned(), usable: true, why_not: String::new() }],
        };
        Self { capabilities, guests: HashMap::new(), timers: Timers::new(), reports: VecDeque::new() }
    }

    /// Forgets a guest that is gone, and else notes what it waits for.
    fn settle(&mut self, vm: VmId) {
        let Some(guest) = self.guests.get(&vm) else { return };
        let next = guest.poll_timeout();
        if guest.is_gone() {
            self.guests.remove(&vm);
        }
        match next {
            Some(at) => self.timers.set(at, vm),
            None => {
                self.timers.cancel(vm);
            }
        }
    }
}

impl Default for TestDriver {
    fn default() -> Self {
        Self::new()
    }
}

impl Driver for TestDriver {
    fn name(&self) -> &'static str {
        "test"
    }

    fn guests_run_on(&self) -> bool {
        false
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Nothing of a definition is real here, so nothing of it can be missing.
    fn check(&self, _definition: &Definition) -> Result<(), DriverError> {
        Ok(())
    }

    fn begin(&mut self, now: Now, _host: &mut dyn Host, job: Job) {
        let Job { vm, operation, action } = job;
        match (self.guests.get_mut(&vm), action) {
            (Some(guest), action) => guest.begin(now.monotonic, operation, &action, &mut self.reports),
            (None, Action::Start { definition, paused }) => {
                let guest = Guest::start(now.monotonic, vm, operation, &definition, paused, &mut self.reports);
                self.guests.insert(vm, guest);
            }
            // Nothing of it is left: that is what was asked for.
            (None, Action::Stop) => self.reports.push_back(Report::Finished { vm, operation, result: Ok(()) }),
            (None, _) => {
                let error = DriverError {
                    hint: "start it first".to_owned(),
                    ..error(DriverErrorKind::Failed, "no guest is running")
                };
                self.reports.push_back(Report::Finished { vm, operation, result: Err(error) });
            }
        }
        self.settle(vm);
    }

    fn console_write(&mut self, now: Now, _host: &mut dyn Host, vm: VmId, data: &[u8]) -> usize {
        let Some(guest) = self.guests.get_mut(&vm) else { return 0 };
        let taken = guest.console_write(now.monotonic, data);
        self.settle(vm);
        taken
    }

    fn console_room(&self, vm: VmId) -> usize {
        self.guests.get(&vm).map_or(0, Guest::console_room)
    }

    fn agent_write(&mut self, now: Now, _host: &mut dyn Host, vm: VmId, data: &[u8]) -> bool {
        let Some(guest) = self.guests.get_mut(&vm) else { return false };
        let taken = guest.agent_write(now.monotonic, data);
        self.settle(vm);
        taken
    }

    fn handle_ready(&mut self, _now: Now, _host: &mut dyn Host, _token: Token) {}

    fn handle_file(&mut self, _now: Now, _host: &mut dyn Host, _ticket: FileTicket, _answer: FileAnswer) {}

    fn handle_timeout(&mut self, now: Now, _host: &mut dyn Host) {
        while let Some(vm) = self.timers.take_due(now.monotonic) {
            if let Some(guest) = self.guests.get_mut(&vm) {
                guest.handle_timeout(now.monotonic, &mut self.reports);
            }
            self.settle(vm);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    /// Guests of memory end with the process that holds them; there is nothing to let go of.
    fn detach(&mut self, _host: &mut dyn Host) {
        self.guests.clear();
        self.timers = Timers::new();
        self.reports.clear();
    }
}

fn error(kind: DriverErrorKind, message: &str) -> DriverError {
    DriverError { kind, message: message.to_owned(), causes: Vec::new(), hint: String::new() }
}
