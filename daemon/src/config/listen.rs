//! Where to listen: an address in one text, or a table that says more of it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::file::choice;
use super::path;
use crate::access::{Base, Role, Users};
use crate::model::toml_table::{Fault, Table};

/// The port of TLS, unless said otherwise: one beyond libvirt's.
pub const TLS_PORT: u16 = 16515;

/// More than anybody listens at.
const LISTENERS_MAX: usize = 64;

/// Where to listen, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A unix socket.
    Unix(UnixListen),
    /// A network, for who shows a certificate.
    Tls(SocketAddr),
    /// A network, for anybody: they may look.
    Tcp(SocketAddr),
}

/// A unix socket to listen at, and who may connect to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixListen {
    /// Where.
    pub path: PathBuf,
    /// The permissions of the socket.
    pub mode: u32,
    /// Its group; `None`: the daemon's own.
    pub gid: Option<u32>,
    /// The role of whoever can connect; `None`: root and the daemon's own user are admins, and others nobody.
    pub role: Option<Role>,
}

impl UnixListen {
    /// One for the owner alone.
    pub fn own(path: PathBuf) -> Self {
        Self { path, mode: 0o600, gid: None, role: None }
    }

    /// Whether others are to reach it.
    pub fn is_for_others(&self) -> bool {
        self.mode & 0o077 != 0
    }
}

impl Listen {
    /// What whoever comes in there has without a rule.
    pub fn base(&self) -> Base {
        match self {
            Self::Unix(UnixListen { role: None, .. }) => Base::Owners,
            Self::Unix(UnixListen { role: Some(role), .. }) => Base::Everybody(*role),
            Self::Tls(_) => Base::Registry,
            Self::Tcp(_) => Base::Everybody(Role::Observer),
        }
    }

    /// Reads an address: `unix:` and a path, or `tls:` and an IP address, perhaps with a port. A path that is not absolute
    /// begins at `directory`, if there is one.
    pub(super) fn parse(address: &str, directory: Option<&Path>) -> Result<Self, String> {
        match address.split_once(':') {
            Some(("unix", path)) if directory.is_none() || !path.is_empty() => {
                let path = directory.map_or_else(|| PathBuf::from(path), |directory| directory.join(path));
                path::SOCKET.check(&path).map(|()| Self::Unix(UnixListen::own(path)))
            }
            Some(("tls", address)) => network(address, Some(TLS_PORT)).map(Self::Tls),
            Some(("tcp", _)) => Err(format!(
                "{address:?} would let in whoever can reach it, unencrypted; if that is wanted, write a [[listen]] table \
                 with tcp and insecure = true"
            )),
            _ => Err(format!(
                "{address:?} is no address to listen at; write unix: and a path, as in \
                 \"unix:/run/vmwire/vmwired.sock\", or tls: and an IP address, as in \"tls:0.0.0.0\""
            )),
        }
    }

    fn is_where(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(unix), Self::Unix(other)) => unix.path == other.path,
            _ => self == other,
        }
    }

    /// Adds to where is listened already, unless it is the same place.
    fn add_to(self, all: &mut Vec<Self>) -> Result<(), String> {
        if all.iter().any(|earlier| earlier.is_where(&self)) {
            return Err(format!("{:?} is to be listened at twice", self.to_string()));
        }
        all.push(self);
        Ok(())
    }

    /// All addresses of the command line.
    pub(super) fn of_arguments(addresses: &[String], directory: &Path) -> Result<Vec<Self>, String> {
        let mut all = Vec::new();
        for address in addresses {
            Self::parse(address, Some(directory))?.add_to(&mut all)?;
        }
        Ok(all)
    }

    /// The key `listen`: addresses, or tables.
    pub(super) fn of_file(top: &Table<'_>, users: &Users) -> Result<Option<Vec<Self>>, Fault> {
        let mut all = Vec::new();
        if top.holds_tables("listen") {
            for table in top.tables("listen", LISTENERS_MAX)? {
                let listen = Self::of_table(&table, users)?;
                listen.add_to(&mut all).map_err(|why| table.wrong("listen", why))?;
            }
            return Ok(Some(all));
        }
        let Some(addresses) = top.strings("listen", LISTENERS_MAX)? else { return Ok(None) };
        if addresses.is_empty() {
            return Err(top.wrong("listen", "nobody could reach a daemon that listens nowhere"));
        }
        for address in addresses {
            address.narrow(|address| Self::parse(address, None)?.add_to(&mut all))?;
        }
        Ok(Some(all))
    }

    fn of_table(table: &Table<'_>, users: &Users) -> Result<Self, Fault> {
        let path = table.string("listen.path")?;
        let tls = table.string("listen.tls")?;
        let tcp = table.string("listen.tcp")?;
        let insecure = table.boolean("listen.insecure")?;
        if insecure.is_some() && tcp.is_none() {
            return Err(table.wrong("listen.insecure", "it is for tcp; the others are not"));
        }
        let mode = table.string("listen.mode")?;
        let group = table.string("listen.group")?;
        let role = table.string("listen.role")?;
        if let Some(found) = mode.as_ref().or(group.as_ref()).or(role.as_ref()).filter(|_| path.is_none()) {
            return Err(table.wrong(found.key, "it is for a unix socket: a place with a path"));
        }
        match (path, tls, tcp) {
            (Some(path), None, None) => {
                let path = path.narrow(|path| path::SOCKET.check(Path::new(path)).map(|()| PathBuf::from(path)))?;
                let mode = mode.map(|mode| mode.narrow(permissions)).transpose()?.unwrap_or(0o600);
                let gid = group.map(|group| group.narrow(|name| group_of(name, users))).transpose()?;
                Ok(Self::Unix(UnixListen { path, mode, gid, role: choice(role, Role::NAMES)? }))
            }
            (None, Some(tls), None) => tls.narrow(|address| network(address, Some(TLS_PORT)).map(Self::Tls)),
            (None, None, Some(tcp)) if insecure == Some(true) => {
                tcp.narrow(|address| network(address, None).map(Self::Tcp))
            }
            (None, None, Some(_)) => Err(table.wrong(
                "listen.tcp",
                "anybody who can reach it would see all there is, unencrypted; write insecure = true beside it if that is \
                 wanted, or tls instead",
            )),
            _ => Err(table.wrong("listen", "a place to listen at has one of path, tls and tcp")),
        }
    }
}

/// Permissions as `chmod` takes them. Without those of its owner the daemon's own user could not connect.
fn permissions(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    match mode {
        Some(mode) if mode & !0o666 == 0 && mode & 0o600 == 0o600 => Ok(mode),
        _ => Err(format!("{text:?} are no permissions of a socket; write them as in \"0600\", \"0660\" or \"0666\"")),
    }
}

fn group_of(name: &str, users: &Users) -> Result<u32, String> {
    users.gid(name).ok_or_else(|| format!("there is no group {name:?} in /etc/group; groupadd makes one"))
}

/// An IP address and a port. Names would have to be looked up, and might mean something else tomorrow.
fn network(address: &str, port: Option<u16>) -> Result<SocketAddr, String> {
    if let Ok(address) = address.parse::<SocketAddr>() {
        return Ok(address);
    }
    let host = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    match (host.parse::<IpAddr>(), port) {
        (Ok(host), Some(port)) => Ok(SocketAddr::new(host, port)),
        (Ok(_), None) => Err(format!("{address:?} has no port; write one behind it, as in \"127.0.0.1:16516\"")),
        (Err(_), _) => Err(format!(
            "{address:?} is no IP address; write one, as in \"192.0.2.1\", \"[::1]:16516\" or \"0.0.0.0\" for all there are"
        )),
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(unix) => unix.path.display().fmt(f),
            Self::Tls(address) => write!(f, "tls:{address}"),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}
