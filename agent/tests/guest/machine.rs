//! A guest that is started by QEMU for one story, with a disk that can be frozen.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::archive::Archive;
use crate::port::Port;
use crate::skip::skip;

/// A guest boots within that, on the slowest machine there is.
const BOOT: Duration = Duration::from_secs(300);

/// No more of what a guest said is shown when a story fails, from the end of it.
const SHOWN_BYTES_MAX: usize = 4096;

/// The agent that everybody knows.
pub(crate) const QEMU_GA: &str = "/usr/sbin/qemu-ga";

const QEMU: &str = "/usr/bin/qemu-system-x86_64";
/// A time zone that never changes, and is far from all that a test could mistake it for.
const ZONE: &str = "/usr/share/zoneinfo/Asia/Kolkata";

/// A guest as a test wants it.
pub(crate) struct Plan<'a> {
    /// Its first agent: its path in the guest.
    pub(crate) program: &'a str,
    /// More of the agent's words, commas for blanks.
    pub(crate) words: &'a str,
    /// More of QEMU's words. `{}` in them is the directory of the machine.
    pub(crate) qemu: &'a [&'a str],
    /// More words on the kernel's command line.
    pub(crate) kernel: &'a str,
    /// Programs of this machine that it needs besides.
    pub(crate) programs: &'a [&'a str],
}

/// A guest that runs. Ended when dropped; then what it said is shown if the story failed.
pub(crate) struct Machine {
    pub(crate) directory: TempDir,
    command: Vec<OsString>,
    qemu: Child,
}

impl Machine {
    /// Starts a guest whose first agent is this program. `None` if that is not possible here.
    pub(crate) fn start(test: &str, program: &str, words: &str) -> Option<Machine> {
        Machine::planned(test, &Plan { program, words, qemu: &[], kernel: "", programs: &[] })
    }

    /// Starts a guest. `None` if that is not possible here.
    pub(crate) fn planned(test: &str, plan: &Plan<'_>) -> Option<Machine> {
        let Some(guest) = std::env::var_os("VMWIRE_GUEST").map(PathBuf::from) else {
            skip(test, "no test guest: set VMWIRE_GUEST to what contrib/guest/build prints");
            return None;
        };
        for (program, package) in [
            (QEMU_GA, "qemu-guest-agent"),
            ("/usr/sbin/mke2fs", "e2fsprogs"),
            ("/usr/sbin/chpasswd", "passwd"),
            ("/usr/bin/openssl", "openssl"),
            (QEMU, "qemu-system-x86"),
            (ZONE, "tzdata"),
        ]
        .into_iter()
        .chain(plan.programs.iter().map(|path| (*path, "the package that has it")))
        {
            if !Path::new(program).exists() {
                skip(test, &format!("{program} is not here: install {package}"));
                return None;
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut initrd = initrd(&guest);
        let mut more = Archive::new();
        for program in plan.programs {
            more.program(program, Path::new(program));
        }
        initrd.extend_from_slice(&more.finish());
        std::fs::write(at("initrd"), initrd).unwrap();
        disk(&at("disk"));
        // Of which nothing is used but by the guest that a plan gives it to.
        File::create(at("second")).unwrap().set_len(256 << 20).unwrap();
        let mut command: Vec<OsString> = Vec::new();
        let fixed = "-M q35 -accel tcg -smp 2 -m 160 -nodefaults -nographic -no-user-config -kernel";
        command.extend(fixed.split(' ').map(OsString::from));
        command.push(guest.join("vmlinux").into());
        command
            .extend(["-append".into(), format!("{} {}", command_line(plan.program, plan.words), plan.kernel).into()]);
        let words = "-initrd {}/initrd -serial file:{}/console \
                     -chardev socket,id=agent,path={}/agent,server=on,wait=off \
                     -chardev socket,id=observer,path={}/observer,server=on,wait=off -device virtio-serial-pci \
                     -device virtserialport,chardev=agent,name=org.qemu.guest_agent.0 \
                     -device virtserialport,chardev=observer,name=observer \
                     -drive file={}/disk,format=raw,if=none,id=disk,discard=unmap -device virtio-blk-pci,drive=disk \
                     -netdev user,id=net,restrict=on,ipv6=off -device virtio-net-pci,netdev=net \
                     -qmp unix:{}/monitor,server=on,wait=off";
        let here = directory.path().display().to_string();
        // Of what is said twice, QEMU takes the last.
        let words = words.split(' ').chain(plan.qemu.iter().copied());
        command.extend(words.map(|word| word.replace("{}", &here).into()));
        let qemu = spawn(directory.path(), &command);
        let machine = Machine { directory, command, qemu };
        wait_for_text(&machine.directory.path().join("console"), "GUEST-READY");
        Some(machine)
    }

    /// Starts the guest once more, when it has ended.
    pub(crate) fn start_again(&mut self) {
        self.wait_for_end();
        self.qemu = spawn(self.directory.path(), &self.command);
        let end = Instant::now() + BOOT;
        while UnixStream::connect(self.directory.path().join("agent")).is_err() {
            assert!(Instant::now() < end, "QEMU does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A port by the name of its socket, past what was said there before.
    pub(crate) fn connect(&self, name: &str) -> Port {
        let stream = UnixStream::connect(self.directory.path().join(name)).unwrap();
        let mut port = Port::new(stream);
        port.synchronise();
        port
    }

    /// The agent that the story is about.
    pub(crate) fn agent(&self) -> Port {
        self.connect("agent")
    }

    /// The same, without a word said.
    pub(crate) fn bare_agent(&self) -> UnixStream {
        UnixStream::connect(self.directory.path().join("agent")).unwrap()
    }

    /// The one that looks on.
    pub(crate) fn observer(&self) -> Port {
        self.connect("observer")
    }

    /// Waits for QEMU's end.
    pub(crate) fn wait_for_end(&mut self) {
        let end = Instant::now() + BOOT;
        while self.qemu.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "the guest does not go down");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The monitor, past its greeting.
    pub(crate) fn monitor(&self) -> Port {
        let stream = UnixStream::connect(self.directory.path().join("monitor")).unwrap();
        let mut port = Port::new(stream);
        port.line();
        port.send(b"{\"execute\":\"qmp_capabilities\"}\n");
        port.line();
        port
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        if std::thread::panicking() {
            for (name, what) in [("console", "the guest's console"), ("errors", "what QEMU said")] {
                let said = std::fs::read(self.directory.path().join(name)).unwrap_or_default();
                let end = &said[said.len().saturating_sub(SHOWN_BYTES_MAX)..];
                eprintln!("---- end of {what} ----\n{}\n----", String::from_utf8_lossy(end));
            }
        }
    }
}

fn spawn(directory: &Path, words: &[OsString]) -> Child {
    let errors = File::options().append(true).create(true).open(directory.join("errors")).unwrap();
    Command::new(QEMU).args(words).stdin(Stdio::null()).stderr(errors).spawn().unwrap()
}

/// Waits until a guest has said this on its console.
pub(crate) fn wait_for_text(console: &Path, text: &str) {
    let end = Instant::now() + BOOT;
    loop {
        let mut said = Vec::new();
        if let Ok(mut file) = File::open(console) {
            file.read_to_end(&mut said).unwrap();
        }
        let said = String::from_utf8_lossy(&said);
        if said.contains(text) {
            return;
        }
        assert!(Instant::now() < end, "the guest does not come up:\n{said}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a guest's kernel is told: the agent that the story is about, and its words.
pub(crate) fn command_line(program: &str, words: &str) -> String {
    format!(
        "console=ttyS0 quiet cryptomgr.notests mitigations=off nokaslr audit=0 panic=-1 no_timer_check \
         rdinit=/two-agents agent.program={program} agent.words={words}"
    )
}

/// A disk with a file system that can be frozen.
pub(crate) fn disk(path: &Path) {
    File::create(path).unwrap().set_len(16 << 20).unwrap();
    let made = Command::new("/usr/sbin/mke2fs").args(["-q", "-t", "ext4"]).arg(path).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// What a guest is made of: the project's own with both agents.
pub(crate) fn initrd(guest: &Path) -> Vec<u8> {
    let mut initrd = std::fs::read(guest.join("initrd")).unwrap();
    initrd.resize(initrd.len().next_multiple_of(512), 0);
    initrd.extend_from_slice(&archive());
    initrd
}

fn archive() -> Vec<u8> {
    let mut archive = Archive::new();
    archive.program("/bin/vmwire-ga", Path::new(env!("CARGO_BIN_EXE_vmwire-ga")));
    archive.program("/bin/qemu-ga", Path::new(QEMU_GA));
    // What sets passwords in a system, and what tells whether they are set.
    archive.program("/bin/chpasswd", Path::new("/usr/sbin/chpasswd"));
    archive.program("/bin/openssl", Path::new("/usr/bin/openssl"));
    let module = "/lib/x86_64-linux-gnu/security/pam_unix.so";
    if Path::new(module).exists() {
        archive.program(module, Path::new(module));
    }
    archive.file("/etc/pam.d/chpasswd", 0o644, b"password required pam_unix.so sha512\n");
    archive.file("/two-agents", 0o755, include_bytes!("init"));
    let users = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";
    archive.file("/etc/passwd", 0o644, users.as_bytes());
    archive.file("/etc/shadow", 0o600, b"root:*:19000::::::\nalice:*:19000::::::\n");
    archive.file(
        "/etc/os-release",
        0o644,
        b"NAME=\"A Guest\"\nID=guest\nVERSION=\"1 (one)\"\nVERSION_ID=1\nPRETTY_NAME=\"A \\\"Guest\\\"\"\n",
    );
    if let Ok(zone) = std::fs::read(ZONE) {
        archive.file(ZONE, 0o644, &zone);
        archive.link("/etc/localtime", ZONE);
    }
    // The other clock keeps UTC.
    archive.file("/etc/adjtime", 0o644, b"0.0 0 0\n0\nUTC\n");
    // Linked to what busybox has, and to what a system would have.
    archive.link("/sbin/hwclock", "/bin/busybox");
    archive.file(
        "/sbin/shutdown",
        0o755,
        b"#!/bin/sh\necho \"$@\" >/run/shutdown\ncase $2 in -r) reboot -f ;; -P) poweroff -f ;; esac\n",
    );
    let hook = "#!/bin/sh\necho \"$1\" >>/run/hook\n[ ! -e /run/hook-hangs ] || sleep 1234\n[ ! -e /run/hook-fails ]\n";
    archive.file("/etc/hook", 0o755, hook.as_bytes());
    // For requests of which none can be answered: what can be would not be in time on every machine.
    archive.file("/etc/impatient.conf", 0o644, b"[general]\nrequest-deadline=2\n");
    archive.file("/etc/short.conf", 0o644, b"[general]\nfreeze-lease=2\nrequest-deadline=10\n");
    archive.file("/etc/endless.conf", 0o644, b"[general]\nrequest-deadline=100000\n");
    archive.file("/etc/longer.conf", 0o644, b"[general]\nrequest-deadline=12\n");
    archive.finish()
}
