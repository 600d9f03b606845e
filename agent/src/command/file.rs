//! Files of the guest, read and written by handle. What is written is there at once; nothing is kept back until a flush.

use std::fs::{File, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Done;
use crate::agent::Agent;
use crate::arguments::{Arguments, Unfit};
use crate::base64;
use crate::error::CommandError;
use crate::json::Value;

/// What is read if nobody says how much.
const COUNT: i64 = 4096;
/// What may be read at once.
const COUNT_MAX: i64 = 48 << 20;
/// Rights of a file that is made here, whatever the mask of the agent.
const NEW_FILE_MODE: u32 = 0o666;

/// What the letters of `fopen` mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mode {
    read: bool,
    write: bool,
    create: bool,
    truncate: bool,
    append: bool,
}

impl Mode {
    fn named(name: &str) -> Option<Mode> {
        let (kind, rest) = name.split_at_checked(1)?;
        let both = match rest {
            "" | "b" => false,
            "+" | "b+" | "+b" => true,
            _ => return None,
        };
        let mode = Mode { read: both, write: true, create: true, truncate: false, append: false };
        match kind {
            "r" => Some(Mode { read: true, write: both, create: false, ..mode }),
            "w" => Some(Mode { truncate: true, ..mode }),
            "a" => Some(Mode { append: true, ..mode }),
            _ => None,
        }
    }

    /// Opens a file, or makes it with rights of its own.
    fn open(self, path: &str) -> std::io::Result<File> {
        let flags = i32::try_from((OFlags::NOCTTY | OFlags::NONBLOCK).bits()).map_err(std::io::Error::other)?;
        let mut options = File::options();
        options.read(self.read).write(self.write && !self.append).append(self.append).custom_flags(flags);
        if self.create {
            match options.clone().create_new(true).mode(0o0).open(path) {
                Ok(file) => {
                    file.set_permissions(Permissions::from_mode(NEW_FILE_MODE))?;
                    return Ok(file);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        options.truncate(self.truncate).open(path)
    }
}

/// Opens a file; says its handle.
pub(super) fn open(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let path = arguments.string("path")?;
    let mode = arguments.optional_string("mode")?.unwrap_or_else(|| "r".to_owned());
    arguments.finish()?;
    agent.log.account(format_args!("guest-file-open called, filepath: {path}, mode: {mode}"));
    let flags = Mode::named(&mode).ok_or_else(|| CommandError::generic(format!("invalid file open mode '{mode}'")))?;
    if !agent.files.has_room() {
        return Err(CommandError::generic("too many open files; close some by guest-file-close"));
    }
    let failed = |error| CommandError::system(format_args!("failed to open file '{path}' (mode: '{mode}')"), error);
    let file = flags.open(&path).map_err(failed)?;
    let handle = agent
        .state
        .next_handle()
        .map_err(|error| CommandError::system("failed to write persistent state to disk", error))?;
    agent.files.insert(handle, file);
    agent.log.account(format_args!("guest-file-open, handle: {handle}"));
    Ok(Done::Return(handle.into()))
}

fn not_found(handle: i64) -> CommandError {
    CommandError::generic(format!("handle '{handle}' has not been found"))
}

/// Closes a file.
pub(super) fn close(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let handle = arguments.integer("handle")?;
    arguments.finish()?;
    agent.log.account(format_args!("guest-file-close called, handle: {handle}"));
    agent.files.take(handle).ok_or_else(|| not_found(handle))?;
    Ok(Done::Return(Value::empty()))
}

/// Reads up to so many bytes.
pub(super) fn read(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let handle = arguments.integer("handle")?;
    let count = arguments.optional_integer("count")?.unwrap_or(COUNT);
    arguments.finish()?;
    let file = agent.files.get(handle).ok_or_else(|| not_found(handle))?;
    let wanted = u64::try_from(count).ok().filter(|_| count <= COUNT_MAX).ok_or_else(|| invalid_count(count))?;
    let mut data = Vec::new();
    match file.take(wanted).read_to_end(&mut data) {
        // What came before there was nothing more for now is an answer.
        Err(error) if data.is_empty() || error.kind() != std::io::ErrorKind::WouldBlock => {
            agent.log.account(format_args!("guest-file-read failed, handle: {handle}"));
            Err(CommandError::system("failed to read file", error))
        }
        Err(_) => Ok(returned(&data, false)),
        Ok(read) => Ok(returned(&data, u64::try_from(read).is_ok_and(|read| read < wanted))),
    }
}

fn returned(data: &[u8], eof: bool) -> Done {
    let count = i64::try_from(data.len()).unwrap_or(COUNT_MAX);
    Done::Return(Value::object([
        ("count", count.into()),
        ("buf-b64", base64::encode(data).into()),
        ("eof", eof.into()),
    ]))
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
    let mut file = agent.files.get(handle).ok_or_else(|| not_found(handle))?;
    let data = base64::decode(&text)?;
    drop(text);
    let data = match count {
        None => &data[..],
        Some(count) => {
            usize::try_from(count).ok().and_then(|count| data.get(..count)).ok_or_else(|| invalid_count(count))?
        }
    };
    file.write_all(data).map_err(|error| {
        agent.log.account(format_args!("guest-file-write failed, handle: {handle}"));
        CommandError::system("failed to write to file", error)
    })?;
    let written = i64::try_from(data.len()).unwrap_or(i64::MAX);
    Ok(Done::Return(Value::object([("count", written.into()), ("eof", false.into())])))
}

/// Where a position is counted from.
enum Whence {
    Set,
    Current,
    End,
    /// A number that is none of them.
    Unknown(i64),
}

fn whence(value: Value) -> Result<Whence, Unfit> {
    match value {
        Value::Integer(0) => Ok(Whence::Set),
        Value::Integer(1) => Ok(Whence::Current),
        Value::Integer(2) => Ok(Whence::End),
        Value::Integer(code) => Ok(Whence::Unknown(code)),
        Value::String(word) => match word.as_str() {
            "set" => Ok(Whence::Set),
            "cur" => Ok(Whence::Current),
            "end" => Ok(Whence::End),
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
    let mut file = agent.files.get(handle).ok_or_else(|| not_found(handle))?;
    let to = match whence {
        Whence::Set => u64::try_from(offset).map(SeekFrom::Start).map_err(|_| Errno::INVAL.into()),
        Whence::Current => Ok(SeekFrom::Current(offset)),
        Whence::End => Ok(SeekFrom::End(offset)),
        Whence::Unknown(code) => return Err(CommandError::generic(format!("invalid whence code {code}"))),
    };
    let position =
        to.and_then(|to| file.seek(to)).map_err(|error| CommandError::system("failed to seek file", error))?;
    Ok(Done::Return(Value::object([("position", position.into()), ("eof", false.into())])))
}

/// Has what was written go to the disk's cache, where it already is.
pub(super) fn flush(agent: &mut Agent, arguments: &mut Arguments, _: Instant) -> Result<Done, CommandError> {
    let handle = arguments.integer("handle")?;
    arguments.finish()?;
    agent.files.get(handle).ok_or_else(|| not_found(handle))?;
    Ok(Done::Return(Value::empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letters_of_fopen_are_known_in_every_order() {
        for name in ["r", "rb", "w", "wb", "a", "ab", "r+", "rb+", "r+b", "w+", "wb+", "w+b", "a+", "ab+", "a+b"] {
            assert!(Mode::named(name).is_some(), "{name}");
        }
        for name in ["", "q", "rw", "br", "r++", "rbb", "r+b+", "R", "é"] {
            assert_eq!(Mode::named(name), None, "{name}");
        }
    }

    #[test]
    fn a_new_file_has_its_rights_whatever_the_mask() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new");
        let path = path.to_str().unwrap();
        Mode::named("w").unwrap().open(path).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o666);
        std::fs::write(path, "old").unwrap();
        assert!(Mode::named("r").unwrap().open("/nonexistent/x").is_err());
        let mut appended = Mode::named("a+").unwrap().open(path).unwrap();
        appended.write_all(b" and new").unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "old and new");
        Mode::named("w+").unwrap().open(path).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "");
    }
}
