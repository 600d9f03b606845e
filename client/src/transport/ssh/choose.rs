//! Whether a connection is made by ssh2 or by the ssh program. Pure.
//!
//! ssh2 is quicker and asks by ourselves, but it knows less than the program. Where what the user has set cannot be had
//! with it, leaving it out would be worse than slow: a host reached without its jump host is another host.

use std::fmt;
use std::path::PathBuf;

use super::facts::Facts;
use super::settings::Settings;
use crate::uri::SshBy;

/// By what a connection is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// In this process.
    Ssh2,
    /// By the program.
    Program(Reason),
}

/// Why the ssh program is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The URI says so.
    Asked,
    /// This program was built without ssh2.
    NotBuilt,
    /// Other hosts lie on the way.
    ProxyJump(String),
    /// A command makes the connection.
    ProxyCommand,
    /// A command says which keys hosts have.
    KnownHostsCommand,
    /// The host vouches for its users.
    HostBased,
    /// A certificate goes with a key.
    Certificate(PathBuf),
    /// A key is in a token that a library reaches.
    Pkcs11(String),
    /// A key needs somebody to touch it.
    SecurityKey(PathBuf),
    /// The agent has a key in a token, or a certificate, of this kind.
    AgentKey(String),
    /// There is a ticket of Kerberos, and the host is to be shown it.
    Gssapi,
    /// The known hosts say more of this one than its key.
    Marker {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A setting that only ssh itself can read.
    Setting(String),
}

impl Reason {
    /// Whether the connection would go elsewhere, or another host be believed, without it.
    fn decides_where(&self) -> bool {
        match self {
            Self::ProxyJump(_) | Self::ProxyCommand | Self::KnownHostsCommand => true,
            Self::Asked
            | Self::NotBuilt
            | Self::HostBased
            | Self::Certificate(_)
            | Self::Pkcs11(_)
            | Self::SecurityKey(_)
            | Self::AgentKey(_)
            | Self::Gssapi
            | Self::Marker { .. }
            | Self::Setting(_) => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("the URI says transport=ssh"),
            Self::NotBuilt => f.write_str("this vmwire was built without ssh2"),
            Self::ProxyJump(hosts) => write!(f, "its settings have ProxyJump {hosts}"),
            Self::ProxyCommand => f.write_str("its settings have a ProxyCommand"),
            Self::KnownHostsCommand => f.write_str("its settings have a KnownHostsCommand"),
            Self::HostBased => f.write_str("its settings have HostbasedAuthentication"),
            Self::Certificate(file) => write!(f, "{} is a certificate", file.display()),
            Self::Pkcs11(provider) => write!(f, "its settings have PKCS11Provider {provider}"),
            Self::SecurityKey(file) => write!(f, "{} is a key that has to be touched", file.display()),
            Self::AgentKey(kind) => write!(f, "the agent has a key of the kind {kind}"),
            Self::Gssapi => f.write_str("its settings have GSSAPIAuthentication, and there is a ticket"),
            Self::Marker { file, line } => write!(f, "line {line} of {} has a marker", file.display()),
            Self::Setting(setting) => write!(f, "only ssh can read its setting {setting}"),
        }
    }
}

/// Chooses, or says what ssh2 was asked for and cannot do.
pub(super) fn choose(by: SshBy, settings: &Settings, facts: &Facts) -> Result<Choice, Reason> {
    match (by, reason(settings, facts)) {
        (SshBy::Program, reason) => Ok(Choice::Program(reason.unwrap_or(Reason::Asked))),
        (SshBy::Auto, Some(reason)) => Ok(Choice::Program(reason)),
        (SshBy::Ssh2, Some(reason)) if reason.decides_where() => Err(reason),
        (SshBy::Ssh2, _) | (SshBy::Auto, None) => Ok(Choice::Ssh2),
    }
}

fn reason(settings: &Settings, facts: &Facts) -> Option<Reason> {
    let value = |key: &str| settings.value(key).map(str::to_owned);
    // What decides where the connection goes comes first: it is what ssh2 may not be asked for.
    let where_to = value("proxyjump")
        .map(Reason::ProxyJump)
        .or_else(|| value("proxycommand").map(|_| Reason::ProxyCommand))
        .or_else(|| value("knownhostscommand").map(|_| Reason::KnownHostsCommand));
    let who = || {
        value("pkcs11provider")
            .map(Reason::Pkcs11)
            .or_else(|| facts.certificate.clone().map(Reason::Certificate))
            .or_else(|| facts.security_key.clone().map(Reason::SecurityKey))
            .or_else(|| facts.agent_key.clone().map(Reason::AgentKey))
            .or_else(|| settings.is_on("hostbasedauthentication").then_some(Reason::HostBased))
            .or_else(|| (settings.is_on("gssapiauthentication") && facts.ticket).then_some(Reason::Gssapi))
    };
    let whom = || {
        let marker = facts.marker.clone().map(|(file, line)| Reason::Marker { file, line });
        marker.or_else(|| settings.beyond_us().map(Reason::Setting))
    };
    where_to.or_else(who).or_else(whom)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::uri::Uri;

    fn settings(text: &str) -> Settings {
        let uri: Uri = "qemu+ssh://me@vm1/system".parse().unwrap();
        let usual = "user me\nhostname vm1.example.org\nport 22\ngssapiauthentication yes\n";
        Settings::from_text(uri.ssh().unwrap(), Path::new("/home/me"), &format!("{usual}{text}"))
    }

    #[test]
    fn ssh2_is_taken_unless_something_asks_for_the_program() {
        let chosen = choose(SshBy::Auto, &settings("identityfile ~/.ssh/id_rsa\n"), &Facts::default());
        assert_eq!(chosen, Ok(Choice::Ssh2), "GSSAPI without a ticket is no reason");
    }

    #[test]
    fn whatever_only_the_program_can_do_is_a_reason_of_its_own() {
        let none = Facts::default;
        let file = || PathBuf::from("/k");
        let table = [
            ("proxyjump a,b", none(), Reason::ProxyJump("a,b".into())),
            ("proxycommand nc %h", none(), Reason::ProxyCommand),
            ("knownhostscommand /x", none(), Reason::KnownHostsCommand),
            ("pkcs11provider /x.so", none(), Reason::Pkcs11("/x.so".into())),
            ("hostbasedauthentication yes", none(), Reason::HostBased),
            ("", Facts { certificate: Some(file()), ..none() }, Reason::Certificate(file())),
            ("", Facts { security_key: Some(file()), ..none() }, Reason::SecurityKey(file())),
            ("", Facts { agent_key: Some("sk-x".into()), ..none() }, Reason::AgentKey("sk-x".into())),
            ("", Facts { ticket: true, ..none() }, Reason::Gssapi),
            ("", Facts { marker: Some((file(), 3)), ..none() }, Reason::Marker { file: file(), line: 3 }),
            ("identityfile %C", none(), Reason::Setting("identityfile %C: the token %C".into())),
        ];
        for (text, facts, reason) in table {
            let settings = settings(text);
            assert_eq!(choose(SshBy::Auto, &settings, &facts), Ok(Choice::Program(reason.clone())), "{reason}");
            let asked = choose(SshBy::Ssh2, &settings, &facts);
            let expected = if reason.decides_where() { Err(reason) } else { Ok(Choice::Ssh2) };
            assert_eq!(asked, expected);
        }
    }

    #[test]
    fn none_is_no_value() {
        let text = "proxyjump none\nproxycommand none\npkcs11provider none\nknownhostscommand none\n";
        assert_eq!(choose(SshBy::Auto, &settings(text), &Facts::default()), Ok(Choice::Ssh2));
    }

    #[test]
    fn the_program_is_taken_where_the_uri_says_so() {
        let chosen = choose(SshBy::Program, &settings(""), &Facts::default());
        assert_eq!(chosen, Ok(Choice::Program(Reason::Asked)));
    }
}
