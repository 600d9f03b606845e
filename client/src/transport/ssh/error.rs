//! Why there is no daemon by ssh, or none any more: what the ssh program said, sorted by what a person can do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "ssh2")]
use super::native::NativeError;
use super::{ChangedKey, Reason, let_in};
use crate::uri::SshTarget;

/// Why there is no connection by ssh.
#[derive(Debug, Clone)]
pub enum SshError {
    /// There is no ssh program, and it is needed.
    NoProgram {
        /// Where to.
        place: SshTarget,
        /// What for.
        reason: Reason,
    },
    /// The ssh program could not be run.
    Spawn(Arc<io::Error>),
    /// ssh does not understand what the user has set.
    Settings {
        /// Where to.
        place: SshTarget,
        /// What it said.
        said: Vec<String>,
    },
    /// ssh has not said what the user has set.
    SettingsLate {
        /// Where to.
        place: SshTarget,
    },
    /// ssh2 was asked for, and what the user has set cannot be had with it.
    NotBySsh2 {
        /// Where to.
        place: SshTarget,
        /// What it is.
        reason: Reason,
    },
    /// Something else than a daemon's packet came first.
    Noise {
        /// Where from.
        place: SshTarget,
        /// How it begins.
        text: String,
    },
    /// Nothing came in time.
    Late {
        /// Where from.
        place: SshTarget,
        /// For how long it was waited.
        time: Duration,
        /// What ssh said meanwhile.
        said: Vec<String>,
    },
    /// The ssh program, or what it ran on the far side, ended.
    Ended(Ended),
    /// SSH in this process came to nothing.
    #[cfg(feature = "ssh2")]
    Native {
        /// Where to.
        place: SshTarget,
        /// Why.
        error: Box<NativeError>,
        /// The same, line by line.
        causes: Vec<String>,
    },
}

/// The end of the ssh program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Where it went.
    pub place: SshTarget,
    /// What it ended for.
    pub verdict: Verdict,
    /// Its last lines, and why it was chosen.
    pub said: Vec<String>,
    /// Why it was chosen.
    pub reason: Option<Reason>,
    /// The user's own key, in a file, that goes there.
    pub key: Option<PathBuf>,
}

/// What the ssh program ended for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The host does not take any key or password of this user's.
    Denied,
    /// The host offers none of the keys that it is known by; both keys, where they could be read.
    HostKeyChanged(Option<Box<ChangedKey>>),
    /// The host's key was revoked.
    HostKeyRevoked,
    /// Nobody has said yet that the host's key is the right one.
    HostKeyUnknown,
    /// The host is not known by its name.
    NoSuchHost,
    /// Nobody listens.
    Refused,
    /// Nobody answered.
    Silent,
    /// There is no way to the host.
    Unreachable,
    /// The two ends have no algorithm in common.
    NoAlgorithm,
    /// Too many keys were shown.
    TooManyKeys,
    /// The connection ended on the way.
    Cut,
    /// Something in the user's settings.
    Settings,
    /// The far side has no vmwire.
    NoVmwire,
    /// The far side may not run its vmwire.
    NotExecutable,
    /// The far side has one that does not know what was asked of it.
    TooOld,
    /// vmwire on the far side has said why.
    Told(Box<Told>),
    /// Something else ran on the far side, and had nothing to say.
    Nothing,
    /// The session that there was ended.
    Lost,
    /// ssh or the far side ended otherwise.
    Other {
        /// How.
        status: String,
    },
}

/// What vmwire on the far side says of its failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What happened.
    pub message: String,
    /// Why.
    pub causes: Vec<String>,
    /// What a person on that side could do.
    pub hint: String,
    /// Its exit code.
    pub exit: u8,
}

impl SshError {
    /// Why SSH in this process came to nothing.
    #[cfg(feature = "ssh2")]
    pub(super) fn native(place: &SshTarget, error: NativeError) -> Self {
        Self::Native { place: place.clone(), causes: error.causes(), error: Box::new(error) }
    }

    /// Whether somebody there knows who comes and does not allow it.
    #[must_use]
    pub fn denies_us(&self) -> bool {
        match self {
            Self::Ended(Ended { verdict: Verdict::Denied | Verdict::TooManyKeys, .. }) => true,
            Self::Ended(Ended { verdict: Verdict::Told(told), .. }) => told.exit == 4,
            #[cfg(feature = "ssh2")]
            Self::Native { error, .. } => error.denies_us(),
            _ => false,
        }
    }

    /// Whether another attempt may fare better without anybody's doing.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Late { .. } | Self::SettingsLate { .. } => true,
            #[cfg(feature = "ssh2")]
            Self::Native { error, .. } => error.may_pass(),
            Self::Ended(ended) => match &ended.verdict {
                Verdict::NoSuchHost
                | Verdict::Refused
                | Verdict::Silent
                | Verdict::Unreachable
                | Verdict::Cut
                | Verdict::Lost => true,
                Verdict::Told(told) => told.exit == 3,
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether a limit of time was what ended it.
    #[must_use]
    pub fn is_late(&self) -> bool {
        match self {
            Self::Late { .. } | Self::SettingsLate { .. } => true,
            #[cfg(feature = "ssh2")]
            Self::Native { error, .. } => error.is_late(),
            Self::Ended(ended) => ended.verdict == Verdict::Silent,
            _ => false,
        }
    }

    /// What was said about it elsewhere, line by line.
    #[must_use]
    pub fn said(&self) -> &[String] {
        match self {
            #[cfg(feature = "ssh2")]
            Self::Native { causes, .. } => causes,
            Self::Ended(Ended { verdict: Verdict::Told(told), .. }) => &told.causes,
            Self::Settings { said, .. } | Self::Late { said, .. } | Self::Ended(Ended { said, .. }) => said,
            Self::NoProgram { .. }
            | Self::Spawn(_)
            | Self::SettingsLate { .. }
            | Self::NotBySsh2 { .. }
            | Self::Noise { .. } => &[],
        }
    }

    /// What the person could do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoProgram { .. } => "install it: apt install openssh-client".to_owned(),
            Self::Spawn(_) => "does the command ssh work by itself?".to_owned(),
            Self::Settings { place, .. } => format!("does this work by itself: ssh {}", arguments(place)),
            Self::SettingsLate { place } => {
                format!("a Match exec in ~/.ssh/config may hang; see: ssh -v -G {}", arguments(place))
            }
            Self::NotBySsh2 { .. } => {
                "leave transport=ssh2 out, and the ssh program is taken where it is needed".into()
            }
            Self::Noise { place, .. } => format!(
                "a shell's start-up file over there prints something also where nobody looks; this has to print \
                 nothing: ssh {} true; or another command is forced there (ForceCommand, command= in authorized_keys)",
                arguments(place)
            ),
            Self::Late { place, .. } => format!("does this work by itself: ssh {} true", arguments(place)),
            Self::Ended(ended) => ended.hint(),
            #[cfg(feature = "ssh2")]
            Self::Native { place, error, .. } => error.hint(place, &arguments(place)),
        }
    }
}

impl Ended {
    fn hint(&self) -> String {
        let place = &self.place;
        let ssh = arguments(place);
        match &self.verdict {
            Verdict::Denied => let_in::hint(place, &self.said, self.reason.as_ref(), self.key.as_deref()),
            Verdict::HostKeyChanged(keys) => {
                let forget = match keys {
                    Some(keys) => format!("{} -f {}", quoted(&keys.name), quoted(&keys.file.to_string_lossy())),
                    None => known_as(place),
                };
                format!(
                    "somebody may be in between: ask the host's admin for the fingerprint of its key; if it is new: \
                     ssh-keygen -R {forget}"
                )
            }
            Verdict::HostKeyRevoked => "do not trust this host before its admin has said why".to_owned(),
            Verdict::HostKeyUnknown => format!("connect once on a terminal and look at its key: ssh {ssh} true"),
            Verdict::NoSuchHost => {
                format!("is the host called {}? An address will do as well, or a Host of ~/.ssh/config", place.host())
            }
            Verdict::Refused => {
                "does sshd run there, and on this port? Another one: qemu+ssh://HOST:PORT/system".into()
            }
            Verdict::Silent => format!("is {} up, and does a firewall on the way let ssh through?", place.host()),
            Verdict::Unreachable => format!("there is no way from here to {}: is the network up?", place.host()),
            Verdict::NoAlgorithm => {
                format!("the ssh server of {} is old; update it rather than allow here what it offers", place.host())
            }
            Verdict::TooManyKeys => "name the one to come with: ?keyfile=PATH behind the URI".to_owned(),
            Verdict::Cut => format!("try again; what the server says of it: ssh -v {ssh} true"),
            Verdict::Settings => format!("does this work by itself: ssh {ssh} true"),
            Verdict::NoVmwire => format!(
                "install vmwire on {} where ssh finds it, as in /usr/local/bin; or reach its socket without: \
                 ?transport=ssh2",
                place.host()
            ),
            Verdict::NotExecutable => format!("make it executable there; see: ssh {ssh} 'ls -l $(command -v vmwire)'"),
            Verdict::TooOld => format!("update vmwire on {}; it has: ssh {ssh} vmwire --version", place.host()),
            // It was said to somebody over there, who would call daemons as they are called there.
            Verdict::Told(told) if told.hint.is_empty() => String::new(),
            Verdict::Told(told) => {
                let hint = told.hint.replace("qemu:///", &format!("qemu+ssh://{}/", place.authority()));
                format!("on {} (ssh {ssh}): {hint}", place.host())
            }
            Verdict::Nothing => format!(
                "another command may be run for this user in place of vmwire: see ForceCommand in sshd_config and \
                 command= in authorized_keys on {}",
                place.host()
            ),
            Verdict::Lost => "what was asked and not answered may have been done all the same".to_owned(),
            Verdict::Other { .. } => format!("does this work by itself: ssh {ssh} vmwire version"),
        }
    }
}

impl fmt::Display for SshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProgram { reason, .. } => write!(f, "there is no ssh program, and it is needed: {reason}"),
            Self::Spawn(_) => f.write_str("the ssh program cannot be run"),
            Self::Settings { place, .. } => write!(f, "ssh does not understand what is set for {place}"),
            Self::SettingsLate { place } => write!(f, "ssh does not say in time what is set for {place}"),
            Self::NotBySsh2 { place, reason } => {
                write!(f, "{place} cannot be reached by ssh2 as the URI wants it: {reason}")
            }
            Self::Noise { place, text } => {
                write!(f, "{place} printed {text:?} before the daemon's first packet")
            }
            Self::Late { place, time, .. } => {
                write!(f, "no daemon by ssh to {place} within {}", crate::error::in_words(*time))
            }
            Self::Ended(ended) => ended.fmt(f),
            #[cfg(feature = "ssh2")]
            Self::Native { place, error, .. } => f.write_str(&error.words(place)),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        match &self.verdict {
            Verdict::Denied => write!(f, "{place} does not let this user in"),
            Verdict::HostKeyChanged(None) => write!(f, "{place} shows another key than the one it is known by"),
            Verdict::HostKeyChanged(Some(keys)) => {
                write!(f, "{place} shows another key than the one it is known by: {keys}")
            }
            Verdict::HostKeyRevoked => write!(f, "{place} shows a key that was revoked"),
            Verdict::HostKeyUnknown => write!(f, "the key of {place} is not known, and nobody is there to be asked"),
            Verdict::NoSuchHost => write!(f, "cannot connect to {place}: its name cannot be looked up"),
            Verdict::Refused => write!(f, "cannot connect to {place}: connection refused"),
            Verdict::Silent => write!(f, "cannot connect to {place}: nobody answered in time"),
            Verdict::Unreachable => write!(f, "cannot connect to {place}: there is no way to it"),
            Verdict::NoAlgorithm => write!(f, "{place} offers only algorithms that ssh does not take any more"),
            Verdict::TooManyKeys => write!(f, "{place} has seen too many keys of this user"),
            Verdict::Cut => write!(f, "the connection to {place} was cut"),
            Verdict::Settings => write!(f, "ssh does not understand what is set for {place}"),
            Verdict::NoVmwire => write!(f, "there is no vmwire on {place}"),
            Verdict::NotExecutable => write!(f, "vmwire on {place} cannot be run"),
            Verdict::TooOld => write!(f, "vmwire on {place} is too old to be a bridge"),
            Verdict::Told(told) => write!(f, "on {place}: {}", told.message),
            Verdict::Nothing => write!(f, "what was run on {place} ended without a word"),
            Verdict::Lost => write!(f, "the connection to {place} was lost"),
            Verdict::Other { status } => write!(f, "ssh to {place} ended with {status}"),
        }
    }
}

impl std::error::Error for SshError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Spawn(error) => Some(error.as_ref()),
            _ => None,
        }
    }
}

/// What is typed behind `ssh` for the same host.
pub(super) fn arguments(place: &SshTarget) -> String {
    let key = place.keyfile().map(|key| format!("-i {} ", quoted(&key.to_string_lossy()))).unwrap_or_default();
    format!("{key}{}", arguments_without_key(place))
}

/// The same, where another key is named before it.
pub(super) fn arguments_without_key(place: &SshTarget) -> String {
    let port = place.port().map(|port| format!("-p {port} ")).unwrap_or_default();
    let user = place.user().map(|user| format!("{}@", quoted(user))).unwrap_or_default();
    format!("{port}{user}{}", place.host())
}

/// What is typed behind `ssh-keygen -R`.
fn known_as(place: &SshTarget) -> String {
    place
        .port()
        .filter(|&port| port != 22)
        .map_or(place.host().to_owned(), |port| format!("'[{}]:{port}'", place.host()))
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~+:@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uri::Uri;

    fn hint(verdict: Verdict) -> String {
        let uri: Uri = "qemu+ssh://me@vm1:2222/system".parse().unwrap();
        Ended { place: uri.ssh().unwrap().clone(), verdict, said: Vec::new(), reason: None, key: None }.hint()
    }

    #[test]
    fn what_was_said_for_somebody_over_there_reads_as_from_here() {
        let told = |hint: &str| {
            Verdict::Told(Box::new(Told { message: String::new(), causes: vec![], hint: hint.into(), exit: 3 }))
        };
        let expected = "on vm1 (ssh -p 2222 me@vm1): start it; or -c qemu+ssh://me@vm1:2222/session";
        assert_eq!(hint(told("start it; or -c qemu:///session")), expected);
        assert_eq!(hint(told("")), "");
        let uri: Uri = "qemu+ssh://you%40corp@vm1/system".parse().unwrap();
        let (place, verdict) = (uri.ssh().unwrap().clone(), told("-c qemu:///session"));
        let corp = Ended { place, verdict, said: Vec::new(), reason: None, key: None }.hint();
        assert_eq!(corp, "on vm1 (ssh you@corp@vm1): -c qemu+ssh://you%40corp@vm1/session");
    }
}
