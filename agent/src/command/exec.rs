//! Programs that the host starts in the guest.

use std::time::Instant;

use super::{Done, Task};
use crate::agent::Agent;
use crate::arguments::{Arguments, Unfit};
use crate::base64;
use crate::error::{CommandError, reason};
use crate::json::Value;
use crate::leaving::Purpose;
use crate::programs::{Capture, Order, Stream};

/// Starts a program, and says its number.
pub(super) fn exec(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let path = arguments.string("path")?;
    let words = arguments.optional_strings("arg")?.unwrap_or_default();
    let environment = arguments.optional_strings("env")?;
    let input = arguments.optional_string("input-data")?;
    let capture = arguments.optional_of("capture-output", capture)?.unwrap_or(Capture::None);
    arguments.finish()?;
    // Arguments are told, as qemu-ga does; what the program reads and its environment are nobody's.
    agent.log.account(format_args!("guest-exec called: \"{path} {}\"", words.join(" ")));
    let input = input.as_deref().map(base64::decode).transpose()?;
    let environment =
        environment.map(|entries| entries.iter().filter_map(|entry| entry.split_once('=')).map(owned).collect());
    if !agent.programs.make_room(input.as_ref().map_or(0, Vec::len)) {
        return Err(CommandError::generic(
            "too many programs run, or have not read what they were given; wait until some of them end",
        ));
    }
    agent.leaving.demand_room(Purpose::Other)?;
    let order = Order { path: path.clone(), arguments: words, environment, input, capture };
    Ok(Done::Later(Task::Start(
        order,
        Box::new(move |_, begun| match begun {
            Ok(id) => Ok(Done::Return(Value::object([("pid", i64::from(id).into())]))),
            Err(error) => {
                let why = reason(&error);
                Err(CommandError::generic(format!(
                    "Guest agent command failed, error was 'Failed to execute child process \u{201c}{path}\u{201d} ({why})'"
                )))
            }
        }),
    )))
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn capture(value: Value) -> Result<Capture, Unfit> {
    match value {
        Value::Bool(false) => Ok(Capture::None),
        Value::Bool(true) => Ok(Capture::Separated),
        Value::String(word) => match word.as_str() {
            "none" => Ok(Capture::None),
            "stdout" => Ok(Capture::Output),
            "stderr" => Ok(Capture::Errors),
            "separated" => Ok(Capture::Separated),
            "merged" => Ok(Capture::Merged),
            _ => Err(Unfit::Word(word)),
        },
        _ => Err(Unfit::Type("GuestExecCaptureOutput")),
    }
}

/// What became of a program. Once it is over it is told once.
pub(super) fn status(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let pid = arguments.integer("pid")?;
    arguments.finish()?;
    agent.log.account(format_args!("guest-exec-status called, pid: {pid}"));
    agent.programs.progress();
    let unknown = || CommandError::generic("Invalid parameter 'pid'");
    if !agent.programs.is_over(pid).ok_or_else(unknown)? {
        return Ok(Done::Return(Value::object([("exited", false.into())])));
    }
    let program = agent.programs.take(pid).ok_or_else(unknown)?;
    let data = |stream: &Stream| (!stream.kept.is_empty()).then(|| Value::from(base64::encode(&stream.kept)));
    let truncated = |stream: &Stream| (!stream.kept.is_empty()).then_some(Value::Bool(stream.truncated));
    Ok(Done::Return(Value::object_of([
        ("exited", Some(true.into())),
        ("exitcode", program.exit_code().map(|code| i64::from(code).into())),
        ("signal", program.signal().map(|signal| i64::from(signal).into())),
        ("out-data", data(&program.output)),
        ("err-data", data(&program.errors)),
        ("out-truncated", truncated(&program.output)),
        ("err-truncated", truncated(&program.errors)),
    ])))
}
