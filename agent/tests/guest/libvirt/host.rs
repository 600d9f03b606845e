//! A libvirtd of the test's own: started by hand, for one user, with everything it writes in one directory. When the
//! tests run as root it belongs to nobody, so that it is not the machine's libvirtd that it takes itself for.

use std::fs::File;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::machine::{QEMU_GA, command_line, disk, initrd, wait_for_text};
use crate::port::Port;
use crate::skip::skip;

const LIBVIRTD: &str = "/usr/sbin/libvirtd";
const VIRSH: &str = "/usr/bin/virsh";
/// The user and group "nobody" of Debian.
const NOBODY: u32 = 65534;
const PATIENCE: Duration = Duration::from_secs(180);

/// A host with guests of its own.
pub(crate) struct Host {
    directory: TempDir,
    libvirtd: Child,
    guests: Vec<&'static str>,
}

/// What a command of virsh had to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) well: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Host {
    /// Starts libvirtd. `None` if that is not possible here.
    pub(crate) fn start(test: &str) -> Option<Host> {
        for (program, package) in [
            (LIBVIRTD, "libvirt-daemon"),
            (VIRSH, "libvirt-clients"),
            (QEMU_GA, "qemu-guest-agent"),
            ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
        ] {
            if !Path::new(program).exists() {
                skip(test, &format!("{program} is not here: install {package}"));
                return None;
            }
        }
        let Some(guest) = std::env::var_os("VMWIRE_GUEST").map(PathBuf::from) else {
            skip(test, "no test guest: set VMWIRE_GUEST to what contrib/guest/build prints");
            return None;
        };
        // Paths of sockets are short.
        let directory = tempfile::Builder::new().prefix("libvirt-").tempdir_in("/tmp").unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["run", "config/libvirt", "cache", "data"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        // What QEMU says would go to a daemon of its own, which would outlive the test.
        std::fs::write(at("config/libvirt/qemu.conf"), "stdio_handler = \"file\"\n").unwrap();
        std::fs::copy(guest.join("vmlinux"), at("vmlinux")).unwrap();
        std::fs::write(at("initrd"), initrd(&guest)).unwrap();
        for name in [".", "run", "config", "config/libvirt", "cache", "data", "vmlinux", "initrd"] {
            give_away(&at(name));
        }
        let errors = File::create(at("libvirtd.errors")).unwrap();
        // It leaves by itself when nobody is left who could end it.
        let libvirtd = as_nobody(LIBVIRTD, directory.path())
            .args(["--timeout", "60"])
            .stdin(Stdio::null())
            .stdout(errors.try_clone().unwrap())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut host = Host { directory, libvirtd, guests: Vec::new() };
        host.wait_for_libvirtd();
        Some(host)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn wait_for_libvirtd(&mut self) {
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(self.at("run/libvirt/libvirt-sock")).is_err() {
            let left = self.libvirtd.try_wait().unwrap().is_some();
            let said = || std::fs::read_to_string(self.at("libvirtd.errors")).unwrap_or_default();
            assert!(!left && Instant::now() < end, "libvirtd does not come up:\n{}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts a guest of this name, whose agent is this program.
    pub(crate) fn boot(&mut self, name: &'static str, program: &str) {
        disk(&self.at(&format!("{name}.disk")));
        give_away(&self.at(&format!("{name}.disk")));
        let place = self.directory.path().display();
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><memory unit='MiB'>160</memory><vcpu>2</vcpu>
             <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{place}/vmlinux</kernel>
             <initrd>{place}/initrd</initrd><cmdline>{}</cmdline></os><features><acpi/></features>
             <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='usb' model='none'/>
             <disk type='file' device='disk'><driver name='qemu' type='raw' discard='unmap'/>
             <source file='{place}/{name}.disk'/><target dev='vda' bus='virtio'/></disk>
             <interface type='user'><mac address='52:54:00:12:34:56'/><model type='virtio'/></interface>
             <serial type='file'><source path='{place}/{name}.console'/><target port='0'/></serial>
             <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
             <channel type='unix'><source mode='bind' path='{place}/{name}.observer'/>
             <target type='virtio' name='observer'/></channel><memballoon model='none'/></devices></domain>",
            command_line(program, ""),
        );
        std::fs::write(self.at("domain.xml"), xml).unwrap();
        let domain = self.at("domain.xml");
        let said = self.virsh(&["create", &domain.display().to_string()]);
        assert!(said.well, "{said:?}");
        self.guests.push(name);
    }

    /// Waits until a guest is up.
    pub(crate) fn wait_for(&self, name: &str) {
        wait_for_text(&self.at(&format!("{name}.console")), "GUEST-READY");
        // And until libvirtd was told so.
        let end = Instant::now() + PATIENCE;
        while !self.virsh(&["qemu-agent-command", name, "{\"execute\":\"guest-ping\"}"]).well {
            assert!(Instant::now() < end, "{name} has no agent");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The agent beside the one that libvirtd has.
    pub(crate) fn observer(&self, name: &str) -> Port {
        let mut port = Port::new(UnixStream::connect(self.at(&format!("{name}.observer"))).unwrap());
        port.synchronise();
        port
    }

    /// Runs a command of virsh.
    pub(crate) fn virsh(&self, words: &[&str]) -> Said {
        let output = as_nobody(VIRSH, self.directory.path())
            .args(["-q", "-c", "qemu:///session"])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Said { well: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Where a file is that guests may have.
    pub(crate) fn place(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    /// A file for virsh; where it is.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.at(name), bytes).unwrap();
        self.place(name)
    }

    /// A guest's state, as libvirtd knows it.
    fn state(&self, name: &str) -> String {
        self.virsh(&["domstate", name]).out
    }

    /// Waits until libvirtd says this of a guest; one that has ended it does not know any more.
    pub(crate) fn wait_for_state(&self, name: &str, wanted: &str) {
        let end = Instant::now() + PATIENCE;
        while self.state(name) != wanted {
            assert!(Instant::now() < end, "{name} is {:?}, not {wanted:?}", self.state(name));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Guests outlive their libvirtd, so they go first.
        for name in &self.guests {
            self.virsh(&["destroy", name]);
        }
        let _ = self.libvirtd.kill();
        let _ = self.libvirtd.wait();
    }
}

/// A program that finds everything of its own in this directory.
fn as_nobody(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", directory).current_dir(directory);
    for (name, place) in [
        ("XDG_RUNTIME_DIR", "run"),
        ("XDG_CONFIG_HOME", "config"),
        ("XDG_CACHE_HOME", "cache"),
        ("XDG_DATA_HOME", "data"),
    ] {
        command.env(name, directory.join(place));
    }
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn give_away(path: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}
