//! The way from the ssh server to the daemon: straight to its unix socket, and where that is not to be had, through
//! `vmwire stdio` run over there, which also says in words what is wrong with the socket.

use std::path::PathBuf;

use super::Wanted;
use super::error::{NativeError, Stage};
use super::session::{Failed, Talk, code};
use super::stream::{Bridge, SshSocket};
use crate::ask::Asking;
use crate::transport::SshPlace;
use crate::transport::ssh::said::Said;

/// What libssh2 answers when the server does not open a channel, and when it does not do what is asked on one.
const NOT_OPENED: i32 = -21;
const NOT_DONE: i32 = -22;

/// The reason that leaves another socket worth a try: the server would have connected, but could not.
const CONNECT_FAILED: &str = "connect failed";

/// Opens the way.
pub(super) fn open(talk: Talk, place: &SshPlace, wanted: &Wanted, asking: &Asking) -> Result<SshSocket, NativeError> {
    let mut closed: Vec<PathBuf> = Vec::new();
    for path in place.sockets() {
        let Some(text) = path.to_str() else { break };
        match talk.drive(|| asking.until(), || talk.session.channel_direct_streamlocal(text, None)) {
            Ok(channel) => return Ok(SshSocket::new(talk, channel, place, None)),
            Err(Failed::Ssh(error)) if code(&error) == NOT_OPENED => {
                log::debug!("{}: {}: {}", wanted.place, path.display(), error.message());
                if !error.message().contains(CONNECT_FAILED) {
                    break;
                }
                closed.push(path);
            }
            Err(failed) => return Err(talk.failure(Stage::Channel, failed)),
        }
    }
    let opened = talk.drive(|| asking.until(), || talk.session.channel_session());
    let mut channel = opened.map_err(|failed| unopened(&talk, failed))?;
    let command = place.command();
    let run = talk.drive(|| asking.until(), || channel.exec(&command));
    run.map_err(|failed| unopened(&talk, failed))?;
    let said = Said::new(&wanted.place, asking.teller());
    let bridge = Bridge::new(closed, wanted.user.clone(), said);
    Ok(SshSocket::new(talk, channel, place, Some(bridge)))
}

fn unopened(talk: &Talk, failed: Failed) -> NativeError {
    match failed {
        Failed::Ssh(error) if matches!(code(&error), NOT_OPENED | NOT_DONE) => NativeError::NoCommands,
        other => talk.failure(Stage::Channel, other),
    }
}
