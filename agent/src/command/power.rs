//! Turning the guest off and putting it to sleep.

use std::fs;
use std::time::Instant;

use super::{Done, Task};
use crate::agent::Agent;
use crate::arguments::Arguments;
use crate::error::{CommandError, reason};
use crate::helper::End;

const SHUTDOWN: &str = "/sbin/shutdown";
const STATES: &str = "/sys/power/state";

/// Turns the guest off, stops it, or starts it anew.
pub(super) fn shutdown(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let mode = arguments.optional_string("mode")?;
    arguments.finish()?;
    let flag = match mode.as_deref() {
        None | Some("powerdown") => "-P",
        Some("halt") => "-H",
        Some("reboot") => "-r",
        Some(_) => {
            return Err(CommandError::generic("mode is invalid (valid values are: halt|powerdown|reboot"));
        }
    };
    agent.log.account(format_args!("guest-shutdown called, mode: {}", mode.as_deref().unwrap_or("powerdown")));
    let words = ["-h", flag, "+0", "hypervisor initiated shutdown"];
    Ok(Task::run(SHUTDOWN, &words, agent.settings.request_deadline, |_, end| {
        end.demand("child process has failed to shutdown")?;
        Ok(Done::Silence)
    }))
}

/// A kind of sleep, by the names that each way to it has.
#[derive(Debug, Clone, Copy)]
struct Sleep {
    unit: &'static str,
    verb: &'static str,
    supported: &'static str,
    program: &'static str,
    /// None where the kernel alone cannot do it.
    state: Option<&'static str>,
}

const DISK: Sleep = Sleep {
    unit: "systemd-hibernate",
    verb: "hibernate",
    supported: "--hibernate",
    program: "pm-hibernate",
    state: Some("disk"),
};
const RAM: Sleep = Sleep {
    unit: "systemd-suspend",
    verb: "suspend",
    supported: "--suspend",
    program: "pm-suspend",
    state: Some("mem"),
};
const HYBRID: Sleep = Sleep {
    unit: "systemd-hybrid-sleep",
    verb: "hybrid-sleep",
    supported: "--suspend-hybrid",
    program: "pm-suspend-hybrid",
    state: None,
};

/// Sleeps on disk.
pub(super) fn suspend_disk(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    Ok(by_systemd(agent, DISK))
}

/// Sleeps in memory.
pub(super) fn suspend_ram(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    Ok(by_systemd(agent, RAM))
}

/// Sleeps in memory, and on disk should power fail.
pub(super) fn suspend_hybrid(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    arguments.finish()?;
    Ok(by_systemd(agent, HYBRID))
}

/// The first way, if the guest has it and it works.
fn by_systemd(agent: &Agent, sleep: Sleep) -> Done {
    let span = agent.settings.request_deadline;
    Task::run("systemctl", &["status", sleep.unit], span, move |_, end| {
        // 1 to 3 say that there is such a service, which does not run.
        if !end.code().is_some_and(|code| (1..=3).contains(&code)) {
            return Ok(by_pm_utils(span, sleep, None));
        }
        Ok(Task::run("systemctl", &[sleep.verb], span, move |_, end| {
            if end.is_success() {
                return Ok(Done::Silence);
            }
            Ok(by_pm_utils(span, sleep, Some(failure(&format!("systemctl {}", sleep.verb), &end))))
        }))
    })
}

/// The second, of an older guest.
fn by_pm_utils(span: std::time::Duration, sleep: Sleep, failed: Option<CommandError>) -> Done {
    Task::run("pm-is-supported", &[sleep.supported], span, move |_, end| {
        if !end.is_success() {
            return by_kernel(sleep, failed);
        }
        Ok(Task::run(sleep.program, &[], span, move |_, end| {
            if end.is_success() {
                return Ok(Done::Silence);
            }
            by_kernel(sleep, Some(failure(sleep.program, &end)))
        }))
    })
}

/// The last. Writing returns when the guest is awake again.
fn by_kernel(sleep: Sleep, failed: Option<CommandError>) -> Result<Done, CommandError> {
    let states = fs::read_to_string(STATES).unwrap_or_default();
    let Some(state) = sleep.state.filter(|state| states.split_whitespace().any(|known| known == *state)) else {
        let unsupported = || CommandError::generic("the requested suspend mode is not supported by the guest");
        return Err(failed.unwrap_or_else(unsupported));
    };
    fs::write(STATES, state)
        .map_err(|error| CommandError::generic(format!("suspend: cannot write to '{STATES}': {}", reason(&error))))?;
    Ok(Done::Silence)
}

fn failure(program: &str, end: &End) -> CommandError {
    CommandError::generic(match end {
        End::NotStarted(_) => format!("the helper program '{program}' was not found"),
        End::TooLong => format!("the helper program '{program}' took too long and was killed"),
        End::Exited(status, _) => format!(
            "the helper program '{program}' returned an unexpected exit status code ({})",
            status.code().unwrap_or(-1)
        ),
    })
}
