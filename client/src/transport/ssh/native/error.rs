//! Why there is no daemon by SSH in this process, and what a person can do about it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::error::quoted;
use super::super::let_in::{GSSAPI, let_somebody, or_a_ticket};
use crate::uri::SshTarget;

/// Where in a conversation something went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the host said which SSH it speaks.
    Banner,
    /// While keys were agreed on.
    Keys,
    /// While we proved who we are.
    Proof,
    /// While the way to the daemon was opened.
    Channel,
    /// Since then.
    Open,
}

impl Stage {
    fn words(self) -> &'static str {
        match self {
            Self::Banner => "before it said which SSH it speaks",
            Self::Keys => "while keys were agreed on",
            Self::Proof => "while this user was being let in",
            Self::Channel => "while the way to the daemon was opened",
            Self::Open => "instead of the daemon",
        }
    }
}

/// Why an unknown host is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// The settings forbid it.
    Strict,
    /// There is nobody to be asked.
    NobodyToAsk,
    /// A person said that another one is meant.
    NotMeant,
}

/// What the two ends do not have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What it is for.
    pub what: &'static str,
    /// What we take.
    pub ours: String,
    /// What the host offers.
    pub theirs: String,
}

/// Something that kept a proof from being tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it is.
    pub words: String,
    /// What a person could do about it.
    pub hint: Option<String>,
}

/// A user that the host does not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The user.
    pub user: String,
    /// What was shown.
    pub tried: Vec<String>,
    /// What the host takes.
    pub takes: Vec<String>,
    /// What could not be shown, and why.
    pub notes: Vec<Note>,
    /// There was nobody to ask for a password.
    pub nobody_to_ask: bool,
}

/// What ended a connection by SSH.
#[derive(Debug, Clone)]
pub enum NativeError {
    /// The host closed the connection.
    Closed(Stage),
    /// The host did not go on in time.
    Silent(Stage),
    /// The host talked, and did not come to the point in time.
    Endless(Stage),
    /// The host said more than can be of use.
    TooMuch(Stage),
    /// The host does not speak as it should.
    Broken {
        /// When.
        stage: Stage,
        /// In libssh2's words.
        words: String,
    },
    /// There is no algorithm that both take.
    NothingInCommon(Missing),
    /// A file of known hosts is longer than any.
    KnownHostsTooLong {
        /// The file.
        file: PathBuf,
        /// How long it may be.
        bytes_max: u64,
    },
    /// Nothing is known of the host.
    HostUnknown {
        /// Its name, as it would be stored.
        name: String,
        /// The kind of its key.
        key: String,
        /// The key's fingerprint.
        fingerprint: String,
        /// Where it would be stored.
        file: PathBuf,
        /// What ssh-keyscan has to be given.
        scan: String,
        /// Why it is not trusted.
        why: Unmet,
    },
    /// The host shows another key than the one that is stored.
    HostChanged {
        /// Its name, as it is stored.
        name: String,
        /// The kind of the key.
        key: String,
        /// The fingerprint of what it shows.
        shown: String,
        /// The fingerprint of what is stored.
        stored: String,
        /// Where it is stored.
        file: PathBuf,
        /// In which line, from 1.
        line: usize,
    },
    /// The host shows a key that must not be trusted.
    HostRevoked {
        /// Its name, as it is stored.
        name: String,
        /// The fingerprint of what it shows.
        shown: String,
        /// Where that is stored.
        file: PathBuf,
        /// In which line, from 1.
        line: usize,
    },
    /// The host would have to show a certificate, which libssh2 cannot judge.
    HostAuthority {
        /// Its name, as it is stored.
        name: String,
        /// Where the authority is stored.
        file: PathBuf,
        /// In which line, from 1.
        line: usize,
    },
    /// The host does not let the user in.
    Denied(Denied),
    /// The host has had enough of what was shown.
    HungUp(Vec<String>),
    /// The agent was asked to sign, and has not answered.
    AgentHangs(PathBuf),
    /// The person could not be asked.
    Ask(Arc<io::Error>),
    /// The server neither connects to sockets nor runs programs for this user.
    NoCommands,
    /// The server does not get to any of the daemon's sockets, and keeps to itself why.
    Unreached {
        /// The sockets.
        sockets: Vec<PathBuf>,
        /// The user.
        user: String,
    },
    /// libssh2 or the system could not be used.
    Library(String),
}

impl NativeError {
    pub(super) fn ask(error: io::Error) -> Self {
        Self::Ask(Arc::new(error))
    }

    /// Whether the host knows who comes and does not allow it.
    pub(crate) fn denies_us(&self) -> bool {
        matches!(self, Self::Denied(_) | Self::HungUp(_))
    }

    /// Whether another attempt may fare better without anybody's doing.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Silent(_) | Self::Endless(_) | Self::Unreached { .. })
    }

    /// Whether a limit of time was what ended it.
    pub(crate) fn is_late(&self) -> bool {
        matches!(self, Self::Silent(_) | Self::Endless(_) | Self::AgentHangs(_))
    }

    /// What happened, with a host.
    pub(crate) fn words(&self, place: &SshTarget) -> String {
        match self {
            Self::Closed(stage) => format!("{place} closed the connection {}", stage.words()),
            Self::Silent(stage) => format!("{place} has been silent for too long {}", stage.words()),
            Self::Endless(stage) => format!("{place} talked on for too long {}", stage.words()),
            Self::TooMuch(stage) => format!("{place} talked of too much else {}", stage.words()),
            Self::Broken { stage: Stage::Banner, .. } => format!("whoever listens at {place} does not speak SSH"),
            Self::Broken { stage, .. } => format!("no SSH with {place}: it failed {}", stage.words()),
            Self::NothingInCommon(missing) => {
                format!("{place} offers nothing for the {} that is taken here", missing.what)
            }
            Self::KnownHostsTooLong { file, bytes_max } => {
                format!("{} has more than {bytes_max} bytes", file.display())
            }
            Self::HostUnknown { name, key, fingerprint, why, .. } => {
                let why = match why {
                    Unmet::Strict => "StrictHostKeyChecking forbids it",
                    Unmet::NobodyToAsk => "there is no terminal to ask at",
                    Unmet::NotMeant => "it is not the one that is meant",
                };
                format!("{name} is not known, and {why}: its {key} key is {fingerprint}")
            }
            Self::HostChanged { name, key, shown, stored, file, line } => format!(
                "{name} shows another {key} key than the one that is stored: {shown} and not {stored}, which line \
                 {line} of {} has",
                file.display()
            ),
            Self::HostRevoked { name, shown, file, line } => {
                format!("{name} shows a key that was revoked: {shown}, by line {line} of {}", file.display())
            }
            Self::HostAuthority { name, file, line } => format!(
                "{name} has to show a certificate, because of line {line} of {}, and ssh2 cannot judge one",
                file.display()
            ),
            Self::Denied(denied) => denied.words(place),
            Self::HungUp(tried) => format!("{place} hung up after {}", tried.join(", ")),
            Self::AgentHangs(path) => format!("the agent at {} has not signed in time", path.display()),
            Self::Ask(_) => "the terminal cannot be asked".to_owned(),
            Self::NoCommands => format!("{place} neither connects to sockets nor runs programs for this user"),
            Self::Unreached { sockets, user } => {
                let sockets: Vec<String> = sockets.iter().map(|socket| socket.display().to_string()).collect();
                let sockets = sockets.join(" and ");
                format!("{user} does not get to {sockets} on {}, and there is no vmwire to say why", place.host())
            }
            Self::Library(words) => format!("no SSH with {place}: {words}"),
        }
    }

    /// Why, line by line.
    pub(crate) fn causes(&self) -> Vec<String> {
        match self {
            Self::Broken { words, .. } => vec![words.clone()],
            Self::NothingInCommon(Missing { ours, theirs, .. }) => {
                vec![format!("it offers {theirs}"), format!("taken are {ours}")]
            }
            Self::Denied(denied) => denied.notes.iter().map(|note| note.words.clone()).collect(),
            Self::Ask(error) => vec![error.to_string()],
            _ => Vec::new(),
        }
    }

    /// What the person could do about it. `ssh` is what is typed behind ssh for the same host.
    pub(crate) fn hint(&self, place: &SshTarget, ssh: &str) -> String {
        match self {
            Self::Closed(Stage::Banner) => {
                "does sshd let this machine in? It also hangs up on who comes too often".to_owned()
            }
            Self::Closed(_) | Self::Silent(_) | Self::Endless(_) | Self::TooMuch(_) => {
                format!("what it says of it: ssh -v {ssh} true")
            }
            Self::Broken { stage: Stage::Banner, .. } => {
                "is it the port of an sshd? Another one: qemu+ssh://HOST:PORT/system".to_owned()
            }
            Self::Broken { .. } | Self::Library(_) => {
                "add transport=ssh to the URI, and the ssh program is taken".to_owned()
            }
            Self::NothingInCommon(Missing { what: "host key", .. }) => format!(
                "if the host has new keys, ask its admin for their fingerprints, then: {}",
                forget(place.host(), place.port().unwrap_or(22))
            ),
            Self::NothingInCommon(_) => {
                format!("the ssh server of {} is old; update it rather than allow here what it offers", place.host())
            }
            Self::KnownHostsTooLong { .. } => "name another file: ?known_hosts=PATH behind the URI".to_owned(),
            Self::HostUnknown { why: Unmet::NotMeant, .. } => String::new(),
            Self::HostUnknown { file, scan, why, .. } => {
                let first = match why {
                    Unmet::NobodyToAsk => {
                        "try it once at a terminal, which asks; or, if that is the host's fingerprint"
                    }
                    Unmet::Strict | Unmet::NotMeant => "if that is the host's fingerprint, remember its key",
                };
                format!("{first}: ssh-keyscan {scan} >>{}", file.display())
            }
            Self::HostChanged { name, file, .. } => format!(
                "somebody may be in between: ask the host's admin for the fingerprint of its key; if it is new: \
                 ssh-keygen -R '{name}' -f {}",
                file.display()
            ),
            Self::HostRevoked { .. } => "do not trust this host before its admin has said why".to_owned(),
            Self::HostAuthority { .. } => {
                "write transport=ssh in the URI, or nothing, and the ssh program judges it".to_owned()
            }
            Self::Denied(denied) => denied.hint(place, ssh),
            Self::HungUp(_) => "name the one key to come with: ?keyfile=PATH behind the URI".to_owned(),
            Self::AgentHangs(_) => {
                "does it wait for somebody to confirm? Without it: SSH_AUTH_SOCK= vmwire …".to_owned()
            }
            Self::Ask(_) => String::new(),
            Self::NoCommands => format!(
                "see AllowStreamLocalForwarding and ForceCommand in sshd_config on {}, and what is before the key in \
                 authorized_keys",
                place.host()
            ),
            Self::Unreached { user, .. } => {
                let may = match user.as_str() {
                    "root" => String::new(),
                    user => format!(
                        ", may {user} use it (groupadd -f vmwire && usermod -aG vmwire {} && systemctl restart vmwired)",
                        quoted(user)
                    ),
                };
                format!(
                    "on {} (ssh {ssh}): is vmwired installed, does it run (systemctl enable --now vmwired){may}, and does sshd \
                     allow it (AllowStreamLocalForwarding)? With vmwire installed there, it says which",
                    place.host()
                )
            }
        }
    }
}

impl Denied {
    fn words(&self, place: &SshTarget) -> String {
        let tried = match self.tried.as_slice() {
            [] => "nothing could be tried".to_owned(),
            tried => format!("tried {}", tried.join(", ")),
        };
        let takes = match self.takes.as_slice() {
            [] => "nothing".to_owned(),
            takes => takes.join(", "),
        };
        let alone = if self.nobody_to_ask && self.takes_what_is_typed() {
            ", and there is no terminal to ask for a password at"
        } else {
            ""
        };
        format!("{} does not let {} in: {tried}; the server takes {takes}{alone}", place.host(), self.user)
    }

    fn hint(&self, place: &SshTarget, ssh: &str) -> String {
        if let Some(hint) = self.notes.iter().find_map(|note| note.hint.clone()) {
            return hint;
        }
        let host = place.host();
        let make = if self.tried.is_empty() { "make a key with ssh-keygen, and then " } else { "" };
        let first = if self.takes_what_is_typed() {
            format!("{make}put your key there: ssh-copy-id {ssh}")
        } else {
            let file = self.tried.iter().find(|tried| tried.starts_with('/')).map(|key| format!(" ({key}.pub)"));
            let key = format!("your public key{}", file.unwrap_or_default());
            format!("{make}{}", let_somebody(&key, Some(&self.user), host))
        };
        let ticket = if self.takes.iter().any(|takes| takes == GSSAPI) { or_a_ticket(place) } else { "" };
        format!(
            "{first}{ticket}; for another key write ?keyfile=PATH behind the URI, for another user \
             qemu+ssh://USER@{host}/system"
        )
    }

    /// Whether somebody at a terminal could have typed what would let them in.
    fn takes_what_is_typed(&self) -> bool {
        self.takes.iter().any(|takes| takes == "password" || takes == "keyboard-interactive")
    }
}

fn forget(host: &str, port: u16) -> String {
    if port == 22 { format!("ssh-keygen -R {host}") } else { format!("ssh-keygen -R '[{host}]:{port}'") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uri::Uri;

    #[test]
    fn a_user_is_one_word_of_what_is_to_be_typed() {
        let uri: Uri = "qemu+ssh://vm1/system".parse().unwrap();
        let hint = |user: &str| {
            let error = NativeError::Unreached { sockets: Vec::new(), user: user.to_owned() };
            error.hint(uri.ssh().unwrap(), "vm1")
        };
        assert!(hint("me").contains("usermod -aG vmwire me && "), "{}", hint("me"));
        assert!(hint("my self").contains("usermod -aG vmwire 'my self' && "), "{}", hint("my self"));
        assert!(!hint("root").contains("usermod"), "{}", hint("root"));
    }
}
