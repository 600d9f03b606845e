//! The library against a scripted daemon, over every transport.

mod calls;
mod events;
mod recovery;
mod streams;

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vmwire_protocol::message::{
    ClientData, ConsoleOpenAnswer, ConsoleOpenCall, Cursor, Failure, Gap, Progress, ServerData, VmCall, VmCell,
    VmDefineAnswer, VmDefineCall, VmDefinitionAnswer, VmDoneAnswer, VmFilter, VmInfo, VmNamesAnswer, VmRef,
    VmShowAnswer, code, console_mode, filter_comparison, vm_field,
};
use vmwire_protocol::xdr::{Fixed, List, Text};

use super::scripted::wire::{Over, Place, knock, place};
use super::scripted::{Came, EPOCH, Scripted, connected, host_info};
use super::{Connection, Notice, Options, Received, Subscription};
use crate::error::{Error, Lost};
use crate::request;
use crate::transport::Environment;

/// Every story is told over every transport: nothing above the link may notice a difference.
macro_rules! over_every_transport {
    ($($story:ident)*) => {
        mod unix {
            $(#[test] fn $story() { super::$story(super::Over::Unix) })*
        }
        mod tcp {
            $(#[test] fn $story() { super::$story(super::Over::Tcp) })*
        }
        mod tls {
            $(#[test] fn $story() { super::$story(super::Over::Tls) })*
        }
    };
}

use over_every_transport;

fn vm(name: &str) -> VmCall {
    VmCall { vm: Text::clipped(name) }
}

fn shown(name: &str, memory_bytes: u64) -> ServerData {
    let vm = VmInfo { name: Text::clipped(name), memory_bytes, ..VmInfo::default() };
    ServerData::VmShow(VmShowAnswer { cursor: cursor(5), vm })
}

fn cursor(sequence: u64) -> Cursor {
    Cursor { epoch: EPOCH, sequence }
}

fn done(operation: u64) -> ServerData {
    ServerData::VmStop(VmDoneAnswer { operation, state: 1 })
}

fn sequence(notice: Option<Notice>) -> u64 {
    match notice {
        Some(Notice::Event(event)) => event.sequence,
        other => panic!("an event was due, and this came: {other:?}"),
    }
}
