//! Files of the guest, read and written by handle. What is written is there at once; nothing is kept back until a flush.

use std::time::Instant;

use super::{Done, Task};
use crate::agent::Agent;
use crate::arguments::{Arguments, Unfit};
use crate::base64;
use crate::error::CommandError;
use crate::file_helper::{Mode, Order, Whence};
use crate::files::READ_BYTES_MAX;
use crate::json::Value;
use crate::leaving::Purpose;

/// What is read if nobody says how much.
const COUNT: i64 = 4096;

/// Opens a file; says its handle.
pub(super) fn open(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let path = arguments.string("path")?;
    let mode = arguments.optional_string("mode")?.unwrap_or_else(|| "r".to_owned());
    arguments.finish()?;
    agent.log.account(format_args!("guest-file-open called, filepath: {path}, mode: {mode}"));
    let letters =
        Mode::named(&mode).ok_or_else(|| CommandError::generic(format!("invalid file open mode '{mode}'")))?;
    if !agent.files.has_room() {
        return Err(CommandError::generic("too many open files; close some by guest-file-close"));
    }
    agent.leaving.demand_room(Purpose::Other)?;
    let order = Order::Open(letters, path.clone());
    Ok(Task::file(order, move |agent, answer| {
        let failed = format_args!("failed to open file '{path}' (mode: '{mode}')");
        let file = answer.map_err(|failure| failure.told(failed))?.number.cast_unsigned();
        let handle = match agent.state.next_handle() {
            Ok(handle) => handle,
            Err(error) => {
                let error = CommandError::system("failed to write persistent state to disk", error);
                return Ok(Task::file(Order::Close(file), |_, _| Err(error)));
            }
        };
        agent.files.insert(handle, file);
        agent.log.account(format_args!("guest-file-open, handle: {handle}"));
        Ok(Done::Return(handle.into()))
    }))
}

fn not_found(handle: i64) -> CommandError {
    CommandError::generic(format!("handle '{handle}' has not been found"))
}

/// Closes a file.
pub(super) fn close(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let handle = arguments.integer("handle")?;
    arguments.finish()?;
    agent.log.account(format_args!("guest-file-close called, handle: {handle}"));
    let file = agent.files.take(handle).ok_or_else(|| not_found(handle))?;
    Ok(Task::file(Order::Close(file), |_, answer| {
        answer.map_err(|failure| failure.told("failed to close handle"))?;
        Ok(Done::Return(Value::empty()))
    }))
}

/// Reads up to so many bytes.
pub(super) fn read(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let handle = arguments.integer("handle")?;
    let count = arguments.optional_integer("count")?.unwrap_or(COUNT);
    arguments.finish()?;
    let file = agent.files.get(handle).ok_or_else(|| not_found(handle))?;
    let wanted = u64::try_from(count).ok().filter(|&count| count <= READ_BYTES_MAX);
    let wanted = wanted.ok_or_else(|| invalid_count(count))?;
    Ok(Task::file(Order::Read(file, wanted), move |agent, answer| {
        let answer = answer.map_err(|failure| {
            agent.log.account(format_args!("guest-file-read failed, handle: {handle}"));
            failure.told("failed to read file")
        })?;
        let count = i64::try_from(answer.data.len()).unwrap_or(i64::MAX);
        Ok(Done::Return(Value::object([
            ("count", count.into()),
            ("buf-b64", base64::encode(&answer.data).into()),
            ("eof", answer.at_end.into()),
        ])))
    }))
}

fn invalid_count(count: i64) -> CommandError {
    CommandError::generic(format!("value '{count}' is invalid for argument count"))
}

/// Writes so many bytes.
pub(super) fn write(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let handle = arguments.integer("handle")?;
    let text = arguments.string("buf-b64")?;
    let count = arguments.optional_integer("count")?;
    arguments.finish()?;
    let file = agent.files.get(handle).ok_or_else(|| not_found(handle))?;
    let mut data = base64::decode(&text)?;
    drop(text);
    if let Some(count) = count {
        let length = usize::try_from(count).ok().filter(|&length| length <= data.len());
        data.truncate(length.ok_or_else(|| invalid_count(count))?);
    }
    let written = i64::try_from(data.len()).unwrap_or(i64::MAX);
    Ok(Task::file(Order::Write(file, data), move |agent, answer| {
        answer.map_err(|failure| {
            agent.log.account(format_args!("guest-file-write failed, handle: {handle}"));
            failure.told("failed to write to file")
        })?;
        Ok(Done::Return(Value::object([("count", written.into()), ("eof", false.into())])))
    }))
}

/// Where a position is counted from, or a number that says nothing of the kind.
fn whence(value: Value) -> Result<Result<Whence, i64>, Unfit> {
    match value {
        Value::Integer(0) => Ok(Ok(Whence::Set)),
        Value::Integer(1) => Ok(Ok(Whence::Current)),
        Value::Integer(2) => Ok(Ok(Whence::End)),
        Value::Integer(code) => Ok(Err(code)),
        Value::String(word) => match word.as_str() {
            "set" => Ok(Ok(Whence::Set)),
            "cur" => Ok(Ok(Whence::Current)),
            "end" => Ok(Ok(Whence::End)),
            _ => Err(Unfit::Word(word)),
        },
        _ => Err(Unfit::Type("GuestFileWhence")),
    }
}

/// Goes to a position.
pub(super) fn seek(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let handle = arguments.integer("handle")?;
    let offset = arguments.integer("offset")?;
    let whence = arguments.of("whence", whence)?;
    arguments.finish()?;
    let file = agent.files.get(handle).ok_or_else(|| not_found(handle))?;
    let whence = whence.map_err(|code| CommandError::generic(format!("invalid whence code {code}")))?;
    Ok(Task::file(Order::Seek(file, whence, offset), |_, answer| {
        let position = answer.map_err(|failure| failure.told("failed to seek file"))?.number;
        Ok(Done::Return(Value::object([("position", position.into()), ("eof", false.into())])))
    }))
}

/// Has what was written go to the disk's cache, where it already is.
pub(super) fn flush(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let handle = arguments.integer("handle")?;
    arguments.finish()?;
    agent.files.get(handle).ok_or_else(|| not_found(handle))?;
    Ok(Done::Return(Value::empty()))
}
