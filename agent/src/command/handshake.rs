//! The handshake that qemu-ga never got: who wants to know asks, who wants more enables it, who does neither notices nothing.
//!
//! `request-negotiation` answers what QMP's greeting says, as an answer, for a greeting unasked would break every client there is.
//! `qmp_capabilities` then enables what was offered. On a serial port nobody sees one client go and the next one come, so
//! `request-negotiation` also disables everything: what is enabled was enabled by whoever asked last.
//!
//! The support level is the other half: a host says which version of the conversation it knows, and the agent does not do what is
//! newer. It starts at the oldest, and holds for all connections.

use std::time::Instant;

use super::Done;
use super::channel::QEMU_GA_VERSION;
use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::error::CommandError;
use crate::json::Value;

/// What an agent does unasked, once it is enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// The host has several clients behind one channel and says when one is gone: `guest-client-disconnected` is there.
    ClientDisconnect,
}

impl Capability {
    const ALL: [Capability; 1] = [Capability::ClientDisconnect];

    fn name(self) -> &'static str {
        match self {
            Capability::ClientDisconnect => "client-disconnect",
        }
    }
}

/// What is enabled on a connection.
#[derive(Debug, Default)]
pub struct Capabilities(Vec<Capability>);

impl Capabilities {
    /// Whether this is enabled.
    pub fn contains(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }
}

/// How much of the conversation the host knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SupportLevel {
    major: i64,
    minor: i64,
    micro: i64,
}

impl SupportLevel {
    /// What everybody knows. Nothing is below.
    pub const MINIMUM: SupportLevel = SupportLevel { major: 1, minor: 0, micro: 0 };

    pub(super) fn to_value(self) -> Value {
        Value::object([("major", self.major.into()), ("minor", self.minor.into()), ("micro", self.micro.into())])
    }
}

impl Default for SupportLevel {
    fn default() -> SupportLevel {
        SupportLevel::MINIMUM
    }
}

/// Says what there is, and begins anew.
pub fn request_negotiation(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    agent.capabilities = Capabilities::default();
    let mut numbers = QEMU_GA_VERSION.split('.').map(|number| number.parse::<i64>().unwrap_or_default());
    let mut number = || Value::Integer(numbers.next().unwrap_or_default());
    let qemu = Value::object([("major", number()), ("minor", number()), ("micro", number())]);
    let package = concat!("vmwire-ga ", env!("CARGO_PKG_VERSION"));
    let capabilities: Vec<Value> = Capability::ALL.iter().map(|capability| capability.name().into()).collect();
    Ok(Done::Return(Value::object([(
        "QMP",
        Value::object([
            ("version", Value::object([("qemu", qemu), ("package", package.into())])),
            ("capabilities", capabilities.into()),
        ]),
    )])))
}

/// Enables these capabilities, and no others.
pub fn qmp_capabilities(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let names = arguments.optional_strings("enable")?.unwrap_or_default();
    arguments.finish()?;
    let mut enabled = Vec::new();
    for name in names {
        let known = Capability::ALL.into_iter().find(|capability| capability.name() == name);
        let capability =
            known.ok_or_else(|| CommandError::generic(format!("Parameter 'enable' does not accept value '{name}'")))?;
        if !enabled.contains(&capability) {
            enabled.push(capability);
        }
    }
    agent.capabilities = Capabilities(enabled);
    Ok(Done::Return(Value::empty()))
}

/// Sets the level, which is never below the oldest.
pub fn set_support_level(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let (major, minor) = (arguments.integer("major")?, arguments.integer("minor")?);
    let micro = arguments.optional_integer("micro")?.unwrap_or_default();
    arguments.finish()?;
    for (name, value) in [("major", major), ("minor", minor), ("micro", micro)] {
        if value < 0 {
            return Err(CommandError::generic(format!("Parameter '{name}' expects a number that is not negative")));
        }
    }
    agent.support_level = SupportLevel { major, minor, micro }.max(SupportLevel::MINIMUM);
    Ok(Done::Return(Value::empty()))
}

/// A client behind the host is gone. Requests arrive whole and nothing of one outlives its answer, so that there is nothing to throw
/// away; the answer says that all before it is over.
pub fn client_disconnected(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let client = arguments.integer("client")?;
    arguments.finish()?;
    agent.log.account(format_args!("guest-client-disconnected called, client: {client}"));
    Ok(Done::Return(Value::empty()))
}
