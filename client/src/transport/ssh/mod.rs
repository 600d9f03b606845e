//! The way to a daemon by ssh.
//!
//! ```text
//!   ssh -G HOST ──▶ Settings ──┬──▶ choose ──┬─▶ program: the ssh program, a child of ours ─▶ Socket::Program
//!   keys, known_hosts ──▶ Facts┘             └─▶ ssh2, in this process
//! ```
//! What the user has set for a host is asked of the `ssh` program; nothing here reads its configuration. On the far side
//! the daemon's unix socket is what is wanted; `vmwire stdio` is the bridge to it where ssh itself is none.

mod changed;
mod choose;
mod error;
mod facts;
mod host_names;
mod let_in;
#[cfg(feature = "ssh2")]
mod native;
mod program;
mod said;
mod settings;
mod verdict;

pub use changed::ChangedKey;
pub use choose::Reason;
use choose::{Choice, choose};
pub(crate) use error::quoted;
pub use error::{Ended, SshError, Told, Verdict};
use facts::Facts;
#[cfg(feature = "ssh2")]
pub use native::NativeError;
#[cfg(feature = "ssh2")]
pub(crate) use native::SshSocket;
pub(crate) use program::ProgramSocket;
pub(super) use settings::Settings;
pub(crate) use settings::local_user;

use super::SshPlace;
use super::socket::Socket;
use crate::ask::Asking;
use crate::error::Error;
use crate::uri::SshBy;

/// Connects to a daemon behind an ssh server. A person may be asked.
///
/// # Errors
/// When ssh's settings cannot be had, or nobody can be reached.
pub(super) fn connect(place: &SshPlace, asking: &Asking) -> Result<Socket, Error> {
    let settings = Settings::of(&place.target, asking.until())?;
    #[cfg(feature = "ssh2")]
    let agent = (place.target.by() != SshBy::Program).then(|| native::Held::of(&settings, asking.until())).flatten();
    let facts = Facts {
        #[cfg(feature = "ssh2")]
        agent_key: agent.as_ref().filter(|_| !settings.identities_only()).and_then(native::Held::only_for_the_program),
        ..Facts::of(&place.target, &settings)
    };
    match choose(place.target.by(), &settings, &facts) {
        Err(reason) => Err(SshError::NotBySsh2 { place: place.target.clone(), reason }.into()),
        Ok(Choice::Program(reason)) => {
            log::debug!("{}: by the ssh program, because {reason}", place.target);
            program::connect(place, &settings, &reason, asking)
        }
        #[cfg(feature = "ssh2")]
        Ok(Choice::Ssh2) => native::connect(place, &settings, agent, asking),
        #[cfg(not(feature = "ssh2"))]
        Ok(Choice::Ssh2) if place.target.by() == SshBy::Ssh2 => {
            Err(SshError::NotBySsh2 { place: place.target.clone(), reason: Reason::NotBuilt }.into())
        }
        #[cfg(not(feature = "ssh2"))]
        Ok(Choice::Ssh2) => program::connect(place, &settings, &Reason::NotBuilt, asking),
    }
}
