//! Our own program as a helper: what may hang for as long as a disk does is done by a child, which can be left behind.
//!
//! It is called with a verb and directories or disks, and says one value on its standard output. It opens nothing but those,
//! for it runs while the file system that it came from is frozen.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::{CommandError, reason};
use crate::helper::End;
use crate::json::{Incoming, Reader, Value, write};
use crate::kernel::{self, TrimRange};
use crate::nvme;

/// The program.
pub const PROGRAM: &str = "/proc/self/exe";
/// Its first word; of no use to people.
pub const WORD: &str = "--helper-of-vmwire-ga";

/// A verb and its operands.
///
/// # Errors
/// There is nothing that it could do.
pub fn run(words: &[String]) -> ExitCode {
    let value = match words {
        [verb, directories @ ..] if verb == "freeze" => freeze(directories),
        [verb, directories @ ..] if verb == "thaw" => Value::Integer(thaw(directories)),
        [verb, minimum, directories @ ..] if verb == "trim" => trim(minimum.parse().unwrap_or_default(), directories),
        [verb, disks @ ..] if verb == "smart" => Value::Array(disks.iter().map(|disk| smart(disk)).collect()),
        _ => return ExitCode::FAILURE,
    };
    let mut text = String::new();
    write(&value, &mut text);
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What the helper said of a verb.
///
/// # Errors
/// It failed, or said so.
pub fn answer(end: &End, verb: &str) -> Result<Value, CommandError> {
    end.demand(&format!("the helper for {verb} failed"))?;
    let End::Exited(_, text) = end else { return Err(CommandError::generic("the helper said nothing")) };
    let mut text = text.clone();
    text.push(b'\n');
    match Reader::new().next(&mut &text[..]) {
        Some(Incoming::Value(Value::String(error))) => Err(CommandError::generic(error)),
        Some(Incoming::Value(value)) => Ok(value),
        _ => Err(CommandError::generic(format!("the helper for {verb} said nothing"))),
    }
}

fn open(directory: &str) -> io::Result<File> {
    // A mount point that is not what it was is not waited for.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).map_err(io::Error::other)?;
    File::options().read(true).custom_flags(flags).open(directory)
}

/// Freezes file systems, the one mounted last first; says how many that were, or why not all that can be frozen were.
fn freeze(directories: &[String]) -> Value {
    let mut count = 0_i64;
    for directory in directories.iter().rev() {
        let failed = |what: &str, error: &io::Error| {
            thaw(directories);
            Value::String(format!("failed to {what} {directory}: {}", reason(error)))
        };
        let file = match open(directory) {
            Ok(file) => file,
            Err(error) => return failed("open", &error),
        };
        match kernel::freeze(&file) {
            Ok(()) => count += 1,
            // It cannot be frozen, or is already: by another mount of it.
            Err(Errno::OPNOTSUPP | Errno::BUSY) => {}
            Err(error) => return failed("freeze", &error.into()),
        }
    }
    Value::Integer(count)
}

/// Thaws file systems, each as often as it was frozen; says how many were.
fn thaw(directories: &[String]) -> i64 {
    let mut count = 0;
    for directory in directories {
        let Ok(file) = open(directory) else { continue };
        if kernel::thaw(&file).is_ok() {
            count += 1;
            while kernel::thaw(&file).is_ok() {}
        }
    }
    count
}

/// How a disk is; nothing if it does not say.
fn smart(disk: &str) -> Value {
    let page = open(disk).ok().and_then(|file| kernel::nvme_health(&file).ok());
    page.map_or(Value::Null, |page| nvme::health(&page))
}

fn trim(minimum: u64, directories: &[String]) -> Value {
    let mut paths = Vec::new();
    for directory in directories {
        let mut range = TrimRange { start: 0, length: u64::MAX, minimum };
        let result = open(directory).map_err(|error| format!("failed to open: {}", reason(&error))).and_then(|file| {
            kernel::trim(&file, &mut range).map_err(|error| match error {
                Errno::OPNOTSUPP | Errno::NOTTY => "trim not supported".to_owned(),
                error => format!("failed to trim: {}", reason(&error.into())),
            })
        });
        let (trimmed, error) = match result {
            Ok(()) => (Some((range.length.into(), range.minimum.into())), None),
            Err(error) => (None, Some(Value::from(error))),
        };
        let (trimmed, least) = trimmed.unzip();
        paths.push(Value::object_of([
            ("path", Some(directory.as_str().into())),
            ("trimmed", trimmed),
            ("minimum", least),
            ("error", error),
        ]));
    }
    Value::Array(paths)
}
