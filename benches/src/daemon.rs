//! The daemon that is measured: the installed program in its default configuration, its log on a pipe that is read.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use vmwire_protocol::message::{
    ClientData, ListCall, ServerData, SubscribeCall, VmCall, VmDefineCall, VmStartCall, vm_state,
};
use vmwire_protocol::xdr::{List, Text};

use crate::Outcome;
use crate::lab::Lab;
use crate::papers::{CLIENT_NAME, Papers, free_address};
use crate::socket::Address;
use crate::wire::Wire;

/// How long the daemon may take to leave.
const LEAVE_TIME: Duration = Duration::from_secs(5);

/// Guests of a daemon with the QEMU driver.
pub(crate) const GUESTS: usize = 10;

/// Which hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// Guests in memory.
    Test,
    /// Real ones.
    Qemu,
}

/// What a daemon is told besides; nothing makes the default configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    /// It listens for TLS as well, and whoever has a certificate of this authority is an admin.
    pub(crate) papers: Option<Papers>,
    /// So many rules, of which the last one makes the generator an observer of all guests at a socket of its own, and each
    /// of the others one of guests that are not there.
    pub(crate) rules: usize,
    /// The level of its audit, instead of the default; no line of it is left out, and its file is never rotated.
    pub(crate) audit: Option<&'static str>,
    /// No rule names the generator's certificate.
    pub(crate) denies: bool,
    /// Instead of the default.
    pub(crate) connections_max: Option<usize>,
}

/// A daemon that runs; it ends, with its guests, with this value.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    file: PathBuf,
    audit: PathBuf,
    socket: Address,
    ruled: Address,
    tls: Option<(SocketAddr, Papers)>,
    subscriber: Option<Wire>,
}

impl Setup {
    /// With TLS.
    pub(crate) fn tls(papers: &Papers) -> Self {
        Self { papers: Some(papers.clone()), ..Self::default() }
    }

    /// The configuration, for one that listens here.
    fn text(&self, socket: &Path, ruled: &Path, tls: Option<SocketAddr>) -> String {
        let mut text = String::new();
        let mut add = |line: String| text = format!("{text}{line}\n");
        if let Some(most) = self.connections_max {
            add(format!("connections_max = {most}"));
        }
        add(format!("[[listen]]\npath = \"{}\"", socket.display()));
        if let Some(level) = self.audit {
            add(format!("[audit]\nlevel = \"{level}\"\nburst = 0\nrotate_bytes = {}", 1_u64 << 40));
        }
        if self.rules > 0 {
            add(format!("[[listen]]\npath = \"{}\"\nrole = \"observer\"", ruled.display()));
        }
        if let (Some(papers), Some(address)) = (&self.papers, tls) {
            add(format!("[[listen]]\ntls = \"{address}\""));
            let file = |name: &str| papers.file(name).display().to_string();
            add(format!("[tls]\ncertificate = \"{}\"\nkey = \"{}\"", file("server.crt"), file("server.key")));
            add(format!("client_ca = \"{}\"\ncrl = \"{}\"", file("ca.crt"), file("crl.pem")));
            if !self.denies {
                add(format!("[[rule]]\nidentity = \"subject:CN={CLIENT_NAME}\"\nrole = \"admin\""));
            }
        }
        let uid = rustix::process::getuid().as_raw();
        for number in 1..=self.rules {
            let vms = if number == self.rules { "bench-*".to_owned() } else { format!("other-{number:02}-*") };
            add(format!("[[rule]]\nidentity = \"uid:{uid}\"\nrole = \"observer\"\nvms = [\"{vms}\"]"));
        }
        text
    }
}

impl Daemon {
    /// Starts `program` in a fresh directory.
    pub(crate) fn start(lab: &Lab, program: &Path, driver: Driver) -> Outcome<Self> {
        Self::start_as(lab, program, driver, None)
    }

    /// The same, with this setup.
    pub(crate) fn start_as(lab: &Lab, program: &Path, driver: Driver, setup: Option<&Setup>) -> Outcome<Self> {
        let room = lab.room()?;
        let (socket, ruled, file) = (room.join("socket"), room.join("ruled"), room.join("vmwired.toml"));
        let papers = setup.and_then(|setup| setup.papers.clone());
        let tls = papers.map(|papers| free_address().map(|address| (address, papers))).transpose()?;
        let mut command = Command::new(program);
        match setup {
            Some(setup) => {
                std::fs::write(&file, setup.text(&socket, &ruled, tls.as_ref().map(|(address, _)| *address)))?;
                command.arg("--config").arg(&file);
            }
            None => {
                command.arg("--listen").arg(format!("unix:{}", socket.display()));
            }
        }
        let mut child = command
            .args(["--driver", if driver == Driver::Test { "test" } else { "qemu" }])
            .arg("--state-dir")
            .arg(room.join("state"))
            .arg("--runtime-dir")
            .arg(room.join("run"))
            .env_remove("VMWIRE_LOG")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(log) = child.stderr.take() {
            std::thread::spawn(move || drain(log));
        }
        let audit = room.join("state/audit.jsonl");
        let (socket, ruled) = (Address::Unix(socket), Address::Unix(ruled));
        Ok(Self { child, file, audit, socket, ruled, tls, subscriber: None })
    }

    /// What rows are measured on that name no driver: QEMU, with ten guests up and one subscriber.
    pub(crate) fn with_guests(lab: &Lab, program: &Path) -> Outcome<Self> {
        Self::with_guests_as(lab, program, None)
    }

    /// The same, with this setup.
    pub(crate) fn with_guests_as(lab: &Lab, program: &Path, setup: Option<&Setup>) -> Outcome<Self> {
        let mut daemon = Self::start_as(lab, program, Driver::Qemu, setup)?;
        daemon.define(GUESTS, "memory = \"16 MiB\"\nmachine = \"pc\"\naccel = \"tcg\"\n")?;
        daemon.start_all()?;
        daemon.subscribe_one()?;
        Ok(daemon)
    }

    /// The same on the test driver.
    pub(crate) fn with_test_guests(lab: &Lab, program: &Path, setup: Option<&Setup>) -> Outcome<Self> {
        let mut daemon = Self::start_as(lab, program, Driver::Test, setup)?;
        daemon.define(GUESTS, "memory = \"16 MiB\"\n")?;
        daemon.start_all()?;
        daemon.subscribe_one()?;
        Ok(daemon)
    }

    /// Has it read another configuration.
    pub(crate) fn reload(&self, setup: &Setup) -> Outcome<()> {
        let (Address::Unix(socket), Address::Unix(ruled)) = (&self.socket, &self.ruled) else {
            return Err("the daemon listens at no socket".into());
        };
        let tls = self.tls.as_ref().map(|(address, _)| *address);
        std::fs::write(&self.file, setup.text(socket, ruled, tls))?;
        Ok(kill_process(Pid::from_child(&self.child), Signal::HUP)?)
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Address {
        &self.socket
    }

    /// Where rules decide.
    pub(crate) fn ruled_socket(&self) -> &Address {
        &self.ruled
    }

    /// Where it listens for TLS, for a client who resumes sessions or does not.
    pub(crate) fn tls(&self, resumes: bool) -> Outcome<Address> {
        let (address, papers) = self.tls.as_ref().ok_or("the daemon listens for no TLS")?;
        Ok(Address::Tls(*address, papers.client(resumes)?))
    }

    /// Where it listens for TLS, for somebody else.
    pub(crate) fn tls_as(&self, client: Arc<ClientConfig>) -> Outcome<Address> {
        let (address, _) = self.tls.as_ref().ok_or("the daemon listens for no TLS")?;
        Ok(Address::Tls(*address, client))
    }

    /// The file of its audit.
    pub(crate) fn audit(&self) -> &Path {
        &self.audit
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Defines so many virtual machines, named `bench-0000` and on, with a title of 250 bytes.
    pub(crate) fn define(&self, count: usize, rest: &str) -> Outcome<()> {
        let mut wire = Wire::greet(&self.socket)?;
        for number in 0..count {
            let title = "t".repeat(250);
            let text = format!("name = \"{}\"\ntitle = \"{title}\"\n{rest}", name(number));
            wire.call(&ClientData::VmDefine(VmDefineCall { definition: Text::new(text)?, replace: false }))?;
        }
        Ok(())
    }

    fn start_all(&self) -> Outcome<()> {
        let mut wire = Wire::greet(&self.socket)?;
        for vm in self.names()? {
            let call = VmStartCall { vm: Text::new(vm)?, paused: false };
            wire.call(&ClientData::VmStart(call))?;
        }
        Ok(())
    }

    fn subscribe_one(&mut self) -> Outcome<()> {
        let mut wire = Wire::greet(&self.socket)?;
        wire.call(&subscribe(&[]))?;
        self.subscriber = Some(wire);
        Ok(())
    }

    fn names(&self) -> Outcome<Vec<String>> {
        let mut wire = Wire::greet(&self.socket)?;
        match wire.call(&ClientData::VmNames(ListCall { after: Text::default(), rows_max: 0 }))? {
            ServerData::VmNames(answer) => Ok(answer.names.iter().map(ToString::to_string).collect()),
            other => Err(format!("no names but {:#x}", other.number()).into()),
        }
    }

    fn stop_all(&self) -> Outcome<()> {
        let mut wire = Wire::greet(&self.socket)?;
        for vm in self.names()? {
            let call = VmCall { vm: Text::new(vm)? };
            let shown = wire.call(&ClientData::VmShow(call.clone()))?;
            if matches!(&shown, ServerData::VmShow(answer) if answer.vm.state != vm_state::STOPPED) {
                wire.call(&ClientData::VmStop(call))?;
            }
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            if let Err(error) = self.stop_all() {
                eprintln!("vmwire-bench: guests may be left running: {error}");
            }
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let end = Instant::now() + LEAVE_TIME;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the log so that it never fills the pipe; what is wrong is passed on.
fn drain(log: ChildStderr) {
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        if [" WARN ", " ERROR ", "vmwired: "].iter().any(|grave| line.contains(grave)) {
            eprintln!("{line}");
        }
    }
}

/// The name of the virtual machine of this number.
pub(crate) fn name(number: usize) -> String {
    format!("bench-{number:04}")
}

/// Ask for events of these kinds from now on.
pub(crate) fn subscribe(kinds: &[u32]) -> ClientData {
    let kinds = List::clipped(kinds.iter().copied());
    ClientData::Subscribe(SubscribeCall { after: None, vm: Text::default(), kinds })
}

/// What `/proc` knows of a process.
pub(crate) mod process {
    use super::{Outcome, Path};

    /// A value of `/proc/PID/status`, in KiB where it is memory.
    pub(crate) fn status(pid: u32, key: &str) -> Outcome<f64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let value = line.and_then(|line| line.split_whitespace().next()).ok_or("no such line in status")?;
        Ok(value.parse()?)
    }

    /// The process and all its children of the same program, theirs included.
    pub(crate) fn family(pid: u32) -> Outcome<Vec<u32>> {
        let program = |pid: u32| std::fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe"));
        let own = program(pid)?;
        let mut family = vec![pid];
        let mut at = 0;
        while let Some(pid) = family.get(at).copied() {
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
            let children = children.split_whitespace().filter_map(|child| child.parse().ok());
            family.extend(children.filter(|child| program(*child).is_ok_and(|program| program == own)));
            at += 1;
        }
        Ok(family)
    }
}
