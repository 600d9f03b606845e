//! What a URI says of the way by ssh: who comes, to which host, and what is wanted of ssh there.
//!
//! All of it ends as arguments of a program or in a file's name, so nothing that a shell or an option parser would heed
//! gets past this page.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::query::{Query, percent_decode, percent_encode};
use super::{Transport, UriError, read_port, split_port};

/// The longest name of a host or a user.
const NAME_BYTES_MAX: usize = 255;

/// Characters of a user's name that a shell would heed in a `ProxyCommand` with `%r`; ssh itself refuses them since 9.6.
const SHELL_CHARACTERS: &str = "'`\"$;&<>|(){}";

/// By what an ssh connection is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SshBy {
    /// By ssh2, unless the host's settings ask for what only the program can do.
    #[default]
    Auto,
    /// By ssh2, in this process.
    Ssh2,
    /// By the `ssh` program.
    Program,
}

impl SshBy {
    /// Its word in a URI.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ssh2 => "ssh2",
            Self::Program => "ssh",
        }
    }
}

/// Where ssh goes. Shown as `me@vm1.example.org:2222`, as far as it is said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SshTarget {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    pub(super) socket: Option<PathBuf>,
    pub(super) keyfile: Option<PathBuf>,
    pub(super) known_hosts: Option<PathBuf>,
    pub(super) by: SshBy,
}

impl SshTarget {
    /// Reads `[USER@]HOST[:PORT]` and the parameters.
    pub(super) fn read(authority: &str, query: &str) -> Result<Self, UriError> {
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(read_user(user)?), place),
            None => (None, authority),
        };
        if place.is_empty() {
            return Err(UriError::NoHost(Transport::Ssh));
        }
        let (host, port) = split_port(place)?;
        let port = port.map(read_port).transpose()?;
        let query = Query::read(query, Transport::Ssh, &["socket", "keyfile", "known_hosts", "transport"])?;
        let by = match query.text("transport")?.as_deref() {
            None | Some("auto") => SshBy::Auto,
            Some("ssh2") => SshBy::Ssh2,
            Some("ssh") => SshBy::Program,
            Some(other) => return Err(UriError::Choice { name: "transport", value: other.to_owned() }),
        };
        Ok(Self {
            user,
            host: read_host(host)?,
            port,
            socket: query.path("socket")?,
            keyfile: read_file(&query, "keyfile")?,
            known_hosts: read_file(&query, "known_hosts")?,
            by,
        })
    }

    /// Who comes; where it is not said, ssh's settings decide.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The host: a name, an alias of ssh's settings, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; where it is not said, ssh's settings decide.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The daemon's socket on the far side.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// The one key to come with.
    #[must_use]
    pub fn keyfile(&self) -> Option<&Path> {
        self.keyfile.as_deref()
    }

    /// The file that has the keys of hosts, in place of the user's.
    #[must_use]
    pub fn known_hosts(&self) -> Option<&Path> {
        self.known_hosts.as_deref()
    }

    /// By what the connection is to be made.
    #[must_use]
    pub fn by(&self) -> SshBy {
        self.by
    }

    /// As the authority of a URI.
    pub(crate) fn authority(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{}@", percent_encode(user.as_bytes(), b"-._~")));
        format!("{}{}", user.unwrap_or_default(), self.host_and_port())
    }

    /// As the parameters of a URI.
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let paths = [("socket", &self.socket), ("keyfile", &self.keyfile), ("known_hosts", &self.known_hosts)];
        let paths = paths.into_iter().filter_map(|(name, path)| Some((name, super::show_path(path.as_ref()?))));
        let by = (self.by != SshBy::Auto).then(|| ("transport", self.by.word().to_owned()));
        paths.chain(by).collect()
    }

    fn host_and_port(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        self.port.map_or(host.clone(), |port| format!("{host}:{port}"))
    }
}

impl fmt::Display for SshTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.host_and_port())
    }
}

fn read_user(text: &str) -> Result<String, UriError> {
    if text.contains(':') {
        return Err(UriError::Password);
    }
    let refused = || UriError::UserName(text.to_owned());
    let user = String::from_utf8(percent_decode(text, "user")?).map_err(|_| refused())?;
    let bad = |c: char| c.is_control() || SHELL_CHARACTERS.contains(c);
    let hidden_option = user.split_inclusive(char::is_whitespace).any(|word| word.starts_with('-'));
    let length = (1..=NAME_BYTES_MAX).contains(&user.len());
    if !length || hidden_option || user.contains(bad) || user.ends_with('\\') {
        return Err(refused());
    }
    Ok(user)
}

/// A file on this side. What else the ssh program would read into its name can be written so that it does not, see its
/// arguments; this cannot, and has to mean the same by either way.
fn read_file(query: &Query<'_>, name: &'static str) -> Result<Option<PathBuf>, UriError> {
    let path = query.path(name)?;
    match &path {
        Some(path) if path.as_os_str().as_bytes().windows(2).any(|two| two == b"${") => Err(UriError::Variable(name)),
        _ => Ok(path),
    }
}

/// A host of ssh may be any alias of its settings, so that more is allowed than in the DNS; what is no address and looks
/// like one is not.
fn read_host(text: &str) -> Result<String, UriError> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(address.to_string());
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let numbers = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let length = (1..=NAME_BYTES_MAX).contains(&text.len());
    if !length || numbers || text.starts_with(['-', '.']) || text.contains("..") || !text.bytes().all(known) {
        return Err(UriError::SshHost(text.to_owned()));
    }
    Ok(text.to_owned())
}
