//! Freezing and thawing file systems, so that a host may copy their disks.
//!
//! ```text
//!   freeze:  hook "freeze" → marker, quiet → helper freezes ──some──▶ frozen, a lease begins
//!                                               │
//!                                               └──none, failed, hung──▶ thaw
//!   thaw:    helper thaws → marker gone, log again → hook "thaw"
//!                 └──a freeze that was given up is not over──▶ still frozen; the agent thaws again when it is
//! ```
//!
//! Programs run for it have deadlines; whatever ends a freeze other than well ends in a thaw. Who freezes may hang in the kernel, be
//! killed, and freeze all the same when a disk comes back: what was thawed before that counts for nothing.

use std::time::Instant;

use super::filesystem::directories;
use super::{Done, Task};
use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::error::CommandError;
use crate::filesystem_helper::{WORD, answer};
use crate::helper::End;
use crate::json::Value;
use crate::leaving::Purpose;
use crate::log::Level;
use crate::mounts::mounts;

/// Writing out what is cached takes longer than other commands.
const DEADLINES: u32 = 4;

/// Whether file systems are frozen.
pub(super) fn status(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    Ok(Done::Return(if agent.freezer.is_frozen() { "frozen" } else { "thawed" }.into()))
}

/// Freezes all file systems on disks.
pub(super) fn freeze(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    agent.log.account("guest-fsfreeze called");
    begin(agent, None)
}

/// Freezes those that are mounted there.
pub(super) fn freeze_list(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let mountpoints = arguments.optional_strings("mountpoints")?;
    arguments.finish()?;
    agent.log.account("guest-fsfreeze called");
    begin(agent, mountpoints)
}

fn begin(agent: &mut Agent, mountpoints: Option<Vec<String>>) -> Result<Done, CommandError> {
    agent.leaving.demand_room(Purpose::Freeze)?;
    hook(agent, "freeze", move |agent| {
        let wanted = match mountpoints {
            None => directories()?,
            Some(wanted) => {
                let found = mounts()
                    .map_err(|error| CommandError::system("failed to open file: '/proc/self/mountinfo'", error))?;
                found.into_iter().map(|mount| mount.directory).filter(|directory| wanted.contains(directory)).collect()
            }
        };
        let mut words = vec![WORD, "freeze"];
        words.extend(wanted.iter().map(String::as_str));
        agent.log.say(Level::Warning, "disabling logging due to filesystem freeze");
        if let Err(error) = agent.state.set_frozen(true) {
            agent.log.say(Level::Warning, format_args!("the state of the freeze cannot be kept: {error}"));
        }
        agent.log.set_quiet(true);
        agent.freezer.freeze(Instant::now());
        let span = agent.settings.request_deadline * DEADLINES;
        Ok(Task::by_ourselves(Purpose::Freeze, &words, Vec::new(), span, |agent, end| {
            let result = match answer(&end, "freeze") {
                Ok(Value::Integer(count)) if count > 0 => return Ok(Done::Return(count.into())),
                Ok(_) => Ok(Done::Return(0_i64.into())),
                Err(error) => Err(error),
            };
            agent.freezer.give_up(Instant::now());
            thaw_then(agent, |_, _| result)
        }))
    })
}

/// Thaws all file systems on disks; says how many were frozen.
pub(super) fn thaw(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    thaw_then(agent, |agent, count| {
        let count = count?;
        if agent.freezer.take_expired() {
            // Whoever copied a disk believing it frozen has to know.
            return Err(CommandError::generic(
                "the file systems were thawed before, by the agent itself, as their freeze lease was over",
            ));
        }
        Ok(Done::Return(count.into()))
    })
}

/// Thaws, then goes on with how many that were; or with why that does not count.
fn thaw_then(
    agent: &mut Agent,
    then: impl FnOnce(&mut Agent, Result<i64, CommandError>) -> Result<Done, CommandError> + 'static,
) -> Result<Done, CommandError> {
    agent.leaving.demand_room(Purpose::Thaw)?;
    // As it is now: who ends while we thaw may have frozen behind our back.
    let freeze_hangs = agent.leaving.hangs(Purpose::Freeze);
    let wanted = all_directories()?;
    let mut words = vec![WORD, "thaw"];
    words.extend(wanted.iter().map(String::as_str));
    let span = agent.settings.request_deadline;
    Ok(Task::by_ourselves(Purpose::Thaw, &words, Vec::new(), span, move |agent, end| {
        let Value::Integer(count) = answer(&end, "thaw")? else {
            return Err(CommandError::generic("the helper for thaw said nothing"));
        };
        if freeze_hangs {
            let error = "a freeze that was given up still hangs in the kernel, and may freeze yet; the agent thaws when it \
                         does not any more: see which disk hangs, then ask again";
            return then(agent, Err(CommandError::generic(error)));
        }
        agent.thawed();
        // Whoever thaws to be sure means the hook as well.
        hook(agent, "thaw", move |agent| then(agent, Ok(count)))
    }))
}

/// Every place: what was frozen by one name may be thawed by another only.
fn all_directories() -> Result<Vec<String>, CommandError> {
    let found = mounts().map_err(|error| CommandError::system("failed to open file: '/proc/self/mountinfo'", error))?;
    Ok(found.into_iter().map(|mount| mount.directory).collect())
}

/// Thaws because the lease is over, or the agent has to leave.
pub fn thaw_unasked(agent: &mut Agent) -> Result<Done, CommandError> {
    thaw_then(agent, |_, count| Ok(Done::Return(count?.into())))
}

/// Runs the hook, if there is one, then goes on.
fn hook(
    agent: &mut Agent,
    argument: &'static str,
    then: impl FnOnce(&mut Agent) -> Result<Done, CommandError> + 'static,
) -> Result<Done, CommandError> {
    let Some(path) = agent.settings.hook.clone() else { return then(agent) };
    agent.leaving.demand_room(Purpose::Other)?;
    let span = agent.settings.request_deadline * DEADLINES;
    Ok(Task::run(&path.clone(), &[argument], span, move |agent, end| match end {
        End::Exited(status, _) if status.success() => then(agent),
        End::Exited(status, _) => Err(CommandError::generic(match status.code() {
            Some(code) => format!("fsfreeze hook has failed with status {code}"),
            None => "fsfreeze hook has terminated abnormally".to_owned(),
        })),
        End::NotStarted(error) => Err(CommandError::system(format!("can't access fsfreeze hook '{path}'"), error)),
        End::TooLong => end.demand("").and_then(|()| then(agent)),
    }))
}
