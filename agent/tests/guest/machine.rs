//! A guest that is started by QEMU for one story, with a disk that can be frozen.

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
const BOOT: Duration = Duration::from_secs(90);

/// The agent that everybody knows.
pub(crate) const QEMU_GA: &str = "/usr/sbin/qemu-ga";

pub(crate) struct Machine {
    pub(crate) directory: TempDir,
    qemu: Child,
}

impl Machine {
    /// Starts a guest whose first agent is this program. `None` if that is not possible here.
    pub(crate) fn start(test: &str, program: &str, words: &str) -> Option<Machine> {
        let Some(guest) = std::env::var_os("VMWIRE_GUEST").map(PathBuf::from) else {
            skip(test, "no test guest: set VMWIRE_GUEST to what contrib/guest/build prints");
            return None;
        };
        for (program, package) in [
            (QEMU_GA, "qemu-guest-agent"),
            ("/usr/sbin/mke2fs", "e2fsprogs"),
            ("/usr/sbin/chpasswd", "passwd"),
            ("/usr/bin/openssl", "openssl"),
            ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
        ] {
            if !Path::new(program).exists() {
                skip(test, &format!("{program} is not here: install {package}"));
                return None;
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("initrd"), initrd(&guest)).unwrap();
        disk(&at("disk"));
        let socket = |name: &str| format!("socket,id={name},path={},server=on,wait=off", at(name).display());
        let qemu = Command::new("/usr/bin/qemu-system-x86_64")
            .args([
                "-M",
                "q35",
                "-accel",
                "tcg",
                "-m",
                "160",
                "-smp",
                "2",
                "-nodefaults",
                "-nographic",
                "-no-user-config",
            ])
            .arg("-kernel")
            .arg(guest.join("vmlinux"))
            .arg("-initrd")
            .arg(at("initrd"))
            .args(["-append", &command_line(program, words), "-serial"])
            .arg(format!("file:{}", at("console").display()))
            .args(["-chardev", &socket("agent"), "-chardev", &socket("observer"), "-device", "virtio-serial-pci"])
            .args(["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"])
            .args(["-device", "virtserialport,chardev=observer,name=observer"])
            .args(["-drive", &format!("file={},format=raw,if=none,id=disk,discard=unmap", at("disk").display())])
            .args(["-device", "virtio-blk-pci,drive=disk"])
            .args(["-netdev", "user,id=net,restrict=on,ipv6=off", "-device", "virtio-net-pci,netdev=net"])
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", at("monitor").display()))
            .stdin(Stdio::null())
            .stderr(File::create(at("errors")).unwrap())
            .spawn()
            .unwrap();
        let machine = Machine { directory, qemu };
        wait_for_text(&machine.directory.path().join("console"), "GUEST-READY");
        Some(machine)
    }

    fn connect(&self, name: &str) -> Port {
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
    }
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
    // Linked to what busybox has, and to what a system would have.
    archive.link("/sbin/hwclock", "/bin/busybox");
    archive.file(
        "/sbin/shutdown",
        0o755,
        b"#!/bin/sh\necho \"$@\" >/run/shutdown\ncase $2 in -r) reboot -f ;; -P) poweroff -f ;; esac\n",
    );
    let hook = "#!/bin/sh\necho \"$1\" >>/run/hook\n[ ! -e /run/hook-hangs ] || sleep 1234\n[ ! -e /run/hook-fails ]\n";
    archive.file("/etc/hook", 0o755, hook.as_bytes());
    archive.file("/etc/short.conf", 0o644, b"[general]\nfreeze-lease=2\nrequest-deadline=1\n");
    archive.finish()
}
