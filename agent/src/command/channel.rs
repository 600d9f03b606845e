//! Commands about the channel itself and the agent behind it.

use std::time::Instant;

use super::{Done, TABLE};
use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::error::CommandError;
use crate::json::Value;

/// The qemu-ga whose commands, replies and texts are ours.
pub const QEMU_GA_VERSION: &str = "11.1.0";

/// Returns a number, so that its sender knows which answers are old.
pub fn sync(_: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let id = arguments.integer("id")?;
    arguments.finish()?;
    Ok(Done::Return(id.into()))
}

/// The same, behind a byte that nothing else holds.
pub fn sync_delimited(_: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let id = arguments.integer("id")?;
    arguments.finish()?;
    Ok(Done::Delimited(id.into()))
}

/// Does nothing.
pub fn ping(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    agent.log.account("guest-ping called");
    Ok(Done::Return(Value::empty()))
}

/// Which commands there are, and which level was agreed on.
pub fn info(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    let commands: Vec<Value> = TABLE
        .iter()
        .map(|command| {
            Value::object([
                ("enabled", agent.refusal(command).is_none().into()),
                ("name", command.name.into()),
                ("success-response", command.success_response.into()),
            ])
        })
        .collect();
    Ok(Done::Return(Value::object([
        ("version", QEMU_GA_VERSION.into()),
        ("support_level", agent.support_level.to_value()),
        ("supported_commands", commands.into()),
    ])))
}
