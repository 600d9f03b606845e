//! One guest's descriptors and files: carries out what its [`Lifecycle`] orders, and tells it what came of that.
//!
//! Nothing is decided here.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mio::Token;

use super::Config;
use super::argv::{self, Given};
use super::channels::Channels;
use super::launch::{self, Request};
use super::lifecycle::{Lifecycle, Order, Task, superseded};
use super::line::{Exchanged, Line};
use super::monitor::{Message, Monitor, MonitorError};
use super::process::Watched;
use super::record::{self, Paths, Record};
use super::socket::{READ_BYTES_MAX, Reading, Socket};
use crate::driver::{DriverError, DriverErrorKind, FileAnswer, FileRequest, FileTicket, Host, Process, Report};
use crate::model::{Boot, Definition, OperationId, VmId};

/// How much of what is written to a console waits for QEMU to take it.
pub(super) const CONSOLE_BYTES_MAX: usize = 4096;

/// What of the driver a guest works with.
pub(super) struct Surroundings<'a> {
    pub(super) now: Instant,
    pub(super) host: &'a mut dyn Host,
    pub(super) config: &'a Config,
    pub(super) boot_id: &'a str,
    pub(super) reports: &'a mut VecDeque<Report>,
}

/// What to start.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) definition: Arc<Definition>,
    pub(super) accelerator: &'static str,
    pub(super) paused: bool,
}

/// One guest.
#[derive(Debug)]
pub(super) struct Guest {
    vm: VmId,
    paths: Paths,
    life: Lifecycle,
    /// What to launch; set by a start.
    launch: Option<(Arc<Definition>, &'static str)>,
    /// A start that waits for the files of a former run to be removed.
    next: Option<(OperationId, Start)>,
    channels: Channels,
    has_console: bool,
    process: Option<Watched>,
    monitor: Option<(Socket, Monitor)>,
    console: Line,
    /// File requests under way, and what went wrong with the record.
    tickets: BTreeSet<FileTicket>,
    files_failed: Option<String>,
    record_ticket: Option<FileTicket>,
    preparing: bool,
}

impl Guest {
    /// A guest whose life has got somewhere already, as far as it is known.
    pub(super) fn new(config: &Config, vm: VmId, life: Lifecycle) -> Self {
        Self {
            vm,
            paths: Paths::new(&config.runtime_dir, vm),
            life,
            launch: None,
            next: None,
            channels: Channels::default(),
            has_console: false,
            process: None,
            monitor: None,
            console: Line::default(),
            tickets: BTreeSet::new(),
            files_failed: None,
            record_ticket: None,
            preparing: false,
        }
    }

    /// A guest that a former daemon left.
    pub(super) fn found(around: &Surroundings<'_>, life: Lifecycle, record: &Record, process: Option<Watched>) -> Self {
        let mut this = Self::new(around.config, VmId(record.uuid), life);
        this.channels = Channels::found(record);
        this.life.handle_channels(this.channels.agent());
        this.has_console = record.console.is_some();
        this.process = process;
        this
    }

    /// Begins a start. What is left of a former run is removed first.
    pub(super) fn start(&mut self, around: &mut Surroundings<'_>, operation: OperationId, start: Start) {
        if self.life.is_cleaning_up() && self.next.is_none() {
            self.next = Some((operation, start));
            return;
        }
        let cmdline = match &start.definition.boot {
            Boot::Kernel { cmdline, .. } => Some(cmdline.clone()),
            Boot::Disk => None,
        };
        if self.life.is_stopped() {
            self.channels = Channels::of(&start.definition);
            self.life.handle_channels(self.channels.agent());
            self.has_console = start.definition.console;
            self.launch = Some((start.definition, start.accelerator));
        }
        self.life.begin(around.now, operation, Task::Start { cmdline, paused: start.paused });
        self.obey(around);
    }

    /// Begins everything else.
    pub(super) fn begin(&mut self, around: &mut Surroundings<'_>, operation: OperationId, task: Task) {
        if task == Task::Stop
            && let Some((operation, _)) = self.next.take()
        {
            let result = Err(superseded());
            around.reports.push_back(Report::Finished { vm: self.vm, operation, result });
        }
        self.life.begin(around.now, operation, task);
        self.obey(around);
    }

    /// The tokens under which readiness for it comes.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        let monitor = self.monitor.iter().map(|(socket, _)| socket.token());
        let process = self.process.iter().flat_map(Watched::tokens);
        monitor.chain(self.console.token()).chain(self.channels.tokens()).chain(process)
    }

    /// The file requests that are under way for it.
    pub(super) fn tickets(&self) -> impl Iterator<Item = FileTicket> {
        self.tickets.iter().copied()
    }

    /// Whether nothing of it is left.
    pub(super) fn is_gone(&self) -> bool {
        self.life.is_stopped() && self.tickets.is_empty() && self.next.is_none()
    }

    /// Looks at what is ready. Says whether there is more to do before the next sleep.
    pub(super) fn handle_ready(&mut self, around: &mut Surroundings<'_>, token: Token) -> bool {
        if self.console.token() == Some(token) {
            self.exchange_console(around)
        } else if self.channels.handle_ready(token) {
            let more = self.exchange_channels(around, false);
            self.obey(around);
            more
        } else if self.monitor.as_ref().is_some_and(|(socket, _)| socket.token() == token) {
            let more = self.read_monitor(around);
            self.obey(around);
            more
        } else {
            self.look_at_everything(around)
        }
    }

    /// Looks at monitor, console and channels before the process, so that what was said before its end is heard before
    /// the end.
    pub(super) fn look_at_everything(&mut self, around: &mut Surroundings<'_>) -> bool {
        let ended = self.process.as_mut().is_some_and(|process| process.has_ended(around.host));
        let mut more = self.read_monitor(around);
        more |= self.exchange_console(around);
        more |= self.exchange_channels(around, ended);
        // Not before everything is heard that was said.
        if ended
            && !more
            && let Some(mut process) = self.process.take()
        {
            let exit = process.exit();
            process.unwatch(around.host);
            self.life.handle_exit(exit);
        }
        self.obey(around);
        more
    }

    /// A file request of this guest was answered.
    pub(super) fn handle_file(&mut self, around: &mut Surroundings<'_>, ticket: FileTicket, answer: FileAnswer) {
        if !self.tickets.remove(&ticket) {
            return;
        }
        if let FileAnswer::Failed(why) = answer {
            log::warn!("{}: {why}", self.vm);
            // A socket that lies around is noticed when its name is wanted; a record must be there.
            if self.record_ticket == Some(ticket) {
                self.files_failed = Some(why);
            }
        }
        if self.tickets.is_empty() {
            let failed = self.files_failed.take();
            self.record_ticket = None;
            if std::mem::take(&mut self.preparing) {
                self.life.handle_prepared(around.now, failed.map_or(Ok(()), Err));
            } else {
                self.life.handle_cleaned();
            }
        }
        self.obey(around);
        if self.life.is_stopped()
            && let Some((operation, start)) = self.next.take()
        {
            self.start(around, operation, start);
        }
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, around: &mut Surroundings<'_>) -> bool {
        self.life.handle_timeout(around.now);
        let lives = self.process.is_some();
        if self.console.is_due(around.now) && lives {
            self.console.seek(around.now, around.host, &self.paths.console());
        }
        self.channels.handle_timeout(around.now, around.host, &self.paths, lives);
        self.life.handle_agent_line(self.channels.agent_is_connected());
        self.obey(around);
        self.look_at_everything(around)
    }

    /// When it wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let lines = [self.console.poll_timeout(), self.channels.poll_timeout()];
        lines.into_iter().chain([self.life.poll_timeout()]).flatten().min()
    }

    /// How much [`Self::console_write`] would take.
    pub(super) fn console_room(&self) -> usize {
        // What is typed for a guest that may not be ours waits.
        let open = self.console.is_connected() && !self.life.is_adopting();
        if open { CONSOLE_BYTES_MAX.saturating_sub(self.console.unsent()) } else { 0 }
    }

    /// Takes bytes for the console.
    pub(super) fn console_write(&mut self, around: &mut Surroundings<'_>, data: &[u8]) -> usize {
        let count = self.console_room().min(data.len());
        self.console.send(around.now, around.host, &data[..count]);
        count
    }

    /// Takes a request for the agent, or not. What is asked of a guest that may not be ours is not taken.
    pub(super) fn agent_write(&mut self, around: &mut Surroundings<'_>, data: &[u8]) -> bool {
        let taken = self.life.is_up() && self.channels.agent_write(around.now, around.host, data);
        self.life.handle_agent_line(self.channels.agent_is_connected());
        self.obey(around);
        taken
    }

    /// Lets go of everything; the process lives on.
    pub(super) fn detach(&mut self, host: &mut dyn Host) {
        if let Some((socket, _)) = self.monitor.take() {
            socket.close(host);
        }
        self.console.close(host);
        self.channels.close(host);
        if let Some(mut process) = self.process.take() {
            process.unwatch(host);
        }
    }

    fn obey(&mut self, around: &mut Surroundings<'_>) {
        while let Some(order) = self.life.poll_order() {
            match order {
                Order::Prepare => self.prepare(around),
                Order::Launch => {
                    let launched = self.launch(around);
                    self.life.handle_launched(launched);
                }
                Order::Connect => self.connect(around),
                Order::Disconnect => self.disconnect(around),
                Order::Send { id, command } => {
                    let Some((_, monitor)) = &mut self.monitor else { continue };
                    let (name, arguments) = command.qmp();
                    let sent = monitor.send(id, name, arguments);
                    self.flush_monitor(around, sent);
                }
                Order::Kill => {
                    if let Some(process) = &self.process {
                        process.kill();
                    }
                }
                Order::CleanUp => self.clean_up(around),
                Order::Report(report) => around.reports.push_back(report),
            }
        }
    }

    /// Asks for the record to be written and for old sockets to be removed.
    fn prepare(&mut self, around: &mut Surroundings<'_>) {
        let Some((definition, accelerator)) = &self.launch else { return };
        self.preparing = true;
        self.files_failed = None;
        let record = self.record(around, definition, accelerator);
        // A record of these parts can always be written as JSON.
        let data = serde_json::to_vec(&record).unwrap_or_default();
        let ticket = around.host.file(FileRequest::Write { path: self.paths.record(), data, durable: false });
        self.record_ticket = Some(ticket);
        self.tickets.insert(ticket);
        self.remove_sockets(around);
    }

    fn record(&self, around: &Surroundings<'_>, definition: &Definition, accelerator: &str) -> Record {
        Record {
            uuid: self.vm.0,
            name: definition.name.to_string(),
            boot_id: around.boot_id.to_owned(),
            monitor: self.paths.monitor(),
            console: definition.console.then(|| self.paths.console()),
            channels: definition.channels.len(),
            accelerator: accelerator.to_owned(),
            process: None,
            definition: definition.text.clone(),
        }
    }

    fn clean_up(&mut self, around: &mut Surroundings<'_>) {
        self.disconnect(around);
        self.console.close(around.host);
        self.channels.close(around.host);
        self.launch = None;
        self.remove_sockets(around);
        let record = self.paths.record();
        for path in [record::unfinished(&record), record] {
            self.tickets.insert(around.host.file(FileRequest::Remove { path, durable: false }));
        }
    }

    fn remove_sockets(&mut self, around: &mut Surroundings<'_>) {
        let console = self.has_console.then(|| self.paths.console());
        let channels = (0..self.channels.count()).map(|index| self.paths.channel(index));
        for path in [self.paths.monitor()].into_iter().chain(console).chain(channels) {
            self.tickets.insert(around.host.file(FileRequest::Remove { path, durable: false }));
        }
    }

    /// Binds the sockets, connects to them, and starts the launcher. The listeners are closed here afterwards: QEMU
    /// has them.
    fn launch(&mut self, around: &mut Surroundings<'_>) -> Result<Process, DriverError> {
        let failed = |message: &str, error: io::Error| DriverError {
            kind: DriverErrorKind::Failed,
            message: message.to_owned(),
            causes: vec![error.to_string()],
            hint: String::new(),
        };
        let Some((definition, accelerator)) = self.launch.clone() else {
            return Err(failed("there is nothing to launch", io::ErrorKind::NotFound.into()));
        };
        // QEMU looks at its listeners from two threads, both of which may see the connection that waits; whoever comes
        // second would wait in accept for ever, and with it the main loop.
        let bind = |path: &Path| {
            let listener = UnixListener::bind(path).and_then(|l| l.set_nonblocking(true).map(|()| l));
            listener.map_err(|error| failed(&format!("{} cannot be bound", path.display()), error))
        };
        let mut listeners = vec![bind(&self.paths.monitor())?];
        if self.has_console {
            listeners.push(bind(&self.paths.console())?);
        }
        for index in 0..self.channels.count() {
            listeners.push(bind(&self.paths.channel(index))?);
        }
        let mut numbers = listeners.iter().map(AsRawFd::as_raw_fd);
        let given = Given {
            vm: self.vm,
            accelerator,
            monitor: numbers.next().unwrap_or(-1),
            console: if self.has_console { numbers.next() } else { None },
            channels: numbers.collect(),
        };
        // Connected before QEMU is there: the connection waits in the backlog, and QEMU finds it at once.
        let unconnected = |error| failed("QEMU's sockets cannot be connected to", error);
        let monitor = Socket::connect(around.host, &self.paths.monitor()).map_err(unconnected)?;
        self.monitor = Some((monitor, Monitor::new(Monitor::LINE_BYTES_MAX)));
        if self.has_console {
            self.console.connect(around.host, &self.paths.console()).map_err(unconnected)?;
        }
        self.channels.connect(around.host, &self.paths).map_err(unconnected)?;
        self.life.handle_agent_line(self.channels.agent_is_connected());
        let request = Request {
            program: around.config.qemu.clone(),
            argv: argv::build(&definition, &given),
            files: argv::files(&definition),
            record: Some((self.paths.record(), self.record(around, &definition, accelerator))),
            dies_with_parent: false,
            parent: std::process::id(),
        };
        let kept: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
        let launched = launch::launch(&around.config.program, &request, &kept)
            .map_err(|error| failed("the launcher cannot be started", error))?;
        let process = Process { pid: launched.pid, accelerator };
        let watched = Watched::child(around.host, launched);
        self.process = Some(watched.map_err(|error| failed("the launcher cannot be watched", error))?);
        Ok(process)
    }

    fn connect(&mut self, around: &mut Surroundings<'_>) {
        self.disconnect(around);
        match Socket::connect(around.host, &self.paths.monitor()) {
            Ok(socket) => {
                self.life.handle_connected(socket.peer());
                self.monitor = Some((socket, Monitor::new(Monitor::LINE_BYTES_MAX)));
            }
            Err(error) => self.life.handle_link_lost(around.now, error.to_string()),
        }
        if self.process.is_some() {
            if self.has_console {
                self.console.seek(around.now, around.host, &self.paths.console());
            }
            self.channels.seek(around.now, around.host, &self.paths);
            self.life.handle_agent_line(self.channels.agent_is_connected());
        }
    }

    fn disconnect(&mut self, around: &mut Surroundings<'_>) {
        if let Some((socket, _)) = self.monitor.take() {
            socket.close(around.host);
        }
    }

    fn lose_monitor(&mut self, around: &mut Surroundings<'_>, why: String) {
        self.disconnect(around);
        self.life.handle_link_lost(around.now, why);
    }

    /// Hears the monitor out. What it says is taken up line by line, so that an answer can lead to a question.
    fn read_monitor(&mut self, around: &mut Surroundings<'_>) -> bool {
        let Some((socket, monitor)) = &mut self.monitor else { return false };
        let mut nonsense = Ok(());
        let reading = socket.read(|bytes| {
            if nonsense.is_ok() {
                nonsense = monitor.handle_bytes(bytes);
            }
        });
        let mut more = false;
        while let Some((_, monitor)) = &mut self.monitor
            && let Some(message) = monitor.poll_message()
        {
            // What the guest said before it was reset, or its agent before it went, lies there: QEMU passes it on
            // before it tells of that.
            if let Message::Event { name, .. } = &message {
                more |= name == "RESET" && self.exchange_console(around);
                more |= name == "VSERPORT_CHANGE" && self.exchange_channels(around, true);
            }
            self.life.handle_message(around.now, message);
            self.obey(around);
        }
        match (nonsense, reading) {
            (Err(error), _) => self.lose_monitor(around, error.to_string()),
            (Ok(()), Reading::Closed(why)) => self.lose_monitor(around, why),
            (Ok(()), Reading::More) => return true,
            (Ok(()), Reading::Done) => self.flush_monitor(around, Ok(())),
        }
        more
    }

    fn flush_monitor(&mut self, around: &mut Surroundings<'_>, sent: Result<(), MonitorError>) {
        let Some((socket, monitor)) = &mut self.monitor else { return };
        let written = sent.map_err(|error| error.to_string()).and_then(|()| socket.write(monitor.outgoing()));
        match written {
            Ok(count) => monitor.sent(count),
            Err(why) => self.lose_monitor(around, why),
        }
    }

    /// Drains the console, whoever reads it or not.
    fn exchange_console(&mut self, around: &mut Surroundings<'_>) -> bool {
        let (vm, now, life, reports) = (self.vm, around.now, &mut self.life, &mut *around.reports);
        let exchanged = self.console.exchange(now, around.host, &mut { READ_BYTES_MAX }, |data| {
            life.handle_console(now);
            reports.push_back(Report::Console { vm, data: Bytes::copy_from_slice(data) });
        });
        exchanged == Exchanged::More
    }

    /// Drains the channels, `all` of them or those that may have something. Whoever writes to that of the agent of a
    /// guest that may not be ours is not listened to.
    fn exchange_channels(&mut self, around: &mut Surroundings<'_>, all: bool) -> bool {
        let (vm, is_up, reports) = (self.vm, self.life.is_up(), &mut *around.reports);
        let outcome = self.channels.exchange(around.now, around.host, all, |data| {
            if is_up {
                reports.push_back(Report::Agent { vm, data: Bytes::copy_from_slice(data) });
            }
        });
        if outcome.agent_lost {
            self.life.handle_agent_line(false);
        }
        outcome.more
    }
}
