//! Where to listen: an address in one text, or a table that says more of it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::path;
use crate::model::toml_table::{Fault, Table};

/// The port of TLS, unless said otherwise: one beyond libvirt's.
pub const TLS_PORT: u16 = 16515;

/// More than anybody listens at.
const LISTENERS_MAX: usize = 64;

/// Where to listen, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A unix socket.
    Unix(PathBuf),
    /// A network, for who shows a certificate.
    Tls(SocketAddr),
    /// A network, for anybody: they may look.
    Tcp(SocketAddr),
}

impl Listen {
    /// Reads an address: `unix:` and a path, or `tls:` and an IP address, perhaps with a port. A path that is not absolute
    /// begins at `directory`, if there is one.
    pub(super) fn parse(address: &str, directory: Option<&Path>) -> Result<Self, String> {
        match address.split_once(':') {
            Some(("unix", path)) if directory.is_none() || !path.is_empty() => {
                let path = directory.map_or_else(|| PathBuf::from(path), |directory| directory.join(path));
                path::SOCKET.check(&path).map(|()| Self::Unix(path))
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

    /// Adds to where is listened already, unless it is the same place.
    fn add_to(self, all: &mut Vec<Self>) -> Result<(), String> {
        if all.contains(&self) {
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
    pub(super) fn of_file(top: &Table<'_>) -> Result<Option<Vec<Self>>, Fault> {
        let mut all = Vec::new();
        if top.holds_tables("listen") {
            for table in top.tables("listen", LISTENERS_MAX)? {
                let listen = Self::of_table(&table)?;
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

    fn of_table(table: &Table<'_>) -> Result<Self, Fault> {
        let path = table.string("listen.path")?;
        let tls = table.string("listen.tls")?;
        let tcp = table.string("listen.tcp")?;
        let insecure = table.boolean("listen.insecure")?;
        if insecure.is_some() && tcp.is_none() {
            return Err(table.wrong("listen.insecure", "it is for tcp; the others are not"));
        }
        match (path, tls, tcp) {
            (Some(path), None, None) => {
                path.narrow(|path| path::SOCKET.check(Path::new(path)).map(|()| Self::Unix(PathBuf::from(path))))
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
            Self::Unix(path) => path.display().fmt(f),
            Self::Tls(address) => write!(f, "tls:{address}"),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}
