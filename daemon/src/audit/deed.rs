//! What is told of a call or a connection, and how it stands in a line.

use std::net::SocketAddr;
use std::time::Duration;

use uuid::Uuid;
use vmwire_protocol::message::{Failure, Procedure, code, number, role};

use super::budget::{Kind, Named, Origin};
use super::line::Line;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'a> {
    /// The connection's number.
    pub(crate) connection: u64,
    /// As in `unix`.
    pub(crate) transport: &'static str,
    /// In words.
    pub(crate) identity: &'a str,
    /// Where it comes from, if its identity does not say so.
    pub(crate) address: Option<SocketAddr>,
    /// Whose lines its lines are counted with.
    pub(crate) origin: Origin,
}

/// What a call is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Object {
    /// What sort of thing, as in `vm`; empty for none.
    pub(crate) kind: &'static str,
    /// Its name, or what the client wrote for it.
    pub(crate) name: String,
    /// Its uuid, if it has one.
    pub(crate) uuid: Option<Uuid>,
    /// The role that it is given; 0 for none.
    pub(crate) granted: u32,
    /// What a capture shows beside packets.
    pub(crate) shows: Option<Shows>,
}

/// What a capture shows beside packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shows {
    /// The data of streams.
    pub(crate) payload: bool,
    /// What passes between the daemon and agents.
    pub(crate) agents: bool,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending<'a> {
    /// Well.
    Done,
    /// It was refused, or failed.
    Failed(&'a Failure),
    /// Its connection was gone before.
    Unanswered,
}

/// A call and what became of it.
#[derive(Debug)]
pub(crate) struct Deed<'a> {
    /// Which call.
    pub(crate) procedure: &'static Procedure,
    /// The role that it was judged by.
    pub(crate) role: u32,
    /// What it is about, if that was kept.
    pub(crate) object: Option<&'a Object>,
    /// How it ended.
    pub(crate) ending: Ending<'a>,
    /// The operation that it asked for.
    pub(crate) operation: Option<u64>,
    /// How long it took, in whole turns.
    pub(crate) duration: Duration,
}

impl Who<'_> {
    pub(super) fn tell(&self, line: &mut Line<'_>) {
        line.number("connection", self.connection);
        line.text("transport", self.transport).text("identity", self.identity);
        if let Some(address) = self.address {
            line.text("address", &address.to_string());
        }
    }

    /// Whether it has shown nothing that somebody else could not show.
    pub(super) fn is_stranger(&self) -> bool {
        matches!(self.origin, Origin::Address(_))
    }

    /// For a line about many of its connections.
    pub(super) fn named(&self) -> Named {
        let (identity, address) = match self.origin {
            Origin::Address(address) => (String::new(), address.to_string()),
            Origin::User(_) | Origin::Key(_) => (self.identity.to_owned(), String::new()),
        };
        Named { transport: self.transport, identity, address }
    }
}

impl Deed<'_> {
    /// What it is counted as; `None` for what changed something, or tried to, which is told however often.
    pub(super) fn kind(&self) -> Option<Kind> {
        let executed = match self.ending {
            Ending::Failed(failure) if is_refusal(failure) => {
                self.operation.is_some() || matches!(failure.code, code::DRIVER | code::INTERNAL)
            }
            // Those of operators have operations, unless there is nothing to do.
            _ => self.operation.is_some() || self.procedure.right.role > role::OPERATOR,
        };
        match self.ending {
            _ if executed && changes(self.procedure) => None,
            Ending::Failed(failure) if is_refusal(failure) => Some(Kind::Refusal),
            _ => Some(Kind::Look),
        }
    }
}

impl Object {
    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.kind.is_empty() && self.shows.is_none()
    }

    pub(super) fn tell(&self, line: &mut Line<'_>) {
        line.text("object", self.kind).text("name", &self.name);
        if let Some(uuid) = self.uuid {
            line.text("uuid", uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
        }
        if self.granted != 0 {
            line.text("granted", role_name(self.granted));
        }
    }
}

/// Whether a call does more than look. A token is spent by somebody who has no role yet; an agent that is asked whether it is
/// there is the same afterwards, however its guest answers, and anybody's guest may answer in vain for ever.
pub(super) fn changes(procedure: &Procedure) -> bool {
    match procedure.number {
        number::AGENT_PING => false,
        number::ENROLL => true,
        _ => procedure.right.role > role::OBSERVER,
    }
}

/// Whether somebody did not get what they asked for, and not because they gave it up.
pub(super) fn is_refusal(failure: &Failure) -> bool {
    !matches!(failure.code, code::CANCELLED | code::DEADLINE_EXCEEDED | code::GOING_AWAY)
}

pub(super) fn tell_failure(line: &mut Line<'_>, failure: &Failure) {
    line.text("verdict", code_name(failure.code)).text("message", &failure.message);
}

pub(super) fn code_name(number: u32) -> &'static str {
    code::name(number).unwrap_or("INTERNAL")
}

pub(super) fn role_name(number: u32) -> &'static str {
    role::name(number).unwrap_or("unknown")
}
