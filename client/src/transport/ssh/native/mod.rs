//! SSH in this process, by libssh2.
//!
//! ```text
//!   known_hosts ──▶ kinds of keys to ask for ──▶ TCP, handshake ──▶ the host's key judged, a person asked if need be
//!     ──▶ agent, key files, password ──▶ channel to the daemon's socket, or to `vmwire stdio` ──▶ SshSocket
//! ```
//! All of it has one deadline, but for the time in which a person thinks.

mod agent;
mod auth;
mod channel;
mod error;
mod host_key;
mod key_file;
mod known_hosts;
mod offers;
mod pipe;
mod session;
mod stream;

use std::path::PathBuf;
use std::sync::Arc;

pub(super) use agent::Held;
pub use error::NativeError;
pub(crate) use stream::SshSocket;

use super::{Settings, SshError};
use crate::ask::Asking;
use crate::error::Error;
use crate::transport::socket::Socket;
use crate::transport::{Place, SshPlace, tcp};
use crate::uri::{HostPort, SshTarget};
use host_key::Strict;
use session::Talk;

/// What is to be reached, by whom and how, as far as the URI and the user's settings say it.
struct Wanted {
    place: SshTarget,
    host: HostPort,
    user: String,
    /// The name by which the host's keys are stored.
    known_as: String,
    /// New hosts go into the first.
    user_known_hosts: Vec<PathBuf>,
    global_known_hosts: Vec<PathBuf>,
    hash_known_hosts: bool,
    strict: Strict,
    agent: Option<Held>,
    identities: Vec<PathBuf>,
    /// Keys of the agent count only where a file names them.
    identities_only: bool,
    /// The URI names the key, so that it has to be there.
    identity_named: bool,
    public_keys: bool,
    passwords: bool,
    interactive: bool,
    tries: usize,
}

impl Wanted {
    fn new(place: &SshPlace, settings: &Settings, agent: Option<Held>) -> Result<Self, Error> {
        let host = HostPort::new(settings.host_name(), settings.port());
        let not_off = |key: &str| !matches!(settings.value(key), Some("no" | "false"));
        Ok(Self {
            host: host.map_err(|error| Error::Request(error.to_string()))?,
            user: settings.user(),
            known_as: settings.known_as(),
            user_known_hosts: settings.user_known_hosts(),
            global_known_hosts: settings.global_known_hosts(),
            hash_known_hosts: settings.is_on("hashknownhosts"),
            strict: match settings.value("stricthostkeychecking") {
                Some("true" | "yes") => Strict::Yes,
                // Whatever it lets pass unasked: never a key that has changed.
                Some("false" | "no" | "off" | "accept-new") => Strict::AcceptNew,
                _ => Strict::Ask,
            },
            agent,
            identities: settings.identity_files(),
            identities_only: settings.identities_only(),
            identity_named: place.target.keyfile().is_some(),
            public_keys: not_off("pubkeyauthentication"),
            passwords: not_off("passwordauthentication"),
            interactive: not_off("kbdinteractiveauthentication"),
            tries: settings.value("numberofpasswordprompts").and_then(|tries| tries.parse().ok()).unwrap_or(3),
            place: place.target.clone(),
        })
    }
}

/// Connects to a daemon behind an ssh server.
///
/// # Errors
/// When the host cannot be reached, is not the one that it should be, does not let us in, or has no daemon.
pub(super) fn connect(
    place: &SshPlace,
    settings: &Settings,
    agent: Option<Held>,
    asking: &Asking,
) -> Result<Socket, Error> {
    let wanted = Wanted::new(place, settings, agent)?;
    let nobody = Asking::new(None, asking.until());
    let asking = if settings.is_on("batchmode") { &nobody } else { asking };
    let socket = tcp::reach(&wanted.host, asking.until())
        .map_err(|error| Error::Connect { place: Place::Ssh(Box::new(place.clone())), error: Arc::new(error) })?;
    let socket = converse(place, &wanted, socket, asking);
    let error = match socket {
        Ok(socket) => return Ok(Socket::Ssh(Box::new(socket))),
        Err(error) => error,
    };
    Err(SshError::native(&place.target, error).into())
}

fn converse(
    place: &SshPlace,
    wanted: &Wanted,
    socket: std::os::fd::OwnedFd,
    asking: &Asking,
) -> Result<SshSocket, NativeError> {
    let known = host_key::known(wanted)?;
    let algorithms = host_key::algorithms(&known);
    let talk = Talk::new(socket, &algorithms)?;
    let shown = talk.shake_hands(wanted, &algorithms, asking)?;
    host_key::judge(wanted, &known, &shown, asking)?;
    auth::authenticate(&talk, wanted, asking)?;
    channel::open(talk, place, wanted, asking)
}
