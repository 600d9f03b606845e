//! What this host can do: asked once, at start-up, of two children that the loop watches.
//!
//! One is a QEMU without a machine, which tells its version, machines, processor models and accelerators over its
//! monitor. The other is `vmwired --probe-kvm`, which proves KVM usable or says which step refused: `/dev/kvm` can be
//! there, and a guest under it be a thousand times too slow. What it finds is kept for this boot of the host (`proof`).

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::Token;
use mio::net::UnixStream;
use serde_json::{Value, json};

use super::launch::{self, Launched, Request};
use super::monitor::{Message, Monitor};
use super::process::Watched;
use super::proof::Circumstances;
use super::socket::{Reading, Socket};
use super::{Config, argv};
use crate::driver::{Accelerator, Capabilities, Host};
use crate::model::CPU_MODELS;
use crate::probe_kvm::Outcome;

/// How long QEMU may take to tell what it is.
const QEMU_PATIENCE: Duration = Duration::from_secs(20);
/// How long the proof of KVM may take; it needs some milliseconds.
const KVM_PATIENCE: Duration = Duration::from_secs(1);
/// Machines that a definition may name.
const MACHINES: &[&str] = &["q35", "pc"];
/// Lists of processor models are long.
const LINE_BYTES_MAX: usize = 1 << 20;
const NOT_YET: &str = "it is still being found out; ask again in a moment";

/// The questions, in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Negotiate,
    Machines,
    CpuModels,
    Accelerators,
    Quit,
}

const QUESTIONS: &[(u64, Question)] = &[
    (1, Question::Negotiate),
    (2, Question::Machines),
    (3, Question::CpuModels),
    (4, Question::Accelerators),
    (5, Question::Quit),
];

#[derive(Debug)]
struct Asked {
    process: Watched,
    socket: Option<Socket>,
    monitor: Monitor,
    deadline: Instant,
    version: Option<String>,
    /// QEMU was built with it.
    kvm: bool,
    tcg: bool,
    failed: Option<String>,
}

/// What is being found out, and what is known so far.
#[derive(Debug)]
pub(super) struct Probe {
    capabilities: Capabilities,
    qemu: Option<Asked>,
    kvm_child: Option<(Watched, Instant)>,
    /// Whether the host's KVM is usable; `None` while not known.
    host_kvm: Option<Result<(), String>>,
    /// Whether QEMU can use it and emulation; `None` while not known.
    qemu_kvm: Option<Result<(), String>>,
    qemu_tcg: Result<(), String>,
    /// Under what the proof of KVM is being led; what it finds is kept with that.
    under: Option<Circumstances>,
}

impl Probe {
    pub(super) fn new(config: &Config) -> Self {
        let host_kvm = config.force_tcg.then(|| Err("VMWIRE_ACCEL=tcg is set for the daemon".to_owned()));
        let mut this = Self {
            capabilities: Capabilities::default(),
            qemu: None,
            kvm_child: None,
            host_kvm,
            qemu_kvm: None,
            qemu_tcg: Err(NOT_YET.to_owned()),
            under: None,
        };
        this.tell();
        this
    }

    /// Starts the children; no proof where one was found that still holds.
    pub(super) fn start(&mut self, now: Instant, host: &mut dyn Host, config: &Config, boot_id: &str) {
        match ask_qemu(now, host, config) {
            Ok(asked) => self.qemu = Some(asked),
            Err(error) => self.qemu_answered(Err(error.to_string())),
        }
        if self.host_kvm.is_none() {
            // Looked at before the proof begins: what changes meanwhile makes the next daemon prove anew.
            let under = Circumstances::present(boot_id, config);
            self.host_kvm = under.recall(&config.runtime_dir);
            self.under = Some(under);
        }
        if self.host_kvm.is_none() {
            let child = launch::probe_kvm(&config.program).and_then(|launched| Watched::child(host, launched));
            match child {
                Ok(child) => self.kvm_child = Some((child, now + KVM_PATIENCE)),
                Err(error) => self.host_kvm = Some(Err(format!("the probe could not be started: {error}"))),
            }
        }
        self.tell();
    }

    pub(super) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Whether a guest's accelerator can be chosen.
    pub(super) fn kvm_is_known(&self) -> bool {
        self.host_kvm.is_some() && self.qemu_kvm.is_some()
    }

    /// Whether KVM is usable, or why not.
    pub(super) fn kvm(&self) -> Result<(), String> {
        match (&self.host_kvm, &self.qemu_kvm) {
            (Some(Ok(())), Some(qemu)) => qemu.clone(),
            (Some(Err(why)), _) => Err(why.clone()),
            _ => Err(NOT_YET.to_owned()),
        }
    }

    /// The tokens under which readiness comes.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        let socket = self.qemu.iter().filter_map(|asked| asked.socket.as_ref()).map(Socket::token);
        let qemu = self.qemu.iter().flat_map(|asked| asked.process.tokens());
        socket.chain(qemu).chain(self.kvm_child.iter().flat_map(|(child, _)| child.tokens()))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let qemu = self.qemu.as_ref().map(|asked| asked.deadline);
        qemu.into_iter().chain(self.kvm_child.as_ref().map(|(_, deadline)| *deadline)).min()
    }

    /// Ends children that are too slow. Their end is then seen like any other.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(asked) = &mut self.qemu
            && asked.deadline <= now
        {
            asked.failed.get_or_insert_with(|| "QEMU did not answer in time".to_owned());
            asked.process.kill();
            asked.deadline = now + QEMU_PATIENCE;
        }
        if let Some((child, deadline)) = &mut self.kvm_child
            && *deadline <= now
        {
            child.kill();
            *deadline = now + KVM_PATIENCE;
            // A process that the kernel does not let go of is not waited for. That it was slow is not kept: a host may
            // be busy once.
            self.under = None;
            self.host_kvm = Some(Err("the proof took more than a second".to_owned()));
            self.tell();
        }
    }

    /// Hears the children.
    pub(super) fn handle_ready(&mut self, host: &mut dyn Host, config: &Config) {
        if let Some(asked) = &mut self.qemu {
            let ended = asked.process.has_ended(host);
            asked.converse(host, &mut self.capabilities);
            if ended && let Some(mut asked) = self.qemu.take() {
                let answer = asked.conclude(config);
                asked.close(host);
                if answer.is_ok() {
                    self.qemu_kvm = Some(if asked.kvm { Ok(()) } else { Err("QEMU was built without it".to_owned()) });
                    self.qemu_tcg = if asked.tcg { Ok(()) } else { Err("QEMU was built without it".to_owned()) };
                }
                self.qemu_answered(answer);
            }
        }
        if let Some((child, _)) = &mut self.kvm_child
            && child.has_ended(host)
            && let Some((mut child, _)) = self.kvm_child.take()
        {
            let exit = child.exit();
            child.unwatch(host);
            let outcome = serde_json::from_slice::<Outcome>(child.written());
            let under = self.under.take();
            self.host_kvm.get_or_insert(match outcome {
                Ok(outcome) => {
                    let found = outcome.why_not.map_or(Ok(()), Err);
                    if let Some(request) = under.and_then(|under| under.keep(&config.runtime_dir, &found)) {
                        host.file(request);
                    }
                    found
                }
                Err(_) => Err(format!("the probe gave no answer (status {:?}, signal {:?})", exit.status, exit.signal)),
            });
            self.tell();
        }
    }

    pub(super) fn detach(&mut self, host: &mut dyn Host) {
        if let Some(mut asked) = self.qemu.take() {
            asked.process.kill();
            asked.close(host);
        }
        if let Some((mut child, _)) = self.kvm_child.take() {
            child.kill();
            child.unwatch(host);
        }
    }

    fn qemu_answered(&mut self, answer: Result<String, String>) {
        match answer {
            Ok(version) => {
                log::info!("QEMU {version}");
                self.capabilities.hypervisor = format!("QEMU {version}");
            }
            Err(why) => {
                log::warn!("QEMU cannot be asked what it is: {why}");
                self.qemu_kvm = Some(Err(why.clone()));
                self.qemu_tcg = Err(why);
            }
        }
        self.tell();
    }

    /// Brings what is shown in line with what is known.
    fn tell(&mut self) {
        let accelerator = |name: &str, usable: Result<(), String>| Accelerator {
            name: name.to_owned(),
            usable: usable.is_ok(),
            why_not: usable.err().unwrap_or_default(),
        };
        self.capabilities.accelerators =
            vec![accelerator("kvm", self.kvm()), accelerator("tcg", self.qemu_tcg.clone())];
    }
}

fn ask_qemu(now: Instant, host: &mut dyn Host, config: &Config) -> io::Result<Asked> {
    let (ours, theirs) = UnixStream::pair()?;
    let request = Request {
        program: config.qemu.clone(),
        argv: argv::build_for_questions(theirs.as_raw_fd()),
        files: Vec::new(),
        record: None,
        dies_with_parent: true,
        parent: std::process::id(),
    };
    let launched: Launched = launch::launch(&config.program, &request, &[theirs.as_fd()])?;
    let mut process = Watched::child(host, launched)?;
    let socket = match Socket::over(host, ours) {
        Ok(socket) => socket,
        Err(error) => {
            process.kill();
            process.unwatch(host);
            return Err(error);
        }
    };
    Ok(Asked {
        process,
        socket: Some(socket),
        monitor: Monitor::new(LINE_BYTES_MAX),
        deadline: now + QEMU_PATIENCE,
        version: None,
        kvm: false,
        tcg: false,
        failed: None,
    })
}

impl Asked {
    /// Reads answers, and asks as soon as the greeting is there.
    fn converse(&mut self, host: &mut dyn Host, capabilities: &mut Capabilities) {
        loop {
            let Some(socket) = &mut self.socket else { return };
            let mut nonsense = Ok(());
            let monitor = &mut self.monitor;
            let reading = socket.read(|bytes| {
                if nonsense.is_ok() {
                    nonsense = monitor.handle_bytes(bytes);
                }
            });
            while let Some(message) = self.monitor.poll_message() {
                self.hear(message, capabilities);
            }
            if let Some(socket) = &mut self.socket
                && let Ok(count) = socket.write(self.monitor.outgoing())
            {
                self.monitor.sent(count);
            }
            let over = match (nonsense, reading) {
                (Err(error), _) => Some(error.to_string()),
                (Ok(()), Reading::Closed(why)) => Some(format!("the monitor: {why}")),
                (Ok(()), Reading::More) => continue,
                (Ok(()), Reading::Done) => None,
            };
            let Some(why) = over else { return };
            self.failed.get_or_insert(why);
            // It has nothing more to tell.
            self.process.kill();
            if let Some(socket) = self.socket.take() {
                socket.close(host);
            }
        }
    }

    fn hear(&mut self, message: Message, capabilities: &mut Capabilities) {
        match message {
            Message::Greeting { version } => {
                self.version = Some(version);
                for (id, question) in QUESTIONS {
                    let (command, arguments) = match question {
                        Question::Negotiate => ("qmp_capabilities", None),
                        Question::Machines => ("query-machines", None),
                        Question::CpuModels => ("query-cpu-definitions", None),
                        Question::Accelerators => {
                            ("qom-list-types", Some(json!({"implements": "accel", "abstract": false})))
                        }
                        Question::Quit => ("quit", None),
                    };
                    // Five questions are not too many.
                    let _ = self.monitor.send(*id, command, arguments);
                }
            }
            Message::Reply { id, result: Ok(value) } => {
                let question = QUESTIONS.iter().find(|(asked, _)| *asked == id).map(|(_, question)| *question);
                match question {
                    Some(Question::Machines) => {
                        let known = |name: &&&str| names(&value).any(|known| known == **name);
                        capabilities.machines = MACHINES.iter().filter(known).map(|name| (*name).to_owned()).collect();
                    }
                    Some(Question::CpuModels) => {
                        let known = |name: &&&str| names(&value).any(|known| known == **name);
                        let models = CPU_MODELS.iter().filter(known);
                        capabilities.cpu_models = models.map(|name| (*name).to_owned()).collect();
                    }
                    Some(Question::Accelerators) => {
                        self.kvm = names(&value).any(|name| name == "kvm-accel");
                        self.tcg = names(&value).any(|name| name == "tcg-accel");
                    }
                    Some(Question::Quit) => self.failed = Some(String::new()),
                    Some(Question::Negotiate) | None => {}
                }
            }
            Message::Reply { result: Err(why), .. } => {
                self.failed.get_or_insert(why);
            }
            Message::Event { .. } => {}
        }
    }

    /// The version, or why nothing is known. Only to be asked when the process has ended.
    fn conclude(&mut self, config: &Config) -> Result<String, String> {
        let exit = self.process.exit();
        if let Some(refusal) = exit.launcher {
            return Err(refusal.message);
        }
        match (self.version.take(), &self.failed) {
            (Some(version), Some(over)) if over.is_empty() => Ok(version),
            (_, over) => {
                let why = over.as_deref().filter(|over| !over.is_empty()).unwrap_or("it ended before it had answered");
                let said = exit.stderr.last().map(|line| format!(": {line}")).unwrap_or_default();
                Err(format!("{}: {why}{said}", config.qemu.display()))
            }
        }
    }

    fn close(&mut self, host: &mut dyn Host) {
        if let Some(socket) = self.socket.take() {
            socket.close(host);
        }
        self.process.unwatch(host);
    }
}

/// The names and aliases in a list of QEMU's.
fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .flat_map(|item| [item["name"].as_str(), item["alias"].as_str()].into_iter().flatten())
}
