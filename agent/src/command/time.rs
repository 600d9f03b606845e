//! The guest's clock.

use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_settime};

use super::{Done, Task};
use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::error::CommandError;
use crate::json::Value;

const HWCLOCK: &str = "/sbin/hwclock";
const NANOSECONDS: i64 = 1_000_000_000;

/// Nanoseconds since 1970.
pub(super) fn get(_: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|span| i64::try_from(span.as_nanos()).ok());
    let now = now.ok_or_else(|| CommandError::generic("Failed to get time: the clock is out of range"))?;
    Ok(Done::Return(now.into()))
}

/// Sets the clock, and the one that keeps time while the guest is off. Without a time, the one from the other.
pub(super) fn set(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let time = arguments.optional_integer("time")?;
    arguments.finish()?;
    if !Path::new(HWCLOCK).exists() {
        return Err(CommandError::unsupported());
    }
    if let Some(time) = time {
        // To the microsecond, as the call that everybody else uses.
        let wanted = Timespec { tv_sec: time / NANOSECONDS, tv_nsec: time % NANOSECONDS / 1000 * 1000 };
        clock_settime(ClockId::Realtime, wanted)
            .map_err(|error| CommandError::system("Failed to set time to guest", error))?;
    }
    let direction = if time.is_some() { "-w" } else { "-s" };
    Ok(Task::run(HWCLOCK, &[direction], agent.settings.request_deadline, |_, end| {
        end.demand("hwclock failed to set hardware clock to system time")?;
        Ok(Done::Return(Value::empty()))
    }))
}
