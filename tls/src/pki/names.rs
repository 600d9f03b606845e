//! Names that an authority of ours writes into certificates. They are checked here once; what comes out needs no more.
//!
//! Rights are given to names, and files are called by them, so both are narrow: a name that is not plain is refused,
//! not mended.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rustls::pki_types::DnsName;

use super::PkiError;

/// The longest name of a client.
pub const CLIENT_NAME_BYTES_MAX: usize = 64;

/// The longest name of an authority, in characters: ub-common-name of RFC 5280 appendix A.
pub const AUTHORITY_NAME_CHARACTERS_MAX: usize = 64;

/// How many names one server may have.
const HOSTS_MAX: usize = 64;

/// The longest name in the DNS.
const HOST_BYTES_MAX: usize = 253;

/// The name of a client: 1 to 64 of letters, digits and `. _ - @`, the first a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientName(String);

/// A name of a server: of the DNS, perhaps with `*.` in front, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostName {
    /// In lower case, without a dot at its end.
    Dns(String),
    /// Of either kind.
    Ip(IpAddr),
}

/// What one server is called: at least one name, none twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNames(Vec<HostName>);

impl ClientName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientName {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !begins || text.len() > CLIENT_NAME_BYTES_MAX || !text.bytes().all(plain) {
            return Err(PkiError::ClientName(shown(text)));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for HostName {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Ip(address));
        }
        if !text.is_ascii() && !text.chars().any(char::is_control) {
            return Err(PkiError::HostNameNotAscii(shown(text)));
        }
        let (plain, wildcard) = text.strip_prefix("*.").map_or((text, false), |rest| (rest, true));
        let refused = || Err(PkiError::HostName(shown(text)));
        if text.len() > HOST_BYTES_MAX || plain.ends_with('.') || DnsName::try_from(plain).is_err() {
            return refused();
        }
        // `*.example` would stand for a whole domain of the first level; no client takes it.
        if wildcard && !plain.contains('.') {
            return refused();
        }
        Ok(Self::Dns(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => write!(f, "{address}"),
        }
    }
}

impl HostNames {
    /// The names of one server, the one that it is known by first.
    ///
    /// # Errors
    /// When there is none, or more than a certificate may have.
    pub fn new(names: impl IntoIterator<Item = HostName>) -> Result<Self, PkiError> {
        let mut all = Vec::new();
        for name in names {
            if !all.contains(&name) {
                all.push(name);
            }
        }
        match all.len() {
            0 => Err(PkiError::NoHostName),
            1..=HOSTS_MAX => Ok(Self(all)),
            count => Err(PkiError::TooManyHostNames { count, limit: HOSTS_MAX }),
        }
    }

    /// All of them.
    pub fn all(&self) -> &[HostName] {
        &self.0
    }

    /// What the certificate's subject is called: the first that is short enough for a common name, if any.
    pub(super) fn common_name(&self) -> Option<String> {
        self.0.iter().map(ToString::to_string).find(|name| name.len() <= AUTHORITY_NAME_CHARACTERS_MAX)
    }
}

/// Checks the name of an authority that is to be made.
pub(super) fn check_authority_name(text: &str) -> Result<(), PkiError> {
    let length = text.chars().count();
    if text.trim() != text
        || !(1..=AUTHORITY_NAME_CHARACTERS_MAX).contains(&length)
        || text.chars().any(crate::identity::is_hidden)
    {
        return Err(PkiError::AuthorityName(shown(text)));
    }
    Ok(())
}

/// At most as much of a refused name as is worth showing.
fn shown(text: &str) -> String {
    const BYTES_MAX: usize = 80;
    if text.len() <= BYTES_MAX {
        return text.to_owned();
    }
    format!("{}… ({} bytes)", &text[..text.floor_char_boundary(BYTES_MAX)], text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_plain_names() {
        for name in ["a", "alice", "alice@example.org", "build-7.ci_2", &"x".repeat(64)] {
            assert_eq!(name.parse::<ClientName>().map(|name| name.0), Ok(name.to_owned()));
        }
        let long = "x".repeat(65);
        for name in ["", ".", "-a", "../ca", "a/b", "a b", "a\0", "a,O=x", "älice", "a\u{202e}b", &long] {
            assert_eq!(name.parse::<ClientName>(), Err(PkiError::ClientName(name.to_owned())), "{name}");
        }
    }

    #[test]
    fn servers_are_called_by_names_and_addresses() {
        let rows = [
            ("vm1", "vm1"),
            ("VM1.Example.org", "vm1.example.org"),
            ("*.example.org", "*.example.org"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("10.0.2.2", "10.0.2.2"),
            ("::1", "::1"),
            ("[fd00::0:7]", "fd00::7"),
        ];
        for (text, name) in rows {
            assert_eq!(text.parse::<HostName>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn other_names_of_servers_are_refused() {
        let label = format!("{}.example", "x".repeat(64));
        let rows = [
            "",
            ".",
            "*",
            "*.",
            "*.org",
            "a.*.org",
            "*a.example.org",
            "vm1.",
            "a..b",
            "a b",
            "a\0b",
            "a/b",
            "-a",
            "1.2.3",
            "10.0.0.256",
            "fe80::1%eth0",
            "vm1:16515",
            "b\u{fc}\0",
            &label,
        ];
        for text in rows {
            assert_eq!(text.parse::<HostName>(), Err(PkiError::HostName(text.to_owned())), "{text:?}");
        }
        assert_eq!("bücher.example".parse::<HostName>(), Err(PkiError::HostNameNotAscii("bücher.example".into())));
    }

    #[test]
    fn a_name_of_64_kib_is_refused_in_few_words() {
        let long = "x".repeat(65_536);
        for text in [
            long.parse::<ClientName>().unwrap_err().to_string(),
            long.parse::<HostName>().unwrap_err().to_string(),
            "é".repeat(32_768).parse::<HostName>().unwrap_err().to_string(),
            check_authority_name(&long).unwrap_err().to_string(),
        ] {
            assert!(text.len() < 200 && text.contains("(65536 bytes)"), "{text}");
        }
    }

    #[test]
    fn a_server_has_some_names_and_each_once() {
        let name = |text: &str| text.parse::<HostName>().unwrap();
        let names = HostNames::new(["VM1", "::1", "vm1"].map(name)).unwrap();
        assert_eq!(names.all(), ["vm1", "::1"].map(name));
        assert_eq!(HostNames::new([]), Err(PkiError::NoHostName));
        let many = (0..65).map(|index| name(&format!("vm{index}")));
        assert_eq!(HostNames::new(many), Err(PkiError::TooManyHostNames { count: 65, limit: 64 }));
    }

    #[test]
    fn an_authority_is_called_anything_that_can_be_read() {
        for name in ["x", "Büro 7, Amt", &"é".repeat(64)] {
            assert_eq!(check_authority_name(name), Ok(()));
        }
        for name in ["", " ", " x", "a\nb", "a\0", "a\u{202e}b", &"é".repeat(65)] {
            assert!(check_authority_name(name).is_err(), "{name:?}");
        }
    }
}
