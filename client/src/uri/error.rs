//! Why a text is no connection URI of ours, in words and with a hint.

use std::error::Error;
use std::fmt;

use super::{Driver, Transport};

/// Why a text is no connection URI of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UriError {
    /// Nothing at all.
    Empty,
    /// A character that no URI may hold.
    Character(char),
    /// No colon.
    NoScheme,
    /// No `//` behind the colon.
    NoSlashes,
    /// Another hypervisor.
    Driver(String),
    /// A transport nobody knows.
    Transport(String),
    /// A host, user or port, which would need a transport to another machine.
    Host(String),
    /// A transport to another machine, and no machine.
    NoHost(Transport),
    /// A user, where certificates or nothing at all say who comes.
    User {
        /// The transport.
        transport: Transport,
        /// What was written.
        authority: String,
    },
    /// A user of ssh that no host has, or that would be read as something else.
    UserName(String),
    /// A password, which everybody could see in the list of processes.
    Password,
    /// What is neither the name of a host nor an address.
    HostName(String),
    /// What is not even an alias of ssh's settings.
    SshHost(String),
    /// An IPv6 address that cannot be told from its port.
    NoBrackets(String),
    /// What is no port.
    Port(String),
    /// No port, where none is usual.
    NoPort(String),
    /// No path.
    NoPath(Driver),
    /// A path that this driver does not have.
    Path {
        /// The driver.
        driver: Driver,
        /// What was written.
        path: String,
    },
    /// A parameter without a value.
    NoValue(String),
    /// A parameter that this transport does not have.
    Parameter {
        /// The transport.
        transport: Transport,
        /// What was written.
        name: String,
    },
    /// A parameter written twice.
    Twice(String),
    /// A path that depends on where the program runs.
    NotAbsolute {
        /// The parameter.
        name: &'static str,
        /// What was written.
        path: String,
    },
    /// A file's name with what the ssh program would take for a variable, and nobody else.
    Variable(&'static str),
    /// A parameter with a word that it does not have.
    Choice {
        /// The parameter.
        name: &'static str,
        /// What was written.
        value: String,
    },
    /// A percent sign without two hexadecimal digits.
    Percent(&'static str),
    /// A byte that no path can hold.
    Nul(&'static str),
    /// A part behind `#`.
    Fragment,
}

impl UriError {
    /// What the person could do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Empty | Self::NoScheme | Self::NoSlashes | Self::Driver(_) => {
                "use qemu:///system, qemu:///session or test:///default; for another socket \
                 qemu+unix:///system?socket=PATH; for another machine qemu+ssh://USER@HOST/system or \
                 qemu+tls://HOST/system"
                    .to_owned()
            }
            Self::Character(_) => "write it as %XX, the hexadecimal of its UTF-8 bytes".to_owned(),
            Self::Host(host) => format!(
                "a unix socket is on this machine; for another one: qemu+ssh://{host}/system or qemu+tls://{host}/system"
            ),
            Self::Transport(_) => "there are unix, ssh, tls and tcp; left out it is unix".to_owned(),
            Self::NoHost(Transport::Tcp) => "write it behind //, as in qemu+tcp://10.0.0.7:16516/system".to_owned(),
            Self::NoHost(Transport::Ssh) => {
                "write it behind //, as in qemu+ssh://root@vm1.example.org/system".to_owned()
            }
            Self::NoHost(_) => "write it behind //, as in qemu+tls://vm1.example.org/system".to_owned(),
            Self::User { transport: Transport::Tls, .. } => {
                "leave it out: the client's certificate says who it is".to_owned()
            }
            Self::User { .. } => "leave it out: plain tcp knows no users".to_owned(),
            Self::UserName(_) => {
                "a name of up to 255 bytes without quotes, brackets and $ ; & < > |; @ in it is %40".to_owned()
            }
            Self::Password => "leave it out, for everybody can see it there: ssh asks for it, or use a key".to_owned(),
            Self::SshHost(_) => "a name of the DNS, an address, or what stands behind Host in ~/.ssh/config".to_owned(),
            Self::HostName(_) => {
                "a name of the DNS or an address, as in vm1.example.org, 10.0.0.7 or [fd00::7]".to_owned()
            }
            Self::NoBrackets(address) => format!("write it in brackets: [{address}]"),
            Self::Port(_) => "a port is a number from 1 to 65535".to_owned(),
            Self::NoPort(host) => format!("plain tcp has no usual port; write it behind a colon: {host}:PORT"),
            Self::NoPath(driver) | Self::Path { driver, .. } => match driver {
                Driver::Qemu => {
                    "end it in /system or /session, as in qemu:///system or qemu+ssh://USER@HOST/system".to_owned()
                }
                Driver::Test => "use test:///default".to_owned(),
            },
            Self::NoValue(name) => format!("write {name}=VALUE"),
            Self::Parameter { transport: Transport::Unix, .. } => "the one parameter of unix: socket=PATH".to_owned(),
            Self::Parameter { transport: Transport::Tls, .. } => {
                "the one parameter of tls: pkipath=DIR, where ca.crt, client.crt and client.key are".to_owned()
            }
            Self::Parameter { transport: Transport::Tcp, .. } => "tcp has no parameters".to_owned(),
            Self::Parameter { transport: Transport::Ssh, .. } => {
                "the parameters of ssh: socket=PATH on the far side, keyfile=PATH, known_hosts=PATH, \
                 transport=auto|ssh2|ssh"
                    .to_owned()
            }
            Self::Choice { .. } => "there are auto, ssh2 and ssh; left out it is auto".to_owned(),
            Self::Twice(_) => "write it once".to_owned(),
            Self::NotAbsolute { .. } => "write the whole path, beginning with a slash".to_owned(),
            Self::Variable(_) => {
                "the ssh program would put a variable of the environment there; write the path itself".to_owned()
            }
            Self::Percent(_) => "write a percent sign itself as %25".to_owned(),
            Self::Nul(_) => "leave it out: no path can hold it".to_owned(),
            Self::Fragment => "write the sign itself as %23".to_owned(),
        }
    }
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the connection URI is empty"),
            Self::Character(bad) => write!(f, "the connection URI holds the character {bad:?}"),
            Self::NoScheme => f.write_str("the connection URI has no scheme"),
            Self::NoSlashes => f.write_str("the connection URI has no // behind its scheme"),
            Self::Driver(driver) => write!(f, "there is no driver {driver:?}"),
            Self::Transport(transport) => write!(f, "there is no transport {transport:?}"),
            Self::Host(host) => {
                write!(f, "the connection URI names the host {host:?}, and its transport is unix")
            }
            Self::NoHost(transport) => {
                write!(f, "the connection URI names no host, and its transport is {}", transport.word())
            }
            Self::User { authority, .. } => write!(f, "the connection URI names a user: {authority:?}"),
            Self::UserName(user) => write!(f, "{user:?} is no name of a user"),
            Self::Password => f.write_str("the connection URI holds a password"),
            Self::SshHost(host) => write!(f, "{host:?} is no host that ssh could know"),
            Self::HostName(host) => write!(f, "{host:?} is neither the name of a host nor an address"),
            Self::NoBrackets(address) => write!(f, "it cannot be told where the address {address:?} ends"),
            Self::Port(port) => write!(f, "there is no port {port:?}"),
            Self::NoPort(host) => write!(f, "the connection URI names no port of {host:?}"),
            Self::NoPath(_) => f.write_str("the connection URI has no path, so it does not say whose daemon"),
            Self::Path { driver: Driver::Qemu, path } => write!(f, "qemu has no daemon {path:?}"),
            Self::Path { driver: Driver::Test, path } => write!(f, "the test driver has no daemon {path:?}"),
            Self::NoValue(name) => write!(f, "the parameter {name:?} has no value"),
            Self::Parameter { transport, name } => {
                write!(f, "the transport {} has no parameter {name:?}", transport.word())
            }
            Self::Choice { name, value } => write!(f, "the parameter {name} cannot be {value:?}"),
            Self::Twice(name) => write!(f, "the parameter {name} is there twice"),
            Self::NotAbsolute { name, path } => write!(f, "the {name} {path:?} is no absolute path"),
            Self::Variable(name) => write!(f, "the {name} has a ${{ in its path"),
            Self::Percent(part) => write!(f, "a % in the {part} is not followed by two hexadecimal digits"),
            Self::Nul(part) => write!(f, "the {part} holds a NUL byte"),
            Self::Fragment => f.write_str("the connection URI has a part behind #"),
        }
    }
}

impl Error for UriError {}
