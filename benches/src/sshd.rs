//! An ssh server of the machine's own sort on the loopback, with keys made for the day, and who goes there: the `ssh`
//! program, `vmwire`, and a bare session of libssh2.

use std::fs::{File, Permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use ssh2::{Channel, MethodType, Session};

use crate::Outcome;
use crate::lab::Lab;
use crate::papers::free_address;

/// It wants to be called by its whole path.
const SSHD: &str = "/usr/sbin/sshd";

/// What the host is called.
const HOST: &str = "bench";

/// How long the server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first cipher of vmwire's, for the session that is compared with it.
const CIPHER: &str = "aes256-gcm@openssh.com";

/// A server that runs; it ends, with its sessions, with this value.
#[derive(Debug)]
pub(crate) struct Sshd {
    child: Child,
    address: SocketAddr,
    dir: PathBuf,
    vmwire: PathBuf,
}

impl Sshd {
    /// Starts it. On its side `vmwire` is the one as installed.
    pub(crate) fn start(lab: &Lab) -> Outcome<Self> {
        let dir = lab.room()?;
        let address = free_address()?;
        for key in ["host_key", "key"] {
            done(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.join(key)))?;
        }
        std::fs::copy(dir.join("key.pub"), dir.join("authorized_keys"))?;
        let public = std::fs::read_to_string(dir.join("host_key.pub"))?;
        std::fs::write(dir.join("known_hosts"), format!("[{}]:{} {public}", address.ip(), address.port()))?;
        let (at, programs) = (dir.display(), lab.vmwire.parent().unwrap_or(Path::new("/")).display());
        std::fs::write(
            dir.join("sshd_config"),
            format!(
                "Port {}\nListenAddress {}\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/authorized_keys\nPidFile none\n\
                 UsePAM no\nStrictModes no\nPermitRootLogin yes\nMaxStartups 100\nSetEnv PATH={programs}:/usr/bin:/bin\n",
                address.port(),
                address.ip()
            ),
        )?;
        std::fs::write(
            dir.join("ssh_config"),
            format!(
                "Host {HOST}\n  HostName {}\n  Port {}\nHost *\n  BatchMode yes\n  IdentityFile {at}/key\n  IdentitiesOnly yes\n  \
                 UserKnownHostsFile {at}/known_hosts\n  GlobalKnownHostsFile none\n  ControlPath {at}/control\n",
                address.ip(),
                address.port()
            ),
        )?;
        // ssh looks for its settings where the password file says that home is: only -F leads elsewhere.
        std::fs::write(dir.join("ssh"), format!("#!/bin/sh\nexec /usr/bin/ssh -F '{at}/ssh_config' \"$@\"\n"))?;
        std::fs::set_permissions(dir.join("ssh"), Permissions::from_mode(0o755))?;
        std::fs::create_dir_all("/run/sshd")?;
        let log = File::create(dir.join("log"))?;
        let mut command = Command::new(SSHD);
        command.args(["-D", "-e", "-f"]).arg(dir.join("sshd_config"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.map_err(|error| format!("{SSHD}: {error}: install openssh-server"))?;
        let sshd = Self { child, address, dir, vmwire: lab.vmwire.clone() };
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if Instant::now() >= end {
                return Err(
                    format!("{SSHD} does not listen: {}", std::fs::read_to_string(sshd.dir.join("log"))?).into()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(sshd)
    }

    /// `ssh` with these arguments, then the host, then a command for the far side.
    pub(crate) fn ssh(&self, arguments: &[&str], far: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/ssh");
        command.arg("-F").arg(self.dir.join("ssh_config")).args(arguments).arg(HOST).args(far);
        command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        command
    }

    /// `vmwire` as installed, which finds the same settings.
    pub(crate) fn vmwire(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.vmwire);
        let path = format!("{}:/usr/bin:/bin", self.dir.display());
        command.args(arguments).env("PATH", path).env("XDG_CONFIG_HOME", &self.dir).stdin(Stdio::null());
        for name in ["SSH_AUTH_SOCK", "KRB5CCNAME", "VMWIRE_URI", "VMWIRE_LOG", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }

    /// How `vmwire` names a daemon at this socket, by `ssh2` or by the program `ssh`.
    pub(crate) fn uri(&self, by: &str, socket: &Path) -> String {
        format!("test+ssh://{HOST}/default?transport={by}&socket={}", socket.display())
    }

    /// A bare session of libssh2, and a channel of it to a socket of the far side.
    pub(crate) fn bare(&self, socket: &Path) -> Outcome<(Session, Channel)> {
        let mut session = Session::new()?;
        for way in [MethodType::CryptCs, MethodType::CryptSc] {
            session.method_pref(way, CIPHER)?;
        }
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        session.set_tcp_stream(stream);
        session.handshake()?;
        session.userauth_pubkey_file("root", None, &self.dir.join("key"), None)?;
        let channel = session.channel_direct_streamlocal(socket.to_str().ok_or("not UTF-8")?, None)?;
        Ok((session, channel))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.ssh(&["-O", "exit"], &[]).stderr(Stdio::null()).status();
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Runs a command to its good end, and answers what it said.
pub(crate) fn done(command: &mut Command) -> Outcome<Vec<u8>> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(format!("{command:?}: {}, {}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}
