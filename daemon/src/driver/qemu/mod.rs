//! The QEMU driver: each guest is a QEMU process of its own session, spoken with over its monitor.
//!
//! Pure rooms decide: `argv` what QEMU is called with, `monitor` what its lines mean, `lifecycle` what follows from
//! them. Thin rooms touch the system: `guest` owns one guest's sockets, `line` and `channels` some of them, `process`
//! its process, `launch` starts the launcher. `adopt` judges the run records that a former daemon left, `probe` finds
//! out what this host can do, `proof` keeps what was found of KVM.

mod adopt;
pub(crate) mod argv;
mod channels;
mod guest;
pub(crate) mod launch;
mod lifecycle;
mod line;
mod monitor;
mod probe;
mod process;
mod proof;
pub(crate) mod record;
mod socket;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Token;

use self::guest::{Guest, Start, Surroundings};
pub use self::launch::ARGUMENT as LAUNCH_ARGUMENT;
use self::lifecycle::{Lifecycle, Patience, Task};
use self::probe::Probe;
pub use self::record::FoundRecord;
use super::{Action, Capabilities, Driver, DriverError, DriverErrorKind, FileAnswer, FileTicket, Host, Job, Report};
use crate::event_loop::{Now, Timers};
use crate::model::{Accel, Definition, OperationId, VmId};

/// What the driver is told at start-up.
#[derive(Debug, Clone)]
pub struct Config {
    /// QEMU: a path, or a name to be sought in the usual directories.
    pub qemu: PathBuf,
    /// The daemon's own program, which is its launcher and its KVM probe.
    pub program: PathBuf,
    /// Where sockets and run records are: ours alone, mode 0700.
    pub runtime_dir: PathBuf,
    /// Never use KVM, whatever a definition says.
    pub force_tcg: bool,
    /// How long QEMU may take to greet, and from there to run the guest.
    pub greeting: Duration,
}

impl Config {
    /// The defaults: `qemu-system-x86_64`, this program, and emulation only if `VMWIRE_ACCEL=tcg` is in the
    /// environment.
    pub fn new(runtime_dir: PathBuf) -> Self {
        Self {
            qemu: PathBuf::from("qemu-system-x86_64"),
            program: PathBuf::from("/proc/self/exe"),
            runtime_dir,
            force_tcg: std::env::var_os("VMWIRE_ACCEL").is_some_and(|accel| accel == "tcg"),
            greeting: Patience::default().greeting,
        }
    }

    fn patience(&self) -> Patience {
        Patience { greeting: self.greeting, ..Patience::default() }
    }
}

/// Whose token or timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Who {
    Probe,
    Guest(VmId),
}

/// The driver.
///
/// Invariant: `tokens` and `tickets` hold exactly those of the guests and of the probe, and each guest that is not gone
/// has its next deadline in `timers`.
#[derive(Debug)]
pub struct QemuDriver {
    config: Config,
    boot_id: String,
    guests: HashMap<VmId, Guest>,
    probe: Probe,
    /// Starts that wait for the probe to say whether there is KVM.
    waiting: Vec<(VmId, OperationId, Arc<Definition>, bool)>,
    tokens: HashMap<Token, Who>,
    tickets: HashMap<FileTicket, VmId>,
    timers: Timers<Who>,
    /// Those who have more to do before the next sleep.
    again: BTreeSet<Who>,
    /// When the driver last had something to do.
    turn: Instant,
    reports: VecDeque<Report>,
}

impl QemuDriver {
    /// Starts the driver: begins to find out what the host can do, and takes up the guests of `records`, which a former
    /// daemon left. Reads `/proc`; for start-up only.
    pub fn new(now: Now, host: &mut dyn Host, config: Config, records: Vec<FoundRecord>) -> Self {
        let mut this = Self {
            boot_id: adopt::boot_id(),
            probe: Probe::new(&config),
            config,
            guests: HashMap::new(),
            waiting: Vec::new(),
            tokens: HashMap::new(),
            tickets: HashMap::new(),
            timers: Timers::new(),
            again: BTreeSet::new(),
            turn: now.monotonic,
            reports: VecDeque::new(),
        };
        let claimed_twice = adopt::claimed_twice(&records);
        for record in records {
            let vm = record.vm;
            let mut around = this.around(now, host);
            let guest = adopt::take_up(&mut around, &record, &claimed_twice);
            this.guests.insert(vm, guest);
            this.with_guest(now, host, vm, Guest::look_at_everything);
        }
        this.probe.start(now.monotonic, host, &this.config, &this.boot_id);
        this.after_probe(now, host);
        this
    }

    fn around<'a>(&'a mut self, now: Now, host: &'a mut dyn Host) -> Surroundings<'a> {
        Surroundings {
            now: now.monotonic,
            host,
            config: &self.config,
            boot_id: &self.boot_id,
            reports: &mut self.reports,
        }
    }

    /// Lets a guest do something, then brings the books in line with what it has become. `work` says whether the guest
    /// has more to do before the next sleep.
    fn with_guest(
        &mut self,
        now: Now,
        host: &mut dyn Host,
        vm: VmId,
        work: impl FnOnce(&mut Guest, &mut Surroundings<'_>) -> bool,
    ) {
        let Some(mut guest) = self.guests.remove(&vm) else { return };
        self.turn = now.monotonic;
        let former: Vec<Token> = guest.tokens().collect();
        let mut around = self.around(now, host);
        let more = work(&mut guest, &mut around);
        // Most work leaves every socket as it was.
        if !guest.tokens().eq(former.iter().copied()) {
            for token in former {
                self.tokens.remove(&token);
            }
            for token in guest.tokens() {
                self.tokens.insert(token, Who::Guest(vm));
            }
        }
        for ticket in guest.tickets() {
            self.tickets.insert(ticket, vm);
        }
        self.timers.cancel(Who::Guest(vm));
        if guest.is_gone() {
            self.again.remove(&Who::Guest(vm));
            return;
        }
        if let Some(at) = guest.poll_timeout() {
            self.timers.set(at, Who::Guest(vm));
        }
        // What is there already stays: this work may have been about something else than what it still had to do.
        if more {
            self.again.insert(Who::Guest(vm));
        }
        self.guests.insert(vm, guest);
    }

    /// Brings the books in line with what the probe has become, and begins the starts that waited for it.
    fn after_probe(&mut self, now: Now, host: &mut dyn Host) {
        self.tokens.retain(|_, who| *who != Who::Probe);
        for token in self.probe.tokens() {
            self.tokens.insert(token, Who::Probe);
        }
        match self.probe.poll_timeout() {
            Some(at) => self.timers.set(at, Who::Probe),
            None => {
                self.timers.cancel(Who::Probe);
            }
        }
        if self.probe.kvm_is_known() {
            for (vm, operation, definition, paused) in std::mem::take(&mut self.waiting) {
                self.start(now, host, vm, operation, definition, paused);
            }
        }
    }

    fn start(
        &mut self,
        now: Now,
        host: &mut dyn Host,
        vm: VmId,
        operation: OperationId,
        definition: Arc<Definition>,
        paused: bool,
    ) {
        let accelerator = match self.accelerator(&definition) {
            Ok(accelerator) => accelerator,
            Err(error) => {
                return self.reports.push_back(Report::Finished { vm, operation, result: Err(error) });
            }
        };
        let guest = Guest::new(&self.config, vm, Lifecycle::new(vm, self.config.patience()));
        self.guests.entry(vm).or_insert(guest);
        self.with_guest(now, host, vm, |guest, around| {
            guest.start(around, operation, Start { definition, accelerator, paused });
            false
        });
    }

    /// What a definition's guest will run on.
    fn accelerator(&self, definition: &Definition) -> Result<&'static str, DriverError> {
        let unsupported = |message: &str, cause: String, hint: &str| DriverError {
            kind: DriverErrorKind::Unsupported,
            message: message.to_owned(),
            causes: Some(cause).filter(|cause| !cause.is_empty()).into_iter().collect(),
            hint: hint.to_owned(),
        };
        let kvm = self.probe.kvm();
        let accelerator = match definition.accel {
            _ if self.config.force_tcg => "tcg",
            Accel::Tcg => "tcg",
            Accel::Auto => kvm.as_ref().map_or("tcg", |()| "kvm"),
            Accel::Kvm => match kvm {
                Ok(()) => "kvm",
                Err(why) => {
                    let hint = "write accel = \"auto\" or \"tcg\" to run by emulation";
                    return Err(unsupported("KVM is not usable on this host", why, hint));
                }
            },
        };
        if definition.cpu.model == Some("host") && accelerator == "tcg" {
            let hint = "write another cpu.model, such as max";
            return Err(unsupported("the processor model host needs KVM", kvm.err().unwrap_or_default(), hint));
        }
        Ok(accelerator)
    }
}

impl Driver for QemuDriver {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn capabilities(&self) -> &Capabilities {
        self.probe.capabilities()
    }

    fn capabilities_are_known(&self) -> bool {
        self.probe.kvm_is_known()
    }

    fn check(&self, definition: &Definition) -> Result<(), DriverError> {
        let refused = |message: String, hint: &str| {
            Err(DriverError { kind: DriverErrorKind::Unsupported, message, causes: Vec::new(), hint: hint.to_owned() })
        };
        if definition.test.is_some() {
            return refused(
                "the table [test] is for the test driver".to_owned(),
                "remove it, or use the test driver (test:///default)",
            );
        }
        let known = &self.capabilities().cpu_models;
        match definition.cpu.model {
            Some(model) if !known.is_empty() && !known.iter().any(|known| known == model) => refused(
                format!("the installed QEMU does not know the processor model {model}"),
                "the host's capabilities list those that it knows",
            ),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, now: Now, host: &mut dyn Host, job: Job) {
        let Job { vm, operation, action } = job;
        let task = match action {
            // Who asked for emulation has nothing to wait for.
            Action::Start { definition, paused } if self.probe.kvm_is_known() || definition.accel == Accel::Tcg => {
                return self.start(now, host, vm, operation, definition, paused);
            }
            Action::Start { definition, paused } => {
                return self.waiting.push((vm, operation, definition, paused));
            }
            Action::PowerButton => Task::PowerButton,
            Action::Stop => Task::Stop,
            Action::Reboot => Task::Reboot,
            Action::Reset => Task::Reset,
            Action::Pause => Task::Pause,
            Action::Resume => Task::Resume,
        };
        if task == Task::Stop {
            let waiting = std::mem::take(&mut self.waiting);
            let (overtaken, others) = waiting.into_iter().partition(|(waiting, ..)| *waiting == vm);
            self.waiting = others;
            for (_, operation, ..) in overtaken {
                let result = Err(lifecycle::superseded());
                self.reports.push_back(Report::Finished { vm, operation, result });
            }
        }
        let guest = Guest::new(&self.config, vm, Lifecycle::new(vm, self.config.patience()));
        self.guests.entry(vm).or_insert(guest);
        self.with_guest(now, host, vm, |guest, around| {
            guest.begin(around, operation, task);
            false
        });
    }

    fn console_write(&mut self, now: Now, host: &mut dyn Host, vm: VmId, data: &[u8]) -> usize {
        let mut taken = 0;
        self.with_guest(now, host, vm, |guest, around| {
            taken = guest.console_write(around, data);
            false
        });
        taken
    }

    fn console_room(&self, vm: VmId) -> usize {
        self.guests.get(&vm).map_or(0, Guest::console_room)
    }

    fn agent_write(&mut self, now: Now, host: &mut dyn Host, vm: VmId, data: &[u8]) -> bool {
        let mut taken = false;
        self.with_guest(now, host, vm, |guest, around| {
            taken = guest.agent_write(around, data);
            false
        });
        taken
    }

    fn handle_ready(&mut self, now: Now, host: &mut dyn Host, token: Token) {
        match self.tokens.get(&token) {
            Some(Who::Guest(vm)) => {
                let vm = *vm;
                self.with_guest(now, host, vm, |guest, around| guest.handle_ready(around, token));
            }
            Some(Who::Probe) => {
                self.probe.handle_ready(host, &self.config);
                self.after_probe(now, host);
            }
            None => {}
        }
    }

    fn handle_file(&mut self, now: Now, host: &mut dyn Host, ticket: FileTicket, answer: FileAnswer) {
        match (self.tickets.remove(&ticket), answer) {
            (Some(vm), answer) => self.with_guest(now, host, vm, |guest, around| {
                guest.handle_file(around, ticket, answer);
                false
            }),
            (None, FileAnswer::Failed(why)) => log::warn!("what was found of KVM is not kept: {why}"),
            (None, _) => {}
        }
    }

    fn handle_timeout(&mut self, now: Now, host: &mut dyn Host) {
        let mut due = std::mem::take(&mut self.again);
        while let Some(who) = self.timers.take_due(now.monotonic) {
            due.insert(who);
        }
        for who in due {
            match who {
                Who::Guest(vm) => self.with_guest(now, host, vm, Guest::handle_timeout),
                Who::Probe => {
                    self.probe.handle_timeout(now.monotonic);
                    self.probe.handle_ready(host, &self.config);
                    self.after_probe(now, host);
                }
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.again.is_empty() { self.timers.next() } else { Some(self.turn) }
    }

    fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    fn detach(&mut self, host: &mut dyn Host) {
        for guest in self.guests.values_mut() {
            guest.detach(host);
        }
        self.probe.detach(host);
        self.tokens.clear();
    }
}

#[cfg(test)]
mod tests {
    use mio::event::Source;

    use super::*;
    use crate::driver::FileRequest;

    struct NoHost;

    impl Host for NoHost {
        fn watch(&mut self, _source: &mut dyn Source) -> std::io::Result<Token> {
            unreachable!("nothing is watched")
        }

        fn unwatch(&mut self, _source: &mut dyn Source, _token: Token) {}

        fn file(&mut self, _request: FileRequest) -> FileTicket {
            unreachable!("nothing is written")
        }
    }

    /// A guest that flooded its console stood still for ever when its monitor said something in the same turn.
    #[test]
    fn what_is_left_to_be_read_is_not_forgotten_over_something_else() {
        let now = Now::read();
        let config = Config::new(PathBuf::from("/nowhere"));
        let vm = VmId(uuid::Uuid::from_u128(7));
        let mut driver = QemuDriver {
            boot_id: String::new(),
            probe: Probe::new(&config),
            guests: HashMap::from([(vm, Guest::new(&config, vm, Lifecycle::lost(vm, "in a test")))]),
            config,
            waiting: Vec::new(),
            tokens: HashMap::new(),
            tickets: HashMap::new(),
            timers: Timers::new(),
            again: BTreeSet::new(),
            turn: now.monotonic,
            reports: VecDeque::new(),
        };
        driver.with_guest(now, &mut NoHost, vm, |_, _| true);
        driver.with_guest(now, &mut NoHost, vm, |_, _| false);
        assert_eq!(driver.poll_timeout(), Some(now.monotonic), "there was more to be read");
        driver.handle_timeout(now, &mut NoHost);
        assert_eq!(driver.poll_timeout(), None, "all was looked at");
    }
}
