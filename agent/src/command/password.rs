//! Passwords of users. They go to `chpasswd` by its standard input, and nowhere else.

use std::time::Instant;

use super::{Done, Task};
use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::base64;
use crate::error::CommandError;
use crate::json::Value;

/// Sets a password.
pub(super) fn set(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let user = arguments.string("username")?;
    let password = arguments.string("password")?;
    let crypted = arguments.bool("crypted")?;
    arguments.finish()?;
    let password = base64::decode(&password)?;
    if password.contains(&b'\n') {
        return Err(CommandError::generic("forbidden characters in raw password"));
    }
    if user.contains([':', '\n']) {
        return Err(CommandError::generic("forbidden characters in username"));
    }
    let mut line = user.into_bytes();
    line.push(b':');
    line.extend_from_slice(&password);
    line.push(b'\n');
    let words: &[&str] = if crypted { &["-e"] } else { &[] };
    Ok(Task::with_input("chpasswd", words, line, agent.settings.request_deadline, |_, end| {
        if end.is_not_found() {
            return Err(CommandError::generic("cannot find 'passwd' program in PATH"));
        }
        end.demand("child process has failed to set user password")?;
        Ok(Done::Return(Value::empty()))
    }))
}
